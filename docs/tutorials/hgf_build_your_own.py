# %% [markdown]
# # Build your own network
#
# The published filters are a few nodes under a name. Any other belief is as many lines:
# nodes, and edges that say what acts on what. Here a network of our own learns from two
# signals at once; an agent acts on what it learns; a response model is written in five
# lines and fitted; and all of it is saved.

# %%
import dataclasses

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import neuromod as nm

hgf = nm.hgf
plt.style.use("neuromod.core.neuromod")  # one look for all figures
N_TRIALS, N_PLAYERS, N_RESTARTS = 300, 40, 4

# %% tags=["fast"]
# A few trials, agents and starts.
N_TRIALS, N_PLAYERS, N_RESTARTS = 30, 2, 1

# %% [markdown]
# ## Nodes and edges
#
# Somebody sees a binary cue and feels a painful stimulus. `threat` is the log-odds of
# the cue, `pain` what the stimulus is expected to feel like. `context` is a hidden
# state that moves both: threat directly, and pain by the hyperbolic tangent, so that it
# cannot do so without limit. One state, `change`, sets how fast both may drift:
# *shared* volatility, so that a surprise about one speeds up learning about the other.
#
# | edge | parent acts on |
# |---|---|
# | `probability`, `observation` | what a binary, or a continuous, input shows |
# | `drift` | the mean of a state, per unit of time |
# | `volatility` | the log-variance of a state's steps |
# | `noise` | the log-variance of a continuous input |

# %%
network = hgf.Network(
    nodes=[
        hgf.BinaryInput("cue"),
        hgf.ContinuousInput("stimulus", precision=4.0),
        hgf.ContinuousState("threat", tonic_volatility=-3.0),
        hgf.ContinuousState("pain", tonic_volatility=-4.0, autoconnection=0.9),
        hgf.ContinuousState("context", tonic_volatility=-4.0, autoconnection=0.95),
        hgf.ContinuousState("change", tonic_volatility=-5.0, autoconnection=0.95),
    ],
    edges=[
        hgf.probability("threat", "cue"),
        hgf.observation("pain", "stimulus"),
        hgf.drift("context", "threat", 0.2),
        hgf.drift("context", "pain", 0.5, coupling="tanh"),
        hgf.volatility("change", "threat"),
        hgf.volatility("change", "pain"),
    ],
)
hgf.plot_network(network, values=True)

# %% [markdown]
# What cannot be is refused where the network is built, by name:

# %%
try:
    hgf.Network(
        network.nodes, [*network.edges, hgf.drift("threat", "pain", coupling="tahn")]
    )
except ValueError as error:
    print(error)
try:
    hgf.Network(network.nodes, [*network.edges, hgf.drift("threat", "context")])
except ValueError as error:
    print(error)

# %% [markdown]
# ## Forward, and back
#
# `simulate` draws hidden states and inputs as the network believes them to come about;
# `filter` gets the inputs alone. On half of the trials there is no stimulus: beliefs
# about pain then age, but what the cue tells about `context` bears on them too.

# %%
world = hgf.simulate(network, N_TRIALS, seed=5, start="mean")
seen = world["inputs"].copy()
seen[np.random.default_rng(0).random(N_TRIALS) < 0.5, 1] = np.nan
beliefs = hgf.filter(network, seen.values)
axes = hgf.plot_trajectories(
    beliefs, network=network, nodes=["change", "context", "pain", "threat"]
)
for ax, name in zip(axes, ["change", "context", "pain", "threat"], strict=True):
    ax.plot(world["states"].sel(node=name), color="black", linewidth=0.7)

# %% [markdown]
# Black lines are the truth. How near do beliefs come, and do they know it? The
# published filter takes the parents' means for known when it predicts ("mean_field");
# `approximation="relaxed"` lets their uncertainty into the prediction.

# %%
relaxed = dataclasses.replace(network, approximation="relaxed")
found = {"spread of the state": world["states"].std("trial")}
for how, run in (
    ("mean_field", beliefs),
    ("relaxed", hgf.filter(relaxed, seen.values)),
):
    error = run["mean"].sel(node=list(network.states)) - world["states"]
    inside = np.abs(error) < 2 * run["precision"].sel(node=error["node"]) ** -0.5
    found[f"error (r.m.s.), {how}"] = np.sqrt((error**2).mean("trial"))
    found[f"within 2 s.d., {how}"] = inside.mean("trial")
pd.DataFrame({name: values.to_series() for name, values in found.items()}).round(2)

# %% [markdown]
# A state is learnt where the error is smaller than its spread: `threat` and `pain` are,
# `context` is in part, and `change` is not, since a binary cue and a noisy stimulus
# hardly tell how fast they drift. Beliefs about `pain`, which hang on what is thought
# of `context`, are too sure of themselves unless that uncertainty enters the
# prediction.
#
# ## An agent that acts
#
# So far data came from outside. In a bandit task they depend on what the agent does:
# only the arm that it chooses shows an outcome. `hgf.bandit` builds a network of arms
# side by side, here with one volatility for all; with a softmax over the arms it makes
# an agent. Its environment is any function of a random key, the action and the number
# of the trial that returns one value per input, NaN for what is not seen;
# `BernoulliBandit` is one.

# %%
arms = hgf.bandit(3, tonic_volatility=(-2.0, -4.0))
chances = np.full((N_TRIALS, 3), 0.2)
for block, rows in enumerate(np.array_split(np.arange(N_TRIALS), 5)):
    chances[rows, block % 3] = 0.8
environment = hgf.BernoulliBandit(chances)
agent = hgf.Agent(arms, hgf.responses.softmax_choice(inverse_temperature=5.0))
played = hgf.play(agent, environment, N_TRIALS, seed=0)
figure, ax = plt.subplots(figsize=(7.2, 2.6))
for arm in range(3):
    colour = f"C{arm}"
    expected = played["expected_mean"].sel(node=f"arm_{arm}")
    ax.plot(expected, color=colour, label=f"arm {arm}: expected")
    ax.plot(chances[:, arm], color=colour, linewidth=1.0, linestyle=":")
    chosen = np.flatnonzero(played["actions"] == arm)
    ax.plot(chosen, np.full(len(chosen), 1.06 + 0.05 * arm), "|", color=colour, ms=4)
ax.set(xlabel="Trial", ylabel="Probability of a reward", ylim=(0, 1.2))
ax.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.25))

# %% [markdown]
# Dotted is the truth, ticks above are choices. How often to try what seems worse is a
# matter of the inverse temperature. Rewards of many agents, each with a seed of its
# own:

# %%
earned = {}
for beta in (1.0, 5.0, 25.0):
    player = hgf.Agent(arms, hgf.responses.softmax_choice(inverse_temperature=beta))
    each = [
        float(hgf.play(player, environment, N_TRIALS, seed=s)["inputs"].sum())
        / N_TRIALS
        for s in range(N_PLAYERS)
    ]
    earned[beta] = {"rewards per trial": np.mean(each), "s.d.": np.std(each)}
table = pd.DataFrame(earned).T.rename_axis("inverse temperature")
table.round(3)

# %% [markdown]
# Always right would be 0.8, chance 0.4.
#
# ## A response model of your own
#
# How do beliefs become responses? A response model is a class with its parameters as
# fields and two methods: the log probability of each response, and a draw. It reads
# what the network believed from `seen`: `expected_mean` before the outcome, `mean`
# after it, and so on, by the names of the nodes. This one moves a slider to what it
# expects the stimulus to feel like, compressed by a gain:


# %%
class Slider(hgf.responses.Response):
    """A report of expected pain, compressed to -1 to 1, with motor noise."""

    positive = ("gain", "noise")
    gain: float = 1.0
    noise: float = 0.2

    def _position(self, seen):
        return jnp.tanh(self.gain * seen.expected_mean["pain"])

    def log_probability(self, seen, response):
        return hgf.responses.normal(self._position(seen), self.noise**2, response)

    def simulate(self, seen, key):
        return hgf.responses.spread(self._position(seen), self.noise**2, key)


TRUE = {"response.gain": 2.0, "response.noise": 0.1, "context->pain.drift": 0.5}
reporter = hgf.Agent(network, Slider(TRUE["response.gain"], TRUE["response.noise"]))
reports = hgf.respond(reporter, seen.values, seed=1)
figure, ax = plt.subplots(figsize=(7.2, 2.2))
ax.plot(np.tanh(seen.sel(input="stimulus")), ".", color="0.7", label="tanh(stimulus)")
ax.plot(reports, linewidth=0.8, label="report")
ax.set(xlabel="Trial", ylabel="Slider")
ax.legend(ncols=2)

# %% [markdown]
# It is fitted as any other. Every number of the network and of the response model has a
# name, and those that are given a prior are free: fields as `node.field`, strengths of
# edges as `parent->child.kind`.

# %%
PRIORS = {
    "response.gain": hgf.LogNormal(0, 1),
    "response.noise": hgf.LogNormal(-1, 1),
    "context->pain.drift": hgf.Normal(0, 1),
}
fit = hgf.fit(
    network,
    seen.values,
    reports.values,
    response=Slider(),
    priors=PRIORS,
    n_restarts=N_RESTARTS,
    seed=0,
)
interval = fit.data["uncertainty"].to_dataset()
print(fit.data["identifiability"].attrs["report"])
pd.DataFrame(
    {
        name: {
            "true": TRUE[name],
            "estimate": float(fit.data["parameters"][name]),
            "2.5 %": float(interval[name].sel(quantile=0.025)),
            "97.5 %": float(interval[name].sel(quantile=0.975)),
        }
        for name in PRIORS
    }
).T.round(3)

# %% [markdown]
# ## Keep it
#
# One file holds the fitted agent, all results and how they came about. Your own classes
# are handed in when it is read: a file never brings code along.

# %%
path = fit.save("fit.nc")
try:
    nm.load(path)
except nm.core.errors.DataFormatError as error:
    print(error)
again = nm.load(path, classes={"Slider": Slider})
same = hgf.respond(again.model, seen.values, seed=2)
print(
    "the same to the last bit:",
    same.equals(hgf.respond(fit.model, seen.values, seed=2)),
)

# %% [markdown]
# Keep a figure of the network beside the numbers, with the fitted strengths:

# %%
hgf.plot_network(again.model.network, values=True)
