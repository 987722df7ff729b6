"""A session as tables: what is believed of every candidate, and all trials in order."""

import json
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from scipy import stats

from neuromod.core import plain, provenance
from neuromod.core.atomic import write_atomically
from neuromod.core.dimensions import require_positive
from neuromod.core.errors import invalid
from neuromod.core.result import Result
from neuromod.stimulation.axes import is_electrode
from neuromod.stimulation.journal import Event
from neuromod.stimulation.space import WHOLE
from neuromod.stimulation.state import State, Trial

INTERVAL = 0.95


def map_of(state: State, level: str = WHOLE) -> xr.Dataset:
    """Return what is believed of every candidate.

    Parameters
    ----------
    state
        Of a session.
    level
        The whole, or the name of a part.

    Returns
    -------
    xarray.Dataset
        (candidate, output) ``expected`` response (if the map is one of logarithms, its
        median), ``low`` and ``high`` (95 % interval of it); (candidate) ``n_visits``
        and ``promise``, by which the next one is chosen. Values of the axes lie along
        candidate.
    """
    here = state.candidates.of(level)
    points = [p for p, kept in zip(state.candidates.points, here, strict=True) if kept]
    search, outputs = state.search, state.settings.outputs
    found = search.belief()
    mean = np.asarray(found.mean)[here]
    freedom = state.settings.rule.n_prior + search.n_stimuli
    reach = stats.t.ppf((1 + INTERVAL) / 2, freedom)
    around = reach * np.asarray(found.total_deviation)[here]
    objective = state.objective(state.settings.aim)
    promise = search.promise(state.settings.seed, len(state.trials), objective)
    dims = ("candidate", "output")
    with np.errstate(over="ignore"):
        low, high = search.to_response(mean - around), search.to_response(mean + around)
    return xr.Dataset(
        {
            "expected": (
                dims,
                search.to_response(mean),
                {"long_name": "expected response"},
            ),
            "low": (dims, low, {"long_name": "2.5 % quantile"}),
            "high": (dims, high, {"long_name": "97.5 % quantile"}),
            "n_visits": ("candidate", search.n_visits[here], {"long_name": "trials"}),
            "promise": ("candidate", promise[here], {"long_name": "promise"}),
        },
        {"output": list(outputs)} | _along("candidate", points, points[0]),
    )


def history_of(state: State) -> xr.Dataset:
    """Return all trials in their order.

    Parameters
    ----------
    state
        Of a session.

    Returns
    -------
    xarray.Dataset
        (query, output) ``response``, NaN where there was none; (query) ``id``,
        ``level``, ``fate``, ``reason``, ``time`` of the ask (s since the session
        began), ``best`` (the point believed best after it, in words) and
        ``best_expected``. Values of the axes lie along query, NaN or empty where a
        part has none.
    """
    trials, outputs = list(state.trials.values()), state.settings.outputs
    response = np.full((len(trials), len(outputs)), np.nan)
    for row, trial in zip(response, trials, strict=True):
        if trial.response is not None:
            row[:] = [trial.response[name] for name in outputs]
    best, expected = _course(state, trials)
    variables: dict[str, Any] = {
        "response": (("query", "output"), response),
        "best": ("query", np.array(best, str)),
        "best_expected": ("query", np.array(expected, float)),
        "time": (
            "query",
            np.array([trial.at for trial in trials], float),
            {"units": "s", "long_name": "time since the session began"},
        ),
    }
    for name in ("id", "level", "fate", "reason"):
        words = np.array([getattr(trial, name) for trial in trials], str)
        variables[name] = ("query", words)
    points = [
        {name: trial.point.get(name) for name in state.settings.space.axes}
        for trial in trials
    ]
    numbers = np.arange(1, len(trials) + 1)
    coordinates = {"query": numbers, "output": list(outputs)}
    coordinates |= _along("query", points, state.settings.space.axes)
    return xr.Dataset(variables, coordinates)


def words(point: dict[str, Any]) -> str:
    """Return a point in words.

    Examples
    --------
    >>> words({"electrode": "7", "amplitude": 50.0})
    'electrode 7, amplitude 50'
    """
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in point.items()
    )


def finished(state: State, margin: float, probability: float) -> bool:
    """Return whether no candidate is likely to be much better than the best tested."""
    require_positive(margin, "margin")
    if not 0 < probability < 1:
        raise invalid("probability", f"{probability:g}", "between 0 and 1")
    aim = state.settings.aim
    best = state.best_trial(aim)
    if best is None:
        return False
    objective = state.objective(aim)
    mean, deviation = state.search.utility(objective)
    here = state.candidates.of(WHOLE) & state.candidates.alone & state.safe()
    at_best = state.search.utility_at([best.place], objective)[0]
    gain = np.log1p(margin) if state.settings.rule.logarithm else margin
    missing = at_best + gain - mean
    freedom = state.settings.rule.n_prior + state.search.n_stimuli
    chance = stats.t.sf(missing / np.maximum(deviation, 1e-300), freedom)
    return bool((chance[here] <= probability).all())


def pareto(state: State) -> list[dict[str, Any]]:
    """Return tested points of which none is better in all that counts."""
    tested: dict[tuple, Trial] = {
        tuple(t.point.items()): t for t in state.of("valid") if t.level == WHOLE
    }
    if not tested:
        return []
    aim, outputs = state.settings.aim, state.settings.outputs
    wanted = [aim.target, *aim.against] if aim.against else list(outputs)
    signs = np.array([-1.0 if name in aim.against else 1.0 for name in wanted])
    columns = [outputs.index(name) for name in wanted]
    values = np.stack([state.expected(t)[columns] for t in tested.values()]) * signs
    best = [
        not any((other >= row).all() and (other > row).any() for other in values)
        for row in values
    ]
    return [t.point for t, kept in zip(tested.values(), best, strict=True) if kept]


def result_of(state: State, events: list[Event]) -> Result:
    """Return a session as a Result: its trials, its map, and how it was searched."""
    groups = {"observed_data": history_of(state), "latent": map_of(state)}
    for name in state.candidates.names[1:]:
        groups[f"latent_{name}"] = map_of(state, name)
    first = events[0]
    record = provenance.provenance(
        seed=state.settings.seed,
        precision="float64",
        started=provenance.start(),
        inputs={"journal": np.frombuffer(bytes.fromhex(events[-1].hash), np.uint8)},
    )
    record |= {
        "began": datetime.fromtimestamp(first.time, UTC).isoformat(),
        "journal_hash": events[-1].hash,
    }
    tree = xr.DataTree.from_dict(groups)
    return Result(None, tree, state.settings.describe(), record)


def export(state: State, events: list[Event], folder: str | os.PathLike[str]) -> None:
    """Write the journal, an event a line, and the session as a Result."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps(
            {
                "number": event.number,
                "time": event.time,
                "kind": event.kind,
                "content": plain.pack(event.content, event.kind),
                "hash": event.hash,
            }
        )
        for event in events
    ]
    content = ("\n".join(lines) + "\n").encode()
    write_atomically(folder / "journal.jsonl", lambda file: file.write(content))
    result_of(state, events).save(folder / "session.nc")


def _course(state: State, trials: list[Trial]) -> tuple[list[str], list[float]]:
    best, expected = [], []
    for trial in trials:
        step = state.course.get(trial.id)
        best.append(words(step.point) if step else (best[-1] if best else ""))
        expected.append(
            step.expected if step else (expected[-1] if expected else np.nan)
        )
    return best, expected


def _along(dim: str, points: list[dict[str, Any]], names: Iterable[str]) -> dict:
    """Return coordinates of these axes of points along a dimension."""
    found = {}
    for name in names:
        values = [point[name] for point in points]
        if is_electrode(name):
            column = np.array(["" if v is None else v for v in values], str)
        else:
            column = np.array([np.nan if v is None else v for v in values], float)
        found[name] = (dim, column)
    return found
