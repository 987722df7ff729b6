"""What every condition of a network is held against: code, arena and waking."""

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr

from neuromod.core.dimensions import require_integer
from neuromod.reactivation.measures import tables
from neuromod.reactivation.measures.components import (
    Components,
    capture,
    principal_components,
)
from neuromod.reactivation.measures.density import Uniform
from neuromod.reactivation.measures.positions import subsample

N_CANDIDATES, N_OUTPUTS = 2000, 5000
LAGS = (1, 2, 4, 8, 16, 32, 64)
OF_PATHS = [
    "step_length",
    "within_trajectory_variance",
    "coverage",
    "displacement",
    "displacement_slope",
]


class Yardstick(NamedTuple):
    """A task, and how a network is when awake in it.

    Parameters
    ----------
    code
        Of the task.
    bounds : (space, 2)
        Of its arena.
    candidates : (point, space)
        Positions whose codes outputs are compared with.
    reference : (trial, time, space)
        Positions decoded awake.
    components
        Of states awake.
    seed
        Of all that is drawn.
    n_bins, n_components
        Bins of histograms, and components for ``captured``.
    """

    code: Any
    bounds: np.ndarray
    candidates: np.ndarray
    reference: xr.DataArray
    components: Components
    seed: int
    n_bins: int
    n_components: int

    @classmethod
    def of(
        cls, task: Any, awake: xr.Dataset, *, seed: int, n_bins: int, n_components: int
    ) -> "Yardstick":
        """Return the yardstick of a task and stationary trials awake (`wake`)."""
        n_components = require_integer(n_components, "n_components")
        return cls(
            task.code,
            np.array(task.bounds, float),
            np.asarray(_anywhere(task, jax.random.key(seed), N_CANDIDATES)),
            awake["position"],
            principal_components(awake["state"].values),
            seed,
            n_bins,
            min(n_components, awake.sizes["unit"]),
        )

    def measures(self, run: xr.Dataset) -> xr.Dataset:
        """Return all measures of a run that has positions, states and outputs."""
        paths = tables.path_table(
            run["position"],
            bounds=self.bounds,
            lags=[lag for lag in LAGS if lag < run.sizes["time"]],
            n_bins=self.n_bins,
            periodic=self.code.periodic,
        )
        manifold = tables.manifold_table(
            self._some(run["output"]), self.code, self.candidates
        )
        return xr.merge(
            [
                manifold.mean(keep_attrs=True),
                self.density(run["position"]),
                paths[OF_PATHS].mean(["trial"], keep_attrs=True),
                xr.Dataset({"captured": self._captured(run["state"].values)}),
            ]
        )

    def density(self, positions: xr.DataArray | Uniform) -> xr.Dataset:
        """Return how far the density of positions is from that of waking."""
        return tables.density_table(
            positions,
            self.reference,
            bounds=self.bounds,
            first_step=0,
            stationary_after=0,
            seed=self.seed,
            n_bins=self.n_bins,
            periodic=self.code.periodic,
        )

    def _captured(self, states: np.ndarray) -> xr.Variable:
        share = np.nan
        if states.var(axis=(0, 1)).any():
            share = capture(states, self.components, self.n_components)[-1]
        name = f"variance within {self.n_components} components of waking"
        return xr.Variable((), share, {"units": "1", "long_name": name})

    def _some(self, outputs: xr.DataArray) -> xr.DataArray:
        """Return a random part of the outputs, as one trial."""
        rows = outputs.values.reshape(-1, outputs.sizes["cell"])
        rows = subsample(rows, N_OUTPUTS, np.random.default_rng(self.seed))
        return xr.DataArray(rows[None], dims=("trial", "time", "cell"))


@partial(jax.jit, static_argnums=2)
def _anywhere(task: Any, key: Any, n: int) -> Any:
    """Return positions where trials begin: anywhere in an arena or along a track."""
    return task.draw(key, n, 1).positions[:, 0]
