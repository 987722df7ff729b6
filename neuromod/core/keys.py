"""What a computation depends on, as one short key.

A result may be taken from a store instead of computed again only if nothing that it
depends on has changed. The key is the SHA-256 of

- the function: its qualified name, its compiled code, its defaults, the variables it
  captured, the constants that it uses and the functions of its own module;
- the item: every value, type, label, name and attribute in it; of a path, the name
  and the content of the file or folder (a text that names a file is a path too);
- the settings, and neuromod's version.

Code of *other* modules that the function calls is not looked into (neuromod's stands
under its version): after a change there, use another store.
"""

import dataclasses
import functools
import hashlib
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import jax
import numpy as np
import pandas as pd
import xarray as xr
from pandas.util import hash_pandas_object

import neuromod
from neuromod.core import plain
from neuromod.core.errors import InvalidInputError, invalid
from neuromod.core.provenance import checksum
from neuromod.core.result import Result

HASH_ROWS: Any = hash_pandas_object  # pandas tells no type of it
Constant = (
    bool | int | float | complex | str | tuple | list | dict | np.ndarray | jax.Array
)


def keys(
    function: Callable[..., Any],
    items: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> dict[str, str]:
    """Return the key of ``function(item, **settings)`` for each item, in hexadecimal.

    Raises
    ------
    InvalidInputError
        If something cannot be reduced to its content, such as an open file; names it.

    Examples
    --------
    >>> found = keys(np.mean, {"a": [1, 2], "b": [1, 2], "c": [1.0, 2.0]}, {})
    >>> found["a"] == found["b"], found["a"] == found["c"]
    (True, False)
    """
    common = {
        "neuromod": neuromod.__version__,
        "function": _Reduction().function(function),
        "settings": _Reduction().pack(dict(settings), "config"),
    }
    return {
        label: _digest({**common, "item": _Reduction().pack(item, f"items[{label!r}]")})
        for label, item in items.items()
    }


def _digest(packed: Any) -> str:
    return hashlib.sha256(plain.dumps(packed).encode("ascii")).hexdigest()


class _Reduction:
    """Reduces values to plain ones that tell their content; each function once."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def pack(self, value: Any, where: str) -> Any:
        return plain.pack(value, where, self.special)

    def special(self, value: Any, where: str) -> Any:
        """Reduce what is not plain; None for what is, or cannot be reduced."""
        if isinstance(value, str | os.PathLike):
            return _path(Path(value)) if _is_path(value) else None
        if isinstance(value, np.ndarray | jax.Array):
            return {"$numbers": _numbers(value)}
        if isinstance(value, xr.DataTree):
            nodes = {p: n.to_dataset(inherit=False) for p, n in value.subtree_with_keys}
            return {"$tree": self.pack(nodes, where)}
        if isinstance(value, xr.DataArray | xr.Dataset):
            attributes = [dict(attrs) for attrs in _attributes(value)]
            packed = self.pack(attributes, f"{where}.attrs")
            name = str(getattr(value, "name", None))
            return {"$labelled": [type(value).__name__, name, checksum(value), packed]}
        if isinstance(value, pd.DataFrame | pd.Series):
            table = value.to_frame() if isinstance(value, pd.Series) else value
            columns = [f"{name} {table[name].dtype}" for name in table.columns]
            rows = np.asarray(HASH_ROWS(value))
            return {"$table": [columns, checksum(rows)]}
        if isinstance(value, Result):  # its provenance tells when, not what
            return {
                "$result": self.pack([value.model, value.data, value.config], where)
            }
        if isinstance(value, tuple) and type(value) is not tuple:  # a named tuple
            return {"$object": [_name(type(value)), self.pack([*value], where)]}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {"$object": [_name(type(value)), self.fields(value, where)]}
        return {"$function": self.function(value)} if callable(value) else None

    def fields(self, value: Any, where: str) -> Any:
        named = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return self.pack(named, where)

    def function(self, function: Any) -> Any:
        """Return what a function is, and all that it uses."""
        while not hasattr(function, "__code__") and hasattr(function, "__wrapped__"):
            function = function.__wrapped__  # what jax.jit and lru_cache wrap
        if isinstance(function, functools.partial):
            bound = [function.func, function.args, function.keywords]
            return ["partial", self.pack(bound, "function")]
        if hasattr(function, "__code__"):
            return self.code_and_context(function)
        if inspect.isroutine(function) or isinstance(function, type | np.ufunc):
            return [_name(function)]
        if dataclasses.is_dataclass(function):  # an Equinox module that is called
            called = self.code_and_context(type(function).__call__)
            return [_name(type(function)), self.fields(function, "function"), called]
        raise invalid(
            "function",
            f"an object of type {type(function).__qualname__}",
            "a function, whose code can be told from another's",
            "Define one by def that calls it.",
        )

    def code_and_context(self, function: Any) -> Any:
        if any(function is other for other in self.seen):
            return [_name(function)]
        self.seen.append(function)
        cells = zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        )
        captured: dict[str, Any] = {name: cell.cell_contents for name, cell in cells}
        captured["self"] = getattr(function, "__self__", None)
        return [
            _name(function),
            _code(function.__code__),
            self.pack(captured, f"what {_name(function)} captured"),
            [self.default(value) for value in function.__defaults__ or ()],
            {k: self.default(v) for k, v in (function.__kwdefaults__ or {}).items()},
            self.used(function),
        ]

    def default(self, value: Any) -> Any:
        """Reduce a default; of a mere marker that nothing was given, its kind."""
        try:
            return self.pack(value, "a default")
        except InvalidInputError:
            return {"$object": [_name(type(value))]}

    def used(self, function: Any) -> dict[str, Any]:
        """Reduce the constants and the functions of its own module that it uses."""
        found = {}
        for name in sorted(_names(function.__code__)):
            value = function.__globals__.get(name)
            own = getattr(value, "__module__", "") == function.__module__
            if isinstance(value, Constant) or (isinstance(value, FunctionType) and own):
                try:
                    found[name] = self.pack(value, name)
                except InvalidInputError:  # a container of things that are no values
                    continue
        return found


def _numbers(array: np.ndarray | jax.Array) -> list[str]:
    if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
        return [str(array.dtype), checksum(np.asarray(jax.random.key_data(array)))]
    return [type(array).__name__, checksum(np.asarray(array))]


def _attributes(data: xr.DataArray | xr.Dataset) -> Iterator[Mapping[Any, Any]]:
    yield data.attrs
    variables = data.variables if isinstance(data, xr.Dataset) else data.coords
    for name in sorted(variables, key=str):
        yield variables[name].attrs


def _is_path(value: str | os.PathLike[str]) -> bool:
    """Tell whether a value is a path; a text only if it names a file."""
    try:
        return isinstance(value, os.PathLike) or Path(value).is_file()
    except (OSError, ValueError):  # too long for a name, or with a null character
        return False


def _path(path: Path) -> Any:
    """Return the name and content of a file, or of all files below a folder."""
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        content = [[p.relative_to(path).as_posix(), checksum(p)] for p in files]
        return {"$folder": [path.name, content]}
    return {"$file": [path.name, checksum(path) if path.is_file() else None]}


def _name(thing: Any) -> str:
    module = getattr(thing, "__module__", "")
    return f"{module}.{getattr(thing, '__qualname__', thing.__name__)}"


def _code(code: CodeType) -> list[Any]:
    """Return compiled code without what does not matter: file and line numbers."""
    names = [*code.co_names, *code.co_varnames, *code.co_freevars]
    return [code.co_code.hex(), names, [_constant(c) for c in code.co_consts]]


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return _code(value)
    if isinstance(value, tuple):
        return [_constant(v) for v in value]
    if isinstance(value, frozenset):  # whose order changes from run to run
        return sorted(map(repr, value))
    return repr(value)


def _names(code: CodeType) -> set[str]:
    inner = [_names(c) for c in code.co_consts if isinstance(c, CodeType)]
    return set(code.co_names).union(*inner)
