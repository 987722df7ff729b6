# %% [markdown]
# # Mapping an array
#
# Below an array of 96 electrodes lies motor cortex. Which electrode moves the thumb
# most? To try them all several times takes hours; a search that learns from every
# response tries the good ones often and the others hardly. Here a session is run from
# its limits to its report, through an artefact and an interruption, and then the search
# is measured: against published rules, and against chance.
#
# The responses are those of a capuchin (Bonizzato et al., Cell Reports Medicine 2023):
# 28 single trials of every electrode and of six muscles of the forelimb. A rig that
# replays them stands for the animal. Put the file below some folder and let
# `NEUROMOD_DATA` name that folder ([data sets](../datasets.md)); without it,
# `nm.datasets.simulate_stimulation_maps(seed=0)` makes the same of a simulated animal.

# %%
import matplotlib.pyplot as plt
import numpy as np

import neuromod as nm
from neuromod.core.errors import SessionError
from neuromod.core.style import PALETTE

s = nm.stimulation
plt.style.use("neuromod.core.neuromod")  # one look for all figures
maps = nm.datasets.load("capuchin_motor_maps")["maps"].to_dataset()
maps[["mean", "response"]] *= 1000  # of a unit that is not told
full = maps["output"].values.tolist()
muscles = ["ulnaris", "digitorum", "radialis", "opponens", "brevis", "adductor"]
maps = maps.assign_coords(output=muscles)
electrodes = maps["electrode"].values.tolist()
N_TRIALS, N_SESSIONS, QUERIES = 60, 30, 96
for short, name in zip(muscles, full, strict=True):
    print(f"{short:12s}{name}")

# %% tags=["fast"]
N_TRIALS, N_SESSIONS, QUERIES = 24, 2, 6

# %% [markdown]
# ## What may be sent
#
# A `Space` says what could be stimulated, and `Limits` what may be. Every limit must be
# given. They are checked on every ask, after the search has chosen and without asking
# it. The rig here only replays, so no time has to pass between two stimuli; with tissue
# it has.

# %%
positions = dict(zip(electrodes, maps["position"].values.tolist(), strict=True))
space = s.Space(
    {"electrode": electrodes},
    positions,
    fixed={"amplitude": 60.0, "pulse_width": 200.0, "frequency": 300.0, "n_pulses": 13},
)
limits = s.Limits(
    amplitude=100.0,  # uA
    charge_per_phase=20.0,  # nC
    imbalance=0.0,  # nC
    frequency=330.0,  # Hz
    n_pulses=50,
    interval=0.0,  # s
    per_hour=1000,
    per_electrode_per_hour=100,
    ramp=100.0,  # uA
)
too_much = s.Stimulus(("7",), amplitude=120.0, pulse_width=200.0, frequency=300.0)
print(*limits.violations(too_much, [], now=0.0), sep="\n")

# %% [markdown]
# ## Ask, send, tell
#
# A session is a journal on the disk. All six muscles are recorded; the first to be
# large is a muscle of the thumb. An ask is in the journal before its stimulus can be
# sent, and a response before the next ask.

# %%
TARGET = "opponens"
given = {"outputs": muscles, "aim": TARGET, "n_planned": N_TRIALS, "seed": 1}
session = s.Session.open("capuchin.db", space, limits, **given)
rig = s.ReplayRig(maps["response"].values, electrodes, muscles, seed=1)
for _ in range(3):
    ask = session.ask()
    response = rig.stimulate(ask.stimulus, ask.point, ask.id)
    session.tell(ask.id, response)
    print(f"{ask.id}: electrode {ask.point['electrode']:>2s}, {response[TARGET]:.1f}")

# %% [markdown]
# What cannot be used is rejected, with the reason. It counts as sent for all limits,
# and nothing is learned from it. (`tell(..., valid=False)` keeps the response too, and
# a `Rule` with a `largest_surprise` finds outliers by itself.)

# %%
ask = session.ask()
session.reject(ask.id, "the animal moved")
print(session.trials[ask.id].fate, "-", session.trials[ask.id].reason)

# %% [markdown]
# `run` does the same trial after trial, and watches the rig's heartbeat meanwhile.

# %%
N_BEFORE = N_TRIALS // 4
s.run(session, rig, N_BEFORE - len(session.trials))
s.plot_session(session)

# %% [markdown]
# After a quarter of the trials the map (**a**) is coarse and the uncertainty (**b**) is
# large wherever no dot is near: the search has spread its trials (**c**), and what it
# takes for the best site (ring) has changed several times (circles in **d**). The cross
# is the trial that was rejected.
#
# ## An interruption
#
# The next stimulus is asked for, and then the computer dies. Was it sent? Opened again,
# the session comes to the bits that it had, shows the trial as unresolved, and asks for
# nothing before a person has said what happened.

# %%
ask = session.ask()
session.close()  # all that is left of a process that is killed here
session = s.Session.open("capuchin.db")
print("unresolved:", [trial.id for trial in session.unresolved])
try:
    session.ask()
except SessionError as error:
    print(error)

# %%
s.plot_map(session)

# %% [markdown]
# The trial that waits has a ring of its own (unless it is at the best site, whose ring
# lies above). Somebody looks at the stimulator, says that it was sent, and the session
# goes on to its end.

# %%
session.resolve(ask.id, sent=True, by="the experimenter")
s.run(session, rig, N_TRIALS - len(session.trials))
print("best:", session.best(), " may end:", session.finished())

# %%
s.plot_session(session)

# %% [markdown]
# Now most trials are at the best site and its neighbours (**c**). Uncertainty (**b**)
# is small there and large elsewhere: the search knows the top of the map, not its
# plains. `finished` says whether anything is still likely to be a tenth better. The
# truth, which only a replay can know:

# %%
truth = maps["mean"].sel(output=TARGET)
believed = session.map().sel(output=TARGET)["expected"].values
rank = (
    (-truth.values).argsort().argsort()[electrodes.index(session.best()["electrode"])]
)
share = truth.values[electrodes.index(session.best()["electrode"])] / truth.values.max()
print(f"the best site found has {share:.2f} of the largest mean, rank {rank + 1} of 96")

figure, (ax, beside) = plt.subplots(1, 2, figsize=(7.2, 3.2))
row, column = maps["position"].values.T
drawn = ax.scatter(column, row, 110, truth, cmap="viridis")
figure.colorbar(drawn, ax=ax, label="Mean of 28 trials (a.u.)", shrink=0.8)
ax.set(xlabel="Column (pitches)", ylabel="Row (pitches)", aspect="equal")
ax.invert_yaxis()
tried = session.map()["n_visits"].values > 0
for which, label in ((~tried, "never tried"), (tried, "tried")):
    beside.plot(truth.values[which], believed[which], "o", markersize=4, label=label)
most = max(truth.values.max(), believed.max()) * 1.05
beside.plot([0, most], [0, most], color="0.7", linewidth=0.8, zorder=0)
beside.set(xlabel="Mean of 28 trials (a.u.)", ylabel="Expected (a.u.)")
beside.legend()

# %% [markdown]
# Sites that were tried lie near the diagonal. Those that never were are guesses from
# their neighbours, and a guess may be far too low: a good site among bad ones is missed
# that way. So a session like this gives a good site, with nearly all stimuli spent on
# it, and not a map. Who wants a map wants a rule that stays curious (`last_weight`).

# %% [markdown]
# ## One muscle against the others
#
# All outputs were learned along the way, so the same session knows of every muscle
# where it responds most.

# %%
shares = maps["mean"] / maps["mean"].max("electrode")
for name in muscles:
    label = session.best(aim=name)["electrode"]
    true = float(shares.sel(output=name, electrode=label))
    print(f"{name:10s} electrode {label}, {true:.2f} of its largest mean")

# %% [markdown]
# The search went where the thumb is, so of other muscles it knows what lies there. To
# ask for one of them, or for one *against* others, an ask takes an `Aim`
# (`session.ask(aim=...)`), or a session begins with it: the opponens, and not the
# extensor of the fingers (*digitorum*).

# %%
other = "digitorum"
aim = {"aim": s.Aim(TARGET, against=(other,), penalty=0.25)}
selective = s.Session.open("selective.db", space, limits, **given | aim)
s.run(
    selective,
    s.ReplayRig(maps["response"].values, electrodes, muscles, seed=2),
    N_TRIALS,
)
expected = selective.map()["expected"].assign_coords(candidate=electrodes)
print("penalty   electrode   opponens  digitorum")
winners = {}
for penalty in (0.0, 0.25, 0.5, 1.0):
    tried_aim = s.Aim(TARGET, (other,), penalty)
    winners[penalty] = label = selective.best(aim=tried_aim)["electrode"]
    values = expected.sel(candidate=label, output=[TARGET, other]).values
    print(f"{penalty:7g}{label:>12s}{values[0]:11.0f}{values[1]:11.0f}")

# %% [markdown]
# The map is one of logarithms, so a penalty of 1 asks for the largest *ratio*, and a
# site that does next to nothing may have it. A smaller one asks for strength as well.
# The sites that no other site beats in both are the Pareto list: it needs no penalty,
# only a choice at the end.

# %%
front = [point["electrode"] for point in selective.pareto()]
x, y = (expected.sel(output=name).to_series() for name in (other, TARGET))
seen = selective.map()["n_visits"].values > 0
front = sorted(front, key=x.get)
figure, ax = plt.subplots(figsize=(5.6, 3.2))
ax.plot(x[~seen], y[~seen], "o", color="0.85", markersize=3, label="never tried")
ax.plot(x[seen], y[seen], "o", color=PALETTE[0], markersize=4, label="tried")
ax.plot(x[front], y[front], "o-", color=PALETTE[1], markersize=5, label="Pareto list")
for label in dict.fromkeys(winners.values()):
    told = ", ".join(f"{p:g}" for p, won in winners.items() if won == label)
    side = "right" if x[label] > x.max() / 2 else "left"
    where = {"xytext": (-7 if side == "right" else 7, 5), "ha": side}
    ax.annotate(
        f"penalty {told}", (x[label], y[label]), textcoords="offset points", **where
    )
ax.set(xlabel="Expected of digitorum (a.u.)", ylabel="Expected of opponens (a.u.)")
ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
selective.close()

# %% [markdown]
# ## What is left
#
# The result holds the trials, the map and how they came about; the report is one page
# for those who were not there, with the journal in it. `replay` goes through the
# journal and chooses every stimulus again: it must come to the same.

# %%
session.stop("done")
session.result().save("capuchin.nc")
page = s.report(session, "capuchin.html", title="Capuchin 1, opponens pollicis")
session.close()
checked = s.replay("capuchin.db")
print(f"{page.name}: {page.stat().st_size / 1e3:.0f} kB")
print(f"{checked.n_asks} stimuli, {len(checked.other)} would be chosen otherwise")

# %% [markdown]
# ## How good is it?
#
# One session says little. Simulated sessions on the same trials tell how a rule does on
# average: *exploitation* is what the stimulus that is sent does, *exploration* what the
# site does that is believed best by then, both as shares of the best site of all. The
# default rule was tuned on simulated maps and on averages over rats, not on this animal
# nor any other single one; the published one has fixed length scales or fitted ones,
# and stands as it is. Chance tries sites at random and keeps the best mean.


# %%
def at_random(world, seed):
    """Return scores of sites at random, in the form of simulated sessions."""
    rng = np.random.default_rng(seed)
    share = world.mean / world.mean.max()
    shape = N_SESSIONS, QUERIES
    sites, draws = rng.integers(len(share), size=shape), rng.integers(28, size=shape)
    explored = np.empty(shape)
    for session, (row, drawn) in enumerate(zip(sites, draws, strict=True)):
        total, count = np.zeros((2, len(share)))
        for query, (site, draw) in enumerate(zip(row, drawn, strict=True)):
            total[site] += world.trials[site, draw]
            count[site] += 1
            best = np.argmax(total / np.maximum(count, 1))
            explored[session, query] = share[best]
    return {"exploration": explored, "exploitation": share[sites]}


rules = {
    "default": s.Rule(),
    "published, fixed": s.preset("bonizzato_primate"),
    "published, fitted": s.preset("bonizzato_primate_fitted"),
}
worlds = [s.recorded_world(maps["response"].sel(output=name)) for name in muscles]
at = maps["position"].values
runs = {
    name: [
        s.simulate(world, at, rule, QUERIES, seed=k, n_sessions=N_SESSIONS)
        for k, world in enumerate(worlds)
    ]
    for name, rule in rules.items()
}
runs["at random"] = [at_random(world, k) for k, world in enumerate(worlds)]
SCORES = ("exploration", "exploitation")
scores = {  # (score, muscle, session, query)
    name: np.array([[np.asarray(run[score]) for run in found] for score in SCORES])
    for name, found in runs.items()
}

# %%
figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.0), sharey=True)
query = np.arange(1, QUERIES + 1)
for (name, found), colour in zip(scores.items(), [*PALETTE[:3], "0.5"], strict=True):
    of_sessions = found.mean(1)  # over muscles
    middle = of_sessions.mean(1)
    half = 1.96 * of_sessions.std(1, ddof=1) / np.sqrt(N_SESSIONS)
    for ax, score, line, around in zip(axes, SCORES, middle, half, strict=True):
        ax.plot(query, line, color=colour, label=name)
        ax.fill_between(query, line - around, line + around, color=colour, alpha=0.25)
        ax.set(xlabel="Trial", title=score.capitalize(), ylim=(0, 1))
axes[0].set_ylabel("Share of the best site")
axes[0].legend(loc="lower right")

# %% [markdown]
# Bands are 95 % intervals of the mean over sessions, these six muscles as they are.
# The table tells the differences, with the same intervals, after a quarter, a half and
# all of the trials.

# %%
marks = [QUERIES // 4 - 1, QUERIES // 2 - 1, QUERIES - 1]
print(
    f"{'default minus ...':30s}" + "".join(f"  after trial {k + 1:<4d}" for k in marks)
)
for score, name in [(j, n) for j in (0, 1) for n in list(scores)[1:]]:
    one, two = (scores[key][score].mean(0)[:, marks] for key in ("default", name))
    gap = one.mean(0) - two.mean(0)
    half = 1.96 * np.sqrt((one.var(0, ddof=1) + two.var(0, ddof=1)) / N_SESSIONS)
    print(f"{SCORES[score]:13s}{name:18s}", end="")
    print("".join(f"{g:+8.3f} ±{h:6.3f} " for g, h in zip(gap, half, strict=True)))

# %%
figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.9), sharey=True)
for k, (name, found) in enumerate(scores.items()):
    values = found[0].mean(1)[:, -1], found[1].mean((1, 2))
    colour = [*PALETTE[:3], "0.5"][k]
    for ax, value in zip(axes, values, strict=True):
        where = np.arange(len(muscles)) + 0.15 * (k - 1.5)
        ax.plot(value, where, "o", color=colour, markersize=5, label=name)
axes[0].set(xlabel="Exploration after the last trial", yticks=range(len(muscles)))
axes[0].set_yticklabels(muscles)
axes[1].set_xlabel("Exploitation, mean over trials")
axes[1].legend(loc="upper left", bbox_to_anchor=(1, 1))

# %% [markdown]
# All rules beat chance. The default one is early: long before the end its stimuli do
# nearly what the best site does, while the published ones still try what else there is.
# That is what it gains, on every muscle (right).
#
# It pays with the end. Once there are about as many trials as sites, the published
# rules know a *better* site than the default (left), since it has long settled on its
# own. The two extensors (digitorum, radialis) make most of that: for them it often
# stays at a lower hill. Where trials cost much, as they do while an animal waits, the
# first matters; where the best site is wanted for months, the second, and a rule that
# stays curious is the better one. How to set that for one's own animals is [another
# tutorial](tune_on_earlier_animals.ipynb). And this is one animal: six muscles of one
# array, whose maps are much alike, say little of the next one.
