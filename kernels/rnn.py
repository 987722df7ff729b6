"""Leaky networks with noise, and networks of several timescales."""

from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from neuromod.kernels.gated import (
    Change,
    GatedCell,
    Kept,
    Weights,
    linear,
    matvec,
    scaled,
    side_by_side,
    total,
)
from neuromod.kernels.random_weights import check_choice, random_weights, refuse_noise

ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu}
DERIVATIVES = {
    "tanh": lambda activity: 1 - activity**2,
    "relu": lambda activity: (activity > 0).astype(activity.dtype),
}


class OneGateCell(GatedCell):
    """A cell with one gate, whose weights therefore have no gate axis."""

    def weights(self) -> Weights:
        """Return the weights as those of one gate."""
        recurrent = linear(self.recurrent_weight, lambda w: side_by_side(w[None]))
        return Weights(self.input_weight, recurrent, self.bias)


class LeakyRNN(OneGateCell):
    r"""A recurrent network of leaky units, with noise if wanted.

    ::

        z_t = R h_{t-1} + W x_t + b
        h_t = (1 - leak) h_{t-1} + leak activation(z_t + noise_scale eps_t)
        h_t = (1 - leak) h_{t-1} + leak activation(z_t) + noise_scale eps_t

    The second line is that of ``noise_enters="activation"``, the third that of
    "state". Without ``leak`` (which is then 1) this is the network of Elman (Cognitive
    Science 1990, doi:10.1207/s15516709cog1402_1). The output is h_t.

    Parameters
    ----------
    input_weight : (hidden, input)
        W.
    recurrent_weight : (hidden, hidden) or (head, unit, unit)
        R; block-diagonal if there are heads.
    bias : (hidden,)
        b.
    leak : () or (hidden,)
        Time step over membrane time constant, in (0, 1]; None for 1.
    noise_scale : () or (hidden,)
        Standard deviation of the noise; None for a network that takes none.
    activation
        "tanh" or "relu".
    noise_enters
        "activation" or "state".

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from neuromod.kernels import LeakyRNN, scan
    >>> network = LeakyRNN.random(jax.random.key(0), n_inputs=3, n_hidden=5, leak=0.1)
    >>> states = scan(network, network.initial(), jnp.ones((100, 3))).outputs
    >>> states.shape
    (100, 5)
    """

    input_weight: Float[Array, "hidden input"]
    recurrent_weight: Float[Array, "*head unit unit"]
    bias: Float[Array, " hidden"]
    leak: Any = None
    noise_scale: Any = None
    activation: Literal["tanh", "relu"] = eqx.field(default="tanh", static=True)
    noise_enters: Literal["activation", "state"] = eqx.field(
        default="activation", static=True
    )

    def __check_init__(self):
        check_choice("activation", self.activation, ("tanh", "relu"))
        check_choice("noise_enters", self.noise_enters, ("activation", "state"))

    @classmethod
    def random(
        cls,
        key: Key[Array, ""],
        n_inputs: int,
        n_hidden: int,
        *,
        n_heads: int | None = None,
        **fields: Any,
    ) -> "LeakyRNN":
        """Draw weights uniformly between +- 1 / sqrt(n_hidden); the bias is 0."""
        w, r, b = random_weights(key, 1, n_inputs, n_hidden, n_heads)
        return cls(w[0], r[0], b[0], **fields)

    def initial(self, batch_shape: tuple[int, ...] = ()) -> Array:
        """Return zeros (..., hidden)."""
        return jnp.zeros((*batch_shape, self.n_hidden), self.bias.dtype)

    def step(self, recurrent, carry, projected, noise):
        """Take one step."""
        if noise is not None and self.noise_scale is None:
            refuse_noise(self, "Give the cell a noise_scale.")
        within = self.noise_enters == "activation"
        drawn = scaled(self.noise_scale, noise)
        z = projected + matvec(recurrent, carry)
        activity = ACTIVATIONS[self.activation](total(z, z, drawn if within else None))
        slope = DERIVATIVES[self.activation](activity)
        towards = None
        after = activity
        if self.leak is not None:
            leak = jnp.broadcast_to(self.leak, carry.shape)
            towards = activity - carry
            after, slope = carry + leak * towards, leak * slope
        after = total(after, after, None if within else drawn)
        return after, after, Kept(carry, slope, towards)

    def follow(self, recurrent, change, slopes, drive, push):
        """Carry a change of the state through one step."""
        after = slopes * (matvec(recurrent, change) + drive)
        if self.leak is not None:
            after = after + (1 - jnp.broadcast_to(self.leak, change.shape)) * change
        after = total(after, after, push)
        return after, after

    def drive(self, change: Change, kept: Kept, inputs: Array, noise: Any) -> Array:
        """Return what changes the gate beside the carry, over all steps."""
        drive = super().drive(change, kept, inputs, noise)
        within = self.noise_enters == "activation"
        return total(drive, drive, *(self._of_noise(change, noise) if within else ()))

    def push(self, change: Change, kept: Kept, noise: Any) -> Array | None:
        """Return what changes the state directly, over all steps."""
        terms = [scaled(change.cell.leak, kept.rest)]
        if self.noise_enters == "state":
            terms += self._of_noise(change, noise)
        terms = [term for term in terms if term is not None]
        return total(kept.source, *terms) if terms else None

    def _of_noise(self, change: Change, noise: Any) -> list[Array | None]:
        return [
            scaled(change.cell.noise_scale, noise),
            scaled(self.noise_scale, change.noise),
        ]


class MTRNNState(NamedTuple):
    """``potential`` and ``activity`` (..., hidden), the tanh of the potential."""

    potential: Array
    activity: Array


class MTRNN(OneGateCell):
    """A recurrent network of several timescales: each unit has its own time constant.

    ::

        u_t = u_{t-1} + (R y_{t-1} + W x_t + b - u_{t-1}) / time_constant
        y_t = tanh(u_t)

    The output is the activity y_t. (Yamashita & Tani, PLoS Computational Biology 2008,
    doi:10.1371/journal.pcbi.1000220.)

    Parameters
    ----------
    input_weight : (hidden, input)
        W.
    recurrent_weight : (hidden, hidden) or (head, unit, unit)
        R; block-diagonal if there are heads.
    bias : (hidden,)
        b.
    time_constant : () or (hidden,)
        In steps, at least 1.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from neuromod.kernels import MTRNN, scan
    >>> constants = jnp.array([2.0, 2.0, 70.0])
    >>> network = MTRNN.random(jax.random.key(0), 2, 3, time_constant=constants)
    >>> scan(network, network.initial(), jnp.ones((100, 2))).outputs.shape
    (100, 3)
    """

    input_weight: Float[Array, "hidden input"]
    recurrent_weight: Float[Array, "*head unit unit"]
    bias: Float[Array, " hidden"]
    time_constant: Any

    @classmethod
    def random(
        cls,
        key: Key[Array, ""],
        n_inputs: int,
        n_hidden: int,
        *,
        time_constant: Any,
        n_heads: int | None = None,
    ) -> "MTRNN":
        """Draw weights uniformly between +- 1 / sqrt(n_hidden); the bias is 0."""
        w, r, b = random_weights(key, 1, n_inputs, n_hidden, n_heads)
        return cls(w[0], r[0], b[0], time_constant)

    def initial(self, batch_shape: tuple[int, ...] = ()) -> MTRNNState:
        """Return potentials and activities of zero."""
        zeros = jnp.zeros((*batch_shape, self.n_hidden), self.bias.dtype)
        return MTRNNState(zeros, zeros)

    def step(self, recurrent, carry, projected, noise):
        """Take one step."""
        if noise is not None:
            refuse_noise(self, "Leave noise out.")
        potential, activity = carry
        towards = projected + matvec(recurrent, activity) - potential
        potential = potential + self._rate(towards) * towards
        after = MTRNNState(potential, jnp.tanh(potential))
        slope = 1 - after.activity**2
        return after, after.activity, Kept(activity, slope, towards)

    def follow(self, recurrent, change, slopes, drive, push):
        """Carry a change of potential and activity through one step."""
        d_potential, d_activity = change
        towards = drive + matvec(recurrent, d_activity) - d_potential
        d_potential = d_potential + self._rate(towards) * towards
        d_potential = total(d_potential, d_potential, push)
        after = MTRNNState(d_potential, slopes * d_potential)
        return after, after.activity

    def push(self, change: Change, kept: Kept, noise: Any) -> Array | None:
        """Return what a change of the time constants does, over all steps."""
        d_constant = change.cell.time_constant
        if d_constant is None:
            return None
        return scaled(-d_constant / jnp.square(self.time_constant), kept.rest)

    def _rate(self, like: Array) -> Array:
        return jnp.broadcast_to(1 / jnp.asarray(self.time_constant), like.shape)
