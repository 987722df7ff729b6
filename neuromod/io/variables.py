"""Named values from any container, found under the spellings that people use."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from neuromod.core.errors import invalid
from neuromod.io.reading import named, numbers


class Variables(Mapping[str, Any]):
    """Named values, found without regard to capitals and underscores."""

    def __init__(self, values: Mapping[str, Any]):
        self._values = values
        self._names = {spelt(name): name for name in values}
        # A file that reads its variables one by one knows which are worth a look.
        self.nested: Iterable[str] = getattr(values, "nested", values)

    def __getitem__(self, name: str) -> Any:
        return self._values[self._names[spelt(name)]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def first(self, names: Iterable[str]) -> Any:
        """Return the value of the first of these names that exists, or None."""
        return next((self[name] for name in names if name in self._names), None)

    def number(self, names: Iterable[str]) -> float | None:
        """Return the first of these names that exists as a number, or None."""
        value = self.first(names)
        if value is None:
            return None
        values = numbers(np.atleast_1d(np.asarray(value)), next(iter(names)))
        if len(values) != 1:
            raise invalid(next(iter(names)), f"{len(values)} values", "one number")
        return float(values[0])


def spelt(name: str) -> str:
    """Return a name as it is compared: no capitals, no underscores.

    Examples
    --------
    >>> spelt("spikeTimes") == spelt("spike_times")
    True
    """
    return str(name).lower().replace("_", "")


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
