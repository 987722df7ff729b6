"""What a sampler drew, as labelled arrays."""

from typing import Any

import numpy as np
import xarray as xr

from neuromod.hgf import results
from neuromod.hgf.parameters import Space
from neuromod.hgf.participants import Participants

N_PRIOR_DRAWS = 2000


def of_draws(
    free: Space,
    participants: Participants,
    draws: Any,
    native: dict[str, np.ndarray],
    nats: np.ndarray,
    seed: int,
) -> dict[str, xr.Dataset]:
    """Return the groups of a result.

    Parameters
    ----------
    free
        The free parameters.
    participants
        Their behaviour.
    draws
        What `neuromod.core.sampling.nuts` returned.
    native
        Native parameters by ``parameters`` (chain, draw[, subject], parameter), and of
        a group ``group_mean`` and ``group_sd`` (chain, draw, parameter).
    nats
        Log probabilities (chain, draw, trial), of a group (chain, draw, subject).
    seed
        Of the draws from the prior.
    """
    from neuromod.core import diagnostics

    names = list(free.names)
    posterior = _posterior(free, participants, native)
    by_name = posterior[names]
    prior = _prior(free, seed)
    groups = {
        "posterior": posterior,
        "parameters": by_name.mean(("chain", "draw")),
        "uncertainty": by_name.quantile(list(results.BOUNDS), ("chain", "draw")),
        "prior": prior,
        "sample_stats": _stats(draws),
        "diagnostics": diagnostics.diagnose(posterior, draws.stats),
        "identifiability": _identifiability(free, participants, native),
        "log_likelihood": _log_likelihood(participants, nats),
    }
    return groups


def _natural(free: Space, native: Any) -> list[np.ndarray]:
    values = free.values(np.asarray(native, np.float64))
    return [np.asarray(value) for value in values]


def _posterior(
    free: Space, participants: Participants, native: dict[str, np.ndarray]
) -> xr.Dataset:
    dims: tuple[str, ...] = ("chain", "draw")
    coords: dict[str, Any] = {}
    if participants.labels is not None:
        dims = (*dims, "subject")
        coords["subject"] = list(participants.labels)
    values = _natural(free, native["parameters"])
    dataset = xr.Dataset(
        {name: (dims, value) for name, value in zip(free.names, values, strict=True)},
        coords,
    )
    for name in ("group_mean", "group_sd"):
        if name in native:
            dataset[name] = ("chain", "draw", "parameter"), native[name]
            dataset[name].attrs["long_name"] = f"{name.replace('_', ' ')}, native scale"
    if participants.labels is not None:
        dataset = dataset.assign_coords(parameter=list(free.names))
    return dataset


def _prior(free: Space, seed: int) -> xr.Dataset:
    random = np.random.default_rng([seed, 1])
    drawn = free.mean + free.sd * random.standard_normal(
        (N_PRIOR_DRAWS, len(free.names))
    )
    values = _natural(free, drawn)
    return xr.Dataset(
        {n: ("draw_prior", v) for n, v in zip(free.names, values, strict=True)}
    )


def _stats(draws: Any) -> xr.Dataset:
    return xr.Dataset(
        {name: (("chain", "draw"), values) for name, values in draws.stats.items()}
    )


def _identifiability(
    free: Space, participants: Participants, native: dict[str, np.ndarray]
) -> xr.Dataset:
    """Compare with the prior; of a group the group's mean."""
    single = native.get("group_mean", native["parameters"])
    flat = single.reshape(-1, single.shape[-1])
    covariance = np.cov(flat.T).reshape(1, len(free.names), len(free.names))
    alone = participants._replace(labels=None)
    mean = flat.mean(axis=0, keepdims=True)
    sd = flat.std(axis=0, ddof=1, keepdims=True)
    return results.identifiability_of(free, alone, mean, sd, covariance)


def _log_likelihood(participants: Participants, nats: np.ndarray) -> xr.Dataset:
    if participants.labels is not None:
        coords = {"subject": list(participants.labels)}
        return xr.Dataset(
            {"log_likelihood": (("chain", "draw", "subject"), nats)}, coords
        )
    trials = participants.trials[0]
    behaviour = participants.behaviours[0]
    coords = {trials.dimension: trials.coordinate}
    dims = ("chain", "draw", trials.dimension)
    answered = results.answered(behaviour)
    return xr.Dataset(
        {"log_likelihood": (dims, np.where(answered, nats, np.nan))}, coords
    )
