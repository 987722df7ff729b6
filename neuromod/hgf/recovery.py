"""Before the experiment: what a model predicts, and what its data could tell.

All of it runs forward and back: parameters are drawn from the prior, behaviour is
simulated on the outcomes of a design, and what is fitted to it is compared with the
truth (Wilson & Collins, eLife 2019).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from neuromod.core.dimensions import require_integer
from neuromod.core.errors import invalid
from neuromod.core.precision import Precision
from neuromod.hgf import results
from neuromod.hgf.agent import Agent
from neuromod.hgf.parameters import Priors, Space, space
from neuromod.hgf.participants import Given, Participants, gather
from neuromod.hgf.responses.response import Response
from neuromod.hgf.virtual_participants import (
    draw_parameters,
    outcomes_only,
    refit,
    simulate_responses,
)


class Design(NamedTuple):
    """What simulated participants see: outcomes, and what else responses read."""

    data: Any
    covariates: Any = None
    observed: Any = None
    time_steps: Any = None
    sessions: Any = None


def prior_predictive(
    network: Any,
    data: Any,
    *,
    response: Response,
    seed: int,
    priors: Priors | None = None,
    covariates: Any = None,
    observed: Any = None,
    time_steps: Any = None,
    sessions: Any = None,
    n_subjects: int = 200,
    precision: Precision = "float64",
) -> xr.Dataset:
    """Simulate participants whose parameters come from the prior.

    Parameters
    ----------
    network
        What learns: a `Network` or a baseline.
    data
        The outcomes of the design, as `fit` takes them; of a table with several
        subjects, participants take them in turn.
    response
        How beliefs become responses.
    seed
        Of parameters and responses.

    Other Parameters
    ----------------
    priors, covariates, observed, time_steps, sessions
        As `fit` takes them.
    n_subjects
        Number of simulated participants.
    precision
        "float64" or "float32".

    Returns
    -------
    Dataset
        The parameters (subject) by name, ``response`` (subject, trial), of a joint
        model one variable for each part, and ``diverged`` (subject): whether beliefs
        did, at these parameters.

    Examples
    --------
    >>> from neuromod import hgf
    >>> drawn = hgf.prior_predictive(
    ...     hgf.binary_two_level(),
    ...     [1, 1, 0, 1, 0],
    ...     response=hgf.responses.unit_square_sigmoid(),
    ...     n_subjects=3,
    ...     seed=0,
    ... )
    >>> drawn["response"].shape
    (3, 5)
    """
    agent = Agent(network, response)
    free = space(agent, priors)
    design = Design(data, covariates, observed, time_steps, sessions)
    made = _simulated(agent, free, design, n_subjects, seed, precision)
    simulated, native, diverged = made
    dataset = results.natural(free, simulated, native)
    columns = [behaviour.responses for behaviour in simulated.padded]
    for name in columns[0] if isinstance(columns[0], dict) else ("response",):
        values = [c[name] if isinstance(c, dict) else c for c in columns]
        dataset[name] = ("subject", "trial"), np.stack(values)
    dataset["diverged"] = "subject", diverged
    return dataset


def recover(
    network: Any,
    data: Any,
    *,
    response: Response,
    seed: int,
    priors: Priors | None = None,
    covariates: Any = None,
    observed: Any = None,
    time_steps: Any = None,
    sessions: Any = None,
    n_subjects: int = 100,
    n_restarts: int = 4,
    precision: Precision = "float64",
) -> xr.Dataset:
    """Fit simulated participants, and compare with the parameters that made them.

    Parameters
    ----------
    network, data, response, seed
        As `prior_predictive` takes them.

    Other Parameters
    ----------------
    priors, covariates, observed, time_steps, sessions, n_subjects, precision
        As `prior_predictive` takes them.
    n_restarts
        Number of starting points of each fit.

    Returns
    -------
    Dataset
        On the native scale ``true``, ``estimate`` and ``standard_error`` (parameter,
        subject); ``correlation``, ``rmse``, ``coverage`` (share of 95 % intervals that
        hold the truth) and ``contraction`` (mean share of the prior's variance that
        the data took) (parameter).

    Examples
    --------
    >>> from neuromod import hgf
    >>> recovered = hgf.recover(
    ...     hgf.binary_two_level(),
    ...     [1, 1, 0, 1, 0, 0, 0, 1] * 10,
    ...     response=hgf.responses.unit_square_sigmoid(),
    ...     n_subjects=4,
    ...     seed=0,
    ... )
    >>> recovered["estimate"].shape
    (2, 4)
    """
    agent = Agent(network, response)
    free = space(agent, priors)
    design = Design(data, covariates, observed, time_steps, sessions)
    simulated, native, diverged = _simulated(
        agent, free, design, n_subjects, seed, precision
    )
    found = refit(agent, free, simulated, seed, n_restarts, precision)
    covariance = np.linalg.inv(found["curvature"])
    error = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    dataset = _compared(free, simulated, native, found["native"], error)
    dataset["diverged"] = "subject", diverged
    return dataset


def recover_models(
    models: Mapping[str, Any],
    data: Any,
    *,
    seed: int,
    covariates: Any = None,
    observed: Any = None,
    time_steps: Any = None,
    sessions: Any = None,
    n_subjects: int = 50,
    n_restarts: int = 4,
    precision: Precision = "float64",
) -> xr.Dataset:
    """Simulate from each of several models, and see which one the evidence picks.

    Parameters
    ----------
    models
        From names to models: ``(network, response)`` or ``(network, response,
        priors)``.
    data, seed
        As `prior_predictive` takes them.

    Other Parameters
    ----------------
    covariates, observed, time_steps, sessions, n_subjects, precision
        As `prior_predictive` takes them.
    n_restarts
        Number of starting points of each fit.

    Returns
    -------
    Dataset
        ``log_evidence`` (true_model, subject, model), and ``confusion`` (true_model,
        model): how often each has the highest.

    Raises
    ------
    InvalidInputError
        If there are fewer than two models, or one is no tuple.

    Examples
    --------
    >>> from neuromod import hgf
    >>> choice = hgf.responses.unit_square_sigmoid()
    >>> table = hgf.recover_models(
    ...     {
    ...         "fixed": (hgf.binary_two_level(), choice),
    ...         "volatile": (hgf.binary_three_level(), choice),
    ...     },
    ...     [1, 1, 0, 1, 0, 0, 0, 1],
    ...     n_subjects=2,
    ...     seed=0,
    ... )
    >>> table["confusion"].dims
    ('true_model', 'model')
    """
    agents = {name: _model(name, parts) for name, parts in models.items()}
    if len(agents) < 2:
        raise invalid("models", f"{len(agents)}", "at least two, by name")
    design = Design(data, covariates, observed, time_steps, sessions)
    evidence = []
    for place, (agent, free) in enumerate(agents.values()):
        simulated, _, _ = _simulated(
            agent, free, design, n_subjects, [seed, place], precision
        )
        row = [
            _log_evidence(other, others, simulated, seed, n_restarts, precision)
            for other, others in agents.values()
        ]
        evidence.append(np.stack(row, axis=1))
    table = np.stack(evidence)
    picked = table.argmax(axis=2)
    confusion = np.stack([(picked == m).mean(axis=1) for m in range(len(agents))], 1)
    return xr.Dataset(
        {
            "log_evidence": (("true_model", "subject", "model"), table),
            "confusion": (("true_model", "model"), confusion),
        },
        {"true_model": list(agents), "model": list(agents)},
    )


def _model(name: str, parts: Any) -> tuple[Agent, Space]:
    if not isinstance(parts, tuple) or len(parts) not in (2, 3):
        raise invalid(
            f"models[{name!r}]",
            f"{parts!r:.60}",
            "(network, response) or (network, response, priors)",
        )
    agent = Agent(*parts[:2])
    return agent, space(agent, parts[2] if len(parts) == 3 else None)


def _simulated(
    agent: Agent,
    free: Space,
    design: Design,
    n_subjects: int,
    seed: Any,
    precision: Any,
) -> tuple[Participants, np.ndarray, np.ndarray]:
    """Return behaviour, the native parameters behind it, and who diverged."""
    n_subjects = require_integer(n_subjects, "n_subjects")
    whole = gather(outcomes_only(agent), Given(design.data, None, *design[1:]))
    native = draw_parameters(free, n_subjects, np.random.default_rng(seed))
    simulated, diverged = simulate_responses(
        agent, free, whole, native, seed, precision
    )
    return simulated, native, diverged


def _log_evidence(
    agent: Agent, free: Space, simulated: Participants, *settings: Any
) -> np.ndarray:
    found = refit(agent, free, simulated, *settings)
    return results.log_model_evidence(free, found)


def _compared(
    free: Space,
    simulated: Participants,
    true: np.ndarray,
    estimate: np.ndarray,
    error: np.ndarray,
) -> xr.Dataset:
    dims = ("parameter", "subject")
    deviation = estimate - true
    inside = np.abs(deviation) <= results.NORMAL_BOUND * error
    pairs = zip(true.T, estimate.T, strict=True)
    correlation = [np.corrcoef(a, b)[0, 1] for a, b in pairs]
    return xr.Dataset(
        {
            "true": (dims, true.T),
            "estimate": (dims, estimate.T),
            "standard_error": (dims, error.T),
            "correlation": ("parameter", np.array(correlation)),
            "rmse": ("parameter", np.sqrt(np.mean(deviation**2, axis=0))),
            "coverage": ("parameter", inside.mean(axis=0)),
            "contraction": (
                "parameter",
                np.mean(1 - (error / free.sd) ** 2, axis=0),
            ),
        },
        {"parameter": list(free.names), "subject": list(simulated.labels or ())},
    )
