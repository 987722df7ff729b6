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

METHODS = [("blocked", 3), ("associative", None)]
N_BINS = 34


@functools.partial(jax.jit, static_argnames=("method", "n_blocks"))
def smooth(chain, options, method, n_blocks=None):
    return kernels.hmm_smoother(*chain, **options, method=method, n_blocks=n_blocks)


@functools.partial(jax.jit, static_argnames=("method", "n_blocks"))
def differentiate(chain, options, method, n_blocks=None):
    """Return the likelihood, its gradient, and its change in a direction."""
    options = {**options, "method": method, "n_blocks": n_blocks}
    function = functools.partial(kernels.hmm_log_likelihood, **options)
    tangents = jax.tree.map(jnp.cos, chain)
    gradient = jax.value_and_grad(function, (0, 1, 2))(*chain)
    return gradient, jax.jvp(function, chain, tangents)


def assert_equal_to_sequential(
    chain, options, function=smooth, methods=METHODS, tolerance=1e-10, dtype=np.float64
):
    chain = tuple(jnp.asarray(x, dtype) for x in chain)
    options = {name: jnp.asarray(value) for name, value in options.items()}
    want = function(chain, options, "sequential")

    def close(got, want):
        assert got.dtype == dtype
        largest = np.max(np.abs(want), initial=0, where=np.isfinite(want))
        atol = tolerance * max(1.0, largest)
        np.testing.assert_allclose(got, want, rtol=0, atol=atol)

    for method, n_blocks in methods:
        jax.tree.map(close, function(chain, options, method, n_blocks), want)


def cyclic(n_bins):
    """A chain that never forgets: the rows of the blocks stay apart for ever."""
    rng = np.random.default_rng(0)
    cycle = np.roll(np.eye(3), 1, axis=1)
    return rng.dirichlet(np.ones(3)), cycle, 0.02 * rng.normal(size=(n_bins, 3))


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
@pytest.mark.parametrize("varying", [False, True])
def test_derivatives(varying):
    chain = random_chain(1, 40, 2, varying=varying)
    options = {"reset": np.arange(40) == 17, "length": 38}
    assert_equal_to_sequential(chain, options, differentiate, METHODS[:1])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("n_bins", "n_states"), [(1, 1), (70, 12)])
def test_few_and_many(n_bins, n_states):
    """One bin and one state; more states than are written out."""
    chain = random_chain(0, n_bins, n_states)
    assert_equal_to_sequential(chain, {}, methods=[("blocked", None)])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("chain", [random_chain(0, 401, 3), cyclic(401)])
def test_long_blocks(chain):
    """A block that has forgotten where it started goes on with one row for all."""
    assert_equal_to_sequential(chain, {"length": 390}, methods=[("blocked", 2)])


def test_float32():
    chain = random_chain(1, N_BINS, 3)
    options = {"tolerance": 1e-5, "dtype": np.float32}
    assert_equal_to_sequential(chain, {}, methods=METHODS[:1], **options)


def impossible():
    """Bins that no state explains."""
    chain = random_chain(3, N_BINS, 3)
    chain[2][[0, 20, 21, -1]] = -np.inf
    return chain


def unreachable():
    """The best evidence for states to which nothing leads: what counts gets lost."""
    transition = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    evidence = np.random.default_rng(0).normal(size=(N_BINS, 3))
    return np.array([0.5, 0.5, 0.0]), transition, evidence + np.array([0, 0, 5000])


HARD = {
    "never forgets": cyclic(N_BINS),
    "impossible": impossible(),
    "unreachable": unreachable(),
    "extreme": random_chain(2, N_BINS, 3, spread=3000),
    "extreme, few ways": random_chain(2, N_BINS, 3, zeros=True, spread=40),
}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("case", HARD)
def test_hard_cases(case):
    assert_equal_to_sequential(HARD[case], {})


def test_what_is_lost_is_computed_bin_by_bin():
    """To the same bits."""
    options = {"tolerance": 0.0, "dtype": np.float32}
    assert_equal_to_sequential(unreachable(), {}, methods=METHODS[:1], **options)


@pytest.mark.usefixtures("float64")
def test_chunks_give_the_whole():
    initial, transition, evidence = map(jnp.asarray, random_chain(4, 90, 3))
    run = functools.partial(kernels.hmm_filter, initial, transition, method="blocked")
    whole = kernels.hmm_filter(initial, transition, evidence)
    predicted, parts = initial, []
    for cut in (slice(0, 30), slice(30, 60), slice(60, 90)):
        part = run(evidence[cut], predicted=predicted)
        predicted = part.predicted_next
        parts.append(part.filtered)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-12)
    close(jnp.concatenate(parts), whole.filtered)
    close(predicted, whole.predicted_next)


@pytest.mark.usefixtures("float64")
def test_vmap_and_second_derivatives():
    """Also where one lane of the batch loses precision and the others do not."""
    chains = [random_chain(0, N_BINS, 3), unreachable()]
    stacked = [jnp.asarray(np.stack(x)) for x in zip(*chains, strict=True)]

    @functools.partial(jax.jit, static_argnums=0)
    def compute(method, *chain):
        function = functools.partial(kernels.hmm_log_likelihood, method=method)
        gradient = jax.vmap(jax.grad(function, 2))
        of_evidence = functools.partial(gradient, *chain[:2])
        return jax.jvp(of_evidence, chain[2:], (jnp.cos(chain[2]),))

    got, want = (compute(method, *stacked) for method in ("blocked", "sequential"))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-10)
    jax.tree.map(close, got, want)
    assert jnp.abs(want[1]).max() > 0


@pytest.mark.parametrize(
    ("n_bins", "n_states", "method"),
    [
        (10_000, 32, "associative"),
        (9_999, 32, "sequential"),
        (10_000, 33, "sequential"),
    ],
)
def test_auto(n_bins, n_states, method, monkeypatch):
    """Sequential on a CPU; on an accelerator as the documentation says."""
    chain = [jnp.zeros(shape) for shape in ((n_states,), (n_states,) * 2)]
    chain.append(jnp.zeros((n_bins, n_states)))

    def program(method):
        function = functools.partial(kernels.hmm_filter.__wrapped__, method=method)
        return str(jax.make_jaxpr(function)(*chain))

    assert program("auto") == program("sequential")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert program("auto") == program(method)


@pytest.mark.usefixtures("own_errors_only")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "newton"}, "method: got 'newton', expected 'auto' or one of"),
        ({"method": "blocked", "n_blocks": 0}, "n_blocks: got 0, expected a number"),
        ({"method": "blocked", "n_blocks": 6}, "n_blocks: got 6, expected a number"),
        ({"n_blocks": 2}, "n_blocks: got 2 with method 'auto', expected None"),
        ({"n_blocks": 2, "method": "associative"}, "n_blocks: got 2 with method 'ass"),
    ],
)
def test_methods_that_do_not_exist(options, message):
    chain = [jnp.asarray(x, jnp.float32) for x in random_chain(0, 5, 3)]
    for function in (kernels.hmm_filter, kernels.hmm_smoother):
        with pytest.raises(ValueError, match=message):
            function(*chain, **options)
