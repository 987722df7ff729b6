r"""From behaviour to whole posteriors, of one participant or of a group.

A group is a hierarchy: the native parameters of participant $s$ are

$$
z_s = m + \sigma \odot \zeta_s, \qquad \zeta_s \sim \mathcal{N}(0, I),
$$

with a group mean $m$, whose prior is that of the parameters, and a spread $\sigma$
between participants, whose prior is half normal with as many of the prior's deviations
as `group_sd` says. What is sampled are $m$, $\log\sigma$ and the offsets $\zeta_s$,
which stay apart from $\sigma$ where data are few (non-centred; Betancourt & Girolami
2015).
Draws are by the no-U-turn sampler (`neuromod.core.sampling`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from neuromod.core.dimensions import require_integer, require_positive
from neuromod.core.precision import Precision, dtype, in_precision, precision_context
from neuromod.core.programs import jit_many_kernels
from neuromod.core.provenance import provenance, start
from neuromod.core.result import Result
from neuromod.hgf import results, results_of_draws
from neuromod.hgf.agent import Agent
from neuromod.hgf.likelihood import (
    Behaviour,
    Objective,
    differentiable_forward,
    log_likelihood,
    penalised,
)
from neuromod.hgf.parameters import Priors, Space, space
from neuromod.hgf.participants import Given, Participants, gather
from neuromod.hgf.responses.response import Response

N_CANDIDATES = 32
AT_A_TIME = 500
TOGETHER = 0.1


def sample(
    network: Any,
    data: Any,
    responses: Any = None,
    *,
    response: Response,
    seed: int,
    priors: Priors | None = None,
    covariates: Any = None,
    observed: Any = None,
    time_steps: Any = None,
    sessions: Any = None,
    n_chains: int = 4,
    n_draws: int = 1000,
    n_warmup: int = 1000,
    target_accept: float = 0.9,
    group_sd: float = 1.0,
    checkpoint: Any = None,
    precision: Precision = "float64",
    progress: bool = True,
) -> Result:
    """Draw parameters of a network and a response model from their posterior.

    Parameters
    ----------
    network, data, responses
        As `fit` takes them. Of several participants all are drawn together, around a
        group mean.
    response
        How beliefs become responses (`neuromod.hgf.responses`).
    seed
        Of starting points and draws.

    Other Parameters
    ----------------
    priors, covariates, observed, time_steps, sessions
        As `fit` takes them.
    n_chains, n_draws, n_warmup
        Number of chains, of draws that each keeps, and of those before, which adapt
        its step.
    target_accept
        Share of steps that should be accepted: higher takes shorter steps.
    group_sd
        Scale of the prior of the spread between participants, in deviations of the
        parameters' prior.
    checkpoint
        A file where what was drawn so far is kept; a second call with the same
        arguments goes on from there.
    precision
        "float64" or "float32".
    progress
        Whether to show a progress bar.

    Returns
    -------
    Result
        ``data`` holds ``posterior`` (chain, draw) by name, with ``subject`` for a
        group, whose ``group_mean`` and ``group_sd`` are on the native scale;
        ``sample_stats``, ``diagnostics`` (R-hat, effective sample sizes),
        ``identifiability``, ``prior`` (draws from it), ``log_likelihood`` of each
        trial, and means and 95 % intervals in ``parameters`` and ``uncertainty``.

    Raises
    ------
    InvalidInputError
        If a parameter, a column or a value is not what it must be.
    ShapeError
        If series differ in length.

    Warns
    -----
    ConvergenceWarning
        If chains disagree, draws are few, or trajectories diverged.

    Examples
    --------
    >>> from neuromod import hgf
    >>> result = hgf.sample(
    ...     hgf.binary_two_level(),
    ...     [1, 1, 0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 1, 0],
    ...     [0, 1, 1, 1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0],
    ...     response=hgf.responses.unit_square_sigmoid(),
    ...     priors={"x2.tonic_volatility": hgf.Normal(-4, 1)},
    ...     n_draws=500,
    ...     n_warmup=500,
    ...     seed=0,
    ...     progress=False,
    ... )
    >>> dict(result.data["posterior"].sizes)
    {'chain': 4, 'draw': 500}
    """
    # Inside, since nothing else here needs numpyro.
    from neuromod.core import diagnostics, sampling

    started = start()
    seed = require_integer(seed, "seed", minimum=0)
    n_chains = require_integer(n_chains, "n_chains")
    group_sd = require_positive(group_sd, "group_sd")
    agent = Agent(network, response)
    free = space(agent, priors)
    participants = gather(
        agent, Given(data, responses, covariates, observed, time_steps, sessions)
    )
    with precision_context(precision):
        model = posterior_of(agent, free, participants, group_sd, precision)
        draws = sampling.nuts(
            model.log_density,
            model.starts(seed, n_chains),
            arguments=model.arguments,
            seed=seed,
            n_draws=n_draws,
            n_warmup=n_warmup,
            target_accept=target_accept,
            checkpoint=checkpoint,
            progress=progress,
        )
        native = model.native(draws.positions)
        nats = model.nats(draws.positions)
    settings = {
        "parameters": results.packed(free),
        "group_sd": group_sd,
        "n_chains": n_chains,
        "n_draws": n_draws,
        "n_warmup": n_warmup,
        "target_accept": target_accept,
        "precision": precision,
    }
    tree = results_of_draws.of_draws(free, participants, draws, native, nats, seed)
    fitted = agent
    if participants.labels is None:
        fitted = results.agent_with(agent, free, tree["parameters"])
    diagnostics.warn_of_trouble(tree["diagnostics"], stacklevel=3)
    origin = provenance(
        seed=seed,
        precision=precision,
        started=started,
        inputs={"behaviour": results.checksummed(participants)},
    )
    return Result(fitted, xr.DataTree.from_dict(tree), settings, origin)


class Posterior(NamedTuple):
    """A posterior to draw from.

    Parameters
    ----------
    log_density
        Of a position and the arguments.
    pointwise
        From the same to log probabilities of responses, (trial,) or (subject,).
    arguments
        An agent, its free parameters, behaviour, and of a group its prior's scale.
    shapes
        Of the parts of a position.
    """

    log_density: Callable[..., Float[Array, ""]]
    pointwise: Callable[..., Any]
    arguments: tuple[Any, ...]
    shapes: dict[str, tuple[int, ...]]

    def starts(self, seed: int, n_chains: int) -> dict[str, np.ndarray]:
        """Return where chains begin: the most likely of many draws from the prior.

        Beliefs that run away make likelihoods with far and shallow maxima besides the
        true one, which a chain that begins near them does not leave.
        """
        random = np.random.default_rng(seed)
        drawn = {
            name: random.standard_normal((N_CANDIDATES * n_chains, *shape))
            for name, shape in self.shapes.items()
        }
        if "log_sd" in drawn:
            # A group is looked for as one, then its members part.
            drawn["log_sd"] -= 1
            drawn["offset"] *= TOGETHER
        nats = _pointwise(self.pointwise, drawn, self.arguments)
        heights = nats.sum(axis=1) + _log_prior(drawn)
        best = np.argsort(-heights, stable=True)[:n_chains]
        return {name: values[best] for name, values in drawn.items()}

    def nats(self, positions: Any) -> np.ndarray:
        """Return the log probabilities of responses at every (chain, draw)."""
        n_chains, n_draws = next(iter(positions.values())).shape[:2]
        flat = {k: v.reshape(-1, *v.shape[2:]) for k, v in positions.items()}
        found = _pointwise(self.pointwise, flat, self.arguments)
        return found.reshape(n_chains, n_draws, -1)

    def native(self, positions: Any) -> dict[str, np.ndarray]:
        """Return native parameters by ``parameters``, and those of a group."""
        free = self.arguments[1]
        if "log_sd" not in positions:
            return {"parameters": np.asarray(free.native(positions["standard"]))}
        group_sd = self.arguments[3]
        spread = group_sd * np.exp(positions["log_sd"])
        each = (
            positions["mean"][..., None, :]
            + spread[..., None, :] * (positions["offset"])
        )
        return {
            "parameters": np.asarray(free.native(each)),
            "group_mean": np.asarray(free.native(positions["mean"])),
            "group_sd": np.asarray(free.sd * spread),
        }


def posterior_of(
    agent: Agent,
    free: Space,
    participants: Participants,
    group_sd: float,
    precision: Precision,
) -> Posterior:
    """Return the posterior of one participant, or of a group.

    Parameters
    ----------
    agent
        Holds what is not free.
    free
        The free parameters.
    participants
        Their behaviour.
    group_sd
        Scale of the prior of the spread between participants, in prior deviations.
    precision
        "float64" or "float32".
    """
    numbers = dtype(precision)
    agent, free = in_precision((agent, free), precision)
    padded = [in_precision(one, precision) for one in participants.padded]
    n_parameters = len(free.names)
    if participants.labels is None:
        shapes = {"standard": (n_parameters,)}
        arguments = (agent, free, padded[0])
        return Posterior(_density_of_one, _nats_of_one, arguments, shapes)
    together = jax.tree.map(lambda *leaves: np.stack(leaves), *padded)
    shapes = {
        "mean": (n_parameters,),
        "log_sd": (n_parameters,),
        "offset": (len(padded), n_parameters),
    }
    arguments = (agent, free, together, np.asarray(group_sd, numbers))
    return Posterior(_density_of_group, _nats_of_group, arguments, shapes)


def _nats(standard: Any, agent: Agent, free: Space, behaviour: Behaviour) -> Any:
    told = free.insert(agent, free.native(standard))
    return penalised(log_likelihood(told, behaviour))


def _total(standard: Any, agent: Agent, free: Space, behaviour: Behaviour) -> Any:
    return differentiable_forward(Objective(agent, free, behaviour, 0.0), standard)


def _log_prior(at: Any) -> Any:
    """Return the log density of a position; of positions with leading dimensions."""
    total = 0.0
    for name, values in at.items():
        numpy = np if isinstance(values, np.ndarray) else jnp
        if name == "log_sd":  # half normal, as a density of the logarithm
            each = values - numpy.exp(2 * values) / 2
        else:
            each = -(values**2 + np.log(2 * np.pi)) / 2
        total = total + each.sum(axis=(-2, -1) if name == "offset" else -1)
    return total


def _density_of_one(at: Any, agent: Agent, free: Space, behaviour: Behaviour) -> Any:
    return _total(at["standard"], agent, free, behaviour) + _log_prior(at)


def _nats_of_one(at: Any, agent: Agent, free: Space, behaviour: Behaviour) -> Any:
    return _nats(at["standard"], agent, free, behaviour)


def _standard(at: Any, group_sd: Any) -> Any:
    """Return every participant's parameters in deviations of the prior."""
    spread = group_sd * jnp.exp(at["log_sd"])
    return at["mean"][..., None, :] + spread[..., None, :] * at["offset"]


def _density_of_group(
    at: Any, agent: Agent, free: Space, behaviours: Behaviour, group_sd: Any
) -> Any:
    each = jax.vmap(_total, (0, None, None, 0))
    nats = each(_standard(at, group_sd), agent, free, behaviours)
    return jnp.sum(nats) + _log_prior(at)


def _nats_of_group(
    at: Any, agent: Agent, free: Space, behaviours: Behaviour, group_sd: Any
) -> Any:
    each = jax.vmap(_nats, (0, None, None, 0))
    return jnp.sum(each(_standard(at, group_sd), agent, free, behaviours), axis=1)


def _pointwise(function: Callable, positions: Any, arguments: Any) -> np.ndarray:
    """Apply a function to every position, some of them at a time."""
    n = len(next(iter(positions.values())))

    def batch(values, at):
        # One shape, one compilation: the last batch is filled up from the first.
        return np.take(values, range(at, at + AT_A_TIME), axis=0, mode="wrap")

    found = []
    for at in range(0, n, AT_A_TIME):
        some = {name: batch(values, at) for name, values in positions.items()}
        found.append(np.asarray(_of_batch(function, some, arguments)))
    return np.concatenate(found)[:n]


@partial(jit_many_kernels, static_argnums=0)
def _of_batch(function: Callable, positions: Any, arguments: Any) -> Any:
    return jax.vmap(lambda at: function(at, *arguments))(positions)
