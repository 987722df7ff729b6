"""What a Result tells of itself: one line per group, a summary, a long table."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

if TYPE_CHECKING:
    import pandas as pd

    from neuromod.core.result import Result

WIDTH = 100


def text(result: "Result") -> str:
    """Return the model, the groups with their arrays, the scores and the origin."""
    lines = [_title(result)]
    for path, node in result.data.subtree_with_keys:
        sizes = ", ".join(_sizes(name, a) for name, a in node.data_vars.items())
        lines += [f"{path}: {sizes}"] if sizes else []
    scores = ", ".join(f"{k} {_number(v)}" for k, v in result.data.attrs.items())
    lines += [f"scores: {scores}"] if scores else []
    return "\n    ".join(_short(line) for line in [*lines, _origin(result)])


def html(result: "Result") -> str:
    """Return the same for a notebook, with the arrays to unfold."""
    config = "".join(
        f"<tr><th>{escape(str(key))}</th><td>{escape(str(value))}</td></tr>"
        for key, value in result.config.items()
    )
    return (
        f"<div><strong>{escape(_title(result))}</strong>"
        f"<div>{escape(_origin(result))}</div>"
        f"<details><summary>Settings</summary><table>{config}</table></details>"
        f"{result.data._repr_html_()}</div>"
    )


def summary(result: "Result") -> str:
    """Return the parameters, scores and convergence as a text table."""
    parts = [_title(result) + "\n" + _origin(result)]
    for group in ("parameters", "posterior"):
        if group in result.data.children:
            arrays = result.data[group].data_vars
            parts.append(_table(group, _parameter_rows(arrays)))
    parts.append(_table("scores", _value_rows(result.data.attrs)))
    if "history" in result.data.children:
        history = result.data["history"].attrs
        parts.append(_table("convergence", _value_rows(history)))
    return "\n\n".join(part for part in parts if part)


def long_table(dataset: xr.Dataset) -> "pd.DataFrame":
    """Return a table with one row per number of a dataset."""
    import pandas as pd

    frames = []
    for name, array in dataset.data_vars.items():
        plain = array.reset_coords(drop=True).expand_dims(variable=[name])
        frames.append(plain.to_dataframe("value").reset_index())
    columns = ["variable", *dataset.dims, "value"]
    table = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    return table.reindex(columns=columns)


def _title(result: "Result") -> str:
    name = "no model" if result.model is None else type(result.model).__name__
    seeds = "" if result.seeds is None else f", {len(result.seeds)} seeds"
    return f"Result: {name}{seeds}"


def _origin(result: "Result") -> str:
    record = result.provenance
    versions = record.get("versions")
    known = {
        "neuromod": versions.get("neuromod") if isinstance(versions, dict) else None,
        "seed": record.get("seed"),
        "precision": record.get("precision"),
        "started": record.get("started"),
        "seconds": record.get("wall_seconds"),
    }
    told = (f"{k} {_number(v)}" for k, v in known.items() if v is not None)
    return "origin: " + (", ".join(told) or "unknown")


def _sizes(name: Any, array: xr.DataArray) -> str:
    sizes = ", ".join(f"{dim} {size}" for dim, size in array.sizes.items())
    return f"{name} ({sizes})" if sizes else f"{name}"


def _parameter_rows(arrays: Mapping[Any, xr.DataArray]) -> Iterable[tuple[str, ...]]:
    for name, array in arrays.items():
        dims = " x ".join(f"{dim} {size}" for dim, size in array.sizes.items())
        unit = str(array.attrs.get("units", ""))
        span = f"{_span(array.to_numpy())} {unit}"
        yield str(name), dims or "one number", str(array.dtype), span


def _span(values: np.ndarray) -> str:
    finite = values[np.isfinite(values)] if values.dtype.kind in "iuf" else values[:0]
    if not finite.size:
        return ""
    low, high = finite.min(), finite.max()
    return _number(low) if low == high else f"{_number(low)} to {_number(high)}"


def _value_rows(values: Mapping[Any, Any]) -> Iterable[tuple[str, ...]]:
    return ((str(name), _number(value)) for name, value in values.items())


def _table(title: str, rows: Iterable[tuple[str, ...]]) -> str:
    rows = list(rows)
    if not rows:
        return ""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return "\n    ".join([title, *lines])


def _short(line: str) -> str:
    return line if len(line) <= WIDTH else line[: WIDTH - 3] + "..."


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float | np.floating) else str(value)
