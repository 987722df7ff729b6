"""What a bug report needs to know: versions, devices, options, machine.

It tells nothing about the user: no host name, and the home folder is written ``~``.
"""

import os
import platform
from dataclasses import asdict, dataclass
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

import neuromod
from neuromod import _xla
from neuromod.core import devices

REQUIRED = (
    "jax",
    "jaxlib",
    "equinox",
    "jaxtyping",
    "diffrax",
    "numpyro",
    "optax",
    "xarray",
    "numpy",
    "pandas",
    "scipy",
    "matplotlib",
    "h5netcdf",
    "h5py",
    "tqdm",
    "typer",
    "pooch",
    "mne",
)
OPTIONAL = (
    "pynwb",
    "pyarrow",
    "pylsl",
    "starlette",
    "uvicorn",
    "cloudpickle",
    "dask",
    "distributed",
    "zarr",
)
CACHE = "NEUROMOD_CACHE"


@dataclass(frozen=True)
class Info:
    """The running process in plain values; prints as a table.

    Parameters
    ----------
    versions
        Of Python, neuromod and what neuromod depends on; None if missing.
    extras
        Versions of the optional libraries; None if absent.
    devices
        JAX's backend, the number and kinds of its devices, its default precision.
    xla
        State and value (bytes) of the option that makes gradients of small models
        fast on a CPU, and all of ``XLA_FLAGS``.
    machine
        Platform, number of CPU cores, memory (GiB).
    cache
        The folder in which downloads are kept.
    """

    versions: dict[str, str | None]
    extras: dict[str, str | None]
    devices: dict[str, Any]
    xla: dict[str, Any]
    machine: dict[str, Any]
    cache: str

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values that JSON can hold."""
        return asdict(self)

    def __repr__(self) -> str:
        width = max(len(name) for name, _ in self._rows())
        return "\n".join(f"{name:<{width}}  {text}" for name, text in self._rows())

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>"
            for name, text in self._rows()
        )
        return f"<table>{rows}</table>"

    def _rows(self) -> list[tuple[str, str]]:
        machine, memory = self.machine, self.machine["memory_gib"]
        kinds = " + ".join(self.devices["kinds"])
        size = "" if memory is None else f", {memory} GiB"
        option = f"{self.xla['state']}, {self.xla['threshold_bytes']} bytes"
        return [
            *((name, text or "missing") for name, text in self.versions.items()),
            *((f"{name} (extra)", text or "-") for name, text in self.extras.items()),
            ("devices", f"{self.devices['count']} {kinds} ({self.devices['backend']})"),
            ("precision", self.devices["default_precision"]),
            ("small-loop option", option),
            ("XLA_FLAGS", self.xla["flags"] or "-"),
            ("platform", machine["platform"]),
            ("machine", f"{machine['cores']} cores{size}"),
            ("cache", self.cache),
        ]


def info() -> Info:
    """Tell what this process runs on, for bug reports.

    It asks JAX for its devices, which starts JAX.

    Returns
    -------
    Info
        Prints as a table; ``info().to_dict()`` holds the same as plain values.

    Examples
    --------
    >>> import neuromod as nm
    >>> nm.info().versions["neuromod"] == nm.__version__
    True
    """
    versions = {"python": platform.python_version(), "neuromod": neuromod.__version__}
    memory = devices.memory_bytes()
    return Info(
        versions={**versions, **{name: _version(name) for name in REQUIRED}},
        extras={name: _version(name) for name in OPTIONAL},
        devices=_devices(),
        xla={
            "state": _xla.state(),
            "threshold_bytes": _xla.value(),
            "flags": _without_home(os.environ.get("XLA_FLAGS", "")),
        },
        machine={
            "platform": platform.platform(),
            "cores": devices.n_cores(),
            "memory_gib": None if memory is None else round(memory / 2**30, 1),
        },
        cache=_without_home(str(cache_folder())),
    )


def cache_folder() -> Path:
    """Return the folder for downloads: ``NEUROMOD_CACHE``, else the user's cache."""
    import pooch

    return Path(os.environ.get(CACHE) or pooch.os_cache("neuromod")).expanduser()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _devices() -> dict[str, Any]:
    try:
        found, backend = jax.devices(), jax.default_backend()
    except Exception as error:  # whatever a broken driver raises belongs in a report
        found, backend = [], _without_home(f"{type(error).__name__}: {error}").strip()
    return {
        "backend": backend,
        "count": len(found),
        "kinds": sorted({device.device_kind for device in found}),
        "default_precision": str(jax.dtypes.canonicalize_dtype(float)),
    }


def _without_home(text: str) -> str:
    return text.replace(str(Path.home()), "~")
