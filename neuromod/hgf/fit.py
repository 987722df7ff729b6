r"""From behaviour to the parameters of beliefs, by the maximum of the posterior.

The maximum is found by Newton's method from several places; the curvature there gives
the uncertainty and, by Laplace's approximation, the log model evidence

$$
\log p(y) \approx \log p(y, \hat z) + \tfrac P2 \log 2\pi - \tfrac12 \log |H|
$$

($H$: second derivatives of the negative log density of the native parameters).
"""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from neuromod.core import cohort, newton
from neuromod.core.dimensions import require_integer
from neuromod.core.errors import ConvergenceWarning, DivergedError, choice
from neuromod.core.precision import Precision, dtype, in_precision, precision_context
from neuromod.core.provenance import provenance, start
from neuromod.core.result import Result
from neuromod.hgf import results
from neuromod.hgf.agent import Agent
from neuromod.hgf.likelihood import Objective, log_likelihood, value_and_curvature
from neuromod.hgf.parameters import Priors, Space, space
from neuromod.hgf.participants import Given, Participants, gather
from neuromod.hgf.responses.response import Response

# Of many descents most arrive soon; the rest go on by themselves.
MANY, PATIENCE, LATE = 100, 24, 16
METHODS = ("map", "maximum_likelihood")


def fit(
    network: Any,
    data: Any,
    responses: Any = None,
    *,
    response: Response,
    seed: int,
    priors: Priors | None = None,
    method: str = "map",
    covariates: Any = None,
    observed: Any = None,
    time_steps: Any = None,
    sessions: Any = None,
    n_restarts: int = 8,
    max_iterations: int = 200,
    tolerance: float = 1e-10,
    precision: Precision = "float64",
) -> Result:
    """Fit the parameters of a network and a response model to behaviour.

    Parameters
    ----------
    network
        What learns: a `Network`, or a baseline such as `RescorlaWagner`. Its values
        hold where they are not free.
    data : (trial,) or (trial, input)
        What was observed, as `filter` takes it. Or a table with one row per trial (a
        DataFrame, or a Dataset) that has a column for each input; with a column
        ``subject`` each subject is fitted, as is each of a list, a mapping or a
        DataTree of tables.
    responses : (trial,)
        What the participant did, NaN where nothing: a series or the name of a column
        (``response`` if omitted). Of a joint response model one for each part, by
        name.
    response
        How beliefs become responses (`neuromod.hgf.responses`).
    seed
        Of the starting points.

    Other Parameters
    ----------------
    priors
        From the names of the free parameters to their priors, such as
        ``{"x2.tonic_volatility": hgf.Normal(-3, 2)}``
        (`neuromod.hgf.parameters`). If omitted, all tonic volatilities and all
        parameters of the response model are free, around what they are.
    method
        "map", or "maximum_likelihood", which leaves the prior out.
    covariates
        What else the response model reads: a mapping from names to series (trial,),
        or names of columns.
    observed
        In the form of the data: False where an observation does not count.
    time_steps : (trial,)
        Time since the trial before; the column ``time_steps`` if there is one, else
        one unit each.
    sessions : (trial,)
        Labels of sessions; where they change, beliefs begin anew. The column
        ``session`` if there is one.
    n_restarts
        Number of starting points: the prior's mean, and draws from the prior.
    max_iterations
        Most steps from each.
    tolerance
        Ends where a step would gain less (nats).
    precision
        "float64" or "float32".

    Returns
    -------
    Result
        ``model`` is an `Agent`, for one participant the fitted one (`agent_of` gives
        that of each of many). ``data`` holds ``parameters`` by name, ``uncertainty``
        (95 % intervals, covariance on the native scale), ``scores`` (log-likelihood,
        log model evidence, BIC, AIC), ``log_likelihood`` (of each trial),
        ``identifiability`` (how far the data moved the prior), ``history``, and for
        one participant the beliefs in ``latent``.

    Raises
    ------
    InvalidInputError
        If a parameter, a column or a value is not what it must be.
    ShapeError
        If series differ in length.
    DivergedError
        If beliefs diverge at every starting point of a participant.

    Warns
    -----
    ConvergenceWarning
        If the best climb of a participant did not converge.

    Notes
    -----
    Trials from which on beliefs diverge count as certain and wrong: finite, and the
    worst there is.

    Examples
    --------
    >>> from neuromod import hgf
    >>> outcomes = [1, 1, 0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 1, 0]
    >>> choices = [0, 1, 1, 1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0]
    >>> result = hgf.fit(
    ...     hgf.binary_two_level(),
    ...     outcomes,
    ...     choices,
    ...     response=hgf.responses.unit_square_sigmoid(),
    ...     seed=0,
    ... )
    >>> [round(float(v), 1) for v in result.data["parameters"].values()]
    [-0.9, 4.2]
    """
    started = start()
    choice("method", method, METHODS)
    seed = require_integer(seed, "seed", minimum=0)
    n_restarts = require_integer(n_restarts, "n_restarts")
    max_iterations = require_integer(max_iterations, "max_iterations")
    agent = Agent(network, response)
    free = space(agent, priors)
    participants = gather(
        agent, Given(data, responses, covariates, observed, time_steps, sessions)
    )
    with precision_context(precision):
        found = climb(
            agent,
            free,
            participants,
            seed=seed,
            prior_weight=float(method == "map"),
            n_restarts=n_restarts,
            max_iterations=max_iterations,
            tolerance=tolerance,
            precision=precision,
        )
    _require_finite(participants, found)
    _warn_of_ends(participants, found, max_iterations)
    settings = {
        "method": method,
        "parameters": results.packed(free),
        "n_restarts": n_restarts,
        "max_iterations": max_iterations,
        "tolerance": tolerance,
        "precision": precision,
    }
    tree = results.of_maxima(agent, free, participants, found, method)
    fitted = agent
    if participants.labels is None:
        fitted = results.agent_with(agent, free, tree["parameters"])
        tree["latent"] = results.beliefs(fitted, participants, precision)
    origin = provenance(
        seed=seed,
        precision=precision,
        started=started,
        inputs={"behaviour": results.checksummed(participants)},
    )
    return Result(fitted, xr.DataTree.from_dict(tree), settings, origin)


def climb(
    agent: Agent,
    free: Space,
    participants: Participants,
    *,
    seed: int,
    prior_weight: float,
    n_restarts: int,
    max_iterations: int,
    tolerance: float,
    precision: Precision,
) -> dict[str, np.ndarray]:
    """Return the highest maximum of every participant, all in one program.

    Each entry begins with a dimension of participants: ``native`` (parameter),
    ``curvature`` (parameter, parameter) of the native scale, ``log_joint`` (),
    ``log_likelihood`` (trial), ``restarts`` (restart), ``converged`` and
    ``n_iterations`` ().
    """
    numbers = dtype(precision)
    drawn = np.random.default_rng(seed).standard_normal(
        (n_restarts - 1, len(free.names))
    )
    starts = np.concatenate([np.zeros((1, len(free.names))), drawn]).astype(numbers)
    limits = (np.array(prior_weight, numbers), np.array(tolerance, numbers))
    held = [in_precision((agent, free, one), precision) for one in participants.padded]
    first = jax.tree.map(np.asarray, jax.vmap(newton.begin)(jnp.asarray(starts)))

    def on(states, most):
        most = np.array(most, np.int32)
        items = zip(held, states, strict=True)
        return cohort.lanes(_climb, [(*h, s, *limits, most) for h, s in items])

    def apart(states, late):
        # Each descent that is late is an item of its own, in batches of one shape.
        items = [
            (*held[i], jax.tree.map(lambda leaf, j=j: leaf[[j]], states[i]), *limits)
            for i, j in late
        ]
        items += items[:1] * (-len(items) % LATE)
        most = np.array(max_iterations, np.int32)
        ends = cohort.lanes(_climb, [(*item, most) for item in items], batch_size=LATE)
        return [end["states"] for end in ends[: len(late)]]

    n_descents = len(held) * n_restarts
    patience = max_iterations if n_descents < MANY else min(PATIENCE, max_iterations)
    ends = on([first] * len(held), patience)
    states = [end["states"] for end in ends]
    late = [
        (i, int(j))
        for i, state in enumerate(states)
        for j in np.flatnonzero(~state.found.converged)
    ]
    if late and patience < max_iterations:
        for (i, j), arrived in zip(late, apart(states, late), strict=True):
            states[i] = jax.tree.map(
                lambda leaf, new, j=j: np.r_[leaf[:j], new, leaf[j + 1 :]],
                states[i],
                arrived,
            )
        ends = on(states, max_iterations)
    told = set(ends[0]) - {"states"}
    return {name: np.stack([end[name] for end in ends]) for name in told}


def _climb(item: Any) -> dict[str, Any]:
    """Go on with all descents of a participant, and tell of the best."""
    agent, free, behaviour, states, prior_weight, tolerance, most = item
    objective = Objective(agent, free, behaviour, prior_weight)

    def downhill(at):
        return jax.tree.map(jnp.negative, value_and_curvature(objective, at))

    def down(state):
        return newton.proceed(downhill, state, max_iterations=most, tolerance=tolerance)

    states = jax.vmap(down)(states)
    ends = states.found
    best = jax.tree.map(lambda ended: ended[jnp.argmin(ends.value)], ends)
    native = free.native(best.at)
    return {
        "native": native,
        "curvature": best.curvature / (free.sd[:, None] * free.sd[None, :]),
        "log_joint": -best.value,
        "log_likelihood": log_likelihood(free.insert(agent, native), behaviour),
        "restarts": -ends.value,
        "converged": best.converged,
        "n_iterations": best.n_iterations,
        "states": states,
    }


def _named(participants: Participants, chosen: np.ndarray) -> str:
    if participants.labels is None:
        return "the fit"
    labels = np.array(participants.labels)[chosen]
    rest = f" and {len(labels) - 5} more" if len(labels) > 5 else ""
    return "subject " + ", ".join(map(repr, labels[:5].tolist())) + rest


def _require_finite(participants: Participants, found: Any) -> None:
    wrong = ~np.isfinite(found["log_joint"])
    wrong |= ~np.isfinite(found["log_likelihood"]).all(axis=1)
    if wrong.any():
        raise DivergedError(
            f"hgf.fit: beliefs diverge at the best parameters of "
            f"{_named(participants, wrong)}. Use update='ehgf', lower the priors of "
            "the tonic volatilities, or narrow them."
        )


def _warn_of_ends(participants: Participants, found: Any, most: int) -> None:
    late = ~found["converged"]
    if late.any():
        warnings.warn(
            f"hgf.fit: {_named(participants, late)} had not converged after {most} "
            "steps. Raise max_iterations, or narrow the priors.",
            ConvergenceWarning,
            stacklevel=3,
        )
