"""The switching GLM run forward: spikes, and the truth behind them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from neuromod.core import dimensions
from neuromod.core.errors import DivergedError, ShapeError, invalid
from neuromod.core.precision import precision_context
from neuromod.core.sequences import gather
from neuromod.switching import glm
from neuromod.switching.model import SwitchingGLM
from neuromod.switching.observations import LINKS, OBSERVATIONS
from neuromod.switching.recording import Recording
from neuromod.switching.results import parameters

MOST_SPIKES = 1e6


def simulate(
    model: SwitchingGLM,
    n_steps: int,
    *,
    seed: int,
    n_sessions: int = 1,
    bin_size: float = 0.02,
    inputs: Any = None,
    transition_inputs: Any = None,
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
    inputs, transition_inputs : (time, input)
        Inputs for every bin of every session, if the model has weights for them.

    Returns
    -------
    DataTree
        ``recording`` holds ``spikes`` (time, neuron), with a ``session`` coordinate
        along time if there are several; ``truth`` holds ``state_sequence`` (time)
        and the parameters.

    Raises
    ------
    InvalidInputError
        If a number is not positive, or the model is none.
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
    if not isinstance(model, SwitchingGLM):
        raise invalid(
            "model",
            type(model).__name__,
            "a SwitchingGLM",
            "Pass fit.model of a fit, or SwitchingGLM(...).",
        )
    n_steps = dimensions.require_integer(n_steps, "n_steps")
    n_sessions = dimensions.require_integer(n_sessions, "n_sessions")
    seed = dimensions.require_integer(seed, "seed", minimum=0)
    bin_size = dimensions.require_positive(bin_size, "bin_size", "s")
    generator = np.random.default_rng(seed)
    with precision_context("float64"):
        blank = _blank(model, n_steps, n_sessions, inputs, transition_inputs)
        states, counts, diverged = draw_recording(model, blank, generator)
    if diverged.any():
        raise DivergedError(
            f"simulate: a rate grew past {MOST_SPIKES:.0f} spikes per bin: the neurons "
            "excite one another without bound. Weaken the weights, or use "
            "link='sigmoid', which cannot explode."
        )
    recording = {"spikes": _labelled(counts, bin_size, ("neuron",))}
    recording["spikes"].attrs.update(
        units="spikes", long_name="spike count", bin_size=bin_size
    )
    truth = parameters(model, recording["spikes"]["neuron"].values, bin_size)
    truth["state_sequence"] = _labelled(states, bin_size)
    truth["state_sequence"].attrs.update(long_name="hidden state")
    return xr.DataTree.from_dict({"recording": xr.Dataset(recording), "truth": truth})


def _blank(
    model: SwitchingGLM, n_steps: int, n_sessions: int, inputs: Any, tilts: Any
) -> Recording:
    """Return a recording without values."""
    shape = (n_sessions, n_steps)
    sizes = (model.layout.n_inputs, model.n_transition_inputs)
    driven = [
        _driving(array, name, (*shape, size))
        for array, name, size in (
            (inputs, "inputs", sizes[0]),
            (tilts, "transition_inputs", sizes[1]),
        )
    ]
    values = np.zeros((*shape, model.n_neurons))
    lengths = np.full(n_sessions, n_steps)
    return Recording(values, np.ones(shape, bool), lengths, *driven)


def _driving(array: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if array is None:
        found = np.zeros((*shape[:2], 0))
    else:
        found = np.asarray(gather(array, name, ("time", "input"), name).values, float)
    if found.shape != shape:
        raise invalid(
            name,
            f"shape {found.shape} (session, time, input)",
            f"shape {shape}, as the model and n_steps ask for",
            kind=ShapeError,
        )
    return found


def draw_recording(
    model: SwitchingGLM, recording: Recording, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw states and values, and tell which sessions grew without bound.

    One bin after another, all sessions at once, in plain numpy: drawing costs more
    than the arithmetic here, and nothing has to be compiled.

    Parameters
    ----------
    model
        Parameters of the switching GLM.
    recording
        Gives the number of sessions and bins, and the inputs; its values are not
        looked at.
    generator
        Source of random numbers.

    Returns
    -------
    tuple
        States (session, time), values (session, time, neuron), and whether a session
        diverged (session,): its values are 0 from the bin on in which it did.
    """
    n_sessions, n_steps = recording.observed.shape
    rate = LINKS[model.link].rate
    draw = OBSERVATIONS[model.observation].draw
    basis, own_basis = np.asarray(model.basis), np.asarray(model.self_basis)
    own, dispersion = np.asarray(model.self_weight), np.asarray(model.dispersion)
    bias, input_weight = np.asarray(model.bias), np.asarray(model.input_weight)
    inputs = np.asarray(recording.inputs)
    jump = _jumps(model, recording, generator)
    weight = np.where(
        glm.is_coupled(model)[None, ..., None], np.asarray(model.weight), 0
    )
    # (state, neuron, basis and source), to meet the history in one product.
    weight = np.moveaxis(weight, 3, 2).reshape(*model.bias.shape, -1)
    past = np.zeros((n_sessions, model.n_lags, model.n_neurons))
    kind = float if model.observation == "gaussian" else np.int32
    values = np.zeros((n_sessions, n_steps, model.n_neurons), dtype=kind)
    states = np.zeros((n_sessions, n_steps), dtype=int)
    diverged = np.zeros(n_sessions, dtype=bool)
    for t in range(n_steps):
        now = states[:, t] = jump(t, states[:, t - 1], past)
        seen = (basis @ past[:, : basis.shape[1]]).reshape(n_sessions, -1, 1)
        eta = bias[now] + (weight[now] @ seen)[..., 0]
        eta += np.einsum("ani,ai->an", input_weight[now], inputs[:, t])
        eta += np.einsum(
            "anb,bl,aln->an", own[now], own_basis, past[:, : own_basis.shape[1]]
        )
        with np.errstate(over="ignore"):
            expected = rate(eta)
        diverged |= ~(np.abs(expected) < MOST_SPIKES).all(axis=1)
        if diverged.all():
            break
        lost = diverged[:, None]
        expected = np.where(lost, 0, expected)
        values[:, t] = np.where(lost, 0, draw(generator, expected, dispersion[now]))
        past[:, 1:] = past[:, :-1].copy()
        past[:, :1] = values[:, t, None]
    return states, values, diverged


def _jumps(
    model: SwitchingGLM, recording: Recording, generator: np.random.Generator
) -> Callable[[int, np.ndarray, np.ndarray], np.ndarray]:
    """Return what draws the states of a bin, by inverting cumulative probabilities.

    It takes the number of the bin, the states before it (session,) and the past
    (session, lag, neuron).
    """
    n_sessions, n_steps = recording.observed.shape
    with np.errstate(divide="ignore"):
        log_matrix = np.log(np.asarray(model.transition_matrix, dtype=float))
        log_initial = np.log(np.asarray(model.initial, dtype=float))
    tilt = np.asarray(model.transition_weight, dtype=float)
    own = np.asarray(recording.transition_inputs)[..., : model.n_transition_inputs]
    basis = np.asarray(model.basis, dtype=float)
    uniform = generator.random((n_steps, n_sessions))

    def jump(t, before, past):
        log_odds = log_matrix[before] if t else np.tile(log_initial, (n_sessions, 1))
        drive = own[:, t]
        if model.recurrent:
            seen = basis @ past[:, : basis.shape[1]]
            seen = np.moveaxis(seen, 1, 2).reshape(n_sessions, -1)
            drive = np.concatenate([drive, seen], axis=1)
        if t and tilt.shape[-1]:
            log_odds = log_odds + np.einsum("ajk,ak->aj", tilt[before], drive)
        odds = np.exp(log_odds - log_odds.max(axis=1, keepdims=True))
        reached = np.cumsum(odds, axis=1)
        return (uniform[t, :, None] * reached[:, -1:] >= reached).sum(axis=1)

    return jump


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
