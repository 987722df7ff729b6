"""The report of a switching GLM that was fitted to a user's own recording."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuromod.core.report import Number, Picture, Section

if TYPE_CHECKING:
    from neuromod.core.result import Result

# In the order in which the report shows them.
FIGURES = [
    "states",
    "states_close",
    "connectivity",
    "edges",
    "preferences",
    "rates",
    "transitions",
    "dwell_times",
    "time_rescaling",
    "convergence",
]
CLOSE_BINS = 240
# Observations whose gain is told per spike; that of others per bin, or choice.
SPIKING = ("poisson", "negative_binomial")
# Of the places of spikes within their bins, which the check draws.
SEED = 0


def section(
    fit: "Result",
    data: Mapping[str, Any],
    pictures: Mapping[str, Picture],
    code: str,
) -> Section:
    """Tell what a fit says about a recording.

    Parameters
    ----------
    fit
        Result of `neuromod.switching.fit`.
    data
        The recording (``spikes``), and ``inputs`` and ``transition_inputs`` if the fit
        had them.
    pictures
        Its figures, as `draw` makes them.
    code
        The lines that do the same in Python.
    """
    from neuromod import switching

    unit = "spike" if fit.model.observation in SPIKING else "bin"
    gain = float(switching.score(fit, **data)[f"bits_per_{unit}"])
    occupancy = switching.occupancy(switching.smooth(fit, **data)).values.tolist()
    path = switching.decode(fit, **data)
    visits = switching.dwell_times(path, fit.config["bin_size"])
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
            f"by {gain:.3f} bits per {unit} better than "
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


def draw(fit: "Result", data: Mapping[str, Any]) -> dict[str, Picture]:
    """Draw every figure that a fit has, by the name of its file."""
    from neuromod.core import style

    with style.context():
        pictures = {**_of_time(fit, data), **_of_model(fit)}
        if len(fit.model.basis):
            pictures |= _of_couplings(fit)
        if fit.model.observation in ("poisson", "bernoulli", "negative_binomial"):
            pictures["time_rescaling"] = _time_rescaling(fit, data)
    return {name: pictures[name] for name in FIGURES if name in pictures}


def _of_time(fit: "Result", data: Mapping[str, Any]) -> dict[str, Picture]:
    """Draw when the states come and go."""
    from neuromod import switching

    start, stop = _close_stretch(data["spikes"])
    close = {**data, "start": start, "stop": stop}
    return {
        "states": _picture(
            lambda ax: switching.plot_states(fit, **data, ax=ax),
            (7.2, 3.4),
            "Spikes (one row per neuron) on a ground coloured by the most "
            "probable state; the paler, the less certain.",
            "Raster of spikes over the recording with the inferred states.",
        ),
        "states_close": _picture(
            lambda ax: switching.plot_states(fit, **close, ax=ax),
            (7.2, 3.4),
            f"The same from {start:.1f} to {stop:.1f} s.",
            "Raster of spikes over a short stretch with the inferred states.",
        ),
        "dwell_times": _picture(
            lambda ax: switching.plot_dwell_times(fit, **data, ax=ax),
            (4.8, 3.0),
            "How long visits to each state last; dashed, what the fitted chain says.",
            "Falling curves of the fraction of visits that last longer.",
        ),
    }


def _of_model(fit: "Result") -> dict[str, Picture]:
    """Draw what every fit has, whatever it was fitted to."""
    from neuromod import switching

    return {
        "rates": _picture(
            lambda ax: switching.plot_rates(fit, ax=ax),
            (7.2, 2.6),
            "What is expected of each neuron in each state when no neuron has fired "
            "before.",
            "Baselines of the neurons, one mark per state.",
        ),
        "transitions": _picture(
            lambda ax: switching.plot_transitions(fit, ax=ax),
            (3.2, 3.0),
            "Probability of going from one state (row) to another in one bin.",
            "Matrix of transition probabilities.",
        ),
        "convergence": _picture(
            lambda ax: switching.plot_convergence(fit, ax=ax),
            (4.8, 3.0),
            "The objective of every restart over iterations; beyond the line, that of "
            "the prior that was asked for.",
            "Rising curves that level off.",
        ),
    }


def _of_couplings(fit: "Result") -> dict[str, Picture]:
    """Draw who acts on whom, and how sure that is if the prior tells it."""
    from neuromod import switching

    pictures = {
        "connectivity": _per_state(
            fit,
            switching.plot_connectivity,
            "Couplings in each state, summed over their filters: red excites, blue "
            "inhibits.",
            "One matrix of weights per state, sources along x, targets along y.",
        )
    }
    if "connection_probability" in fit.data["parameters"]:
        pictures["edges"] = _per_state(
            fit,
            switching.plot_edges,
            "How sure each connection is: the deeper the colour, the likelier it is "
            "there; red rather excites, blue rather inhibits.",
            "One matrix of probabilities per state, sources along x, targets along y.",
        )
        pictures["preferences"] = _picture(
            lambda ax: switching.plot_preferences(fit, ax=ax),
            (7.2, 2.6),
            "What all states share: how likely the connection of each pair is of each "
            "kind.",
            "Three matrices of probabilities: inhibitory, none and excitatory.",
        )
    return pictures


def _time_rescaling(fit: "Result", data: Mapping[str, Any]) -> Picture:
    from neuromod import switching

    check = switching.time_rescaling(fit, **data, seed=SEED)
    fires = check["n_intervals"] > 0
    within = int((fires & (check["statistic"] <= check["bound"])).sum())
    return _picture(
        lambda ax: switching.plot_time_rescaling(check, ax=ax),
        (3.6, 3.6),
        "Intervals between spikes in the time that the model predicts, one line per "
        f"neuron: where the model is right they follow the diagonal. {within} of "
        f"{int(fires.sum())} neurons stay within their 95 % band (light: that of the "
        "fewest spikes, dark: of the most).",
        "Quantiles of rescaled intervals against those of a right model.",
    )


def _picture(
    plot: Any, size: tuple[float, float], caption: str, spoken: str
) -> Picture:
    from neuromod.core import style

    figure, ax = style.figure(size=size)
    plot(ax)
    return Picture(figure, caption, spoken)


def _per_state(fit: "Result", plot: Any, caption: str, spoken: str) -> Picture:
    """Draw one matrix per state side by side."""
    from neuromod.core import style

    n_states = fit.model.n_states
    n_columns = min(n_states, 3)
    n_rows = -(-n_states // n_columns)
    size = (3.4 * n_columns, 2.9 * n_rows)
    figure, axes = style.figure(n_rows, n_columns, size=size, squeeze=False)
    for state, ax in enumerate(axes.flat):
        if state < n_states:
            plot(fit, state=state, ax=ax)
        else:
            ax.set_axis_off()
    return Picture(figure, caption, spoken)


def _close_stretch(spikes: Any) -> tuple[float, float]:
    """Return a short stretch (s) in the middle of the first session."""
    if "session" in spikes.coords:
        first = spikes["session"].values == spikes["session"].values[0]
        spikes = spikes.isel(time=first)
    time = spikes["time"].values
    middle = max(0, (len(time) - CLOSE_BINS) // 2)
    return float(time[middle]), float(time[middle : middle + CLOSE_BINS][-1])


def code(
    result: str, file: Path, how: Mapping[str, Any], drives: Mapping[str, Path]
) -> str:
    """Write the lines that do in Python what the command did."""
    options = "".join(f", {k}={v!r}" for k, v in how.items())
    lines = ["import neuromod as nm"]
    if drives:
        lines.append("from neuromod.cli.reading import read_inputs")
    lines += [
        "",
        f"fit = nm.load({result!r})",
        f"spikes = nm.io.read_spikes({str(file)!r}{options})",
    ]
    for name, path in drives.items():
        labels = f"fit.data['parameters'][{name.removesuffix('s')!r}].values"
        lines.append(f"{name} = read_inputs({str(path)!r}, spikes, {labels})")
    data = ", ".join(["spikes", *(f"{name}={name}" for name in drives)])
    lines += [
        f"nm.switching.smooth(fit, {data})  # the probability of each state",
        f"nm.switching.plot_states(fit, {data})",
    ]
    return "\n".join(lines) + "\n"
