"""How well the steps to come were predicted, beside predictors that know less."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from neuromod.core.errors import ShapeError, invalid


def prediction_error(
    followed: xr.Dataset, others: Mapping[str, xr.DataArray] | None = None
) -> xr.Dataset:
    """Return squared errors of predictions, each over the same steps.

    Parameters
    ----------
    followed
        What `neuromod.pvrnn.follow` returned: (trial, time, ...).
    others
        Further predictions by their names: of what comes ``lag`` after ``time``,
        (trial, time, lag, channel); or of what there is at ``time``, (time, channel)
        or (trial, time, channel), such as the mean of what a prior makes up.

    Returns
    -------
    xarray.Dataset
        Mean squared errors (trial, lag): ``error_regression``, ``last_value`` (as if
        nothing changed), ``channel_mean`` (of the whole recording, which no predictor
        could know), and those of the others. Only steps count at which a channel was
        observed when it was predicted, and when it came.

    Raises
    ------
    ShapeError
        If another prediction has other steps or channels.
    """
    observed = followed["observation"].transpose("trial", "time", "channel").values
    lags = followed["lag"].values.astype(int)
    n_steps = observed.shape[1]
    if n_steps <= lags.max():
        expected = f"more steps than the {lags.max()} that are predicted"
        raise invalid("followed", f"{n_steps} steps", expected)
    mean = np.nanmean(observed, axis=(0, 1))
    known = {"error_regression": followed["prediction"], **(others or {})}
    arrays = {name: _predictions(p, followed, name) for name, p in known.items()}
    rows: dict[str, list[np.ndarray]] = {name: [] for name in (*arrays, *SIMPLE)}
    for k, lag in enumerate(lags):
        came, seen = observed[:, lag:], observed[:, :-lag]
        told = {name: array[:, : n_steps - lag, k] for name, array in arrays.items()}
        told |= {"last_value": seen, "channel_mean": mean[None, None]}
        counts = np.isfinite(came) & np.isfinite(seen)
        for name, values in told.items():
            squares = np.where(counts, np.square(values - came), 0)
            rows[name].append(squares.sum(axis=(1, 2)) / counts.sum(axis=(1, 2)))
    found = {
        name: (("trial", "lag"), np.stack(columns, axis=1), {"units": "1"})
        for name, columns in rows.items()
    }
    coords = {name: followed[name] for name in ("trial", "lag")}
    return xr.Dataset(found, coords)


SIMPLE = ("last_value", "channel_mean")


def _predictions(given: xr.DataArray, followed: xr.Dataset, name: str) -> np.ndarray:
    """Return predictions (trial, time, lag, channel) made at each time."""
    like = followed["prediction"].transpose("trial", "time", "lag", "channel")
    if "lag" in given.dims:
        whole = given.transpose("trial", "time", "lag", "channel").values
        if whole.shape != like.shape:
            raise invalid(
                name, f"shape {whole.shape}", f"{like.shape}", kind=ShapeError
            )
        return whole
    n_trials, n_steps, _, n_channels = like.shape
    rows = given.transpose(..., "time", "channel").values
    if rows.shape[-2:] != (n_steps, n_channels):
        expected = f"({n_steps}, {n_channels}) of time and channel"
        raise invalid(name, f"shape {rows.shape}", expected, kind=ShapeError)
    rows = np.broadcast_to(rows, (n_trials, n_steps, n_channels))
    found = np.full(like.shape, np.nan)
    for k, lag in enumerate(followed["lag"].values.astype(int)):
        found[:, : n_steps - lag, k] = rows[:, lag:]
    return found
