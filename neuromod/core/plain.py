"""Plain values as JSON, and back, with their types.

Plain values are what settings and attributes are made of: None, truth values,
numbers, text, dates, small arrays, and lists, tuples and dicts of these. What JSON
lacks is marked by a tag, such as ``{"$tuple": [1, 2]}`` or ``{"$float": "inf"}``. A
tag stands for data, never for code; one that is unknown raises an error.
"""

import base64
import json
import math
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from itertools import chain, islice
from typing import Any

import numpy as np

from neuromod.core import arrays
from neuromod.core.errors import InvalidInputError, invalid

MAX_DEPTH = 100
MAX_VALUES = 300_000
MAX_BYTES = 8 * 1024**2

Special = Callable[[Any, str], Any]
Tags = Mapping[str, Callable[[Any], Any]]


def pack(value: Any, where: str, special: Special | None = None) -> Any:
    """Turn a plain value into what JSON can hold.

    Parameters
    ----------
    value
        The value.
    where
        What the value is, for the error.
    special
        A function that packs further kinds of values, wherever they occur; it
        returns None for a value that is not of its kinds.

    Raises
    ------
    InvalidInputError
        If something in it is not plain.

    Examples
    --------
    >>> pack({"bounds": (0.5, float("inf"))}, "config")
    {'bounds': {'$tuple': [0.5, {'$float': 'inf'}]}}
    >>> unpack(_)
    {'bounds': (0.5, inf)}
    """
    if special is not None and (packed := special(value, where)) is not None:
        return packed
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return value if math.isfinite(value) else {"$float": repr(value)}
    if kind in (list, tuple):
        items = [pack(v, f"{where}[{i}]", special) for i, v in enumerate(value)]
        return items if kind is list else {"$tuple": items}
    if kind is dict:
        keys = [pack(k, f"a key of {where}") for k in value]
        items = [pack(v, f"{where}[{k!r}]", special) for k, v in value.items()]
        if all(type(k) is str and not k.startswith("$") for k in value):
            return dict(zip(keys, items, strict=True))
        return {"$dict": [list(pair) for pair in zip(keys, items, strict=True)]}
    return _pack_atom(value, where)


def unpack(packed: Any, special: Tags | None = None) -> Any:
    """Turn what `pack` made back into the value.

    Parameters
    ----------
    packed
        What `pack` made.
    special
        What to do with the content of further tags.

    Raises
    ------
    ValueError, TypeError, KeyError
        If it is not what `pack` makes.
    """
    if isinstance(packed, list):
        return [unpack(v, special) for v in packed]
    if not isinstance(packed, dict):
        return packed
    tag = next(iter(packed), "")
    if not tag.startswith("$"):
        return {k: unpack(v, special) for k, v in packed.items()}
    (content,) = packed.values()
    if tag == "$tuple":
        return tuple(unpack(v, special) for v in content)
    if tag == "$dict":
        return {unpack(k): unpack(v, special) for k, v in content}
    return {**_ATOMS, **(special or {})}[tag](content)


def dumps(packed: Any) -> str:
    """Write packed values as JSON in ASCII.

    Raises
    ------
    InvalidInputError
        If they are too many, or nested too deeply.
    """
    if (excess := _excess(packed)) is not None:
        raise _too_much(excess)
    text = json.dumps(packed, allow_nan=False, separators=(",", ":"))
    if len(text) > MAX_BYTES:
        raise _too_much(f"more than {MAX_BYTES / 1e6:.0f} MB")
    return text


def loads(text: bytes) -> Any:
    """Read what `dumps` wrote.

    Raises
    ------
    ValueError, RecursionError
        If it is no JSON, too large or nested too deeply.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"{len(text)} bytes of JSON")
    packed = json.loads(text, parse_constant=_refuse_constant)
    if (excess := _excess(packed)) is not None:
        raise ValueError(f"JSON of {excess}")
    return packed


def _pack_atom(value: Any, where: str) -> Any:
    kind = type(value)
    if kind is complex:
        return {"$complex": [repr(value.real), repr(value.imag)]}
    if kind is datetime:
        return {"$datetime": value.isoformat()}
    if kind is date:
        return {"$date": value.isoformat()}
    if kind is timedelta:
        return {"$timedelta": [value.days, value.seconds, value.microseconds]}
    if kind is np.ndarray or isinstance(value, np.generic):
        numbers, entry = arrays.encode(np.asarray(value), where)
        entry["base64"] = base64.b64encode(numbers.tobytes()).decode()
        return {"$array" if kind is np.ndarray else "$scalar": entry}
    raise _not_plain(value, where)


def _array(content: Any) -> np.ndarray:
    return arrays.decode(base64.b64decode(content["base64"], validate=True), content)


_ATOMS: Tags = {
    "$float": float,
    "$complex": lambda content: complex(*map(float, content)),
    "$datetime": datetime.fromisoformat,
    "$date": date.fromisoformat,
    "$timedelta": lambda content: timedelta(*content),
    "$array": _array,
    "$scalar": lambda content: _array(content)[()],
}


def _not_plain(value: Any, where: str) -> InvalidInputError:
    if callable(value):
        got = f"the function or class {getattr(value, '__qualname__', value)!r}"
        remedy = "Code is never stored: keep its name, and look it up where it is used."
    else:
        got = f"{value!r:.80} of type {type(value).__qualname__}"
        remedy = "Convert it to one of these first."
    expected = (
        "a plain value: None, bool, number, text, date, NumPy array, or a list, "
        "tuple or dict of these"
    )
    return invalid(where, got, expected, remedy)


def _excess(packed: Any) -> str | None:
    """Tell in what way packed values are too much for a file, if they are."""
    depth, count, level = 0, 0, [packed]
    while level:
        depth, count = depth + 1, count + len(level)
        if depth > MAX_DEPTH:
            return f"more than {MAX_DEPTH} levels"
        if count > MAX_VALUES:
            return f"more than {MAX_VALUES} values"
        containers = (v for v in level if isinstance(v, list | dict))
        items = (v if isinstance(v, list) else v.values() for v in containers)
        level = list(islice(chain.from_iterable(items), MAX_VALUES + 1))
    return None


def _too_much(excess: str) -> InvalidInputError:
    return invalid(
        "result",
        f"{excess} of settings, attributes and names",
        "few and plain ones",
        "Put what is large into arrays of `data`.",
    )


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"JSON knows no {name}")
