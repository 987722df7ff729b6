"""Recordings given on the command line, and the options of how they are read."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

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

Network = Annotated[
    Path,
    typer.Argument(
        metavar="NETWORK",
        exists=True,
        dir_okay=False,
        help="What `train` wrote (network.nc).",
    ),
]

DEFAULT_BIN_SIZE = 0.02


class Option(NamedTuple):
    """An option that commands share: its annotation and its default."""

    annotation: Any
    default: Any = None


def option(
    kind: Any, metavar: str | None, text: str, *names: str, panel: str, **more: Any
) -> Option:
    """Make an option that may be left out, under a heading of the help."""
    told = typer.Option(
        *names, metavar=metavar, help=text, rich_help_panel=panel, **more
    )
    return Option(Annotated[kind | None, told])


READ, GIVEN = "How the file is read", "What else is known of each bin"
READING = {
    "start": option(float, "S", "Leave out what comes before (s).", panel=READ),
    "stop": option(float, "S", "Leave out what comes after (s).", panel=READ),
    "sample_rate": option(
        float, "HZ", "Rate of the clock, if times are samples.", panel=READ
    ),
    "time_unit": option(str, "UNIT", "Unit of the times: s, ms or us.", panel=READ),
    "quality": option(
        list[str],
        "NAME",
        "Units to keep by their sorting: good, mua, all; may be repeated.",
        panel=READ,
    ),
    "sort": option(bool, None, "Sort times that do not ascend.", "--sort", panel=READ),
    "variable": option(
        str, "NAME", "Variable of the file that holds the spikes.", panel=READ
    ),
}
CHOOSING = {
    "bin_size": option(
        float,
        "S",
        "Width of a bin (s); that of the file, or 0.02 for spike times.",
        panel=READ,
    ),
    "include": option(list[str], "UNIT", "Unit to keep; may be repeated.", panel=READ),
    "exclude": option(
        list[str], "UNIT", "Unit to leave out; may be repeated.", panel=READ
    ),
}
INPUTS = {
    "inputs": option(
        Path,
        "FILE",
        "What drives the neurons: a column per input, in a table, NWB, .npz, .mat.",
        panel=GIVEN,
        exists=True,
    ),
    "transition_inputs": option(
        Path, "FILE", "What tilts the odds of a jump, alike.", panel=GIVEN, exists=True
    ),
}

Command = Callable[..., None]


def gathering(into: str, options: Mapping[str, Option]) -> Callable[[Command], Command]:
    """Give a command further options; those given arrive in the dict ``into``."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    added = [
        inspect.Parameter(k, keyword, default=o.default, annotation=o.annotation)
        for k, o in options.items()
    ]

    def decorate(command: Command) -> Command:
        known = inspect.signature(command).parameters.values()
        own = [p.replace(kind=keyword) for p in known if p.name != into]

        @wraps(command)
        def with_options(**given: Any) -> None:
            found = {name: given.pop(name) for name in options}
            found = {k: _one_or_several(v) for k, v in found.items() if v is not None}
            command(**{into: found}, **given)

        parameters = own + added
        with_options.__dict__["__signature__"] = inspect.Signature(parameters)
        with_options.__annotations__ = {p.name: p.annotation for p in parameters}
        return with_options

    return decorate


def _one_or_several(value: Any) -> Any:
    """Return what was repeated as a list only if there is more than one of it."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def reading(command: Command) -> Command:
    """Give a command the options in `READING` (``how``) and `INPUTS` (``drives``)."""
    return gathering("how", READING)(gathering("drives", INPUTS)(command))


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


def read_inputs(
    file: Path | str, spikes: "xr.DataArray", labels: Sequence[str] | None = None
) -> "xr.DataArray":
    """Read inputs (time, input): for each bin the mean of the samples within it.

    Parameters
    ----------
    file
        What `neuromod.io.read_behaviour` reads; every signal in it is an input, and of
        a signal with several columns each.
    spikes : (time, neuron)
        The counts whose bins to fill.
    labels
        The inputs to keep, in this order; all if omitted.
    """
    import numpy as np
    import xarray as xr

    from neuromod import io
    from neuromod.core.errors import invalid
    from neuromod.core.sequences import BOUNDARIES

    behaviour = io.read_behaviour(file, intervals=None)
    signals = {k: v for k, v in behaviour.items() if k not in (*BOUNDARIES, "block")}
    columns: dict[str, Any] = {}
    for name, signal in signals.items():
        columns |= _columns(str(name), io.align(signal, spikes, "mean"))
    names = list(columns) if labels is None else [str(label) for label in labels]
    missing = [name for name in names if name not in columns]
    if missing or not names:
        raise invalid(
            "inputs",
            f"{str(file)!r} with {', '.join(columns) or 'no signal'}",
            f"{', '.join(names) or 'at least one signal'}",
            "A table needs a column `time` (s) and a column for each input.",
        )
    axes = {k: v for k, v in spikes.coords.items() if v.dims == ("time",)}
    values = np.stack([columns[name] for name in names], axis=1)
    return xr.DataArray(values, {**axes, "input": names}, ("time", "input"), "inputs")


def _columns(name: str, signal: "xr.DataArray") -> dict[str, Any]:
    """Return the columns of a signal (time,) or (time, ...) by name."""
    if signal.ndim == 1:
        return {name: signal.values}
    other = signal.dims[1]
    labels = signal[other].values.tolist()
    return {f"{name} {k}": signal.isel({other: i}).values for i, k in enumerate(labels)}


def read_data(
    file: Path, drives: Mapping[str, Path], *, quiet: bool = False, **how: Any
) -> dict[str, "xr.DataArray"]:
    """Read spikes and what goes with them, as the verbs take them by name."""
    spikes = read(file, quiet=quiet, **how)
    found = {name: read_inputs(path, spikes) for name, path in drives.items()}
    return {"spikes": spikes, **found}


def read_as_fitted(
    fitted: "Result",
    file: Path,
    drives: Mapping[str, Path],
    *,
    quiet: bool = False,
    **how: Any,
) -> dict[str, "xr.DataArray"]:
    """Read the neurons of a fit, in its order and bins, and its inputs in theirs."""
    spikes = read(file, quiet=quiet, **as_fitted(fitted), **how)
    known = fitted.data["parameters"].coords
    data = {"spikes": spikes}
    for name, path in drives.items():
        dim = name.removesuffix("s")
        labels = known[dim].values.tolist() if dim in known else None
        data[name] = read_inputs(path, spikes, labels)
    return data


def as_fitted(fitted: "Result") -> dict[str, Any]:
    """Return the arguments of `neuromod.io.read_spikes` that a fit settles."""
    import numpy as np

    neurons = np.asarray(fitted.data["parameters"]["neuron"]).tolist()
    return {"bin_size": fitted.config["bin_size"], "include": neurons}


def network_of(file: Path) -> Any:
    """Return the network of a file, the first one of several seeds."""
    import neuromod as nm
    from neuromod.core import seeds

    network = nm.load(file)
    labels = seeds.labels(network.data)
    if labels is None:
        return network
    if len(labels) > 1:
        typer.echo(f"networks of the seeds {labels}: the first one is taken")
    return network.sel(seed=labels[0])
