"""A network of several timescales that draws latent numbers as it runs."""

from typing import Any, NamedTuple

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
    total,
)
from neuromod.kernels.rnn import MTRNNState


class LatentOutput(NamedTuple):
    """``activity`` (..., hidden); ``mean`` and ``deviation`` (..., latent) of z."""

    activity: Array
    mean: Array
    deviation: Array


class _Slopes(NamedTuple):
    """Derivatives of activity and mean; the deviation is its own, by the noise."""

    activity: Array
    mean: Array
    deviation: Array
    noise: Array


class LatentMTRNN(GatedCell):
    """Units of several timescales, driven by latent numbers that depend on them.

    ::

        (h_t, m_t, s_t) = R y_{t-1} + W x_t + b
        z_t = tanh(m_t) + exp(s_t) eps_t
        u_t = u_{t-1} + (h_t + V z_t - u_{t-1}) / time_constant
        y_t = tanh(u_t)

    The output is y_t with the mean and the deviation of z_t; without noise z_t is its
    mean. (Ahmadi & Tani, Neural Computation 2019, doi:10.1162/neco_a_01228.)

    Parameters
    ----------
    input_weight : (gate, input)
        W; the gates are those of all hidden units, then the means and then the log
        deviations of all latents.
    recurrent_weight : (gate, hidden)
        R.
    bias : (gate,)
        b.
    latent_weight : (hidden, latent)
        V.
    time_constant : () or (hidden,)
        In steps, at least 1.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from neuromod.kernels import LatentMTRNN, scan
    >>> network = LatentMTRNN.random(jax.random.key(0), 2, 5, 1, time_constant=4.0)
    >>> key, inputs = jax.random.key(1), jnp.ones((100, 2))
    >>> found = scan(network, network.initial(), inputs, noise=key).outputs
    >>> found.activity.shape, found.deviation.shape
    ((100, 5), (100, 1))
    """

    input_weight: Float[Array, "gate input"]
    recurrent_weight: Float[Array, "gate hidden"]
    bias: Float[Array, " gate"]
    latent_weight: Float[Array, "hidden latent"]
    time_constant: Any

    @classmethod
    def random(
        cls,
        key: Key[Array, ""],
        n_inputs: int,
        n_hidden: int,
        n_latents: int,
        *,
        time_constant: Any,
    ) -> "LatentMTRNN":
        """Draw weights uniformly between +- 1 / sqrt(n_hidden); the bias is 0."""
        n_gates, bound = n_hidden + 2 * n_latents, n_hidden**-0.5
        shapes = (n_gates, n_inputs), (n_gates, n_hidden), (n_hidden, n_latents)
        inputs, recurrent, latent = (
            jax.random.uniform(k, shape, minval=-bound, maxval=bound)
            for k, shape in zip(jax.random.split(key, 3), shapes, strict=True)
        )
        return cls(inputs, recurrent, jnp.zeros(n_gates), latent, time_constant)

    @property
    def n_hidden(self) -> int:
        """Number of hidden units."""
        return self.latent_weight.shape[0]

    @property
    def n_latents(self) -> int:
        """Number of latents."""
        return self.latent_weight.shape[1]

    def weights(self) -> Weights:
        """Return the weights as they are."""
        return Weights(self.input_weight, self.recurrent_weight, self.bias)

    def initial(self, batch_shape: tuple[int, ...] = ()) -> MTRNNState:
        """Return potentials and activities of zero."""
        zeros = jnp.zeros((*batch_shape, self.n_hidden), self.bias.dtype)
        return MTRNNState(zeros, zeros)

    def draw(self, key: Key[Array, ""], carry: MTRNNState) -> Array:
        """Draw the noise of one step: one standard normal number for each latent."""
        shape = (*carry.potential.shape[:-1], self.n_latents)
        return jax.random.normal(key, shape, carry.potential.dtype)

    def step(self, recurrent, carry, projected, noise):
        """Take one step."""
        potential, activity = carry
        hidden, location, log_deviation = self._parts(
            projected + matvec(recurrent, activity)
        )
        mean, deviation = jnp.tanh(location), jnp.exp(log_deviation)
        noise = jnp.zeros_like(mean) if noise is None else noise
        latent = mean + deviation * noise
        towards = hidden + matvec(self.latent_weight, latent) - potential
        potential = potential + self._rate(towards) * towards
        after = MTRNNState(potential, jnp.tanh(potential))
        slopes = _Slopes(1 - after.activity**2, 1 - mean**2, deviation, noise)
        output = LatentOutput(after.activity, mean, deviation)
        return after, output, Kept(activity, slopes, (towards, latent, deviation))

    def follow(self, recurrent, change, slopes, drive, push):
        """Carry a change of potential and activity through one step."""
        d_potential, d_activity = change
        hidden, location, log_deviation = self._parts(
            drive + matvec(recurrent, d_activity)
        )
        d_mean, d_deviation = slopes.mean * location, slopes.deviation * log_deviation
        d_latent = d_mean + slopes.noise * d_deviation
        towards = hidden + matvec(self.latent_weight, d_latent) - d_potential
        d_potential = d_potential + self._rate(towards) * towards
        d_potential = total(d_potential, d_potential, push)
        after = MTRNNState(d_potential, slopes.activity * d_potential)
        return after, LatentOutput(after.activity, d_mean, d_deviation)

    def push(self, change: Change, kept: Kept, noise: Any) -> Array | None:
        """Return what changes the potential directly, over all steps."""
        towards, latent, deviation = kept.rest
        from_noise = scaled(deviation, change.noise)
        drives = (
            linear(change.cell.latent_weight, lambda weight: matvec(weight, latent)),
            linear(from_noise, lambda change: matvec(self.latent_weight, change)),
        )
        found = [self._rate(d) * d for d in drives if d is not None]
        d_constant = change.cell.time_constant
        if d_constant is not None:
            found.append(scaled(-d_constant / jnp.square(self.time_constant), towards))
        return total(towards, *found) if found else None

    def _parts(self, gates: Array) -> list[Array]:
        # By slices: XLA (CPU, jaxlib 0.10.2) computes the transpose of a split wrongly
        # when it fuses it with all that is concatenated there.
        n, m = self.n_hidden, self.n_hidden + self.n_latents
        return [gates[..., :n], gates[..., n:m], gates[..., m:]]

    def _rate(self, like: Array) -> Array:
        return jnp.broadcast_to(1 / jnp.asarray(self.time_constant), like.shape)
