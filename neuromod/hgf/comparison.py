"""Which model the behaviour speaks for."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import xarray as xr

from neuromod.core import evidence, model_selection
from neuromod.core.errors import NotFittedError, invalid
from neuromod.core.result import Result

if TYPE_CHECKING:
    import pandas as pd


def loo(result: Result) -> xr.Dataset:
    """Estimate how well left-out responses are predicted.

    Parameters
    ----------
    result
        What `sample` returned.

    Returns
    -------
    Dataset
        ``elpd`` (nats), its standard error, and of each trial ``elpd_pointwise`` and
        ``pareto_k`` (`neuromod.core.evidence.loo`).

    Raises
    ------
    NotFittedError
        If the result has no draws.
    """
    return evidence.loo(_pointwise(result, "loo"))


def waic(result: Result) -> xr.Dataset:
    """Estimate the same by the widely applicable information criterion.

    Parameters
    ----------
    result
        What `sample` returned.

    Returns
    -------
    Dataset
        As of `loo`, without ``pareto_k`` (`neuromod.core.evidence.waic`).

    Raises
    ------
    NotFittedError
        If the result has no draws.
    """
    return evidence.waic(_pointwise(result, "waic"))


def compare(models: Mapping[str, Result]) -> "pd.DataFrame":
    """Put the predictions of several models side by side, paired by trial.

    Parameters
    ----------
    models
        From names to what `sample` returned, on the same data.

    Returns
    -------
    pandas.DataFrame
        A row for each model, the best first (`neuromod.core.evidence.compare`).

    Raises
    ------
    NotFittedError
        If a result has no draws.
    InvalidInputError
        If the trials differ.
    """
    return evidence.compare({name: loo(result) for name, result in models.items()})


def select_models(models: Mapping[str, Result]) -> xr.Dataset:
    """Estimate how frequent each model is among participants, as random effects.

    Parameters
    ----------
    models
        From names to what `fit` returned for the same participants, each by the
        maximum of the posterior.

    Returns
    -------
    Dataset
        Expected frequencies, exceedance and protected exceedance probabilities by
        model, and attributions by subject
        (`neuromod.core.model_selection.select_models`).

    Raises
    ------
    InvalidInputError
        If a result has no log model evidence, or participants differ.
    """
    columns = {}
    for name, result in models.items():
        scores = result.data.children.get("scores")
        if scores is None or "log_model_evidence" not in scores:
            raise invalid(
                f"models[{name!r}]",
                "a result without a log model evidence",
                "one of hgf.fit with method='map'",
            )
        column = scores["log_model_evidence"]
        columns[name] = (
            column if "subject" in column.dims else column.expand_dims(subject=["0"])
        )
    labels = [column["subject"].values.tolist() for column in columns.values()]
    if any(label != labels[0] for label in labels[1:]):
        raise invalid("models", "fits of different subjects", "the same, in one order")
    table = xr.concat(list(columns.values()), dim="model").assign_coords(
        model=list(columns)
    )
    return model_selection.select_models(table.transpose("subject", "model"))


def _pointwise(result: Result, verb: str) -> xr.DataArray:
    group = result.data.children.get("log_likelihood")
    if group is None or "draw" not in group.dims:
        raise NotFittedError(
            f"hgf.{verb}: got a result without draws, expected one of hgf.sample."
        )
    return group.to_dataset()["log_likelihood"]
