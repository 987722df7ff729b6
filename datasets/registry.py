"""Which recordings there are: one table per set in ``registry.toml``.

A set is known here by its name, found and checked by `neuromod.datasets.store`, and
read by the loader that its entry names.
"""

import importlib
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from neuromod.core.errors import choice

if TYPE_CHECKING:
    import xarray as xr

UNVERIFIED = "unverified"


@dataclass(frozen=True, repr=False)
class Entry:
    """One named data set; the fields are explained in ``registry.toml``."""

    name: str
    title: str
    what: str
    family: tuple[str, ...]
    modality: str
    basename: str
    sha256: str
    source: str
    licence: str
    citation: str
    loader: str
    twin: str
    bytes: int | None = None
    url: str = ""
    hash_source: str = ""
    exclude: tuple[str, ...] = ()
    behaviour: tuple[str, ...] = ()
    quality: tuple[str, ...] = ()
    blocks: tuple[tuple[str, float, float], ...] = ()

    @property
    def hash_text(self) -> str:
        """The published SHA-256 with its source, or that there is none."""
        if self.sha256 == UNVERIFIED:
            return "unverified: nobody published one; the first copy's is recorded"
        return f"{self.sha256} (published in {self.hash_source})"

    def __repr__(self) -> str:
        size = f"{self.bytes / 1e6:.1f} MB" if self.bytes else "size unknown"
        lines = {
            "": f"{self.title}\n{self.what}",
            "file": f"{self.basename} ({size})",
            "url": self.url or "none: there is no public download",
            "sha256": self.hash_text,
            "source": self.source,
            "licence": self.licence,
            "citation": self.citation,
            "beware": "\n            ".join(self.quality),
            "load": f"neuromod.datasets.load({self.name!r})",
            "twin": f"neuromod.datasets.{self.twin.partition(':')[2]}(seed=0)",
        }
        rows = (f"{k:10}  {v}" if k else v for k, v in lines.items() if v)
        return "\n".join(rows)


@cache
def entries() -> dict[str, Entry]:
    """Read the registry: every entry by its name."""
    text = files("neuromod.datasets").joinpath("registry.toml").read_text("utf-8")
    tables = tomllib.loads(text)
    return {name: Entry(name=name, **_frozen(t)) for name, t in tables.items()}


def _frozen(value: Any) -> Any:
    """Turn lists into tuples, so that a shared entry cannot be changed."""
    if isinstance(value, dict):
        return {k: _frozen(v) for k, v in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def names() -> list[str]:
    """Name the data sets that `load` knows.

    Examples
    --------
    >>> names()[:2]
    ['rat_ca1_wmaze', 'rat_ca1_linear_track']
    """
    return list(entries())


def describe(name: str) -> Entry:
    """Tell what a data set is, where it comes from and under which licence.

    Parameters
    ----------
    name
        One of `list`.

    Returns
    -------
    Entry
        Prints as a readable text; its fields hold the same as values.

    Raises
    ------
    InvalidInputError
        If there is no such set; the nearest name is given.

    Examples
    --------
    >>> describe("rat_ca1_wmaze").licence
    'MIT, (c) 2017 nelpy'
    """
    return entries()[choice("name", name, entries())]


def load(name: str, /, *, download: bool = True, **options: Any) -> "xr.DataTree":
    """Load a data set by its name, downloading it if it is not here.

    Parameters
    ----------
    name
        One of `list`.
    download
        Whether the network may be used.
    **options
        What the set's own loader takes besides, such as ``bin_size`` and ``exclude``
        of `load_spikes`.

    Returns
    -------
    xarray.DataTree
        ``recording``, with the same variables and dimensions as from the simulated
        twin, and ``behaviour`` where it was recorded beside. Licence and citation are
        in ``attrs``.

    Raises
    ------
    DatasetUnavailableError
        If it is not on this machine and cannot be downloaded.
    """
    return function(describe(name).loader)(name, download=download, **options)


def function(address: str) -> Callable[..., Any]:
    """Import the function at ``module:function``, as the registry writes it."""
    module, _, attribute = address.partition(":")
    return getattr(importlib.import_module(module), attribute)


def attributes(entry: Entry) -> dict[str, str]:
    """Return what a loaded recording carries of its origin."""
    return {
        "title": entry.title,
        "source": entry.source,
        "licence": entry.licence,
        "citation": entry.citation,
        "quality": "; ".join(entry.quality),
    }
