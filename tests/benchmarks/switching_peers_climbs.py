"""How each library climbs the same likelihood from the same parameters.

A climb is run in the library's own environment::

    PYTHON switching_peers_climbs.py LIBRARY PROBLEM.npz TRACE.npz --seconds 30

The problem and the trace are plain arrays, all in float64. A trace holds the CPU time
spent until each iteration was done (the time of compiling and of copying parameters out
is left out), and the parameters there; ours, which tells its own likelihood, holds that
instead and the last parameters. This module imports nothing but NumPy at its head.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":  # the script's own folder would shadow the package `kernels`
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.benchmarks._measure import keep_to

PARAMETERS = ("initial", "transition", "bias", "weight")
MOST_ITERATIONS = 3000
WARM_STEPS = 4
# At exactly 1 dynamax's chain becomes NaN where a state has no bin left.
FLAT = 1 + 1e-4
# A climb ends when an iteration gains less than this (nats per bin).
TOLERANCE = 1e-7

Arrays = dict[str, np.ndarray]


def by_dynamax(problem: Arrays, **settings: Any) -> tuple:
    """Climb with the EM of `dynamax`: its M-step is a number of steps of Adam."""
    import jax
    import jax.numpy as jnp
    from dynamax.hidden_markov_model import LogisticRegressionHMM

    jax.config.update("jax_enable_x64", True)
    n_states, _, n_inputs = problem["weight"].shape
    model = LogisticRegressionHMM(
        n_states,
        n_inputs,
        initial_probs_concentration=FLAT,
        transition_matrix_concentration=FLAT,
        **settings,
    )
    parameters, properties = model.initialize(
        initial_probs=jnp.asarray(problem["initial"]),
        transition_matrix=jnp.asarray(problem["transition"]),
        emission_weights=jnp.asarray(problem["weight"][:, 0]),
        emission_biases=jnp.asarray(problem["bias"][:, 0]),
    )
    values = jnp.asarray(problem["values"][:, 0])[None]
    inputs = jnp.asarray(problem["inputs"])[None]

    @jax.jit
    def step(state):
        parameters, moments = state
        e_step = jax.vmap(lambda y, u: model.e_step(parameters, y, u))
        statistics, log_likelihood = e_step(values, inputs)
        after = model.m_step(parameters, properties, statistics, moments)
        return after, log_likelihood.sum()

    def read(state):
        found = state[0]
        return (
            found.initial.probs,
            found.transitions.transition_matrix,
            found.emissions.biases[:, None],
            found.emissions.weights[:, None],
        )

    moments = model.initialize_m_step_state(parameters, properties)
    return (parameters, moments), step, read


def by_dynamax_tuned(problem: Arrays) -> tuple:
    """The same with fewer and larger steps of Adam."""
    import optax

    return by_dynamax(problem, m_step_optimizer=optax.adam(3e-2), m_step_num_iters=10)


def by_nemos(problem: Arrays) -> tuple:
    """Climb with the EM of `nemos`: its M-step is L-BFGS to convergence.

    Its public verbs take one neuron or one choice; what they call takes populations.
    """
    import jax
    import jax.numpy as jnp
    from nemos.glm_hmm import GLMHMM
    from nemos.glm_hmm.params import GLMHMMModelParams, GLMHMMParams
    from nemos.hmm.params import HMMParams

    jax.config.update("jax_enable_x64", True)
    n_states, n_neurons = problem["bias"].shape
    counts = bool(problem["counts"])
    model = GLMHMM(
        n_states,
        observation_model="Poisson" if counts else "Bernoulli",
        inverse_link_function=jax.nn.softplus if counts else None,
        regularizer="UnRegularized",
        maxiter=MOST_ITERATIONS,
    )
    inputs = jnp.asarray(problem["inputs"])
    values = jnp.asarray(problem["values"])
    intercept = jnp.asarray(problem["bias"].T)
    coefficient = jnp.asarray(problem["weight"].transpose(2, 1, 0))
    if n_neurons == 1:
        values, intercept, coefficient = values[:, 0], intercept[0], coefficient[:, 0]
    parameters = GLMHMMParams(
        GLMHMMModelParams(coefficient, intercept, jnp.zeros_like(intercept)),
        HMMParams(jnp.log(problem["initial"]), jnp.log(problem["transition"])),
    )
    told = model._initialize_optimizer_and_state(parameters, inputs, values)
    starts = np.cumsum(problem["lengths"]) - problem["lengths"]
    is_start = jnp.zeros(len(values), bool).at[starts].set(True)

    @jax.jit
    def step(state):
        after = model._optimizer_update(*state, inputs, values, session_starts=is_start)
        # What it calls the likelihood is the geometric mean over bins.
        return after, len(values) * jnp.log(after[1].data_log_likelihood)

    def read(state):
        glms, chain = state[0].model_params, state[0].hmm_params
        weight = glms.coef.T if n_neurons > 1 else glms.coef.T[:, None]
        bias = glms.intercept.T if n_neurons > 1 else glms.intercept[:, None]
        initial, transition = chain.log_initial_prob, chain.log_transition_prob
        return jnp.exp(initial), jnp.exp(transition), bias, weight

    return (parameters, told), step, read


CLIMBS: dict[str, Callable[[Arrays], tuple]] = {
    "dynamax": by_dynamax,
    "dynamax, tuned": by_dynamax_tuned,
    "nemos": by_nemos,
}


def trace(climb: Callable[[Arrays], tuple], problem: Arrays, seconds: float) -> Arrays:
    """Run a climb until it gains little, or its CPU time is up.

    A climb gives a state, a step from it to the next and its log-likelihood, and what
    reads the parameters of a state.
    """
    import jax

    state, step, read = climb(problem)
    started = time.perf_counter()
    ahead = state
    # What a step returns may be typed unlike what a climb begins with.
    for _ in range(WARM_STEPS):
        ahead, _ = jax.block_until_ready(step(ahead))
    compiled = time.perf_counter() - started
    spent, times, found, before = 0.0, [0.0], [read(state)], -np.inf
    for _ in range(MOST_ITERATIONS):
        began = time.process_time()
        state, log_likelihood = jax.block_until_ready(step(state))
        spent += time.process_time() - began
        times.append(spent)
        found.append(read(state))
        if not all(np.isfinite(each).all() for each in found[-1]):
            raise RuntimeError(f"parameters not finite after {len(times)} iterations")
        gain, before = float(log_likelihood) - before, float(log_likelihood)
        if gain < TOLERANCE * len(problem["values"]) or spent > seconds:
            break
    columns = zip(*found, strict=True)
    arrays = {
        name: np.stack([np.asarray(each) for each in column])
        for name, column in zip(PARAMETERS, columns, strict=True)
    }
    return {"cpu": np.array(times), "compile": np.array(compiled), **arrays}


class Clock:
    """Stands in for a progress bar: notes the CPU time of every iteration."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def set_postfix_str(self, text: str) -> None:
        """Be told of an iteration."""
        self.times.append(time.process_time())


def trace_neuromod(problem: Arrays) -> Arrays:
    """Climb with the EM that `neuromod.switching.fit` runs."""
    import jax

    from neuromod.switching import em, inference
    from neuromod.switching.bins import bins_of
    from neuromod.switching.chain import ChainPrior
    from neuromod.switching.priors import Ridge
    from tests.benchmarks.switching_peers import model_of, recording_of

    with jax.enable_x64(True):
        recording = jax.device_put(recording_of(problem))
        start = [problem[name] for name in PARAMETERS]
        model = jax.device_put(model_of(problem, *start))
        one, none = jax.numpy.ones(()), jax.numpy.zeros(())
        chain_prior = ChainPrior(one, none, one)
        bins = bins_of(model, recording)
        whole = inference.Problem(recording, bins, Ridge(none), chain_prior)
        state = inference.start_prior(whole.prior, model, problem["bias"][0])
        climber = em.Climber(model, state)

        def climb(n_iterations):
            clock: Any = Clock()
            return em.climb(climber, whole, n_iterations, TOLERANCE, clock), clock.times

        started = time.perf_counter()
        climb(2)
        compiled = time.perf_counter() - started
        began = time.process_time()
        run, times = climb(MOST_ITERATIONS)
        end = run.end.model
        last = (end.initial, end.transition_matrix, end.bias, end.input_weight)
    return {
        "cpu": np.array(times) - began,
        "compile": np.array(compiled),
        "log_likelihood": np.array(run.log_likelihoods),
        **{n: np.asarray(each)[None] for n, each in zip(PARAMETERS, last, strict=True)},
    }


def facts() -> dict[str, Any]:
    """Tell which versions ran."""
    names = ("neuromod", "dynamax", "nemos", "jax", "jaxlib")
    loaded = [name for name in names if name in sys.modules]
    versions = {name: getattr(sys.modules[name], "__version__", "?") for name in loaded}
    return {"versions": versions, "python": platform.python_version()}


def main() -> None:
    """Run one climb and leave its trace."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("climb", choices=["neuromod", *CLIMBS])
    parser.add_argument("problem", type=Path)
    parser.add_argument("trace", type=Path)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    keep_to(1)
    with np.load(options.problem) as file:
        problem = dict(file)
    if options.climb == "neuromod":
        found = trace_neuromod(problem)
    else:
        found = trace(CLIMBS[options.climb], problem, options.seconds)
    np.savez(options.trace, allow_pickle=False, **found)
    print(json.dumps(facts()))


if __name__ == "__main__":
    main()
