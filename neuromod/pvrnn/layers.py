r"""The parts of a network: layers of units and latents, and how layers are connected.

A layer has deterministic units with potentials $u_t$ and activities $d_t$, each with
its own time constant $\tau$ (steps), and latents $z_t$,

$$
u_t = (1 - 1/\tau)\, u_{t-1}
      + \tfrac{1}{\tau} \big( W_{dd}\, d_{t-1} + W_{zd}\, z_t + b + \text{others} \big),
\qquad d_t = \tanh u_t ,
$$

where the others are layers that a `Connection` brings in. Its prior and posterior are
Gaussian, with standard deviations

$$
\mu = \tanh(W_\mu d_{t-1} + b_\mu + a_\mu), \qquad
\sigma = \exp(W_\sigma d_{t-1} + b_\sigma + a_\sigma) ,
$$

the prior without the adaptive vectors $a$, the posterior of the first kind with all
terms, that of the second kind with $a$ alone.
"""

from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from neuromod.core.errors import choice, invalid

Values = Array | np.ndarray


class Normal(NamedTuple):
    """Independent Gaussians: ``mean`` and standard ``deviation`` (..., latent)."""

    mean: Any
    deviation: Any


class Affine(eqx.Module):
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
        cls, key: PRNGKeyArray, n_out: int, n_in: int, *, bias: bool = True
    ) -> "Affine":
        """Draw all numbers uniformly between +- 1 / sqrt(n_in)."""
        one, two = jax.random.split(key)
        bound = n_in**-0.5

        def draw(key, *shape):
            return jax.random.uniform(key, shape, jnp.float32, -bound, bound)

        return cls(draw(one, n_out, n_in), draw(two, n_out) if bias else None)

    def __call__(self, values: Float[Array, "*batch in"]) -> Float[Array, "*batch out"]:
        """Apply it to the last axis."""
        product = values @ jnp.asarray(self.weight, values.dtype).T
        if self.bias is None:
            return product
        return product + jnp.broadcast_to(self.bias, product.shape)


class LatentMap(eqx.Module):
    """What activities say of latents.

    Parameters
    ----------
    mean
        Before its tanh.
    log_deviation
        Of the standard deviation.
    """

    mean: Affine
    log_deviation: Affine

    @classmethod
    def random(
        cls, key: PRNGKeyArray, n_latents: int, n_units: int, *, bias: bool = True
    ) -> "LatentMap":
        """Draw both matrices."""
        keys = jax.random.split(key)
        parts = (Affine.random(k, n_latents, n_units, bias=bias) for k in keys)
        return cls(*parts)

    def __call__(self, activity: Any, mean: Any = 0.0, log_deviation: Any = 0.0):
        """Return the Gaussians that follow from activities, and what is added."""
        # One product for both: thin ones cost as much as those twice as wide.
        parts = self.mean, self.log_deviation
        weight = jnp.concatenate([jnp.asarray(p.weight, activity.dtype) for p in parts])
        told = activity @ weight.T
        n = told.shape[-1] // 2
        location, spread = (
            half
            if part.bias is None
            else half + jnp.broadcast_to(part.bias, half.shape)
            for half, part in zip((told[..., :n], told[..., n:]), parts, strict=True)
        )
        return Normal(jnp.tanh(location + mean), jnp.exp(spread + log_deviation))


class LatentLayer(eqx.Module):
    """Units and latents of one level.

    Parameters
    ----------
    name
        Unlike that of any other layer.
    n_latents
        Number of latents, at least 1.
    recurrent_weight : (unit, unit)
        None, as all that follows up to ``prior``, for a layer without units.
    latent_weight : (unit, latent)
        How the latents drive the units.
    bias : (unit,)
        Of the units.
    time_constant : (unit,)
        In steps, at least 1; it is not trained.
    prior
        None for the standard normal distribution at every step.
    posterior
        What of the posterior depends on the activity; None if the adaptive vectors
        alone tell it.
    initial_potential : (unit,)
        Before the first step, of all trials; 0 if None.
    noise_scale
        Multiplies the noise of the latents; it is not trained.
    is_constant
        Whether all steps of a trial have the adaptive vectors of the first one.
    trains_bias
        Whether the bias is trained.
    """

    name: str = eqx.field(static=True)
    n_latents: int = eqx.field(static=True)
    recurrent_weight: Any = None
    latent_weight: Any = None
    bias: Any = None
    time_constant: Any = None
    prior: LatentMap | None = None
    posterior: LatentMap | None = None
    initial_potential: Any = None
    noise_scale: Any = 1.0
    is_constant: bool = eqx.field(default=False, static=True)
    trains_bias: bool = eqx.field(default=True, static=True)

    def __check_init__(self) -> None:
        if self.n_latents < 1:
            raise invalid("n_latents", self.n_latents, "at least 1", "")
        if self.is_constant and self.posterior is not None:
            raise invalid(
                "is_constant",
                "True with a posterior that depends on the activity",
                "a posterior of adaptive vectors alone",
            )

    @property
    def n_units(self) -> int:
        """Number of units."""
        return 0 if self.recurrent_weight is None else self.recurrent_weight.shape[-1]


class Connection(eqx.Module):
    """What one layer gives to the units of another.

    Parameters
    ----------
    weight : (unit, source)
        From the units, or the latents, of the source.
    source, target
        Names of layers.
    carries
        "activity" or "latent".
    delay
        0 for what the source is in the same step, 1 for the step before.
    """

    weight: Float[Values, "unit source"]
    source: str = eqx.field(static=True)
    target: str = eqx.field(static=True)
    carries: Literal["activity", "latent"] = eqx.field(default="activity", static=True)
    delay: Literal[0, 1] = eqx.field(default=1, static=True)

    def __check_init__(self) -> None:
        choice("carries", self.carries, ("activity", "latent"))
        if self.delay not in (0, 1):
            raise invalid("delay", self.delay, "0 (same step) or 1 (the step before)")
