"""The log marginal likelihood as a pure function of the parameters."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from neuromod import kernels
from neuromod.core.errors import ShapeError, invalid
from neuromod.switching import inference
from neuromod.switching.features import history
from neuromod.switching.model import SwitchingGLM
from neuromod.switching.observations import Values
from neuromod.switching.recording import Recording


def log_likelihood(
    model: SwitchingGLM,
    values: Float[Values, "session time neuron"],
    *,
    inputs: Float[Values, "session time input"] | None = None,
    transition_inputs: Float[Values, "session time transition_input"] | None = None,
    lengths: Int[Values, " session"] | None = None,
) -> Float[Array, " session"]:
    r"""Return $\log p(x_{1:T})$ of every session, summed over all paths of states.

    To be differentiated, vmapped and jitted: for optimisers and samplers of your own,
    or to see how sensitive the likelihood is to a parameter. `fit` climbs the same
    function, and `score` takes labelled recordings.

    Parameters
    ----------
    model
        Parameters; the gradient with respect to them is one of these.
    values : (session, time, neuron)
        Counts or choices as plain arrays, padded to one length. NaN in any neuron
        makes the whole bin a missing one.

    Other Parameters
    ----------------
    inputs : (session, time, input)
        Inputs, if the model has weights for them.
    transition_inputs : (session, time, transition_input)
        Inputs of the jumps, if the model has weights for them.
    lengths : (session,)
        Number of bins of each session; all, if omitted.

    Returns
    -------
    (session,)
        Log marginal likelihood (nats).

    Raises
    ------
    ShapeError
        If an array does not fit the model or the values.

    Notes
    -----
    The gradient is Fisher's identity: one forward and one backward pass, whatever the
    number of parameters (`neuromod.kernels.hmm_log_likelihood`). It is by probabilities
    as they stand; climb in their logarithms to stay on the simplex.

    Examples
    --------
    >>> import jax
    >>> import numpy as np
    >>> model = SwitchingGLM(
    ...     initial=np.array([0.5, 0.5]),
    ...     transition_matrix=np.array([[0.9, 0.1], [0.1, 0.9]]),
    ...     bias=np.array([[-1.0], [1.0]]),
    ...     weight=np.zeros((2, 1, 1, 1)),
    ...     basis=np.ones((1, 1)),
    ... )
    >>> counts = np.random.default_rng(0).poisson(1.0, (1, 50, 1)).astype(float)
    >>> slope = jax.grad(lambda model: log_likelihood(model, counts).sum())(model)
    >>> slope.bias.shape, slope.weight.shape
    ((2, 1), (2, 1, 1, 1))
    """
    values = jnp.asarray(values)
    if values.ndim != 3 or values.shape[2] != model.n_neurons:
        raise invalid(
            "values",
            f"shape {values.shape}",
            f"shape (session, time, {model.n_neurons})",
            "Pass values[None] for a single session.",
            ShapeError,
        )
    n_sessions, n_steps = values.shape[:2]
    if lengths is None:
        lengths = jnp.full(n_sessions, n_steps)
    shape = (n_sessions, n_steps)
    inputs = _driving(inputs, "inputs", (*shape, model.layout.n_inputs), values)
    tilts = _driving(
        transition_inputs,
        "transition_inputs",
        (*shape, model.n_transition_inputs),
        values,
    )
    there = jnp.arange(n_steps)[None] < jnp.asarray(lengths)[:, None]
    observed = there & ~jnp.isnan(values).any(-1)
    values = jnp.where(observed[..., None], values, 0)
    if model.recurrent:
        basis = jnp.asarray(model.basis)
        seen = [history(session, basis) for session in values]
        past = jnp.reshape(jnp.stack(seen), (*shape, -1))
        tilts = jnp.concatenate([tilts, past], axis=-1)
    recording = Recording(values, observed, jnp.asarray(lengths), inputs, tilts)
    return inference.run(kernels.hmm_log_likelihood, model, recording)


def _driving(
    array: Any, argument: str, shape: tuple[int, ...], values: Array
) -> Float[Array, "session time input"]:
    """Return inputs in the precision of the values."""
    nothing = jnp.zeros((*shape[:2], 0), values.dtype)
    found = nothing if array is None else jnp.asarray(array)
    if found.shape != shape:
        raise invalid(
            argument,
            f"shape {found.shape}",
            f"shape {shape}, as the model and the values ask for",
            kind=ShapeError,
        )
    return found
