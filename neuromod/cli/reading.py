"""Recordings given on the command line, and the options of how they are read."""

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import xarray as xr

    from neuromod.core.result import Result

Recording = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        exists=True,
        help="Spikes: NWB, .npz, .mat, CSV, Parquet, Phy folder.",
    ),
]
Fitted = Annotated[
    Path,
    typer.Argument(
        metavar="RESULT", exists=True, dir_okay=False, help="Saved fit (result.nc)."
    ),
]


def _option(kind: Any, metavar: str, text: str) -> Any:
    panel = "How the file is read"
    option = typer.Option(metavar=metavar, help=text, rich_help_panel=panel)
    return Annotated[kind | None, option]


READING = {
    "start": _option(float, "S", "Leave out what comes before (s)."),
    "stop": _option(float, "S", "Leave out what comes after (s)."),
    "sample_rate": _option(float, "HZ", "Rate of the clock, if times are samples."),
    "time_unit": _option(str, "UNIT", "Unit of the times: s, ms or us."),
    "quality": _option(str, "NAME", "Units to keep by their sorting: good, mua, all."),
    "variable": _option(str, "NAME", "Variable of the file that holds the spikes."),
}


def reading(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options in `READING`; it gets them in its dict ``how``."""
    own = [p for p in inspect.signature(command).parameters.values() if p.name != "how"]
    keyword = inspect.Parameter.KEYWORD_ONLY
    added = [
        inspect.Parameter(name, keyword, default=None, annotation=kind)
        for name, kind in READING.items()
    ]

    @wraps(command)
    def with_options(**given: Any) -> None:
        command(how={name: given.pop(name) for name in READING}, **given)

    parameters = [p.replace(kind=keyword) for p in own] + added
    with_options.__dict__["__signature__"] = inspect.Signature(parameters)
    with_options.__annotations__ = {p.name: p.annotation for p in parameters}
    return with_options


def read(file: Path, *, quiet: bool = False, **how: Any) -> "xr.DataArray":
    """Read spike counts and, unless ``quiet``, say what they are."""
    from neuromod import io

    spikes = io.read_spikes(file, **how)
    n_bins, n_neurons = spikes.shape
    width = spikes.attrs["bin_size"]
    if not quiet:
        typer.echo(f"read {n_bins} bins of {width:g} s, {n_neurons} neurons: {file}")
    return spikes


def read_as_fitted(
    fitted: "Result", file: Path, *, quiet: bool = False, **how: Any
) -> "xr.DataArray":
    """Read the neurons of a fit, in its order and in bins of its width."""
    return read(file, quiet=quiet, **as_fitted(fitted), **how)


def as_fitted(fitted: "Result") -> dict[str, Any]:
    """Return the arguments of `neuromod.io.read_spikes` that a fit settles."""
    import numpy as np

    neurons = np.asarray(fitted.data["parameters"]["neuron"]).tolist()
    return {"bin_size": fitted.config["bin_size"], "include": neurons}
