r"""Plans and goals: error regression over a whole horizon, of which little is given.

A trial is given only in part, and all else of it is made up so that it fits the
network. With the first steps and the last ones given, what lies between is a plan that
leads to a goal; with what was sensed up to now given, and the channels of the goal not,
it is the goal that is inferred. Adaptive vectors of the whole horizon descend the free
energy, where what is missing counts nothing. Several candidates start at the same
vectors with noise of their own, and the one with the least free energy wins.

Matsumoto & Tani, Entropy 2020, doi:10.3390/e22050564 (plans to a goal); Matsumoto,
Ohata, Benureau & Tani, Entropy 2022, doi:10.3390/e24040469 (goals).
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr

from neuromod.core.dimensions import require_integer, require_positive
from neuromod.core.errors import DivergedError, ShapeError, invalid
from neuromod.core.result import Result
from neuromod.kernels.normal import standard_normal
from neuromod.pvrnn import data as data_
from neuromod.pvrnn.energy import Data, evaluate
from neuromod.pvrnn.latents import Adaptive
from neuromod.pvrnn.model import PVRNN
from neuromod.pvrnn.objective import Objective
from neuromod.pvrnn.regression import regress
from neuromod.pvrnn.running import only_network
from neuromod.pvrnn.trainee import prepare
from neuromod.pvrnn.window import decoded


def plan(
    model: PVRNN | Result,
    given: xr.DataArray,
    objective: Objective,
    *,
    seed: int,
    n_candidates: int = 1,
    n_iterations: int = 500,
    learning_rate: float = 0.05,
    start: xr.Dataset | None = None,
) -> xr.Dataset:
    """Make up what is missing of a trial, as the network would have it.

    Parameters
    ----------
    model
        A trained `PVRNN`, or the `Result` of one seed.
    given : (time, channel)
        What is known; NaN is to be made up.
    objective
        What is descended.
    seed
        Of the noise.

    Other Parameters
    ----------------
    n_candidates
        Plans, each with noise of its own.
    n_iterations, learning_rate
        Updates, and their rate (Adam).
    start
        An earlier plan of the same length, whose best candidate all start from; else
        adaptive vectors start at zero.

    Returns
    -------
    xarray.Dataset
        With the axis ``draw``, the candidate with the least free energy first:
        ``channel_value`` (draw, time, channel), ``free_energy`` (draw) and the
        adaptive vectors (draw, time, latent).

    Raises
    ------
    InvalidInputError
        If nothing is given, or an option cannot be used.
    DivergedError
        If the free energy of all candidates stopped being a number.

    Examples
    --------
    >>> from neuromod.pvrnn import hierarchy, tanh_head
    >>> network = hierarchy(jax.random.key(0), [10], [1], [2], [tanh_head(2)])
    >>> given = xr.DataArray(np.full((12, 2), np.nan), dims=("time", "channel"))
    >>> given[0], given[-1] = 0.0, [0.3, -0.2]
    >>> found = plan(
    ...     network, given, Objective(0.01), seed=0, n_candidates=3, n_iterations=20
    ... )
    >>> dict(found["channel_value"].sizes)
    {'draw': 3, 'time': 12, 'channel': 2}
    """
    network = only_network(model)
    trials = data_.read(given, "given")
    if len(trials.labels) != 1:
        raise invalid("given", f"{len(trials.labels)} trials", "one", kind=ShapeError)
    n_candidates = require_integer(n_candidates, "n_candidates")
    settings = _Settings(
        require_integer(n_iterations, "n_iterations"),
        float(require_positive(learning_rate, "learning_rate")),
    )
    whole = prepare(network, _repeated(trials, n_candidates))
    adaptive = _beginning(network, len(trials.time), n_candidates, start)
    key = jax.random.key(require_integer(seed, "seed", minimum=0))
    found, energies, values = _descend(
        settings, network, objective, adaptive, whole, key
    )
    energies = np.asarray(energies, float)
    if not np.isfinite(energies).any():
        message = "pvrnn.plan: no candidate has a finite free energy. Lower the "
        raise DivergedError(message + "learning rate.")
    order = np.argsort(np.where(np.isfinite(energies), energies, np.inf))

    def draw_first(array: Any) -> np.ndarray:
        return np.swapaxes(np.asarray(array), 0, 1)[order]

    dims = "draw", "time"
    return xr.Dataset(
        {
            "channel_value": ((*dims, "channel"), draw_first(values)),
            "free_energy": ("draw", energies[order]),
            "adaptive_mean": ((*dims, "latent"), draw_first(found.mean)),
            "adaptive_log_deviation": (
                (*dims, "latent"),
                draw_first(found.log_deviation),
            ),
        },
        {"time": trials.time, "channel": trials.channels},
    )


class _Settings(NamedTuple):
    n_iterations: int
    learning_rate: float


def _repeated(trials: data_.Trials, n: int) -> data_.Trials:
    values, observed = (
        np.repeat(a, n, axis=1) for a in (trials.values, trials.observed)
    )
    valid = np.repeat(trials.valid, n, axis=1)
    return trials._replace(
        values=values, observed=observed, valid=valid, labels=np.arange(n)
    )


def _beginning(
    network: PVRNN, n_steps: int, n_candidates: int, start: xr.Dataset | None
) -> Adaptive:
    shape = n_steps, n_candidates, network.n_latents
    if start is None:
        return Adaptive(*jnp.zeros((2, *shape)))
    best = [start[f"adaptive_{name}"][0].values for name in ("mean", "log_deviation")]
    if best[0].shape != (n_steps, network.n_latents):
        expected = f"adaptive vectors of shape {(n_steps, network.n_latents)}"
        raise invalid("start", f"{best[0].shape}", expected, kind=ShapeError)
    mean, log = (jnp.broadcast_to(jnp.asarray(a)[:, None], shape) for a in best)
    return Adaptive(mean, log)


@eqx.filter_jit
def _descend(
    settings: _Settings,
    network: PVRNN,
    objective: Objective,
    adaptive: Adaptive,
    data: Data,
    key: Any,
) -> tuple[Adaptive, Any, Any]:
    """Return adaptive vectors, the free energy and the values of every candidate."""
    shape, dtype = adaptive.mean.shape, adaptive.mean.dtype
    noise = standard_normal(key, (settings.n_iterations, *shape), dtype)
    optimiser = optax.adam(settings.learning_rate)
    found = regress(network, objective, adaptive, data, noise, optimiser).adaptive
    quiet = jnp.zeros((shape[0], 1, shape[2]), dtype)

    def alone(mean: Any, log_deviation: Any, data: Data) -> Any:
        one = Adaptive(mean[:, None], log_deviation[:, None])
        data = jax.tree.map(lambda leaf: leaf[:, None], data)
        return evaluate(network, objective, one, data, quiet)

    # Candidates are compared without noise: each at the mean of its posterior.
    terms, run = jax.vmap(alone, 1)(found.mean, found.log_deviation, data)
    values = jax.vmap(lambda d: decoded(network, d))(run.activities)
    return found, terms.total, jnp.swapaxes(values[:, :, 0], 0, 1)
