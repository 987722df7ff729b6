"""Tables: CSV, TSV and Parquet files, and pandas DataFrames.

A long table has a row for each spike: a column of times and a column of units. A
wide table has a row for each bin: a column of times, and a column of counts for each
unit, whose header is its label. Which it is shows in the header.

====================  =========================================================
column                meaning
====================  =========================================================
time, spike_time, t   spike times (s) if there is a column of units
unit, neuron, ...     the unit of each spike
time, bin_centre      centre of each bin (s) in a wide table; also bin_start and
                      bin_end
session, trial        where models restart, in a wide table
block                 a label along time, at which they do not
====================  =========================================================
"""

import csv
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from neuromod.core.dimensions import require_unique
from neuromod.core.errors import DataFormatError, InvalidInputError, invalid
from neuromod.io.counts import as_counts
from neuromod.io.files import Budget, malformed, parsing
from neuromod.io.reading import Reading, numbers
from neuromod.io.schemas import Spikes
from neuromod.io.spike_trains import SpikeTrains
from neuromod.io.variables import (
    ALONG_TIME,
    TICKS,
    TIMES,
    UNITS,
    Variables,
    in_seconds,
    plain,
    spelt,
    split_unit,
)

BIN_TIMES = {
    "bincentre": 0.0, "time": 0.0, "t": 0.0, "timestamp": 0.0,
    "binstart": 0.5, "binend": -0.5,
}  # fmt: skip
_INDEX = re.compile(r"Unnamed: \d+|index")
_LONGEST_HEADER = 2**20
_MOST_COLUMNS = 20_000


def read_table(path: Path) -> Any:
    """Read a CSV, TSV or Parquet file into a pandas DataFrame."""
    if path.suffix.lower() in (".parquet", ".pq"):
        return _read_parquet(path)
    return _read_text(path)


def spikes_from_table(table: Any, source: str, reading: Reading) -> Spikes:
    """Read spikes (long) or counts (wide) from a table with named columns."""
    require_distinct(table.columns, source)
    indices = _indices(table)
    left_out = {"left_out": ", ".join(map(repr, indices))} if indices else {}
    columns = Variables({str(n): table[n] for n in table.columns if n not in indices})
    neurons = columns.first(UNITS)
    ticks = columns.name(TICKS)
    events = ticks or columns.name(TIMES)
    if neurons is None:
        return _wide(columns, source, reading).assign_attrs(left_out)
    if events is None:
        raise _columns_missing(source, columns)
    if ticks is not None and reading.sample_rate is None:
        raise invalid(
            f"{source}: sample_rate",
            "none",
            "the rate (Hz) of the clock whose samples are counted",
            "Say sample_rate=.",
        )
    return SpikeTrains.from_events(
        np.asarray(columns[events]),
        plain(neurons),
        source=source,
        reading=reading.in_unit(split_unit(events)[1]),
        notes=left_out,
    )


def _indices(table: Any) -> list[Any]:
    """Return the columns that only number the rows, as pandas writes its index.

    Such a column comes first without a header, or is called "index", or "Unnamed: 0"
    once pandas has read it.
    """
    names = list(table.columns)
    nameless = [n for n in names[:1] if str(n).strip() in ("", "Unnamed: 0")]
    numbering = [
        name
        for name in names
        if _INDEX.fullmatch(str(name))
        and np.array_equal(np.asarray(table[name]), np.arange(len(table)))
    ]
    return nameless + [name for name in numbering if name not in nameless]


def _wide(columns: Variables, source: str, reading: Reading) -> xr.DataArray:
    name = next((n for n in columns if _bin_time(n) in BIN_TIMES), None)
    if name is None:
        raise _columns_missing(source, columns)
    units = [n for n in columns if n != name and spelt(n) not in ALONG_TIME]
    if not units:
        raise _columns_missing(source, columns)
    time = in_seconds(numbers(columns[name], name).astype(float), name)
    steps = np.diff(time)
    width = float(np.median(steps)) if len(steps) else np.nan
    values = [numbers(columns[unit], f"counts of unit {unit!r}") for unit in units]
    return as_counts(
        np.stack(values, axis=1),
        time=time + BIN_TIMES[_bin_time(name)] * width,
        labels=units,
        default_bin_size=reading.bin_size,
        boundaries={
            spelt(n): plain(columns[n]).astype(str)
            for n in columns
            if spelt(n) in ALONG_TIME
        },
        source=source,
    )


def _bin_time(name: str) -> str:
    return spelt(split_unit(name)[0]).rstrip("s")


def _columns_missing(source: str, columns: Variables) -> Exception:
    names = list(columns)
    header = all(name.replace(".", "", 1).isdigit() for name in names)
    return DataFormatError(
        f"{source}: got the columns {', '.join(names[:12])}, expected `time` and "
        "`unit` (a row for each spike), or `time` and a column of counts for each "
        "unit. "
        + ("Has the file a header?" if header else "Rename the columns accordingly.")
    )


def _read_text(path: Path) -> Any:
    import pandas

    with parsing(path, "a table of text with a header"):
        with open(path, encoding="utf-8-sig", newline="") as stream:
            header = stream.readline(_LONGEST_HEADER)
        separator = max("\t,;", key=header.count)
        if len(header) == _LONGEST_HEADER or header.count(separator) > _MOST_COLUMNS:
            raise malformed(path, "an endless first line", "a header of column names")
        # pandas would rename the second of two columns of one name in silence.
        require_distinct(next(csv.reader([header], delimiter=separator), []), path)
        return pandas.read_csv(
            path,
            sep=separator,
            compression=None,
            encoding="utf-8-sig",
            low_memory=False,
        )


def require_distinct(names: Iterable[object], source: object) -> None:
    """Raise if two columns have the same name."""
    require_unique([str(name).strip() for name in names], f"columns of {source}")


def _read_parquet(path: Path) -> Any:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise InvalidInputError(
            "Parquet files need pyarrow, which is not installed: "
            "pip install 'neuromod[tables]'."
        ) from error
    with parsing(path, "a Parquet file"):
        with open(path, "rb") as stream:
            head = stream.read(4)
            stream.seek(-4, 2)
            if (head, stream.read(4)) != (b"PAR1", b"PAR1"):
                raise malformed(path, "no Parquet signature at both ends", "Parquet")
        file = parquet.ParquetFile(path)
        n_values = file.metadata.num_rows * max(file.metadata.num_columns, 1)
        Budget(path).spend(8 * n_values, "a table")
        return file.read().to_pandas()
