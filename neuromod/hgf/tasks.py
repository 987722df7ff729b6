r"""Networks for tasks with several things to learn about, by one call each.

All of them are branches side by side: an input each, a state that it reports on, and
states that set how fast these may move, one for all or one for each::

                 volatility                     volatility_0   volatility_1
                /          \                         |              |
        log_odds_0       log_odds_1              value_0        value_1
             |                |                      |              |
           cue_0            cue_1                  arm_0          arm_1

What was not shown or chosen on a trial is missing (NaN): beliefs about it only age.
`route` and `route_transitions` bring data into that form.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Array

from neuromod.core.dimensions import require_integer
from neuromod.core.errors import ShapeError, choice, invalid
from neuromod.hgf import nodes
from neuromod.hgf.categories import one_for_each
from neuromod.hgf.network import Network
from neuromod.hgf.nodes import BinaryInput, ContinuousInput, ContinuousState

KINDS = ("binary", "continuous")
VOLATILITIES = ("shared", "own", "constant")

Values = Array | np.ndarray


def many_cues(
    n_cues: int,
    *,
    kind: str = "binary",
    volatility: str = "shared",
    mean: Any = 0.0,
    precision: Any = 1.0,
    tonic_volatility: tuple[Any, Any] = (-4.0, -6.0),
    volatility_coupling: Any = 1.0,
    input_precision: Any = 1.0,
    name: str = "cue",
    **settings: Any,
) -> Network:
    """Return cues whose outcomes are learned side by side.

    Parameters
    ----------
    n_cues
        Number of cues. Only the outcome of the one that is shown is observed (`route`).
    kind
        "binary" or "continuous" outcomes.
    volatility
        "shared": one state sets the volatility of all cues, so that a change of one
        speeds up learning about the others; "own": a state for each; "constant": none.

    Other Parameters
    ----------------
    mean, precision : () or (cue,)
        Of the state of each cue before the first trial.
    tonic_volatility
        Of the states of the cues, () or (cue,); and of those that set their volatility.
    volatility_coupling : () or (cue,)
        How strongly these do.
    input_precision : () or (cue,)
        Precision of an observation, if outcomes are continuous.
    name
        What the inputs are called, with a number.
    **settings
        Scheme, clip and so on of the `Network`.

    Raises
    ------
    InvalidInputError
        If an option is unknown, or there is not one value for each cue.

    Examples
    --------
    >>> network = many_cues(2)
    >>> network.inputs, network.states
    (('cue_0', 'cue_1'), ('log_odds_0', 'log_odds_1', 'volatility'))
    """
    labels = [str(i) for i in range(require_integer(n_cues, "n_cues"))]
    return _side_by_side(
        [f"{name}_{label}" for label in labels],
        labels,
        labels,
        kind=kind,
        volatility=volatility,
        mean=mean,
        precision=precision,
        tonic_volatility=tonic_volatility,
        volatility_coupling=volatility_coupling,
        input_precision=input_precision,
        **settings,
    )


def bandit(n_arms: int, **settings: Any) -> Network:
    """Return arms whose rewards are learned; only that of the chosen one is observed.

    Parameters
    ----------
    n_arms
        Number of arms.
    **settings
        As of `many_cues` but ``name``: ``kind="continuous"`` for rewards of any size,
        ``volatility="own"`` for arms that do not change together.

    Examples
    --------
    >>> bandit(2, kind="continuous", volatility="constant").names
    ('arm_0', 'arm_1', 'value_0', 'value_1')
    """
    require_integer(n_arms, "n_arms", minimum=2)
    return many_cues(n_arms, name="arm", **settings)


def two_branch(trend: tuple[Any, Any] | None = None, **settings: Any) -> Network:
    """Return two series with a volatility, or also a trend, in common.

    Parameters
    ----------
    trend
        Strengths with which one more state drives both, per unit of time; None for
        no such state.
    **settings
        As of `many_cues`; the series are continuous if nothing else is said.

    Examples
    --------
    >>> two_branch(trend=(1.0, -0.5), volatility="own").states
    ('value_0', 'value_1', 'volatility_0', 'volatility_1', 'trend')
    """
    settings.setdefault("kind", "continuous")
    network = many_cues(2, name="branch", **settings)
    if trend is None:
        return network
    driven = zip(network.states[:2], one_for_each(trend, 2, "trend"), strict=True)
    edges = [nodes.drift("trend", state, strength) for state, strength in driven]
    return dataclasses.replace(
        network,
        nodes=[*network.nodes, ContinuousState("trend")],
        edges=[*network.edges, *edges],
    )


def categorical_transitions(n_categories: int, **settings: Any) -> Network:
    """Return a filter that learns which category follows which.

    For each category a row of binary inputs, as of `neuromod.hgf.categorical`, says
    what came after it; on a trial the row of the category before is observed
    (`route_transitions`). One state sets the volatility of all.

    Parameters
    ----------
    n_categories
        K; there are K x K inputs ``from_i_to_j``.
    **settings
        As of `many_cues`, but for ``kind`` and ``name``; ``volatility="own"`` is one
        for each row. All K are equally probable if no mean is given.

    Examples
    --------
    >>> network = categorical_transitions(2)
    >>> network.inputs
    ('from_0_to_0', 'from_0_to_1', 'from_1_to_0', 'from_1_to_1')
    """
    n = require_integer(n_categories, "n_categories", minimum=2)
    pairs = [(i, j) for i in range(n) for j in range(n)]
    return _side_by_side(
        [f"from_{i}_to_{j}" for i, j in pairs],
        [f"{i}_{j}" for i, j in pairs],
        [str(i) for i, _ in pairs],
        kind="binary",
        **({"mean": -np.log(n - 1.0)} | settings),
    )


def switching(mean: Sequence[float] | Values, **settings: Any) -> Network:
    """Return contexts that take turns in producing one series, for `switch`.

    Parameters
    ----------
    mean : (context,)
        What is expected in each context (as log-odds, if binary). Contexts that are
        all alike could never be told apart.
    **settings
        As of `many_cues`; the series is continuous and its volatility constant if
        nothing else is said.

    Examples
    --------
    >>> switching([-1.0, 1.0]).names
    ('context_0', 'context_1', 'value_0', 'value_1')
    """
    settings.setdefault("kind", "continuous")
    settings.setdefault("volatility", "constant")
    return many_cues(len(mean), mean=mean, name="context", **settings)


def _side_by_side(
    inputs: list[str],
    labels: list[str],
    groups: list[str],
    *,
    kind: str,
    volatility: str = "shared",
    mean: Any = 0.0,
    precision: Any = 1.0,
    tonic_volatility: Any = (-4.0, -6.0),
    volatility_coupling: Any = 1.0,
    input_precision: Any = 1.0,
    **settings: Any,
) -> Network:
    """Join inputs with states, and these with what sets the volatility of a group."""
    n, binary = len(inputs), choice("kind", kind, KINDS) == "binary"
    choice("volatility", volatility, VOLATILITIES)
    if not isinstance(tonic_volatility, tuple | list) or len(tonic_volatility) != 2:
        raise invalid(
            "tonic_volatility",
            f"{tonic_volatility!r}",
            "two: of the states, and of what sets their volatility",
        )
    first = zip(
        one_for_each(mean, n, "mean"),
        one_for_each(precision, n, "precision"),
        one_for_each(tonic_volatility[0], n, "tonic_volatility"),
        strict=True,
    )
    kept = "log_odds" if binary else "value"
    states = [
        ContinuousState(f"{kept}_{label}", mean=m, precision=p, tonic_volatility=t)
        for label, (m, p, t) in zip(labels, first, strict=True)
    ]
    precisions = one_for_each(input_precision, n, "input_precision")
    bottom = [
        BinaryInput(name) if binary else ContinuousInput(name, precision=p)
        for name, p in zip(inputs, precisions, strict=True)
    ]
    report = nodes.probability if binary else nodes.observation
    edges = [report(states[i].name, inputs[i]) for i in range(n)]
    if volatility == "constant":
        return Network([*bottom, *states], edges, **settings)
    shared = volatility == "shared"
    above = ["volatility" if shared else f"volatility_{group}" for group in groups]
    names = list(dict.fromkeys(above))
    third = one_for_each(tonic_volatility[1], len(names), "tonic_volatility")
    top = [ContinuousState(names[i], tonic_volatility=t) for i, t in enumerate(third)]
    strengths = one_for_each(volatility_coupling, n, "volatility_coupling")
    edges += [
        nodes.volatility(above[i], states[i].name, strengths[i]) for i in range(n)
    ]
    return Network([*bottom, *states, *top], edges, **settings)


def route(values: Any, which: Any, n_inputs: int) -> xr.DataArray:
    """Send each trial's outcome to one of several inputs; the others see nothing.

    Parameters
    ----------
    values : (trial,) or (trial, input)
        The outcome of the cue shown, the arm chosen or the context; or those of all,
        of which one counts.
    which : (trial,)
        Number of that cue, arm or context; NaN for none.
    n_inputs
        How many there are.

    Returns
    -------
    DataArray
        (trial, input), NaN where nothing was seen: data for `neuromod.hgf.filter`.

    Raises
    ------
    InvalidInputError
        If the shapes differ, or a number is not one of an input.

    Examples
    --------
    >>> print(route([1, 0, 1], [0, 1, 1], 2).values)
    [[ 1. nan]
     [nan  0.]
     [nan  1.]]
    """
    n_inputs = require_integer(n_inputs, "n_inputs")
    number = require_numbers(which, n_inputs, "which")
    table = np.asarray(values, float)
    shapes = (number.shape, (*number.shape, n_inputs))
    if table.shape not in shapes:
        raise invalid(
            "values",
            f"shape {table.shape}",
            f"{shapes[0]} or {shapes[1]}",
            "",
            ShapeError,
        )
    table = table.reshape(len(number), -1)
    chosen = number[:, None] == np.arange(n_inputs)
    return xr.DataArray(np.where(chosen, table, np.nan), dims=("trial", "input"))


def route_transitions(categories: Any, n_categories: int) -> xr.DataArray:
    """Return a sequence of categories as data for `categorical_transitions`.

    Parameters
    ----------
    categories : (trial,)
        Numbers from 0; NaN where none was seen, or between two sequences.
    n_categories
        How many there are.

    Returns
    -------
    DataArray
        (trial, input): in the row of the category before, 1 for the one that came and
        0 for the others; NaN in the other rows, and wherever one of the two is unknown.

    Examples
    --------
    >>> print(route_transitions([0, 1, 1], 2).values)
    [[nan nan nan nan]
     [ 0.  1. nan nan]
     [nan nan  0.  1.]]
    """
    n = require_integer(n_categories, "n_categories", minimum=2)
    now = require_numbers(categories, n, "categories")
    before = np.concatenate([[np.nan], now[:-1]])
    before = np.where(np.isnan(now), np.nan, before)
    came = np.where(now[:, None] == np.arange(n), 1.0, 0.0)
    seen = before[:, None] == np.arange(n)
    table = np.where(seen[:, :, None], came[:, None, :], np.nan)
    return xr.DataArray(table.reshape(len(now), n * n), dims=("trial", "input"))


def require_numbers(values: Any, count: int, argument: str) -> np.ndarray:
    """Return the numbers of categories or inputs, or refuse them.

    Parameters
    ----------
    values : (trial,)
        Whole numbers from 0; NaN where unknown.
    count
        How many categories or inputs there are.
    argument
        What the numbers are called, for errors.

    Raises
    ------
    InvalidInputError
        If a number is not one of a category or input.
    ShapeError
        If there is not one per trial.
    """
    found = np.asarray(values, float)
    if found.ndim != 1:
        raise invalid(argument, f"shape {found.shape}", "(trial,)", kind=ShapeError)
    wrong = ~(np.isnan(found) | np.isin(found, np.arange(count)))
    if wrong.any():
        trial = int(np.argmax(wrong))
        raise invalid(
            argument,
            f"{found[trial]} at trial {trial}",
            f"whole numbers from 0 to {count - 1}, or NaN for none",
        )
    return found
