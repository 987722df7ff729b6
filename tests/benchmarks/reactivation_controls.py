"""Train networks of several seeds, let them sleep, and hold them against controls.

::

    python tests/benchmarks/reactivation_controls.py --store FOLDER \\
        --out docs/benchmarks/reactivation_controls.json

For each preset (``demo``, ``head_direction_small``) networks of five seeds are trained
with and without noise, and measured beside all controls (`neuromod.reactivation.
measure`) and against theory (`check_theory`). The whole of one network alone -
training, its noiseless twin, sleep and controls - is timed too (CPU time of the
process). Trainings are kept in the folder: a second call goes on where one stopped.
"""

import argparse
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # the script's own folder would shadow the package `kernels`
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import xarray as xr

import neuromod as nm
from neuromod.core.result import Result
from tests.benchmarks._measure import keep_to, machine

PRESETS = ("demo", "head_direction_small")
SEEDS = (0, 1, 2, 3, 4)


def networks(preset: str, store: Path) -> tuple[Result, Result]:
    """Return networks of all seeds, with noise and without, from the store if there."""
    found = []
    kinds: dict[str, dict[str, Any]] = {
        "noisy": {},
        "noiseless": {"recurrent_noise": 0.0},
    }
    for name, changes in kinds.items():
        path = store / f"{preset}-{name}.nc"
        if not path.exists():
            checkpoint = store / f"{preset}-{name}.checkpoint"
            nm.reactivation.train(
                preset, seed=SEEDS, checkpoint=checkpoint, **changes
            ).save(path)
        found.append(nm.load(path))
    return found[0], found[1]


def one_network(preset: str) -> dict[str, float]:
    """Return the CPU seconds of all that is done for one network, with compiling."""
    start = time.process_time()
    network = nm.reactivation.train(preset, seed=0)
    trained = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", nm.reactivation.measures.MisleadingWarning)
        nm.reactivation.measure(network, seed=0)
    done = time.process_time()
    return {"train": trained - start, "controls": done - trained, "all": done - start}


def told(measured: xr.Dataset) -> dict[str, Any]:
    """Return every measure by condition: its seeds, their mean and its interval."""
    table: dict[str, Any] = {}
    for name, values in measured.data_vars.items():
        if values.dims != ("condition", "seed"):
            continue
        interval = measured[f"{name}_interval"]
        table[str(name)] = {
            str(condition): {
                "seeds": rounded(values.sel(condition=condition)),
                "mean": rounded(values.sel(condition=condition).mean(skipna=False)),
                "interval": rounded(interval.sel(condition=condition)),
            }
            for condition in values["condition"].values
        }
    return table


def rounded(values: Any) -> Any:
    """Return plain numbers of four digits; None for what a condition does not have."""
    array = np.asarray(values, float)
    if array.ndim:
        return [rounded(value) for value in array]
    return float(f"{float(array):.4g}") if np.isfinite(array) else None


def study(preset: str, store: Path) -> dict[str, Any]:
    """Return all that is told of a preset."""
    noisy, noiseless = networks(preset, store)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", nm.reactivation.measures.MisleadingWarning)
        measured = nm.reactivation.measure(noisy, noiseless=noiseless, seed=0)
    theory = {
        name: {
            key: rounded(values)
            for key, values in nm.reactivation.check_theory(one, seed=0).items()
            if values.dims == ("seed",)
        }
        for name, one in (("noisy", noisy), ("noiseless", noiseless))
    }
    return {
        "measures": told(measured),
        "decoding_error": rounded(measured["decoding_error"]),
        "cautions": measured.attrs["cautions"],
        "theory": theory,
        "cpu_seconds_of_one_network": one_network(preset),
    }


def main() -> None:
    """Run the study and write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=PRESETS)
    given = parser.parse_args()
    given.store.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"machine": machine(), "seeds": SEEDS}
    for preset in given.presets:
        found[preset] = study(preset, given.store)
        shown = found[preset]
        for measure in ("kl_histogram", "cosine", "step_length"):
            print(f"{preset}: {measure}, mean and 95 % interval")
            for condition, numbers in shown["measures"][measure].items():
                print(f"  {condition:18s} {numbers['mean']}  {numbers['interval']}")
        print(shown["cautions"], shown["cpu_seconds_of_one_network"])
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    keep_to(1)
    main()
