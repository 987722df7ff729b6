"""Published settings by name: architecture, objective and learning rate.

| name | units | latents | time constants | posterior | head |
|---|---|---|---|---|---|
| `sdd` (Soda et al. 2023) | 20, 10, 10 | 2, 2, 2 | 2, 8, 32 | activity | softmax code |
| `sa` (Idei et al. 2022) | 15 + 15, 15 | 1 + 1, 3, 1 | 2, half 4 | adaptive | tanh |
| `glean` (GLean 2020) | 20, 10 | 2, 1 | 4, 8 | adaptive | softmax code |
| `tglean` (T-GLean 2022) | 60, 40, 20 | 6, 4, 2 | 2, 4, 8 | adaptive | softmax code |

Published weights were drawn in other ways; these are drawn as all networks here.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import PRNGKeyArray

from neuromod.core.errors import choice
from neuromod.pvrnn.heads import softmax_head, tanh_head
from neuromod.pvrnn.model import PVRNN, hierarchy
from neuromod.pvrnn.modular import Tower, half_slow, modular
from neuromod.pvrnn.objective import Objective


class Preset(NamedTuple):
    """A published setting.

    Parameters
    ----------
    build
        Builds the network from a random key.
    objective
        What it descends.
    learning_rate
        Of weights and adaptive vectors.
    adaptive_start
        Where adaptive vectors start.
    """

    build: Callable[[PRNGKeyArray], PVRNN]
    objective: Objective
    learning_rate: float = 1e-3
    adaptive_start: str = "zero"


def _sdd(n_channels: int) -> Preset:
    head = softmax_head(n_channels, reference=np.linspace(-1, 1, 10), width=0.05)
    sizes = [20, 10, 10], [2, 2, 2], [2, 8, 32]
    build = partial(hierarchy, n_units=sizes[0], n_latents=sizes[1])
    build = partial(build, time_constants=sizes[2], heads=[head])
    return Preset(build, Objective(1.0, 0.01, constants="sdd"))


def _sa(n_channels: Sequence[int]) -> Preset:
    tower = Tower([15], [1], [half_slow(2, 15)])
    senses = {
        f"sense_{k}": (tower, tanh_head(n, f"sense_{k}", bias=False))
        for k, n in enumerate(np.atleast_1d(n_channels).tolist())
    }
    association = Tower([15], [3], [half_slow(2, 15)])
    build = partial(modular, senses=senses, association=association)
    later = [0.005] * (len(senses) + 1)
    objective = Objective([*later, 0.0], 0.005, constants="sa")
    return Preset(build, objective, adaptive_start="prior")


def _glean(n_channels: int) -> Preset:
    head = softmax_head(n_channels, reference=np.linspace(0, 1, 10), width=0.005)
    build = partial(hierarchy, n_units=[20, 10], n_latents=[2, 1])
    build = partial(build, time_constants=[4, 8], heads=[head])
    build = partial(build, posterior="adaptive", bottom_up=False)
    return Preset(build, Objective([0.01, 0.005], 0.01, constants="glean"))


def _tglean(n_channels: int) -> Preset:
    head = softmax_head(n_channels, reference=np.linspace(-0.1, 1.1, 10), width=0.05)
    build = partial(hierarchy, n_units=[60, 40, 20], n_latents=[6, 4, 2])
    build = partial(build, time_constants=[2, 4, 8], heads=[head])
    build = partial(build, posterior="adaptive", top_down="same", bottom_up=False)
    return Preset(build, Objective([1e-4, 5e-4, 1e-3], 1.0, constants="tglean"))


PRESETS = {"sdd": _sdd, "sa": _sa, "glean": _glean, "tglean": _tglean}


def preset(name: str, n_channels: Any) -> Preset:
    """Return a published setting.

    Parameters
    ----------
    name
        "sdd", "sa", "glean" or "tglean".
    n_channels
        Number of channels; of "sa" those of every sense.

    Examples
    --------
    >>> import jax
    >>> setting = preset("sa", [3, 2])
    >>> network = setting.build(jax.random.key(0))
    >>> network.n_latents, network.n_channels
    (6, 5)
    """
    return PRESETS[choice("name", name, PRESETS)](n_channels)
