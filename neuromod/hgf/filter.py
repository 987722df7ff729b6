"""What a network believes on every trial, with names."""

import warnings
from typing import Any

import jax
import numpy as np
import xarray as xr

from neuromod.core.errors import DivergedError
from neuromod.core.precision import Precision, in_precision, precision_context
from neuromod.hgf import inference
from neuromod.hgf.data import Trials, prepare, resets
from neuromod.hgf.network import Network
from neuromod.hgf.nodes import BinaryInput

# Predictions at the clip on more trials than these are no predictions.
SATURATED_SHARE = 0.1

LONG_NAMES = {
    "mean": "mean of the belief after the trial",
    "precision": "precision of the belief after the trial",
    "expected_mean": "predicted mean before the trial",
    "expected_precision": "predicted precision; of a binary input the variance",
    "value_prediction_error": "value prediction error",
    "volatility_prediction_error": "volatility prediction error",
    "effective_precision": "weight of the volatility prediction error",
    "surprise": "negative log density of the outcome",
}


def filter(
    network: Network,
    data: Any,
    *,
    observed: Any = None,
    time_steps: Any = None,
    sessions: Any = None,
    precision: Precision = "float64",
    throw: bool = True,
) -> xr.Dataset:
    """Run a network over a series of outcomes.

    Parameters
    ----------
    network
        The network, or a baseline such as `RescorlaWagner`.
    data : (trial,) or (trial, input)
        What was observed: a list, an array, a DataArray, or a mapping from the names
        of inputs to series. NaN is missing.
    observed
        In the same form: False where an observation does not count.
    time_steps : (trial,)
        Time since the trial before; one unit each if omitted, 0 for none.
    sessions : (trial,)
        Labels of sessions; where they change, beliefs begin anew.
    precision
        "float64" or "float32".
    throw
        Raise where a precision becomes negative; else the numbers from there on are
        NaN, and the attribute ``diverged`` says where.

    Returns
    -------
    Dataset
        ``mean``, ``precision``, ``expected_mean``, ``expected_precision``,
        ``value_prediction_error``, ``volatility_prediction_error``,
        ``effective_precision`` and ``surprise`` (nats), each (trial, node). Of an
        input the mean is what was observed, or how probable that made a 1 if it was
        seen through noise, and its precision that of the data. Of a baseline, by
        input: ``mean`` after the trial, ``expected_mean``, ``value_prediction_error``,
        ``learning_rate``, ``surprise`` and what it has of its own.

    Raises
    ------
    InvalidInputError
        If the data do not fit the network.
    DivergedError
        If a precision became negative; the message names trial and node.

    Examples
    --------
    >>> from neuromod import hgf
    >>> beliefs = hgf.filter(hgf.binary_two_level(), [1, 1, 0, 1])
    >>> beliefs["expected_mean"].sel(node="outcome").round(2).values
    array([0.5 , 0.6 , 0.66, 0.57])
    """
    trials = prepare(network, data, observed, time_steps)
    reset = resets(sessions, len(trials.coordinate))
    return beliefs_over(network, trials, reset, precision, throw)


def beliefs_over(
    network: Network,
    trials: Trials,
    reset: Any,
    precision: Precision = "float64",
    throw: bool = True,
) -> xr.Dataset:
    """Run a network, or a baseline, over checked trials (`filter`)."""
    if not isinstance(network, Network):
        return _learned(network, trials, reset, precision)
    with precision_context(precision):
        model, series = in_precision((network, trials.series), precision)
        found = jax.tree.map(np.asarray, _everything(model, series, reset))
    diverged = first_divergence(network, found)
    if diverged and throw:
        raise DivergedError(f"hgf.filter: {diverged}")
    if not diverged:
        _warn_of_runaway(network, found)
    dataset = _named(network, trials, found)
    dataset.attrs = {
        "update": network.update,
        "approximation": network.approximation,
        "compatibility": network.compatibility,
        "diverged": diverged or "",
    }
    return dataset


def _learned(
    learner: Any, trials: Trials, reset: Any, precision: Precision
) -> xr.Dataset:
    # Inside: baselines stand on what the filter's own regressors stand on.
    from neuromod.hgf.learner import trajectories

    with precision_context(precision):
        model, series = in_precision((learner, trials.series), precision)
        found = jax.tree.map(np.asarray, trajectories(model, series, reset=reset))
    dims = (trials.dimension, "node")
    names = {name: LONG_NAMES.get(name, name.replace("_", " ")) for name in found}
    return xr.Dataset(
        {name: (dims, found[name], {"long_name": names[name]}) for name in found},
        {trials.dimension: trials.coordinate, "node": list(learner.inputs)},
    )


@jax.jit
def _everything(network: Network, series: inference.Series, reset: Any) -> Any:
    found = inference.run(network, series, reset=reset)
    return (
        found,
        inference.errors(network, series, found),
        inference.surprise(network, series, found),
    )


def first_divergence(network: Network, found: Any) -> str | None:
    """Say at which trial, and of which node, numbers stopped being any."""
    beliefs = found[0].beliefs
    places = []
    for name in network.states:
        for quantity in ("precision", "mean"):
            wrong = ~np.isfinite(getattr(beliefs[name], quantity))
            if wrong.any():
                places.append((int(np.argmax(wrong)), name, quantity))
    if not places:
        return None
    trial = min(place[0] for place in places)
    _, name, quantity = next(place for place in places if place[0] == trial)
    update, remedy = network.update, "Lower the tonic volatilities"
    cause = "beliefs ran away until numbers overflowed"
    if update in ("standard", "ehgf_swap"):
        cause = "its updated precision was not above 0"
        remedy += ", or use update='ehgf', which takes more"
    return (
        f"the {quantity} of {name!r} stopped being a number at trial {trial} (update "
        f"{update!r}, {network.approximation}): {cause}. {remedy}."
    )


def _warn_of_runaway(network: Network, found: Any) -> None:
    for node in network.nodes:
        if not isinstance(node, BinaryInput):
            continue
        mean = found[0].predictions[node.name].mean
        clip = 1.01 * float(network.clip)
        share = np.mean((mean < clip) | (mean > 1 - clip))
        if share > SATURATED_SHARE:
            warnings.warn(
                f"hgf.filter: the prediction of {node.name!r} is saturated on "
                f"{share:.0%} of the trials: the beliefs ran away. Lower the tonic "
                "volatilities.",
                RuntimeWarning,
                stacklevel=3,
            )


def _named(network: Network, trials: Trials, found: Any) -> xr.Dataset:
    run, errors, surprise = found
    names = [*network.inputs, *network.states]
    values = dict(zip(network.inputs, trials.series.values, strict=True))
    known = dict(zip(network.inputs, trials.series.observed, strict=True))

    def of_node(name: str) -> dict[str, Any]:
        predicted, error = run.predictions[name], errors[name]
        if name in values:
            seen, node, mean = known[name], network[name], values[name]
            if isinstance(node, BinaryInput) and not node.is_exact:
                mean = predicted.mean + predicted.precision * error.value
            if seen is not None:
                mean = np.where(seen, mean, np.nan)
            own = np.nan if isinstance(node, BinaryInput) else float(node.precision)
            precision = np.full(len(mean), own)
        else:
            mean, precision = run.beliefs[name].mean, run.beliefs[name].precision
        return {
            "mean": mean,
            "precision": precision,
            "expected_mean": predicted.mean,
            "expected_precision": predicted.precision,
            "value_prediction_error": error.value,
            "volatility_prediction_error": error.volatility,
            "effective_precision": error.effective_precision,
            "surprise": surprise[name],
        }

    columns = {name: of_node(name) for name in names}
    dims = (trials.dimension, "node")
    variables = {
        quantity: (
            dims,
            np.stack([columns[name][quantity] for name in names], axis=1),
            {"long_name": long_name},
        )
        for quantity, long_name in LONG_NAMES.items()
    }
    coords = {trials.dimension: trials.coordinate, "node": names}
    dataset = xr.Dataset(variables, coords)
    dataset["surprise"].attrs["units"] = "nats"
    return dataset
