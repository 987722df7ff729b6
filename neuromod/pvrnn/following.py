"""Error regression along a recording: what was predicted at each of its steps."""

from typing import Any

import numpy as np
import xarray as xr

from neuromod.core.errors import ShapeError, invalid
from neuromod.core.progress import progress_bar
from neuromod.pvrnn.data import read
from neuromod.pvrnn.error_regression import ErrorRegression, Regression
from neuromod.pvrnn.layers import Normal


class Log:
    """What error regression has found, step by step."""

    def __init__(self, regression: ErrorRegression) -> None:
        if regression.n_trials is not None:
            got = f"{regression.n_trials} trials side by side"
            raise invalid("regression", got, "one of a single trial: n_trials=None")
        self.regression = regression
        self.rows: list[dict[str, Any]] = []

    def add(self, observation: np.ndarray, found: Regression) -> None:
        """Take in a step."""
        newest = found.n_seen - 1
        row: dict[str, Any] = {
            "observation": observation,
            "prediction": found.prediction,
            "reconstruction": found.reconstruction[newest],
            "free_energy": found.loss[-1],
        }
        for name in ("posterior", "prior"):
            normal: Normal = getattr(found, name)
            row[f"{name}_mean"] = normal.mean[newest]
            row[f"{name}_deviation"] = normal.deviation[newest]
        self.rows.append(row)

    def dataset(self, time: np.ndarray, channels: Any = None) -> xr.Dataset:
        """Return all of it with names."""
        network = self.regression.network
        dims = {
            "observation": ("time", "channel"),
            "prediction": ("time", "lag", "channel"),
            "reconstruction": ("time", "channel"),
            "free_energy": ("time",),
        }
        found = {
            name: (dims.get(name, ("time", "latent")), np.stack(column))
            for name in self.rows[0]
            for column in [[row[name] for row in self.rows]]
        }
        layers = np.array([layer.name for layer in network.layers])
        n_predicted = self.rows[0]["prediction"].shape[0]
        coords: dict[str, Any] = {
            "time": time,
            "lag": ("lag", 1 + np.arange(n_predicted), {"units": "steps"}),
            "layer_of_latent": ("latent", layers[network.latent_layers]),
        }
        if channels is not None:
            coords["channel"] = channels
        return xr.Dataset(found, coords)


def follow(
    regression: ErrorRegression, data: Any, *, progress: bool = True
) -> xr.Dataset:
    """Let error regression follow a recording, as if it came in step by step.

    Parameters
    ----------
    regression
        What follows; it forgets what it saw before each trial.
    data
        The recording: (time, channel), or trials of it as `neuromod.pvrnn.train` takes
        them; NaN is missing.
    progress
        Whether to show a progress bar.

    Returns
    -------
    xarray.Dataset
        ``prediction`` (trial, time, lag, channel), made when the step at ``time`` had
        just been seen, of ``lag`` steps later; the ``observation`` and its
        ``reconstruction`` (trial, time, channel), the ``free_energy`` after the
        iterations (trial, time), and the ``posterior`` and ``prior`` of the newest step
        (trial, time, latent). NaN after the end of a shorter trial.

    Raises
    ------
    ShapeError
        If the recording has other dimensions or channels.
    InvalidInputError
        If a whole window is missing.

    Examples
    --------
    >>> import jax
    >>> from neuromod.pvrnn import Objective, hierarchy, tanh_head
    >>> network = hierarchy(jax.random.key(0), [10], [1], [2], [tanh_head(1)])
    >>> regression = ErrorRegression(
    ...     network, Objective(0.01), seed=0, n_iterations=5, n_predicted=3
    ... )
    >>> wave = 0.5 * np.sin(np.arange(8.0))[:, None]
    >>> wave = xr.DataArray(wave, dims=("time", "channel"))
    >>> dict(follow(regression, wave, progress=False)["prediction"].sizes)
    {'trial': 1, 'time': 8, 'lag': 3, 'channel': 1}
    """
    trials = read(data)
    n_channels = regression.network.n_channels
    if len(trials.channels) != n_channels:
        expected = f"the {n_channels} of the network's heads"
        got = f"{len(trials.channels)} channels"
        raise invalid("data", got, expected, kind=ShapeError)
    values = np.where(trials.observed, trials.values, np.nan)
    found, n_all = [], int(trials.valid.sum())
    with progress_bar(n_all, "following", "step", shown=progress) as bar:
        for k in range(len(trials.labels)):
            regression.reset()
            log, n_steps = Log(regression), int(trials.valid[:, k].sum())
            for row in values[:n_steps, k]:
                log.add(row, regression.step(row))
                bar.update(1)
            found.append(log.dataset(trials.time[:n_steps], trials.channels))
    labels = xr.Variable("trial", trials.labels)
    how: Any = {"join": "outer", "coords": "minimal", "compat": "override"}
    return xr.concat(found, labels, **how)
