"""Phy and Kilosort: a folder of arrays, tables and a few lines of Python.

``spike_times.npy`` counts samples from the beginning of the raw data,
``spike_clusters.npy`` gives the cluster of each spike after curation
(``spike_templates.npy`` before), ``params.py`` the sample rate. The quality of a
cluster is what a person said in phy (``cluster_group.tsv``), else what the sorter
said (``cluster_KSLabel.tsv``). ``params.py`` is read as text, line by line, and
never run. If the raw data are where it says, their size tells when the recording
stopped.
"""

import re
from collections import Counter
from pathlib import Path

import numpy as np

from neuromod.core.errors import invalid
from neuromod.io.files import existing_file, malformed, parsing
from neuromod.io.npy import read_npy
from neuromod.io.reading import Reading, named
from neuromod.io.spike_trains import SpikeTrains

TIMES = "spike_times.npy"
CLUSTERS = ("spike_clusters.npy", "spike_templates.npy")
QUALITIES = (
    ("cluster_KSLabel.tsv", "KSLabel"),
    ("cluster_info.tsv", "group"),
    ("cluster_group.tsv", "group"),
)
UNSORTED = "unsorted"
_LARGEST_TEXT = 2**24
_BYTES = {"int16": 2, "uint16": 2, "int32": 4, "float32": 4, "float64": 8}


def is_phy(folder: Path) -> bool:
    """Tell a folder of Phy or Kilosort by its spike times."""
    return (folder / TIMES).is_file()


def read_spikes(folder: Path, reading: Reading) -> SpikeTrains:
    """Read all clusters of a folder that have a spike, with their quality."""
    samples = _array(folder, TIMES)
    present = [name for name in CLUSTERS if (folder / name).is_file()]
    if not present:
        raise malformed(
            folder, "no spike_clusters.npy", "a folder as Kilosort or phy writes it"
        )
    clusters = _array(folder, present[0])
    parameters = _parameters(folder)
    rate = reading.sample_rate or _sample_rate(folder, parameters)
    labels, neurons = np.unique(clusters, return_inverse=True)
    qualities = _qualities(folder)
    annotations = {}
    if qualities:
        known = [qualities.get(named(label), UNSORTED) for label in labels]
        annotations["quality"] = np.array(known, dtype=str)
    return SpikeTrains.from_events(
        samples,
        neurons,
        labels=labels,
        sample_rate=rate,
        start=0.0,
        stop=_raw_duration(folder, parameters, rate),
        annotations=annotations,
        source=str(folder),
        reading=reading,
    )


def _array(folder: Path, name: str) -> np.ndarray:
    array = read_npy(existing_file(folder / name))
    flat = array.reshape(-1)
    if sum(n > 1 for n in array.shape) > 1 or flat.dtype.kind not in "iu":
        raise malformed(
            folder / name,
            f"an array of shape {array.shape} and type {array.dtype}",
            "one whole number for each spike",
        )
    return flat


def _text(path: Path) -> str:
    with parsing(path, "a text file"), open(path, "rb") as stream:
        text = stream.read(_LARGEST_TEXT + 1)
        if len(text) > _LARGEST_TEXT:
            raise malformed(path, "more than 16 MiB of text", "a short file")
        return text.decode("utf-8-sig", "strict")


def _parameters(folder: Path) -> dict[str, str]:
    """Return the assignments in ``params.py``, as text."""
    path = folder / "params.py"
    if not path.is_file():
        return {}
    found = re.findall(r"^[ \t]*(\w+)[ \t]*=[ \t]*([^#\r\n]*)", _text(path), re.M)
    return {name: value.strip() for name, value in found}


def _sample_rate(folder: Path, parameters: dict[str, str]) -> float:
    value = parameters.get("sample_rate", "")
    try:
        rate = float(value)
    except ValueError:
        rate = np.nan
    if not 0 < rate < np.inf:
        raise malformed(
            folder / "params.py",
            f"sample_rate = {value[:80]}" if value else "no sample_rate",
            "a line such as `sample_rate = 30000.0`",
            "Say sample_rate= (Hz); the file is read as text, never run.",
        )
    return rate


def _raw_duration(folder: Path, parameters: dict, rate: float) -> float | None:
    """Return how long (s) the raw data are, if they are there; only their size."""
    name = re.search(r"""["']([^"'\0]+)["']""", parameters.get("dat_path", ""))
    dtype = re.search(r"""["'](\w+)["']""", parameters.get("dtype", ""))
    numbers = [parameters.get("n_channels_dat", ""), parameters.get("offset", "0")]
    known = all(re.fullmatch(r"\d{1,9}", number) for number in numbers)
    if name is None or dtype is None or dtype[1] not in _BYTES or not known:
        return None
    n_channels, offset = map(int, numbers)
    try:
        raw = folder / name[1]
        size = raw.stat().st_size if raw.is_file() else 0
    except OSError:
        return None
    n_samples = (size - offset) // max(n_channels * _BYTES[dtype[1]], 1)
    return n_samples / rate if n_samples > 0 else None


def _qualities(folder: Path) -> dict[str, str]:
    """Return the quality of each cluster; what a person said wins."""
    qualities: dict[str, str] = {}
    for name, column in QUALITIES:
        path = folder / name
        if path.is_file():
            qualities |= _column(path, column)
    return qualities


def _column(path: Path, column: str) -> dict[str, str]:
    """Read one column of a table by tabs or commas, by cluster."""
    lines = [line for line in _text(path).splitlines() if line.strip()]
    separator = "\t" if lines and "\t" in lines[0] else ","
    rows = [line.split(separator) for line in lines]
    header = [name.strip() for name in rows[0]] if rows else []
    key = next((name for name in ("cluster_id", "id") if name in header), None)
    if key is None or column not in header:
        if column == "group" and path.name == "cluster_info.tsv" and key is not None:
            return {}
        raise malformed(
            path,
            "the columns " + (", ".join(header[:10]) or "none"),
            f"cluster_id and {column}",
        )
    places = header.index(key), header.index(column)
    entries = [[row[i].strip() if i < len(row) else "" for i in places] for row in rows]
    return {cluster: value for cluster, value in entries[1:] if value}


def require_curated(trains: SpikeTrains) -> SpikeTrains:
    """Keep the clusters that were judged good, where anything was judged."""
    if "quality" not in trains.annotations:
        return trains
    quality = trains.annotations["quality"]
    if "good" not in quality:
        judged = Counter(quality.tolist())
        found = ", ".join(f"{n} {value!r}" for value, n in judged.items())
        raise invalid(
            "quality",
            f"no cluster that was judged 'good' in {trains.source} ({found})",
            "at least one",
            'Curate it in phy, or say quality="all" or quality=("good", "mua").',
        )
    return trains.select(quality="good")
