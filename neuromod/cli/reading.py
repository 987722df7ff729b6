"""Recordings given on the command line, and the options of how they are read."""

import inspect
from collections.abc import Callable
from contextlib import suppress
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


DEFAULT_BIN_SIZE = 0.02


def _option(kind: Any, metavar: str | None, text: str, *names: str) -> Any:
    panel = "How the file is read"
    option = typer.Option(*names, metavar=metavar, help=text, rich_help_panel=panel)
    return Annotated[kind | None, option]


READING = {
    "start": _option(float, "S", "Leave out what comes before (s)."),
    "stop": _option(float, "S", "Leave out what comes after (s)."),
    "sample_rate": _option(float, "HZ", "Rate of the clock, if times are samples."),
    "time_unit": _option(str, "UNIT", "Unit of the times: s, ms or us."),
    "quality": _option(
        list[str],
        "NAME",
        "Units to keep by their sorting: good, mua, all; may be repeated.",
    ),
    "sort": _option(bool, None, "Sort times that do not ascend.", "--sort"),
    "variable": _option(str, "NAME", "Variable of the file that holds the spikes."),
}


def reading(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options in `READING`; ``how`` is a dict of those given."""
    own = [p for p in inspect.signature(command).parameters.values() if p.name != "how"]
    keyword = inspect.Parameter.KEYWORD_ONLY
    added = [
        inspect.Parameter(name, keyword, default=None, annotation=kind)
        for name, kind in READING.items()
    ]

    @wraps(command)
    def with_options(**given: Any) -> None:
        how = {name: _one_or_several(given.pop(name)) for name in READING}
        command(how={k: v for k, v in how.items() if v is not None}, **given)

    parameters = [p.replace(kind=keyword) for p in own] + added
    with_options.__dict__["__signature__"] = inspect.Signature(parameters)
    with_options.__annotations__ = {p.name: p.annotation for p in parameters}
    return with_options


def _one_or_several(value: Any) -> Any:
    """Return what was repeated as a list only if there is more than one of it."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def read(file: Path, *, quiet: bool = False, **how: Any) -> "xr.DataArray":
    """Read spike counts and, unless ``quiet``, say what they are.

    Without ``bin_size`` counts keep the bins of the file, and spike times come in
    bins of `DEFAULT_BIN_SIZE`.
    """
    spikes = _counts(file, **how)
    n_bins, n_neurons = spikes.shape
    width = spikes.attrs["bin_size"]
    if not quiet:
        typer.echo(f"read {n_bins} bins of {width:g} s, {n_neurons} neurons: {file}")
    return spikes


def _counts(file: Path, bin_size: float | None = None, **how: Any) -> "xr.DataArray":
    from neuromod import io
    from neuromod.core.errors import InvalidInputError

    if bin_size is None:
        with suppress(InvalidInputError):
            return io.read_spikes(file, **how)
        # Only spike times need a width; whatever else is wrong will be so again.
        bin_size = DEFAULT_BIN_SIZE
    return io.read_spikes(file, bin_size, **how)


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
