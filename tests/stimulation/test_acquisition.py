"""What candidates promise: against draws, and at their limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod.stimulation import acquisition

MEAN = np.array([0.2, 0.8, -0.4, 1.0])
DEVIATION = np.array([0.5, 0.1, 1.2, 0.0])
BEST, MARGIN = 0.9, np.full(4, 0.05)


def arguments():
    return tuple(map(jnp.asarray, (MEAN, DEVIATION, BEST, MARGIN)))


def test_improvements_are_those_of_draws():
    draws = MEAN + DEVIATION * np.random.default_rng(0).normal(size=(400_000, 4))
    gain = np.maximum(draws - BEST - MARGIN, 0)
    found = acquisition.expected_improvement(*arguments())
    np.testing.assert_allclose(found, gain.mean(axis=0), atol=0.004)
    found = acquisition.probability_of_improvement(*arguments())
    np.testing.assert_allclose(found, (gain > 0).mean(axis=0), atol=0.003)


def test_a_weight_of_zero_is_the_mean():
    found = acquisition.upper_confidence_bound(
        *arguments()[:2], weight=jnp.asarray(0.0)
    )
    np.testing.assert_array_equal(found, MEAN)


def test_draws_have_the_covariance_of_the_posterior():
    root = np.random.default_rng(1).normal(size=(4, 4))
    covariance = root @ root.T
    keys = jax.random.split(jax.random.key(0), 40_000)
    draws = jax.vmap(
        lambda key: acquisition.thompson(
            key, jnp.asarray(MEAN), jnp.asarray(covariance)
        )
    )(keys)
    np.testing.assert_allclose(draws.mean(axis=0), MEAN, atol=0.06)
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.25)


def test_a_cosine_falls_from_first_to_last():
    found = [
        float(
            acquisition.cosine(
                jnp.asarray(4.0), jnp.asarray(1.0), jnp.asarray(n), jnp.asarray(40)
            )
        )
        for n in (0, 20, 40, 60)
    ]
    assert found == pytest.approx([4.0, 2.5, 1.0, 1.0])


def test_of_equals_one_is_drawn_and_what_is_forbidden_is_not():
    promise = jnp.asarray([1.0, 3.0, 3.0, 5.0])
    allowed = jnp.asarray([True, True, True, False])
    keys = jax.random.split(jax.random.key(0), 200)
    found = jax.vmap(lambda key: acquisition.largest(key, promise, allowed))(keys)
    assert set(np.asarray(found).tolist()) == {1, 2}
    assert 60 < int((found == 1).sum()) < 140
