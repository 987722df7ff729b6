"""Tables for the terminal, and arrays over time as files: netCDF or CSV."""

from pathlib import Path
from typing import TYPE_CHECKING

from neuromod.core.atomic import write_atomically
from neuromod.core.errors import invalid

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

SUFFIXES = (".nc", ".csv")


def require_known_suffix(path: Path) -> None:
    """Raise unless `write` knows the format that the file's name tells."""
    if path.suffix not in SUFFIXES:
        raise invalid(
            "--out",
            f"{path.name!r}",
            "a name that ends in .nc (netCDF) or .csv",
            f"For example: --out {path.stem or 'states'}.nc",
        )


def write(array: "xr.DataArray", path: Path) -> Path:
    """Write an array (time, ...) to a file whose name tells the format.

    Parameters
    ----------
    array
        With ``time`` and at most one more dimension.
    path
        Ends in ``.nc`` or ``.csv``. A table has one row per bin; labels along time
        (a session) become columns.

    Raises
    ------
    InvalidInputError
        If the name ends in anything else.
    """
    require_known_suffix(path)
    if path.suffix == ".nc":
        return write_atomically(path, bytes(array.to_dataset().to_netcdf()))
    return write_atomically(path, to_csv(array).encode("utf-8"))


def to_csv(array: "xr.DataArray") -> str:
    """Return an array (time, ...) as comma-separated values.

    Examples
    --------
    >>> import xarray as xr
    >>> states = xr.DataArray([0, 1], coords={"time": [0.1, 0.3]}, name="state")
    >>> print(to_csv(states), end="")
    time,state
    0.1,0
    0.3,1
    """
    labels = [k for k in array.coords if k != "time" and array[k].dims == ("time",)]
    table = array.drop_vars(labels).to_pandas()
    if array.ndim == 1:
        table = table.to_frame(array.name)
    else:
        table.columns = [f"{array.dims[1]} {label}" for label in table.columns]
    for label in reversed(labels):
        table.insert(0, label, array[label].values)
    return table.to_csv(lineterminator="\n")


def aligned(rows: "pd.DataFrame") -> str:
    """Write a table for a terminal."""
    return rows.to_string(index=False, float_format=lambda x: f"{x:.4g}")
