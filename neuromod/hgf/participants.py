"""From tables of behaviour to what each participant saw and did.

One participant comes as series (`fit(network, outcomes, choices)`), or as a table with
one row per trial: a DataFrame, or a Dataset with one dimension. Many come as one table
with a column ``subject``, or as a list, a mapping or a DataTree of tables. In a table
the columns named like the network's inputs are the outcomes, ``session`` labels
stretches between which beliefs begin anew, ``time_steps`` is the time since the trial
before; all else is named by the caller.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr

from neuromod.core.dimensions import require_unique
from neuromod.core.errors import ShapeError, did_you_mean, invalid
from neuromod.hgf.agent import Agent
from neuromod.hgf.data import Trials, prepare, resets
from neuromod.hgf.inference import Series
from neuromod.hgf.likelihood import Behaviour

SUBJECT, SESSION, TIME_STEPS, RESPONSE = "subject", "session", "time_steps", "response"


class Given(NamedTuple):
    """What a verb was called with; series, or names of columns of a table."""

    data: Any
    responses: Any = None
    covariates: Any = None
    observed: Any = None
    time_steps: Any = None
    sessions: Any = None


class Participants(NamedTuple):
    """What all participants saw and did.

    Parameters
    ----------
    labels
        One per participant; None if there is one without a label.
    behaviours
        One per participant, numpy arrays as long as it had trials.
    trials
        Names of the trials of each.
    """

    labels: tuple[str, ...] | None
    behaviours: tuple[Behaviour, ...]
    trials: tuple[Trials, ...]

    @property
    def lengths(self) -> tuple[int, ...]:
        """Number of trials of each participant."""
        return tuple(len(one.coordinate) for one in self.trials)

    @property
    def padded(self) -> list[Behaviour]:
        """All behaviours with the same arrays, as long as the longest."""
        longest = max(self.lengths)
        if len(self.behaviours) == 1:
            return list(self.behaviours)
        return [_pad(one, longest, self.behaviours) for one in self.behaviours]


def gather(agent: Agent, given: Given) -> Participants:
    """Check behaviour, and bring it into the form in which it is fitted.

    Parameters
    ----------
    agent
        Names the inputs, and tells whether responses are read.
    given
        What the verb was called with.

    Raises
    ------
    InvalidInputError
        If a column is missing, or values do not fit the network.
    ShapeError
        If series differ in length.
    """
    tables = _tables(given.data)
    if tables is None:
        behaviour, trials = _one(agent, given)
        return Participants(None, (behaviour,), (trials,))
    found = {
        label: _one(agent, _from_table(agent, table, given, label))
        for label, table in tables.items()
    }
    labels = None if list(tables) == [None] else tuple(str(label) for label in tables)
    if labels is not None:
        require_unique(labels, "data")
    behaviours, trials = zip(*found.values(), strict=True)
    return Participants(labels, behaviours, trials)


def _tables(data: Any) -> dict[Any, Any] | None:
    """Return tables by subject, or None where the data are series."""
    if isinstance(data, xr.DataTree):
        data = {name: child.to_dataset() for name, child in data.children.items()}
        if not data:
            raise invalid("data", "a DataTree without children", "one per subject")
    if isinstance(data, list | tuple) and data and all(map(_is_table, data)):
        data = {str(i): table for i, table in enumerate(data)}
    if isinstance(data, Mapping) and data and all(map(_is_table, data.values())):
        if not isinstance(data, xr.Dataset):
            return {str(label): table for label, table in data.items()}
    if not _is_table(data):
        return None
    columns = _columns_of(data)
    if SUBJECT not in columns:
        return {None: data}
    subjects = np.asarray(columns[SUBJECT])
    labels = list(dict.fromkeys(subjects.tolist()))
    return {str(label): _rows(data, subjects == label) for label in labels}


def _is_table(data: Any) -> bool:
    return isinstance(data, xr.Dataset) or hasattr(data, "columns")


def _rows(table: Any, chosen: np.ndarray) -> Any:
    if isinstance(table, xr.Dataset):
        (dimension,) = table.dims
        return table.isel({dimension: np.flatnonzero(chosen)})
    return table[chosen]


def _columns_of(table: Any) -> dict[str, Any]:
    if isinstance(table, xr.Dataset):
        if len(table.dims) != 1:
            raise invalid(
                "data",
                f"a Dataset with dimensions {tuple(table.dims)}",
                "one dimension, of trials",
                kind=ShapeError,
            )
        return {str(name): table[name] for name in table.variables}
    return {str(name): table[name] for name in table.columns}


def _from_table(agent: Agent, table: Any, given: Given, label: Any) -> Given:
    columns = _columns_of(table)
    where = "" if label is None else f" of subject {label!r}"

    def column(name: str, argument: str) -> Any:
        if name not in columns:
            raise invalid(
                argument,
                f"the column {name!r}, which the table{where} does not have",
                "one of " + ", ".join(map(repr, columns)),
                did_you_mean(name, columns),
            )
        return columns[name]

    def named(value: Any, argument: str, usual: str) -> Any:
        if value is None:
            return columns.get(usual)
        return column(value, argument) if isinstance(value, str) else value

    inputs = {name: column(name, "data") for name in agent.network.inputs}
    return Given(
        inputs,
        _responses(agent, given.responses, columns, column),
        _covariates(given.covariates, column),
        given.observed,
        named(given.time_steps, "time_steps", TIME_STEPS),
        named(given.sessions, "sessions", SESSION),
    )


def _responses(agent: Agent, responses: Any, columns: Any, column: Any) -> Any:
    if isinstance(responses, str):
        return column(responses, "responses")
    if isinstance(responses, Mapping):
        return {
            name: column(value, "responses") if isinstance(value, str) else value
            for name, value in responses.items()
        }
    if responses is None and agent.response.needs_responses:
        parts = getattr(agent.response, "parts", None)
        if parts:
            return {name: column(name, "responses") for name in parts}
        return column(RESPONSE, "responses")
    return responses


def _covariates(covariates: Any, column: Any) -> Any:
    if covariates is None:
        return None
    if isinstance(covariates, str):
        covariates = [covariates]
    if not isinstance(covariates, Mapping):
        covariates = {name: name for name in covariates}
    return {
        name: column(value, "covariates") if isinstance(value, str) else value
        for name, value in covariates.items()
    }


def _one(agent: Agent, given: Given) -> tuple[Behaviour, Trials]:
    trials = prepare(agent.network, given.data, given.observed, given.time_steps)
    n_trials = len(trials.coordinate)
    responses = given.responses
    if isinstance(responses, Mapping):
        responses = {
            str(name): _series(values, n_trials, f"responses[{name!r}]")
            for name, values in responses.items()
        }
    elif responses is not None:
        responses = _series(responses, n_trials, "responses")
    elif agent.response.needs_responses:
        raise invalid(
            "responses",
            "None",
            "what the participant did on each trial, NaN where nothing",
            "To ask for the beliefs that predict the outcomes best, pass "
            "response=hgf.responses.bayes_optimal().",
        )
    if isinstance(given.covariates, Sequence | str):
        raise invalid(
            "covariates",
            f"{given.covariates!r:.80}",
            "a mapping from names to series; names of columns need a table as data",
        )
    covariates: dict[str, Any] = {
        str(name): _series(values, n_trials, f"covariates[{name!r}]")
        for name, values in (given.covariates or {}).items()
    }
    behaviour = Behaviour(
        trials.series,
        responses,
        covariates,
        reset=resets(given.sessions, n_trials),
    )
    return behaviour, trials


def _series(values: Any, n_trials: int, argument: str) -> np.ndarray:
    try:
        column = np.asarray(values, float)
    except (TypeError, ValueError):
        raise invalid(
            argument, f"{values!r:.60}", "numbers, NaN where missing"
        ) from None
    if column.shape != (n_trials,):
        raise invalid(
            argument,
            f"shape {column.shape}",
            f"({n_trials},), one number per trial",
            "Fill up with NaN, which is missing.",
            ShapeError,
        )
    if np.isinf(column).any():
        trial = int(np.argmax(np.isinf(column)))
        raise invalid(argument, f"{column[trial]} at trial {trial}", "finite numbers")
    return column


def _pad(behaviour: Behaviour, longest: int, all_of_them: Sequence[Behaviour]) -> Any:
    """Bring a behaviour to a length, with every array that any of them has."""
    n_trials = len(behaviour.series.values[0])

    def long(values: Any, fill: Any) -> np.ndarray:
        rest = np.full(longest - n_trials, fill, values.dtype)
        return np.concatenate([values, rest])

    series = behaviour.series
    flags = [
        any(one.series.observed[i] is not None for one in all_of_them)
        for i in range(len(series.values))
    ]
    timed = any(one.series.intervals is not None for one in all_of_them)
    ones = np.ones(n_trials, bool)
    padded = Series(
        tuple(long(values, 0) for values in series.values),
        tuple(
            long(ones if known is None else known, False) if flag else None
            for known, flag in zip(series.observed, flags, strict=True)
        ),
        long(np.ones(n_trials) if series.intervals is None else series.intervals, 1)
        if timed
        else None,
    )
    restarts = any(one.reset is not None for one in all_of_them)
    reset = ~ones if behaviour.reset is None else behaviour.reset
    uneven = any(len(one.series.values[0]) != longest for one in all_of_them)
    return Behaviour(
        padded,
        jax.tree.map(lambda values: long(values, np.nan), behaviour.responses),
        {name: long(values, 0) for name, values in behaviour.covariates.items()},
        mask=long(ones, False) if uneven else None,
        reset=long(reset, False) if restarts else None,
    )
