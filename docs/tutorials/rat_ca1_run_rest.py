# %% [markdown]
# # States of the hippocampus while a rat runs and rests
#
# A rat ran on a W-shaped maze, rested, ran and rested again, for 72 minutes, while 25
# units were recorded in area CA1. Does the population pass through a few states? Are
# they running and resting? Who acts on whom in each? And is the model that says so a
# good one?
#
# The recording comes with nelpy (Kemere lab, Rice University). Put its file below some
# folder and let `NEUROMOD_DATA` name that folder; `nm.datasets.describe` tells the name
# of the file, its source and its faults.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr

import neuromod as nm
from neuromod.core.style import state_colours

plt.style.use("neuromod.core.neuromod")  # one look for all figures
tree = nm.datasets.load("rat_ca1_wmaze", bin_size=0.25, exclude=["19", "23"])
recording = tree["recording"].to_dataset()
print(recording)

# %% [markdown]
# ## Look before you fit
#
# Counts are in bins of a quarter of a second: these units fire seldom, and finer bins
# would be nearly empty. Two units are left out: 19 is noise, and 23, suspect too, fires
# in the last ten minutes alone.

# %%
BIN = 0.25
counts, block = recording["spikes"].values, recording["block"].values
minutes = (recording["time"].values - recording["time"].values[0]) / 60
rate = np.convolve(counts.mean(axis=1) / BIN, np.ones(40) / 40, "same")
order = np.argsort(counts.mean(axis=0))
bins, units = np.nonzero(counts[:, order])

figure, (above, below) = plt.subplots(2, 1, figsize=(7.2, 3.4), sharex=True)
above.fill_between(minutes, 0, 5, where=block == "run", color="0.9", linewidth=0)
above.plot(minutes, rate, color="0.3", linewidth=0.7)
above.set(ylabel="Mean rate (Hz)", ylim=(0, 5), title="Grey: the rat runs")
below.plot(minutes[bins], units, ",", color="black", alpha=0.3, rasterized=True)
below.set(xlabel="Time (min)", ylabel="Unit, by rate")

first = counts[minutes < 1].mean(axis=0) / BIN
later = counts[minutes >= 1].mean(axis=0) / BIN
print(f"{later.min():.2f} to {later.max():.2f} Hz, median {np.median(later):.2f} Hz")
odd = first.argmax()
print(
    f"unit {recording['neuron'].values[odd]}: {first[odd]:.0f} Hz in the first minute, "
    f"{later[odd]:.1f} Hz later"
)

# %% [markdown]
# One unit fires in the first minute as it never does again. A state would be spent on
# that minute, so we begin after it.

#
# What the rat did comes in two ways: as blocks of many minutes, and as its position,
# from which we tell bin by bin whether it moved.

# %%
recording = recording.isel(time=minutes >= 1)
spikes, block = recording["spikes"], recording["block"].values
position = nm.io.align(tree["behaviour"]["position"], spikes, "mean")
position = position.rolling(time=4, center=True, min_periods=1).mean()
speed = np.hypot(*position.differentiate("time").transpose("space", "time").values)
moving = speed > 15  # camera pixels per second
FEW, MANY, N_RESTARTS, N_DRAWS = 2, 4, 3, 5
COMPARED = (1, 2, 3, 4)

moves = np.where(moving, "moves", "is still")
shares = pd.crosstab(
    block, moves, rownames=["block"], colnames=["rat"], normalize="index"
)
print(shares.round(2))

# %% tags=["fast"]
# Some minutes around the changes between running and resting, of the units that fire
# most, as if nothing lay between them, and fewer numbers of states.
changes = np.flatnonzero(block[1:] != block[:-1]) + 1
near = (np.abs(np.arange(len(block))[:, None] - changes) < 280).any(axis=1)
busy = np.sort(np.argsort(-spikes.values[near].sum(axis=0))[:6])
spikes, block, moving = spikes[near, busy], block[near], moving[near]
spikes = spikes.assign_coords(time=np.arange(len(block)) * BIN)
FEW, MANY, N_RESTARTS, N_DRAWS = 2, 2, 1, 1
COMPARED = (2,)

# %% [markdown]
# ## Fit
#
# In each state the units excite and inhibit one another through their own couplings.
# The default prior makes every coupling of every state inhibitory, absent or
# excitatory, and learns from all states which pairs are coupled. We fit two states, for
# running and resting, and four.

# %%
fits = {
    n: nm.switching.fit(spikes, n, seed=0, n_restarts=N_RESTARTS, progress=False)
    for n in {FEW, MANY}
}
for n, fit in fits.items():
    climbs = fit.data["history"]
    reached = climbs["log_likelihood"].max("iteration").values / len(block)
    kept = climbs.attrs["restart_kept"]
    print(f"{n} states: {reached.round(3)} nats per bin, went on from start {kept}")

# %% [markdown]
# EM climbs to the next hill, so it is started several times, and goes on with the
# default prior from where the best start has come; only that one climbs to the end.
# Hills differ from start to start: make little of the details of a state.
#
# ## How many states?
#
# The likelihood of spikes that a fit has seen only rises with the number of states. So
# `select` leaves stretches of the recording out, with a gap on both sides, and scores
# them. For this a ridge will do in place of the default prior, and a single start: it
# takes a fit for each number and each stretch.

# %%
selection = nm.switching.select(
    spikes,
    COMPARED,
    seed=0,
    n_folds=3,
    prior="ridge",
    n_restarts=1,
    tolerance=1e-3,
    progress=False,
)
ax = nm.switching.plot_selection(selection)
told = ["difference", "difference_standard_error", "stability", "smallest_occupancy"]
print(selection[told].to_dataframe().round(4))
print("bits per spike:", selection["bits_per_spike"].mean("fold").values.round(3))

# %% [markdown]
# Held-out spikes ask for more states than one, and still gain from the last that was
# tried. That is common: real dynamics are no Markov chain of a few states, and every
# further state takes up a piece of what is left. A number of states is then a choice of
# detail, and not a discovery. We look at four.

# %%
fit = fits[MANY]
colours = state_colours(MANY)
path = nm.switching.decode(fit, spikes)
probability = nm.switching.smooth(fit, spikes)
first = {
    behaviour: float(spikes["time"].values[block == behaviour][80])
    for behaviour in ("run", "rest")
}
figure, axes = plt.subplots(2, 1, figsize=(7.2, 5.2))
for ax, (behaviour, start) in zip(axes, first.items(), strict=True):
    nm.switching.plot_states(fit, spikes, start=start, stop=start + 40, ax=ax)
    ax.set_ylabel(f"Neuron ({behaviour})")
axes[1].get_legend().remove()

# %% [markdown]
# ## What are the states?
#
# How long they last, what follows what, and how much the population fires in each.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.8), width_ratios=(1, 1.6))
nm.switching.plot_transitions(fit, ax=left)
nm.switching.plot_dwell_times(fit, spikes, ax=right)
visits = nm.switching.dwell_times(path, BIN)
states = np.arange(MANY)
pd.DataFrame(
    {
        "share of time": nm.switching.occupancy(probability),
        "share of run": [(path.values[block == "run"] == s).mean() for s in states],
        "share of rest": [(path.values[block == "rest"] == s).mean() for s in states],
        "rat moves": [moving[path.values == s].mean() for s in states],
        "mean visit (s)": [visits.get(s, np.zeros(1)).mean() for s in states],
        "spikes per s, all units": [
            spikes.values[path.values == s].sum(axis=1).mean() / BIN for s in states
        ],
    },
    index=pd.Index(states, name="state"),
).round(2)

# %% [markdown]
# The dashed lines are the geometric law of a Markov chain. In the most frequent state
# nearly all is quiet; the others are bursts, of different units, and last for less than
# a second. None is a behaviour that lasts for minutes.
#
# ## Are they running and resting?
#
# Two states first, matched to the two behaviours so that most bins agree. Is the
# agreement more than an accident? States and behaviour are both slow, and two slow
# signals that have nothing to do with each other agree in some stretch. So it is held
# against all circular shifts of the states by more than a minute, each matched anew.

# %%
running = (block == "run").astype(int)
two = nm.switching.decode(fits[FEW], spikes)
shifts = nm.switching.circular_shift_test(two, running, minimum_shift=int(60 / BIN))
print(
    f"agreement {shifts.agreement:.1%}, 99 % of the shifts below "
    f"{shifts.percentile_99:.1%}, p = {shifts.p_value:.2f}"
)

# %% [markdown]
# It is not: **two states of these neurons are not the blocks of running and resting**.
# They are a silence and a burst, and both come in both.
#
# Four states cannot be matched one to one. Instead, the first run and the first rest
# teach which behaviour each state means: the one of which it takes the larger share.
# The second run and rest, which the mapping has not seen, are scored. (The *fit* has
# seen their spikes, but no behaviour.)


# %%
def taught(labels, teaching, scored):
    """Learn what states mean in some bins; score them, and all shifts, in others."""
    learned, states_then = labels[teaching], path.values[teaching]
    shares = [[(states_then[learned == k] == s).mean() for k in (0, 1)] for s in states]
    told = (np.diff(shares, axis=1) > 0)[path.values[scored], 0]
    true, shortest = labels[scored], int(60 / BIN)
    shifts = np.arange(shortest, len(true) - shortest + 1)
    null = np.array([(told == np.roll(true, shift)).mean() for shift in shifts])
    agreement, often = (told == true).mean(), max(true.mean(), 1 - true.mean())
    p_value = (1 + (null >= agreement).sum()) / (1 + len(null))
    print(
        f"agreement {agreement:.1%}, 99 % of the shifts below "
        f"{np.quantile(null, 0.99):.1%}, p = {p_value:.4f}; "
        f"always telling the more frequent: {often:.1%}"
    )


changed = np.flatnonzero(block[1:] != block[:-1]) + 1
parts = np.split(np.arange(len(block)), changed)
taught(block == "run", np.concatenate(parts[:2]), np.concatenate(parts[2:]))

# %% [markdown]
# That is a trace at best. The shifts do a little worse, but what is scored holds one
# change from running to resting, and any slow drift of the population would beat its
# shifts there; and always telling the more frequent behaviour does nearly as well.
# **The blocks are not what the states are about.**
#
# But within a block of "running" the rat stands still more than half of the time, and
# the bursts last for less than a second. So ask about the moment: does the rat move in
# this bin?

# %%
shifts = nm.switching.circular_shift_test(
    two, moving.astype(int), minimum_shift=int(60 / BIN)
)
print(
    f"two states: agreement {shifts.agreement:.1%}, 99 % of the shifts below "
    f"{shifts.percentile_99:.1%}, p = {shifts.p_value:.4f}"
)
half = np.arange(len(block)) < len(block) // 2
taught(moving, half, ~half)

# %% [markdown]
# No shift does as well, with two states or with four. The table above tells how: in a
# burst the rat is more likely to move than in the quiet state, up to twice as likely.
# It is no decoder: the rat is still most of the time, and always telling "still" would
# be right more often. But it is what the states have to do with behaviour.
#
# When the rat has set off, the quiet state gives way within a few seconds. At the two
# ends of running, which are all that this recording has, it takes over little by
# little: there the probabilities are averaged over 20 s, and two events make no
# statistics.

# %%
quiet, going = int(2 / BIN), int(1 / BIN)
onsets = [
    bin
    for bin in np.flatnonzero(np.diff(moving.astype(int)) == 1) + 1
    if not moving[max(bin - quiet, 0) : bin].any() and moving[bin : bin + going].all()
]
ends = [bin for bin in changed if block[bin] == "rest"]
time = spikes["time"].values
slow = probability.rolling(time=int(20 / BIN), center=True, min_periods=1).mean()
around = nm.switching.peri_event(slow, time[ends], window=(-60, 60))

figure, (left, right) = plt.subplots(1, 2, figsize=(7.6, 2.6), sharey=True)
nm.switching.plot_peri_event(fit, spikes, time[onsets], window=(-4, 4), ax=left)
left.get_legend().remove()
left.set(title=f"The rat sets off ({len(onsets)} times)")
for state, colour in enumerate(colours):
    mean = around["state_probability"].sel(state=state)
    right.plot(around["time"], mean, color=colour, label=f"state {state}")
right.axvline(0, color="0.5", linewidth=0.6, zorder=0)
right.set(title="Running ends (2 times)", xlabel="Time from event (s)")
right.legend(loc="center left", bbox_to_anchor=(1, 0.5))

# %% [markdown]
# ## Who acts on whom?
#
# The depth of the colour is the posterior probability of a coupling, red if it excites
# and blue if it inhibits. `connections` chooses which to report so that, if the model
# is right, on average 5 % of them are false.

# %%
figure, axes = plt.subplots(1, 2, figsize=(7.6, 3.2))
for state, ax in enumerate(axes):
    nm.switching.plot_edges(fit, state=state, ax=ax)
found = nm.switching.connections(fit, false_discovery_rate=0.05)
on = found["is_connected"]
itself = xr.DataArray(np.eye(len(found["neuron"]), dtype=bool), dims=on.dims[1:])
pd.DataFrame(
    {
        "found": on.sum(on.dims[1:]),
        "excite": (on & (found["sign"] > 0)).sum(on.dims[1:]),
        "inhibit": (on & (found["sign"] < 0)).sum(on.dims[1:]),
        "on itself": (on & itself).sum(on.dims[1:]),
    },
    index=pd.Index(states, name="state"),
)

# %% [markdown]
# Most neurons are "coupled" to themselves, and in bins of 250 ms most others are not
# synapses either: cells with the same place field fire together. The couplings say who
# tells of whom, a quarter of a second later; and the posterior takes states as known,
# so that the rate of false ones is too hopeful. For synapses use bins of a few ms.
#
# ## Is the model a good one?
#
# It can be right in what it was asked and wrong in the rest. Three checks.
#
# **Time rescaling.** Seen through the rates that the model predicts, spikes should come
# like a Poisson process of rate one.

# %%
rescaled = nm.switching.time_rescaling(fit, spikes, seed=0)
ax = nm.switching.plot_time_rescaling(rescaled)
outside = int((rescaled["statistic"] > rescaled["bound"]).sum())
print(f"{outside} of {len(rescaled['neuron'])} neurons leave their band")

# %% [markdown]
# The check rejects the model for every neuron. Most lines run below the
# diagonal: far too many intervals are short. These cells burst within a bin, which a
# Poisson count cannot. With thousands of spikes it takes little to be rejected; how far
# a line is from the diagonal tells how much is missed.
#
# **Co-smoothing.** Can a neuron be told from the others, without its own past?

# %%
co = nm.switching.co_smoothing(fit, spikes)
told = co["bits_per_spike"].values
order = np.argsort(told)
figure, ax = plt.subplots(figsize=(6.4, 2.4))
ax.bar(
    range(len(told)), told[order], color=np.where(told[order] > 0, "0.6", colours[1])
)
ax.set_xticks(range(len(told)), co["neuron"].values[order])
ax.set(xlabel="Neuron", ylabel="Bits per spike\nfrom the other neurons")
print(f"all neurons: {float(co['bits_per_spike_total']):.2f} bits per spike")

# %% [markdown]
# Most can: the states and couplings carry over from neuron to neuron. Those below zero
# are told worse than by their mean rate.
#
# **Posterior predictive.** A recording that the model makes up should look like the
# real one.

# %%
made_up = nm.switching.posterior_predictive(fit, spikes, seed=0, n_draws=N_DRAWS)
exploded = int(made_up["diverged"].sum())
weight = fit.data["parameters"]["weight"].sum("basis").values
radius = [np.abs(np.linalg.eigvals(one)).max() for one in weight]
print(f"rates grow without bound in {exploded} of {N_DRAWS} recordings made up")
print("spectral radius of the couplings of each state:", np.round(radius, 1))

# %% [markdown]
# This is the clearest verdict of all. Once neurons fire much, the couplings amplify
# what they do (a spectral radius above one), and nothing in the model ends that. Given
# the real past it predicts well; left to itself it explodes. **Do not simulate from
# this fit.** Couplings explain bursts by bursts here. Without them the states have to
# explain everything, and the model can be run forward:

# %%
uncoupled = nm.switching.fit(
    spikes, MANY, seed=0, basis=None, n_restarts=2, tolerance=1e-5, progress=False
)
made_up = nm.switching.posterior_predictive(uncoupled, spikes, seed=0, n_draws=N_DRAWS)
pd.DataFrame(
    {
        "recording": made_up["observed"],
        "made up, lowest": made_up["predicted"].min("draw"),
        "made up, highest": made_up["predicted"].max("draw"),
    },
    index=made_up["statistic"].to_index(),
).round(3)

# %% [markdown]
# It gets the means right, for which it was fitted. Where the recording lies outside of
# what was made up, the model misses something: counts spread more in the recording, a
# bin resembles the next one more, and the population as a whole swings more, while
# pairs of neurons are a little less correlated.
#
# ## Bin by bin
#
# `filter` uses the past alone. `make_stepper` is the same one bin at a time, for an
# experiment that acts on the state while it lasts; arrays go in and come out.

# %%
stepper = nm.switching.make_stepper(fit)
state, seen = stepper.start, []
for values in spikes.values[:400]:
    state, now, _ = stepper.step(state, values)
    seen.append(now)
whole = nm.switching.filter(fit, spikes)[:400].values
print("farthest from filter:", f"{np.abs(np.array(seen) - whole).max():.0e}")
same = (whole.argmax(1) == probability.values[:400].argmax(1)).mean()
print(f"the state told at once is that told in hindsight in {same:.0%} of the bins")

# %% [markdown]
# ## Keep it
#
# One file without pickles holds the model and every array, with how they came about.

# %%
with tempfile.TemporaryDirectory() as folder:
    kept = nm.load(fit.save(Path(folder) / "w_maze.nc"))
again = nm.switching.smooth(kept, spikes)
print("the same to the last bit:", again.identical(probability))
