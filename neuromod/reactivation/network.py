r"""Networks that track where they are from how they move, against their own noise.

A network of $N$ units hears only of *changes*, the input $x_t$ (the displacement of
each step), and after training tells the place, as the code $y_t$ of some cells:

$$
h_0 = E p_0, \qquad
h_{t+1} = h_t + \alpha\, f(h_t, x_t) + \sigma \xi_t, \qquad
y_{t+1} = W_\mathrm{out} h_{t+1} ,
$$

where $p_0$ is the code of the first place, $\alpha$ the time step over the membrane
time constant, and $\xi$ standard normal noise. The drive $f$ is

$$
f = \phi(W_\mathrm{rec} h + W_\mathrm{in} x) - h
\qquad\text{or}\qquad
f = (1 - z) \odot \big(\phi(W_h x + U_h (r \odot h)) - h\big)
$$

for the vanilla network and the one with gates $z = s(W_z x + U_z h)$ and
$r = s(W_r x + U_r h)$. Noise is outside $\phi$ unless asked for inside, so that $h$ may
be negative. (Krishna, Bredenberg, Levenstein, Richards & Lajoie, ICLR 2024; gates:
Jordan, Sokol & Park, Frontiers in Computational Neuroscience 2021.)
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from neuromod.core.dimensions import require_integer
from neuromod.core.errors import choice, invalid
from neuromod.reactivation.noise import LAWS

Values = Array | np.ndarray
ACTIVATIONS = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "identity": lambda x: x,
}


class Layer(eqx.Module):
    """A matrix, and a bias if there is one.

    Parameters
    ----------
    weight : (out, in)
        The matrix.
    bias : (out,)
        None for none.
    """

    weight: Float[Values, "out in"]
    bias: Float[Values, " out"] | None = None

    @classmethod
    def random(
        cls, key: PRNGKeyArray, n_out: int, n_in: int, *, bias: bool = False
    ) -> "Layer":
        """Draw all numbers uniformly between +- 1 / sqrt(n_in)."""
        keys = jax.random.split(key)
        bound = n_in**-0.5

        def draw(key, *shape):
            return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

        return cls(draw(keys[0], n_out, n_in), draw(keys[1], n_out) if bias else None)

    def __call__(self, x: Float[Array, "*trial in"] | None) -> Any:
        """Return the product plus the bias; of no input at all the bias, or 0."""
        if x is None:
            return jnp.zeros((), self.weight.dtype) if self.bias is None else self.bias
        product = x @ self.weight.T
        if self.bias is None:
            return product
        return product + jnp.broadcast_to(self.bias, product.shape)


class Network(eqx.Module):
    """What every network has: an encoder, a time scale and noise.

    Parameters
    ----------
    encoder
        From the code of the first place (cell) to the first state (unit).
    time_step, membrane_time_constant
        In the same unit (s); their ratio is the leak, at most 1.
    input_noise, recurrent_noise, output_noise
        Scales of the noise per step (`neuromod.reactivation.noise` converts from the
        noise of a differential equation).
    noise_law
        "gaussian", or "uniform01" for numbers between 0 and 1, whose mean is a drive to
        every unit.
    noise_inside
        Whether recurrent noise enters the activation function.
    activation
        "relu", "tanh", "sigmoid" or "identity".
    """

    encoder: eqx.AbstractVar[Layer]
    time_step: eqx.AbstractVar[Any]
    membrane_time_constant: eqx.AbstractVar[Any]
    input_noise: eqx.AbstractVar[Any]
    recurrent_noise: eqx.AbstractVar[Any]
    output_noise: eqx.AbstractVar[Any]
    noise_law: eqx.AbstractVar[str]
    noise_inside: eqx.AbstractVar[bool]
    activation: eqx.AbstractVar[str]

    def __check_init__(self) -> None:
        choice("activation", self.activation, tuple(ACTIVATIONS))
        choice("noise_law", self.noise_law, LAWS)
        for name in ("input_noise", "recurrent_noise", "output_noise"):
            _require(name, getattr(self, name), lambda x: x >= 0, "a number >= 0")
        positive = "a number above 0"
        for name in ("time_step", "membrane_time_constant"):
            _require(name, getattr(self, name), lambda x: x > 0, positive)
        _require("time_step", self.leak, lambda x: x <= 1, "at most the time constant")

    @property
    def leak(self) -> Any:
        """The time step over the membrane time constant."""
        return self.time_step / self.membrane_time_constant

    @property
    def n_units(self) -> int:
        """Number of recurrent units."""
        return self.encoder.weight.shape[0]

    @property
    def n_cells(self) -> int:
        """Number of cells of the code."""
        return self.encoder.weight.shape[1]

    @property
    @abc.abstractmethod
    def n_inputs(self) -> int:
        """Number of inputs."""

    def encode(self, code: Float[Array, "*trial cell"]) -> Float[Array, "*trial unit"]:
        """Return the state before the first step, from the code of the first place."""
        return self.encoder(code)

    @abc.abstractmethod
    def read_out(
        self, state: Float[Array, "*trial unit"]
    ) -> Float[Array, "*trial cell"]:
        """Return the code that a state stands for."""

    @abc.abstractmethod
    def drive(
        self,
        state: Float[Array, "*trial unit"],
        inputs: Float[Array, "*trial input"] | None,
        within: Any = None,
    ) -> Float[Array, "*trial unit"]:
        """Return where the state is driven to, minus where it is.

        Parameters
        ----------
        state : (*trial, unit)
            Before the step.
        inputs : (*trial, input)
            None for silence.
        within : (*trial, unit)
            What is added inside the activation function; None for nothing.
        """

    def layers(self) -> dict[str, Layer]:
        """Return all layers by name: what training changes."""
        found = {k: v for k, v in vars(self).items() if isinstance(v, Layer)}
        return dict(sorted(found.items()))


def _require(name: str, value: Any, holds: Any, expected: str) -> None:
    if isinstance(value, Tracer):
        return
    numbers = np.asarray(value)
    if numbers.dtype.kind not in "fiu" or not np.all(holds(numbers)):
        raise invalid(name, f"{value!r}", expected)


class VanillaNetwork(Network):
    """A network whose units sum, rectify and leak.

    Parameters
    ----------
    encoder, input_layer, recurrent_layer, output_layer
        E, W_in, W_rec and W_out, each with a bias if wanted.
    signs : (unit,)
        +1 for excitatory and -1 for inhibitory units (Dale's law): the recurrent
        weights that leave a unit are their size times its sign. None for any sign.
    connections : (unit, unit)
        1 where a connection (to, from) may be, 0 where not. None for all.
    time_step, membrane_time_constant, input_noise, recurrent_noise, output_noise, \
noise_law, noise_inside, activation
        As of every `Network`.

    Examples
    --------
    >>> network = VanillaNetwork.random(jax.random.key(0), 2, 20, 10)
    >>> network.n_inputs, network.n_units, network.n_cells, round(network.leak, 3)
    (2, 20, 10, 0.2)
    """

    encoder: Layer
    input_layer: Layer
    recurrent_layer: Layer
    output_layer: Layer
    time_step: Any = 0.02
    membrane_time_constant: Any = 0.1
    input_noise: Any = 0.0
    recurrent_noise: Any = 0.0
    output_noise: Any = 0.0
    signs: Float[Values, " unit"] | None = None
    connections: Float[Values, "unit unit"] | None = None
    noise_law: str = eqx.field(default="gaussian", static=True)
    noise_inside: bool = eqx.field(default=False, static=True)
    activation: str = eqx.field(default="relu", static=True)

    @classmethod
    def random(
        cls,
        key: PRNGKeyArray,
        n_inputs: int,
        n_units: int,
        n_cells: int,
        *,
        bias: bool = False,
        **fields: Any,
    ) -> "VanillaNetwork":
        """Draw all weights uniformly between +- 1 / sqrt(number of inputs)."""
        shapes = _shapes(n_inputs, n_units, n_cells)
        sizes = [shapes[k] for k in ("encoder", "input", "recurrent", "output")]
        keys = jax.random.split(key, 4)
        layers: list[Any] = [
            Layer.random(k, *size, bias=bias)
            for k, size in zip(keys, sizes, strict=True)
        ]
        return cls(*layers, **fields)

    @property
    def n_inputs(self) -> int:
        """Number of inputs."""
        return self.input_layer.weight.shape[1]

    @property
    def recurrent_weight(self) -> Float[Values, "unit unit"]:
        """The recurrent weights as they act, (to, from)."""
        weight = self.recurrent_layer.weight
        if self.signs is not None:
            weight = jnp.abs(weight) * self.signs[None, :]
        return weight if self.connections is None else weight * self.connections

    def read_out(
        self, state: Float[Array, "*trial unit"]
    ) -> Float[Array, "*trial cell"]:
        """Return the code that a state stands for."""
        return self.output_layer(state)

    def drive(
        self,
        state: Float[Array, "*trial unit"],
        inputs: Float[Array, "*trial input"] | None,
        within: Any = None,
    ) -> Float[Array, "*trial unit"]:
        """Return where the state is driven to, minus where it is."""
        recurrent = Layer(self.recurrent_weight, self.recurrent_layer.bias)
        total = recurrent(state)
        total = total + jnp.broadcast_to(self.input_layer(inputs), total.shape)
        if within is not None:
            total = total + within
        return ACTIVATIONS[self.activation](total) - state


class GRUNetwork(Network):
    """A network with an update gate, near 1 of which holds, and a reset gate.

    Parameters
    ----------
    encoder, decoder
        Into the state and out of it.
    update_input, update_recurrent, reset_input, reset_recurrent, \
candidate_input, candidate_recurrent
        W_z, U_z, W_r, U_r, W_h and U_h.
    time_step, membrane_time_constant, input_noise, recurrent_noise, output_noise, \
noise_law, noise_inside, activation
        As of every `Network`.

    Examples
    --------
    >>> network = GRUNetwork.random(jax.random.key(0), 2, 20, 10)
    >>> network.n_inputs, network.n_units, network.n_cells, network.activation
    (2, 20, 10, 'tanh')
    """

    encoder: Layer
    decoder: Layer
    update_input: Layer
    update_recurrent: Layer
    reset_input: Layer
    reset_recurrent: Layer
    candidate_input: Layer
    candidate_recurrent: Layer
    time_step: Any = 0.02
    membrane_time_constant: Any = 0.1
    input_noise: Any = 0.0
    recurrent_noise: Any = 0.0
    output_noise: Any = 0.0
    noise_law: str = eqx.field(default="gaussian", static=True)
    noise_inside: bool = eqx.field(default=False, static=True)
    activation: str = eqx.field(default="tanh", static=True)

    @classmethod
    def random(
        cls,
        key: PRNGKeyArray,
        n_inputs: int,
        n_units: int,
        n_cells: int,
        *,
        bias: bool = False,
        **fields: Any,
    ) -> "GRUNetwork":
        """Draw all weights uniformly between +- 1 / sqrt(number of inputs)."""
        shapes = _shapes(n_inputs, n_units, n_cells)
        gate = [shapes["input"], shapes["recurrent"]]
        sizes = [shapes["encoder"], shapes["output"], *gate, *gate, *gate]
        keys = jax.random.split(key, len(sizes))
        layers: list[Any] = [
            Layer.random(k, *size, bias=bias)
            for k, size in zip(keys, sizes, strict=True)
        ]
        return cls(*layers, **fields)

    @property
    def n_inputs(self) -> int:
        """Number of inputs."""
        return self.candidate_input.weight.shape[1]

    def read_out(
        self, state: Float[Array, "*trial unit"]
    ) -> Float[Array, "*trial cell"]:
        """Return the code that a state stands for."""
        return self.decoder(state)

    def drive(
        self,
        state: Float[Array, "*trial unit"],
        inputs: Float[Array, "*trial input"] | None,
        within: Any = None,
    ) -> Float[Array, "*trial unit"]:
        """Return where the state is driven to, minus where it is, times 1 - z."""

        def summed(of_inputs, of_state, state):
            total = of_state(state)
            return total + jnp.broadcast_to(of_inputs(inputs), total.shape)

        update = jax.nn.sigmoid(summed(self.update_input, self.update_recurrent, state))
        reset = jax.nn.sigmoid(summed(self.reset_input, self.reset_recurrent, state))
        total = summed(self.candidate_input, self.candidate_recurrent, reset * state)
        if within is not None:
            total = total + within
        return (1 - update) * (ACTIVATIONS[self.activation](total) - state)


def _shapes(n_inputs: int, n_units: int, n_cells: int) -> dict[str, tuple[int, int]]:
    n_inputs = require_integer(n_inputs, "n_inputs")
    n_units = require_integer(n_units, "n_units")
    n_cells = require_integer(n_cells, "n_cells")
    return {
        "encoder": (n_units, n_cells),
        "input": (n_units, n_inputs),
        "recurrent": (n_units, n_units),
        "output": (n_cells, n_units),
    }
