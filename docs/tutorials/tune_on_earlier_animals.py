# %% [markdown]
# # Tuning on earlier animals
#
# How curious should a search be, and over which distance should it take neighbours to
# be alike? A lab that has maps of earlier animals can try: simulate hundreds of
# sessions on them under each rule, choose one, write it down, and use it on the next
# animal. Here that is done from end to end. Then follows a second thing that earlier
# animals can give, a map to begin with, and at the end what either is worth.
#
# Earlier animals are simulated here, with maps like those of rats on an array of 8 by 4
# electrodes; yours take their place (`recorded_world` with single trials, `noisy_world`
# with means). The next animal is a rat that was recorded, and took no part in any of
# it: Rat 2 of Bonizzato et al. (Cell Reports Medicine 2023), mean responses of seven
# muscles. Put its file below the folder that `NEUROMOD_DATA` names
# ([data sets](../datasets.md)).

# %%
import json

import matplotlib.pyplot as plt
import numpy as np

import neuromod as nm
from neuromod.core.style import PALETTE

s = nm.stimulation
plt.style.use("neuromod.core.neuromod")  # one look for all figures
at = s.array_of(8, 4)
FIRST, LAST = (0.3, 0.8, 1.3, 1.8, 2.5), (0.1, 0.5, 1.0, 1.8)
LENGTHS = (0.4, 0.8, 1.3, 1.8, 2.5, 4.0)
N_ANIMALS, N_SESSIONS, N_TRIALS = 60, 10, 32

# %% tags=["fast"]
FIRST, LAST, LENGTHS = (0.3, 1.3), (0.5,), (0.4, 1.8)
N_ANIMALS, N_SESSIONS, N_TRIALS = 3, 2, 5


# %%
def rats(first_seed):
    """Return simulated animals."""
    seeds = range(first_seed, first_seed + N_ANIMALS)
    return [s.simulate_world(at, seed=seed, floor=(0.2, 0.5)) for seed in seeds]


def draw_map(ax, values, title):
    """Draw a value for each electrode."""
    ax.imshow(np.reshape(values, (8, 4)), cmap="viridis")
    ax.set(title=title, xticks=[], yticks=[])


earlier = rats(0)
figure, axes = plt.subplots(1, 8, figsize=(7.2, 1.9))
for k, ax in enumerate(axes):
    draw_map(ax, earlier[k % N_ANIMALS].mean, f"Animal {k + 1}")

# %% [markdown]
# ## Sessions under each rule
#
# A rule credits a site that is not well known with some deviations above what is
# expected there: `first_weight` at the first trial, `last_weight` at the last one, in
# units that grow with the number of sites. Large weights make it try much, small ones
# make it use what it has. Two scores: what the *stimuli* did on average (exploitation),
# and what the site does that is *believed best* at the end (exploration), as shares of
# the best site.


# %%
def scored(rule, animals, seed=0):
    """Return both scores (score, animal, session)."""
    runs = [
        s.simulate(world, at, rule, N_TRIALS, seed=seed + k, n_sessions=N_SESSIONS)
        for k, world in enumerate(animals)
    ]
    end = [run["exploration"].values[:, -1] for run in runs]
    along = [run["exploitation"].values.mean(1) for run in runs]
    return np.array([end, along])


grid = {
    (first, last): s.Rule(first_weight=first, last_weight=last)
    for first in FIRST
    for last in LAST
}
scores = {key: scored(rule, earlier) for key, rule in grid.items()}
print(f"{len(grid)} rules, {N_ANIMALS * N_SESSIONS} sessions of {N_TRIALS} trials each")

# %%
NAMES = "Exploration at the end", "Exploitation on average"
figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.9), sharey=True)
for j, ax in enumerate(axes):
    table = [[scores[first, last][j].mean() for last in LAST] for first in FIRST]
    drawn = ax.imshow(table, cmap="viridis", origin="lower", aspect="auto")
    figure.colorbar(drawn, ax=ax)
    for (row, column), value in np.ndenumerate(table):
        dark = value < np.mean([np.min(table), np.max(table)])
        colour = "white" if dark else "black"
        style = {"ha": "center", "va": "center", "fontsize": 8, "color": colour}
        ax.text(column, row, f"{value:.2f}", **style)
    ax.set(title=NAMES[j], xlabel="Last weight")
    ax.set_xticks(range(len(LAST)), LAST)
    ax.set_yticks(range(len(FIRST)), FIRST)
axes[0].set_ylabel("First weight")

# %% [markdown]
# Exploration (left) is worst in the corner where the search is hardly curious at any
# time, and nearly flat over the rest: beyond some curiosity more of it finds no better
# site. Exploitation (right) goes on falling as the last weight grows, since each trial
# that tries something costs. So both corners are bad, and what lies between is a
# matter of what trials cost.
#
# ## Choose
#
# Every rule is a point, and those with none above and to the right are the ones to
# choose from: the trade-off. We take the largest sum of both scores, which says that a
# share of the response now is worth as much as one later. Who will stimulate the site
# for months would weigh exploration more, and go down along the line.

# %%
middle = {key: found.mean((1, 2)) for key, found in scores.items()}
chosen = max(middle, key=lambda key: middle[key].sum())
points = np.array(list(middle.values()))
kept = [not ((points >= p).all(1) & (points > p).any(1)).any() for p in points]
front = points[kept][np.argsort(points[kept][:, 0])]

figure, ax = plt.subplots(figsize=(4.6, 3.2))
curious = ax.scatter(*points.T, 28, [first for first, _ in middle], cmap="cividis")
figure.colorbar(curious, ax=ax, label="First weight")
ax.plot(*front.T, color="0.6", linewidth=1, zorder=0, label="trade-off")
ax.plot(*middle[chosen], "o", markersize=11, markerfacecolor="none", label="chosen")
ax.lines[-1].set(color=PALETTE[1], markeredgewidth=2)
ax.set(xlabel=NAMES[0], ylabel=NAMES[1])
ax.legend(loc="lower left")
print("chosen weights, first and last:", chosen)

# %% [markdown]
# With these weights, over which distance are sites alike? Intervals are over animals:
# what counts is how the *next animal* fares, not the next session of the same.

# %%
first, last = chosen
of_length = {
    length: scored(grid[chosen]._replace(length_scale=length), earlier)
    for length in LENGTHS
}
figure, ax = plt.subplots(figsize=(4.6, 2.8))
for j, name in enumerate(NAMES):
    of_animals = np.array([found[j].mean(1) for found in of_length.values()])
    centre = of_animals.mean(1)
    half = 1.96 * of_animals.std(1) / np.sqrt(N_ANIMALS)
    look = {"capsize": 3, "marker": "o", "label": name}
    ax.errorbar(LENGTHS, centre, half, color=PALETTE[j], **look)
ax.set(xlabel="Length scale (pitches)", ylabel="Share of the best site")
ax.set_xscale("log")
ax.set_xticks(LENGTHS, LENGTHS)
ax.minorticks_off()
ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
length = max(of_length, key=lambda length: of_length[length].mean((1, 2)).sum())
print("chosen length scale:", length)

# %% [markdown]
# Around the best value it hardly matters: intervals overlap widely. At the left end a
# site tells little of its neighbours, and stimuli are spent on each of them
# (exploitation); at the right end the map is taken to be smoother than it is, and hot
# spots of one site are missed (exploration).
#
# ## Freeze
#
# What was chosen is written down before the next animal comes. A session keeps its rule
# in its journal, and cannot change it later.

# %%
frozen = grid[chosen]._replace(length_scale=length)
changed = {
    name: value
    for name, value in frozen._asdict().items()
    if value != getattr(s.Rule(), name)
}
with open("rule.json", "w") as file:
    json.dump(changed, file)
print("other than the default:", changed)

# %% [markdown]
# ## How many animals does it take?
#
# The choice was among rules that were scored on the very animals that it was made by,
# so its own score is too good. Take a few of the animals, choose by these, and look how
# the choice does on all others; again and again.

# %%
rng = np.random.default_rng(0)
of_rule = np.array([scores[key].mean(2).sum(0) for key in scores]) / 2  # rule, animal
counts = [n for n in (1, 2, 4, 8, 16, 32) if n < N_ANIMALS]
seen, held_out = np.empty((2, len(counts), 500))
for row, n in enumerate(counts):
    for column in range(500):
        order = rng.permutation(N_ANIMALS)
        mine, others = order[:n], order[n:]
        best = of_rule[:, mine].mean(1).argmax()
        average = of_rule[best, others].mean() - of_rule[:, others].mean()
        seen[row, column] = of_rule[best, mine].mean() - of_rule[:, mine].mean()
        held_out[row, column] = average
figure, ax = plt.subplots(figsize=(4.6, 2.8))
for found, name, colour in (
    (seen, "on the animals chosen by", "0.6"),
    (held_out, "on all others", PALETTE[0]),
):
    low, high = np.quantile(found, [0.1, 0.9], axis=1)
    ax.plot(counts, found.mean(1), "o-", color=colour, label=name)
    ax.fill_between(counts, low, high, color=colour, alpha=0.2)
spread = of_rule.mean(1).max() - of_rule.mean()
ax.axhline(spread, color=PALETTE[1], linestyle="--", label="best rule of all")
ax.axhline(0, color="0.3", linewidth=0.8)
ax.set(xlabel="Earlier animals", ylabel="Better than the mean rule by")
ax.set_xscale("log")
ax.set_xticks(counts, counts)
ax.minorticks_off()
ax.legend(loc="upper left", bbox_to_anchor=(1, 1))

# %% [markdown]
# With a single animal the choice looks far better than it is (grey above blue; bands
# hold 80 % of draws), and with every further one both come closer. Mind the axis, too:
# all that can be gained is a few hundredths of the best site's response over the *mean*
# of the grid, bad rules included. The first few animals give most of it.
#
# ## The next animal
#
# Now the rat, once. Beside the rule that was chosen: the default, the published ones, a
# greedy rule that is never curious, and one that takes sites to be alone.

# %%
maps = nm.datasets.load("rat_motor_maps")["maps"].to_dataset()  # row by row, as ours
rat = [s.noisy_world(one, 0.3, seed=k) for k, one in enumerate(maps["mean"].values.T)]
unseen = rats(1000)
contenders = {
    "chosen": frozen,
    "default": s.Rule(),
    "published, fixed": s.preset("bonizzato_rat"),
    "published, fitted": s.preset("bonizzato_rat_fitted"),
    "greedy": s.Rule(first_weight=0.0, last_weight=0.0),
    "sites alone": s.Rule(length_scale=0.1, trend=0.0),
}
few = unseen[:: max(N_ANIMALS // 20, 1)]
tested = {
    name: (scored(rule, few, seed=5000), scored(rule, rat, seed=9000))
    for name, rule in contenders.items()
}

# %%
figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.9), sharey=True)
for k, both in enumerate(tested.values()):
    for which, found in enumerate(both):
        # Of new animals over animals, of the rat over sessions: one animal is one.
        rows = found.mean(2) if which == 0 else found.mean(1)
        half = 1.96 * rows.std(1, ddof=1) / np.sqrt(rows.shape[1])
        for ax, value, around in zip(axes, rows.mean(1), half, strict=True):
            y, colour = k + 0.15 * (2 * which - 1), PALETTE[which]
            ax.errorbar(value, y, xerr=around, color=colour, marker="o", markersize=5)
for ax, name in zip(axes, NAMES, strict=True):
    ax.set_xlabel(name)
axes[0].set_yticks(range(len(tested)), tested)
axes[0].invert_yaxis()
for which, label in enumerate((f"{len(few)} simulated animals", "the recorded rat")):
    axes[1].plot([], [], "o", color=PALETTE[which], label=label)
axes[1].legend(loc="upper left", bbox_to_anchor=(1, 1))
print("on the rat          exploration   exploitation")
for name, (_, found) in tested.items():
    print(f"{name:18s}{found[0].mean():13.3f}{found[1].mean():15.3f}")

# %% [markdown]
# Bars are 95 % intervals: of the simulated animals, which are new as well, over
# animals; of the rat over sessions, since one animal is one. The chosen rule and the
# default are hardly to be told apart, and the published ones are near. Far off are the
# greedy rule, which stays at the first fair site that it finds, and, in exploitation,
# the one that learns nothing from neighbours: it has to try every site.
#
# ## A map to begin with
#
# If animals are *alike*, the first trial need not be a guess. Here are animals that
# share a map, more or less: the logarithm of each is a mixture of a common one and one
# of its own. Four earlier ones are mapped in sessions, and `earlier_map` makes of these
# what the next session begins with.

# %%
space = s.Space(
    {"electrode": [str(k + 1) for k in range(32)]},
    {str(k + 1): tuple(place) for k, place in enumerate(at)},
    fixed={"amplitude": 60.0, "pulse_width": 200.0, "frequency": 300.0},
)
unlimited = dict.fromkeys(
    ("amplitude", "charge_per_phase", "frequency", "n_pulses", "ramp"), np.inf
)  # nothing is stimulated here
limits = s.Limits(
    **unlimited, imbalance=0.0, interval=0.0, per_hour=1e6, per_electrode_per_hour=1e6
)


def shape_of(seed):
    """Return the logarithm of a simulated map, standardised."""
    logarithm = np.log(s.simulate_world(at, seed=seed, floor=(0, 0)).mean)
    return (logarithm - logarithm.mean()) / logarithm.std()


def animal(seed, likeness):
    """Return an animal that shares a map with others."""
    own = np.sqrt(1 - likeness**2) * shape_of(seed)
    mean = np.exp(0.8 * (likeness * common + own))
    return s.noisy_world(mean / mean.max() + 0.2, 0.3, seed=seed)


common = shape_of(7)
sessions = []
for seed in range(1, 5):
    world = animal(seed, 0.8)
    rig = s.ReplayRig(
        world.trials[:, None], space.axes["electrode"], ["response"], seed=0
    )
    curious = s.Rule(first_weight=1.3, last_weight=1.3)
    given = {"seed": seed, "n_planned": 2 * N_TRIALS, "rule": curious}
    with s.Session.open(f"earlier{seed}.db", space, limits, **given) as session:
        s.run(session, rig, 2 * N_TRIALS)
    sessions.append(s.Session.read(f"earlier{seed}.db"))
prior = s.earlier_map(sessions, space, "response")

# %%
figure, axes = plt.subplots(1, 6, figsize=(7.2, 2.2))
for ax, seed in zip(axes, range(1, 5), strict=False):
    draw_map(ax, np.log(animal(seed, 0.8).mean), f"Animal {seed}")
draw_map(axes[4], prior, "Earlier map")
draw_map(axes[5], common, "In common")
agreement = np.corrcoef(prior, common)[0, 1]
print(f"correlation of the earlier map with what is common: {agreement:.2f}")

# %% [markdown]
# Next animals, from nothing in common to nearly all. `Session.open(...,
# earlier=prior)` uses the map; simulated, it is an argument of `simulate`.

# %%
LIKENESS = (0.0, 0.5, 0.8, 0.95)
calm = frozen._replace(first_weight=0.5)
ways = {
    "without": (frozen, None, "0.5"),
    "with the earlier map": (frozen, prior, PALETTE[0]),
    "with it, less curious": (calm, prior, PALETTE[1]),
}
figure, axes = plt.subplots(2, 4, figsize=(7.2, 4.4), sharex=True, sharey=True)
query = np.arange(1, N_TRIALS + 1)
for column, likeness in enumerate(LIKENESS):
    new = [animal(2000 + k, likeness) for k in range(N_ANIMALS // 2)]
    for name, (rule, given, colour) in ways.items():
        runs = [
            s.simulate(
                world, at, rule, N_TRIALS, seed=k, n_sessions=N_SESSIONS, earlier=given
            )
            for k, world in enumerate(new)
        ]
        for row, score in enumerate(("exploration", "exploitation")):
            curves = np.array([run[score].values.mean(0) for run in runs])
            half = 1.96 * curves.std(0) / np.sqrt(len(curves))
            ax, line = axes[row, column], curves.mean(0)
            ax.plot(query, line, color=colour, label=name)
            ax.fill_between(query, line - half, line + half, color=colour, alpha=0.2)
    axes[0, column].set_title(f"Likeness {likeness:g}")
    axes[1, column].set_xlabel("Trial")
axes[0, 0].set(ylabel="Exploration", ylim=(0, 1))
axes[1, 0].set_ylabel("Exploitation")
figure.legend(
    *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3
)

# %% [markdown]
# The more alike animals are, the better the first stimuli; without a map the search
# catches up within a session. Where there is nothing in common (left) the map costs
# rather than gives, though not much: how far it is followed is learned from the new
# animal's responses. The dip after the first stimulus is curiosity, which leaves a good
# site to look at others. A less curious rule comes back sooner, and where its trust is
# misplaced it pays for that at the end.
#
# ## What tuning gains
#
# Between good rules there is little to gain: the default was tuned on simulated maps as
# we did here, and what more of it finds on one's own animals is within the intervals.
# Against a bad rule there is much to gain, and one look at the two heat maps tells
# whether one has it. What gives more, if animals are alike, is a map of earlier ones.
# And all of it holds for animals like those that it was chosen by: single trials that
# vary as these do, maps that are as smooth.
