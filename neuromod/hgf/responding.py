"""Agents before a series that runs whatever they do.

So it is in most experiments on perception: the outcomes are known, and an agent
responds to each (`respond`).
"""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, PRNGKeyArray

from neuromod.core.dimensions import require_integer
from neuromod.core.errors import ShapeError, invalid
from neuromod.core.precision import Precision, in_precision, precision_context
from neuromod.hgf.agent import Agent
from neuromod.hgf.data import prepare, resets
from neuromod.hgf.inference import Series
from neuromod.hgf.likelihood import Behaviour, believe, see

Values = Array | np.ndarray


def behave(
    agent: Agent,
    series: Series,
    key: PRNGKeyArray,
    covariates: dict[str, Float[Values, " time"]] | None = None,
    mask: Any = None,
    reset: Any = None,
) -> Any:
    """Draw an agent's responses to a series that does not depend on them.

    Parameters
    ----------
    agent
        A network, or a baseline, and a response model.
    series
        What came in at the inputs.
    key
        Random key.
    covariates
        What else the response model reads, by name; each (time,).
    mask : (time,)
        False where there is no trial.
    reset : (time,)
        True where the beliefs begin anew.

    Returns
    -------
    (time,)
        Of a joint response model a dict of such columns.
    """
    behaviour = Behaviour(series, None, covariates or {}, mask, reset)
    seen = see(agent, behaviour, believe(agent, behaviour))
    return agent.response.simulate(seen, key)


def respond(
    agent: Agent,
    data: Any,
    *,
    seed: int,
    observed: Any = None,
    time_steps: Any = None,
    sessions: Any = None,
    covariates: Mapping[str, Any] | None = None,
    n_draws: int | None = None,
    precision: Precision = "float64",
) -> xr.DataArray | xr.Dataset:
    """Draw an agent's responses to given outcomes.

    Parameters
    ----------
    agent
        A network, or a baseline, and a response model.
    data, observed, time_steps, sessions
        What is observed, as in `neuromod.hgf.filter`.
    seed
        Seed of the random numbers; the same seed gives the same responses.

    Other Parameters
    ----------------
    covariates
        What else the response model reads, by name; each (trial,).
    n_draws
        Draw so many times, along a dimension ``draw``.
    precision
        "float64" or "float32".

    Returns
    -------
    DataArray
        One response per trial; of a joint response model a Dataset of them.

    Raises
    ------
    InvalidInputError
        If the data do not fit the network, or a number is not as described.

    Examples
    --------
    >>> from neuromod import hgf
    >>> agent = Agent(hgf.binary_two_level(), hgf.responses.unit_square_sigmoid(2.0))
    >>> respond(agent, [1, 1, 0, 1], seed=0).sizes
    Frozen({'trial': 4})
    """
    seed = require_integer(seed, "seed", minimum=0)
    count = 1 if n_draws is None else require_integer(n_draws, "n_draws")
    trials = prepare(agent.network, data, observed, time_steps)
    n_trials = len(trials.coordinate)
    beside = require_covariates(covariates, n_trials)
    reset = resets(sessions, n_trials)
    with precision_context(precision):
        keys = jax.random.split(jax.random.key(seed), count)
        model, series, beside = in_precision((agent, trials.series, beside), precision)
        found = _behave(model, series, keys, beside, reset)
        found = jax.tree.map(np.asarray, found)
    coords = {trials.dimension: trials.coordinate}
    dims: tuple[str, ...] = (trials.dimension,)
    if n_draws is not None:
        coords, dims = {"draw": np.arange(count), **coords}, ("draw", *dims)

    def named(values):
        values = values[0] if n_draws is None else values
        return xr.DataArray(values, coords, dims, attrs={"seed": seed})

    if isinstance(found, Mapping):
        return xr.Dataset({name: named(values) for name, values in found.items()})
    return named(found).rename("responses")


@eqx.filter_jit
def _behave(agent, series, keys, covariates, reset):
    def once(key):
        return behave(agent, series, key, covariates, reset=reset)

    return jax.vmap(once)(keys)


def require_covariates(
    given: Mapping[str, Any] | None, n_trials: int
) -> dict[str, Any]:
    """Return what else a response model reads as arrays, or refuse it.

    Parameters
    ----------
    given
        By name; each (trial,).
    n_trials
        Number of trials.

    Raises
    ------
    ShapeError
        If there is not one number per trial.
    """
    found = {name: np.asarray(values, float) for name, values in (given or {}).items()}
    for name, values in found.items():
        if values.shape != (n_trials,):
            raise invalid(
                "covariates",
                f"shape {values.shape} of {name!r}",
                f"({n_trials},), one number per trial",
                kind=ShapeError,
            )
    return found
