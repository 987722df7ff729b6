"""Tables and figures of what `neuromod hgf` found."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from neuromod import hgf
from neuromod.cli.hgf_options import has_subjects
from neuromod.cli.hgf_reading import by_subject, choices
from neuromod.cli.tables import aligned
from neuromod.core.errors import invalid
from neuromod.core.report import Picture
from neuromod.core.style import context

if TYPE_CHECKING:
    from neuromod.core.result import Result

QUANTILES = (0.025, 0.975)
SCORES = ("log_likelihood", "log_model_evidence", "bic", "aic", "n_responses")


def beliefs_of(agent: Any, table: pd.DataFrame) -> xr.Dataset:
    """Run an agent's network over the trials of one participant."""
    network = agent.network
    if not isinstance(network, hgf.Network):
        got = f"a {type(network).__name__}"
        raise invalid("--model", got, "a network, whose beliefs can be told")
    return hgf.filter(
        network,
        table[list(network.inputs)],
        time_steps=table.get("time_steps"),
        sessions=table.get("session"),
    )


def joined(beliefs: Mapping[Any, xr.Dataset]) -> xr.Dataset:
    """Put the beliefs of participants side by side; NaN where one had no trial."""
    if None in beliefs:
        return beliefs[None]
    subject = xr.DataArray(list(beliefs), dims="subject", name="subject")
    datasets = list(beliefs.values())
    return xr.concat(datasets, subject, join="outer", combine_attrs="drop_conflicts")


def flat(
    beliefs: Mapping[Any, xr.Dataset], tables: Mapping[Any, pd.DataFrame]
) -> pd.DataFrame:
    """Return beliefs with a row for each trial and a column for each number."""
    frames = []
    for subject, found in beliefs.items():
        labels = {} if subject is None else {"subject": subject}
        if "session" in tables[subject]:
            labels["session"] = tables[subject]["session"].to_numpy()
        numbers = {
            f"{node} {name}": array.sel(node=node).values
            for node in found["node"].values
            for name, array in found.data_vars.items()
        }
        trials = {"trial": found["trial"].values}
        frames.append(pd.DataFrame({**labels, **trials, **numbers}))
    return pd.concat(frames, ignore_index=True)


def draw_beliefs(
    agent: Any, beliefs: xr.Dataset, table: pd.DataFrame, subject: str | None
) -> Picture:
    """Draw the trajectories of one participant."""
    network = agent.network
    with context():
        axes = hgf.plot_trajectories(
            beliefs, responses=choices(table, network), network=network
        )
    whose = "" if subject is None else f" of subject {subject}"
    if whose:
        axes[0].figure.suptitle(f"Subject {subject}")
    return Picture(
        axes[0].figure,
        f"Beliefs{whose} over the trials, the top level first; below, what was "
        "predicted of each input and what came.",
        "Curves of beliefs over trials, one panel for each node.",
    )


def draw_first(result: "Result", table: pd.DataFrame) -> Picture:
    """Draw the trajectories of the first participant of a fit."""
    subject, own = next(iter(by_subject(table).items()))
    agent = hgf.agent_of(result, subject=subject)
    return draw_beliefs(agent, beliefs_of(agent, own), own, subject)


def estimates(result: "Result") -> pd.DataFrame:
    """Return a row for each participant: parameters, intervals and scores."""
    parameters, intervals = (
        result.data[name].to_dataset() for name in ("parameters", "uncertainty")
    )
    scores = result.data["scores"].to_dataset()
    columns: dict[str, Any] = {}
    if has_subjects(result):
        columns["subject"] = parameters["subject"].values
    for name in map(str, parameters.data_vars):
        columns[name] = parameters[name].values
        for quantile, end in zip(QUANTILES, ("lower", "upper"), strict=True):
            columns[f"{name} {end}"] = intervals[name].sel(quantile=quantile).values
    columns |= {name: scores[name].values for name in SCORES if name in scores}
    return pd.DataFrame({k: np.atleast_1d(v) for k, v in columns.items()})


def fit_told(result: "Result") -> str:
    """Tell of a fit: its parameters, how well it does, and what the data told."""
    scores = result.data["scores"].to_dataset()
    nats, count = (float(scores[k].sum()) for k in ("log_likelihood", "n_responses"))
    parts = [
        result.summary(),
        f"log-likelihood: {nats:.4g} nats, {nats / count:.4g} for each of {count:.0f} "
        "responses",
    ]
    if "identifiability" in result.data.children:
        parts.append(result.data["identifiability"].attrs["report"])
    return "\n\n".join(parts)


def drawn(result: "Result") -> pd.DataFrame:
    """Return a row for each parameter that was drawn; of a group for its moments."""
    posterior = result.data["posterior"].to_dataset()
    told = result.data["diagnostics"].to_dataset()
    rows = []
    for name, label, draws in _quantities(posterior):
        low, high = np.quantile(draws, QUANTILES)
        one = told.sel(parameter=label)
        rows.append(
            {
                "parameter": name,
                "mean": float(draws.mean()),
                "sd": float(draws.std(ddof=1)),
                "2.5 %": low,
                "97.5 %": high,
                "r_hat": float(one["r_hat"]),
                "ess_bulk": float(one["ess_bulk"]),
                "ess_tail": float(one["ess_tail"]),
            }
        )
    return pd.DataFrame(rows)


def _quantities(posterior: xr.Dataset) -> list[tuple[str, str, np.ndarray]]:
    """Return each quantity, its name in the diagnostics, and its draws."""
    if "group_mean" not in posterior:
        return [(str(k), str(k), v.values) for k, v in posterior.data_vars.items()]
    return [
        (f"{moment} of {name}", f"group_{moment}[{i}]", draws.values[..., i])
        for moment in ("mean", "sd")
        for draws in [posterior[f"group_{moment}"]]
        for i, name in enumerate(posterior["parameter"].values)
    ]


def drawn_told(result: "Result", rows: pd.DataFrame) -> str:
    """Tell of draws: the table, the worst of all chains, what the data told."""
    told = result.data["diagnostics"].to_dataset()
    n_diverging = int(told["n_diverging"].sum()) if "n_diverging" in told else 0
    worst = (
        f"of all {told.sizes['parameter']} parameters: R-hat at most "
        f"{float(told['r_hat'].max()):.3f}, effective draws at least "
        f"{float(told['ess_bulk'].min()):.0f}; {n_diverging} divergences"
    )
    parts = [aligned(rows), worst, result.data["identifiability"].attrs["report"]]
    if has_subjects(result):
        parts.insert(1, "means and deviations of a group are on the native scale")
    return "\n\n".join(parts)


def draw_posterior(result: "Result") -> dict[str, Any]:
    """Draw the posterior, and of a group all its participants, by name of the file."""
    with context():
        if not has_subjects(result):
            return {"posterior.png": hgf.plot_posterior(result)[0].figure}
        means = hgf.plot_posterior(_of_means(result))[0].figure
        means.suptitle("Mean of the group")
        return {"posterior.png": means, "group.png": hgf.plot_group(result)[0].figure}


def _of_means(result: "Result") -> "Result":
    """Return a result whose posterior is that of the group's means, by name."""
    from neuromod.hgf.results import unpacked

    means = result.data["posterior"]["group_mean"]
    free = unpacked(result.config["parameters"])
    dims = ("chain", "draw")
    values = free.values(means.values)
    named = {n: (dims, np.asarray(v)) for n, v in zip(free.names, values, strict=True)}
    kept = {k: result.data[k].to_dataset() for k in ("prior", "identifiability")}
    tree = xr.DataTree.from_dict({**kept, "posterior": xr.Dataset(named)})
    return replace(result, data=tree)


def recovery_rows(recovered: xr.Dataset) -> pd.DataFrame:
    """Return how well each parameter was recovered, a row for each."""
    columns = ["correlation", "rmse", "coverage", "contraction"]
    return recovered[columns].to_dataframe().reset_index()


def draw_recovery(recovered: xr.Dataset) -> Any:
    """Draw estimates against the truth."""
    with context():
        return hgf.plot_recovery(recovered)[0].figure
