"""Blocked and associative messages against those of one bin after another."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from neuromod import kernels
from tests.kernels.brute_force import random_chain

METHODS = [("blocked", 1), ("blocked", 3), ("blocked", None), ("associative", None)]
N_BINS = 130  # of which a few blocks are longer than what is compared before joining


@functools.partial(jax.jit, static_argnames=("method", "n_blocks"))
def everything(chain, options, method, n_blocks=None):
    """Return all that has a method, and the derivatives of the likelihood."""
    kwargs = {**options, "method": method, "n_blocks": n_blocks}
    ours = functools.partial(kernels.hmm_log_likelihood, **kwargs)
    tangents = jax.tree.map(jnp.ones_like, chain)
    smoothed = kernels.hmm_smoother(*chain, **kwargs)
    if chain[1].ndim == 2:
        pairs = kernels.hmm_smoother(*chain, **kwargs, transition_posteriors=True)
        smoothed = (smoothed, pairs)
    return {
        "filter": kernels.hmm_filter(*chain, **kwargs),
        "smoother": smoothed,
        "gradient": jax.value_and_grad(ours, (0, 1, 2))(*chain),
        "change": jax.jvp(ours, chain, tangents),
    }


def assert_equal_to_sequential(chain, options, tolerance=1e-10, dtype=np.float64):
    chain = tuple(jnp.asarray(x, dtype) for x in chain)
    options = {name: jnp.asarray(value) for name, value in options.items()}
    want = everything(chain, options, "sequential")

    def close(got, want):
        assert got.dtype == dtype
        scale = max(1.0, float(jnp.max(jnp.abs(want), initial=0)))
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * scale)

    for method, n_blocks in METHODS:
        jax.tree.map(close, everything(chain, options, method, n_blocks), want)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("varying", [False, True])
@settings(max_examples=12)
@given(
    seed=st.integers(0, 10**6),
    length=st.integers(0, N_BINS),
    share=st.sampled_from([0.0, 0.1, 0.9]),
    zeros=st.booleans(),
)
@example(seed=0, length=0, share=0.1, zeros=False)
@example(seed=0, length=1, share=0.1, zeros=True)
def test_ragged_and_missing(varying, seed, length, share, zeros):
    rng = np.random.default_rng(seed)
    options = {
        "observed": rng.random(N_BINS) >= share,
        "reset": rng.random(N_BINS) < share / 5,
        "length": length,
    }
    chain = random_chain(seed, N_BINS, 3, varying=varying, zeros=zeros)
    assert_equal_to_sequential(chain, options)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("n_bins", "n_states"), [(3, 1), (701, 4), (200, 12)])
def test_plain(n_bins, n_states):
    assert_equal_to_sequential(random_chain(0, n_bins, n_states), {})


def test_float32():
    chain = random_chain(1, 3000, 3)
    assert_equal_to_sequential(chain, {}, tolerance=2e-5, dtype=np.float32)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("method", ["blocked", "associative"])
def test_a_chain_that_never_forgets(method):
    """Cyclic jumps keep the rows of the blocks apart for ever."""
    cycle = np.roll(np.eye(3), 1, axis=1)
    rng = np.random.default_rng(0)
    chain = (rng.dirichlet(np.ones(3)), cycle, 0.02 * rng.normal(size=(900, 3)))
    assert_equal_to_sequential(chain, {})


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("spread", [40, 3000])
def test_evidence_far_beyond_what_exp_can_hold(spread):
    chain = random_chain(2, 400, 3, zeros=True, spread=spread)
    assert_equal_to_sequential(chain, {})


@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_the_best_evidence_where_nothing_leads(precision):
    """What can be reached is lost beside it: then the bins are computed one by one."""
    transition = np.kron(np.eye(2), np.full((2, 2), 0.5))
    evidence = np.random.default_rng(0).normal(size=(300, 4))
    evidence[:, 2:] += 5000
    chain = (np.array([0.5, 0.5, 0.0, 0.0]), transition, evidence)
    with jax.enable_x64(precision is np.float64):
        assert_equal_to_sequential(chain, {}, tolerance=0.0, dtype=precision)


@pytest.mark.usefixtures("float64")
def test_impossible_evidence():
    chain = random_chain(3, 120, 3)
    chain[2][[0, 40, 41, 119]] = -np.inf
    sequential, *others = (
        kernels.hmm_smoother(*map(jnp.asarray, chain), method=method, n_blocks=blocks)
        for method, blocks in [("sequential", None), *METHODS]
    )
    assert sequential.log_likelihood == -np.inf
    for other in others:
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-12),
            other,
            sequential,
        )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("method", ["blocked", "associative"])
def test_chunks_give_the_whole(method):
    initial, transition, evidence = map(jnp.asarray, random_chain(4, 90, 3))
    whole = kernels.hmm_filter(initial, transition, evidence, method=method)
    predicted, parts = initial, []
    for cut in (slice(0, 30), slice(30, 60), slice(60, 90)):
        part = kernels.hmm_filter(
            initial, transition, evidence[cut], predicted=predicted, method=method
        )
        predicted = part.predicted_next
        parts.append(part.filtered)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-12)
    close(jnp.concatenate(parts), whole.filtered)
    close(predicted, whole.predicted_next)


@pytest.mark.usefixtures("float64")
def test_vmap_and_second_derivatives():
    """Also where one lane of the batch loses precision and the others do not."""
    chains = [random_chain(seed, 60, 3) for seed in range(3)]
    chains[1] = (
        np.array([1.0, 0.0, 0.0]),
        np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]),
        chains[1][2] + np.array([0.0, 0.0, 9000.0]),
    )
    stacked = [jnp.asarray(np.stack(x)) for x in zip(*chains, strict=True)]

    @functools.partial(jax.jit, static_argnums=0)
    def compute(method, *chain):
        own = functools.partial(kernels.hmm_log_likelihood, method=method, n_blocks=4)
        own = own if method == "blocked" else kernels.hmm_log_likelihood
        return (
            jax.vmap(jax.grad(own, 2))(*chain),
            jax.hessian(lambda initial: own(initial, chain[1][0], chain[2][0]))(
                chain[0][0]
            ),
        )

    got, want = (compute(method, *stacked) for method in ("blocked", "sequential"))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-10)
    jax.tree.map(close, got, want)
    assert float(jnp.max(jnp.abs(want[1]))) > 0


def test_auto_is_what_the_table_says():
    """On a CPU the sequential loop, the very same program."""
    chain = [jnp.asarray(x, jnp.float32) for x in random_chain(0, 50, 3)]
    auto, named = (
        jax.jit(functools.partial(kernels.hmm_smoother, method=method))
        .lower(*chain)
        .as_text()
        for method in ("auto", "sequential")
    )
    assert auto == named


@pytest.mark.usefixtures("own_errors_only")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "newton"}, "method: got 'newton', expected 'auto' or one of"),
        ({"method": "blocked", "n_blocks": 0}, "n_blocks: got 0, expected a number"),
        ({"method": "blocked", "n_blocks": 6}, "n_blocks: got 6, expected a number"),
        ({"n_blocks": 2}, "n_blocks: got 2 with method 'auto', expected None"),
    ],
)
def test_methods_that_do_not_exist(options, message):
    chain = [jnp.asarray(x, jnp.float32) for x in random_chain(0, 5, 3)]
    for function in (kernels.hmm_filter, kernels.hmm_smoother):
        with pytest.raises(ValueError, match=message):
            function(*chain, **options)
