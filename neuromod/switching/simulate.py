"""The switching GLM run forward: spikes, and the truth behind them."""

import jax
import numpy as np
import xarray as xr

from neuromod.core import dimensions
from neuromod.core.errors import DivergedError
from neuromod.core.precision import precision_context
from neuromod.switching import glm
from neuromod.switching.model import SwitchingGLM
from neuromod.switching.observations import LINKS, OBSERVATIONS
from neuromod.switching.results import parameters

MOST_SPIKES = 1e6


def simulate(
    model: SwitchingGLM,
    n_steps: int,
    *,
    seed: int,
    n_sessions: int = 1,
    bin_size: float = 0.02,
) -> xr.DataTree:
    """Draw hidden states and spikes from a model.

    Parameters
    ----------
    model
        Parameters of the switching GLM.
    n_steps
        Number of bins per session.
    seed
        Seed of the random numbers; the same seed gives the same spikes.

    Other Parameters
    ----------------
    n_sessions
        Number of sessions; chain and history start anew in each.
    bin_size
        Width of a bin in seconds.

    Returns
    -------
    DataTree
        ``recording`` holds ``spikes`` (time, neuron), with a ``session`` coordinate
        along time if there are several; ``truth`` holds ``state_sequence`` (time)
        and the parameters.

    Raises
    ------
    InvalidInputError
        If a number is not positive.
    DivergedError
        If the neurons excite one another without bound.

    Examples
    --------
    >>> import numpy as np
    >>> model = SwitchingGLM(
    ...     initial=np.array([1.0]),
    ...     transition_matrix=np.array([[1.0]]),
    ...     bias=np.array([[0.0, -2.0]]),
    ...     weight=np.zeros((1, 2, 2, 1)),
    ...     basis=np.ones((1, 1)),
    ... )
    >>> simulate(model, 100, seed=0)["recording"]["spikes"].dims
    ('time', 'neuron')
    """
    n_steps = dimensions.require_integer(n_steps, "n_steps")
    n_sessions = dimensions.require_integer(n_sessions, "n_sessions")
    seed = dimensions.require_integer(seed, "seed", minimum=0)
    bin_size = dimensions.require_positive(bin_size, "bin_size", "s")
    generator = np.random.default_rng(seed)
    with precision_context("float64"):
        states, counts = _draw(model, n_steps, n_sessions, generator)
    recording = {"spikes": _labelled(counts, bin_size, ("neuron",))}
    recording["spikes"].attrs.update(
        units="spikes", long_name="spike count", bin_size=bin_size
    )
    truth = parameters(model, recording["spikes"]["neuron"].values, bin_size)
    truth["state_sequence"] = _labelled(states, bin_size)
    truth["state_sequence"].attrs.update(long_name="hidden state")
    return xr.DataTree.from_dict({"recording": xr.Dataset(recording), "truth": truth})


def _draw(
    model: SwitchingGLM,
    n_steps: int,
    n_sessions: int,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw states (session, time) and counts (session, time, neuron).

    One bin after another, all sessions at once, in plain numpy: drawing costs more
    than the arithmetic here, and nothing has to be compiled.
    """
    rate = jax.jit(LINKS[model.link].rate)
    draw = OBSERVATIONS[model.observation].draw
    bias, basis = np.asarray(model.bias), np.asarray(model.basis)
    own, own_basis = np.asarray(model.self_weight), np.asarray(model.self_basis)
    dispersion = np.asarray(model.dispersion)
    weight = np.where(
        glm.is_coupled(model)[None, ..., None], np.asarray(model.weight), 0
    )
    # (state, neuron, basis and source), to meet the history in one product.
    weight = np.moveaxis(weight, 3, 2).reshape(*bias.shape, -1)
    states = _draw_states(model, n_steps, n_sessions, generator)
    past = np.zeros((n_sessions, model.n_lags, model.n_neurons))
    kind = float if model.observation == "gaussian" else np.int32
    values = np.zeros((n_sessions, n_steps, model.n_neurons), dtype=kind)
    for t in range(n_steps):
        now = states[:, t]
        seen = (basis @ past[:, : basis.shape[1]]).reshape(n_sessions, -1, 1)
        eta = bias[now] + (weight[now] @ seen)[..., 0]
        eta += np.einsum(
            "anb,bl,aln->an", own[now], own_basis, past[:, : own_basis.shape[1]]
        )
        expected = np.asarray(rate(eta))
        if not (np.abs(expected) < MOST_SPIKES).all():
            raise DivergedError(
                f"simulate: a rate grew past {MOST_SPIKES:.0f} spikes per bin in bin "
                f"{t}: the neurons excite one another without bound. Weaken the "
                "weights, or use link='sigmoid', which cannot explode."
            )
        values[:, t] = draw(generator, expected, dispersion[now])
        past[:, 1:] = past[:, :-1].copy()
        past[:, :1] = values[:, t, None]
    return states, values


def _draw_states(model, n_steps, n_sessions, generator) -> np.ndarray:
    """Draw the Markov chain (session, time) by inverting cumulative probabilities."""
    start = np.cumsum(np.asarray(model.initial, dtype=float))
    jump = np.cumsum(np.asarray(model.transition_matrix, dtype=float), axis=1)
    uniform = generator.random((n_steps, n_sessions))
    states = np.zeros((n_sessions, n_steps), dtype=int)
    reached = np.broadcast_to(start, (n_sessions, len(start)))
    for t in range(n_steps):
        above = uniform[t, :, None] * reached[:, -1:] >= reached
        states[:, t] = above.sum(axis=1)
        reached = jump[states[:, t]]
    return states


def _labelled(padded: np.ndarray, bin_size: float, dims: tuple[str, ...] = ()):
    """Join sessions into one long array with a time axis in seconds."""
    n_sessions, n_steps = padded.shape[:2]
    flat = padded.reshape(n_sessions * n_steps, *padded.shape[2:])
    start = np.arange(n_steps) + 0.5
    coords: dict = {"time": ("time", np.tile(start * bin_size, n_sessions))}
    if n_sessions > 1:
        labels = np.array([str(i) for i in range(n_sessions)])
        coords["session"] = ("time", np.repeat(labels, n_steps))
    if dims:
        coords["neuron"] = np.arange(padded.shape[2])
    array = xr.DataArray(flat, dims=("time", *dims), coords=coords)
    array["time"].attrs.update(units="s", long_name="bin centre")
    return array
