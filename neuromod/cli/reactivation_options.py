"""The options of `neuromod reactivation`: what is trained, and how it sleeps."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuromod.cli.reading import option
from neuromod.core.errors import invalid

MADE, FILE, NIGHT = "How it is made", "If TASK is a file of positions", "The night"
RECIPE = {
    "kind": option(str, "NAME", "vanilla or gru.", panel=MADE),
    "n_units": option(int, "N", "Recurrent units.", "--units", panel=MADE),
    "leak": option(float, "X", "Time step over membrane time constant.", panel=MADE),
    "recurrent_noise": option(float, "X", "Noise per step.", "--noise", panel=MADE),
    "noise_law": option(str, "NAME", "gaussian or uniform01.", panel=MADE),
    "n_trials": option(int, "N", "Trials of every step.", "--trials", panel=MADE),
    "n_steps": option(int, "N", "Steps of training.", "--steps", panel=MADE),
    "learning_rate": option(float, "X", "Of Adam.", panel=MADE),
    "schedule": option(str, "NAME", "constant or cosine.", panel=MADE),
}
PATHS = {
    "signal": option(str, "NAME", "Signal that holds the positions.", panel=FILE),
    "scale": option(
        float, "M", "Metres per unit of the file (of pixels; required).", panel=FILE
    ),
    "time_step": option(float, "S", "Time step of the network (0.05).", panel=FILE),
    "trial_steps": option(int, "N", "Steps of a trial (60).", panel=FILE),
    "cells": option(int, "N", "Place cells (100).", panel=FILE),
    "cell_width": option(float, "M", "Width of a place field (0.2).", panel=FILE),
}
ASLEEP = {
    "scheme": option(str, "NAME", "scaled, same, absolute or zero.", panel=NIGHT),
    "initial": option(str, "NAME", "code, or 'awake state'.", panel=NIGHT),
    "record_every": option(int, "N", "Steps from record to record.", panel=NIGHT),
    "adaptation": option(float, "X", "Strength of adaptation.", panel=NIGHT),
    "adaptation_time_constant": option(
        float, "S", "Time constant of adaptation.", panel=NIGHT
    ),
    "momentum": option(float, "X", "Share of a step that is repeated.", panel=NIGHT),
    "decoder": option(str, "NAME", "top_k or population_vector.", panel=NIGHT),
}


def task_of(name: str, paths: Mapping[str, Any]) -> Any:
    """Return the name of a preset, or a task by seed along the paths of a file."""
    if not Path(name).exists():
        if paths:
            given = ", ".join(f"--{k.replace('_', '-')}" for k in paths)
            raise invalid(given, f"beside the task {name!r}", "a file of positions")
        return name
    return _recorded(Path(name), dict(paths))


def _recorded(file: Path, paths: dict[str, Any]) -> Any:
    import numpy as np

    from neuromod import io, reactivation

    scale = paths.get("scale")
    if scale is None:
        raise invalid("--scale", "nothing", "metres per unit of the positions")
    signals = io.read_behaviour(file, paths.get("signal"), crop=False, intervals=None)
    known = [str(k) for k, v in signals.items() if "space" in v.dims]
    if len(known) != 1:
        raise invalid(
            "--signal",
            f"{file.name} with the positions {', '.join(known) or 'none'}",
            "one",
            "Name a signal with a column for each axis: --signal position.",
        )
    positions = signals[known[0]].astype(float).dropna("time") * scale
    step = paths.get("time_step", 0.05)
    clock = positions["time"].values
    regular = np.arange(clock[0], clock[-1], step)
    positions = positions.interp(time=regular).assign_attrs(units="m")
    return lambda seed: reactivation.Recorded(
        positions,
        n_steps=paths.get("trial_steps", 60),
        n_cells=paths.get("cells", 100),
        cell_width=paths.get("cell_width", 0.2),
        seed=seed,
    )
