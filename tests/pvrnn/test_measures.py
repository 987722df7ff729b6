"""Measures against closed forms, brute force and limits."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from neuromod.core.errors import InvalidInputError, ShapeError
from neuromod.pvrnn import (
    from_sensory_attenuation,
    generate,
    hierarchy,
    measures,
    reconstruct,
    stepwise,
    tanh_head,
)
from neuromod.pvrnn.latents import start
from neuromod.pvrnn.machine import branching_cycle, machine, simulate_machine
from tests.shared import shared


def small(gain=1.0, time_constants=(2, 6)):
    network = hierarchy(
        jax.random.key(0), [6, 4], [1, 1], time_constants, [tanh_head(1)]
    )
    return eqx.tree_at(
        lambda n: [layer.recurrent_weight for layer in n.layers],
        network,
        replace_fn=lambda w: gain * w,
    )


def test_a_machine_visits_its_states_as_often_as_its_law_says():
    source = branching_cycle(0.3)
    made = simulate_machine(source, 400, 30, seed=0)
    states = made["state"].values
    often = np.bincount(states.ravel(), minlength=4) / states.size
    np.testing.assert_allclose(often, source.stationary, atol=0.01)
    np.testing.assert_allclose(
        source.stationary @ source.transition_matrix, source.stationary, atol=1e-12
    )
    np.testing.assert_array_equal(source.symbols[states], made.values[..., 0])
    noisy = simulate_machine(source, 400, 30, seed=0, noise=0.1)
    assert (noisy.values - made.values).std() == pytest.approx(0.1, rel=0.03)


def test_bad_machines_are_refused():
    with pytest.raises(InvalidInputError, match="add up to 1"):
        machine([0, 1], [[0.5, 0.4], [0, 1]])
    with pytest.raises(InvalidInputError, match="unlike"):
        machine([0, 0], np.eye(2))
    with pytest.raises(ShapeError, match="transition_matrix"):
        machine([0, 1], np.eye(3))


def test_what_a_machine_makes_is_legal_and_its_own_law():
    source = branching_cycle()
    made = simulate_machine(source, 200, 100, seed=1, noise=0.05)
    assert measures.legal_fraction(made, source, tolerance=0.3) == 1
    found = measures.transition_matrix(made, source)
    np.testing.assert_allclose(found, source.transition_matrix, atol=0.02)
    assert measures.block_divergence(made, source, n=2) < 1e-3
    assert measures.block_divergence(made, source, n=3) < 1e-3


def test_what_is_made_up_otherwise_is_told():
    source = branching_cycle()
    rng = np.random.default_rng(0)
    chance = xr.DataArray(rng.choice(source.symbols, (100, 60)), dims=("trial", "time"))
    # Of two transitions, each is legal with probability 5 / 16 on average.
    possible = (source.transition_matrix > 0).astype(float)
    expected = np.full(4, 0.25) @ possible @ (possible / 16).sum(axis=1)
    found = measures.legal_fraction(chance, source)
    assert found == pytest.approx(expected, abs=0.01)
    other = simulate_machine(branching_cycle(0.6), 300, 100, seed=0)
    truth = source.stationary[0] * (
        0.3 * np.log(0.3 / 0.6) + 0.7 * np.log(0.7 / 0.4)
    ) + sum(p * np.log(p / q) for p, q in ((0.1, 0.2), (0.7 / 3, 0.4 / 3)))
    assert measures.block_divergence(other, source) == pytest.approx(truth, abs=0.01)


def test_a_blur_of_two_branches_is_no_symbol_within_a_tolerance():
    source = branching_cycle()
    blurred = xr.DataArray(np.tile([0.8, -0.24, 0.4], (2, 10)), dims=("trial", "time"))
    assert measures.legal_fraction(blurred, source) == 1
    assert measures.legal_fraction(blurred, source, tolerance=0.2) == 0


def test_missing_values_are_no_symbols():
    gap = xr.DataArray([[0.8, np.nan, 0.4]], dims=("trial", "time"))
    assert measures.read_symbols(gap, branching_cycle()).values.tolist() == [[0, -1, 3]]


def test_units_alone_forget_at_their_own_rates():
    """Without any weight, u' = (1 - 1 / tau) u: exponents are ln(1 - 1 / tau)."""
    network = jax.tree.map(
        lambda w: jnp.zeros_like(w) if np.ndim(w) == 2 else w,
        small(time_constants=(2, 6)),
    )
    found = measures.lyapunov_exponents(
        network, seed=0, n_exponents=10, n_steps=60, burn_in=200
    )[0]
    want = [np.log(1 - 1 / 6)] * 4 + [np.log(1 / 2)] * 6
    np.testing.assert_allclose(np.sort(found)[::-1], want, atol=1e-3)


def test_strong_random_weights_are_chaotic_and_weak_ones_are_not():
    weak, strong = (
        float(
            measures.lyapunov_exponents(
                hierarchy_of(gain), seed=0, n_steps=1000, n_trials=2
            ).mean()
        )
        for gain in (0.5, 4.0)
    )
    assert weak < -0.05
    assert strong > 0.05


def hierarchy_of(gain, n_units=60):
    key = jax.random.key(1)
    network = hierarchy(key, [n_units], [1], [1.0], [tanh_head(1)])
    weight = gain * jax.random.normal(key, (n_units, n_units)) / n_units**0.5
    return eqx.tree_at(lambda n: n.layers[0].recurrent_weight, network, weight)


@pytest.mark.parametrize("noise", [False, True])
def test_the_exponent_is_how_fast_two_near_paths_part(noise):
    with jax.enable_x64(True):
        network = jax.tree.map(lambda x: jnp.asarray(x, float), hierarchy_of(3.0, 20))
        steps, size = 400, 1e-9
        rng = np.random.default_rng(0)
        eps = rng.normal(size=(steps, 1, 1)) if noise else np.zeros((steps, 1, 1))
        ends = []
        step = jax.jit(
            lambda network, eps, u: (
                stepwise.generate(network, eps, u, starts=False)[3].potentials
            )
        )
        one = (jnp.asarray(rng.normal(size=(1, 20))),)
        two = (one[0] + size / 20**0.5,)
        for t in range(steps):
            one, two = (
                step(network, jnp.asarray(eps[t : t + 1]), u) for u in (one, two)
            )
            apart = float(jnp.linalg.norm(two[0] - one[0]))
            ends.append(np.log(apart / size))
            two = (one[0] + (two[0] - one[0]) * size / apart,)
        found = measures.lyapunov_exponents(
            network, seed=0, noise=noise, n_steps=2000, burn_in=100, n_trials=3
        )
    assert float(found.mean()) == pytest.approx(np.mean(ends[100:]), abs=0.03)


def test_the_response_is_the_mean_change_of_the_posterior_by_layer():
    mean = np.zeros((2, 4, 3))
    mean[0, :, 0], mean[0, :, 1] = np.arange(4) * 0.3, np.arange(4) * 0.4
    mean[1, :, 2] = [0, 1, 0, 1]
    names = ("trial", "time", "latent")
    told = xr.Dataset(
        {
            "posterior_mean": (names, mean),
            "prior_deviation": (names, np.ones((2, 4, 3)) * [0.1, 0.3, 0.5]),
            "posterior_deviation": (names, np.ones((2, 4, 3))),
        },
        {"layer_of_latent": ("latent", ["low", "low", "high"])},
    )
    found = measures.latent_response(told, ["self", "external"])
    np.testing.assert_allclose(found["response"], [[0.5, 0], [0, 1]])
    np.testing.assert_allclose(found["prior_deviation"], [[0.2, 0.5]] * 2)
    with pytest.raises(ShapeError, match="condition"):
        measures.latent_response(told, ["self"])


def test_the_published_network_attenuates_what_it_makes_itself():
    """The numbers that its authors' stored generations give (data README)."""
    folder = shared("data/pvrnn")
    network = from_sensory_attenuation(folder / "sensory_attenuation_trained_net.npz")
    told = reconstruct(network, seed=0)
    labels = ["self"] * 24 + ["external"] * 24
    found = measures.latent_response(told, labels)
    want = {"response": {}, "prior_deviation": {}}
    for layer in found["layer"].values:
        if layer.startswith("vis"):
            want["response"][layer] = 0.0175, 0.265
            want["prior_deviation"][layer] = 0.045, 0.255
        if layer.startswith("prop"):
            want["response"][layer] = 0.038, 0.270
            want["prior_deviation"][layer] = 0.065, 0.290
    assert len(want["response"]) == 2
    for name, layers in want.items():
        for layer, numbers in layers.items():
            mine = found[name].sel(layer=layer).values
            np.testing.assert_allclose(mine, numbers, rtol=0.06)
    with np.load(folder / "sensory_attenuation_3link.npz") as stored:
        train = xr.DataArray(stored["train"], dims=("trial", "time", "channel"))
    left = measures.accuracy_and_complexity(told, train)
    np.testing.assert_allclose(left["squared_error"][:3].mean(), 0.0028, rtol=0.1)
    np.testing.assert_allclose(left["squared_error"][3:].mean(), 0.0020, rtol=0.1)


def test_transfer_entropy_of_a_coupled_pair_is_the_closed_form():
    """y = c x(t-1) + noise, x white: half the log of (c^2 + 1)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=20_000)
    y = 0.8 * np.append(0, x[:-1]) + rng.normal(size=len(x))
    forth = measures.transfer_entropy(x, y, seed=0, n_surrogates=50)
    back = measures.transfer_entropy(y, x, seed=0, n_surrogates=50)
    assert forth.value == pytest.approx(0.5 * np.log(1.64), abs=0.01)
    assert forth.p_value == pytest.approx(1 / 51)
    assert abs(back.corrected) < 1e-3
    assert back.p_value > 0.05


def test_transfer_entropy_may_need_a_longer_past():
    rng = np.random.default_rng(1)
    x = rng.normal(size=5000)
    y = np.append([0, 0], x[:-2]) + rng.normal(size=len(x))
    short, long = (
        measures.transfer_entropy(x, y, seed=0, n_past=n, n_surrogates=20)
        for n in (1, 2)
    )
    assert short.corrected < 0.01
    assert long.corrected > 0.3


def test_a_copy_of_coin_tosses_transfers_their_whole_entropy():
    rng = np.random.default_rng(2)
    x = rng.integers(0, 2, 5000)
    y = np.append(0, x[:-1])
    found = measures.transfer_entropy(x, y, seed=0, kind="symbols", n_surrogates=20)
    assert found.value == pytest.approx(np.log(2), abs=1e-3)
    back = measures.transfer_entropy(y, x, seed=0, kind="symbols", n_surrogates=20)
    assert abs(back.corrected) < 1e-3


def test_independent_series_are_rarely_called_coupled():
    rng = np.random.default_rng(3)
    p_values = [
        measures.transfer_entropy(
            *rng.normal(size=(2, 300)), seed=k, n_surrogates=39
        ).p_value
        for k in range(60)
    ]
    assert np.mean(np.array(p_values) <= 0.05) < 0.15
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize("lag", [-4, 0, 7])
def test_the_leader_is_told_by_the_sign_of_the_lag(lag):
    wave = np.random.default_rng(0).normal(size=400).cumsum()
    source, target = wave[10:-10], np.roll(wave, lag)[10:-10]
    found, correlation = measures.lead(source, target, max_lag=9)
    assert found == lag
    assert correlation == pytest.approx(1)


def test_bad_series_are_refused():
    good = np.random.default_rng(0).normal(size=100)
    for source, words in (
        (good[:50], "equally long"),
        (np.ones(100), "vary"),
        (np.where(np.arange(100) == 3, np.nan, good), "vary"),
    ):
        with pytest.raises((InvalidInputError, ShapeError), match=words):
            measures.transfer_entropy(source, good, seed=0)
    with pytest.raises(InvalidInputError, match="max_lag"):
        measures.lead(good, good, max_lag=99)


def test_exponents_of_bad_arguments_are_refused():
    network = small()
    with pytest.raises(InvalidInputError, match="10 units"):
        measures.lyapunov_exponents(network, seed=0, n_exponents=11)
    with pytest.raises(InvalidInputError, match="PVRNN"):
        measures.lyapunov_exponents(3, seed=0)


def test_generated_noise_is_that_of_the_prior():
    """The prior deviation that a generation tells is that which its latents have."""
    network = small()
    made = generate(network, 2, seed=0, n_trials=4000)
    first = made["latent_value"].isel(time=0)
    assert float(first.std("trial").mean()) == pytest.approx(1, abs=0.05)
    apart = (made["latent_value"] - made["prior_mean"]) / made["prior_deviation"]
    assert float(apart.isel(time=1).std()) == pytest.approx(1, abs=0.05)
    potentials = start(network, 1)
    assert all(not np.any(u) for u in itertools.chain(potentials))
