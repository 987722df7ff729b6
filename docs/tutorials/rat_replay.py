# %% [markdown]
# # Replay in a rat and in a network, by the same measures
#
# A rat ran back and forth on a track and then rested, while 31 units were recorded in
# area CA1. At rest such a population fires in bursts. Do they run through the places of
# the track again, only faster? And does a network that has learned to find its way
# along *the same rat's* path do so when it is left alone?
#
# The recording comes with nelpy (Kemere lab, Rice University). Put its file below some
# folder and let `NEUROMOD_DATA` name that folder. With a recording of your own the
# first two cells change.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr

import neuromod as nm
from neuromod.core.style import PALETTE

replay = nm.reactivation.replay
plt.style.use("neuromod.core.neuromod")  # one look for all figures
tree = nm.datasets.load("rat_ca1_linear_track", bin_size=0.005)
spikes = tree["recording"]["spikes"]
camera = tree["behaviour"]["position"]
print(
    f"{spikes.sizes['neuron']} units, {spikes.sizes['time'] * 0.005 / 60:.0f} minutes"
)

# %% [markdown]
# ## From pixels to a place on the track
#
# The camera counts pixels, and the file does not say how long one is. **That number has
# to come from you.** Here the track is taken to be 2 m long, which is a guess: lengths
# in centimetres below are as good as it is, and so are the limit of speed and the bins
# of space. Positions are then projected onto the line between the ends of the track.

# %%
ENDS = np.array([[145.0, 148.0], [473.0, 397.0]])  # of the track, in pixels
LENGTH = 200.0  # cm
scale = LENGTH / np.linalg.norm(ENDS[1] - ENDS[0])
position = replay.centimetres(camera, scale)
along = replay.linearise(position, scale * ENDS)
speed = replay.speed(position)
MIN_SPEED = 10.0  # cm/s: faster is running, slower is rest
N_SHUFFLES, N_PLANTED, N_TRIES, SHARES = 500, 200, 3, (0.2, 0.5, 1.0)
N_DEALS, N_STEPS, N_TRIALS, BURN_IN = 20, 2000, 200, 60.0

start = float(spikes["time"][0])
minutes = (along["time"] - start) / 60
on_track = minutes < 979 / 60
figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.5), width_ratios=(1, 2))
left.plot(*position.values[on_track].T, color="0.6", linewidth=0.4)
left.plot(*(scale * ENDS).T, "o-", color=PALETTE[1])
left.set(xlabel="x (cm)", ylabel="y (cm)", aspect="equal", title="The run, from above")
right.plot(minutes[on_track], along[on_track], color="0.3", linewidth=0.7)
right.axvspan(979 / 60, float(minutes[-1]), color="0.92")
right.text(24.5, 100, "rests,\noff the track", ha="center")
right.set(xlabel="Time (min)", ylabel="Along the track (cm)", title="Laps")

# %% tags=["fast"]
# Some minutes of running and of rest, and few draws of everything.
seconds = spikes["time"].values - start
some = (seconds < 420) | ((seconds > 1000) & (seconds < 1150))
spikes = spikes.isel(time=some)
N_SHUFFLES, N_PLANTED, N_TRIES, SHARES = 9, 9, 1, (0.5,)
N_DEALS, N_STEPS, N_TRIALS, BURN_IN = 2, 10, 20, 1.0

# %% [markdown]
# ## Place maps
#
# How often each unit fires at each place, counted only while the rat runs, and for each
# direction of running by itself: on a track most place cells fire in one of them.

# %%
running = spikes.isel(time=spikes["block"].values == "run")
maps = {"min_speed": MIN_SPEED, "direction": True}
tuning = replay.tuning_curves(running, along, 5.0, **maps)
ax = replay.plot_tuning(tuning)
bits = replay.spatial_information(tuning)
informative = int((bits > 0.5).sum())
print(f"mean speed of runs {tuning.run_speed:.0f} cm/s")
print(f"{informative} of {len(bits)} units tell more than half a bit per spike")

# %% [markdown]
# ## Can the place be decoded at all?
#
# Before any word on replay: maps from the even minutes, decoded in the odd ones, in
# which they have not seen a spike. Chance is the same guesses in another order.

# %%
minute = ((running["time"] - start) // 60).astype(int).values
taught = replay.tuning_curves(running.isel(time=minute % 2 == 0), along, 5.0, **maps)
wide = nm.io.read_spikes(running, bin_size=0.25)
fast = nm.io.align(speed, wide, "linear").values >= MIN_SPEED
odd = ((wide["time"] - start) // 60).astype(int).values % 2 == 1
held_out = wide.isel(time=fast & odd)
posterior = replay.decode(held_out, taught)
guess = replay.most_likely_position(posterior).isel(space=0)
true = nm.io.align(along, held_out, "linear")
error = replay.decoding_error(posterior, along)
generator = np.random.default_rng(0)
chance = [
    np.median(abs(generator.permutation(guess.values) - true.values))
    for _ in range(200)
]

figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.6), width_ratios=(2, 1))
shown = slice(0, 160)
left.plot(true.values[shown], color="0.6", linewidth=3, label="rat")
left.plot(guess.values[shown], ".", color=PALETTE[1], label="decoded")
left.set(xlabel="Bin of 250 ms, held-out runs", ylabel="Along the track (cm)")
left.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
right.hist(error, np.arange(0, 205, 10), color="0.75")
right.axvline(float(error.median()), color=PALETTE[1], label="median")
right.axvline(np.mean(chance), color="0.3", linestyle="--", label="by chance")
right.set(xlabel="Error (cm)", ylabel="Bins of 250 ms")
right.legend()
print(f"median error {float(error.median()):.0f} cm")
print(f"by chance {np.mean(chance):.0f} cm, at best {np.min(chance):.0f} cm of 200")

# %% [markdown]
# It can. (Where no unit fires the decoder points to the place of which the units know
# least, here near 190 cm: a silent bin is no measurement.) But a quarter of a second
# of running is one thing; a burst at rest is cut into bins of 20 ms, with one or two
# spikes in each.
#
# ## Bursts at rest
#
# `detect_events` looks for bursts of the whole population while the rat is still, and
# `event_counts` cuts them into bins. `analyse` does both, the maps and the scores below
# in one call.

# %%
found = replay.analyse(
    spikes,
    position,
    5.0,
    track=scale * ENDS,
    min_speed=MIN_SPEED,
    direction=True,
    n_shuffles=N_SHUFFLES,
    posteriors=True,
    seed=0,
)
events = found["events"].to_dataset()
duration = 1000 * (events["stop"] - events["start"])
counts = replay.event_counts(spikes, events, 0.02)
silent = float((counts.sum("neuron") == 0).mean())
print(f"{events.sizes['event']} events of {events.attrs['n_candidates']} candidates")
length, n_active = float(duration.median()), float(events["n_active"].median())
print(f"median: {length:.0f} ms, {n_active:.0f} units")
print(
    f"{float(counts.sum('neuron').mean()):.1f} spikes in a bin; {silent:.0%} have none"
)

# %% [markdown]
# Four of them: those whose best line leaves the shuffled ones farthest behind. They are
# chosen for their looks, and **prove nothing**: the best of three hundred look good
# whatever the brain does.

# %%
score, null = events["score"], events.sel(shuffle="cell_identity")
distance = (score - null["null_mean"]) / null["null_sd"]
best = distance.sel(statistic="line").values.argsort()[::-1][:4]
places, dynamics = (found["posteriors"][name] for name in ("place", "dynamics"))
figure, axes = plt.subplots(
    2, 4, figsize=(9.2, 5.0), height_ratios=(2.2, 1), squeeze=False
)
for column, event in enumerate(best):
    above, below = replay.plot_event(
        places, event, spikes, tuning, scored=events, ax=axes[0, column]
    )
    replay.plot_dynamics(dynamics, event, ax=axes[1, column])
    handles = axes[1, column].get_legend_handles_labels()
    axes[1, column].get_legend().remove()
    if column:
        for ax in (above, below, axes[1, column]):
            ax.set_ylabel("")
figure.legend(*handles, loc="outside lower center", ncols=3)

# %% [markdown]
# ## Is it replay? Against what?
#
# Each event has four scores: the share of probability within a band along the best
# straight *line*; the *correlation* of time and place; how *continuous* the
# movement is for a decoder with memory (state space); and how much it keeps to the maps
# of one *running direction*. Their mean over all events is held against sessions that
# were shuffled. Shuffles break different things, and so answer different questions:
#
# - **cell identity**: maps are dealt out anew among the units. Spikes stay where they
#   are, with all their bursts. *Does the order of the units have to do with the places
#   that they stand for?* That is the question of replay.
# - **time bins**: the bins of an event change their order. *Do bins that follow one
#   another resemble each other?* They do wherever a unit fires for longer than a bin,
#   with or without replay.
# - **poisson**: spikes change their units, as if all of them fired independently. *Is
#   there anything in the event beyond rates?* Again, one unit that bursts is enough.
#
# So only the first can show replay; the other two show that bursts are smooth in time.

# %%
statistics = events["statistic"].values
figure, axes = plt.subplots(2, 2, figsize=(8.4, 4.0))
for ax, statistic in zip(axes.ravel(), statistics, strict=True):
    replay.plot_scores(events, str(statistic), ax=ax)
print("p of the session")
print(events["session_p_value"].to_pandas().round(3))
print("\nshare of single events with p <= 0.05")
print(events["share_significant"].to_pandas().round(3))

# %% [markdown]
# **Against cell identity nothing is there**, in any score, and hardly more single
# events are "significant" than the 5 % that come by chance. The small p values stand
# where smooth bursts alone make them. Had we shuffled time bins or spikes only, we
# would have reported replay.
#
# ## Would we have seen it?
#
# No replay, or too few units to see it? Plant some: in a share of the same events, with
# the same number of spikes in every bin, spikes are drawn anew from this rat's own maps
# along a line at twenty times its running speed. Three times each; the median counts.


# %%
def planted(share, generator):
    """Return the counts of the events, a share of them replays of these maps."""
    made = counts.copy()
    rates, way = tuning.sel(neuron=counts["neuron"]).values, tuning["direction"].values
    place, number = tuning["x"].values, counts["event"].values
    for event in np.unique(number):
        if generator.random() >= share:
            continue
        bins = np.flatnonzero(number == event)
        map_of = np.flatnonzero(way == generator.choice([-1.0, 1.0]))
        far = min(found.attrs["replay_speed"] * 0.02 * len(bins), LENGTH)
        ends = generator.uniform(0, LENGTH - far) + np.array([0.0, far])
        line = np.linspace(*generator.permutation(ends), len(bins))
        for bin, where in zip(bins, line, strict=True):
            rate = rates[:, map_of[abs(place[map_of] - where).argmin()]]
            n_spikes = int(counts[bin].sum())
            made[bin] = generator.multinomial(n_spikes, rate / rate.sum())
    return made


rows = {}
for share in SHARES:
    p_values = [
        replay.score_events(
            planted(share, np.random.default_rng(seed)),
            tuning,
            replay_speed=found.attrs["replay_speed"],
            shuffles="cell_identity",
            n_shuffles=N_PLANTED,
            seed=seed,
        )["session_p_value"][0]
        for seed in range(N_TRIES)
    ]
    median = xr.concat(p_values, "draw").median("draw")
    rows[f"{share:.0%} are replays"] = median.to_pandas()
none = events["session_p_value"].sel(shuffle="cell_identity").to_pandas()
pd.DataFrame({"as recorded": none} | rows).T.round(3)

# %% [markdown]
# With every burst a replay, three scores of four tell; with half of them, correlation
# and state space; with a fifth, the correlation alone. The straight *line*, which is
# used the most, does not even tell when all are: few of these units have sharp fields,
# and other deals of the same maps make lines that are as good. So that nothing was
# found is worth this much: *straight replays of the track, at that speed, are not half
# of the bursts of this rest*. Fewer may hide, or other speeds and shapes; and a rat
# that rests off the track may think of somewhere else. A recording of a hundred units
# would tell more.
#
# ## A network on the same path
#
# Now a recurrent network with noise. It is told each step of the rat along the track,
# and learns to say where the rat is, by 60 place cells. A step is 0.1 s, a trial 6 s
# cut from anywhere in the run, pauses and all.

# %%
times = np.arange(start + 40, min(start + 950, float(running["time"][-1])), 0.1)
walk = (along.interp(time=times) / 100).expand_dims(space=["x"], axis=1)
walk.attrs["units"] = "m"
task = nm.reactivation.Recorded(walk, n_steps=60, n_cells=60, cell_width=0.1, seed=0)
recipe = {
    "n_units": 100,
    "recurrent_noise": 0.2,
    "n_steps": N_STEPS,
    "n_trials": 64,
    "learning_rate": 3e-3,
    "schedule": "cosine",
    "loss_factor": "n_cells",
}
network = nm.reactivation.train(task, seed=0, progress=False, **recipe)
awake = nm.reactivation.wake(network, seed=1, n_trials=N_TRIALS, states=True)
missed = abs(awake["position"] - awake["true_position"]).mean()
print(f"awake it errs by {100 * float(missed):.0f} cm")

# %% [markdown]
# ## Sleep
#
# No input any more, and the noise times √2. It begins at places of the run; its first
# minute is not looked at, so that little of these is left. Beside it sleeps a network
# that has not learned anything.

# %%
night = {"duration": 6.0, "burn_in": BURN_IN, "n_trials": N_TRIALS, "seed": 1}
asleep = nm.reactivation.sleep(network, **night, states=True)
nothing = nm.reactivation.untrained(task, 0, **recipe)
untrained = nm.reactivation.sleep(nothing, **night)

figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.2), sharex=True, sharey=True)
shown = {
    "Rat": awake["true_position"],
    "Network asleep": asleep["position"],
    "Untrained, asleep": untrained["position"],
}
for ax, (title, paths) in zip(axes, shown.items(), strict=True):
    ax.plot(0.1 * np.arange(60), paths[:12, :, 0].T, linewidth=0.8)
    ax.set(title=title, xlabel="Time (s)")
axes[0].set(ylabel="Along the track (m)", ylim=(0, 2))

# %% [markdown]
# ## Model and animal in one figure
#
# What the rat's bursts say becomes paths in the form of the network's: stretches of
# five bins with spikes in a row, in metres, nothing filled in. Both have a control: the
# untrained network, and the same bursts read with maps that were dealt out anew among
# the units. `compare_paths` measures all of them against the run. Time is each one's
# own: a step is 20 ms of a burst, and 100 ms of the network.

# %%
decoded = replay.event_paths(places, counts, n_steps=5)
generator = np.random.default_rng(0)
dealt = [
    replay.event_paths(
        replay.decode(
            counts,
            tuning.assign_coords(neuron=generator.permutation(tuning["neuron"].values)),
        ),
        counts,
        n_steps=5,
    )
    for _ in range(N_DEALS)
]
track = {"bounds": [[0.0, 2.1]], "n_bins": 21, "seed": 0}
run = awake["true_position"]  # the rat's own
animal = replay.compare_paths(
    {"awake": run, "asleep": decoded, "control": xr.concat(dealt, "trial")}, **track
)
model = replay.compare_paths(
    {"awake": run, "asleep": asleep["position"], "control": untrained["position"]},
    **track,
)
axes = replay.plot_model_and_animal(animal, model, labels=("rat", "network"))
print(f"{decoded.sizes['trial']} paths, {decoded.attrs['share_used']:.0%} of all bins")
told = ["step_length", "time_step", "speed", "speed_ratio"]
told += ["displacement_slope", "kl_histogram", "coverage"]
tables = {"rat": animal, "network": model}
pd.concat({k: v[told].to_dataframe()[told] for k, v in tables.items()}).round(3)

# %% [markdown]
# **The rat.** Bursts and their control lie on one another. Decoded places jump by more
# than half a metre from one bin to the next, how far they get does not depend on time
# (an exponent near 0), and both are some 230 times as fast as the run. That is what
# independent errors look like: who reads the speed of replay from decoded places
# without a control reads noise. Nor are the bursts nearer to where the rat was (KL)
# than the control. All this agrees with the test above.
#
# **The network.** Untrained it is somewhere in the middle, and jumps. Trained it is
# where the rat was, at the two ends and at 0.6 m, where it used to pause, and its steps
# are as short as the rat's. But it does not run: its exponent of 0.7 is below that of
# diffusion (1) and far from the rat's own (1.8), and where replays in the hippocampus
# are ten or twenty times as fast as running, it is as fast as the rat (× 0.9). It
# *revisits places, and does not sweep through them*: it stays, drifts, and sometimes
# changes to another place. Nor are its visits quite those of the rat: it spends half of
# the time at one end, twice as much. That everything has been everywhere (share of
# bins) tells nothing here.
#
# This was one network. `nm.reactivation.measure` compares several seeds with all
# controls, and `sleep(..., momentum=, adaptation=)` makes for other dynamics.
#
# ## The network as if it were recorded
#
# Are the tools to blame? Turn the network into a recording: as many units as the rat
# had, whose activity is the rate of Poisson spikes; maps from half of the waking
# trials; and then the same decoder and the same test.

# %%
units = np.random.default_rng(0).choice(100, spikes.sizes["neuron"], replace=False)
peaks = awake["state"].isel(unit=units).quantile(0.99, ["trial", "time"]).values
gain = 20.0 / np.maximum(peaks, 0.2 * peaks.max())  # at most about 20 Hz


def recorded(states, seed):
    """Return spikes of trials laid end to end."""
    rates = (gain * states.values[..., units]).reshape(-1, len(units)).clip(0)
    time = 0.1 * (np.arange(len(rates)) + 0.5)
    rates = xr.DataArray(rates, {"time": time, "unit": units}, ("time", "unit"))
    return replay.poisson_spikes(rates, seed=seed)


def laid_out(paths, time):
    """Return positions of trials laid end to end, in cm."""
    values = 100 * paths.values.reshape(-1)
    return xr.DataArray(values, {"time": time}, "time", attrs={"units": "cm"})


dream = recorded(asleep["state"], 1)
day, night = recorded(awake["state"], 0).bin(0.1), dream.bin(0.1)
where = laid_out(run, day["time"])
believed = laid_out(asleep["position"], night["time"])
half = np.arange(day.sizes["time"]) < day.sizes["time"] // 2
fields = replay.tuning_curves(day.isel(time=half), where, 5.0, min_speed=0.0)
for name, there, truth in (
    ("awake, from the rat", day.isel(time=~half), where),
    ("asleep, from what it says", night, believed),
):
    error = replay.decoding_error(replay.decode(there, fields), truth)
    print(f"{name}: median error {float(error.median()):.0f} cm")

# %% [markdown]
# `nm.io.write_nwb(path, dream, ...)` writes these spikes to a file, and
# `replay.to_pynapple(dream)` hands them to pynapple. Here the trials of sleep are taken
# for events. Four of them are shown, those in which the network's own path, in blue,
# goes farthest.

# %%
n_events = min(50, N_TRIALS)
trial = np.arange(night.sizes["time"]) // 60
in_events = night.assign_coords(event=("time", trial)).isel(time=trial < n_events)
posterior = replay.decode(in_events, fields)
own = believed.values.reshape(-1, 60)[:n_events]
figure, axes = plt.subplots(1, 4, figsize=(9.2, 3.4))
for column, event in enumerate(np.ptp(own, axis=1).argsort()[::-1][:4]):
    above, below = replay.plot_event(
        posterior, event, dream.bin(0.02), fields, ax=axes[column]
    )
    above.plot(100 * (np.arange(60) + 0.5), own[event], color=PALETTE[0], linewidth=0.9)
    above.set_title(f"Trial {event}")
    if column:
        above.set_ylabel("")
        below.set_ylabel("")
scored = replay.score_events(
    in_events,
    fields,
    replay_speed=100 * float(model["speed"].sel(condition="asleep")),
    shuffles="cell_identity",
    n_shuffles=N_PLANTED,
    seed=0,
)
print(scored["session_p_value"].to_pandas().round(3))

# %% [markdown]
# From 31 of its units the decoder finds the rat to 15 cm, and what the network says in
# its sleep to 13 cm; and the test that found nothing in the rat finds something here,
# with the smallest p value that 200 draws can give (1/201) or nearly. So the tools work
# where there is something to find, and much to find it by: these trials last for 6 s
# and have hundreds of spikes, a burst of the rat has a dozen.
#
# ## What has been shown
#
# - In this rest the order of the units in bursts has nothing to do with the track, as
#   far as 31 units can tell. They could have told if half of the bursts were replays.
# - That bursts are smooth in time can look like replay, and does so against shuffles of
#   time bins or spikes.
# - A network that learned the same path against noise comes back to the rat's places
#   when it is left alone, as an untrained one does not. It does so slowly, by dwelling
#   and drifting, and it is no model of fast sequences.
