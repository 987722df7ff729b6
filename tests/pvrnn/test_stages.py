"""All steps at once against step by step, and both against differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod.core.errors import InvalidInputError
from neuromod.pvrnn import Objective, inference, stepwise
from neuromod.pvrnn.energy import encode, evaluate
from neuromod.pvrnn.latents import start
from neuromod.pvrnn.stages import Stage, evaluation_order, stages
from tests.pvrnn.networks import WIRINGS, senses, tower, vectors


@pytest.fixture(autouse=True)
def precise():
    with jax.enable_x64(True):
        yield


def setting(name):
    network = senses() if name == "senses" else tower(name)
    adaptive, noise = vectors(network)
    rng = np.random.default_rng(2)
    shape = *noise.shape[:2], network.n_channels
    data = encode(network, jnp.asarray(rng.uniform(-0.9, 0.9, shape)))
    meta_prior = np.linspace(0.3, 0.1, len(network.layers))
    return network, adaptive, noise, data, Objective(meta_prior, 0.7, constants="sa")


def energy(both, noise, data, objective):
    return evaluate(both[0], objective, both[1], data, noise)[0].total


@pytest.mark.parametrize("name", [*WIRINGS, "senses"])
def test_stages_and_single_steps_agree_in_value_and_slope(name, monkeypatch):
    """Compiled and not: XLA has computed a compiled gradient of these wrongly."""
    network, adaptive, noise, data, objective = setting(name)
    given = (network, adaptive), noise, data, objective
    graded = jax.value_and_grad(energy, allow_int=True)
    assert (stages(network) is None) == (name == "both ways at once")
    fast = jax.jit(graded)(*given)
    monkeypatch.setattr(inference, "stages", lambda network: None)
    plain = jax.jit(graded)(*given)
    with jax.disable_jit():
        slow = graded(*given)
    for other in (plain, slow):
        for one, two in zip(*map(jax.tree.leaves, (fast, other)), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["published 2019", "senses"])
def test_the_slope_is_that_of_differences(name):
    network, adaptive, noise, data, objective = setting(name)
    arrays, others = eqx.partition((network, adaptive), eqx.is_inexact_array)

    @jax.jit
    def of(arrays):
        return energy(eqx.combine(arrays, others), noise, data, objective)

    slope, rng = jax.jit(jax.grad(of))(arrays), np.random.default_rng(3)
    leaves, structure = jax.tree.flatten(arrays)
    for i, (leaf, one) in enumerate(zip(leaves, jax.tree.leaves(slope), strict=True)):
        change, step = jnp.asarray(rng.normal(size=leaf.shape)), 1e-5
        ends = [
            of(jax.tree.unflatten(structure, [*leaves[:i], end, *leaves[i + 1 :]]))
            for end in (leaf + step * change, leaf - step * change)
        ]
        difference = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(
            jnp.vdot(one, change), difference, rtol=1e-6, atol=1e-7
        )


def in_order(network) -> list[Stage]:
    found = stages(network)
    assert found is not None
    return found


def test_layers_that_do_not_wait_share_a_stage():
    assert [len(s.members) for s in in_order(tower("apart"))] == [3]
    assert [s.members for s in in_order(tower("same step"))] == [(2,), (1,), (0,)]
    assert [s.members for s in in_order(tower("published 2019"))] == [(0, 1, 2)]
    network = senses()
    first, second = (
        [network.layers[i].name for i in stage.members] for stage in in_order(network)
    )
    # Of the layer above, the lower one of two gets latents alone.
    assert first == ["touch_0", "association_0"]
    assert second == ["touch_1", "sight_0", "sound_0"]


def test_layers_that_all_wait_for_each_other_are_refused():
    network = tower("same step")
    back = eqx.tree_at(lambda c: c.weight, network.connections[0], jnp.ones((4, 5)))
    back = type(back)(back.weight, "layer_0", "layer_1", "activity", 0)
    looped = type(network)(network.layers, (*network.connections, back), network.heads)
    with pytest.raises(InvalidInputError, match="delay 1"):
        evaluation_order(looped)


@pytest.mark.parametrize("name", ["published 2019", "same step", "latents down"])
def test_a_network_generates_what_its_prior_says_step_by_step(name):
    """With the prior in the place of the posterior, a run is a generation."""
    network = tower(name)
    layers = [
        eqx.tree_at(lambda x: x.posterior, layer, layer.prior)
        for layer in network.layers
    ]
    network = type(network)(layers, network.connections, network.heads)
    adaptive, noise = vectors(network)
    adaptive = jax.tree.map(jnp.zeros_like, adaptive)
    potentials = start(network, 3)
    made, prior, latents, state = stepwise.generate(
        network, noise, potentials, starts=False
    )
    found = inference.run(network, adaptive, noise, potentials, starts=False)
    for one, other in zip(made, found.activities, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-13)
    np.testing.assert_allclose(latents, found.latents, atol=1e-13)
    np.testing.assert_allclose(prior.mean, found.posterior.mean, atol=1e-13)
    ends = [jnp.tanh(u) for u in state.potentials]
    np.testing.assert_allclose(ends[0], made[0][-1], atol=1e-13)
