"""What animals did: windows of recorded paths, drawn at random."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from neuromod.core.dimensions import require_finite, require_positive
from neuromod.core.errors import ShapeError, invalid
from neuromod.reactivation.motion import Bounds, Motion, Path, as_array


class Recording(Motion):
    """Recorded paths.

    Parameters
    ----------
    positions : (time, space)
        Positions (m) of all recordings, one after another.
    lengths
        Number of positions of each recording.
    time_step
        Time from one to the next (s).
    arena
        The lowest and highest position of each axis (m).

    Raises
    ------
    InvalidInputError
        If a position is not finite or outside the arena, or lengths do not add up.
    """

    positions: Any = eqx.field(converter=as_array)
    lengths: tuple[int, ...] = eqx.field(static=True)
    time_step: Any
    arena: Any

    def __check_init__(self) -> None:
        if self.positions.ndim != 2:
            got = f"shape {self.positions.shape}"
            raise invalid("positions", got, "(time, space)", kind=ShapeError)
        if sum(self.lengths) != len(self.positions):
            got, expected = f"{sum(self.lengths)} in all", f"{len(self.positions)}"
            raise invalid("lengths", got, expected, kind=ShapeError)
        require_positive(self.time_step, "time_step", "s")
        positions = np.asarray(self.positions)
        require_finite(positions, "positions")
        _require_inside(positions, self.bounds)

    @property
    def bounds(self) -> Bounds:
        """The lowest and highest position of each axis (m)."""
        return tuple((float(low), float(high)) for low, high in self.arena)

    @property
    def n_inputs(self) -> int:
        """Number of inputs per step."""
        return self.positions.shape[-1]

    @property
    def stationary_after(self) -> int:
        """0: windows begin at any time."""
        return 0

    def count_windows(self, n_steps: int) -> np.ndarray:
        """Return how many windows of ``n_steps`` steps each recording has, or raise."""
        lengths = np.array(self.lengths)
        if n_steps >= lengths.max():
            raise invalid(
                "n_steps",
                n_steps,
                f"at most {lengths.max() - 1}, the steps of the longest recording",
            )
        return np.maximum(lengths - n_steps, 0)

    def draw(self, key: PRNGKeyArray, n_trials: int, n_steps: int) -> Path:
        """Draw windows, each from one recording, all windows alike."""
        n_windows, lengths = self.count_windows(n_steps), np.array(self.lengths)
        ends, begins = np.cumsum(n_windows), np.cumsum(lengths) - lengths
        window = jax.random.randint(key, (n_trials,), 0, int(ends[-1]))
        which = jnp.searchsorted(jnp.asarray(ends), window, side="right")
        first = window + jnp.asarray(begins - ends + n_windows)[which]
        times = jnp.add.outer(first, jnp.arange(n_steps + 1, dtype=first.dtype))
        rows = jnp.asarray(self.positions)[times]
        return Path(rows[:, 0], jnp.diff(rows, axis=1), rows[:, 1:])


def _require_inside(positions: np.ndarray, bounds: Bounds) -> None:
    if len(bounds) != positions.shape[1]:
        got, expected = f"{len(bounds)} axes", f"the {positions.shape[1]} of positions"
        raise invalid("arena", got, expected, kind=ShapeError)
    ends = positions.min(axis=0).tolist(), positions.max(axis=0).tolist()
    for (low, high), lowest, highest in zip(bounds, *ends, strict=True):
        if not low <= lowest <= highest <= high:
            raise invalid(
                "arena",
                f"[{low:.4g}, {high:.4g}] m",
                f"at least [{lowest:.4g}, {highest:.4g}] m, where the animal was",
                "Enlarge the arena, crop the recording, or convert its unit.",
            )
