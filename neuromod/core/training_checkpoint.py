"""What a training goes on from: its last two states, in files of plain arrays.

Before a state is written, the file of the one before is renamed to PATH.previous. So a
process that is killed at any moment leaves a whole file, and if the newest one is ever
damaged, the other is there.
"""

import hashlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr

from neuromod.core import provenance, storage
from neuromod.core.errors import ChecksumError, invalid

VERSION = 1  # another version of the loop would go on to other bits


class Checkpoint:
    """The two files of one training.

    Parameters
    ----------
    path
        The newest one.
    asked
        The arguments of the training, as plain values.
    losses : () or (seed,)
        The loss at the start, by which another loss is told.
    """

    def __init__(self, path: Path, asked: dict[str, Any], losses: Any) -> None:
        self.path = path
        self.previous = path.with_name(f"{path.name}.previous")
        self.asked = {**asked, "version": VERSION}
        self.losses = np.asarray(losses)
        self.n_saved: int | None = None

    def write(self, state: Any, n_done: int) -> None:
        """Keep the state after some steps, unless it is the one in the file."""
        if n_done == self.n_saved:
            return
        arrays = {f"leaf{i}": _numbers(a) for i, a in enumerate(jax.tree.leaves(state))}
        variables = {
            name: ([f"{name}_axis{i}" for i in range(values.ndim)], values)
            for name, values in {**arrays, "losses": self.losses}.items()
        }
        groups = {"/": xr.Dataset(), "/training": xr.Dataset(variables)}
        if self.path.exists():
            os.replace(self.path, self.previous)
        storage.write(self.path, groups, {"training": {**self.asked, "done": n_done}})
        self.n_saved = n_done

    def read(self, like: Callable[[int], Any], n_steps: int) -> Any:
        """Return the state that was saved, or None.

        Parameters
        ----------
        like
            Gives a state of the structure, shapes and types after so many steps.
        n_steps
            The steps that are asked for now.

        Raises
        ------
        InvalidInputError
            If it is of other arguments, or of more steps.
        ChecksumError
            If it is damaged and the one before is not there.
        """
        path, (groups, notes) = self._newest()
        if not groups:
            return None
        told, dataset = notes.get("training", {}), groups.get("/training", {})
        self._require_same(told, dataset)
        if (n_done := told["done"]) > n_steps:
            expected = f"at least the {n_done} steps that {str(path)!r} has done"
            raise invalid("n_steps", n_steps, expected, "Or give another path.")
        if path != self.path:
            os.replace(path, self.path)
        self.n_saved = n_done
        try:
            return _filled(like(n_done), dataset)
        except (KeyError, ValueError) as error:
            raise storage.contradiction(path, error) from error

    def _newest(self) -> tuple[Path, Any]:
        """Return the newest undamaged file, and its groups and notes."""
        if self.path.exists():
            try:
                return self.path, storage.read(self.path)
            except ChecksumError as error:
                if not self.previous.exists():
                    raise
                message = f"{error} Until then, training goes on from {self.previous}."
                warnings.warn(message, stacklevel=4)
        if self.previous.exists():
            return self.previous, storage.read(self.previous)
        return self.path, ({}, {})

    def _require_same(self, told: Any, dataset: Any) -> None:
        other = [name for name, value in self.asked.items() if told.get(name) != value]
        if not other and not np.allclose(dataset["losses"], self.losses, rtol=1e-4):
            other = ["loss"]
        if other:
            raise invalid(
                "checkpoint",
                f"a file {str(self.path)!r} of another {', '.join(other)}",
                "one written with the same arguments",
                "Give those of then, or another path.",
            )


def digest(tree: Any) -> str:
    """Return what tells the arrays of a tree from others, with shapes and types."""
    return provenance.checksum([_numbers(leaf) for leaf in jax.tree.leaves(tree)])


def optimiser_digest(optimiser: optax.GradientTransformation, trained: Any) -> str:
    """Return what tells an optimiser from others: the program of its first update.

    Rates, schedules and bounds stand in it as numbers, wherever they were captured.
    """

    def first(gradient: Any) -> Any:
        return optimiser.update(gradient, optimiser.init(gradient), gradient)

    text = jax.jit(first).lower(trained).as_text()
    return hashlib.sha256(text.encode()).hexdigest()


def _filled(like: Any, dataset: xr.Dataset) -> Any:
    leaves, structure = jax.tree.flatten(like)
    found = [dataset[f"leaf{i}"].values for i in range(len(leaves))]
    for leaf, values in zip(map(_numbers, leaves), found, strict=True):
        if (leaf.shape, leaf.dtype) != (values.shape, values.dtype):
            raise ValueError(
                f"{values.dtype}{values.shape} for {leaf.dtype}{leaf.shape}"
            )
    return jax.tree.unflatten(structure, list(map(_as, leaves, found)))


def _numbers(leaf: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _as(leaf: Any, values: np.ndarray) -> jax.Array:
    if _is_key(leaf):
        return jax.random.wrap_key_data(
            jnp.asarray(values), impl=jax.random.key_impl(leaf)
        )
    return jnp.asarray(values)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
