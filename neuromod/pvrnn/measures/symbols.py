r"""What a network makes up, read as symbols of a machine.

A value is the symbol that it is nearest to; with a tolerance, one that is farther than
that from all symbols is none. A network that blurs two branches makes up values between
them, which are told by the tolerance alone: look at both.

With $p$ the probability of a block of $n$ symbols in the machine, and $\hat p$ how
often it is made up, `block_divergence` is

$$
\sum_{s_1 \ldots s_n} p(s_1 \ldots s_n) \log \frac{p(s_1 \ldots s_n)}
{\hat p(s_1 \ldots s_n)} .
$$
"""

import itertools

import numpy as np
import xarray as xr

from neuromod.core.dimensions import require_dims, require_integer, require_positive
from neuromod.core.errors import ShapeError, invalid
from neuromod.pvrnn.machine import Machine

NONE = -1  # a value that is no symbol
SMOOTHING = 0.5  # added to the counts of the machine's blocks


def read_symbols(
    values: xr.DataArray, machine: Machine, tolerance: float | None = None
) -> xr.DataArray:
    """Return the state of a machine that every value shows.

    Parameters
    ----------
    values : (trial, time) or (trial, time, channel)
        With one channel.
    machine
        Whose symbols.
    tolerance
        How far a value may be from its symbol; as far as it is if omitted.

    Returns
    -------
    xarray.DataArray
        (trial, time), -1 where a value is no symbol, or missing.

    Examples
    --------
    >>> from neuromod.pvrnn.machine import branching_cycle
    >>> values = xr.DataArray([[0.75, -0.24, 0.42]], dims=("trial", "time"))
    >>> read_symbols(values, branching_cycle()).values
    array([[0, 2, 3]])
    >>> read_symbols(values, branching_cycle(), tolerance=0.2).values
    array([[ 0, -1,  3]])
    """
    if "channel" in values.dims:
        if values.sizes["channel"] != 1:
            got = f"{values.sizes['channel']} channels"
            raise invalid("values", got, "one", kind=ShapeError)
        values = values.isel(channel=0)
    values = require_dims(values, ("trial", "time"), "values")
    if tolerance is not None:
        require_positive(tolerance, "tolerance")
    distance = np.abs(values.values[..., None] - machine.symbols)
    nearest = distance.argmin(axis=-1)
    farthest = np.inf if tolerance is None else tolerance
    near = np.nan_to_num(distance.min(axis=-1), nan=np.inf) < farthest
    coords = {k: v for k, v in values.coords.items() if k in ("trial", "time")}
    return xr.DataArray(np.where(near, nearest, NONE), coords, ("trial", "time"))


def legal_fraction(
    values: xr.DataArray,
    machine: Machine,
    *,
    length: int = 3,
    tolerance: float | None = None,
    burn_in: int = 0,
) -> float:
    """Return the share of runs that the machine could have made.

    Parameters
    ----------
    values : (trial, time) or (trial, time, channel)
        What was made up.
    machine
        The machine.
    length
        Steps of a run, such as one round of a cycle.
    tolerance
        As of `read_symbols`.
    burn_in
        First steps that are left out.
    """
    length = require_integer(length, "length", minimum=2)
    read = read_symbols(values, machine, tolerance).values[:, burn_in:]
    if read.shape[1] < length:
        expected = f"at least {length} after the burn-in"
        raise invalid("values", f"{read.shape[1]} steps", expected)
    possible = machine.transition_matrix > 0
    legal = (read[:, :-1] >= 0) & (read[:, 1:] >= 0)
    legal &= possible[read[:, :-1], read[:, 1:]]
    runs = np.lib.stride_tricks.sliding_window_view(legal, length - 1, axis=1)
    return float(runs.all(axis=-1).mean())


def transition_matrix(
    values: xr.DataArray,
    machine: Machine,
    *,
    tolerance: float | None = None,
    burn_in: int = 0,
) -> xr.DataArray:
    """Return how often symbols follow each other.

    Parameters
    ----------
    values, machine, tolerance, burn_in
        As of `legal_fraction`.

    Returns
    -------
    xarray.DataArray
        (state, state_to); rows add up to 1, and are NaN of symbols that never occur.
    """
    read = read_symbols(values, machine, tolerance).values[:, burn_in:]
    both = (read[:, :-1] >= 0) & (read[:, 1:] >= 0)
    counts = np.zeros((len(machine.symbols),) * 2)
    np.add.at(counts, (read[:, :-1][both], read[:, 1:][both]), 1)
    totals = counts.sum(axis=1, keepdims=True)
    found = np.divide(
        counts, totals, out=np.full_like(counts, np.nan), where=totals > 0
    )
    return xr.DataArray(found, dims=("state", "state_to"))


def block_divergence(
    values: xr.DataArray,
    machine: Machine,
    *,
    n: int = 2,
    tolerance: float | None = None,
    burn_in: int = 0,
) -> float:
    """Return how far the blocks of n symbols are from the machine's (nats).

    Parameters
    ----------
    values, machine, tolerance, burn_in
        As of `legal_fraction`.
    n
        Symbols of a block: 2 for transitions.

    Returns
    -------
    float
        0 only if all blocks are made up as often as the machine makes them. Counts of
        the machine's blocks are smoothed by a half, so that it is finite.
    """
    n = require_integer(n, "n")
    read = read_symbols(values, machine, tolerance).values[:, burn_in:]
    windows = np.lib.stride_tricks.sliding_window_view(read, n, axis=1)
    windows = windows.reshape(-1, n)
    found, counts = np.unique(windows, axis=0, return_counts=True)
    seen = {
        tuple(row): count for row, count in zip(found.tolist(), counts, strict=True)
    }
    truth = {
        block: p
        for block in itertools.product(range(len(machine.symbols)), repeat=n)
        if (p := _probability(machine, block)) > 0
    }
    total = len(windows) + SMOOTHING * len(truth)
    return float(
        sum(
            p * (np.log(p) - np.log((seen.get(block, 0) + SMOOTHING) / total))
            for block, p in truth.items()
        )
    )


def _probability(machine: Machine, block: tuple[int, ...]) -> float:
    steps = (machine.transition_matrix[i, j] for i, j in itertools.pairwise(block))
    return float(machine.stationary[block[0]] * np.prod(list(steps)))
