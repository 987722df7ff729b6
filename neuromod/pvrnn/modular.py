"""Senses side by side under an association layer, and one cause for a whole trial.

The executive layer has latents alone, the same distribution at all steps of a trial: it
holds the context. It drives the highest association layer, whose lowest one drives the
highest layer of every sense; within a tower, a layer gets the latents of the one above.
All of that is of the same step, and nothing goes upward: data act through the adaptive
vectors. (Idei, Ohata, Yamashita, Ogata & Tani, Scientific Reports 2022.)
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from neuromod.core.dimensions import require_integer
from neuromod.core.errors import ShapeError, invalid
from neuromod.pvrnn.layers import Connection, LatentLayer
from neuromod.pvrnn.model import PVRNN, Drawer


class Tower(NamedTuple):
    """Layers on top of each other, from the lowest to the highest.

    Parameters
    ----------
    n_units, n_latents, time_constants
        Of every layer; a time constant is a number, or one for each unit (steps).
    """

    n_units: Sequence[int]
    n_latents: Sequence[int]
    time_constants: Sequence[Any]


def half_slow(time_constant: float, n_units: int) -> np.ndarray:
    """Return time constants of which the first half, rounded down, is doubled."""
    constants = np.full(n_units, float(time_constant))
    constants[: n_units // 2] *= 2
    return constants


def modular(
    key: PRNGKeyArray,
    senses: Mapping[str, tuple[Tower, Any]],
    association: Tower,
    *,
    n_executive_latents: int = 1,
    bias: Literal["trained", "fixed"] = "fixed",
    prior_bias: bool = False,
) -> PVRNN:
    """Build senses, association layers and an executive layer with random weights.

    Parameters
    ----------
    key
        Random key.
    senses
        Of every sense by its name the layers, and a function ``head(key, n_units,
        source)`` that builds its head, such as ``tanh_head(3, "joints", bias=False)``.
    association
        The layers above all senses.

    Other Parameters
    ----------------
    n_executive_latents
        Latents of the executive layer.
    bias, prior_bias
        As of `neuromod.pvrnn.hierarchy`.

    Examples
    --------
    >>> from neuromod.pvrnn import tanh_head
    >>> tower = Tower([15], [1], [2])
    >>> network = modular(
    ...     jax.random.key(0),
    ...     {"touch": (tower, tanh_head(3, "touch")), "sight": (tower, tanh_head(2))},
    ...     Tower([15], [3], [2]),
    ... )
    >>> [layer.name for layer in network.layers]
    ['touch_0', 'sight_0', 'association_0', 'executive']
    """
    if not senses:
        raise invalid("senses", "none", "at least one")
    n_executive = require_integer(n_executive_latents, "n_executive_latents")
    top = association.n_latents, association.n_units
    keys = iter(jax.random.split(key, 2 * len(senses) + 1))
    layers, connections, heads = [], [], []
    for name, (tower, make) in senses.items():
        above = "association_0", "activity", top[1][0]
        build = _tower(next(keys), name, tower, above, bias, prior_bias)
        layers += build[0]
        connections += build[1]
        heads.append(make(next(keys), tower.n_units[0], source=f"{name}_0"))
    above = "executive", "latent", n_executive
    build = _tower(next(keys), "association", association, above, bias, prior_bias)
    executive = LatentLayer("executive", n_executive, is_constant=True)
    return PVRNN(
        (*layers, *build[0], executive), (*connections, *build[1]), tuple(heads)
    )


def _tower(
    key: PRNGKeyArray,
    name: str,
    tower: Tower,
    above: tuple[str, Any, int],
    bias: str,
    prior_bias: bool,
) -> tuple[list[LatentLayer], list[Connection]]:
    if len({len(part) for part in tower}) != 1:
        sizes = [len(part) for part in tower]
        raise invalid(name, f"{sizes} layers", "as many of each", kind=ShapeError)
    draw = Drawer(key)
    layers, connections = [], []
    for i, (n_units, n_latents, constant) in enumerate(zip(*tower, strict=True)):
        source, carries, n = above
        if i + 1 < len(tower.n_units):
            source, carries, n = f"{name}_{i + 1}", "latent", tower.n_latents[i + 1]
        fan_in = n_units + n_latents + n
        layer = draw.layer(
            f"{name}_{i}",
            n_units,
            n_latents,
            constant,
            fan_in=fan_in,
            posterior="adaptive",
            bias=bias,
            prior_bias=prior_bias,
        )
        weight = draw.matrix(n_units, n, fan_in)
        layers.append(layer)
        connections.append(Connection(weight, source, f"{name}_{i}", carries, 0))
    return layers, connections
