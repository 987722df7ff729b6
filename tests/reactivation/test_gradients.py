"""The error that training descends: its fast gradient beside that of the equation."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod import reactivation
from neuromod.core import training_loop
from neuromod.reactivation import readout
from neuromod.reactivation.codes import HeadDirectionCode
from neuromod.reactivation.network import GRUNetwork, VanillaNetwork
from neuromod.reactivation.readout import readout_error
from neuromod.reactivation.train import Loss, squared_error

N_STEPS, N_TRIALS, N_UNITS, N_CELLS = 12, 5, 6, 9


@pytest.fixture
def precise():
    with jax.enable_x64(True):
        yield


def network_of(kind):
    network = kind.random(jax.random.key(0), 2, N_UNITS, N_CELLS, bias=True)
    return jax.tree.map(lambda x: jnp.asarray(x, float), network)


def drawn(*shape):
    return jnp.asarray(np.random.default_rng(len(shape)).normal(size=shape))


@pytest.mark.usefixtures("precise")
@pytest.mark.parametrize("kind", [VanillaNetwork, GRUNetwork])
@pytest.mark.parametrize("steps_at_once", [1, 4, 12])
def test_the_slopes_are_those_of_the_mean_squared_error(
    kind, steps_at_once, monkeypatch
):
    cached = steps_at_once * N_TRIALS * N_CELLS * 8
    monkeypatch.setattr(readout, "CACHED_BYTES", cached)
    network, states = network_of(kind), drawn(N_STEPS, N_TRIALS, N_UNITS)
    targets = drawn(N_STEPS, N_TRIALS, N_CELLS, 1)[..., 0]

    def plain(given):
        network, states = given
        return 3 * squared_error(network.read_out(states), targets)

    def fast(given):
        return 3 * readout_error(*given, targets)

    expected = jax.value_and_grad(plain)((network, states))
    found = jax.jit(jax.value_and_grad(fast))((network, states))
    for one, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(fast((network, states)), expected[0], rtol=1e-12)


@pytest.mark.usefixtures("precise")
def test_the_slopes_of_several_networks_are_those_of_each():
    networks = [
        eqx.tree_at(_weight, network_of(VanillaNetwork), k * drawn(9, 6))
        for k in (1, 2)
    ]
    states = drawn(N_STEPS, N_TRIALS, N_UNITS)
    targets = drawn(N_STEPS, N_TRIALS, N_CELLS, 1)[..., 0]

    def slope(network):
        return _weight(jax.grad(readout_error)(network, states, targets))

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *networks)
    for one, network in zip(jax.vmap(slope)(stacked), networks, strict=True):
        np.testing.assert_allclose(one, slope(network), rtol=1e-12)


@pytest.mark.usefixtures("precise")
@pytest.mark.parametrize("kind", [VanillaNetwork, GRUNetwork])
def test_a_code_that_is_a_product_has_the_same_slopes(kind):
    code = HeadDirectionCode.regular(200, 2.0)
    headings = 10 * drawn(N_STEPS, N_TRIALS, 1)
    network = kind.random(jax.random.key(0), 2, N_UNITS, 200, bias=True)
    network = jax.tree.map(lambda x: jnp.asarray(x, float), network)
    targets, factors = code.activation(headings), code.factors(headings)
    assert readout._is_less_work(network, factors)
    both = [
        jax.value_and_grad(lambda given, f=f: readout_error(*given, targets, f))(
            (network, drawn(N_STEPS, N_TRIALS, N_UNITS))
        )
        for f in (None, factors)
    ]
    for one, other in zip(*map(jax.tree.leaves, both), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-13)


def _weight(network):
    return network.output_layer.weight


def train(**settings):
    task = reactivation.HeadDirection(n_cells=16, n_steps=10)
    # optax raises decays to the power of whole numbers.
    with jax.numpy_dtype_promotion("standard"):
        return reactivation.train(task, n_units=8, progress=False, **settings)


def test_scales_that_are_known_to_be_zero_change_nothing():
    task = reactivation.HeadDirection(n_cells=16, n_steps=10)
    navigator = reactivation.untrained(task, 0, n_units=8, recurrent_noise=0.0)
    scales = ("input_noise", "recurrent_noise", "output_noise")
    told, untold = (
        float(jax.jit(Loss(64, 1.0, silent, None))(navigator, jax.random.key(1), 0))
        for silent in (scales, ())
    )
    assert told == pytest.approx(untold, rel=1e-5)
    noisy = train(seed=0, n_steps=1, n_trials=64, output_noise=0.5)
    first = float(noisy.data["history"]["loss"][0])
    assert first - told == pytest.approx(0.5**2, rel=0.1)


def test_a_second_training_compiles_nothing():
    train(seed=0, n_steps=2, n_trials=4)
    before = training_loop.compiled.cache_info()
    train(seed=1, n_steps=3, n_trials=4)
    after = training_loop.compiled.cache_info()
    assert (after.misses, after.hits) == (before.misses, before.hits + 1)
