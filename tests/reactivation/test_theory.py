"""What theory expects, asked of networks whose answer is known."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod.core.errors import InvalidInputError
from neuromod.reactivation import untrained
from neuromod.reactivation.tasks import HeadDirection
from neuromod.reactivation.theory import check_theory, fixed_points

TASK = HeadDirection(n_cells=16, n_steps=30)


def network(**settings):
    recipe = {"n_units": 12, "leak": 0.4, "recurrent_noise": 0.1} | settings
    return untrained(TASK, 0, **recipe)


def leaking(**settings):
    """A network that does nothing but forget: h' = h - leak h + input."""
    one = network(**settings)
    silent = jnp.zeros_like(one.network.recurrent_layer.weight)
    one = eqx.tree_at(lambda n: n.network.recurrent_layer.weight, one, silent)
    linear = type(one.network)(**{**vars(one.network), "activation": "identity"})
    return type(one)(linear, TASK)


def test_a_leak_takes_away_its_share_of_the_noise_and_responds_linearly():
    found = check_theory(leaking(), seed=0, n_trials=100)
    assert float(found["denoising"]) == pytest.approx(0.4, abs=0.02)
    assert float(found["linearity"]) == pytest.approx(1)
    assert abs(float(found["noise_in_signal"])) < 0.01


def test_the_ellipsoid_of_a_leaking_network_is_its_score():
    """Noise alone makes a round cloud of variance s2 / (1 - (1 - leak)^2)."""
    # Of fewer trials the score is too uncertain: the slope on it is biased to zero.
    loud = check_theory(leaking(recurrent_noise=5.0), seed=0, n_trials=800)
    assert float(loud["score_r_squared"]) > 0.97
    variance = 25 / (1 - 0.6**2)
    np.testing.assert_allclose(loud["score_slope"], 0.4 * variance, rtol=0.1)
    low, high = loud["score_slope_interval"].values
    assert low < float(loud["score_slope"]) < high


@pytest.mark.parametrize(("law", "variance"), [("gaussian", 1), ("uniform01", 1 / 12)])
def test_what_is_expected_is_the_variance_of_the_noise(law, variance):
    found = check_theory(network(noise_law=law), seed=0, n_trials=8)
    np.testing.assert_allclose(found["expected_slope"], 0.01 * variance, rtol=1e-6)


def test_noise_inside_is_not_what_the_theory_is_about():
    one = network()
    inside = type(one.network)(**{**vars(one.network), "noise_inside": True})
    with pytest.raises(InvalidInputError, match="noise inside"):
        check_theory(type(one)(inside, TASK), seed=0)


def test_a_point_is_as_slow_as_it_says_and_its_multiplier_is_the_leak():
    one = leaking(bias=True)
    found = fixed_points(one, seed=0, n_restarts=4)
    assert found.sizes["point"] == 1
    assert bool(found["fixed"].all())
    state = jnp.asarray(found["state"].values[0], jnp.float32)
    assert float(jnp.abs(one.network.drive(state, None, None)).max()) < 1e-5
    np.testing.assert_allclose(found["multiplier"], 0.6, rtol=1e-5)
    assert bool(found["stable"].all())
    assert not found.attrs["relative"]


def test_rectified_units_without_biases_are_looked_at_relative_to_their_size():
    found = fixed_points(network(), seed=0, n_restarts=3)
    assert found.attrs["relative"]
    assert found["position"].dims == ("point", "space")
