"""Evidence at the edges of what floating point holds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod import kernels
from tests.kernels.brute_force import log_space, random_chain
from tests.kernels.folded import assert_each_loop_is_one_kernel

PRECISIONS = ["float32", "float64"]


@pytest.fixture(params=PRECISIONS)
def dtype(request):
    """Compute in one precision, then in the other."""
    with jax.enable_x64(request.param == "float64"):
        yield np.dtype(request.param)


def rounded(chain):
    """Round to float32, so that both precisions compute on the same numbers."""
    return [np.asarray(x, np.float32).astype(float) for x in chain]


def smooth(chain, dtype, **options):
    arrays = (jnp.asarray(x, dtype) for x in chain)
    return kernels.hmm_smoother(*arrays, **options)


@pytest.mark.parametrize(
    ("centre", "spread", "zeros"),
    [(-500, 40, False), (-1e5, 300, False), (-3, 1, True), (1e4, 100, True)],
)
def test_large_log_likelihoods(centre, spread, zeros, dtype):
    initial, transition, evidence = random_chain(
        0, 150, 4, zeros=zeros, spread=spread if not zeros else 3
    )
    chain = rounded((initial, transition, evidence + centre))
    log_likelihood, filtered, smoothed, counts = log_space(*chain)
    got = smooth(chain, dtype)
    tolerance = 2e-5 if dtype == np.float32 else 1e-10
    relative = 5e-7 if dtype == np.float32 else 1e-14
    np.testing.assert_allclose(got.log_likelihood, log_likelihood, rtol=relative)
    np.testing.assert_allclose(got.filtered, filtered, atol=tolerance)
    np.testing.assert_allclose(got.smoothed, smoothed, atol=tolerance)
    np.testing.assert_allclose(got.transition_counts, counts, atol=tolerance * 150)


def test_best_evidence_in_a_state_that_cannot_be_reached(dtype):
    """The scale of a bin is that of the states that can be reached."""
    chain = (
        np.array([1.0, 0.0, 0.0]),
        np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]),
        np.array([[-1.0, -2.0, 5000.0], [-3.0, -1.0, 9000.0], [-1.0, -1.0, 8000.0]]),
    )
    reachable = (chain[0][:2], chain[1][:2, :2], chain[2][:, :2])
    log_likelihood, filtered, smoothed, counts = log_space(*reachable)
    got = smooth(chain, dtype)
    np.testing.assert_allclose(got.log_likelihood, log_likelihood, rtol=1e-6)
    np.testing.assert_allclose(got.filtered[:, :2], filtered, rtol=1e-5)
    np.testing.assert_allclose(got.smoothed[:, :2], smoothed, rtol=1e-5)
    np.testing.assert_allclose(got.transition_counts[:2, :2], counts, rtol=1e-5)
    np.testing.assert_array_equal(got.smoothed[:, 2], 0)
    np.testing.assert_array_equal(got.transition_counts[2], 0)
    best = kernels.hmm_viterbi(*(jnp.asarray(x, dtype) for x in chain))
    np.testing.assert_array_equal(best.path, [0, 1, 0])


def test_a_hopeless_half_of_the_chain_stays_finite(dtype):
    """The likelihood of what cannot happen grows past every number."""
    transition = np.kron(np.eye(2), np.full((2, 2), 0.5))
    initial = np.array([0.5, 0.5, 0.0, 0.0])
    evidence = np.zeros((2000, 4)) + np.array([0.0, 0.0, 10.0, 10.0])
    arrays = [jnp.asarray(x, dtype) for x in (initial, transition, evidence)]
    got = smooth(arrays, dtype, transition_posteriors=True)
    np.testing.assert_allclose(got.smoothed[:, :2], 0.5, rtol=1e-5)
    np.testing.assert_array_equal(got.smoothed[:, 2:], 0)
    np.testing.assert_allclose(got.transition_counts[:2, :2], 1999 / 4, rtol=1e-5)
    assert all(np.isfinite(x).all() for x in got)
    gradient = jax.grad(kernels.hmm_log_likelihood, (0, 1, 2))(*arrays)
    assert all(np.isfinite(g).all() for g in gradient)


@pytest.mark.parametrize("where", [[0], [5], [9], [4, 5], list(range(10))])
def test_impossible_evidence(where, dtype):
    """log p(y) is -inf, and the posteriors are those without the impossible bins."""
    initial, transition, evidence = random_chain(1, 10, 3)
    evidence[where] = -np.inf
    chain = (initial, transition, evidence)
    all_seen = jnp.ones(10, bool)
    observed = all_seen.at[jnp.array(where)].set(False)
    got = smooth(chain, dtype, observed=all_seen, transition_posteriors=True)
    want = smooth(chain, dtype, observed=observed, transition_posteriors=True)
    assert got.log_likelihood == -np.inf
    np.testing.assert_array_equal(np.isinf(got.log_normalisers), ~observed)
    for name in ("filtered", "smoothed", "transition_counts", "transition_posteriors"):
        one, other = getattr(got, name), getattr(want, name)
        np.testing.assert_allclose(one, other, atol=1e-6)
        assert np.isfinite(one).all()
    arrays = [jnp.asarray(x, dtype) for x in chain]
    lagged = kernels.hmm_fixed_lag_smoother(*arrays, lag=3)
    assert np.isfinite(lagged.smoothed).all()
    best = kernels.hmm_viterbi(*arrays, observed=all_seen)
    assert best.log_joint == -np.inf
    unobserved = kernels.hmm_viterbi(*arrays, observed=observed)
    np.testing.assert_array_equal(best.path, unobserved.path)
    drawn = kernels.hmm_sample(*arrays, key=jax.random.key(0))
    assert ((drawn >= 0) & (drawn < 3)).all()


def test_evidence_that_only_what_cannot_be_reached_explains(dtype):
    chain = (
        np.array([1.0, 0.0]),
        np.eye(2),
        np.array([[0.0, 0.0], [-np.inf, 3.0]]),
    )
    got = smooth(chain, dtype)
    assert got.log_likelihood == -np.inf
    np.testing.assert_array_equal(got.smoothed, [[1, 0], [1, 0]])


def test_some_states_excluded_by_the_evidence(dtype):
    initial, transition, evidence = random_chain(2, 30, 3)
    rng = np.random.default_rng(0)
    evidence[np.arange(30), rng.integers(0, 3, 30)] = -np.inf
    log_likelihood, filtered, smoothed, _ = log_space(initial, transition, evidence)
    got = smooth((initial, transition, evidence), dtype)
    np.testing.assert_allclose(got.log_likelihood, log_likelihood, rtol=1e-6)
    np.testing.assert_allclose(got.filtered, filtered, atol=1e-6)
    np.testing.assert_allclose(got.smoothed, smoothed, atol=1e-6)


def test_a_long_recording_in_float32():
    """Relative error of the likelihood near one rounding, posteriors that sum to 1."""
    chain = rounded(random_chain(3, 100_000, 3, spread=40))
    chain[2] = np.float32(chain[2] - 500.0).astype(float)
    got = smooth(chain, np.float32)
    np.testing.assert_allclose(got.smoothed.sum(axis=1), 1, atol=5e-7)
    np.testing.assert_allclose(got.transition_counts.sum(), 99_999, rtol=1e-5)
    with jax.enable_x64(True):
        want = smooth(chain, np.float64)
        np.testing.assert_allclose(got.log_likelihood, want.log_likelihood, rtol=2e-7)
        np.testing.assert_allclose(got.smoothed, want.smoothed, atol=3e-5)
        counts = want.transition_counts
        np.testing.assert_allclose(got.transition_counts, counts, rtol=1e-4)


def test_many_states(dtype):
    """More states than are summed by hand."""
    chain = rounded(random_chain(4, 30, 12, spread=5))
    log_likelihood, filtered, smoothed, counts = log_space(*chain)
    got = smooth(chain, dtype)
    tolerance = 5e-6 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(got.log_likelihood, log_likelihood, rtol=tolerance)
    np.testing.assert_allclose(got.filtered, filtered, atol=tolerance)
    np.testing.assert_allclose(got.smoothed, smoothed, atol=tolerance)
    np.testing.assert_allclose(got.transition_counts, counts, atol=tolerance)


FOLDED = {
    "filter": (kernels.hmm_filter, 1),
    "smoother": (kernels.hmm_smoother, 2),
    "viterbi": (kernels.hmm_viterbi, 2),
    "gradient": (jax.grad(kernels.hmm_log_likelihood, (0, 1, 2)), 2),
}


@pytest.mark.parametrize("name", FOLDED)
def test_each_loop_is_one_kernel(name):
    """What makes it fast on a CPU: XLA compiles the whole loop, masks included."""
    function, n_loops = FOLDED[name]
    arrays = [jnp.asarray(x, np.float32) for x in random_chain(0, 500, 5)]
    options = {"reset": jnp.zeros(500, bool), "length": 400}
    assert_each_loop_is_one_kernel(function, n_loops, *arrays, **options)
