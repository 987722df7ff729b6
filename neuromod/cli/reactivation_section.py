"""The report of a user's own network, measured beside its controls."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from neuromod import reactivation
from neuromod.cli.tables import aligned
from neuromod.core.report import Number, Picture, Section
from neuromod.core.style import context

TOLD = ("cosine", "kl_histogram", "step_length", "within_trajectory_variance")


def table(measured: xr.Dataset) -> pd.DataFrame:
    """Return a row for each condition and measure: mean and interval over seeds."""
    rows = []
    for name, values in measured.data_vars.items():
        if values.dims != ("condition", "seed"):
            continue
        interval = measured[f"{name}_interval"]
        for condition in values["condition"].values:
            low, high = interval.sel(condition=condition).values.tolist()
            mean = float(values.sel(condition=condition).mean(skipna=False))
            rows.append(
                {
                    "condition": str(condition),
                    "measure": str(name),
                    "mean": mean,
                    "lower": low,
                    "upper": high,
                    "units": values.attrs["units"],
                }
            )
    return pd.DataFrame(rows)


def table_told(measured: xr.Dataset) -> str:
    """Return the main measures with a row for each condition, and the cautions."""
    columns = {"condition": measured["condition"].values.tolist()}
    for name in TOLD:
        columns[name] = [_interval(measured, name, c) for c in columns["condition"]]
    n_seeds = measured.sizes["seed"]
    over = "" if n_seeds == 1 else f"; mean and 95 % interval over {n_seeds} seeds"
    units = ", ".join(f"{name} in {measured[name].attrs['units']}" for name in TOLD)
    lines = [aligned(pd.DataFrame(columns)), f"({units}{over})"]
    return "\n".join([*lines, *(f"caution: {t}" for t in measured.attrs["cautions"])])


def _interval(measured: xr.Dataset, name: str, condition: str) -> str:
    mean = float(measured[name].sel(condition=condition).mean(skipna=False))
    low, high = measured[f"{name}_interval"].sel(condition=condition).values
    if np.isnan(mean):
        return "-"
    return f"{mean:.3f}" + (f" ({low:.3f} to {high:.3f})" if np.isfinite(low) else "")


def section(measured: xr.Dataset, file: Path, seed: int) -> Section:
    """Tell whether a network replays.

    Parameters
    ----------
    measured
        What `neuromod.reactivation.measure` returned.
    file
        The file of the network.
    seed
        Of the nights.
    """
    with context():
        controls = reactivation.plot_controls(measured)
        displacement: Any = reactivation.plot_displacement(measured).figure
    mean = measured.mean("seed")

    def of(name: str, condition: str) -> float:
        return float(mean[name].sel(condition=condition))

    answer = (
        f"Asleep, outputs have a cosine of {of('cosine', 'asleep'):.2f} with the code "
        f"of a place (untrained: {of('cosine', 'untrained'):.2f}), and places are "
        f"{of('kl_histogram', 'asleep'):.2f} nats from those of waking (untrained: "
        f"{of('kl_histogram', 'untrained'):.2f}; trained without noise: "
        f"{of('kl_histogram', 'noiseless'):.2f})."
    )
    cautions = measured.attrs["cautions"]
    return Section(
        title="Sleep beside its controls",
        question="Does the network go in its sleep where it went awake?",
        answer="\n\n".join([answer, *(f"Caution: {text}" for text in cautions)]),
        pictures=[
            Picture(
                controls[0].figure,
                "Each measure of each condition: a dot for each seed, the mean and its "
                "95 % interval.",
                "A panel for each measure, a row for each condition.",
            ),
            Picture(
                displacement,
                "How far the believed place moves within a time.",
                "Curves of mean squared displacement over the delay.",
            ),
        ],
        numbers=[
            Number(
                f"{name}, {condition}",
                _interval(measured, name, condition),
                unit=measured[name].attrs["units"],
            )
            for condition in ("awake", "asleep", "untrained", "noiseless")
            for name in TOLD
        ],
        code=(
            "import neuromod as nm\n\n"
            f"network = nm.load({str(file)!r})\n"
            f"measured = nm.reactivation.measure(network, seed={seed})\n"
            "nm.reactivation.plot_controls(measured)\n"
            "nm.reactivation.plot_displacement(measured)\n"
        ),
    )
