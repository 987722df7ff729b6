"""The derivative of the likelihood: against differences, autodiff and the posterior."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from neuromod import kernels
from tests.kernels.brute_force import random_chain

N_BINS = 7
OPTIONS = {
    "plain": {},
    "flags": {
        "observed": jnp.arange(N_BINS) != 3,
        "reset": jnp.arange(N_BINS) == 2,
        "length": 6,
    },
}

pytestmark = pytest.mark.usefixtures("float64")


def to_jax(chain, dtype=np.float64):
    return tuple(jnp.asarray(x, dtype) for x in chain)


def by_the_loop(*chain, **options):
    """The same number, differentiated by JAX through the filter's loop."""
    return kernels.hmm_filter(*chain, **options).log_likelihood


@pytest.fixture(params=OPTIONS)
def options(request):
    return OPTIONS[request.param]


@pytest.fixture(params=["constant", "onward"])
def chain(request):
    """A chain with one transition, or one for each bin and what follows it."""
    varying = request.param == "onward"
    initial, transition, evidence = random_chain(0, N_BINS, 3, varying=varying)
    if varying:
        transition = np.concatenate([transition, transition[:1]])
    return to_jax((initial, transition, evidence))


def test_first_and_second_order_differences():
    chain = to_jax(random_chain(0, N_BINS, 2))
    flat, unflatten = ravel_pytree(chain)

    def function(flat):
        return kernels.hmm_log_likelihood(*unflatten(flat), **OPTIONS["flags"])

    step = 1e-5
    moves = step * jnp.eye(len(flat))
    values = jax.jit(jax.vmap(jax.value_and_grad(function)))
    (more, more_slope), (less, less_slope) = (
        values(flat[None] + sign * moves) for sign in (1, -1)
    )
    _, (slope,) = values(flat[None])
    np.testing.assert_allclose(slope, (more - less) / (2 * step), rtol=1e-7, atol=1e-8)
    bend = (more_slope - less_slope) / (2 * step)
    second = jax.jit(jax.jacrev(jax.grad(function)))(flat)
    np.testing.assert_allclose(second, bend, rtol=1e-5, atol=1e-5)


def test_equals_the_derivative_of_the_loop_and_the_posterior(chain, options):
    @jax.jit
    def compute(*chain):
        return (
            jax.grad(kernels.hmm_log_likelihood, (0, 1, 2))(*chain, **options),
            jax.jacfwd(kernels.hmm_log_likelihood, (0, 1, 2))(*chain, **options),
            jax.grad(by_the_loop, (0, 1, 2))(*chain, **options),
            kernels.hmm_smoother(*chain, **options).smoothed,
        )

    close = functools.partial(np.testing.assert_allclose, rtol=1e-11, atol=1e-13)
    gradient, forward, loop, smoothed = compute(*chain)
    jax.tree.map(close, gradient, loop)
    jax.tree.map(close, forward, loop)
    seen = np.asarray(options.get("observed", np.ones(N_BINS, bool)))
    close(gradient[2], np.asarray(smoothed) * seen[:, None])


def test_zeros_in_the_transitions():
    """The derivative where a probability is 0, by one-sided differences."""
    chain = to_jax(random_chain(2, 8, 3, zeros=True))
    gradient = jax.grad(kernels.hmm_log_likelihood, (0, 1))(*chain)
    at = kernels.hmm_log_likelihood(*chain)
    step = 1e-7
    for place, array in enumerate(chain[:2]):
        for index in np.ndindex(array.shape):
            moved = list(chain)
            moved[place] = array.at[index].add(step)
            slope = (kernels.hmm_log_likelihood(*moved) - at) / step
            np.testing.assert_allclose(gradient[place][index], slope, rtol=1e-4)
    assert (np.asarray(gradient[1])[np.asarray(chain[1]) == 0] > 0).any()


def test_float32_and_vmap():
    chains = [random_chain(seed, 200, 3) for seed in range(3)]
    gradient = jax.vmap(jax.grad(kernels.hmm_log_likelihood, (0, 1, 2)))
    stacked = (np.stack(arrays) for arrays in zip(*chains, strict=True))
    single = gradient(*to_jax(stacked, np.float32))
    for i, chain in enumerate(chains):
        double = jax.grad(kernels.hmm_log_likelihood, (0, 1, 2))(*to_jax(chain))
        for one, other in zip(single, double, strict=True):
            assert one.dtype == np.float32
            scale = np.abs(other).max()
            np.testing.assert_allclose(one[i], other, atol=2e-5 * scale)


def test_gradient_ascent_on_softmax_parameters_climbs():
    """The use in a fit: free parameters behind a softmax, evidence given."""
    evidence = to_jax(random_chain(3, 100, 3))[2]

    @jax.jit
    @jax.value_and_grad
    def loss(parameters):
        initial, transition = map(jax.nn.softmax, parameters)
        return -kernels.hmm_log_likelihood(initial, transition, evidence)

    parameters = (jnp.zeros(3), jnp.zeros((3, 3)))
    losses = []
    for _ in range(20):
        value, gradient = loss(parameters)
        parameters = jax.tree.map(lambda p, g: p - 0.05 * g, parameters, gradient)
        losses.append(float(value))
    assert (np.diff(losses) < 0).all()
