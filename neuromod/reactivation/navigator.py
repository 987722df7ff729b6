"""A network and the task that it was made for: what is trained, and what sleeps."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from neuromod.core import seeds
from neuromod.core.errors import NotFittedError, invalid
from neuromod.core.result import Result
from neuromod.reactivation import inference
from neuromod.reactivation.inference import Carry, Run, begin
from neuromod.reactivation.network import Network


class Navigator(eqx.Module):
    """A network that finds its way in a task.

    Parameters
    ----------
    network
        `VanillaNetwork` or `GRUNetwork`.
    task
        `SpatialNavigation`, `HeadDirection` or any other task: where it moves, and by
        what code it is told and tells its place.
    """

    network: Network
    task: Any

    def __check_init__(self) -> None:
        cells = self.network.n_cells, self.task.code.n_cells
        inputs = self.network.n_inputs, self.task.n_inputs
        for name, (own, needed) in {"n_cells": cells, "n_inputs": inputs}.items():
            if own != needed:
                raise invalid(
                    "network", f"{name} {own}", f"{needed}, which the task has"
                )

    def awake(
        self, batch: Any, noise: Any = None, checkpoint: int | None = None
    ) -> Run:
        """Run the network over trials of the task; states are (time, trial, unit)."""
        carry = begin(self.network.encode(batch.code))
        inputs = jnp.swapaxes(batch.inputs, 0, 1)
        return inference.run(
            self.network, inputs, carry, noise=noise, checkpoint=checkpoint
        )

    def first_states(self, key: PRNGKeyArray, n_trials: int) -> Carry:
        """Return states that encode places of new trials."""
        return begin(self.network.encode(self.task.draw(key, n_trials, 1).code))


def trainable(navigator: Navigator) -> Navigator:
    """Return True for the weights and biases of the network, False for all else."""
    no = jax.tree.map(lambda _: False, navigator)
    layers = {
        name: jax.tree.map(lambda _: True, layer)
        for name, layer in navigator.network.layers().items()
    }
    return eqx.tree_at(
        lambda n: [getattr(n.network, name) for name in layers], no, [*layers.values()]
    )


def navigators_of(given: Navigator | Result) -> dict[Any, Navigator]:
    """Return the navigators of a trained Result by their seeds; one alone as None."""
    if isinstance(given, Result):
        labels = seeds.labels(given.data)
        if labels is not None:
            return {seed: given.sel(seed=seed).model for seed in labels}
    return {None: navigator_of(given)}


def navigator_of(given: Navigator | Result) -> Navigator:
    """Return the navigator of a trained Result, or the one that was given.

    Raises
    ------
    NotFittedError
        If it is neither.
    InvalidInputError
        If it is many, of several seeds.
    """
    model = given.model if isinstance(given, Result) else given
    if not isinstance(model, Navigator):
        raise NotFittedError(
            f"network: got {type(model).__name__}, expected what reactivation.train "
            "returns, or a Navigator(network, task)."
        )
    labels = seeds.labels(given.data) if isinstance(given, Result) else None
    if labels is not None:
        raise invalid(
            "network",
            f"networks of the seeds {labels}",
            "one network",
            f"Choose one: result.sel(seed={labels[0]}).",
        )
    return model
