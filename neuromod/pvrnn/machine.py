"""Machines that go from symbol to symbol by chance: data with a known structure.

A network of the right meta-prior should make up sequences with the machine's own
probabilities; one that trusts its prior too much makes chance into an average, and one
that trusts its data too much learns each sequence by heart (Ahmadi & Tani 2019).
"""

from typing import NamedTuple

import numpy as np
import xarray as xr

from neuromod.core.dimensions import require_integer, require_non_negative
from neuromod.core.errors import ShapeError, invalid


class Machine(NamedTuple):
    """A Markov chain whose states are shown as numbers.

    Parameters
    ----------
    symbols : (state,)
        The number that a state is shown as.
    transition_matrix : (state, state_to)
        Probabilities of the state after each state.
    """

    symbols: np.ndarray
    transition_matrix: np.ndarray

    @property
    def stationary(self) -> np.ndarray:
        """How often each state is visited in the long run (state,)."""
        n = len(self.symbols)
        equations = np.vstack([self.transition_matrix.T - np.eye(n), np.ones(n)])
        return np.linalg.lstsq(equations, np.append(np.zeros(n), 1), rcond=None)[0]


def machine(symbols: object, transition_matrix: object) -> Machine:
    """Make a machine, or say what is wrong with it.

    Parameters
    ----------
    symbols : (state,)
        Numbers, all unlike.
    transition_matrix : (state, state_to)
        Rows that add up to 1.
    """
    values, matrix = (np.asarray(a, float) for a in (symbols, transition_matrix))
    if values.ndim != 1 or len(np.unique(values)) < max(len(values), 2):
        raise invalid("symbols", f"{symbols}", "at least two numbers, all unlike")
    if matrix.shape != (len(values),) * 2:
        expected = f"{(len(values),) * 2}"
        got = f"shape {matrix.shape}"
        raise invalid("transition_matrix", got, expected, kind=ShapeError)
    if (matrix < 0).any() or not np.allclose(matrix.sum(axis=1), 1):
        raise invalid(
            "transition_matrix", f"{matrix.tolist()}", "rows that add up to 1"
        )
    return Machine(values, matrix)


def branching_cycle(chance: float = 0.3) -> Machine:
    """Return the cycle 0.8, then -0.8 with some chance or else 0, then 0.4.

    Parameters
    ----------
    chance
        Of -0.8.

    Examples
    --------
    >>> branching_cycle().stationary.round(3).tolist()
    [0.333, 0.1, 0.233, 0.333]
    """
    rows = [[0, chance, 1 - chance, 0], [0, 0, 0, 1], [0, 0, 0, 1], [1, 0, 0, 0]]
    return machine([0.8, -0.8, 0.0, 0.4], rows)


def simulate_machine(
    source: Machine,
    n_trials: int,
    n_steps: int,
    *,
    seed: int,
    noise: float = 0.0,
    start: int | None = None,
) -> xr.DataArray:
    """Let a machine run.

    Parameters
    ----------
    source
        The machine.
    n_trials, n_steps
        How often, and how long.
    seed
        Of chance and noise.
    noise
        Standard deviation of what is added to the symbols.
    start
        State of the first step; drawn from the stationary law if omitted.

    Returns
    -------
    xarray.DataArray
        (trial, time, channel) with one channel, and the true ``state`` (trial, time).

    Examples
    --------
    >>> sequences = simulate_machine(branching_cycle(), 2, 6, seed=0, start=0)
    >>> sequences[0, [0, 2, 3], 0].values
    array([0.8, 0.4, 0.8])
    """
    n_trials = require_integer(n_trials, "n_trials")
    n_steps = require_integer(n_steps, "n_steps")
    noise = float(require_non_negative(noise, "noise"))
    rng = np.random.default_rng(require_integer(seed, "seed", minimum=0))
    n_states = len(source.symbols)
    states = np.empty((n_trials, n_steps), int)
    if start is None:
        states[:, 0] = rng.choice(n_states, n_trials, p=source.stationary.clip(0))
    else:
        states[:, 0] = require_integer(start, "start", minimum=0)
    bounds = np.cumsum(source.transition_matrix, axis=1)
    for t in range(1, n_steps):
        drawn = rng.random((n_trials, 1))
        later = (drawn >= bounds[states[:, t - 1]]).sum(axis=1)
        states[:, t] = np.minimum(later, n_states - 1)
    values = source.symbols[states] + noise * rng.normal(size=states.shape)
    coords = {
        "trial": np.arange(n_trials),
        "time": np.arange(n_steps, dtype=float),
        "state": (("trial", "time"), states),
    }
    return xr.DataArray(values[..., None], coords, ("trial", "time", "channel"))
