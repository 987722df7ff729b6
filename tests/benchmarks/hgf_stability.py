r"""Map where the schemes of the Hierarchical Gaussian Filter hold, fail and run away.

::

    python tests/benchmarks/hgf_stability.py OUTCOMES.npz \
        --out docs/benchmarks/hgf_stability.json \
        --figure docs/evidence/hgf_stability.png

Every scheme runs the three-level network over one series of binary outcomes (the array
``input`` of the file), on a grid of the two tonic volatilities. What is mapped is the
total surprise at the outcomes. A fair coin would be surprised by log 2 per trial:
beliefs that do worse are worse than none. Where a precision turns negative, beliefs
stop being numbers (*failed*). And they can *run away* unnoticed: the variance of x2
explodes, and on more than a tenth of the trials the predicted probability of an outcome
lies at its clip.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":  # the script's own folder would shadow the package `kernels`
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import jax
import jax.numpy as jnp
import xarray as xr

import neuromod as nm
from neuromod.core.style import context, figure
from neuromod.hgf import inference
from neuromod.hgf.filter import SATURATED_SHARE
from neuromod.hgf.plot_checks import plot_stability
from neuromod.hgf.schemes import APPROXIMATIONS, UPDATES
from tests.benchmarks._measure import machine

VOLATILITIES = ("tonic_volatility_2", "tonic_volatility_3")
CELLS = (  # of the map in the literature's units, where single numbers are told
    (-8.0, -6.0, -4.0, -3.0, -2.0, -1.0, 0.0, 2.0),
    (-8.0, -6.0, -4.0, -2.0, 0.0, 2.0),
)
USUAL = {VOLATILITIES[0]: slice(-6, -2), VOLATILITIES[1]: slice(-8, -6)}


def stability(outcomes: np.ndarray, grid: np.ndarray) -> xr.Dataset:
    """Run every scheme over the outcomes at every pair of tonic volatilities.

    Returns ``surprise`` (nats, NaN where the beliefs failed), ``saturated`` (share of
    trials whose prediction is at its clip) and ``largest_mean`` (the largest |mean| of
    x2), each (scheme, tonic_volatility_2, tonic_volatility_3).
    """
    pairs = [(update, how) for how in APPROXIMATIONS for update in UPDATES]
    found = [_one_scheme(outcomes, grid, *pair) for pair in pairs]
    dims = ("scheme", *VOLATILITIES)
    names = [f"{update}, {how}" for update, how in pairs]
    variables = {key: (dims, np.stack([f[key] for f in found])) for key in found[0]}
    coords = {"scheme": names, VOLATILITIES[0]: grid, VOLATILITIES[1]: grid}
    chance = len(outcomes) * np.log(2)
    result = xr.Dataset(variables, coords, {"chance": chance})
    result["surprise"].attrs = {"long_name": "total surprise", "units": "nats"}
    return result


def _one_scheme(
    outcomes: np.ndarray, grid: np.ndarray, update: str, approximation: str
) -> dict[str, np.ndarray]:
    @jax.jit
    @jax.vmap
    def at(second, third):
        network = nm.hgf.binary_three_level(
            (second, third), update=update, approximation=approximation
        )
        series = inference.Series((outcomes,), (None,), None)
        found = inference.run(network, series)
        mean = found.predictions["outcome"].mean
        clip = 1.01 * network.clip
        return {
            "surprise": inference.surprise(network, series, found)["outcome"].sum(),
            "saturated": ((mean < clip) | (mean > 1 - clip)).mean(),
            "largest_mean": abs(found.beliefs["x2"].mean).max(),
            "failed": ~jnp.isfinite(
                found.beliefs["x2"].mean + found.beliefs["x3"].mean
            ).all(),
        }

    second, third = np.meshgrid(grid, grid, indexing="ij")
    with jax.enable_x64(True):
        found = at(second.ravel(), third.ravel())
    shaped = {k: np.asarray(v).reshape(second.shape) for k, v in found.items()}
    failed = shaped.pop("failed")
    return {key: np.where(failed, np.nan, v) for key, v in shaped.items()}


def facts(found: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Count, for each scheme, how often it failed, ran away and lost to a coin."""
    cells = dict(zip(VOLATILITIES, map(list, CELLS), strict=True))
    table = {}
    for scheme in found["scheme"].values:
        one = found.sel(scheme=scheme)
        few = one.sel(cells)
        failed = np.isnan(one["surprise"])
        runaway = one["saturated"] > SATURATED_SHARE
        worse = one["surprise"] > found.attrs["chance"]
        most = one["surprise"].where(one["surprise"].notnull(), -1).argmax(...)
        table[str(scheme)] = {
            "failed_share": round(float(failed.mean()), 3),
            "runaway_share": round(float(runaway.mean()), 3),
            "worse_than_chance_share": round(float(worse.mean()), 3),
            "failed_cells": int(np.isnan(few["surprise"]).sum()),
            "runaway_cells": int((few["saturated"] > SATURATED_SHARE).sum()),
            "worse_than_chance_cells": int(
                (few["surprise"] > found.attrs["chance"]).sum()
            ),
            "failed_at": _places(np.isnan(few["surprise"])),
            "most_surprised": _place(one.isel(most)),
            "at_-3_-2": _place(one.sel(dict(zip(VOLATILITIES, (-3, -2), strict=True)))),
        }
    return table


def _places(where: Any) -> list[str]:
    """List cells by both tonic volatilities."""
    second, third = (where[name].values for name in VOLATILITIES)
    found = np.argwhere(where.values)
    return [f"{second[i]:g}, {third[j]:g}" for i, j in found]


def _place(cell: xr.Dataset) -> dict[str, float]:
    names = (*VOLATILITIES, "surprise", "saturated", "largest_mean")
    return {name: float(f"{float(cell[name]):.5g}") for name in names}


def spread(found: xr.Dataset) -> float:
    """Return by how many nats the schemes differ at most in the usual region."""
    usual = found["surprise"].sel(USUAL)
    return round(float((usual.max("scheme") - usual.min("scheme")).max()), 2)


def report(found: xr.Dataset, source: Path) -> dict[str, Any]:
    """Gather what the JSON file holds."""
    grid = found[VOLATILITIES[0]].values
    rows = {
        key: {
            str(scheme): [
                " ".join(f"{value:.{digits}f}" for value in row)
                for row in found[key].sel(scheme=scheme).values
            ]
            for scheme in found["scheme"].values
        }
        for key, digits in (("surprise", 1), ("saturated", 2))
    }
    return {
        "outcomes": source.name,
        "chance": round(found.attrs["chance"], 2),
        "cells": {
            name: " ".join(f"{value:g}" for value in axis)
            for name, axis in zip(VOLATILITIES, CELLS, strict=True)
        },
        "schemes": facts(found),
        "largest_difference_in_the_usual_region": spread(found),
        "grid": " ".join(f"{value:g}" for value in grid),
        "rows": "one string per tonic_volatility_2, in it one number per "
        "tonic_volatility_3; nan where beliefs failed",
        **rows,
        "versions": {"neuromod": nm.__version__, "jax": jax.__version__},
        "machine": machine(),
    }


def draw(found: xr.Dataset, path: Path) -> None:
    """Draw one map per scheme: updates from left to right, approximations below."""
    import matplotlib.pyplot as plt

    with context():
        shape = (len(APPROXIMATIONS), len(UPDATES))
        canvas, axes = figure(*shape, (9.6, 5.2), sharex=True, sharey=True)
        axes = plot_stability(found, axes=axes.ravel())
        legend = axes[0].get_legend()
        labels = [text.get_text() for text in legend.get_texts()]
        canvas.legend(
            legend.legend_handles, labels, loc="outside lower center", ncols=2
        )
        legend.remove()
        canvas.savefig(path, dpi=120)
        plt.close(canvas)


def main() -> None:
    """Compute the map and write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("outcomes", type=Path, help="an .npz file with `input`")
    parser.add_argument("--out", type=Path, help="where to write the map as JSON")
    parser.add_argument("--figure", type=Path, help="where to draw it")
    parser.add_argument("--step", type=float, default=0.5, help="of the grid")
    options = parser.parse_args()
    with np.load(options.outcomes) as file:
        outcomes = file["input"].ravel().astype(float)
    grid = np.arange(-8, 2 + options.step / 2, options.step)
    found = stability(outcomes, grid)
    for scheme, told in facts(found).items():
        print(scheme, json.dumps(told))
    print("largest difference in the usual region:", spread(found), "nats")
    if options.figure:
        options.figure.parent.mkdir(parents=True, exist_ok=True)
        draw(found, options.figure)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(report(found, options.outcomes), indent=1)
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
