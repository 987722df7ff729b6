"""The report of error regression along a user's own recording."""

from pathlib import Path

import pandas as pd
import xarray as xr

from neuromod import pvrnn
from neuromod.core.report import Number, Picture, Section
from neuromod.core.style import context

MEANT = {
    "error_regression": "error regression",
    "prior_only": "the prior alone (mean of 200 draws)",
    "last_value": "the last value",
    "channel_mean": "the mean of the recording",
}


def section(
    followed: xr.Dataset, rows: pd.DataFrame, network: Path, data: Path
) -> Section:
    """Tell how well a recording was predicted.

    Parameters
    ----------
    followed
        What `neuromod.pvrnn.follow` returned.
    rows
        The mean squared errors of every lag.
    network, data
        The files.
    """
    with context():
        figure = pvrnn.plot_regression(followed.isel(trial=0))[0].figure
    first, last = rows.iloc[0], rows.iloc[-1]
    answer = (
        f"One step ahead the mean squared error is {first['error_regression']:.4g} "
        f"(the prior alone {first['prior_only']:.4g}, the last value "
        f"{first['last_value']:.4g}); {int(last['lag'])} steps ahead it is "
        f"{last['error_regression']:.4g} ({last['prior_only']:.4g}, "
        f"{last['last_value']:.4g})."
    )
    numbers = [
        Number(f"{meant}, {int(row['lag'])} ahead", round(float(row[name]), 5))
        for _, row in rows.iloc[[0, -1]].iterrows()
        for name, meant in MEANT.items()
    ]
    caption = (
        "The first trial: what was observed and what had been predicted of it, the "
        "posterior of every layer, and the free energy after the iterations."
    )
    return Section(
        title="Error regression along a recording",
        question="Does the network foresee what comes, from the last steps alone?",
        answer=answer,
        pictures=[Picture(figure, caption, "Lines over the steps of a trial.")],
        numbers=numbers,
        code=(
            "import neuromod as nm\n\n"
            f"network = nm.load({network.name!r})\n"
            "objective = nm.pvrnn.objective_of(network)\n"
            "regression = nm.pvrnn.ErrorRegression(network.model, objective, seed=0)\n"
            "followed = nm.pvrnn.follow(regression, data)\n"
            "nm.pvrnn.prediction_error(followed)\n"
        ),
    )
