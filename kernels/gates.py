"""Gated recurrent units and long short-term memory."""

from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from neuromod.kernels.gated import (
    Change,
    GatedCell,
    Gates,
    Kept,
    gate_source,
    input_drive,
    matvec,
    recurrent_drive,
    total,
)
from neuromod.kernels.random_weights import check_choice, random_weights, refuse_noise

sigmoid = jax.nn.sigmoid


class GRU(GatedCell):
    """Gated recurrent units, in both forms that are in use.

    ::

        r = sigmoid(R_r h + W_r x + b_r)                      reset gate
        u = sigmoid(R_u h + W_u x + b_u)                      update gate
        n = tanh(W_n x + b_n + r (R_n h + c))                 reset_enters="after"
        n = tanh(W_n x + b_n + R_n (r h) + c)                 reset_enters="before"
        h = (1 - u) n + u h

    In the first form the reset gate acts after the matrix, as in cuDNN and PyTorch; in
    the second before it, as in the paper (Cho et al., EMNLP 2014, arXiv:1406.1078v3).
    The output is h.

    Parameters
    ----------
    input_weight : (gate, hidden, input)
        W of the gates r, u, n.
    recurrent_weight : (gate, hidden, hidden) or (gate, head, unit, unit)
        R of the gates; block-diagonal if there are heads.
    bias : (gate, hidden)
        b of the gates.
    recurrent_bias : (hidden,)
        c.
    reset_enters
        "after" or "before".

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from neuromod.kernels import GRU, scan
    >>> network = GRU.random(jax.random.key(0), n_inputs=3, n_hidden=5)
    >>> scan(network, network.initial(), jnp.ones((100, 3))).outputs.shape
    (100, 5)
    """

    input_weight: Float[Array, "gate hidden input"]
    recurrent_weight: Float[Array, "gate *head unit unit"]
    bias: Float[Array, "gate hidden"]
    recurrent_bias: Float[Array, " hidden"]
    reset_enters: Literal["after", "before"] = eqx.field(default="after", static=True)

    def __check_init__(self):
        check_choice("reset_enters", self.reset_enters, ("after", "before"))

    @classmethod
    def random(
        cls,
        key: Key[Array, ""],
        n_inputs: int,
        n_hidden: int,
        *,
        n_heads: int | None = None,
        reset_enters: Literal["after", "before"] = "after",
    ) -> "GRU":
        """Draw weights uniformly between +- 1 / sqrt(n_hidden); biases are 0."""
        weights = random_weights(key, 3, n_inputs, n_hidden, n_heads)
        return cls(*weights, jnp.zeros(n_hidden), reset_enters)

    def initial(self, batch_shape: tuple[int, ...] = ()) -> Array:
        """Return zeros (..., hidden)."""
        return jnp.zeros((*batch_shape, self.n_hidden), self.bias.dtype)

    def step(self, recurrent, carry, projected, noise):
        """Take one step."""
        if noise is not None:
            refuse_noise(self, "Leave noise out.")
        r = sigmoid(projected[0] + matvec(recurrent[0], carry))
        u = sigmoid(projected[1] + matvec(recurrent[1], carry))
        bias = jnp.broadcast_to(self.recurrent_bias, carry.shape)
        if self.reset_enters == "after":
            inner = matvec(recurrent[2], carry) + bias
            n = jnp.tanh(projected[2] + r * inner)
            source = carry
        else:
            inner = carry
            n = jnp.tanh(projected[2] + matvec(recurrent[2], r * carry) + bias)
            source = (carry, carry, r * carry)
        after = n + u * (carry - n)
        slopes = GRUSlopes(
            reset=r,
            update=u,
            by_reset=inner * r * (1 - r),
            by_update=(carry - n) * u * (1 - u),
            by_candidate=(1 - u) * (1 - n**2),
        )
        return after, after, Kept(source, slopes)

    def follow(self, recurrent, change, slopes, drive, push):
        """Carry a change of the state through one step."""
        reset = drive[0] + matvec(recurrent[0], change)
        update = drive[1] + matvec(recurrent[1], change)
        if self.reset_enters == "after":
            inner = drive[3] + matvec(recurrent[2], change)
            candidate = drive[2] + slopes.reset * inner + slopes.by_reset * reset
        else:
            inner = slopes.reset * change + slopes.by_reset * reset
            candidate = drive[2] + matvec(recurrent[2], inner)
        after = (
            slopes.update * change
            + slopes.by_update * update
            + slopes.by_candidate * candidate
        )
        return after, after

    def drive(self, change: Change, kept: Kept, inputs: Array, noise: Any) -> Gates:
        """Return what changes the gates beside the carry, over all steps.

        Four, where the reset gate acts on what comes through the matrix: the matrix
        and the input of the candidate are then changed apart.
        """
        through = [recurrent_drive(change, kept, gate) for gate in range(3)]
        direct = [input_drive(self, change, inputs, gate) for gate in range(3)]
        like = gate_source(kept, 0)
        bias = change.cell.recurrent_bias
        bias = None if bias is None else jnp.broadcast_to(bias, like.shape)
        reset, update = (total(like, through[k], direct[k]) for k in (0, 1))
        if self.reset_enters == "before":
            return reset, update, total(like, through[2], direct[2], bias)
        return reset, update, total(like, direct[2]), total(like, through[2], bias)


class GRUSlopes(NamedTuple):
    """Both gates, and the derivatives by what enters them and the candidate."""

    reset: Array
    update: Array
    by_reset: Array
    by_update: Array
    by_candidate: Array


class LSTMState(NamedTuple):
    """``hidden`` and ``memory``, both (..., hidden)."""

    hidden: Array
    memory: Array


class LSTMSlopes(NamedTuple):
    """Derivatives of the memory and of the hidden state."""

    keep: Array
    by_input: Array
    by_forget: Array
    by_candidate: Array
    by_output: Array
    by_memory: Array


class LSTM(GatedCell):
    """Long short-term memory.

    ::

        i, f, o = sigmoid(R h + W x + b)                      input, forget, output gate
        g       = tanh   (R h + W x + b)                      candidate
        c = f c + i g
        h = o tanh(c)

    with R, W and b of each gate. (Hochreiter & Schmidhuber, Neural Computation 1997,
    doi:10.1162/neco.1997.9.8.1735; with the forget gate of Gers et al. 2000.) The
    output is h.

    Parameters
    ----------
    input_weight : (gate, hidden, input)
        W of the gates i, f, g, o.
    recurrent_weight : (gate, hidden, hidden) or (gate, head, unit, unit)
        R of the gates; block-diagonal if there are heads.
    bias : (gate, hidden)
        b of the gates.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from neuromod.kernels import LSTM, scan
    >>> network = LSTM.random(jax.random.key(0), n_inputs=3, n_hidden=5)
    >>> state, outputs, _ = scan(network, network.initial(), jnp.ones((100, 3)))
    >>> state.memory.shape, outputs.shape
    ((5,), (100, 5))
    """

    input_weight: Float[Array, "gate hidden input"]
    recurrent_weight: Float[Array, "gate *head unit unit"]
    bias: Float[Array, "gate hidden"]

    @classmethod
    def random(
        cls,
        key: Key[Array, ""],
        n_inputs: int,
        n_hidden: int,
        *,
        n_heads: int | None = None,
    ) -> "LSTM":
        """Draw weights uniformly between +- 1 / sqrt(n_hidden); biases are 0."""
        return cls(*random_weights(key, 4, n_inputs, n_hidden, n_heads))

    def initial(self, batch_shape: tuple[int, ...] = ()) -> LSTMState:
        """Return zeros (..., hidden) for hidden state and memory."""
        zeros = jnp.zeros((*batch_shape, self.n_hidden), self.bias.dtype)
        return LSTMState(zeros, zeros)

    def step(self, recurrent, carry, projected, noise):
        """Take one step."""
        if noise is not None:
            refuse_noise(self, "Leave noise out.")
        pairs = zip(projected, recurrent, strict=True)
        z = [x + matvec(weight, carry.hidden) for x, weight in pairs]
        i, f, g, o = sigmoid(z[0]), sigmoid(z[1]), jnp.tanh(z[2]), sigmoid(z[3])
        memory = f * carry.memory + i * g
        shown = jnp.tanh(memory)
        hidden = o * shown
        slopes = LSTMSlopes(
            keep=f,
            by_input=g * i * (1 - i),
            by_forget=carry.memory * f * (1 - f),
            by_candidate=i * (1 - g**2),
            by_output=shown * o * (1 - o),
            by_memory=o * (1 - shown**2),
        )
        return LSTMState(hidden, memory), hidden, Kept(carry.hidden, slopes)

    def follow(self, recurrent, change, slopes, drive, push):
        """Carry a change of hidden state and memory through one step."""
        pairs = zip(drive, recurrent, strict=True)
        dz = [d + matvec(weight, change.hidden) for d, weight in pairs]
        memory = (
            slopes.keep * change.memory
            + slopes.by_input * dz[0]
            + slopes.by_forget * dz[1]
            + slopes.by_candidate * dz[2]
        )
        hidden = slopes.by_output * dz[3] + slopes.by_memory * memory
        return LSTMState(hidden, memory), hidden
