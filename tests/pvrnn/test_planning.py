"""Plans, interventions and traversals: what they change, and what they leave."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from neuromod.core.errors import InvalidInputError, ShapeError
from neuromod.pvrnn import (
    Objective,
    generate,
    hierarchy,
    intervene,
    plan,
    scaled_meta_prior,
    tanh_head,
    train,
    traverse,
)
from tests.pvrnn.networks import senses, tower

DIMS = ("trial", "time", "channel")


def paths():
    """Return two ways from one point: up to (0.6, 0.6), and down to (0.6, -0.6)."""
    along = np.linspace(0, 0.6, 10)
    ways = [np.stack([along, sign * along**2 / 0.6], axis=-1) for sign in (1, -1)]
    return xr.DataArray(np.stack(ways * 3), dims=DIMS)


@pytest.fixture(scope="module")
def trained():
    def build(key):
        return hierarchy(key, [20], [2], [3], [tanh_head(2)], posterior="adaptive")

    settings = {"n_steps": 2500, "learning_rate": 3e-3, "progress": False}
    return train(paths(), build, seed=0, objective=Objective(0.003), **settings)


def given(goal):
    known = xr.DataArray(np.full((10, 2), np.nan), dims=DIMS[1:])
    known[0], known[-1] = 0.0, np.asarray(goal)
    return known


@pytest.mark.parametrize("goal", [(0.6, 0.6), (0.6, -0.6)])
def test_a_plan_leads_to_its_goal_by_a_way_that_was_learned(trained, goal):
    found = plan(
        trained, given(goal), Objective(0.003), seed=0, n_candidates=8, n_iterations=300
    )
    best = found["channel_value"][0].values
    np.testing.assert_allclose(best[-1], goal, atol=0.15)
    way = paths()[0 if goal[1] > 0 else 1].values
    other = paths()[1 if goal[1] > 0 else 0].values
    assert np.abs(best - way).mean() < 0.5 * np.abs(best - other).mean()
    assert (np.diff(found["free_energy"]) >= 0).all()


def test_a_goal_is_inferred_from_the_first_steps(trained):
    known = paths()[0].copy()
    known[6:] = np.nan
    found = plan(trained, known, Objective(0.003), seed=0, n_candidates=4)
    np.testing.assert_allclose(found["channel_value"][0, -1, 1], 0.6, atol=0.3)


def test_a_plan_may_go_on_from_an_earlier_one(trained):
    settings = {"seed": 0, "n_iterations": 100}
    first = plan(trained, given((0.6, 0.6)), Objective(0.003), **settings)
    more = plan(trained, given((0.6, 0.6)), Objective(0.003), start=first, **settings)
    assert float(more["free_energy"][0]) < float(first["free_energy"][0])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"given": given((0.1, 0.1)) * np.nan}, "NaN"),
        ({"given": paths()}, "6 trials"),
        ({"n_candidates": 0}, "n_candidates"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"model": 3}, "PVRNN"),
    ],
)
def test_bad_plans_are_refused(trained, changes, words):
    call = {"model": trained, "given": given((0.1, 0.1)), "objective": Objective(0.1)}
    with pytest.raises((InvalidInputError, ShapeError), match=words):
        plan(**call | {"seed": 0} | changes)


def test_a_wider_prior_is_as_much_wider_and_nothing_else():
    network = tower()
    wide = intervene(network, prior_deviation={"layer_1": 2.0})
    one, two = (generate(n, 3, seed=0, n_trials=4) for n in (network, wide))
    ratio = (two["prior_deviation"] / one["prior_deviation"])[:, 1]
    mine = one["layer_of_latent"].values == "layer_1"
    np.testing.assert_allclose(ratio[:, mine], 2, rtol=1e-5)
    np.testing.assert_allclose(ratio[:, ~mine], 1, rtol=1e-5)
    np.testing.assert_allclose(two["prior_deviation"][:, 0], 1)


def test_a_prior_without_bias_can_be_widened_too():
    network = senses()
    layer = network.layer("sight_0")
    bare = eqx.tree_at(
        lambda m: m.log_deviation.bias,
        layer.prior,
        None,
        is_leaf=lambda leaf: leaf is None,
    )
    index = network.index("sight_0")
    network = eqx.tree_at(lambda n: n.layers[index].prior, network, bare)
    wide = intervene(network, prior_deviation={"sight_0": 3.0})
    one, two = (generate(n, 3, seed=0) for n in (network, wide))
    mine = one["layer_of_latent"].values == "sight_0"
    ratio = (two["prior_deviation"] / one["prior_deviation"])[:, 1, mine]
    np.testing.assert_allclose(ratio, 3, rtol=1e-5)


def test_noise_is_scaled_in_its_layer_alone():
    network = tower()
    loud = intervene(network, noise={"layer_0": 0.0})
    made = generate(loud, 4, seed=0, n_trials=3)
    apart = np.abs(made["latent_value"] - made["prior_mean"])
    mine = made["layer_of_latent"].values == "layer_0"
    np.testing.assert_allclose(apart[..., mine], 0, atol=1e-6)
    assert float(apart[..., ~mine].min()) > 0
    twice = intervene(
        intervene(network, noise={"layer_0": 2.0}), noise={"layer_0": 2.0}
    )
    assert twice.layer("layer_0").noise_scale == 4.0


def test_lesioned_units_reach_nobody():
    """Whatever drives them, nothing else changes."""
    network = intervene(tower(), lesion={"layer_1": [0, 2]})

    def driven(network):
        biases = network.layers[1].bias + jnp.array([5.0, 0, -5.0, 0])
        return eqx.tree_at(lambda n: n.layers[1].bias, network, biases)

    one, two = (generate(n, 8, seed=0) for n in (network, driven(network)))
    np.testing.assert_array_equal(one["channel_value"], two["channel_value"])
    np.testing.assert_array_equal(one["prior_mean"], two["prior_mean"])
    intact = [generate(n, 8, seed=0) for n in (tower(), driven(tower()))]
    assert not np.allclose(*(made["channel_value"] for made in intact))


def test_meta_priors_are_scaled_by_layer():
    network = tower()
    scaled = scaled_meta_prior(Objective(0.1, 0.5), network, {"layer_2": 10.0})
    np.testing.assert_allclose(scaled.meta_prior, [0.1, 0.1, 1.0])
    np.testing.assert_allclose(scaled.first_meta_prior, [0.5, 0.5, 5.0])


def test_a_held_latent_stays_where_it_is_put():
    values = [-0.9, 0.0, 0.9]
    found = traverse(tower(), "layer_0", values, 6, seed=0, latent=1)
    held = found["latent_value"].isel(latent=1)
    np.testing.assert_allclose(held, np.tile(values, (6, 1)).T, atol=1e-6)
    # All else draws the same noise, so that only the value differs.
    others = found["latent_value"].isel(latent=0, time=0)
    assert float(others.std()) == pytest.approx(0, abs=1e-6)
    assert float(found["channel_value"][:, -1].std("trial").max()) > 1e-3


def test_a_latent_of_the_whole_trial_can_be_held():
    network = senses()
    found = traverse(network, "executive", [-1, 1], 5, seed=0)
    mine = found["layer_of_latent"].values == "executive"
    np.testing.assert_allclose(found["latent_value"][1, :, mine], 1)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda n: intervene(n, noise={"layer_9": 1.0}), "layer_9"),
        (lambda n: intervene(n, noise={"layer_0": -1.0}), "noise"),
        (lambda n: intervene(n, prior_deviation={"layer_0": 0.0}), "prior_deviation"),
        (lambda n: intervene(n, lesion={"layer_0": [5]}), "5 units"),
        (lambda n: traverse(n, "layer_0", [np.nan], 3, seed=0), "values"),
        (lambda n: traverse(n, "layer_0", [0.0], 3, seed=0, latent=2), "latent"),
        (lambda n: intervene(senses(), prior_deviation={"executive": 2.0}), "prior"),
    ],
)
def test_bad_interventions_are_refused(call, words):
    with pytest.raises(InvalidInputError, match=words):
        call(tower())


def test_the_given_network_stays_what_it_was():
    network = tower()
    before = [np.array(leaf) for leaf in jax.tree.leaves(network)]
    intervene(network, lesion={"layer_0": [0]}, noise={"layer_0": 3.0})
    for one, other in zip(before, jax.tree.leaves(network), strict=True):
        np.testing.assert_array_equal(one, other)
