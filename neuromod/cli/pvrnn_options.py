"""The options of `neuromod pvrnn`: how recordings become trials, and the network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from neuromod.cli.reading import option
from neuromod.core.errors import invalid

Data = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="Signals: CSV, NWB, .npz, .mat, netCDF; FIF, EDF, EEGLAB.",
    ),
]

READ, MADE, DESCENT = "How the file is read", "The network", "Training"
READING = {
    "signals": option(
        list[str], "NAME", "Signal or channel; may be repeated.", "--signal", panel=READ
    ),
    "variable": option(
        str,
        "NAME",
        "Array (trial, time, channel) or (time, channel) of an .npz or netCDF file.",
        panel=READ,
    ),
    "trial_steps": option(int, "N", "Cut into trials of so many steps.", panel=READ),
    "factor": option(
        float,
        "X",
        "Multiplies all values, which must end up in -1 to 1; of an EEG, in volts, it "
        "makes 4 standard deviations 0.8 if not given.",
        panel=READ,
    ),
}
RECIPE = {
    "preset": option(str, "NAME", "sdd, sa, glean or tglean.", panel=MADE),
    "units": option(str, "N,N", "Units of each layer, lowest first: 20,10", panel=MADE),
    "latents": option(str, "N,N", "Latents of each layer: 2,1", panel=MADE),
    "time_constants": option(str, "X,X", "In steps: 2,8", panel=MADE),
    "posterior": option(str, "NAME", "activity or adaptive.", panel=MADE),
    "head": option(str, "NAME", "tanh or gaussian.", panel=MADE),
    "meta_prior": option(str, "W,W", "w, of all layers or each (0.01).", panel=MADE),
    "first_meta_prior": option(str, "W,W", "w at the first step.", panel=MADE),
}
TRAINING = {
    "n_steps": option(int, "N", "Updates (10000).", "--steps", panel=DESCENT),
    "learning_rate": option(float, "X", "Of Adam (0.001).", panel=DESCENT),
    "adaptive_learning_rate": option(float, "X", "Of adaptive vectors.", panel=DESCENT),
    "n_batch": option(
        int, "N", "Trials of a minibatch (all).", "--batch", panel=DESCENT
    ),
}
MNE_ENDINGS = (".fif", ".fif.gz", ".edf", ".bdf", ".gdf", ".set", ".vhdr", ".cnt")


def trials_of(file: Path, how: Mapping[str, Any], *, is_trained: bool = False) -> Any:
    """Return the trials of a file: (trial, time, channel).

    Where a network is there already, an EEG has to be on the scale of its training.
    """
    if file.name.lower().endswith(MNE_ENDINGS):
        if is_trained and "factor" not in how:
            raise invalid("--factor", "none", "the one that training printed")
        return _of_mne(file, _names(how), how.get("trial_steps"), how.get("factor"))
    whole = _array(file, how) * how.get("factor", 1.0)
    return _cut(whole, how.get("trial_steps"))


def _names(how: Mapping[str, Any]) -> list[str]:
    names = how.get("signals", [])
    return [names] if isinstance(names, str) else list(names)


def _array(file: Path, how: Mapping[str, Any]) -> Any:
    import numpy as np
    import xarray as xr

    name = file.name.lower()
    if name.endswith(".nc"):
        with xr.open_dataset(file, engine="h5netcdf") as stored:
            chosen = _chosen(list(stored.data_vars), how.get("variable"))
            array = stored[chosen].load()
        missing = {"time", "channel"} - set(array.dims)
        if missing:
            expected = "the dimensions time and channel, and trial if there are several"
            raise invalid("--variable", f"{chosen!r} {array.dims}", expected)
        return array
    if name.endswith(".npz") and how.get("variable"):
        with np.load(file, allow_pickle=False) as stored:
            values = stored[_chosen(stored.files, how["variable"])]
        if values.ndim not in (2, 3):
            expected = "(trial, time, channel) or (time, channel)"
            raise invalid("--variable", f"an array of shape {values.shape}", expected)
        dims = ("trial", "time", "channel")[3 - values.ndim :]
        return xr.DataArray(values.astype(float), dims=dims)
    return _signals(file, _names(how))


def _signals(file: Path, names: list[str]) -> Any:
    """Return all signals along time of a table, NWB, .npz or .mat: (time, channel)."""
    import numpy as np
    import xarray as xr

    from neuromod import io

    found = io.read_behaviour(file, names or None, intervals=None)
    columns: dict[str, Any] = {}
    for name, values in found.data_vars.items():
        if "time" not in values.dims or not np.issubdtype(values.dtype, np.number):
            continue
        rest = [dim for dim in values.dims if dim != "time"]
        if not rest:
            columns[str(name)] = values.values
            continue
        for column in values.stack(part=rest).transpose("part", "time"):
            part = map(str, column["part"].item())
            columns[" ".join([str(name), *part])] = column.values
    if not columns:
        raise invalid("FILE", f"{file.name} without signals", "at least one along time")
    values = np.stack(list(columns.values()), axis=1).astype(float)
    coords = {"time": found["time"].values, "channel": list(columns)}
    return xr.DataArray(values, coords, ("time", "channel"))


def _of_mne(
    file: Path, names: list[str], n_steps: int | None, factor: float | None
) -> Any:
    import mne

    from neuromod.pvrnn.areas import HALF_RANGE, segments

    raw = mne.io.read_raw(file, verbose="error")
    chosen = names or list(raw.ch_names)
    half_range = None if factor is None else HALF_RANGE / factor
    trials = segments(
        raw, {"all": chosen}, n_steps=n_steps or raw.n_times, half_range=half_range
    )
    if factor is None:
        used = HALF_RANGE / trials.attrs["half_range"]
        typer.echo(f"scaled by --factor {used:.6g}, which other files need too")
    return trials


def _cut(array: Any, n_steps: int | None) -> Any:
    """Return trials of some steps; what is left over at the end is not used."""
    if n_steps is None or "trial" in array.dims:
        return array
    n_trials = array.sizes["time"] // n_steps
    if not n_trials:
        got, most = n_steps, array.sizes["time"]
        raise invalid("--trial-steps", got, f"at most the {most} of the file")
    return [
        array.isel(time=slice(k * n_steps, (k + 1) * n_steps)) for k in range(n_trials)
    ]


def _chosen(known: list[Any], name: str | None) -> Any:
    from neuromod.core.errors import did_you_mean

    if name is None and len(known) == 1:
        return known[0]
    if name not in known:
        remedy = did_you_mean(str(name), [str(k) for k in known])
        raise invalid("--variable", repr(name), f"one of {known}", remedy)
    return name


def recipe_of(recipe: Mapping[str, Any], n_channels: int) -> dict[str, Any]:
    """Return the arguments of training that say what network is trained."""
    from neuromod import pvrnn

    meta_prior = _numbers(recipe, "meta_prior")
    first = _numbers(recipe, "first_meta_prior")
    if "preset" in recipe:
        made = sorted(set(recipe) - {"preset", "meta_prior", "first_meta_prior"})
        if made:
            got = f"beside --{made[0].replace('_', '-')}"
            raise invalid("--preset", got, "alone: it says what the network is")
        setting = pvrnn.preset(recipe["preset"], n_channels)
        objective = setting.objective
        if meta_prior is not None or first is not None:
            objective = objective.with_meta_prior(
                objective.meta_prior if meta_prior is None else meta_prior,
                objective.first_meta_prior if first is None else first,
            )
        return {
            "network": setting.build,
            "objective": objective,
            "adaptive_start": setting.adaptive_start,
        }
    heads = {"tanh": pvrnn.tanh_head, "gaussian": pvrnn.gaussian_head}
    kind = recipe.get("head", "tanh")
    if kind not in heads:
        raise invalid("--head", repr(kind), "tanh or gaussian")
    units, latents, constants = (
        _numbers(recipe, name) or default
        for name, default in (
            ("units", [20, 10]),
            ("latents", [2, 1]),
            ("time_constants", [2, 8]),
        )
    )
    posterior = recipe.get("posterior", "activity")

    def build(key: Any) -> Any:
        return pvrnn.hierarchy(
            key,
            [int(n) for n in units],
            [int(n) for n in latents],
            constants,
            [heads[kind](n_channels)],
            posterior=posterior,
        )

    objective = pvrnn.Objective(0.01 if meta_prior is None else meta_prior, first)
    return {"network": build, "objective": objective}


def _numbers(recipe: Mapping[str, Any], name: str) -> Any:
    """Return what stands between commas; a single meta-prior is that of all layers."""
    given = recipe.get(name)
    if given is None:
        return None
    try:
        found = [float(part) for part in given.split(",")]
    except ValueError:
        option_name = f"--{name.replace('_', '-')}"
        raise invalid(option_name, repr(given), "numbers: 20,10") from None
    return found[0] if "meta_prior" in name and len(found) == 1 else found
