"""Error regression: adaptive vectors follow the gradient while all weights stay.

It explains new data by a network that is not changed. The gradient goes to the adaptive
vectors alone, so that no gradient of a weight is ever computed.
"""

from typing import Any, NamedTuple

import jax
import optax
from jaxtyping import Array, Float

from neuromod import kernels
from neuromod.pvrnn.energy import Data, evaluate
from neuromod.pvrnn.latents import Adaptive
from neuromod.pvrnn.model import PVRNN
from neuromod.pvrnn.objective import Objective


class Regressed(NamedTuple):
    """What a regression has led to.

    Parameters
    ----------
    adaptive
        The adaptive vectors.
    memory
        What the optimiser remembers.
    loss : (iteration,)
        The free energy before every update.
    """

    adaptive: Adaptive
    memory: Any
    loss: Array


def regress(
    network: PVRNN,
    objective: Objective,
    adaptive: Adaptive,
    data: Data,
    noise: Float[Array, "iteration *sample time trial latent"],
    optimiser: optax.GradientTransformation,
    *,
    potentials: Any = None,
    starts: Any = True,
    memory: Any = None,
) -> Regressed:
    """Fit adaptive vectors to data.

    Parameters
    ----------
    network, objective
        What is not changed, and what is descended.
    adaptive
        Where to start.
    data
        What the network should tell.
    noise : (iteration, time, trial, latent) or (iteration, sample, time, trial, latent)
        Of every iteration; with a further axis (sample) before time, the gradient is
        that of the mean over samples.
    optimiser
        Any of optax.

    Other Parameters
    ----------------
    potentials, starts
        As of `neuromod.pvrnn.inference.run`.
    memory
        What the optimiser remembers from before; None for nothing.
    """
    begin: Any = adaptive
    memory = optimiser.init(begin) if memory is None else memory

    def loss(adaptive: Adaptive, eps: Array) -> Array:
        if eps.ndim == 4:
            return jax.vmap(lambda e: loss(adaptive, e))(eps).mean()
        found = evaluate(
            network, objective, adaptive, data, eps, potentials, starts=starts
        )
        return found[0].total

    def advance(carry: Any, eps: Array) -> tuple[Any, Array]:
        adaptive, memory = carry
        value, gradient = jax.value_and_grad(loss)(adaptive, eps)
        updates, memory = optimiser.update(gradient, memory, adaptive)
        return (optax.apply_updates(adaptive, updates), memory), value

    (adaptive, memory), values, _ = kernels.scan(
        advance, (begin, memory), noise, checkpoint=None
    )
    return Regressed(adaptive, memory, values)
