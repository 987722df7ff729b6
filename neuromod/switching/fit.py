"""From spike counts to brain states and connectivity."""

import warnings

import numpy as np
import xarray as xr

from neuromod.core import dimensions
from neuromod.core.devices import xla_hint
from neuromod.core.errors import ConvergenceWarning, ShapeError, invalid
from neuromod.core.precision import Precision, precision_context
from neuromod.core.progress import progress_bar
from neuromod.core.provenance import provenance, start
from neuromod.core.result import Result
from neuromod.switching import basis as bases
from neuromod.switching import em, inference, starts
from neuromod.switching.baseline import (
    baseline_curvature,
    mean_values,
    moments,
    require_within_link,
    start_dispersion,
)
from neuromod.switching.bins import bins_of
from neuromod.switching.data import prepare, prepare_for, typed, with_recurrence
from neuromod.switching.inference import Problem
from neuromod.switching.inputs import warn_of_small
from neuromod.switching.model import SwitchingGLM
from neuromod.switching.observations import LINKS, resolve_link
from neuromod.switching.priors import Prior, Ridge
from neuromod.switching.recording import Recording
from neuromod.switching.results import describe, history, scores
from neuromod.switching.settings import (
    PRIORS,
    require_lapses,
    resolve_chain_prior,
    resolve_prior,
    settings_of,
)


def fit(
    spikes: xr.DataArray | xr.DataTree | list[xr.DataArray],
    n_states: int,
    *,
    seed: int,
    prior: str | Prior = "one_hot",
    inputs: xr.DataArray | xr.DataTree | list[xr.DataArray] | None = None,
    transition_inputs: xr.DataArray | xr.DataTree | list[xr.DataArray] | None = None,
    basis: object = "exponential",
    self_basis: object = None,
    observation: str = "poisson",
    link: str | None = None,
    n_lapse_states: int = 0,
    recurrent: bool = False,
    concentration: float = 1.0,
    stickiness: float = 0.0,
    n_restarts: int = 4,
    max_iterations: int = 200,
    tolerance: float = 1e-6,
    init: Result | None = None,
    reference: bool = False,
    precision: Precision = "float64",
    progress: bool = True,
) -> Result:
    """Fit a switching GLM to spikes or choices by exact expectation-maximisation.

    Parameters
    ----------
    spikes : (time, neuron)
        Spike counts per bin, or choices per trial, of one session or of many: a
        DataArray, optionally with a ``session`` coordinate along time, a list of
        DataArrays, or a DataTree with one child per session. NaN marks a missing
        bin: the chain steps over it, and it counts as silent in the history of later
        bins.
    n_states
        Number of hidden states; 1 gives the plain GLM.
    seed
        Seed of the starting points.

    Other Parameters
    ----------------
    prior
        What is thought of the couplings before seeing data: "one_hot" (inhibitory,
        absent or excitatory, from preferences that the states share), "gaussian"
        (around a mean that the states share), "lasso" (most are exactly zero),
        "ridge" (around zero) or "none" (maximum likelihood); or one of `OneHot`,
        `Gaussian`, `Lasso` and `Ridge` with settings of its own.
    inputs : (time, input)
        What else drives the neurons or the choices in each bin, in the form of
        ``spikes``.
    transition_inputs : (time, input)
        What tilts the odds of the jump into each bin, in the form of ``spikes``.
    basis
        Basis functions of the coupling filters: "exponential" (5 bins),
        "raised_cosine" (3 bumps over 10 bins), "b_spline" (4 over 10 bins), "lags" (5
        bins), an array (basis, lag) whose first lag is one bin back, or None for no
        couplings.
    self_basis
        The same for a neuron's own history, which then is no coupling and of no
        kind; None if it is.
    observation
        "poisson" for counts, "bernoulli" for spike or no spike and for choices (a bin
        with more spikes counts as one with a spike, and as what it holds in the
        history), "negative_binomial" for overdispersed counts, "gaussian" for any
        numbers, "categorical" for a choice 0, 1, ... per bin.
    link
        "softplus" (default of counts), "sigmoid" (default of Bernoulli; at most one
        expected spike per bin), "exp", "identity" (default of Gaussian) or "softmax".
    n_lapse_states
        How many of the states ignore inputs, history and couplings: in them an animal
        guesses. They are the last of the states.
    recurrent
        Whether the history of all neurons, seen through ``basis``, tilts the odds of
        the jumps too.
    concentration, stickiness
        Dirichlet prior of every row of the transition matrix, and its extra
        pseudo-jumps from a state to itself; 1 and 0 are flat.
    n_restarts
        Number of starting points. All climb with a ridge until an iteration gains
        less than 100 times the tolerance; the best goes on from there with the prior.
    max_iterations
        Most iterations of a climb.
    tolerance
        EM stops when an iteration gains less than this (nats per bin).
    init
        A fit of the same model to continue from; there are no restarts then.
    reference
        Whether to follow the procedure of the one-hot paper's own code instead, to
        compare with (`neuromod.switching.reference`): ten epochs of Adam, one session
        at a time, from a single start.
    precision
        "float64" or "float32".
    progress
        Whether to show a progress bar.

    Returns
    -------
    Result
        ``model`` is a `SwitchingGLM` whose states are sorted by occupancy.
        ``data`` holds ``parameters``, ``uncertainty`` (standard errors of bias and
        weight given the state posterior: a lower bound; infinite where the data tell
        nothing), ``latent`` (smoothed ``state_probability`` (time, state)) and
        ``history`` (restart, iteration). With the one-hot prior ``parameters`` holds
        ``connection_probability`` and ``connection_preference`` too.

    Raises
    ------
    InvalidInputError
        If counts are negative, fractional or infinite, a name is unknown, times do
        not ascend or lie on no regular grid, or labels occur twice.
    ShapeError
        If dimensions are wrong, or no session is longer than the history.
    DivergedError
        If the likelihood is not finite.

    Warns
    -----
    ConvergenceWarning
        If the best restart did not converge.
    UserWarning
        If a neuron never fires: its rate is taken as half a spike per recording. If
        an input is so small that the prior leaves little of its weight.

    Notes
    -----
    Li et al. (2024), One-hot GLM for switching brain state discovery, ICLR. All
    sessions are pooled in each iteration, which ends at a better optimum than one
    session at a time.

    Examples
    --------
    >>> from neuromod import datasets, switching
    >>> truth = datasets.simulate_switching(
    ...     seed=0, n_states=2, n_neurons=6, n_sessions=2, n_steps=500
    ... )
    >>> result = switching.fit(
    ...     truth["recording"]["spikes"], n_states=2, seed=0, progress=False
    ... )
    >>> result.model.n_states
    2
    """
    started = start()
    n_states = dimensions.require_integer(n_states, "n_states")
    seed = dimensions.require_integer(seed, "seed", minimum=0)
    n_restarts = dimensions.require_integer(n_restarts, "n_restarts")
    max_iterations = dimensions.require_integer(max_iterations, "max_iterations")
    tolerance = dimensions.require_positive(tolerance, "tolerance", "nats per bin")
    chain_prior = resolve_chain_prior(concentration, stickiness)
    link = resolve_link(link, observation)
    prepared = prepare(
        spikes,
        "spikes",
        observation,
        inputs=inputs,
        transition_inputs=transition_inputs,
    )
    filters = bases.resolve(basis)
    if not isinstance(recurrent, bool):
        raise invalid("recurrent", repr(recurrent), "True or False")
    if recurrent:
        prepared = with_recurrence(prepared, filters)
    recording = prepared.recording
    own_filters = bases.resolve(self_basis, "self_basis")
    prior = resolve_prior(prior, observation, filters)
    require_lapses(n_lapse_states, n_states, prior)
    _require_history(recording, max(filters.shape[1], own_filters.shape[1]))
    seen = moments(prepared, observation)
    rate = mean_values(seen, prepared.neurons, observation)
    require_within_link(rate, prepared.neurons, link, observation)
    with precision_context(precision):
        baseline = np.asarray(LINKS[link].inverse(rate))
        dispersion = start_dispersion(seen, observation)
        curvature = baseline_curvature(baseline, rate, dispersion, link, observation)
        warn_of_small(recording, prepared.inputs, prior, curvature)
        blank = starts.blank_model(
            n_states,
            baseline,
            dispersion,
            recording,
            (filters, own_filters),
            n_lapse_states=n_lapse_states,
            recurrent=recurrent,
            observation=observation,
            link=link,
        )
    if init is not None:
        prepare_for(
            init, spikes, "init", inputs=inputs, transition_inputs=transition_inputs
        )
        _require_same_model(init.model, blank)
    if reference:
        _require_like_the_paper(prior, blank, init)
    xla_hint()

    with precision_context(precision):
        blank, recording = typed(blank, precision), typed(recording, precision)
        problem = Problem(
            recording=recording,
            bins=bins_of(blank, recording, prepared.stored),
            prior=typed(prior, precision),
            chain_prior=typed(chain_prior, precision),
        )
        kinds = None
        if reference:
            race, kinds = _follow(problem, blank, rate, seed, progress)
            problem = problem._replace(prior=Ridge(0.0))
        elif init is None:
            race = em.race_from_starts(
                blank,
                problem,
                baseline,
                prepared.recording.values,
                seed,
                n_restarts,
                max_iterations,
                tolerance,
                progress,
            )
        else:
            model = typed(init.model, precision)
            race = em.go_on(
                model, problem, baseline, max_iterations, tolerance, progress
            )
        best = race.runs[race.kept]
        found = em.finish(best.end, problem)
        described = describe(found, problem.prior, prepared, rate, kinds)
    if not best.converged:
        warnings.warn(
            f"switching.fit: the best of {len(race.runs)} restarts had not converged "
            f"after {max_iterations} iterations. Continue with fit(..., init=result), "
            "or raise max_iterations.",
            ConvergenceWarning,
            stacklevel=2,
        )
    tree = xr.DataTree.from_dict({**described, "history": history(race)})
    tree.attrs = scores(best, prepared.data)
    settings = {
        "n_states": n_states,
        "prior": settings_of(prior),
        "basis": np.asarray(filters).tolist(),
        "self_basis": np.asarray(own_filters).tolist(),
        "observation": observation,
        "link": link,
        "n_lapse_states": n_lapse_states,
        "recurrent": recurrent,
        "concentration": float(chain_prior.concentration),
        "stickiness": float(chain_prior.stickiness),
        "n_restarts": len(race.runs),
        "max_iterations": max_iterations,
        "tolerance": tolerance,
        "warm_start": init is not None,
        "neurons_differ": recording.recorded is not None,
        "reference": reference,
        "precision": precision,
        "bin_size": prepared.bin_size,
    }
    origin = provenance(
        seed=seed, precision=precision, started=started, inputs=prepared.checksummed()
    )
    return Result(model=found.end.model, data=tree, config=settings, provenance=origin)


def _require_like_the_paper(
    prior: Prior, blank: SwitchingGLM, init: Result | None
) -> None:
    layout = blank.layout
    plain = layout.n_inputs == layout.n_own == blank.transition_weight.shape[-1] == 0
    plain = plain and blank.n_lapse_states == 0
    counts = blank.observation in ("poisson", "bernoulli")
    known = [settings_of(PRIORS[name]) for name in ("none", "gaussian", "one_hot")]
    plain = plain and layout.n_basis == 1 and settings_of(prior) in known
    if not (plain and counts and init is None):
        raise invalid(
            "reference",
            "True with settings that the paper's code does not have",
            "the prior 'none', 'gaussian' or 'one_hot' as it is, one basis function, "
            "Poisson or Bernoulli observations, and no inputs, self_basis or init",
            "Leave those out, or fit without reference=True.",
        )


def _follow(
    problem: Problem, blank: SwitchingGLM, rate: np.ndarray, seed: int, progress: bool
) -> tuple[em.Race, np.ndarray | None]:
    """Run the paper's procedure; its kinds too, if it has any."""
    # Inside, since nothing else here needs optax.
    from neuromod.switching import reference as paper

    name = {"Ridge": "none", "Gaussian": "gaussian", "OneHot": "one_hot"}[
        type(problem.prior).__name__
    ]
    n_visits = paper.N_EPOCHS * len(problem.recording.lengths)
    with progress_bar(n_visits, "fit", "session", shown=progress) as bar:
        reached = paper.follow(blank, problem.recording, rate, name, seed, bar)
    state = inference.start_prior(Ridge(0.0), reached.model, rate)
    end = em.Climber(reached.model, state)
    run = em.Restart(end, reached.log_likelihoods, reached.objectives, True)
    kinds = None
    if reached.kinds is not None:
        shape = (*blank.weight.shape[:3], 3)
        kinds = np.asarray(reached.kinds).reshape(shape)
    return em.Race([run], 0), kinds


def _require_history(recording: Recording, n_lags: int) -> None:
    longest = int(np.max(recording.lengths))
    if longest <= n_lags:
        raise invalid(
            "spikes",
            f"at most {longest} bins in a session",
            f"a session longer than the history of {n_lags} bins",
            "Shorten the basis, or pass basis=None for no couplings.",
            ShapeError,
        )


def _require_same_model(model: SwitchingGLM, blank: SwitchingGLM) -> None:
    def told(model):
        return (
            f"{model.n_states} states, observation={model.observation!r}, "
            f"link={model.link!r}, {len(model.basis)} x {model.basis.shape[1]} basis, "
            f"{len(model.self_basis)} x {model.self_basis.shape[1]} self_basis, "
            f"{model.n_lapse_states} lapse states, {model.layout.n_inputs} inputs and "
            f"{model.transition_weight.shape[-1]} transition inputs"
        )

    # A fit in single precision holds a rounded basis.
    same = told(model) == told(blank) and all(
        np.allclose(getattr(model, name), getattr(blank, name), rtol=1e-5)
        for name in ("basis", "self_basis")
    )
    if not same:
        raise invalid(
            "init",
            f"a fit with {told(model)}",
            f"one with {told(blank)}",
            "Pass the settings of that fit: they stand in init.config.",
        )
