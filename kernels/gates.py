"""Gated recurrent units and long short-term memory."""

from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key

from neuromod.kernels.gated import (
    Change,
    GatedCell,
    Kept,
    Weights,
    linear,
    matvec,
    side_by_side,
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
        bias = jnp.broadcast_to(self.recurrent_bias, carry.shape)
        of_gates, of_candidate = split(projected, 2, 1)
        if self.reset_enters == "after":
            through, inner = split(matvec(recurrent, carry), 2, 1)
            r, u = split(sigmoid(of_gates + through), 1, 1)
            inner = inner + bias
            n = jnp.tanh(of_candidate + r * inner)
            source = carry
        else:
            r, u = split(sigmoid(of_gates + matvec(recurrent[0], carry)), 1, 1)
            inner, source = carry, (carry, r * carry)
            n = jnp.tanh(of_candidate + matvec(recurrent[1], r * carry) + bias)
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
        through, of_candidate = drive
        if self.reset_enters == "after":
            reset, update, inner = split(through + matvec(recurrent, change), 1, 1, 1)
            candidate = of_candidate + slopes.reset * inner + slopes.by_reset * reset
        else:
            reset, update = split(through + matvec(recurrent[0], change), 1, 1)
            inner = slopes.reset * change + slopes.by_reset * reset
            candidate = of_candidate + matvec(recurrent[1], inner)
        after = (
            slopes.update * change
            + slopes.by_update * update
            + slopes.by_candidate * candidate
        )
        return after, after

    def weights(self) -> Weights:
        """Return the weights of all gates; those behind a reset gate apart."""
        weights = super().weights()
        if self.reset_enters == "after" or self.recurrent_weight is None:
            return weights
        parts = (self.recurrent_weight[:2], self.recurrent_weight[2:])
        return weights._replace(recurrent=tuple(side_by_side(part) for part in parts))

    def drive(self, change: Change, kept: Kept, inputs: Array, noise: Any) -> Any:
        """Return what changes what the reset gate acts on, and the candidate.

        Where it acts on what comes through the matrix, the matrix and the input change
        the candidate apart.
        """
        tangent = change.cell.weights().recurrent
        gates = self.gates_like(inputs)
        direct, of_candidate = split(
            total(gates, self.input_drive(change, inputs)), 2, 1
        )
        bias = linear(
            change.cell.recurrent_bias,
            lambda b: jnp.broadcast_to(b, of_candidate.shape),
        )
        inner = total(of_candidate, bias)
        if self.reset_enters == "before":
            first, second = (None, None) if tangent is None else tangent
            source, reset = kept.source
            first = linear(first, lambda w: matvec(w, source))
            second = linear(second, lambda w: matvec(w, reset))
            through = total(direct, direct, first)
            return through, total(inner, inner, of_candidate, second)
        product = linear(tangent, lambda w: matvec(w, kept.source))
        through = jnp.concatenate([direct, inner], axis=-1)
        return total(through, through, product), of_candidate


def split(gates: Array, *n_parts: int) -> list[Array]:
    """Cut the last axis into parts that are so many gates wide."""
    width = gates.shape[-1] // sum(n_parts)
    sizes = [n * width for n in n_parts]
    return list(lax.split(gates, sizes, axis=gates.ndim - 1))


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
        gates = split(projected + matvec(recurrent, carry.hidden), 1, 1, 1, 1)
        i, f, o = (sigmoid(gates[k]) for k in (0, 1, 3))
        g = jnp.tanh(gates[2])
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
        dz = split(drive + matvec(recurrent, change.hidden), 1, 1, 1, 1)
        memory = (
            slopes.keep * change.memory
            + slopes.by_input * dz[0]
            + slopes.by_forget * dz[1]
            + slopes.by_candidate * dz[2]
        )
        hidden = slopes.by_output * dz[3] + slopes.by_memory * memory
        return LSTMState(hidden, memory), hidden
