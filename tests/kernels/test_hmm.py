"""Filter, smoothers and streaming against the enumeration of all paths."""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromod import kernels
from tests.kernels.brute_force import enumerate_paths, random_chain

SHAPES = {  # few, because each is compiled
    "one bin": (1, 2, False),
    "one state": (3, 1, False),
    "constant": (5, 3, False),
    "varying": (4, 3, True),
}


@functools.partial(jax.jit, static_argnames="lag")
def everything(initial, transition, log_likelihoods, lag=2, **options):
    args = (initial, transition, log_likelihoods)
    return {
        "filter": kernels.hmm_filter(*args, **options),
        "smoother": kernels.hmm_smoother(*args, transition_posteriors=True, **options),
        "counts": kernels.hmm_smoother(*args, **options).transition_counts,
        "lagged": kernels.hmm_fixed_lag_smoother(*args, lag=lag, **options),
        "best": kernels.hmm_viterbi(*args, **options),
        "log_likelihood": kernels.hmm_log_likelihood(*args, **options),
    }


def to_jax(arrays, dtype=np.float64):
    return [jnp.asarray(a, dtype) for a in arrays]


def assert_agrees(chain, options, tolerance=1e-12, dtype=np.float64, lag=2):
    want = enumerate_paths(*chain, **options)
    lagged = enumerate_paths(*chain, **options, lag=lag)
    jaxed = {k: jnp.asarray(v) for k, v in options.items()}
    got = everything(*to_jax(chain, dtype), lag=lag, **jaxed)
    close = functools.partial(np.testing.assert_allclose, rtol=0, atol=tolerance)
    scale = max(1.0, abs(want.log_likelihood))
    for part in ("filter", "smoother", "lagged"):
        assert got[part].filtered.dtype == dtype
        close(got[part].log_likelihood, want.log_likelihood, atol=tolerance * scale)
        close(got[part].log_normalisers, want.log_normalisers, atol=tolerance * scale)
        close(got[part].filtered, want.filtered)
    close(got["log_likelihood"], want.log_likelihood, atol=tolerance * scale)
    close(got["smoother"].smoothed, want.smoothed)
    close(got["smoother"].transition_posteriors, want.transition_posteriors)
    counts = want.transition_posteriors.sum(axis=0)
    close(got["smoother"].transition_counts, counts)
    close(got["counts"], counts)
    close(got["lagged"].smoothed, lagged.smoothed)
    close(got["best"].log_joint, want.log_joint, atol=tolerance * scale)
    np.testing.assert_array_equal(got["best"].path, want.path)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_ragged_and_missing(shape, data):
    n_bins, n_states, varying = SHAPES[shape]
    flags = st.lists(st.booleans(), min_size=n_bins, max_size=n_bins).map(np.array)
    chain = random_chain(
        data.draw(st.integers(0, 10**6)),
        n_bins,
        n_states,
        varying=varying,
        zeros=data.draw(st.booleans()),
    )
    options = {
        "observed": data.draw(flags),
        "reset": data.draw(flags),
        "length": data.draw(st.integers(1, n_bins)),
    }
    assert_agrees(chain, options)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("lag", [0, 4])
def test_plain(lag):
    assert_agrees(random_chain(0, 5, 3), {}, lag=lag)


def test_float32():
    chain = random_chain(1, 5, 3)
    assert_agrees(chain, {"length": 4}, tolerance=5e-7, dtype=np.float32)


@pytest.mark.usefixtures("float64")
def test_varying_with_an_entry_for_what_follows():
    """The entry after the last pair changes nothing but the prediction."""
    initial, transition, evidence = random_chain(2, 4, 3, varying=True)
    onward = np.concatenate([transition, transition[:1]])
    short = everything(*to_jax((initial, transition, evidence)))
    long = everything(*to_jax((initial, onward, evidence)))
    assert short["filter"].predicted_next is None
    prediction = np.asarray(long["filter"].filtered[-1]) @ onward[-1]
    np.testing.assert_allclose(long["filter"].predicted_next, prediction, atol=1e-15)
    long["filter"] = long["filter"]._replace(predicted_next=None)
    jax.tree.map(np.testing.assert_array_equal, short, long)


def flags_for(n_bins, seed=4):
    rng = np.random.default_rng(seed)
    return {
        "observed": jnp.asarray(rng.random(n_bins) < 0.8),
        "reset": jnp.asarray(rng.random(n_bins) < 0.1),
    }


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("flags", [{}, flags_for(60)], ids=["plain", "flags"])
def test_chunks_and_single_bins_give_the_whole(flags):
    initial, transition, evidence = to_jax(random_chain(3, 60, 4))
    whole = kernels.hmm_filter(initial, transition, evidence, **flags)
    predicted, chunks = initial, []
    for start in range(0, 60, 20):
        cut = slice(start, start + 20)
        part = kernels.hmm_filter(
            initial,
            transition,
            evidence[cut],
            predicted=predicted,
            **{name: flag[cut] for name, flag in flags.items()},
        )
        predicted = part.predicted_next
        chunks.append(part)
    again, steps = initial, []
    for t in range(60):
        restart = flags and flags["reset"][t]
        seen = not flags or flags["observed"][t]
        step = kernels.hmm_step(
            initial if restart else again,
            transition,
            evidence[t] if seen else jnp.zeros(4),
        )
        again = step.predicted_next
        steps.append(step)
    close = functools.partial(np.testing.assert_allclose, atol=1e-12, rtol=1e-12)
    close(jnp.concatenate([c.filtered for c in chunks]), whole.filtered)
    close(jnp.stack([s.filtered for s in steps]), whole.filtered)
    close(jnp.stack([s.log_normaliser for s in steps]), whole.log_normalisers)
    close(predicted, whole.predicted_next)
    close(again, whole.predicted_next)
    close(sum(c.log_likelihood for c in chunks), whole.log_likelihood)


@pytest.mark.usefixtures("float64")
def test_a_chunk_goes_on_from_initial_too():
    initial, transition, evidence = to_jax(random_chain(3, 40, 4))
    whole = kernels.hmm_filter(initial, transition, evidence)
    first = kernels.hmm_filter(initial, transition, evidence[:20])
    second = kernels.hmm_filter(first.predicted_next, transition, evidence[20:])
    np.testing.assert_allclose(second.filtered, whole.filtered[20:], atol=1e-12)


@pytest.mark.usefixtures("float64")
def test_what_follows_a_ragged_chunk():
    """Padding leaves the prediction after the last valid bin, even with no bin."""
    initial, transition, evidence = to_jax(random_chain(5, 30, 4))
    short = kernels.hmm_filter(initial, transition, evidence[:17])
    padded = kernels.hmm_filter(initial, transition, evidence, length=17)
    nothing = kernels.hmm_filter(initial, transition, evidence, length=0)
    np.testing.assert_allclose(padded.predicted_next, short.predicted_next, atol=1e-15)
    np.testing.assert_array_equal(nothing.predicted_next, initial)
    assert nothing.log_likelihood == 0


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("shape", ["constant", "varying"])
def test_padding_is_never_read(shape):
    """NaN in the padding changes neither values nor gradients."""
    n_bins, n_states, varying = SHAPES[shape]
    chain = random_chain(6, n_bins, n_states, varying=varying)
    initial, transition, clean = to_jax(chain)
    dirty = clean.at[2:].set(jnp.nan)
    flags = {"observed": jnp.ones(n_bins, bool), "reset": jnp.zeros(n_bins, bool)}

    @jax.jit
    def slopes(evidence):
        chain = (initial, transition, evidence)
        one = jax.grad(kernels.hmm_log_likelihood, (0, 1, 2))(*chain, length=2)
        smooth = functools.partial(kernels.hmm_smoother, length=2)
        other = jax.grad(lambda *chain: smooth(*chain).smoothed[0, 0], (0, 1, 2))
        return one, other(*chain)

    values = functools.partial(
        everything, initial, transition, lag=2, length=jnp.asarray(2), **flags
    )
    for function in (values, slopes):
        got, want = function(dirty), function(clean)
        jax.tree.map(np.testing.assert_array_equal, got, want)
    assert all(np.abs(slope).sum() > 0 for slope in jax.tree.leaves(want))


@pytest.mark.parametrize("lag", [-1, -3])
def test_negative_lag(lag):
    args = to_jax(random_chain(0, 3, 2), np.float32)
    with pytest.raises(ValueError, match=f"lag: got {lag}, expected .* >= 0"):
        kernels.hmm_fixed_lag_smoother(*args, lag=lag)


@pytest.mark.parametrize(
    ("argument", "shape"),
    [
        ("initial", (2,)),
        ("transition", (5, 3, 3)),
        ("observed", (3,)),
        ("reset", (5,)),
        ("log_likelihoods", (0, 3)),
    ],
)
@pytest.mark.usefixtures("own_errors_only")
def test_shapes_that_do_not_fit(argument, shape):
    initial, transition, evidence = to_jax(random_chain(0, 4, 3), np.float32)
    given = {
        "initial": initial,
        "transition": transition,
        "log_likelihoods": evidence,
        "observed": jnp.ones(4, bool),
        "reset": jnp.zeros(4, bool),
    }
    given[argument] = jnp.zeros(shape, given[argument].dtype)
    message = rf"{argument}: got shape \({shape[0]}.*expected \("
    with pytest.raises(ValueError, match=message):
        kernels.hmm_filter(**given)


def test_vmap_over_everything():
    chains = [random_chain(seed, 5, 3) for seed in range(4)]
    stacked = [jnp.asarray(np.stack(x), np.float32) for x in zip(*chains, strict=True)]
    options = [{**flags_for(5, seed), "length": 5 - seed} for seed in range(4)]
    lanes = jax.tree.map(lambda *x: jnp.asarray(np.stack(x)), *options)
    batch = jax.vmap(lambda *a, **k: everything(*a, **k))(*stacked, **lanes)
    for i, (chain, own) in enumerate(zip(chains, options, strict=True)):
        want = enumerate_paths(*chain, **own)
        got = jax.tree.map(operator.itemgetter(i), batch)
        np.testing.assert_allclose(got["smoother"].smoothed, want.smoothed, atol=2e-6)
        np.testing.assert_allclose(got["filter"].filtered, want.filtered, atol=2e-6)
        np.testing.assert_allclose(
            got["log_likelihood"], want.log_likelihood, rtol=1e-6
        )
        np.testing.assert_array_equal(got["best"].path, want.path)


@pytest.mark.parametrize(
    "entry",
    [
        "hmm_filter",
        "hmm_smoother",
        "hmm_viterbi",
        "hmm_log_likelihood",
    ],
)
def test_equal_shapes_compile_once(entry, compilations):
    function = getattr(kernels, entry)
    first, second = (to_jax(random_chain(s, 7, 4), np.float32) for s in (0, 1))
    function(*first, length=3)
    before = compilations()
    function(*second, length=5)
    assert compilations() == before
