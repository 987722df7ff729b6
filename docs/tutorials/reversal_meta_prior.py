# %% [markdown]
# # How much should a network trust its own prior?
#
# A hand goes home, then left or right, then home again. Which side comes is chance; how
# large the chance is differs from trial to trial, and nobody tells the network. A
# PV-RNN that learns such movements has one number to set, the *meta-prior* $w$: how
# much it costs to depart from its own prior. Here we train networks of several $w$, and
# ask of each what it makes up, what it foresees along movements that it has not seen,
# and where it keeps what is chance.
#
# The movements are those of Soda et al. (Frontiers in Psychiatry 2023). Put their file
# below some folder and let `NEUROMOD_DATA` name that folder
# ([data sets](../datasets.md)); with a recording of your own the first cell changes.

# %%
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

import neuromod as nm
from neuromod.core.style import PALETTE

p = nm.pvrnn
plt.style.use("neuromod.core.neuromod")  # one look for all figures
task = nm.datasets.load("reversal_task")
learned = task["training"].to_dataset()["movement"].isel(time=slice(0, 192))
learned = learned.isel(trial=slice(0, 36))  # chances of left from 0.10 to 0.98
unseen = task["unseen"].to_dataset()["movement"].isel(time=slice(0, 192))
META_PRIORS, N_UPDATES, N_UNSEEN = [0.3, 0.1, 0.03, 0.01, 0.003], 4000, 4
print(learned.sizes, np.unique(learned["probability_left"]).round(2))

# %% tags=["fast"]
META_PRIORS, N_UPDATES, N_UNSEEN = [0.1, 0.01], 400, 1
learned = learned[:6, :48]
unseen = unseen[:, :48]

# %% [markdown]
# ## Training, for every meta-prior at once
#
# Two layers: a fast one, which tells the hand, and a slow one above it, with a time
# constant of eight steps, as long as the hand takes to one side. All networks train
# side by side in one call.


# %%
def build(key):
    """Return a network with random weights."""
    return p.hierarchy(key, [20, 10], [2, 1], [2, 8], [p.tanh_head(2)])


networks = p.sweep(
    learned,
    build,
    META_PRIORS,
    seed=0,
    n_steps=N_UPDATES,
    learning_rate=3e-3,
    progress=False,
)
for w, network in networks.items():
    told = network.data.attrs
    print(f"w = {w:<6g}", {name: round(value, 4) for name, value in told.items()})

# %% [markdown]
# ## What they make up, and what they foresee
#
# Left alone, a network draws from its prior. Is what it makes up a movement? The hand
# should be at one of two places in the middle of a half-movement. And along movements
# that it has not seen, error regression finds the latents that explain the last ten
# steps, and the prior goes on from there.


# %%
def sides(values):
    """Return where the hand is, left to right, at its ends away from home."""
    values = np.asarray(values).reshape(-1, 2)
    away = values[values[:, 1] > 0.15]
    return away[:, 0]


def foresee(network, lag=1):
    """Return errors along unseen movements."""
    regression = p.ErrorRegression(
        network.model, p.objective_of(network), seed=0, n_predicted=4
    )
    followed = p.follow(regression, unseen[:: 100 // N_UNSEEN], progress=False)
    return followed, p.prediction_error(followed).mean("trial")


made_up = {
    w: p.generate(network, 192, seed=1, n_trials=50)["channel_value"]
    for w, network in networks.items()
}
errors = {w: foresee(network)[1] for w, network in networks.items()}
one, four = (
    xr.DataArray([float(e["error_regression"].sel(lag=k)) for e in errors.values()])
    for k in (1, 4)
)
p.plot_sweep(networks, {"Error, 1 step ahead": one, "4 steps ahead": four})

# %%
figure, axes = plt.subplots(1, len(networks) + 1, figsize=(7.2, 1.9), sharey=True)
shown = {"recorded": learned, **{f"w = {w:g}": v for w, v in made_up.items()}}
for ax, (name, values) in zip(axes, shown.items(), strict=True):
    for row in np.asarray(values)[:6]:
        ax.plot(*row.T, color=PALETTE[0], linewidth=0.3, alpha=0.6)
    ax.set(title=name, xlabel="x", aspect="equal", xlim=(-1, 1), ylim=(-1, 1))
axes[0].set_ylabel("y")

# %% [markdown]
# At the left, six of the recorded trials. A network that trusts its prior most
# ($w = 0.3$) knows that there are two ways and draws between them, but all movements of
# one way are the same to it. One that trusts it least tells its own trials best, and
# makes up movements to places where the hand never is: what it knows of chance is in
# the posteriors of its training, and is gone when they are. In between both are there,
# the two ways and the spread. Whether the branches are as often as they should be:

# %%
left = {name: float((sides(v) < 0).mean()) for name, v in shown.items()}
between = {name: float((abs(sides(v)) < 0.15).mean()) for name, v in shown.items()}
for name in shown:
    print(f"{name:10s} left {left[name]:.2f}   on neither side {between[name]:.3f}")

# %% [markdown]
# What is *foreseen* asks for a smaller $w$ than what is *made up*: above, errors are
# smallest at 0.01 and below, where one hand in ten goes to neither side. We go on with
# 0.03. One step ahead the last value leaves twice its error, four steps ahead eight
# times as much, more than the mean of all movements does:

# %%
BEST = 0.03 if 0.03 in networks else META_PRIORS[0]
best = networks[BEST]
followed, error = foresee(best)
print(error.to_dataframe().round(4))
p.plot_regression(followed.isel(time=slice(0, 96)))

# %% [markdown]
# ## Where it keeps what is chance
#
# The posterior of the fast layer leaves its prior when the hand turns, which is where
# there is something to be told, and only there. The slow layer keeps nothing: its
# divergence is zero at every $w$. The chance of left, which is constant over a trial
# here, would be a thing for it to know, but along 24 half-movements it is worth little,
# and these networks did not find it.

# %%
reconstructed = p.reconstruct(best, seed=0).isel(time=slice(0, 96))
p.plot_latents(reconstructed)

# %% [markdown]
# Held at one value, a latent shows what it stands for:

# %%
held = p.traverse(best, "layer_0", [-0.8, -0.4, 0.0, 0.4, 0.8], 48, seed=0)
p.plot_traverse(held)

# %% [markdown]
# And without noise? The exponent of the map that is left (latents at the means of the
# prior) tells whether near states part. At zero they neither part nor meet, as on a
# cycle that is run through again and again: what these networks make up is chance that
# they have learned, not chaos of their own, which would be above zero.

# %%
for w, network in networks.items():
    exponent = p.measures.lyapunov_exponents(network, seed=0, n_steps=2000).item()
    print(f"w = {w:<6g} largest exponent {exponent:+.3f} per step")

# %% [markdown]
# `networks[0.03].save("network.nc")` keeps one. From the shell the same is `neuromod
# pvrnn train recording.nc`, `generate network/network.nc` and `regress
# network/network.nc new.nc`.
