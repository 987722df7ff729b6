"""From spike counts to brain states and connectivity."""

import warnings
from typing import Any

import numpy as np
import xarray as xr

from neuromod.core import dimensions
from neuromod.core.devices import xla_hint
from neuromod.core.errors import ConvergenceWarning, ShapeError, choice, invalid
from neuromod.core.precision import Precision, precision_context
from neuromod.core.provenance import provenance, start
from neuromod.core.result import Result
from neuromod.core.sequences import Sequences
from neuromod.switching import basis as bases
from neuromod.switching import em, starts
from neuromod.switching.data import parameters, prepare, prepare_for, typed
from neuromod.switching.glm import Prior
from neuromod.switching.inference import Recording, pose
from neuromod.switching.model import LINKS, OBSERVATIONS, SwitchingGLM


def fit(
    spikes: xr.DataArray | xr.DataTree | list[xr.DataArray],
    n_states: int,
    *,
    seed: int,
    basis: object = "exponential",
    observation: str = "poisson",
    link: str | None = None,
    ridge: float = 1.0,
    n_restarts: int = 4,
    max_iterations: int = 200,
    tolerance: float = 1e-6,
    init: Result | None = None,
    precision: Precision = "float64",
    progress: bool = True,
) -> Result:
    """Fit a switching GLM to spike counts by exact expectation-maximisation.

    Parameters
    ----------
    spikes : (time, neuron)
        Spike counts per bin, of one session or of many: a DataArray, optionally
        with a ``session`` coordinate along time, a list of DataArrays, or a
        DataTree with one child per session. NaN marks a missing bin: the chain
        steps over it, and it counts as silent in the history of later bins.
    n_states
        Number of hidden states; 1 gives the plain GLM.
    seed
        Seed of the starting points.

    Other Parameters
    ----------------
    basis
        Basis functions of the coupling filters: "exponential" (5 bins),
        "raised_cosine" (3 bumps over 10 bins), an array (basis, lag) whose first
        lag is one bin back, or None for no couplings (a hidden Markov model).
    observation
        "poisson" for counts, "bernoulli" for spike or no spike: a bin with more
        spikes counts as one with a spike, and as what it holds in the history.
    link
        "softplus" (default of Poisson), "sigmoid" (default of Bernoulli; at most
        one expected spike per bin) or "exp".
    ridge
        Precision of a Gaussian prior on the weights (around 0) and on the biases
        (around a baseline that the states share); 0 is maximum likelihood.
    n_restarts
        Number of starting points. All climb until an iteration gains less than 100
        times the tolerance; the best goes on from there.
    max_iterations
        Most iterations of a climb.
    tolerance
        EM stops when an iteration gains less than this (nats per bin).
    init
        A fit of the same model to continue from; there are no restarts then.
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
        nothing), ``latent`` (smoothed
        ``state_probability`` (time, state)) and ``history`` (restart, iteration).

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
        If a neuron never fires: its rate is taken as half a spike per recording.

    Notes
    -----
    Li et al. (2024), One-hot GLM for switching brain state discovery, ICLR; without
    their priors. All sessions are pooled in each iteration, which ends at a better
    optimum than one session at a time.

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
    ridge = _require_precision_of_prior(ridge)
    data, recording, bin_size = prepare(spikes, "spikes")
    observation = choice("observation", observation, OBSERVATIONS)
    link = _resolve_link(link, observation)
    filters = bases.resolve(basis)
    if init is not None:
        prepare_for(init, spikes, "init")
        _require_same_model(init.model, n_states, observation, link, filters)
    _require_history(recording, filters.shape[1])
    neurons = data.coords["neuron"]
    rate = _baseline_rate(recording, neurons, observation)
    _require_within_link(rate, neurons, link, observation)
    xla_hint()

    with precision_context(precision):
        baseline = np.asarray(LINKS[link].inverse(rate))
        prior = Prior(np.asarray(ridge), baseline)
        problem = pose(typed(recording, precision), filters, typed(prior, precision))
        if init is None:
            blank = starts.blank_model(n_states, baseline, filters, observation, link)
            models = em.starting_points(blank, recording, problem, seed, n_restarts)
        else:
            models = [typed(init.model, precision)]
        runs = em.race(models, problem, max_iterations, tolerance, progress)
        best = runs[em.best_of(runs)]
        found = em.finish(best.model, problem)
    if not best.converged:
        warnings.warn(
            f"switching.fit: the best of {len(runs)} restarts had not converged after "
            f"{max_iterations} iterations. Continue with fit(..., init=result), or "
            "raise max_iterations or tolerance.",
            ConvergenceWarning,
            stacklevel=2,
        )
    named = parameters(found.model, neurons, bin_size)
    named["baseline_rate"] = ("neuron", rate / bin_size, {"units": "Hz"})
    tree = xr.DataTree.from_dict(
        {
            "parameters": named,
            "uncertainty": _uncertainty(found, named),
            "latent": _latent(data, found.smoothed),
            "history": _history(runs),
        }
    )
    tree.attrs = _scores(best, data)
    settings = {
        "n_states": n_states,
        "basis": np.asarray(filters).tolist(),
        "observation": observation,
        "link": link,
        "ridge": ridge,
        "n_restarts": len(models),
        "max_iterations": max_iterations,
        "tolerance": tolerance,
        "warm_start": init is not None,
        "precision": precision,
        "bin_size": bin_size,
    }
    origin = provenance(
        seed=seed,
        precision=precision,
        started=started,
        inputs={"spikes": data.values, "lengths": data.lengths},
    )
    return Result(model=found.model, data=tree, config=settings, provenance=origin)


def _require_precision_of_prior(ridge: float) -> float:
    if ridge == 0:
        return 0.0
    return dimensions.require_positive(ridge, "ridge", "(or 0 for none)")


def _resolve_link(link: str | None, observation: str) -> str:
    if link is None:
        return {"poisson": "softplus", "bernoulli": "sigmoid"}[observation]
    return choice("link", link, LINKS)


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


def _baseline_rate(
    recording: Recording, neurons: np.ndarray, observation: str
) -> np.ndarray:
    """Return mean counts per bin (neuron,); a silent neuron gets half a spike."""
    observed = np.asarray(recording.observed)
    counts = np.asarray(recording.counts)[observed]
    if observation == "bernoulli":
        counts = np.minimum(counts, 1)
    totals = counts.sum(axis=0, dtype=float)
    silent = totals == 0
    if silent.any():
        names = ", ".join(str(n) for n in neurons[silent][:10])
        warnings.warn(
            f"switching.fit: {int(silent.sum())} neuron(s) never fire ({names}). "
            "Their rate is taken as half a spike per recording; leave them out with "
            "spikes.sel(neuron=spikes.sum('time') > 0).",
            UserWarning,
            stacklevel=3,
        )
    return np.maximum(totals, 0.5) / observed.sum()


def _require_within_link(
    rate: np.ndarray, neurons: np.ndarray, link: str, observation: str
) -> None:
    if link == "sigmoid" and observation == "poisson" and rate.max() >= 1:
        busiest = int(rate.argmax())
        raise invalid(
            "link",
            f"'sigmoid' with {rate[busiest]:.3g} spikes per bin in neuron "
            f"{neurons[busiest]}",
            "fewer than one spike per bin on average, which is the most it can say",
            "Take smaller bins, or link='softplus'.",
        )


def _require_same_model(
    model: SwitchingGLM,
    n_states: int,
    observation: str,
    link: str,
    filters: np.ndarray,
) -> None:
    # A fit in single precision holds a rounded basis.
    same_basis = np.shape(model.basis) == filters.shape and np.allclose(
        model.basis, filters, rtol=1e-5
    )
    if (model.n_states, model.observation, model.link) != (
        n_states,
        observation,
        link,
    ) or not same_basis:
        raise invalid(
            "init",
            f"a fit with {model.n_states} states, observation={model.observation!r}, "
            f"link={model.link!r} and {len(model.basis)} x {model.n_lags} basis",
            f"one with {n_states} states, observation={observation!r}, link={link!r} "
            f"and {len(filters)} x {filters.shape[1]} basis",
            "Pass the settings of that fit: they stand in init.config.",
        )


def _uncertainty(found: em.Finish, named: xr.Dataset) -> xr.Dataset:
    """Name the axes of the standard errors as those of what they belong to."""
    return xr.Dataset(
        {
            "bias_standard_error": named["bias"].copy(data=found.bias_error),
            "weight_standard_error": named["weight"].copy(data=found.weight_error),
        }
    )


def _latent(data: Sequences, smoothed: np.ndarray) -> xr.Dataset:
    states = {"state": np.arange(smoothed.shape[-1])}
    attrs = {"units": "1", "long_name": "probability of the state"}
    return data.concatenate(
        smoothed, ("state",), states, "state_probability", attrs
    ).to_dataset()


def _scores(best: em.Restart, data: Sequences) -> dict[str, Any]:
    total = best.log_likelihoods[-1]
    return {
        "log_likelihood": total,
        "log_likelihood_per_bin": total / data.n_observed,
        "n_neurons": len(data.coords["neuron"]),
        "n_sessions": len(data.labels),
        "n_bins": data.n_bins,
        "n_missing_bins": data.n_bins - data.n_observed,
    }


def _history(runs: list[em.Restart]) -> xr.Dataset:
    """Return what each restart reached in each iteration; NaN after it stopped."""
    n_iterations = max(len(run.objectives) for run in runs)

    def padded(values):
        return np.array([v + [np.nan] * (n_iterations - len(v)) for v in values])

    dims = ("restart", "iteration")
    kept = em.best_of(runs)
    return xr.Dataset(
        {
            "log_likelihood": (dims, padded([r.log_likelihoods for r in runs])),
            "objective": (dims, padded([r.objectives for r in runs])),
        },
        coords={
            "restart": np.arange(len(runs)),
            "iteration": np.arange(n_iterations),
        },
        attrs={
            "converged": runs[kept].converged,
            "restart_kept": kept,
            "n_iterations": len(runs[kept].objectives) - 1,
        },
    )
