"""Sessions side by side, padded to one length, and what the GLMs regress on in them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from neuromod.switching.features import Features, history
from neuromod.switching.glm import Rows
from neuromod.switching.model import SwitchingGLM
from neuromod.switching.observations import OBSERVATIONS, Values


class Recording(NamedTuple):
    """Values and inputs of all sessions, padded to one length.

    Parameters
    ----------
    values : (session, time, neuron)
        Counts or choices per bin; 0 where missing or past the end. None where they
        stay on disk (`neuromod.switching.bins`).
    observed : (session, time)
        False where a bin is missing or past the end.
    lengths : (session,)
        Number of bins of each session.
    inputs : (session, time, input)
        What else drives the GLMs.
    transition_inputs : (session, time, transition_input)
        What tilts the jumps into each bin.
    recorded : (session, neuron)
        False where a session lacks a neuron; None if all are in all.
    """

    values: Any
    observed: Bool[Values, "session time"]
    lengths: Int[Values, " session"]
    inputs: Float[Values, "session time input"]
    transition_inputs: Float[Values, "session time transition_input"]
    recorded: Bool[Values, "session neuron"] | None = None


@jax.jit
def rows_of(
    model: SwitchingGLM, recording: Recording, base: Float[Values, " row"] | None = None
) -> Rows:
    """Compute what the GLMs regress on (`neuromod.switching.features`).

    Parameters
    ----------
    model
        Gives the basis functions.
    recording
        Values and inputs.
    base : (row,)
        What of the log-probability depends on the values alone, if it is known.
    """
    values = jnp.asarray(recording.values)
    n_sessions, n_steps, n_neurons = values.shape
    n_rows = n_sessions * n_steps

    def flat(array):
        return jnp.reshape(array, (n_rows, *array.shape[2:]))

    def seen(basis):
        return flat(jax.vmap(history, in_axes=(0, None))(values, basis))

    couplings = jnp.reshape(seen(model.basis), (n_rows, -1))
    ones = jnp.ones((n_rows, 1), values.dtype)
    inputs = flat(jnp.asarray(recording.inputs))
    common = jnp.concatenate([ones, inputs, couplings], axis=1)
    recorded = recording.recorded
    if recorded is not None:
        shape = (n_sessions, n_steps, n_neurons)
        recorded = flat(jnp.broadcast_to(jnp.asarray(recorded)[:, None], shape))
    if base is None:
        parts = OBSERVATIONS[model.observation].log_base(flat(values))
        base = jnp.where(True if recorded is None else recorded, parts, 0).sum(-1)
    features = Features(common, seen(model.self_basis))
    return Rows(features, flat(values), jnp.asarray(base), recorded)
