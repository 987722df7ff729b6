# %% [markdown]
# # Pairs of stimuli
#
# Two electrodes of motor cortex, one after the other: which pair, in which order, moves
# a muscle most? Ten electrodes make a hundred pairs, and what single electrodes do is
# quickly tried. Does it tell which pairs are good? A model of pairs and of their parts,
# the *joint* one, learns of both from both. Here it is looked at from the inside, and
# then held against a model that knows of no parts and against two published searches.
#
# The map is one of a monkey's (published with Guerra et al., arXiv 2505.11294): mean
# responses to 84 of 100 ordered pairs, 60 ms apart, as shares of the best pair. Put the
# file `nhp_paired_emg4_dt60.npz` below the folder that `NEUROMOD_DATA` names. It has no
# single trials; they are drawn around the means, with a coefficient of variation of
# 0.3.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import neuromod as nm
from neuromod.core.style import DIVERGING, PALETTE
from neuromod.stimulation import hierarchy_problems

s = nm.stimulation
plt.style.use("neuromod.core.neuromod")  # one look for all figures
(file,) = Path(os.environ["NEUROMOD_DATA"]).rglob("nhp_paired_emg4_dt60.npz")
with np.load(file) as stored:
    labels = [str(channel) for channel in stored["channel"]]
    truth = pd.DataFrame(
        np.where(stored["known"], stored["map"], np.nan), labels, labels
    )
    positions = dict(zip(labels, stored["xy"].astype(float).tolist(), strict=True))
N_TRIALS, N_SINGLES, N_SESSIONS = 40, 16, 8

# %% tags=["fast"]
N_TRIALS, N_SINGLES, N_SESSIONS = 8, 9, 1

# %% [markdown]
# ## Is a pair the sum of its parts?
#
# As far as it can be: the best sum of something of the first electrode and something of
# the second, fitted to all means, and what is left.

# %%
pair = np.argwhere(truth.notna().values)
design = np.concatenate([np.eye(10)[pair[:, 0]], np.eye(10)[pair[:, 1]]], axis=1)
means = truth.values[tuple(pair.T)]
parts = np.linalg.lstsq(design, means, rcond=None)[0]
rest = means - design @ parts
print(f"additive share of the variance: {1 - rest.var() / means.var():.2f}")

figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.5), sharey=True)
shown = {"Mean response": means, "Best sum": design @ parts, "What is left": rest}
for ax, (title, values) in zip(axes, shown.items(), strict=True):
    table = np.full(truth.shape, np.nan)
    table[tuple(pair.T)] = values
    look = {"vmin": 0, "vmax": 1} if ax is not axes[2] else {"vmin": -0.5, "vmax": 0.5}
    colours = plt.get_cmap("viridis" if ax is not axes[2] else DIVERGING, 11)
    drawn = ax.imshow(table, cmap=colours.with_extremes(bad="0.85"), **look)
    figure.colorbar(drawn, ax=ax, shrink=0.75)
    ax.set(title=title, xlabel="Second electrode")
    ax.set_xticks(range(10), labels, rotation=90)
    ax.set_yticks(range(10), labels)
axes[0].set_ylabel("First electrode")

# %% [markdown]
# Most of the map is additive (grey: not measured). One electrode makes its whole row
# and column large. What is left is largest there: pairs in which it comes twice, or
# with a neighbour that is strong itself, do less than the sum, and some do more.
#
# ## Single electrodes
#
# A pair of an electrode with itself stands for that electrode alone; two of these are
# not known. A session of singles comes first. It is not to find the best one, but to
# know of all what they do: its rule is so curious that it tries whatever is known
# least.

# %%
FIXED = {"amplitude": 60.0, "pulse_width": 200.0, "frequency": 300.0}
limits = s.Limits(
    amplitude=100.0,
    charge_per_phase=20.0,
    imbalance=0.0,
    frequency=330.0,
    n_pulses=50,
    interval=0.0,  # nothing is stimulated here
    per_hour=1000,
    per_electrode_per_hour=1000,
    ramp=100.0,
)
alone = [name for name in labels if np.isfinite(truth.loc[name, name])]
singles = s.Space({"electrode": alone}, positions, fixed=FIXED)


def trial(rng, first, second, variation=0.3):
    """Return the response to a pair."""
    shape = 1 / variation**2
    return truth.loc[first, second] * rng.gamma(shape, 1 / shape)


def try_singles(seed):
    """Return a session of single electrodes."""
    rng, path = np.random.default_rng(seed), f"singles{seed}.db"
    rule = s.Rule(first_weight=4.0, last_weight=4.0)
    given = {"seed": seed, "n_planned": N_SINGLES, "rule": rule}
    with s.Session.open(path, singles, limits, **given) as one:
        for _ in range(N_SINGLES):
            ask = one.ask()
            one.tell(ask.id, trial(rng, *2 * [ask.point["electrode"]]))
    return s.Session.read(path)


single = try_singles(0)
figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.2))
for ax, what in zip(axes, ("expected", "visits"), strict=True):
    s.plot_map(single, what=what, ax=ax)
    ax.legend().remove()

# %% [markdown]
# ## What singles say of pairs
#
# The space of pairs has two *blocks*, `first` and `second`, that could be stimulated
# alone. Trials of the singles are trials of these: `known_trials` hands them over. Only
# pairs that were measured are candidates here (`valid`).

# %%
pairs = s.Space(
    {"electrode_a": labels, "electrode_b": labels},
    positions,
    fixed=FIXED,
    blocks={"first": ["electrode_a"], "second": ["electrode_b"]},
    valid=lambda p: np.isfinite(truth.loc[p["electrode_a"], p["electrode_b"]]),
)


def of_both(one):
    """Return trials of single electrodes as those of both parts."""
    return s.known_trials(one, part="first") + s.known_trials(one, part="second")


def agreement(session):
    """Return the squared correlation of a map with the truth."""
    return np.corrcoef(session.map()["expected"].values[:, 0], means)[0, 1] ** 2


given = {"seed": 0, "n_planned": N_TRIALS}
session = s.Session.open("pairs.db", pairs, limits, known=of_both(single), **given)
expected = session.map()["expected"].values[:, 0]
expected = expected / expected.max()  # of pairs, only the shape is known yet
print(f"{len(pairs)} pairs; before the first of them r2 = {agreement(session):.2f}")
figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.0))
table = np.full(truth.shape, np.nan)
table[tuple(pair.T)] = expected
colours = plt.get_cmap("viridis").with_extremes(bad="0.85")
drawn = axes[0].imshow(table, cmap=colours, vmin=0)
figure.colorbar(drawn, ax=axes[0], label="Expected, before any pair")
axes[0].set(xlabel="Second electrode", ylabel="First electrode")
axes[0].set_xticks(range(10), labels, rotation=90)
axes[0].set_yticks(range(10), labels)
of_one = pair == labels.index("13")
for which, label in (
    (~of_one.any(1), "without electrode 13"),
    (of_one[:, 0], "13 is the first"),
    (of_one[:, 1], "13 is the second"),
):
    axes[1].plot(means[which], expected[which], "o", markersize=4, label=label)
axes[1].set(xlabel="Mean response (truth)", ylabel="Expected (of the largest)")
axes[1].legend()

# %% [markdown]
# Not one pair was stimulated, and the map has its large row and column: that much of
# the pairs lies in their parts. But what is largest here, the strongest electrode with
# itself, is not so in truth (right): two strong ones together do less than the model
# takes them to do, and how much less no single can tell.
#
# ## What pairs say of each electrode
#
# Pairs follow, and each of them tells of both its parts.


# %%
def heights_of(session, part):
    """Return what is believed of each electrode alone, with its interval."""
    found = session.map(level=part).isel(output=0)
    return found[["expected", "low", "high"]].to_dataframe().set_index(labels_of[part])


labels_of = {"first": "electrode_a", "second": "electrode_b"}
heights = {part: heights_of(session, part) for part in labels_of}
rng = np.random.default_rng(0)
for _ in range(N_TRIALS):
    ask = session.ask()
    session.tell(ask.id, trial(rng, *ask.point.values()))
print(f"r2 = {agreement(session):.2f}; best pair found {list(session.best().values())}")
figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.2))
for ax, what in zip(axes, ("expected", "visits"), strict=True):
    s.plot_map(session, what=what, ax=ax)

# %%
figure, axes = plt.subplots(2, 1, figsize=(6.4, 4.4), sharex=True)
for ax, part in zip(axes, labels_of, strict=True):
    after = heights_of(session, part)
    for table, shift, colour, name in (
        (heights[part], -0.12, "0.6", "after singles"),
        (after, 0.12, PALETTE[0], "after pairs too"),
    ):
        at = np.arange(10) + shift
        table = table.loc[labels]
        ax.vlines(at, table["low"], table["high"], color=colour, linewidth=1.5)
        ax.plot(at, table["expected"], "o", color=colour, markersize=5, label=name)
    ax.plot(np.diag(truth), "_", color=PALETTE[1], markersize=14, label="truth")
    ax.set(ylabel=f"Alone, as the {part}", ylim=(0, 1))
axes[0].legend(loc="upper right", ncols=3)
axes[1].set_xticks(range(10), labels)
axes[1].set_xlabel("Electrode")
session.close()

# %% [markdown]
# Dots are what is expected of an electrode alone, lines 95 % intervals. Pairs make the
# intervals shorter, also of electrodes that were in few of them, and those two that
# could not be tried alone have one too. But what a pair does less, or more, than the
# sum is put down in part to its electrodes: where interaction is strong, as at
# electrode 13, an interval can miss the truth. Who has to know what an electrode does
# alone should stimulate it alone.
#
# ## Is it better than no parts?
#
# Many sessions, each with singles of its own. All have as many pairs: *joint*, with
# singles and without; *flat*, a model of four coordinates that knows nothing of parts;
# and two published searches, which begin with the singles: the one-way search, in which
# singles shape the map of the pairs and learn nothing from them, and BIF, in which they
# do (their own settings; choices only, the map is the joint regression's).


# %%
def search(name, rule, known, seed, space=pairs, n_trials=N_TRIALS):
    """Return, of a session, what each stimulus and each best pair is worth, and r2."""
    rng, scores = np.random.default_rng(1000 + seed), []
    path = f"{name} {seed}.db".replace(",", "")
    given = {"seed": seed, "n_planned": n_trials, "rule": rule, "known": known}
    with s.Session.open(path, space, limits, **given) as session:
        for _ in range(n_trials):
            ask = session.ask()
            session.tell(ask.id, trial(rng, *ask.point.values()))
            best = session.best().values()
            scores.append([truth.loc[tuple(p)] for p in (best, ask.point.values())])
        return np.array(scores).T, agreement(session) if space is pairs else np.nan


earlier = [of_both(try_singles(seed)) for seed in range(1, N_SESSIONS + 1)]
methods = {
    "joint": (s.Rule(), True),
    "joint, no singles": (s.Rule(), False),
    "flat": (s.Rule(model="flat"), False),
    "one-way": (s.Rule(model="one_way"), True),
    "BIF": (s.Rule(model="bif_neural"), True),
}
runs = {
    name: [
        search(name, rule, known if told else (), seed)
        for seed, known in enumerate(earlier)
    ]
    for name, (rule, told) in methods.items()
}


# %%
def draw(ax, runs, score):
    """Draw means over sessions, with their 95 % intervals."""
    for (name, found), colour in zip(runs.items(), PALETTE, strict=False):
        curves = np.array([scores[score] for scores, _ in found])
        middle, n = curves.mean(0), len(curves)
        half = 1.96 * curves.std(0, ddof=min(n - 1, 1)) / np.sqrt(n)
        x = np.arange(1, len(middle) + 1)
        ax.plot(x, middle, color=colour, label=name)
        ax.fill_between(x, middle - half, middle + half, color=colour, alpha=0.15)
    ax.set(xlabel="Pair tried", ylim=(0, 1.05))


figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.0), sharey=True)
for score, title in enumerate(("Best pair by then", "Pair that is stimulated")):
    draw(axes[score], runs, score)
    axes[score].set_title(title)
axes[0].set_ylabel("Share of the best pair")
axes[1].legend(loc="upper left", bbox_to_anchor=(1, 1))
print("                    best pair   all stimuli   r2 of the map")
for name, found in runs.items():
    values = np.array([[x[0, -1], x[1].mean(), r2] for x, r2 in found])
    ends = values.mean(0), 1.96 * values.std(0) / np.sqrt(len(values))
    told = [f"{m:6.2f} ±{h:.2f}" for m, h in zip(*ends, strict=True)]
    print(f"{name:18s}", "  ".join(told))

# %% [markdown]
# Not every difference is one: the intervals say so. What singles give the joint search
# is a good start (right, its first stimuli) and a better map (last column). They do not
# give it a better *best pair* in the end (left): singles point at the strongest
# electrode with itself, the best pair is elsewhere, and a model that knows nothing of
# parts gets there as well. The two published searches go on trying until the last
# trial. That makes a good map, and poor stimuli; the pair that they would recommend is
# often the one that singles pointed at.
#
# ## Where parts do sum
#
# Is it the model, or the map? On a published test function whose parts are known, and
# which is nearly additive, joint and flat look for the best of 1024 combinations of two
# values. The joint one begins with three trials of either part.

# %%
problem = hierarchy_problems.problem("product", strength=1.0)
sites = [np.sort(np.unique(at)) for at in problem.parts.at.T]
numbers = [np.arange(len(at)).tolist() for at in sites]
plane = s.Space(
    {"x": numbers[0], "y": numbers[1]},
    fixed=FIXED | {"electrodes": ["13"]},
    blocks={"first": ["x"], "second": ["y"]},
)
height = (problem.mean - problem.mean.min()) / np.ptp(problem.mean)
LOOKS = [n for n in (2, 4, 8, 12, 16, 24) if n <= N_TRIALS]


def look(name, model, seed):
    """Return what would be recommended after some trials, and r2 of the map."""
    rng, found = np.random.default_rng(seed), []
    noise = problem.noise * rng.normal(size=(3, LOOKS[-1]))
    # Eight steps of 32 as a length; responses may be negative, so no logarithm.
    rule = s.Rule(model=model, length_scale=8.0, logarithm=False)
    given = {"seed": seed, "n_planned": LOOKS[-1] + 6, "rule": rule}
    with s.Session.open(f"plane {name} {seed}.db", plane, limits, **given) as session:
        for k in range(0 if model == "flat" else 6):
            level = ("first", "second")[k % 2]
            ask = session.ask(level=level)
            (site,) = ask.point.values()
            session.tell(ask.id, problem.children[k % 2][site] + noise[1 + k % 2, k])
        for n in range(1, LOOKS[-1] + 1):
            ask = session.ask()
            mean = problem.mean[32 * ask.point["x"] + ask.point["y"]]
            session.tell(ask.id, mean + noise[0, n - 1])
            if n in LOOKS:
                believed = session.map()["expected"].values[:, 0]
                r2 = np.corrcoef(believed, problem.mean)[0, 1] ** 2
                found.append([height[believed.argmax()], r2])
    return np.array(found).T


figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.8), sharey=True)
for name, colour in (("joint", PALETTE[0]), ("flat", PALETTE[2])):
    curves = np.array([look(name, name, seed) for seed in range(N_SESSIONS)])
    half = 1.96 * curves.std(0) / np.sqrt(N_SESSIONS)
    for ax, line, around in zip(axes, curves.mean(0), half, strict=True):
        ax.errorbar(
            LOOKS, line, around, color=colour, marker="o", capsize=3, label=name
        )
for ax, title in zip(axes, ("Recommended", "Map"), strict=True):
    ax.set(title=title, xlabel="Trials of the whole", ylim=(0, 1.05))
axes[0].set_ylabel("Share of the best")
axes[1].set_ylabel("r2 of the map")
axes[1].legend(loc="lower right")

# %% [markdown]
# Here parts tell nearly all, and six trials of them are worth more than as many of the
# whole: the joint map is right long before the flat one. So it is the map that decides.
# Before choosing a model it is worth to know how additive pairs are, which the first
# figure told, and which a few dozen pairs of an earlier animal would.
#
# ## A part that is known already
#
# A part keeps what was learned of it. Suppose that a new pairing has the same first
# electrodes and only those of the front row as second ones. Trials of the first part
# come along (`known_trials`), the second one is new.

# %%
front = [name for name in labels if positions[name][0] == 0]
new = s.Space(
    {"electrode_a": labels, "electrode_b": front},
    positions,
    fixed=FIXED,
    blocks={"first": ["electrode_a"], "second": ["electrode_b"]},
    valid=lambda p: np.isfinite(truth.loc[p["electrode_a"], p["electrode_b"]]),
)
largest = np.nanmax(truth[front].values)
reused = {"first part known": True, "nothing known": False}
again = {}
for name, told in reused.items():
    again[name] = []
    for seed in range(N_SESSIONS):
        known = (
            s.known_trials(s.Session.read(f"singles{seed + 1}.db"), part="first")
            if told
            else ()
        )
        rule, n = s.Rule(), min(N_TRIALS, 16)
        found, _ = search(f"new {name}", rule, known, seed, space=new, n_trials=n)
        again[name].append((found / largest, np.nan))
figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.8), sharey=True)
for score, title in enumerate(("Best pair by then", "Pair that is stimulated")):
    draw(axes[score], again, score)
    axes[score].set_title(title)
axes[0].set_ylabel("Share of the best new pair")
axes[1].legend(loc="lower right")

# %% [markdown]
# With the first part known, the search begins at a strong first electrode and has only
# the second to find; without it, both. What is saved are the first stimuli at least,
# and with tissue these count.
