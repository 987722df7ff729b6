"""The report of a switching GLM that was fitted to a user's own recording."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuromod.core.report import Number, Picture, Section

if TYPE_CHECKING:
    import xarray as xr

    from neuromod.core.result import Result

# In the order in which the report shows them.
FIGURES = [
    "states",
    "states_close",
    "connectivity",
    "rates",
    "transitions",
    "dwell_times",
    "convergence",
]
CLOSE_BINS = 240


def section(
    fit: "Result",
    spikes: "xr.DataArray",
    pictures: Mapping[str, Picture],
    code: str,
) -> Section:
    """Tell what a fit says about a recording.

    Parameters
    ----------
    fit
        Result of `neuromod.switching.fit`.
    spikes : (time, neuron)
        The recording.
    pictures
        Its figures, as `draw` makes them.
    code
        The lines that do the same in Python.
    """
    from neuromod import switching

    gain = float(switching.score(fit, spikes)["bits_per_spike"])
    occupancy = switching.occupancy(switching.smooth(fit, spikes)).values.tolist()
    visits = switching.dwell_times(
        switching.decode(fit, spikes), fit.config["bin_size"]
    )
    ended = fit.data["history"].attrs
    converged = "converged" if ended["converged"] else "stopped unconverged"
    return Section(
        title="States and couplings",
        question=(
            f"Which {fit.model.n_states} hidden states do the spikes of "
            f"{fit.model.n_neurons} neurons pass through, and how do the neurons act "
            "on one another in each?"
        ),
        answer=(
            f"{_shares(occupancy)}Knowing states and couplings predicts these spikes "
            f"by {gain:.3f} bits per spike better than "
            "independent neurons at their mean rates. The best of "
            f"{fit.config['n_restarts']} restarts {converged} after "
            f"{ended['n_iterations']} iterations.\n\n"
            "If these are the spikes that the model was fitted to, part of that gain "
            "is fitted noise: score a stretch that the fit has not seen "
            "(neuromod switching score)."
        ),
        pictures=list(pictures.values()),
        numbers=_numbers(fit, gain, occupancy, visits),
        code=code,
    )


def _shares(occupancy: list[float]) -> str:
    shares = [f"state {i} {100 * share:.0f} %" for i, share in enumerate(occupancy)]
    return f"Of all bins, {', '.join(shares)}. " if len(shares) > 1 else ""


def _numbers(
    fit: "Result", gain: float, occupancy: list[float], visits: Mapping[int, Any]
) -> list[Number]:
    scores = fit.data.attrs
    likelihood = scores["log_likelihood_per_bin"]
    numbers = [
        Number("Bins fitted", scores["n_bins"]),
        Number("Log-likelihood of the fit", likelihood, unit="nats per bin"),
        Number("Gain over independent neurons", gain, unit="bits per spike"),
    ]
    for state, share in enumerate(occupancy):
        numbers.append(Number(f"State {state}: share of time", 100 * share, unit="%"))
        if state in visits:
            mean = float(visits[state].mean())
            numbers.append(Number(f"State {state}: mean visit", mean, unit="s"))
    return numbers


def draw(fit: "Result", spikes: "xr.DataArray") -> dict[str, Picture]:
    """Draw every figure of a fit, by the name of its file."""
    from neuromod import switching
    from neuromod.core import style

    start, stop = _close_stretch(spikes)
    with style.context():
        pictures = {
            "states": _picture(
                lambda ax: switching.plot_states(fit, spikes, ax=ax),
                (7.2, 3.4),
                "Spikes (one row per neuron) on a ground coloured by the most "
                "probable state; the paler, the less certain.",
                "Raster of spikes over the recording with the inferred states.",
            ),
            "states_close": _picture(
                lambda ax: switching.plot_states(
                    fit, spikes, start=start, stop=stop, ax=ax
                ),
                (7.2, 3.4),
                f"The same from {start:.1f} to {stop:.1f} s.",
                "Raster of spikes over a short stretch with the inferred states.",
            ),
            "rates": _picture(
                lambda ax: switching.plot_rates(fit, ax=ax),
                (7.2, 2.6),
                "Each neuron's rate in each state when no neuron has fired before.",
                "Baseline rates of the neurons, one mark per state.",
            ),
            "transitions": _picture(
                lambda ax: switching.plot_transitions(fit, ax=ax),
                (3.2, 3.0),
                "Probability of going from one state (row) to another in one bin.",
                "Matrix of transition probabilities.",
            ),
            "dwell_times": _picture(
                lambda ax: switching.plot_dwell_times(fit, spikes, ax=ax),
                (4.8, 3.0),
                "How long visits to each state last; dashed, what the fitted chain "
                "says.",
                "Falling curves of the fraction of visits that last longer.",
            ),
            "convergence": _picture(
                lambda ax: switching.plot_convergence(fit, ax=ax),
                (4.8, 3.0),
                "The objective of every restart over iterations.",
                "Rising curves that level off.",
            ),
        }
        if fit.model.n_lags:
            pictures["connectivity"] = _connectivity(fit)
    return {name: pictures[name] for name in FIGURES if name in pictures}


def _picture(
    plot: Any, size: tuple[float, float], caption: str, spoken: str
) -> Picture:
    from neuromod.core import style

    figure, ax = style.figure(size=size)
    plot(ax)
    return Picture(figure, caption, spoken)


def _connectivity(fit: "Result") -> Picture:
    from neuromod import switching
    from neuromod.core import style

    n_states = fit.model.n_states
    n_columns = min(n_states, 3)
    n_rows = -(-n_states // n_columns)
    size = (3.4 * n_columns, 2.9 * n_rows)
    figure, axes = style.figure(n_rows, n_columns, size=size, squeeze=False)
    for state, ax in enumerate(axes.flat):
        if state < n_states:
            switching.plot_connectivity(fit, state=state, ax=ax)
        else:
            ax.set_axis_off()
    return Picture(
        figure,
        "Couplings in each state, summed over their filters: red excites, blue "
        "inhibits.",
        "One matrix of weights per state, sources along x, targets along y.",
    )


def _close_stretch(spikes: "xr.DataArray") -> tuple[float, float]:
    """Return a short stretch (s) in the middle of the first session."""
    if "session" in spikes.coords:
        first = spikes["session"].values == spikes["session"].values[0]
        spikes = spikes.isel(time=first)
    time = spikes["time"].values
    middle = max(0, (len(time) - CLOSE_BINS) // 2)
    return float(time[middle]), float(time[middle : middle + CLOSE_BINS][-1])


def code(result: str, file: Path, how: Mapping[str, Any]) -> str:
    """Write the lines that do in Python what the command did."""
    options = "".join(f", {k}={v!r}" for k, v in how.items() if v is not None)
    return f"""\
import neuromod as nm

fit = nm.load({result!r})
spikes = nm.io.read_spikes({str(file)!r}{options})
nm.switching.smooth(fit, spikes)  # the probability of each state in each bin
nm.switching.plot_states(fit, spikes)
"""
