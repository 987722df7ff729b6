r"""A variational recurrent network (VRNN), to compare a PV-RNN with.

All that happened is in the state $h$ (unit) of gated recurrent units. With it, three
networks of one hidden layer tell Gaussians of independent numbers:

$$
\begin{aligned}
\text{prior} \quad & p(z_t \mid h_{t-1}) , &
\text{posterior} \quad & q(z_t \mid x_t, h_{t-1}) , \\
\text{decoder} \quad & p(x_t \mid z_t, h_{t-1}) , &
\text{recurrence} \quad & h_t = \mathrm{GRU}(h_{t-1}; x_t, z_t) ,
\end{aligned}
$$

with latents $z$ (latent) and channels $x$ (channel). What is descended is minus the
evidence lower bound,

$$
\sum_t - \ln p(x_t \mid z_t, h_{t-1})
    + w\, \mathrm{KL}\big( q(z_t) \,\|\, p(z_t) \big), \qquad z_t \sim q ,
$$

which is a bound for $w = 1$. Where a PV-RNN searches the posterior of each trial by
gradient descent, and so learns from the future too, here one network tells it from what
there is at the step. (Chung, Kastner, Dinh, Goel, Courville & Bengio, NeurIPS 2015,
arXiv:1506.02216; their features of $x$ and $z$ are left out.)

A channel that is missing is replaced by what the decoder expects: of the mean of the
prior for the posterior, and of the latents for the recurrence. If all channels are
missing the posterior is the prior, so that a network without data generates.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from neuromod import kernels
from neuromod.kernels import GRU
from neuromod.pvrnn.energy import divergence
from neuromod.pvrnn.layers import Affine, Normal
from neuromod.pvrnn.objective import Constants

LEAST_DEVIATION = 1e-3
"""Of what a network tells: without it the density of noiseless data has no bound."""


class GaussianNetwork(eqx.Module):
    """One hidden layer (tanh), then means and standard deviations (softplus).

    Parameters
    ----------
    hidden, mean, deviation
        From the inputs to the hidden layer, and from there.
    """

    hidden: Affine
    mean: Affine
    deviation: Affine

    @classmethod
    def random(
        cls, key: PRNGKeyArray, n_out: int, n_in: int, n_hidden: int
    ) -> "GaussianNetwork":
        """Draw the weights."""
        keys = jax.random.split(key, 3)
        hidden = Affine.random(keys[0], n_hidden, n_in)
        return cls(hidden, *(Affine.random(k, n_out, n_hidden) for k in keys[1:]))

    def __call__(self, *inputs: Array) -> Normal:
        """Return the Gaussians that follow from inputs (..., in), side by side."""
        active = jnp.tanh(self.hidden(jnp.concatenate(inputs, axis=-1)))
        wide = jax.nn.softplus(self.deviation(active)) + LEAST_DEVIATION
        return Normal(self.mean(active), wide)


class VRNN(eqx.Module):
    """A variational recurrent network.

    Parameters
    ----------
    prior, posterior, decoder
        Networks of the state, with channels or latents before it.
    recurrence
        Gated recurrent units that take channels and latents.

    Examples
    --------
    >>> network = VRNN.random(jax.random.key(0), n_channels=2, n_units=8, n_latents=1)
    >>> network.n_channels, network.n_latents
    (2, 1)
    """

    prior: GaussianNetwork
    posterior: GaussianNetwork
    decoder: GaussianNetwork
    recurrence: GRU

    @classmethod
    def random(
        cls, key: PRNGKeyArray, n_channels: int, n_units: int, n_latents: int
    ) -> "VRNN":
        """Draw all weights; hidden layers are as large as the state."""
        keys = jax.random.split(key, 4)
        sizes = (
            (n_latents, n_units),
            (n_latents, n_channels + n_units),
            (n_channels, n_latents + n_units),
        )
        prior, posterior, decoder = (
            GaussianNetwork.random(k, *size, n_units)
            for k, size in zip(keys[:3], sizes, strict=True)
        )
        return cls(
            prior,
            posterior,
            decoder,
            GRU.random(keys[3], n_channels + n_latents, n_units),
        )

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return self.decoder.mean.weight.shape[-2]

    @property
    def n_latents(self) -> int:
        """Number of latents."""
        return self.prior.mean.weight.shape[-2]


class Steps(NamedTuple):
    """What a network did.

    Parameters
    ----------
    before, after : (time, trial, unit)
        States before and after each step.
    latents : (time, trial, latent)
        As drawn.
    posterior : means and deviations (time, trial, latent)
        That they were drawn from.
    """

    before: Array
    after: Array
    latents: Array
    posterior: Normal


def run(
    network: VRNN,
    state: Float[Array, "trial unit"],
    values: Float[Array, "time trial channel"],
    observed: Bool[Array, "time trial channel"] | None,
    noise: Float[Array, "time trial latent"],
) -> Steps:
    """Run a network along data.

    Parameters
    ----------
    network
        The network.
    state : (trial, unit)
        Before the first step.
    values : (time, trial, channel)
        Anything where not observed.
    observed : (time, trial, channel)
        Which values are known; None for all.
    noise : (time, trial, latent)
        Standard normal numbers.
    """

    def advance(state, now):
        seen, known, eps = now
        posterior = _posterior(network, state, seen, known)
        latents = posterior.mean + posterior.deviation * eps
        if known is not None:
            seen = jnp.where(known, seen, network.decoder(latents, state).mean)
        after, _ = network.recurrence(state, jnp.concatenate([seen, latents], axis=-1))
        return after, Steps(state, after, latents, posterior)

    inputs = values, observed, noise
    return kernels.scan(advance, state, inputs, checkpoint=None).outputs


def _posterior(network: VRNN, state: Array, seen: Array, known: Any) -> Normal:
    if known is None:
        return network.posterior(seen, state)
    prior = network.prior(state)
    expected = network.decoder(prior.mean, state).mean
    told = network.posterior(jnp.where(known, seen, expected), state)
    some = jnp.broadcast_to(known.any(axis=-1, keepdims=True), prior.mean.shape)
    return Normal(*(jnp.where(some, *both) for both in zip(told, prior, strict=True)))


class Bound(NamedTuple):
    """Minus the evidence lower bound, in nats per observed value, and its parts."""

    total: Array
    reconstruction: Array
    divergence: Array


def evidence_bound(
    network: VRNN,
    values: Float[Array, "time trial channel"],
    observed: Bool[Array, "time trial channel"] | None,
    noise: Float[Array, "time trial latent"],
    divergence_weight: Float[Array, ""] | float = 1.0,
) -> Bound:
    """Return minus the evidence lower bound of data.

    Parameters
    ----------
    network, values, observed, noise
        As of `run`; trials start at the first step.
    divergence_weight
        w.
    """
    state = network.recurrence.initial((values.shape[1],))
    steps = run(network, state, values, observed, noise)
    told = network.decoder(steps.latents, steps.before)
    densities = jax.scipy.stats.norm.logpdf(values, told.mean, told.deviation)
    n_known = values.size
    if observed is not None:
        densities = jnp.where(observed, densities, 0)
        n_known = observed.sum().astype(values.dtype)
    apart = divergence(steps.posterior, network.prior(steps.before), Constants())
    parts = -densities.sum() / n_known, apart.sum() / n_known
    return Bound(parts[0] + divergence_weight * parts[1], *parts)


def predict(
    network: VRNN,
    values: Float[Array, "time trial channel"],
    observed: Bool[Array, "time trial channel"] | None,
    key: PRNGKeyArray,
    n_predicted: int,
    n_samples: int,
) -> Float[Array, "lag time trial channel"]:
    """Return what the prior expects after each step; means over samples.

    Parameters
    ----------
    network, values, observed
        As of `run`.
    key
        Of the noise.
    n_predicted
        Steps that are expected.
    n_samples
        Draws of the latents, of the data's steps and of those to come.
    """
    n_steps, n_trials, n_channels = values.shape
    n_rows = n_steps * n_trials
    begin = network.recurrence.initial((n_trials,))
    nothing = jnp.zeros((n_predicted, n_rows, n_channels), values.dtype)

    def add(total, _, key):
        past, coming = (
            kernels.standard_normal(k, (*shape, network.n_latents), values.dtype)
            for k, shape in zip(
                jax.random.split(key),
                ((n_steps, n_trials), (n_predicted, n_rows)),
                strict=True,
            )
        )
        reached = run(network, begin, values, observed, past).after
        reached = reached.reshape(n_rows, -1)
        steps = run(network, reached, nothing, nothing.astype(bool), coming)
        told = network.decoder(steps.latents, steps.before).mean
        return total + told.reshape(total.shape), None

    total = jnp.zeros((n_predicted, *values.shape), values.dtype)
    found = kernels.scan(add, total, n_steps=n_samples, noise=key, checkpoint=None)
    return found.carry / n_samples
