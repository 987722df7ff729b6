# %% [markdown]
# # A group study
#
# Twenty participants of two groups do a binary learning task in two sessions. They did
# not all finish, and answers are missing. Do the groups learn differently? We fit every
# participant alone, then all of a group together, compare models across participants,
# and ask what a study of this size can find.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import ttest_ind

import neuromod as nm

hgf = nm.hgf
plt.style.use("neuromod.core.neuromod")  # one look for all figures
DESIGN = np.repeat([0.8, 0.2, 0.8, 0.2, 0.8], [35, 25, 15, 15, 30])
N_PER_GROUP, N_DROPPED = 10, 30
N_CHAINS, N_DRAWS, N_RESTARTS, N_SIMULATED = 3, 700, 4, 300
SIZES, LENGTHS, N_STUDIES = [10, 20, 40], [60, 120, 240], 2000

# %% tags=["fast"]
# Few participants, trials and draws.
DESIGN = np.repeat([0.8, 0.2], 6)
N_PER_GROUP, N_DROPPED = 5, 0
N_CHAINS, N_DRAWS, N_RESTARTS, N_SIMULATED = 2, 40, 1, 5
SIZES, LENGTHS, N_STUDIES = [5], [24], 10

# %% [markdown]
# ## One table for all
#
# One row per trial, with columns `subject`, `session`, `outcome` and `choice` (empty
# where there was no answer); other columns, such as `group`, do no harm. The
# participants here are simulated: their log-odds `x2` gain a variance of
# $\exp(\omega_2)$ per trial, and $\omega_2$ (`x2.tonic_volatility`) is larger by 1 in
# patients. With a table of your own, this cell becomes `pd.read_csv`.

# %%
DIFFERENCE, SPREAD = 1.0, 0.6
random = np.random.default_rng(1)
tables, truth = [], {}
for number in range(2 * N_PER_GROUP):
    subject = f"P{number + 1:02d}"
    group = "patients" if number % 2 else "controls"
    volatility = random.normal(-3.5 + DIFFERENCE * (number % 2), SPREAD)
    temperature = np.exp(random.normal(np.log(3), 0.3))
    truth[subject] = (group, volatility, temperature)
    rows = pd.DataFrame({"session": np.repeat(["first", "second"], len(DESIGN))})
    rows["outcome"] = (random.random(len(rows)) < np.tile(DESIGN, 2)).astype(int)
    agent = hgf.Agent(
        hgf.binary_two_level(volatility),
        hgf.responses.unit_square_sigmoid(temperature),
    )
    rows["choice"] = hgf.respond(
        agent, rows["outcome"].values, sessions=rows["session"], seed=number
    ).values
    rows.loc[random.random(len(rows)) < 0.03, "choice"] = np.nan  # too late
    done = len(rows) - (random.integers(N_DROPPED) if number > 1 and N_DROPPED else 0)
    tables.append(rows.iloc[:done].assign(subject=subject, group=group))
table = pd.concat(tables, ignore_index=True)
truth = pd.DataFrame(truth, ["group", "volatility", "temperature"]).T
table.head(3)

# %%
table["right"] = (table["choice"] == table["outcome"]).where(table["choice"].notna())
each = table.groupby(["group", "subject"]).agg(
    trials=("outcome", "size"),
    answered=("choice", "count"),
    right=("right", "mean"),
)
figure, ax = plt.subplots(figsize=(4.4, 2.4))
by_session = table.astype({"right": float}).pivot_table(
    values="right", index=["group", "subject"], columns="session"
)
for group, rows in by_session.groupby("group"):
    ax.plot(rows["first"], rows["second"], "o", label=group)
ax.axline((0.7, 0.7), slope=1, color="0.7", linewidth=0.6, zorder=0)
ax.set(xlabel="Right in the first session", ylabel="Right in the second session")
ax.legend()
each.astype(float).groupby("group").agg(["min", "mean", "max"]).round(2)

# %% [markdown]
# ## Every participant alone
#
# One call fits all of them, in one program, side by side: a table with a column
# `subject` is taken apart by it, and beliefs begin anew at each `session`. Series of
# unequal length are padded inside, which changes no number.

# %%
network, choice = hgf.binary_two_level(-3.0), hgf.responses.unit_square_sigmoid(3.0)
fit = hgf.fit(network, table, "choice", response=choice, n_restarts=N_RESTARTS, seed=0)
VOLATILITY = "x2.tonic_volatility"
print(fit.data["identifiability"].attrs["report"])
estimate = fit.data["parameters"].to_dataset().to_dataframe()
group_of = truth["group"].loc[estimate.index]
estimate.groupby(group_of).agg(["mean", "std"]).round(2)

# %%
low, high = fit.data["uncertainty"][VOLATILITY].transpose("quantile", ...).values
figure, ax = plt.subplots(figsize=(3.6, 3.2))
for group in ("controls", "patients"):
    here = (group_of == group).values
    true = truth["volatility"].loc[estimate.index].astype(float).values[here]
    middle = estimate[VOLATILITY].values[here]
    reach = np.abs(np.stack([low, high])[:, here] - middle)
    ax.errorbar(true, middle, reach, fmt="o", elinewidth=0.7, label=group)
ax.axline((-3, -3), slope=1, color="0.7", linewidth=0.6, zorder=0)
ax.set(xlabel="True $\\omega_2$", ylabel="Estimate and 95 % interval")
ax.legend(loc="upper left")
groups = [estimate[VOLATILITY][group_of == group] for group in ("patients", "controls")]
test = ttest_ind(*groups, equal_var=False)
these = truth["volatility"].astype(float).groupby(truth["group"]).mean()
print(
    f"difference of the groups' means {groups[0].mean() - groups[1].mean():.2f} "
    f"(true: {DIFFERENCE}, in these participants "
    f"{these['patients'] - these['controls']:.2f})\n"
    f"Welch's t = {test.statistic:.2f}, p = {test.pvalue:.1g}"
)

# %% [markdown]
# This test takes every estimate for equally certain. It also sees estimates that the
# prior has pulled to the same mean in both groups, which makes differences smaller on
# average.
#
# ## All of a group together
#
# A hierarchical model estimates the mean and the spread of a group along with its
# participants. Who gave little information is drawn to the group's mean; who gave much
# stays where she was. The two groups are sampled apart, so that neither is drawn to the
# other.

# %%
HOW = {"n_chains": N_CHAINS, "n_draws": N_DRAWS, "n_warmup": min(N_DRAWS, 500)}
together = {
    group: hgf.sample(
        network, rows, "choice", response=choice, seed=0, progress=False, **HOW
    )
    for group, rows in table.groupby("group")
}
for group, result in together.items():
    found = result.data["diagnostics"].to_dataset()
    worst = float(max(v.max() for n, v in found.items() if n.startswith("r_hat")))
    print(
        f"{group}: largest R-hat {worst:.3f}, {int(found['n_diverging'])} divergences"
    )

# %%
hgf.plot_group(together["patients"])

# %% [markdown]
# Of each group the mean has a posterior, and so has their difference.

# %%
means, spreads = (
    {
        group: result.data["posterior"][which].sel(parameter=VOLATILITY).values.ravel()
        for group, result in together.items()
    }
    for which in ("group_mean", "group_sd")
)
difference = means["patients"] - means["controls"]
figure, (left, right) = plt.subplots(1, 2, figsize=(6.6, 2.5))
for group, draws in means.items():
    left.hist(draws, 40, alpha=0.6, label=group)
left.set(xlabel="Group mean of $\\omega_2$", ylabel="Draws")
left.legend()
right.hist(difference, 40, color="0.5")
right.axvline(0, color="0.2", linewidth=0.8)
right.axvline(DIFFERENCE, color="black", linestyle="--", label="true")
right.set(xlabel="Patients minus controls")
right.legend()
bounds = np.quantile(difference, [0.025, 0.975])
print(
    f"difference {difference.mean():.2f}, 95 % interval {bounds[0]:.2f} to "
    f"{bounds[1]:.2f}; above 0 with probability {np.mean(difference > 0):.4f}"
)
print({g: f"spread {s.mean():.2f} (true: {SPREAD})" for g, s in spreads.items()})

# %% [markdown]
# What the group does for its members: the error of the estimates, alone and together.

# %%
pooled = pd.concat(
    [
        result.data["parameters"].to_dataset().to_dataframe()
        for result in together.values()
    ]
).loc[estimate.index]
true = truth["volatility"].loc[estimate.index].astype(float)
figure, ax = plt.subplots(figsize=(4.6, 2.6))
for subject in estimate.index:
    ax.plot(
        [estimate[VOLATILITY][subject], pooled[VOLATILITY][subject]],
        [1, 0],
        "o-",
        color="C1" if group_of[subject] == "patients" else "C0",
        ms=3,
        linewidth=0.7,
    )
ax.set_yticks([0, 1], ["together", "alone"])
ax.set(xlabel="Estimate of $\\omega_2$", ylim=(-0.3, 1.3))
pd.Series(
    {
        "alone": np.sqrt(np.mean((estimate[VOLATILITY] - true) ** 2)),
        "together": np.sqrt(np.mean((pooled[VOLATILITY] - true) ** 2)),
    },
    name="root mean squared error",
).to_frame().round(2)

# %% [markdown]
# ## Which model?
#
# Participants may differ in *how* they learn. Random-effects model selection takes the
# log model evidence of every model for every participant and estimates how frequent
# each model is in the population. The protected exceedance probability is that a model
# is more frequent than any other, allowing for the chance that all are equally
# frequent.

# %%
fits = {
    "Rescorla-Wagner": hgf.fit(
        hgf.RescorlaWagner(),
        table,
        "choice",
        response=choice,
        n_restarts=N_RESTARTS,
        seed=0,
    ),
    "two levels": fit,
}
selection = hgf.select_models(fits)
hgf.plot_model_selection(selection)
scores = pd.DataFrame(
    {
        name: one.data["scores"]["log_model_evidence"].to_series()
        for name, one in fits.items()
    }
)
gain = scores["two levels"] - scores["Rescorla-Wagner"]
print(f"two levels are better by {gain.sum():.1f} nats in all, {gain.mean():.1f} each")
print(f"and in {np.sum(gain > 0)} of {len(gain)} participants")
print(f"probability that both are as frequent: {float(selection['omnibus_risk']):.3f}")

# %% [markdown]
# All participants were made by two levels. One participant rarely decides between two
# learning models; many do. A model with a third level is left out: a single
# participant's choices do not tell it from two levels (see [the binary
# task](hgf_binary_task.ipynb)), and the evidence of nearly equal models says nothing,
# however many take part.
#
# %% [markdown]
# ## Recovery and power
#
# On this design, do parameters come back? Simulated participants take the outcomes of
# the real ones in turn. Parameters are drawn from the priors, which are wider than the
# group.

# %%
recovered = hgf.recover(
    network,
    table.drop(columns="choice"),
    response=choice,
    n_subjects=2 * N_PER_GROUP,
    n_restarts=N_RESTARTS,
    seed=2,
)
hgf.plot_recovery(recovered)
recovered[["correlation", "rmse", "coverage", "contraction"]].to_dataframe().round(2)

# %% [markdown]
# And how large must the study be? Groups that differ by 1 in $\omega_2$ are simulated
# on the outcomes of one participant, fitted one by one and tested, with more
# participants and with fewer trials.

# %%
power = hgf.power(
    network,
    table[table["subject"] == "P01"].drop(columns="subject"),
    response=choice,
    parameter=VOLATILITY,
    difference=DIFFERENCE,
    between_subject_sd=SPREAD,
    n_per_group=SIZES,
    n_trials=LENGTHS,
    n_simulated=N_SIMULATED,
    n_studies=N_STUDIES,
    n_restarts=1,
    seed=3,
)
figure, ax = plt.subplots(figsize=(4.4, 2.6))
for length in LENGTHS:
    ax.plot(SIZES, power["power"].sel(n_trials=length), "o-", label=f"{length} trials")
ax.axhline(0.8, color="0.7", linewidth=0.6, zorder=0)
ax.set(xlabel="Participants per group", ylabel="Power", ylim=(0, 1.03))
ax.legend()
power.to_dataframe()["power"].unstack().round(2)

# %% [markdown]
# The test is that of estimates one by one, as above. More trials help as long as
# estimates are noisier than participants differ; from there on only more participants
# do.
