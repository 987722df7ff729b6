# %% [markdown]
# # Strategies of a rat, from its choices
#
# A rat hears two sounds, one after the other, and tells by a poke to the left or to the
# right which one was louder. Some of its errors are those of a good listener with a
# hard task. Others come because it did something else for a while: it repeated itself,
# or went by what had paid. A GLM-HMM keeps the two apart. In each hidden state, or
# *strategy*, choices follow a logistic regression on what the rat heard and did; from
# trial to trial the rat keeps its strategy or changes it.
#
# The recording is rat W053 of Akrami, Kopec, Diamond & Brody (2018): 20,000 choices.
# Put its file below some folder and let `NEUROMOD_DATA` name that folder.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import expit

import neuromod as nm
from neuromod.core.style import PALETTE, state_colours

plt.style.use("neuromod.core.neuromod")  # one look for all figures
recording = nm.datasets.load("rat_delayed_comparison")["recording"].to_dataset()
N_STATES, N_SESSIONS, N_RESTARTS = (1, 2, 3, 4), 40, 4
print(recording)

# %% tags=["fast"]
# Six sessions, of one length so that little is compiled, one number of
# states and single starts.
early = (recording["session"].astype(int) < 6) & (recording["time"] < 60)
recording = recording.isel(time=early.values)
N_STATES, N_SESSIONS, N_RESTARTS = (2,), 2, 1

# %% [markdown]
# ## The inputs
#
# `choices` are 1 for right and 0 for left. What each may depend on is in `inputs`: both
# sounds (`s1`, `s2`, standardised), and of the trial before what the rat chose (±1),
# which side was right (±1) and whether it was rewarded (±1). Where nothing is known of
# the trial before they are 0. The rat is paid on one side if the first sound was
# louder, and on the other if it was the second, so a good listener weighs the two
# sounds with opposite signs.

# %%
choices, inputs = recording["choices"], recording["inputs"]
chose = choices.values[:, 0]
correct = chose == recording["correct_side"].values
sessions = recording["session"].values.astype(int)
number, lengths = np.unique(sessions, return_counts=True)
sounds = inputs.sel(input=["s1", "s2"]).values.round(2)
pairs, pair = np.unique(sounds, axis=0, return_inverse=True)
first = pairs[:, 0] > pairs[:, 1]


def per_pair(values, weights):
    """Average over the trials of each pair of sounds."""
    return np.bincount(pair, values * weights) / np.bincount(pair, weights)


figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.6))
left.plot(number, [correct[sessions == s].mean() for s in number], ".", color="0.3")
left.set(xlabel="Session", ylabel="Fraction correct", ylim=(0.4, 1))
seen = per_pair(chose, np.ones(len(chose)))
for which, mark, label in ((first, "o", "first"), (~first, "s", "second")):
    right.plot(pairs[which, 1], seen[which], mark, color="0.3", label=f"{label} louder")
right.set(xlabel="Second sound (s.d.)", ylabel="Chose right", ylim=(0, 1))
right.legend()
print(f"{len(number)} sessions of {lengths.min()} to {lengths.max()} trials")
print(f"{correct.mean():.1%} correct; {len(pairs)} pairs of sounds")

# %% [markdown]
# When the first sound is louder, the rat is mostly right. When the second one is, it
# depends on how loud that is: the rat goes by the second sound too much, as if it
# remembered the first as nearer to the mean than it was (contraction bias).
#
# ## How many strategies?
#
# More states always fit the same trials better, so they are judged by sessions that
# they were not fitted to: `select` deals the sessions out in parts and leaves each out
# in turn. The unit of the field is bits per trial above a coin with the rat's own bias.

# %%
HOW = {"inputs": inputs, "observation": "bernoulli", "basis": None, "progress": False}
CLIMB = {"tolerance": 2e-5, "max_iterations": 400}
selection = nm.switching.select(
    choices, N_STATES, seed=0, n_folds=3, n_restarts=2, **CLIMB, **HOW
)
bits = selection["bits_per_bin"].rename("bits per trial")
bits.transpose("n_states", "fold").to_pandas().round(4).assign(
    mean=bits.mean("fold").values.round(4)
)

# %%
ax = nm.switching.plot_selection(selection)
print(
    selection[["difference", "difference_standard_error", "stability", "bic"]]
    .to_dataframe()
    .round(4)
)

# %% [markdown]
# Each faint line is a part that was left out. The second state gains most and each
# further one less. The rule of one standard error takes the smallest number whose score
# is within the error of the best one's; where that is the largest that was tried, more
# should be tried. `stability` warns: fits to other sessions agree only so far on which
# trials belong together (1 is full agreement, 0 is chance). We go on with three, whose
# states can be named.
#
# ## What the rat does in each

# %%
n_states = min(3, max(N_STATES))
fit = nm.switching.fit(choices, n_states, seed=0, n_restarts=N_RESTARTS, **HOW)
found, error = (fit.data[part].to_dataset() for part in ("parameters", "uncertainty"))
share = nm.switching.occupancy(fit.data["latent"]["state_probability"])
stay = np.diag(fit.model.transition_matrix)

labels = ["bias", *inputs["input"].values]
weight = np.column_stack([found["bias"], found["input_weight"].isel(neuron=0)])
spread = np.column_stack(
    [
        error["bias_standard_error"],
        error["input_weight_standard_error"].isel(neuron=0),
    ]
)
colours = state_colours(n_states)
figure, ax = plt.subplots(figsize=(6.4, 2.8))
for state in range(n_states):
    at = np.arange(len(labels)) + 0.15 * (state - 1)
    told = f"state {state}: {float(share[state]):.0%} of trials"
    how = {"fmt": "o", "ms": 2, "capsize": 3, "color": colours[state], "label": told}
    ax.errorbar(at, weight[state], 2 * spread[state], **how)
ax.axhline(0, color="0.6", linewidth=0.6, zorder=0)
ax.set_xticks(range(len(labels)), [label.replace("_", "\n") for label in labels])
ax.set(ylabel="Weight (log odds of right)")
ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)

# %% [markdown]
# Bars are two standard errors given the states, so a little too small. In one state the
# second sound counts nearly twice as much as the first, and the rat leans to the right:
# it goes mostly by what it *heard last*. In another both sounds count alike with
# opposite signs, as they should: it *compares*. In the third they count for nearly
# nothing: it goes where it went before, and where the reward was. It shows in how often
# it is right, and in how long it stays:

# %%
probability = nm.switching.smooth(fit, choices, inputs=inputs)
path = nm.switching.decode(fit, choices, inputs=inputs)
dwell = nm.switching.dwell_times(path, 1.0)
previous = inputs.sel(input="previous_choice").values
repeats = (2 * chose - 1 == previous)[:, None]
known = (previous != 0)[:, None]
weighted = probability.values
pd.DataFrame(
    {
        "share of trials": share.values,
        "probability of staying": stay,
        "median visit (trials)": [
            np.median(dwell.get(s, [0])) for s in range(n_states)
        ],
        "correct": (weighted * correct[:, None]).sum(0) / weighted.sum(0),
        "repeats its choice": (weighted * (repeats & known)).sum(0)
        / (weighted * known).sum(0),
    },
    index=pd.Index(range(n_states), name="state"),
).round(2)

# %% [markdown]
# ## A psychometric curve per state
#
# Trials count for each state by the probability that the rat was in it. Marks are what
# it did, lines what the state's weights say of the same trials.

# %%
eta = found["bias"].values.T + inputs.values @ found["input_weight"].values[:, 0].T
figure, axes = plt.subplots(1, n_states, figsize=(2.4 * n_states, 2.5), sharey=True)
for state, ax in enumerate(axes):
    did, says = (per_pair(v, weighted[:, state]) for v in (chose, expit(eta[:, state])))
    for which, mark, line in ((first, "o", "-"), (~first, "s", "--")):
        ax.plot(pairs[which, 1], did[which], mark, color=colours[state])
        ax.plot(pairs[which, 1], says[which], line, color=colours[state], linewidth=0.9)
    ax.set(xlabel="Second sound (s.d.)", title=f"State {state}", ylim=(0, 1))
axes[0].set_ylabel("Chose right")

# %% [markdown]
# ## Within a session
#
# The ground is the probability of each state given the whole session, a mark is a
# choice to the right. Below, what the posterior leaves open: paths drawn from it, one
# per row. Where rows agree the strategy is known. Here they agree that the rat compared
# the sounds in one or two stretches; which of the other two strategies it followed, and
# when it changed between them, can be told of few trials.

# %%
session = str(number[lengths.argmax()])
here = recording["session"].values == session
draws = nm.switching.sample_states(
    fit, choices[here], seed=0, n_samples=30, inputs=inputs[here]
)
figure, (above, below) = plt.subplots(2, 1, figsize=(7.2, 3.2), sharex=True)
nm.switching.plot_states(fit, choices, session=session, inputs=inputs, ax=above)
above.set(xlabel="", yticks=[], ylabel="Chose right")
palette = state_colours(n_states)
rgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in palette]) / 255
edges = (-0.5, here.sum() - 0.5, 30, 0)
below.imshow(rgb[draws.values.T], aspect="auto", interpolation="none", extent=edges)
below.set(xlabel=f"Trial of session {session}", ylabel="Drawn path")
switches = (np.diff(draws.values, axis=0) != 0).sum(axis=0)
print(
    f"changes of strategy in this session: {switches.mean():.0f} ± {switches.std():.0f}"
)

# %% [markdown]
# ## What goes wrong with one state
#
# A single logistic regression averages over strategies. Its weights, printed below,
# belong to none of them, and it cannot know that the rat has been repeating itself for
# the last ten trials: its errors come in runs. `predict` tells the odds of a choice
# from all choices before it; what is left over should tell nothing of later trials.

# %%
plain = nm.switching.fit(choices, 1, seed=0, n_restarts=1, **HOW)
left_over = {
    f"n_states = {model.model.n_states}": chose
    - nm.switching.predict(model, choices, inputs=inputs).values[:, 0]
    for model in (plain, fit)
}


def autocorrelation(values, n_lags=15):
    """Correlate trials with later ones of the same session."""
    found = []
    for lag in range(1, n_lags + 1):
        same = sessions[lag:] == sessions[:-lag]
        found.append(np.corrcoef(values[lag:][same], values[:-lag][same])[0, 1])
    return np.array(found)


chance = 2 / np.sqrt(len(choices))
figure, ax = plt.subplots(figsize=(4.6, 2.6))
for colour, (label, values) in zip(("0.4", PALETTE[1]), left_over.items(), strict=True):
    ax.plot(range(1, 16), autocorrelation(values), "o-", color=colour, label=label)
ax.axhspan(-chance, chance, color="0.9", zorder=0)
ax.set(xlabel="Trials later", ylabel="Correlation of what is left over")
ax.legend()
one = plain.data["parameters"]
print(one["input_weight"].isel(state=0, neuron=0).to_series().round(2).to_string())

# %% [markdown]
# The grey band holds what chance leaves. With states most of the correlation is gone,
# but not all of it: these are not all the strategies that there are.
#
# ## A state that guesses
#
# Errors on easy trials are often put down to *lapses*: now and then the animal does not
# listen at all. `n_lapse_states=1` makes one of the states ignore every input. Whether
# that is what the rat does is again for left-out sessions to say.

# %%
lapsing = nm.switching.fit(
    choices, n_states, seed=0, n_restarts=N_RESTARTS, n_lapse_states=1, **HOW
)
guess = expit(float(lapsing.model.bias[-1, 0]))
lapses = nm.switching.occupancy(lapsing.data["latent"]["state_probability"])
with_lapse = nm.switching.select(
    choices,
    n_states,
    seed=0,
    n_folds=3,
    n_restarts=2,
    n_lapse_states=1,
    **CLIMB,
    **HOW,
)
cost = with_lapse["bits_per_bin"] - bits.sel(n_states=[n_states])
cost = cost.values[0]
print(
    f"a lapse in {float(lapses[-1]):.0%} of trials, then right in {guess:.0%}\n"
    f"bits per trial over {n_states} free states, in each part: {cost.round(4)}"
)

# %% [markdown]
# The "lapse" is no fair coin but a side, and on the whole left-out sessions are
# predicted worse with it than with three states that are free to listen. So when this
# rat does not go by the sounds it does not guess: it follows its own past, which a
# lapse rate would have hidden.
#
# ## Several animals
#
# Few trials per animal make for wobbly fits with many local optima. The recipe of
# Ashwood et al. (2022): fit all animals as if they were one, then each by itself,
# starting from there. So the states also mean the same in all. We try it on three
# simulated animals, each of which has the same strategies in its own way, and whose
# truth is known.

# %%
animals = {}
for seed in (1, 2, 3):
    twin = nm.datasets.simulate_choices(seed=seed, n_states=3, n_sessions=N_SESSIONS)
    trials = twin["recording"].to_dataset()
    names = [f"{seed}-{session}" for session in trials["session"].values]
    animals[f"animal {seed}"] = (
        trials.assign_coords(session=("time", names)),
        twin["truth"].to_dataset(),
    )
everyone = xr.concat([trials for trials, _ in animals.values()], "time")
BERNOULLI = {"observation": "bernoulli", "basis": None, "seed": 0, "progress": False}
together = nm.switching.fit(
    everyone["choices"],
    3,
    inputs=everyone["inputs"],
    n_restarts=N_RESTARTS,
    **BERNOULLI,
)


# %%
def weights(source):
    """Return bias and weights (state, input) of a fit or of the truth."""
    return np.column_stack([source["bias"], source["input_weight"].isel(neuron=0)])


rows = []
figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.7), sharex=True, sharey=True)
for (name, (trials, truth)), ax in zip(animals.items(), axes, strict=True):
    own = nm.switching.fit(
        trials["choices"], 3, inputs=trials["inputs"], init=together, **BERNOULLI
    )
    own = nm.switching.align_states(own, together)  # the same numbers in all animals
    path = nm.switching.decode(own, trials["choices"], inputs=trials["inputs"])
    matched = nm.switching.match_states(path, truth["state_sequence"])
    order = sorted(matched, key=matched.get)
    accuracy = nm.switching.state_accuracy(path, truth["state_sequence"])
    row = {"animal": name, "states that are right": accuracy}
    for label, source, mark in (("all animals", together, "x"), ("own", own, "o")):
        ours = weights(source.data["parameters"])[order]
        row[f"error of weights, {label}"] = np.sqrt(
            np.mean((ours - weights(truth)) ** 2)
        )
        for state, colour in enumerate(colours[:3]):
            ax.plot(weights(truth)[state], ours[state], mark, color=colour, ms=5)
    rows.append(row)
    ax.axline((0, 0), slope=1, color="0.7", linewidth=0.6, zorder=0)
    ax.set(title=name, xlabel="True weight")
axes[0].set(ylabel="Fitted weight (o own, × all)")
pd.DataFrame(rows).set_index("animal").round(3)

# %% [markdown]
# The fit of each animal lies nearer to its own truth than the fit of all of them, and
# its states are where they were.
#
# ## Keep it
#
# One file holds the model, the arrays with their names, and how they came about.

# %%
with tempfile.TemporaryDirectory() as folder:
    kept = nm.load(fit.save(Path(folder) / "W053.nc"))
again = nm.switching.smooth(kept, choices, inputs=inputs)
print("the same to the last bit:", again.identical(probability))
