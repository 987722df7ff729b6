"""Named values from any container, found under the spellings that people use.

The names that mean the same stand here once, for every format, without capitals and
underscores. A unit of time at the end of a name (``_s``, ``(ms)``) is no part of it:
it says what the numbers are.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from neuromod.core.errors import invalid
from neuromod.core.sequences import BOUNDARIES
from neuromod.io.reading import TICKS_PER_SECOND, named, numbers

SPIKE_TIMES = ("spiketimes", "spiketime")
TIMES = (*SPIKE_TIMES, "time", "times", "t", "timestamp", "timestamps")
SPIKE_TICKS = ("spiketick", "spiketicks", "spikesamples", "spikesample")
TICKS = (*SPIKE_TICKS, "tick", "sample", "samples")
INDICES = ("spikeunit", "spikeunits", "spikeneuron", "spikeneurons")
CLUSTERS = ("spikeclusters", "spikecluster", "spikelabels")
UNITS = (
    *INDICES, *CLUSTERS, "unit", "units", "neuron", "neurons", "unitid", "unitids",
    "cluster", "clusters", "clusterid", "clusterids",
)  # fmt: skip
LABELS = ("unitlabels", "unitnames", "unitids", "unitlabel", "unitname", "unitid")
ALONG_TIME = (*BOUNDARIES, "block")
_UNIT = re.compile(r"(.+?)(?:_(s|ms|us)|[\s_]*[(\[](s|ms|us)[)\]])", re.IGNORECASE)


class Variables(Mapping[str, Any]):
    """Named values, found without regard to capitals and underscores."""

    def __init__(self, values: Mapping[str, Any]):
        self._values = values
        self._names = {spelt(split_unit(name)[0]): name for name in values}
        self._names |= {spelt(name): name for name in values}  # the exact name wins
        # A file that reads its variables one by one knows which are worth a look.
        self.nested: Iterable[str] = getattr(values, "nested", values)

    def __getitem__(self, name: str) -> Any:
        return self._values[self._names[spelt(name)]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def name(self, names: Iterable[str]) -> str | None:
        """Return the first of these names that exists, as it is written."""
        return next((self._names[n] for n in names if n in self._names), None)

    def first(self, names: Iterable[str]) -> Any:
        """Return the value of the first of these names that exists, or None."""
        return next((self[name] for name in names if name in self._names), None)

    def without(self, name: str) -> "Variables":
        """Return the others."""
        return Variables({k: self[k] for k in self if k != name})

    def number(self, names: Iterable[str]) -> float | None:
        """Return the first of these names that exists as a number, or None.

        A name that states a unit of time gives seconds.
        """
        name = self.name(names)
        if name is None:
            return None
        values = numbers(np.atleast_1d(np.asarray(self[name])), name)
        if len(values) != 1:
            raise invalid(name, f"{len(values)} values", "one number")
        return float(in_seconds(values, name)[0])


def spelt(name: str) -> str:
    """Return a name as it is compared: no capitals, underscores or spaces.

    Examples
    --------
    >>> spelt("spikeTimes") == spelt("spike_times")
    True
    """
    return str(name).lower().replace("_", "").replace(" ", "")


def split_unit(name: str) -> tuple[str, str | None]:
    """Part a name from the unit of time that it ends in.

    Examples
    --------
    >>> split_unit("spike_times_ms"), split_unit("Time (s)"), split_unit("units")
    (('spike_times', 'ms'), ('Time', 's'), ('units', None))
    """
    found = _UNIT.fullmatch(str(name).strip())
    return (found[1], (found[2] or found[3]).lower()) if found else (str(name), None)


def in_seconds(values: np.ndarray, name: str) -> np.ndarray:
    """Return times in seconds whose name may state another unit."""
    return values / TICKS_PER_SECOND[split_unit(name)[1] or "s"]


def plain(values: Any) -> np.ndarray:
    """Return an array of numbers or text: objects become text."""
    if isinstance(values, list):
        values = [_single(value) for value in values]
    array = np.asarray(values)
    if array.dtype.kind in "biufU":
        return array
    return np.array([named(value) for value in array.reshape(-1)], dtype=str)


def _single(value: Any) -> Any:
    """Return what is in a cell that holds one thing."""
    array = np.asarray(value, dtype=object)
    if array.size != 1:
        raise invalid("labels", f"{array.size} values in one cell", "one label in each")
    return array.reshape(-1)[0]


def is_nested(value: Any) -> bool:
    """Tell a list of several things (a cell array) from a list of numbers."""
    return isinstance(value, list) and not all(np.isscalar(entry) for entry in value)
