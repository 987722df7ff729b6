# %% [markdown]
# # A network that senses less of what it does itself
#
# What we bring about ourselves we sense less of than what others bring about: *sensory
# attenuation*. It is weaker in schizophrenia. Idei et al. (Scientific Reports 2022)
# trained a PV-RNN to tell the joints and the hand of an arm that moves itself, or is
# shown somebody else's hand, and found that it attenuates, though nothing asked it to.
# Here is *their* network, with their weights. We look at what it learned, put it into
# a body of its own, and change it.
#
# Put the two files of the study below some folder and let `NEUROMOD_DATA` name that
# folder ([data sets](../datasets.md)).

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr

import neuromod as nm
from neuromod.core.style import PALETTE

p = nm.pvrnn
plt.style.use("neuromod.core.neuromod")  # one look for all figures
path = nm.datasets.fetch("planar_arm")
network = p.from_sensory_attenuation(
    path.with_name("sensory_attenuation_trained_net.npz")
)
arm = nm.datasets.load("planar_arm")
movement = arm["training"].to_dataset()["movement"]
N_STEPS, N_ITERATIONS, N_RUNS = 200, 50, 4
print(network)

# %% tags=["fast"]
N_STEPS, N_ITERATIONS, N_RUNS = 24, 5, 1

# %% [markdown]
# ## What it learned
#
# Two senses (`prop`, the joints; `vision`, the hand), each with one latent, meet in a
# layer above (`top/1`), and above that is one latent that is drawn once and stays for a
# whole trial (`top/0`). With the posteriors of its training it tells each trial:

# %%
told = p.reconstruct(network, seed=0)
told = told.assign_coords(channel=movement["channel"], context=movement["context"])
left = p.measures.accuracy_and_complexity(told, movement)["squared_error"].values
print(f"squared error: joints {left[:3].mean():.4f}, hand {left[3:].mean():.4f}")
p.plot_reconstruction(told, movement)

# %% [markdown]
# The *response* is how far a posterior mean moves from one step to the next: how much
# what is sensed moves the belief.

# %%
contexts = movement["context"].values
response = p.measures.latent_response(told, contexts)
response.to_dataframe()[["response", "prior_deviation"]].unstack("condition").round(3)

# %% [markdown]
# Step by step, in a trial of its own and in one with somebody else's hand: priors that
# are narrow and hardly left, and wide ones that are left all the time.

# %%
p.plot_latents(told.isel(time=slice(0, 100)), trial=0)

# %%
p.plot_latents(told.isel(time=slice(0, 100)), trial=24)

# %% [markdown]
# Both senses go other ways when the hand is another's. What the layer above them shows
# most of is the rhythm that all trials share:

# %%
figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.6), layout="constrained")
few = told.isel(trial=slice(0, 48, 8))
for ax, layer in zip(axes, ("prop/0", "vision/0", "top/1"), strict=True):
    p.plot_components(few, layer, colours=contexts[::8], ax=ax)

# %% [markdown]
# When the arm moves itself, the responses of both senses are seven to fifteen times
# smaller, and so are the deviations of the priors: the network *expects* to be right,
# and does not listen. The latent on top took opposite values for the two contexts,
# without ever being told which was which:

# %%
top = told["posterior_mean"].isel(latent=told["layer_of_latent"].values == "top/0")
first = top.isel(time=0, latent=0).groupby("context")
print(first.median().to_series().round(2).to_string())

# %% [markdown]
# ## In a body of its own
#
# Now the network acts: the joints go where it predicts them to be, and it explains what
# comes of that by error regression, step by step, over the last ten steps. For the
# first half it sees its own hand; from then on somebody else's, whatever it does. In
# error regression the latent on top keeps its meta-prior: free of any prior it would
# run to where its tanh is flat, and never come back.


# %%
def objective(factor=1.0):
    """Return the study's objective, with the prior of the latent on top kept."""
    return p.objective_of(network).with_meta_prior(0.005 * factor, 0.005)


def act(model, trial, objective):
    """Return what a network does in a body, seen by its own side at first."""
    belief = network.data["latent"].isel(trial=slice(0, 24), time=0).median("trial")
    regression = p.ErrorRegression(
        model,
        objective,
        seed=trial,
        n_iterations=N_ITERATIONS,
        n_predicted=1,
        n_draws=1,
        initial=np.stack([belief["adaptive_mean"], belief["adaptive_log_deviation"]]),
    )
    shown = arm["unseen"]["movement"].values[trial, :, 3:]
    body = p.Arm(shown, switch=N_STEPS // 2)
    return p.run_closed_loop(regression, body, N_STEPS, progress=False)


run = act(network.model, 0, objective())
p.plot_regression(run)

# %% [markdown]
# Hardly anything is left of the error as long as it sees itself. Then the errors of
# vision come, and the latent on top goes to the other side: *that is not me*. The
# response of both senses, in both halves, over several runs:


# %%
def attenuation(runs):
    """Return the response of each sense, when it acts and when it watches."""
    middle = N_STEPS // 2
    halves = {"self": slice(10, middle), "external": slice(middle + 10, None)}
    found = {}
    for context, half in halves.items():
        each = [p.measures.latent_response(r.isel(time=half)) for r in runs]
        mean = xr.concat(each, "trial")["response"].mean("trial").isel(condition=0)
        found[context] = mean.sel(layer=["prop/0", "vision/0"]).to_series()
    return pd.DataFrame(found)


runs = [act(network.model, k, objective()) for k in range(N_RUNS)]
attenuation(runs).round(3)

# %% [markdown]
# ## What would undo it?
#
# Four changes of the same network at test, without any learning. The deviation of what
# the senses *predict* is made larger; the noise of the latents is doubled; the
# meta-prior is divided by ten, so that the senses count for more than the prior; units
# of the layer above are lesioned.

# %%
senses = ["prop/0", "vision/0"]
wide = p.intervene(network.model, prior_deviation=dict.fromkeys(senses, 3.0))
noisy = p.intervene(network.model, noise=dict.fromkeys(senses, 2.0))
lesioned = p.intervene(network.model, lesion={"top/1": [0, 1, 2, 3]})
changes = {
    "as it is": (network.model, objective()),
    "wide priors": (wide, objective()),
    "noise": (noisy, objective()),
    "meta-prior / 10": (network.model, objective(0.1)),
    "lesion": (lesioned, objective()),
}
found = {
    name: attenuation([act(*(model, k, goal)) for k in range(N_RUNS)])
    for name, (model, goal) in changes.items()
}
table = pd.concat(found, names=["change", "sense"])
figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.6), sharey=True)
for ax, sense in zip(axes, senses, strict=True):
    rows = table.xs(sense, level="sense").loc[list(changes)]
    rows.plot.bar(ax=ax, color=PALETTE[:2], width=0.8, legend=sense == senses[0])
    ax.set(title=sense, xlabel="", ylabel="Response")
    ax.tick_params(axis="x", rotation=30)
# %%
ratio = (table["external"] / table["self"]).unstack("sense").loc[list(changes)]
ratio.round(1)

# %% [markdown]
# The table is the answer: how many times larger the response is when somebody else
# moves the arm. Wide priors and more noise leave the contrast, or sharpen it. Where the
# meta-prior is small, or units of the layer above are lesioned, self-produced movement
# responds almost as much as the other's: nothing is attenuated any more.
#
# These are four runs of *one* network in one closed loop, and changes that we chose.
# They tell what this network depends on. They are no model of an illness: for that,
# train several networks, and compare their numbers with those of people.
