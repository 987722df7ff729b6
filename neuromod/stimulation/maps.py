r"""Maps whose truth is known: simulated responses of an array of electrodes.

Cortical maps have hot spots that are longer one way than the other, some of them next
to sites that do nothing, and a floor. Their logarithm is drawn here from a Gaussian
process (Matern-3/2 or 5/2) with a length between 1 and 4 pitches, up to three times as
long along one side of the array as along the other, and a deviation between .7 and 1.4;
a floor is added, a share of the largest response. Single trials vary by .13 to .47 of
their mean, as those of a capuchin do at their best sites. On such maps the published
rules, with fixed and with fitted length scales, have about the scores that they have on
recorded ones; on sums of smooth bumps they have not.
"""

import jax
import jax.numpy as jnp
import numpy as np

from neuromod.core.dimensions import require_integer
from neuromod.stimulation.covariance import Component, of_component
from neuromod.stimulation.simulate import World, noisy_world

LENGTHS, STRETCH, DEVIATIONS = (1.0, 4.0), 3.0, (0.7, 1.4)
VARIATIONS = (0.13, 0.47)
FAMILIES = ("matern32", "matern52")


def array_of(n_rows: int, n_columns: int, *, corners: bool = True) -> np.ndarray:
    """Return the positions (electrode, space) of an array, row by row.

    Examples
    --------
    >>> array_of(10, 10, corners=False).shape
    (96, 2)
    """
    rows, columns = np.indices((n_rows, n_columns)).reshape(2, -1)
    outer = np.isin(rows, (0, n_rows - 1)) & np.isin(columns, (0, n_columns - 1))
    kept = np.ones(len(rows), bool) if corners else ~outer
    return np.stack([rows, columns], axis=1)[kept].astype(float)


def simulate_world(
    positions: np.ndarray, *, seed: int, floor: tuple[float, float] = (0.0, 0.2)
) -> World:
    """Simulate a map of an array of electrodes, and single trials of it.

    Parameters
    ----------
    positions : (electrode, space)
        Where the electrodes lie (pitches).
    seed
        Of everything drawn.
    floor
        Between which the floor lies, as a share of the largest response.

    Returns
    -------
    World
        With a largest mean of 1.

    Examples
    --------
    >>> world = simulate_world(array_of(8, 4), seed=0)
    >>> world.mean.shape, float(world.mean.max())
    ((32,), 1.0)
    """
    rng = np.random.default_rng(require_integer(seed, "seed", minimum=0))
    n_dimensions = positions.shape[1]
    length = np.exp(rng.uniform(*np.log(LENGTHS)))
    stretch = np.exp(rng.uniform(-0.5, 0.5, n_dimensions) * np.log(STRETCH))
    deviation, variation = rng.uniform(*DEVIATIONS), rng.uniform(*VARIATIONS)
    family = FAMILIES[rng.integers(len(FAMILIES))]
    with jax.enable_x64(True):
        lengths = jnp.asarray(length * stretch)
        part = Component(jnp.asarray(1.0), lengths, tuple(range(n_dimensions)), family)
        at = jnp.asarray(positions, float)
        between = np.asarray(of_component(part, at, at))
    factor = np.linalg.cholesky(between + 1e-8 * np.eye(len(positions)))
    height = np.exp(deviation * (factor @ rng.normal(size=len(positions))))
    mean = height / height.max() + rng.uniform(*floor)
    return noisy_world(mean / mean.max(), variation, seed=int(rng.integers(2**31)))
