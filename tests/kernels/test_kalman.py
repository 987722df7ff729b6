"""Filter, smoother and streaming against the joint distribution of all states."""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromod.kernels.kalman import (
    KalmanFilter,
    kalman_filter,
    kalman_smoother,
    kalman_step,
)
from neuromod.kernels.kalman_model import Gaussian
from tests.kernels.kalman_dense import condition_jointly, random_model

SMOOTHERS = (("smoother", "sequential"), ("smoother", "associative"))
FILTERS = (("filter", "sequential"), ("filter", "associative"))
SHAPES = {  # few, because each is compiled: bins, latents, channels, varying
    "one bin": (1, 2, 1, 0),
    "constant": (5, 2, 2, 0),
    "varying": (4, 2, 3, -1),
}


@functools.partial(jax.jit, static_argnames="parts")
def everything(model, observations, parts, **options):
    """Return what is asked for as ("filter" or "smoother", method)."""
    functions = {
        "filter": kalman_filter,
        "smoother": functools.partial(kalman_smoother, cross_covariances=True),
    }
    return [
        functions[name](model, observations, method=method, **options)
        for name, method in parts
    ]


def to_jax(arrays, dtype=np.float64):
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), arrays)


def assert_agrees(arrays, options, parts=SMOOTHERS, tolerance=1e-11, dtype=np.float64):
    want = condition_jointly(*arrays, **options)
    jaxed = {k: jnp.asarray(v) for k, v in options.items()}
    for got in everything(*to_jax(arrays, dtype), parts=parts, **jaxed):
        for name, value in got._asdict().items():
            stored = getattr(want, name)
            leaves = jax.tree.leaves(value), jax.tree.leaves(stored)
            for x, y in zip(*leaves, strict=True):
                assert x.dtype == dtype
                scale = max(1.0, np.abs(y).max(initial=0))
                np.testing.assert_allclose(
                    x, y, rtol=0, atol=tolerance * scale, err_msg=name
                )
    return got


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_ragged_and_missing(shape, data):
    n_bins, n_latents, n_channels, varying = SHAPES[shape]

    def flags(n):
        return st.lists(st.booleans(), min_size=n, max_size=n).map(np.array)

    seed = data.draw(st.integers(0, 10**6))
    arrays = random_model(seed, n_bins, n_latents, n_channels, varying=varying)
    seen = data.draw(flags(n_bins * n_channels)).reshape(n_bins, n_channels)
    options = {
        "observed": seen,
        "reset": data.draw(flags(n_bins)),
        "length": data.draw(st.integers(0, n_bins)),
    }
    assert_agrees(arrays, options)


@pytest.mark.usefixtures("float64")
def test_without_flags_and_offsets():
    assert_agrees(random_model(0, 5, 2, 1, offsets=False), {})


@pytest.mark.usefixtures("float64")
def test_what_follows():
    """The transition out of the last valid bin, if there is one, leads on."""
    arrays = random_model(0, 5, 2, 1, varying=1)
    for options in ({"length": 5}, {"length": 3}, {"length": 0}):
        got = assert_agrees(arrays, options, parts=FILTERS)
        assert got.predicted_next is not None
    short = to_jax(random_model(0, 5, 2, 1, varying=-1))
    assert jax.eval_shape(kalman_filter, *short).predicted_next is None


def test_float32():
    options = {"observed": np.arange(5) != 1, "reset": np.arange(5) == 2, "length": 4}
    arrays = random_model(1, 5, 2, 2)
    assert_agrees(arrays, options, SMOOTHERS[:1], tolerance=5e-6, dtype=np.float32)


def flags_for(n_bins, n_channels=2, seed=4):
    rng = np.random.default_rng(seed)
    return {
        "observed": jnp.asarray(rng.random((n_bins, n_channels)) < 0.8),
        "reset": jnp.asarray(rng.random(n_bins) < 0.1),
    }


@pytest.mark.usefixtures("float64")
def test_chunks_and_single_bins_give_the_whole():
    model, observations = to_jax(random_model(3, 60, 2, 2))
    flags = flags_for(60)
    whole = kalman_filter(model, observations, **flags)
    start = Gaussian(model.initial_mean, model.initial_covariance)
    predicted, chunks = start, []
    for first in range(0, 60, 20):
        cut = slice(first, first + 20)
        own = {name: flag[cut] for name, flag in flags.items()}
        part = kalman_filter(model, observations[cut], predicted=predicted, **own)
        predicted = part.predicted_next
        chunks.append(part)
    again, steps = start, []
    for t in range(60):
        again = start if flags["reset"][t] else again
        observed = flags["observed"][t]
        step = kalman_step(model, again, observations[t], observed=observed)
        again = step.predicted_next
        steps.append(step)
    close = functools.partial(np.testing.assert_allclose, atol=1e-12, rtol=1e-12)
    close(jnp.concatenate([c.filtered_means for c in chunks]), whole.filtered_means)
    close(jnp.stack([s.filtered.mean for s in steps]), whole.filtered_means)
    covariances = jnp.stack([s.filtered.covariance for s in steps])
    close(covariances, whole.filtered_covariances)
    close(jnp.stack([s.log_normaliser for s in steps]), whole.log_normalisers)
    jax.tree.map(close, predicted, whole.predicted_next)
    jax.tree.map(close, again, whole.predicted_next)
    close(sum(c.log_likelihood for c in chunks), whole.log_likelihood)


@pytest.mark.usefixtures("float64")
def test_padding_is_never_read():
    """NaN in the padding, and where nothing was seen, changes nothing."""
    model, clean = to_jax(random_model(6, 4, 2, 3, varying=-1))
    observed = jnp.ones((4, 3), bool).at[0, 1].set(False)
    options = {"observed": observed, "reset": jnp.zeros(4, bool), "length": 2}
    options = {k: jnp.asarray(v) for k, v in options.items()}
    dirty = clean.at[2:].set(jnp.nan).at[0, 1].set(jnp.nan)
    spoilt = model._replace(
        transition=model.transition.at[2:].set(jnp.nan),
        observation=model.observation.at[2:].set(jnp.nan),
    )
    got, want = (
        everything(*arrays, parts=SMOOTHERS, **options)
        for arrays in ((spoilt, dirty), (model, clean))
    )
    jax.tree.map(np.testing.assert_array_equal, got, want)


@pytest.mark.parametrize(
    ("argument", "shape"),
    [
        ("initial_covariance", (2, 3)),
        ("transition", (6, 2, 2)),
        ("transition_covariance", (3, 3)),
        ("transition_offset", (3,)),
        ("observation", (2, 3)),
        ("observation_covariance", (3, 2, 2)),
        ("observation_offset", (3,)),
        ("observations", (4,)),
        ("observations", (0, 2)),
        ("observed", (3,)),
        ("reset", (5,)),
    ],
)
@pytest.mark.usefixtures("own_errors_only")
def test_shapes_that_do_not_fit(argument, shape):
    model, observations = to_jax(random_model(0, 4, 2, 2), np.float32)
    options = {"observed": jnp.ones(4, bool), "reset": jnp.zeros(4, bool)}
    if argument in options:
        options[argument] = jnp.ones(shape, bool)
    elif argument == "observations":
        observations = jnp.zeros(shape)
    else:
        model = model._replace(**{argument: jnp.zeros(shape)})
    message = rf"{argument}: got shape \({shape[0]}.*expected \("
    with pytest.raises(ValueError, match=message):
        kalman_filter(model, observations, **options)


@pytest.mark.usefixtures("own_errors_only")
def test_an_unknown_method():
    arrays = to_jax(random_model(0, 4, 2, 2), np.float32)
    message = (
        "method: got 'parallel', expected 'auto' or one of sequential, associative"
    )
    with pytest.raises(ValueError, match=message):
        kalman_smoother(*arrays, method="parallel")


def test_vmap_over_everything():
    arrays = [random_model(seed, 5, 2, 2) for seed in range(3)]
    options = [{**flags_for(5, seed=seed), "length": 5 - seed} for seed in range(3)]
    stack = functools.partial(jax.tree.map, lambda *x: jnp.asarray(np.stack(x)))
    model, observations = to_jax(stack(*arrays), np.float32)
    batch = jax.vmap(lambda m, y, o: kalman_filter(m, y, **o))(
        model, observations, stack(*options)
    )
    for i, (one, own) in enumerate(zip(arrays, options, strict=True)):
        want = condition_jointly(*one, **own)
        got: KalmanFilter = jax.tree.map(operator.itemgetter(i), batch)
        np.testing.assert_allclose(got.filtered_means, want.filtered_means, atol=5e-6)
        np.testing.assert_allclose(got.log_likelihood, want.log_likelihood, rtol=1e-5)


def test_equal_shapes_compile_once(compilations):
    first, second = (to_jax(random_model(s, 5, 2, 1), np.float32) for s in (0, 1))
    kalman_filter(*first, length=3)
    before = compilations()
    kalman_filter(*second, length=5)
    assert compilations() == before
