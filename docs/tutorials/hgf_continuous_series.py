# %% [markdown]
# # A continuous series
#
# A number is measured at irregular times: a price, a temperature, a rating of pain. It
# drifts, at times slowly and at times fast, and every measurement has noise. The
# continuous Hierarchical Gaussian Filter (HGF) follows the value `x1` and, with it, how
# fast it drifts (`x2`, its log-volatility). Here is what it sees in simulated series,
# how its parameters are found from the series alone, when a changing volatility can be
# told from changing noise, and which update scheme to choose.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import neuromod as nm

hgf = nm.hgf
plt.style.use("neuromod.core.neuromod")  # one look for all figures
N_TRIALS, GAP, N_RESTARTS = 300, slice(200, 225), 4
SCHEMES = ("ehgf", "ehgf_swap", "standard", "unbounded")

# %% tags=["fast"]
# A short series, single starts.
N_TRIALS, GAP, N_RESTARTS = 30, slice(10, 13), 1
SCHEMES = ("ehgf", "standard")

# %% [markdown]
# ## The series
#
# `simulate` runs forward what a network believes about the world: `x2` walks at random,
# and `x1` gains the variance $\exp(\omega_1 + x_2)$ per unit of time. `time_steps` is
# the time since the measurement before; what is missing is NaN.

# %%
TRUE = {"x1.tonic_volatility": -3.5, "x2.tonic_volatility": -4.0}
NOISE = 0.2  # standard deviation of a measurement
changing = hgf.continuous_two_level(tuple(TRUE.values()), input_precision=NOISE**-2)
random = np.random.default_rng(0)
steps = random.gamma(4, 1 / 4, N_TRIALS)
world = hgf.simulate(changing, N_TRIALS, seed=3, time_steps=steps, start="mean")
time = np.cumsum(steps)
missing = random.random(N_TRIALS) < 0.1
missing[GAP] = True
value = np.where(missing, np.nan, world["inputs"].sel(input="value"))
figure, (upper, lower) = plt.subplots(2, 1, figsize=(7.2, 3.2), sharex=True)
upper.plot(time, value, ".", color="0.5", ms=3, label="measured")
upper.plot(time, world["states"].sel(node="x1"), linewidth=0.9, label="$x_1$")
upper.legend(ncols=2)
lower.plot(time, world["states"].sel(node="x2"), color="C1")
upper.set_ylabel("Value")
lower.set(xlabel="Time", ylabel="$x_2$ (log-volatility)")
print(f"{missing.mean():.0%} missing; steps of {steps.min():.2f} to {steps.max():.2f}")

# %% [markdown]
# ## What the filter sees
#
# With the true parameters. Where nothing is measured beliefs age: the band widens, and
# nothing is learnt at any level.

# %%
beliefs = hgf.filter(changing, value, time_steps=steps)
hgf.plot_trajectories(beliefs, network=changing)

# %%
truth = world["states"]
error = beliefs["mean"] - truth
sd = beliefs["precision"] ** -0.5
states = list(changing.states)
pd.DataFrame(
    {
        "within 2 s.d.": (np.abs(error) < 2 * sd).mean("trial").sel(node=states),
        "correlation with the truth": [
            np.corrcoef(beliefs["mean"].sel(node=n), truth.sel(node=n))[0, 1]
            for n in states
        ],
    },
    index=states,
).round(2)

# %% [markdown]
# If beliefs are calibrated the truth lies within two standard deviations on about 95 %
# of the trials. The filter is an approximation, and a single walk of `x2` has few
# independent pieces, so expect that number of `x1` rather than of `x2`.
#
# ## The Kalman filter is a special case
#
# Without a state that sets its volatility, `x1` is a random walk of constant variance,
# and the updates are those of the Kalman filter to the last digits. Here it is in a few
# lines, with irregular steps and missing values:

# %%
constant = hgf.Network(
    [
        hgf.ContinuousInput("value", precision=NOISE**-2),
        hgf.ContinuousState("x1", tonic_volatility=TRUE["x1.tonic_volatility"]),
    ],
    [hgf.observation("x1", "value")],
)
mean, variance, kalman = 0.0, 1.0, []
for seen, step in zip(value, steps, strict=True):
    variance += step * np.exp(TRUE["x1.tonic_volatility"])
    if not np.isnan(seen):
        gain = variance / (variance + NOISE**2)
        mean, variance = mean + gain * (seen - mean), (1 - gain) * variance
    kalman.append(mean)
plain = hgf.filter(constant, value, time_steps=steps)
apart = np.abs(plain["mean"].sel(node="x1") - kalman).max()
print(f"largest difference of the two: {float(apart):.1e}")

# %% [markdown]
# ## Parameters from the series alone
#
# Nobody has responded to this series. `bayes_optimal` asks for the parameters under
# which the series is predicted best: each measurement is scored by its density under
# what was expected. Here the tonic volatilities and the precision of measurements are
# free.

# %%
PRIORS = {
    "x1.tonic_volatility": hgf.Normal(-4, 2),
    "x2.tonic_volatility": hgf.Normal(-4, 2),
    "value.precision": hgf.LogNormal(2, 2),
}
first = pd.DataFrame({"value": value, "time_steps": steps})
BEST = {"response": hgf.responses.bayes_optimal(), "n_restarts": N_RESTARTS, "seed": 0}

# %% [markdown]
# Two more series go along, to ask a harder question. There the value drifts at a
# constant rate and the *noise* of the measurements changes: `x2` acts on the input by a
# `noise` edge. Both show as larger jumps. What tells them apart is whether a jump
# stays.

# %%
noisy = hgf.Network(
    [
        hgf.ContinuousInput("value", precision=100.0),
        hgf.ContinuousState("x1", tonic_volatility=-3.5),
        hgf.ContinuousState("x2", mean=-2.0, tonic_volatility=-3.0),
    ],
    [hgf.observation("x1", "value"), hgf.noise("x2", "value")],
)
SERIES = {"volatility changes": first}
for name, seed in (("noise changes much", 9), ("noise changes less", 4)):
    other = hgf.simulate(noisy, N_TRIALS, seed=seed, time_steps=steps, start="mean")
    measured = np.where(missing, np.nan, other["inputs"].sel(input="value"))
    SERIES[name] = first.assign(value=measured)
figure, axes = plt.subplots(3, 1, figsize=(7.2, 4.2), sharex=True)
for ax, (name, rows) in zip(axes, SERIES.items(), strict=True):
    ax.plot(time, rows["value"], ".-", ms=3, linewidth=0.5)
    ax.set(ylabel="Measured", title=f"Truth: {name}")
axes[-1].set_xlabel("Time")

# %% [markdown]
# Three models are fitted to all series: constant volatility and noise (Kalman),
# changing volatility, changing noise. A mapping of tables is fitted in one call.

# %%
MODELS = {
    "nothing changes": (constant, ["x1.tonic_volatility", "value.precision"]),
    "volatility changes": (changing, list(PRIORS)),
    "noise changes": (noisy, list(PRIORS)),
}

# %% tags=["fast"]
MODELS = {name: MODELS[name] for name in ("volatility changes",)}

# %%
fits = {
    name: hgf.fit(network, SERIES, priors={p: PRIORS[p] for p in free}, **BEST)
    for name, (network, free) in MODELS.items()
}
pd.DataFrame(
    {
        name: fit.data["scores"]["log_model_evidence"].to_series()
        for name, fit in fits.items()
    }
).round(1).rename_axis(index="truth", columns="log evidence of")

# %% [markdown]
# Read it row by row: the largest number is the model that the series speaks for; a
# difference of 3 nats is 20 to 1. Where volatility changes, or noise changes much, it
# is the model that made the series. Where noise changes less the simplest model wins:
# what the approximate updates cost is then more than what the flexibility brings. And
# what was found of the parameters of the first series, by the model that made it:

# %%
fit = fits["volatility changes"]
name = "volatility changes"
here = {
    part: fit.data[part].to_dataset().sel(subject=name)
    for part in ("parameters", "uncertainty")
}
pd.DataFrame(
    {
        p: {
            "true": (TRUE | {"value.precision": NOISE**-2})[p],
            "estimate": float(here["parameters"][p]),
            "2.5 %": float(here["uncertainty"][p].sel(quantile=0.025)),
            "97.5 %": float(here["uncertainty"][p].sel(quantile=0.975)),
        }
        for p in PRIORS
    }
).T.round(2)

# %% [markdown]
# ## Which scheme, and what can go wrong
#
# The updates are approximations, and four schemes are on offer. A gentle series does
# not tell them apart. This one does: its volatility rises, and after a stretch without
# measurements the value is found far from where it was. Each scheme gets the parameters
# that made the series.

# %%
HARD = (-3.5, -3.0)
rough = hgf.simulate(
    hgf.continuous_two_level(HARD, input_precision=NOISE**-2),
    N_TRIALS,
    seed=9,
    time_steps=steps,
    start="mean",
)
jumpy = np.where(missing, np.nan, rough["inputs"].sel(input="value"))


def prediction_error(found):
    """Return the root mean squared error of the predictions (NaN if it diverged)."""
    if found.attrs["diverged"]:
        return np.nan
    expected = found["expected_mean"].sel(node="value")
    return float(np.sqrt(np.nanmean((jumpy - expected) ** 2)))


figure, (upper, lower) = plt.subplots(2, 1, figsize=(7.2, 3.6), sharex=True)
upper.plot(time, jumpy, ".", color="0.3", ms=3)
upper.set_ylabel("Measured")
lower.plot(time, rough["states"].sel(node="x2"), color="black", label="truth")
rows = {}
for scheme in SCHEMES:
    two = hgf.continuous_two_level(HARD, input_precision=NOISE**-2, update=scheme)
    found = hgf.filter(two, jumpy, time_steps=steps, throw=False)
    volatility = found["mean"].sel(node="x2")
    lower.plot(time, volatility, linewidth=0.9, label=scheme)
    rows[scheme] = {
        "largest x2": float(volatility.max()),
        "prediction error": prediction_error(found),
        "diverged": found.attrs["diverged"].partition(":")[0][:60] or "no",
    }
lower.set(xlabel="Time", ylabel="Belief about $x_2$")
lower.legend(ncols=5, loc="upper left")
print(f"largest true x2: {float(rough['states'].sel(node='x2').max()):.1f}")
pd.DataFrame(rows).transpose()

# %% [markdown]
# After the gap the two schemes that move the mean first, by the precision from before
# they saw the jump, take it for a volatility that is orders of magnitude too large, and
# need many trials to come back. Predictions of the value suffer little: with any large
# volatility they are the last measurement. But a regressor or a group difference in
# `x2` would be made of one trial.
#
# With a third level, `x3`, the volatility of the volatility changes too, and such
# runaways can go on until numbers overflow. Below is what becomes of each scheme on
# this series, over a range of tonic volatilities of `x2`.

# %%
sweep = np.linspace(-8, 6, 15)
rows = {}
for scheme in SCHEMES:
    for volatility in sweep:
        three = hgf.continuous_three_level(
            (HARD[0], volatility, -6.0), input_precision=NOISE**-2, update=scheme
        )
        found = hgf.filter(three, jumpy, time_steps=steps, throw=False)
        rows[scheme, volatility] = prediction_error(found)
constant_error = prediction_error(hgf.filter(constant, jumpy, time_steps=steps))
errors = pd.Series(rows).unstack(level=0)[list(SCHEMES)] / constant_error
worse = errors > 1.05
figure, ax = plt.subplots(figsize=(6.4, 2.2))
marks = {
    "predicts as the Kalman filter, or better": (~worse & errors.notna(), "o", "C0"),
    "ran away: predicts worse": (worse, "^", "C1"),
    "diverged: no numbers": (errors.isna(), "x", "0.3"),
}
for label, (which, mark, colour) in marks.items():
    at, row = np.nonzero(which.values)
    ax.plot(sweep[at], row, mark, color=colour, ms=5, label=label)
ax.set_yticks(range(len(SCHEMES)), SCHEMES)
ax.set(xlabel="Tonic volatility of $x_2$", ylim=(len(SCHEMES) - 0.5, -0.5))
ax.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.45, 1))
pd.DataFrame(
    {"diverged": errors.isna().sum(), "ran away": worse.sum()}
    | {"predicts": (~worse & errors.notna()).sum()}
)

# %% [markdown]
# So: begin with the default, look at the top level, and compare predictions with those
# of the Kalman filter. Where beliefs run away, lower the tonic volatilities, hold `x2`
# by an `autoconnection` below 1, or take `update="unbounded"`, which holds on this
# series; take "standard" to reproduce older published numbers. Without `throw=False`,
# divergence is an error that names trial and node:

# %%
try:
    hgf.filter(
        hgf.continuous_three_level(
            (HARD[0], 6.0, -6.0), input_precision=NOISE**-2, update="standard"
        ),
        jumpy,
        time_steps=steps,
    )
except nm.core.errors.DivergedError as error:
    print(error)
