"""What a fit found, as labelled arrays, and back to agents."""

from typing import Any

import jax
import numpy as np
import xarray as xr

from neuromod.core.errors import choice, invalid
from neuromod.core.precision import Precision
from neuromod.core.result import Result
from neuromod.hgf.agent import Agent
from neuromod.hgf.filter import beliefs_over
from neuromod.hgf.likelihood import Behaviour
from neuromod.hgf.parameters import Space, put
from neuromod.hgf.participants import Participants

# A parameter whose standard deviation shrinks by less than a tenth is its prior.
TOLD = 1 - 0.9**2
BOUNDS = (0.025, 0.975)
NORMAL_BOUND = 1.959963984540054
SMALLEST_CURVATURE = 1e-12


def packed(free: Space) -> dict[str, dict[str, Any]]:
    """Return the free parameters as plain values."""
    return {
        name: {
            "places": list(places),
            "scale": scale,
            "mean": float(mean),
            "sd": float(sd),
        }
        for name, places, scale, mean, sd in zip(
            free.names, free.places, free.scales, free.mean, free.sd, strict=True
        )
    }


def unpacked(settings: dict[str, dict[str, Any]]) -> Space:
    """Return the free parameters of a result's ``config["parameters"]``."""
    rows = settings.values()
    return Space(
        names=tuple(settings),
        places=tuple(tuple(row["places"]) for row in rows),
        scales=tuple(row["scale"] for row in rows),
        mean=np.array([row["mean"] for row in rows]),
        sd=np.array([row["sd"] for row in rows]),
    )


def agent_with(agent: Agent, free: Space, parameters: xr.Dataset) -> Agent:
    """Return an agent with the parameters of one participant, by their names."""
    return put(agent, free, [parameters[name].values for name in free.names])


def agent_of(result: Result, *, subject: str | None = None) -> Agent:
    """Return the fitted agent of a participant.

    Parameters
    ----------
    result
        What `fit` or `sample` returned.
    subject
        Its label; None if there is one participant.

    Returns
    -------
    Agent
        With the maximum, or the posterior mean, of its parameters.

    Raises
    ------
    InvalidInputError
        If there is no such subject.
    """
    parameters = result.data["parameters"].to_dataset()
    if "subject" in parameters.dims:
        labels = [str(label) for label in parameters["subject"].values]
        if subject is None:
            raise invalid("subject", "None", "one of " + ", ".join(labels[:20]))
        parameters = parameters.isel(
            subject=labels.index(choice("subject", subject, labels))
        )
    elif subject is not None:
        raise invalid("subject", repr(subject), "None: this fit has one participant")
    free = unpacked(result.config["parameters"])
    return agent_with(result.model, free, parameters)


def along(participants: Participants, values: Any, *dims: str) -> Any:
    """Return (participant, ...) values under the dimension ``subject``, if it has."""
    if participants.labels is None:
        return dims, values[0]
    return ("subject", *dims), values


def _coords(participants: Participants, **others: Any) -> dict[str, Any]:
    if participants.labels is not None:
        others["subject"] = list(participants.labels)
    return others


def of_maxima(
    agent: Agent,
    free: Space,
    participants: Participants,
    found: dict[str, np.ndarray],
    method: str,
) -> dict[str, xr.Dataset]:
    """Return the groups of a result from the maxima (`neuromod.hgf.fit.climb`)."""
    weighed = method == "map"
    covariance = _inverse(found["curvature"])
    native = found["native"]
    groups = {
        "parameters": natural(free, participants, native),
        "uncertainty": intervals(free, participants, native, covariance),
        "scores": _scores(free, participants, found, weighed),
        "log_likelihood": pointwise(participants, found["log_likelihood"]),
        "history": xr.Dataset(
            {
                "log_joint": along(participants, found["restarts"], "restart"),
                "n_iterations": along(participants, found["n_iterations"]),
                "converged": along(participants, found["converged"]),
            },
            _coords(participants),
        ),
    }
    if weighed:
        sd = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
        groups["identifiability"] = identifiability_of(
            free, participants, native, sd, covariance
        )
    return groups


def natural(free: Space, participants: Participants, native: Any) -> xr.Dataset:
    """Return parameters by their names from (participant, parameter)."""
    values = free.values(np.asarray(native, np.float64))
    return xr.Dataset(
        {
            name: along(participants, np.asarray(value))
            for name, value in zip(free.names, values, strict=True)
        },
        _coords(participants),
    )


def intervals(
    free: Space, participants: Participants, native: Any, covariance: Any
) -> xr.Dataset:
    """Return 95 % intervals of a normal approximation, and its moments."""
    sd = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    ends = np.stack([native - NORMAL_BOUND * sd, native + NORMAL_BOUND * sd])
    bounds = free.values(np.asarray(ends, np.float64))
    names = list(free.names)
    variables = {
        name: along(participants, np.moveaxis(np.asarray(bound), 0, -1), "quantile")
        for name, bound in zip(free.names, bounds, strict=True)
    }
    return xr.Dataset(
        {
            **variables,
            "native_mean": along(participants, native, "parameter"),
            "native_covariance": along(
                participants, covariance, "parameter", "parameter_to"
            ),
        },
        _coords(
            participants, quantile=list(BOUNDS), parameter=names, parameter_to=names
        ),
    )


def identifiability_of(
    free: Space, participants: Participants, mean: Any, sd: Any, covariance: Any
) -> xr.Dataset:
    """Return how far the data moved every parameter from its prior.

    ``contraction`` is the share of the prior's variance that is gone, ``shift`` how
    many prior deviations the mean moved, ``identified`` whether the deviation shrank
    by a tenth at least; ``correlation`` are those of the posterior.
    """
    contraction = 1 - (sd / free.sd) ** 2
    names = list(free.names)
    correlation = covariance / (sd[:, :, None] * sd[:, None, :])
    dataset = xr.Dataset(
        {
            "contraction": along(participants, contraction, "parameter"),
            "shift": along(participants, (mean - free.mean) / free.sd, "parameter"),
            "identified": along(participants, contraction >= TOLD, "parameter"),
            "correlation": along(
                participants, correlation, "parameter", "parameter_to"
            ),
        },
        _coords(participants, parameter=names, parameter_to=names),
    )
    dataset.attrs["report"] = _report(free, contraction)
    return dataset


def _report(free: Space, contraction: np.ndarray) -> str:
    lines = []
    for name, gone in zip(free.names, contraction.T, strict=True):
        known = gone >= TOLD
        which = "" if len(gone) == 1 else f" in {known.sum()} of {len(gone)} subjects"
        if known.all():
            verdict = "identified"
        elif known.any():
            verdict = "identified" + which
        else:
            verdict = "its posterior is its prior: not identified"
        lines.append(
            f"{name}: {verdict} (the data took {max(np.median(gone), 0):.0%} of the "
            "prior's variance)"
        )
    return "\n".join(lines)


def _scores(
    free: Space, participants: Participants, found: Any, weighed: bool
) -> xr.Dataset:
    n_parameters = len(free.names)
    nats = found["log_likelihood"].sum(axis=1)
    counts = np.array([n_responses(one) for one in participants.behaviours])
    scores = {
        "log_likelihood": nats,
        "bic": n_parameters * np.log(counts) - 2 * nats,
        "aic": 2 * n_parameters - 2 * nats,
        "n_responses": counts,
    }
    if weighed:
        scores["log_model_evidence"] = log_model_evidence(free, found)
    return xr.Dataset(
        {name: along(participants, values) for name, values in scores.items()},
        _coords(participants),
    )


def log_model_evidence(free: Space, found: dict[str, np.ndarray]) -> np.ndarray:
    """Return Laplace's approximation from maxima (`neuromod.hgf.fit.climb`)."""
    # The density at the maximum is of multiples of the prior's deviations.
    curvature = found["curvature"] * free.sd[:, None] * free.sd[None, :]
    _, log_volume = np.linalg.slogdet(curvature)
    volume = len(free.names) * np.log(2 * np.pi) - log_volume
    return found["log_joint"] + volume / 2


def n_responses(behaviour: Behaviour) -> int:
    """Return how many numbers of a participant a likelihood is of."""
    return int(sum(np.sum(known) for known in _known(behaviour)))


def answered(behaviour: Behaviour) -> np.ndarray:
    """Tell on which trials anything of a participant counts: (trial,)."""
    return np.any(_known(behaviour), axis=0)


def _known(behaviour: Behaviour) -> list[np.ndarray]:
    """Return where each column of responses, or else each input, has numbers."""
    if behaviour.responses is not None:
        return [~np.isnan(v) for v in jax.tree.leaves(behaviour.responses)]
    inputs = zip(behaviour.series.values, behaviour.series.observed, strict=True)
    return [np.ones(len(v), bool) if k is None else np.asarray(k) for v, k in inputs]


def pointwise(participants: Participants, nats: Any) -> xr.Dataset:
    """Return the log probability of every trial's responses; NaN past the end."""
    nats = np.array(nats)
    for row, length in zip(nats, participants.lengths, strict=True):
        row[..., length:] = np.nan
    if participants.labels is None:
        trials = participants.trials[0]
        coords = {trials.dimension: trials.coordinate}
        return xr.Dataset({"log_likelihood": (trials.dimension, nats[0])}, coords)
    return xr.Dataset(
        {"log_likelihood": (("subject", "trial"), nats)}, _coords(participants)
    )


def _inverse(curvature: np.ndarray) -> np.ndarray:
    """Return covariances; all but infinite along what the data tell nothing of."""
    values, vectors = np.linalg.eigh(curvature)
    variances = 1 / np.maximum(values, SMALLEST_CURVATURE)
    return np.einsum("sij,sj,skj->sik", vectors, variances, vectors)


def beliefs(agent: Agent, participants: Participants, precision: Precision) -> Any:
    """Return what the agent of a single participant believed on every trial."""
    return beliefs_over(
        agent.network,
        participants.trials[0],
        participants.behaviours[0].reset,
        precision,
    )


def checksummed(participants: Participants) -> Any:
    """Return what provenance takes the checksum of."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(participants.behaviours)]
