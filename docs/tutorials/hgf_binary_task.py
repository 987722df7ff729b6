# %% [markdown]
# # Learning in a binary task
#
# A participant sees one of two outcomes per trial and bets on the next one. How
# probable each is changes now and then, without a sign. The Hierarchical Gaussian
# Filter (HGF) says what somebody would believe who learns from every outcome, and
# learns faster where the world seems to change faster; its parameters say how this
# participant differs from others. Here we go from a table of outcomes and choices to
# these parameters, to how well they are known, and to regressors for fMRI or EEG.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import neuromod as nm

hgf = nm.hgf
plt.style.use("neuromod.core.neuromod")  # one look for all figures
DESIGN = np.repeat([0.8, 0.2, 0.8, 0.2, 0.8, 0.2], [50, 40, 15, 15, 15, 25])
N_CHAINS, N_DRAWS, N_RESTARTS, N_SIMULATED = 4, 500, 8, 60

# %% tags=["fast"]
# Few trials, draws and fits.
DESIGN = np.repeat([0.8, 0.2], [7, 5])
N_CHAINS, N_DRAWS, N_RESTARTS, N_SIMULATED = 2, 200, 1, 2

# %% [markdown]
# ## The data
#
# The table has one row per trial: the `outcome` (0 or 1), the `choice` (which of the
# two the participant bet on; empty where there was no answer in time) and the
# `session`. This one is simulated, so that we know what should be found. With a table
# of your own, leave out the next cell and put its path into the one after.

# %%
TRUE = {
    "x2.tonic_volatility": -2.5,
    "x3.tonic_volatility": -6.0,
    "response.inverse_temperature": 3.0,
}
random = np.random.default_rng(3)
trials = pd.DataFrame({"session": np.repeat(["first", "second"], len(DESIGN))})
trials["outcome"] = (random.random(len(trials)) < np.tile(DESIGN, 2)).astype(int)
participant = hgf.Agent(
    hgf.binary_three_level((TRUE["x2.tonic_volatility"], TRUE["x3.tonic_volatility"])),
    hgf.responses.unit_square_sigmoid(TRUE["response.inverse_temperature"]),
)
trials["choice"] = hgf.respond(
    participant, trials["outcome"].values, sessions=trials["session"], seed=3
).values
trials.loc[random.choice(len(trials), len(trials) // 40, replace=False), "choice"] = (
    np.nan
)
trials.to_csv("task.csv", index=False)

# %%
table = pd.read_csv("task.csv")
table["correct"] = (table["choice"] == table["outcome"]).where(table["choice"].notna())
table.groupby("session", sort=False).agg(
    trials=("outcome", "size"),
    no_answer=("choice", lambda column: column.isna().sum()),
    outcome_1=("outcome", "mean"),
    choice_1=("choice", "mean"),
    correct=("correct", "mean"),
).round(2)

# %%
figure, axes = plt.subplots(2, 1, figsize=(7.2, 3.2), sharex=True, sharey=True)
for ax, (name, rows) in zip(axes, table.groupby("session", sort=False), strict=True):
    trial = np.arange(len(rows))
    smooth = rows[["outcome", "choice"]].rolling(11, center=True, min_periods=1).mean()
    ax.plot(trial, smooth["outcome"], color="0.6", label="outcomes")
    ax.plot(trial, smooth["choice"], label="choices")
    ax.plot(trial, 1.1 * rows["outcome"] - 0.05, "|", color="0.6", ms=3)
    ax.set(ylabel="Share of 1", title=f"{name} session")
axes[0].legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
axes[1].set_xlabel("Trial")

# %% [markdown]
# Lines are running means over 11 trials. Choices follow the outcomes with a delay: that
# delay is what the model is about.
#
# ## What a learner would believe
#
# `x2` is the log-odds of outcome 1; `x3` the log-volatility of `x2`: the larger it is,
# the further the learner thinks that `x2` moves from trial to trial. `filter` runs this
# network over the outcomes; choices play no part yet. `sessions` says where beliefs
# begin anew.

# %%
network = hgf.binary_three_level()
outcomes, sessions = table["outcome"].values, table["session"].values
beliefs = hgf.filter(network, outcomes, sessions=sessions)
hgf.plot_trajectories(beliefs, network=network, responses=table["choice"])

# %% [markdown]
# ## The parameters of this participant
#
# `fit` looks for the parameters that make the choices most probable, given their priors
# (the maximum of the posterior, MAP). Beliefs become choices by the unit-square
# sigmoid: a participant with the inverse temperature 1 chooses as often as she expects
# the outcome; a larger one chooses the likelier outcome more consistently. Nothing is
# said of priors, so all tonic volatilities and the inverse temperature are free, around
# the values that they have by default.

# %%
choice = hgf.responses.unit_square_sigmoid()
fit = hgf.fit(network, table, "choice", response=choice, n_restarts=N_RESTARTS, seed=0)
interval = fit.data["uncertainty"].to_dataset()
priors = hgf.default_priors(hgf.Agent(network, choice))
pd.DataFrame(
    {
        name: {
            "true": TRUE[name],
            "prior": str(priors[name]),
            "estimate": float(fit.data["parameters"][name]),
            "2.5 %": float(interval[name].sel(quantile=0.025)),
            "97.5 %": float(interval[name].sel(quantile=0.975)),
        }
        for name in TRUE
    }
).transpose()

# %% [markdown]
# The intervals come from how sharp the maximum is. Whether they can be trusted, and
# what has been learnt at all, is the next question.
#
# ## What the data tell, and what the prior does
#
# An estimate that the data did not move is the prior's mean, and its interval the
# prior's. `identifiability` compares the two widths.

# %%
print(fit.data["identifiability"].attrs["report"])
ends = fit.data["history"]["log_joint"].values
print(f"\n{np.sum(ends > ends.max() - 0.01)} of {len(ends)} climbs end at the best")

# %% [markdown]
# How fast the log-odds move (`x2.tonic_volatility`) and how consistent choices are can
# be told from one participant. How fast the volatility itself moves
# (`x3.tonic_volatility`, often called $\omega_3$ or $\vartheta$) cannot: its estimate
# agrees with the truth because the prior's mean is the truth here. This is the rule for
# binary tasks of a few hundred trials, and no fault of the optimiser. Fix such a
# parameter, or report it as not identified; do not correlate it with symptoms.
#
# ## The whole posterior
#
# `sample` draws from the posterior by the no-U-turn sampler. The draws need no
# assumption about its shape.

# %%
HOW = {"n_chains": N_CHAINS, "n_draws": N_DRAWS, "n_warmup": N_DRAWS}
draws = hgf.sample(
    network, table, "choice", response=choice, seed=0, progress=False, **HOW
)
hgf.plot_posterior(draws)
print(draws.data["diagnostics"].to_dataset()[["r_hat", "ess_bulk"]].to_dataframe())

# %% [markdown]
# Draws of the one beside draws of the other show what the parameters trade: a learner
# who moves further from trial to trial and one who chooses less consistently can look
# alike.

# %%
names = list(TRUE)
posterior = draws.data["posterior"].to_dataset()
figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.7))
for ax, name in zip(axes, names[1:], strict=True):
    ax.plot(
        posterior[names[0]].values.ravel(), posterior[name].values.ravel(), ".", ms=2
    )
    ax.plot(TRUE[names[0]], TRUE[name], "k+", ms=9, mew=1.5, label="true")
    ax.set(xlabel=names[0], ylabel=name)
axes[0].legend()
flat = np.stack([posterior[name].values.ravel() for name in names])
pd.DataFrame(np.corrcoef(flat), names, names).round(2)

# %% [markdown]
# ## Is it this model?
#
# Three models of the same choices. The *log model evidence* asks how probable the
# choices are under the model and its priors; a difference of 3 nats is 20 to 1.
# Leave-one-out cross-validation (LOO) asks how well a choice is predicted by the
# parameters that the others tell (`elpd`, nats); it hardly depends on priors. Simplest
# first: a constant learning rate (Rescorla-Wagner), an uncertain belief whose
# volatility is constant (two levels), and one whose volatility changes (three levels).

# %%
MODELS = {
    "Rescorla-Wagner": hgf.RescorlaWagner(),
    "two levels": hgf.binary_two_level(),
    "three levels": network,
}

# %% tags=["fast"]
MODELS = {"three levels": network}

# %%
sampled, evidence = {"three levels": draws}, {}
for name, model in MODELS.items():
    if name not in sampled:
        sampled[name] = hgf.sample(
            model, table, "choice", response=choice, seed=0, progress=False, **HOW
        )
    # One table by a name: a group of one.
    one = hgf.fit(
        model, {"P1": table}, "choice", response=choice, n_restarts=N_RESTARTS, seed=0
    )
    evidence[name] = float(one.data["scores"]["log_model_evidence"].squeeze())
comparison = hgf.compare(sampled)
comparison["log_model_evidence"] = pd.Series(evidence)
shown = ["elpd", "difference", "difference_standard_error", "p_effective"]
comparison[[*shown, "log_model_evidence"]].round(2)

# %% [markdown]
# The two networks cannot be told apart: they predict the same, because `x3` hardly
# moves. A constant learning rate is behind by a nat or so, which is little. One
# participant rarely decides between models; [a group](hgf_group_study.ipynb) may.
#
# ## Regressors for fMRI and EEG
#
# `tapas_trajectories` gives what was believed on each trial, at the fitted parameters,
# under the names of the HGF toolbox; `long_name` says what each is. Sessions begin
# anew, so each is run by itself.

# %%
regressors = pd.concat(
    {
        name: hgf.tapas_trajectories(
            fit.model.network, rows["outcome"].values
        ).to_dataframe()
        for name, rows in table.groupby("session", sort=False)
    },
    names=["session", "trial"],
)
regressors.to_csv("regressors.csv")
named = hgf.tapas_trajectories(fit.model.network, outcomes)
WANTED = ["da1", "epsi2", "epsi3", "wt2", "sahat1"]
first = regressors.loc["first"]
figure, axes = plt.subplots(len(WANTED), 1, figsize=(7.2, 5.2), sharex=True)
for ax, name in zip(axes, WANTED, strict=True):
    ax.plot(first.index, first[name])
    ax.set(ylabel=name, title=named[name].long_name)
axes[-1].set_xlabel("Trial of the first session")
figure.align_ylabels()

# %% [markdown]
# `epsi2` is the error of level 2 times the learning rate, `epsi3` the
# precision-weighted error about volatility. In a general linear model regressors
# compete for the same signal, so look at how they correlate, best before the
# experiment. Here `da1` and `epsi2` are nearly the same series, because the learning
# rate `wt2` changes little, and `epsi3` nearly is the size of either: a signal that
# follows one follows the other.

# %%
size = {f"|{name}|": regressors[name].abs() for name in ("da1", "epsi2")}
regressors.assign(**size)[[*size, *WANTED]].corr().round(2)

# %% [markdown]
# ## Before the experiment: what would this design tell?
#
# What does the model expect of a participant before any choice is seen? Parameters are
# drawn from the priors, and each simulated participant does the task. If this says what
# no participant would do, the priors are wrong for the task.

# %%
DESIGNED = {"sessions": sessions, "response": choice, "n_subjects": N_SIMULATED}
before = hgf.prior_predictive(network, outcomes, seed=1, **DESIGNED)
correct = (before["response"] == outcomes).mean("trial").values
own = table["correct"].astype(float).mean()
figure, ax = plt.subplots(figsize=(4.4, 2.4))
ax.hist(correct, 12)
ax.axvline(own, color="black", label="this participant")
ax.set(xlabel="Share of choices that were right", ylabel="Simulated participants")
ax.legend(loc="lower right", bbox_to_anchor=(1, 1))
print(f"beliefs diverged in {int(before['diverged'].sum())} of {len(correct)}")
print(f"{np.mean(correct < own):.0%} are worse than this participant ({own:.2f})")

# %% [markdown]
# Most simulated participants do worse than this one, and some are near chance: the
# priors are centred on slow learning and on matching probabilities, and leave the rest
# to the data. Then fit the simulated participants, and see whether the parameters come
# back.

# %%
recovered = hgf.recover(network, outcomes, n_restarts=N_RESTARTS, seed=1, **DESIGNED)
hgf.plot_recovery(recovered)
recovered[["correlation", "rmse", "coverage", "contraction"]].to_dataframe().round(2)

# %% [markdown]
# On the native scale: positive parameters as logarithms. `coverage` is how often the
# 95 % interval holds the truth, `contraction` how much of the prior's variance the data
# took. `coverage` near 0.95 for a parameter that is not identified is no success: the
# interval of the prior covers draws from the prior. Below 0.95 intervals are too
# narrow; among 60 participants 0.90 may be chance, 0.85 hardly is. So where a parameter
# matters, take its interval from `sample`.
