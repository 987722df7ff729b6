# %% [markdown]
# # A network learns a place, and sleeps
#
# A recurrent network with noise in it is told where it starts and then only its own
# steps, and has to know at any time where it is. Afterwards it is left alone: no
# input, only its noise. Does it *replay*, that is, does its activity go through the
# places where it used to be, as that of the hippocampus does in sleep? Krishna et al.
# (ICLR 2024) say why it should. Here we train networks, let them sleep, and, since
# nearly anything looks like a path through a maze once it is decoded, hold them
# against controls that should not replay.

# %%
import warnings

import matplotlib.pyplot as plt

import neuromod as nm

r = nm.reactivation
plt.style.use("neuromod.core.neuromod")  # one look for all figures
SEEDS, N_STEPS, N_TRIALS = [0, 1, 2], 2000, 200
HEAD_STEPS, DURATION, N_RESTARTS = 3000, 8.0, 50

# %% tags=["fast"]
# One network that hardly learns, and is told so; short nights.
warnings.simplefilter("ignore", r.measures.MisleadingWarning)
SEEDS, N_STEPS, N_TRIALS = [0], 30, 10
HEAD_STEPS, DURATION, N_RESTARTS = 30, 0.6, 2

# %% [markdown]
# ## Training
#
# The preset `"demo"` is a square arena with 100 place cells, a walk that is drawn to
# the middle, and a network of 100 rectified units. Every step of training is a new
# batch of walks. The networks of several seeds train side by side.

# %%
networks = r.train("demo", seed=SEEDS, n_steps=N_STEPS, progress=False)
r.plot_loss(networks)
# %% [markdown]
# Awake, a network follows the animal. Trials begin once the walk has forgotten where
# it was put down: the first steps of a biased walk are not like the later ones, and a
# reference that holds them would make nearly anything look alike.

# %%
network = networks.sel(seed=SEEDS[0])
awake = r.wake(network, seed=1, n_trials=N_TRIALS, states=True)
error = network.model.task.code.distance(
    awake["position"].values, awake["true_position"].values
)
print(f"decoding error awake: {float(error.mean()):.3f} m")

# %% [markdown]
# ## Sleep
#
# No input, and noise of twice the variance. Every trial is a night of its own, which
# begins at the code of some place; the first two seconds are left out.

# %%
asleep = r.sleep(
    network, duration=DURATION, burn_in=2.0, seed=1, n_trials=N_TRIALS, states=True
)
r.plot_trajectories(network, awake, asleep)
# %%
r.plot_occupancy(network, awake=awake, asleep=asleep)
# %% [markdown]
# Decoded places are a summary. The states themselves should lie where those of waking
# lie:

# %%
r.plot_components(network, awake, asleep)
# %% [markdown]
# ## Controls
#
# A network that never learned is decoded to places in the arena as well. One that
# learned *without* noise has the code, but no reason to correct errors. `measure`
# trains these twins and puts all of them through the same nights.

# %%
nights = {"seed": 1, "n_trials": N_TRIALS, "duration": DURATION}
measured = r.measure(networks, **nights, progress=False)
r.plot_controls(measured)
# %%
shown = [
    "cosine",
    "kl_histogram",
    "step_length",
    "within_trajectory_variance",
    "captured",
]
measured[shown].mean("seed").to_dataframe().round(3)

# %% [markdown]
# Read by row. Asleep, outputs are codes of places (cosine), places are visited about
# as often as awake (divergence), and steps are as long. Untrained, nothing is near a
# code. Without noise in training and sleep the network stands still where it was put;
# with noise in sleep alone it is thrown about, off its code.
#
# How far it gets with time:

# %%
r.plot_displacement(measured)
# %% [markdown]
# ## What theory says
#
# To stay on track against noise of variance $\sigma^2$ per step, the drift of the
# network should be $\sigma^2$ times the gradient of the log density of its waking
# states (the score). That can be looked at directly, and it is a harder test than any
# look at sleep.

# %%
theory = r.check_theory(networks, seed=1)
told = [
    "score_slope",
    "expected_slope",
    "score_r_squared",
    "denoising",
    "output_r_squared",
]
theory[told].to_dataframe()[told].round(5)

# %% [markdown]
# The drift points up the gradient (slope above 0), about half as strongly as theory
# asks, and most of it is something else (the share that the score explains is about a
# quarter; in the twins without noise it is nothing). `denoising`, the share of the
# last noise that the next step takes away, is that of the leak, 0.2, and hardly more.
# So these networks have learned *some* of what the theory says they learn at their
# optimum.

# %% [markdown]
# ## Other nights
#
# Noise, adaptation (a current that drives units away from where they stay) and
# momentum change how far a night gets, and may leave the code behind: the cosine
# tells.

# %%
others = {
    "as above": {},
    "same noise": {"scheme": "same"},
    "twice the noise": {"noise_scale": 2.0},
    "momentum 0.6": {"momentum": 0.6},
    "adaptation 0.03": {"adaptation": 0.03, "adaptation_time_constant": 0.16},
    "adaptation 0.3": {"adaptation": 0.3, "adaptation_time_constant": 0.16},
}
code, places = network.model.task.code, r.measures.grid(network.model.task.bounds, 41)
print("night               cosine  variance (m2)")
for name, options in others.items():
    night = r.sleep(
        network, DURATION, burn_in=2.0, seed=1, n_trials=50, outputs=True, **options
    )
    outputs = night["output"].values[:, ::20]
    cosine = r.measures.manifold_fit(outputs, code, places).cosine.mean()
    variance = r.measures.within_trajectory_variance(night["position"].values).mean()
    print(f"{name:20s}{cosine:6.2f}{variance:12.4f}")

# %% [markdown]
# ## Where it comes to rest
#
# Without noise, a network drifts to points where it hardly moves any more. Here they
# are among its waking states: the manifold of the code is nearly an attractor.

# %%
points = r.fixed_points(network, seed=1, n_restarts=N_RESTARTS)
r.plot_fixed_points(network, awake, points)
# %% [markdown]
# ## A number that misleads
#
# The same on a ring: a network that tracks a heading. Any decoder of headings gives
# *some* heading, and those of an untrained network are spread evenly, as those of
# waking are. By the divergence alone it replays better than the trained one.
# `measure` warns.

# %%
rings = r.train("head_direction_small", seed=SEEDS, n_steps=HEAD_STEPS, progress=False)
controls = ("same noise", "untrained", "uniform")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what it warns of is kept with the numbers
    ring = r.measure(rings, **nights, controls=controls)
for text in ring.attrs["cautions"]:
    print("caution:", text)
ring[shown].mean("seed").to_dataframe().round(3)

# %% [markdown]
# Everything that was measured can be kept: `networks.save("networks.nc")` and
# `measured.to_netcdf("measures.nc")`. A film of a night is `r.animate(network,
# r.sleep(..., outputs=True), "night.gif")`, and the same measures for a rat are in
# [the next tutorial](rat_replay.ipynb).
