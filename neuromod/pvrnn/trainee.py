"""What is trained: a network, its adaptive vectors, and the free energy of trials."""

from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from neuromod.core.errors import ShapeError, invalid
from neuromod.kernels.normal import standard_normal
from neuromod.pvrnn import model as model_
from neuromod.pvrnn import stepwise
from neuromod.pvrnn.data import Trials
from neuromod.pvrnn.encoder import encoded
from neuromod.pvrnn.energy import Data, encode, evaluate
from neuromod.pvrnn.latents import Adaptive, before, split
from neuromod.pvrnn.latents import start as start_potentials
from neuromod.pvrnn.model import PVRNN
from neuromod.pvrnn.objective import Objective

AdaptiveStart = Literal["zero", "prior", "normal"]
InitialStates = Literal["network", "trial"]


class Trainee(eqx.Module):
    """What is trained: weights, adaptive vectors, and the objective beside them."""

    network: PVRNN
    adaptive: Adaptive
    objective: Objective


class Loss(eqx.Module):
    """The free energy of all trials, or of a minibatch, with new noise.

    Parameters
    ----------
    n_batch
        Trials of a minibatch; None for all.
    """

    n_batch: int | None = eqx.field(static=True)

    def __call__(
        self, trainee: Trainee, key: Array, step: Array, data: Data
    ) -> tuple[Array, dict[str, Array]]:
        """Return the free energy, and its parts."""
        adaptive = trainee.adaptive
        if self.n_batch is not None:
            chosen = jax.random.permutation(key, adaptive.mean.shape[1])[: self.n_batch]
            data, adaptive = take(data, chosen), take(adaptive, chosen)
        adaptive = encoded(trainee.network, data, adaptive)
        noise = standard_normal(
            jax.random.fold_in(key, 1), adaptive.mean.shape, adaptive.mean.dtype
        )
        found, _ = evaluate(trainee.network, trainee.objective, adaptive, data, noise)
        parts = {"reconstruction": found.reconstruction, "divergence": found.divergence}
        return found.total, parts


def take(tree: Any, chosen: Array) -> Any:
    """Return some trials of `Data` or of `Adaptive` vectors."""

    def second(leaf: Array) -> Array:
        return jnp.take(leaf, chosen, axis=1)

    if isinstance(tree, Adaptive) and tree.initial is not None:
        own = jax.tree.map(lambda leaf: jnp.take(leaf, chosen, axis=0), tree.initial)
        return take(tree._replace(initial=None), chosen)._replace(initial=own)
    return jax.tree.map(second, tree)


def prepare(network: PVRNN, trials: Trials) -> Data:
    """Return trials as what a network should tell, without masks that hide nothing."""
    n_channels = len(trials.channels)
    if n_channels != network.n_channels:
        raise invalid(
            "data",
            f"{n_channels} channels",
            f"the {network.n_channels} of the network's heads",
            kind=ShapeError,
        )
    _require_tellable(network, trials)
    every = trials.observed | ~trials.valid[..., None]
    return encode(
        network,
        jnp.asarray(trials.values, jnp.result_type(float)),
        None if every.all() else jnp.asarray(trials.observed),
        None if trials.valid.all() else jnp.asarray(trials.valid),
    )


def _require_tellable(network: PVRNN, trials: Trials) -> None:
    for k, head in enumerate(network.heads):
        low, high = head.limits
        mine = trials.values[..., network.channel_heads == k]
        known = mine[trials.observed[..., network.channel_heads == k]]
        if known.size and not (low <= known.min() and known.max() <= high):
            raise invalid(
                "data",
                f"values from {known.min():g} to {known.max():g}",
                f"within {low:g} and {high:g}, which the head {head.name!r} can tell",
                "Scale and shift the channels.",
            )


class Beginning(NamedTuple):
    """Where training starts.

    Parameters
    ----------
    network
        A `PVRNN`, or a function that builds one from a random key.
    adaptive_start
        "zero", "prior" or "normal".
    initial_states
        Whose potentials before the first step are: of the "network" or of each "trial".
    """

    network: Any
    adaptive_start: AdaptiveStart = "zero"
    initial_states: InitialStates = "network"

    def trainee(self, objective: Objective, seed: int, trials: Trials) -> Trainee:
        """Return what is trained from a seed."""
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 0))
        built = self.network
        built = built if isinstance(built, PVRNN) else built(keys[0])
        if not isinstance(built, PVRNN):
            raise invalid("network", type(built).__name__, "a PVRNN")
        n_steps, n_trials = trials.valid.shape
        adaptive = self._adaptive(built, keys[1], n_steps, n_trials)
        if self.initial_states == "trial":
            adaptive = adaptive._replace(initial=start_potentials(built, n_trials))
        return Trainee(built, adaptive, objective.complete(built))

    def _adaptive(
        self, network: PVRNN, key: Any, n_steps: int, n_trials: int
    ) -> Adaptive:
        shape = 2, n_steps, n_trials, network.n_latents
        if self.adaptive_start == "normal":
            return Adaptive(*jax.random.normal(key, shape))
        if self.adaptive_start == "prior":
            return at_prior(network, key, n_steps, n_trials)
        return Adaptive(*jnp.zeros(shape))


def at_prior(network: PVRNN, key: Any, n_steps: int, n_trials: int) -> Adaptive:
    """Return adaptive vectors at the prior, along a run that is drawn from it."""
    shape = n_steps, n_trials, network.n_latents
    noise = standard_normal(key, shape)
    potentials = start_potentials(network, n_trials)
    activities, prior, _, _ = stepwise.generate(network, noise, potentials)
    past = before(activities, potentials)
    sizes = [layer.n_latents for layer in network.layers]
    wanted = zip(
        split(jnp.arctanh(prior.mean), sizes),
        split(jnp.log(prior.deviation), sizes),
        strict=True,
    )
    found = []
    for (mean, log), layer, d in zip(wanted, network.layers, past, strict=True):
        if layer.posterior is not None:
            mean = mean - layer.posterior.mean(d)
            log = log - layer.posterior.log_deviation(d)
        found.append((mean, log))
    means, logs = zip(*found, strict=True)
    return Adaptive(jnp.concatenate(means, axis=-1), jnp.concatenate(logs, axis=-1))


def trained(trainee: Trainee) -> Trainee:
    """Return what of it is trained, as a pytree of truth values."""
    held = jax.tree.map(lambda _: False, trainee.objective)
    free = jax.tree.map(lambda _: True, trainee.adaptive)
    return Trainee(model_.trainable(trainee.network), free, held)
