"""Error regression: against its steps written out, and each option by its effect."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuromod.core.errors import DivergedError, InvalidInputError, ShapeError
from neuromod.pvrnn import (
    ErrorRegression,
    Objective,
    generate,
    inference,
    stepwise,
    with_encoder,
)
from neuromod.pvrnn.energy import encode, evaluate
from neuromod.pvrnn.latents import Adaptive, start
from tests.pvrnn.networks import senses, tower

WINDOW, N_STEPS = 4, 7


def observations(network, n_steps=N_STEPS, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-0.8, 0.8, (n_steps, network.n_channels))


def quiet(network):
    """Return a network whose latents are drawn without noise."""
    layers = [
        type(layer)(
            **{
                f: getattr(layer, f)
                for f in layer.__dataclass_fields__
                if f != "noise_scale"
            },
            noise_scale=0.0,
        )
        for layer in network.layers
    ]
    return type(network)(layers, network.connections, network.heads)


def _vectors(adaptive):
    return adaptive.mean, adaptive.log_deviation


def by_hand(network, objective, data, first, *, rate=0.09, n_iterations=5):
    """Regress with windows that really grow and slide, without masks and noise.

    New vectors are copies of the last ones. Returns the adaptive vectors of the last
    window, its run, and the loss of every step.
    """
    optimiser, losses = optax.adam(rate), []
    constant = np.array([layer.is_constant for layer in network.layers])
    constant = constant[network.latent_layers]
    adaptive = Adaptive(*(jnp.asarray(a)[None, None] for a in first))
    potentials = start(network, 1)
    after_first = potentials

    @jax.jit
    def slope(adaptive, seen, potentials, starts):
        def energy(adaptive):
            encoded, still = encode(network, seen), jnp.zeros_like(adaptive.mean)
            found = evaluate(
                network, objective, adaptive, encoded, still, potentials, starts=starts
            )
            return found[0].total

        return jax.value_and_grad(energy)(adaptive)

    for t in range(len(data)):
        if 0 < t < WINDOW:
            grown = (jnp.concatenate([rows, rows[-1:]]) for rows in _vectors(adaptive))
            adaptive = Adaptive(*grown)
        elif t >= WINDOW:
            slid = [
                jnp.concatenate([rows[1:], rows[-1:]]) for rows in _vectors(adaptive)
            ]
            adaptive = Adaptive(
                *(
                    new.at[0].set(jnp.where(constant, old[0], new[0]))
                    for new, old in zip(slid, _vectors(adaptive), strict=True)
                )
            )
            potentials = after_first
        seen = jnp.asarray(data[max(0, t + 1 - WINDOW) : t + 1])[:, None]
        memory, row, starts = optimiser.init(adaptive), [], t < WINDOW
        for _ in range(n_iterations):
            value, gradient = slope(adaptive, seen, potentials, starts)
            update, memory = optimiser.update(gradient, memory)
            adaptive = optax.apply_updates(adaptive, update)
            row.append(float(value))
        losses.append(row)
        still = jnp.zeros_like(adaptive.mean)
        reached, _ = stepwise.run(network, adaptive, still, potentials)
        after_first = tuple(None if u is None else u[0] for u in reached)
    run = inference.run(network, adaptive, still, potentials, starts=starts)
    return adaptive, run, np.array(losses)


@pytest.mark.parametrize("name", ["published 2019", "senses"])
def test_the_masked_window_is_the_one_that_grows_and_slides(name):
    with jax.enable_x64(True):
        network = quiet(senses() if name == "senses" else tower(name))
        data = observations(network)
        objective = Objective(0.05, 0.2, constants="sdd")
        first = np.random.default_rng(1).normal(size=(2, network.n_latents)) / 2
        want, run, losses = by_hand(network, objective, data, first)
        regression = ErrorRegression(
            network,
            objective,
            seed=0,
            window=WINDOW,
            n_iterations=5,
            warm_start="copy",
            initial=tuple(first),
        )
        found = [regression.step(row) for row in data]
        np.testing.assert_allclose([f.loss for f in found], losses, rtol=1e-9)
        told = regression._window.adaptive
        np.testing.assert_allclose(told.mean, want.mean, atol=1e-9)
        np.testing.assert_allclose(told.log_deviation, want.log_deviation, atol=1e-9)
        np.testing.assert_allclose(
            found[-1].posterior.mean, run.posterior.mean[:, 0], atol=1e-9
        )
        np.testing.assert_allclose(
            found[-1].prior.deviation, run.prior.deviation[:, 0], atol=1e-9
        )
        assert [f.n_seen for f in found] == [1, 2, 3, 4, 4, 4, 4]


@pytest.fixture(scope="module")
def network():
    return tower_of_floats()


def tower_of_floats():
    from neuromod.pvrnn import hierarchy, tanh_head

    return hierarchy(jax.random.key(0), [10, 5], [2, 1], [2, 6], [tanh_head(2)])


def regression_of(network, meta_prior=0.01, **options):
    given = {"seed": 0, "window": WINDOW, "n_iterations": 10, "n_predicted": 3}
    return ErrorRegression(network, Objective(meta_prior), **given | options)


def follow(regression, data):
    return [regression.step(row) for row in data]


def test_iterations_bring_the_window_to_what_was_seen(network):
    """What was seen is what the network itself has made up."""
    data = generate(network, N_STEPS, seed=3)["channel_value"][0].values
    errors = []
    for n_iterations in (1, 300):
        regression = regression_of(network, 1e-4, n_iterations=n_iterations)
        found = follow(regression, data)[-1]
        errors.append(np.square(found.reconstruction - data[-WINDOW:]).mean())
    assert errors[1] < 0.5 * errors[0]


def test_a_larger_meta_prior_keeps_the_posterior_at_its_prior(network):
    data = observations(network)
    apart = []
    for meta_prior in (1e-3, 10.0):
        found = follow(regression_of(network, meta_prior, n_iterations=50), data)[-1]
        apart.append(np.abs(found.posterior.mean - found.prior.mean).mean())
    assert apart[1] < 0.3 * apart[0]


def test_what_is_masked_or_missing_does_not_act(network):
    data = observations(network)
    other = data.copy()
    other[2, 0] = 0.123
    mask = np.ones_like(data, bool)
    mask[2, 0] = False
    missing = data.copy()
    missing[2, 0] = np.nan
    ways = [
        [(row, m) for row, m in zip(values, mask, strict=True)]
        for values in (data, other)
    ] + [[(row, None) for row in missing]]
    found = []
    for way in ways:
        regression = regression_of(network)
        found.append([regression.step(*given) for given in way][-1].prediction)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    plain = follow(regression_of(network), data)[-1].prediction
    assert not np.array_equal(found[0], plain)


def test_one_program_serves_all_steps(network):
    from neuromod.pvrnn.window import advance

    regression = regression_of(network)
    data = observations(network)
    regression.step(data[0])
    size = advance._cached._cache_size()
    follow(regression, data[1:])
    follow(regression_of(network, meta_prior=0.01), data)
    assert advance._cached._cache_size() == size


def test_the_same_seed_gives_the_same_numbers_and_another_does_not(network):
    data = observations(network)
    one, same, other = (
        follow(regression_of(network, seed=seed), data)[-1] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one.prediction, same.prediction)
    assert not np.array_equal(one.prediction, other.prediction)


def test_forgetting_starts_again(network):
    data = observations(network)
    regression = regression_of(network)
    first = follow(regression, data)[-1]
    regression.reset()
    np.testing.assert_array_equal(follow(regression, data)[-1].loss, first.loss)


def test_new_vectors_start_where_they_are_asked_to(network):
    """With a learning rate of almost nothing they stay where they start."""
    network = quiet(network)
    data = observations(network, 3)
    begun = {}
    for warm_start in ("prior", "copy", "random"):
        regression = regression_of(
            network, warm_start=warm_start, learning_rate=1e-9, n_iterations=1
        )
        found = follow(regression, data)[-1]
        begun[warm_start] = regression._window.adaptive.mean[:3, 0], found
    rows, found = begun["prior"]
    np.testing.assert_allclose(
        found.posterior.mean[1:3], found.prior.mean[1:3], atol=1e-5
    )
    rows, _ = begun["copy"]
    np.testing.assert_allclose(rows[1:], np.broadcast_to(rows[0], (2, 3)), atol=1e-6)
    rows, _ = begun["random"]
    assert np.abs(rows[1:]).min() > 1e-4
    assert np.abs(rows[1] - rows[2]).max() > 0.1


def test_an_encoder_may_say_where_new_vectors_start(network):
    encoding = with_encoder(jax.random.key(5), network, 8)
    data = observations(network, 2)
    regression = regression_of(
        encoding, warm_start="encoder", learning_rate=1e-9, n_iterations=1
    )
    follow(regression, data)
    inputs = np.zeros((WINDOW, 1, 4), np.float32)
    inputs[:2, 0, :2], inputs[:2, 0, 2:] = data, 1
    mean, _ = encoding.encoder(jnp.asarray(inputs))
    np.testing.assert_allclose(regression._window.adaptive.mean[1], mean[1], atol=1e-5)
    with pytest.raises(InvalidInputError, match="with_encoder"):
        regression_of(network, warm_start="encoder")


def test_a_kept_optimiser_goes_on_with_its_momentum(network):
    data = observations(network)
    ends = {}
    for state in ("reset", "kept"):
        regression = regression_of(network, optimiser_state=state, n_iterations=2)
        follow(regression, data)
        ends[state] = regression._window.memory[0].count
    assert int(ends["reset"]) == 2
    assert int(ends["kept"]) == 2 * N_STEPS


def test_more_samples_of_noise_make_the_gradient_steadier(network):
    """The spread over seeds of what one update leads to falls."""
    data = observations(network, 1)
    spread = []
    for n_samples in (1, 64):
        losses = [
            regression_of(network, seed=seed, n_samples=n_samples, n_iterations=1)
            .step(data[0])
            .loss[0]
            for seed in range(12)
        ]
        spread.append(np.std(losses))
    assert spread[1] < 0.4 * spread[0]


def test_the_first_vectors_may_be_given(network):
    first = np.array([0.5, -0.3, 0.2]), np.array([-1.0, 0.1, 0.0])
    regression = regression_of(
        network, initial=first, learning_rate=1e-9, n_iterations=1
    )
    found = regression.step(observations(network, 1)[0])
    np.testing.assert_allclose(
        regression._window.adaptive.mean[0, 0], first[0], atol=1e-6
    )
    assert found.n_seen == 1


def test_trials_side_by_side_are_regressed_as_if_alone():
    with jax.enable_x64(True):
        still = quiet(tower("adaptive"))
        data = np.stack([observations(still, seed=s) for s in (0, 1)], axis=1)
        both = follow(regression_of(still, n_trials=2, warm_start="copy"), data)[-1]
        assert both.prediction.shape == (3, 2, 2)
        for k in range(2):
            alone = follow(regression_of(still, warm_start="copy"), data[:, k])[-1]
            np.testing.assert_allclose(
                both.prediction[:, k], alone.prediction, atol=1e-7
            )


def test_predictions_are_drawn_only_if_asked_for(network):
    """The noise of the iterations is that of the seed; that of predictions is extra."""
    data = observations(network, 3)
    still = {"learning_rate": 1e-9, "n_iterations": 1}
    found = {
        n_draws: np.stack(
            [
                follow(regression_of(network, seed=s, n_draws=n_draws, **still), data)[
                    -1
                ].prediction
                for s in range(n_seeds)
            ]
        )
        for n_draws, n_seeds in ((0, 2), (1, 60), (600, 2))
    }
    assert np.ptp(found[0], axis=0).max() < 1e-5 < np.ptp(found[1], axis=0).max()
    # A mean of many runs is the expectation, about which single ones vary.
    error = found[1].std(axis=0) * np.sqrt(1 / 60 + 1 / 600)
    apart = np.abs(found[1].mean(axis=0) - found[600][0])
    assert (apart < 4 * error + 1e-6).all()
    assert np.ptp(found[600], axis=0).max() < 0.3 * found[1].std(axis=0).max()


def test_bad_observations_are_refused_and_change_nothing(network):
    regression = regression_of(network)
    data = observations(network)
    with pytest.raises(InvalidInputError, match="nothing to see"):
        regression.step([np.nan, np.nan])
    for bad, words in (
        (data[0, :1], r"shape \(1,\).*\(2,\)"),
        (data[:2], "shape"),
        ([np.inf, 0.0], "infinite"),
    ):
        with pytest.raises((ShapeError, InvalidInputError), match=words):
            regression.step(bad)
    with pytest.raises(ShapeError, match="mask"):
        regression.step(data[0], [True])
    found = follow(regression, data)[-1]
    clean = follow(regression_of(network), data)[-1]
    np.testing.assert_array_equal(found.prediction, clean.prediction)


def test_a_window_may_run_dry_but_not_be_empty(network):
    regression = regression_of(network)
    data = observations(network)
    follow(regression, data[:2])
    gap = np.full(2, np.nan)
    for _ in range(WINDOW - 1):
        regression.step(gap)
    with pytest.raises(InvalidInputError, match="last 4 steps"):
        regression.step(gap)
    assert np.isfinite(regression.step(data[2]).prediction).all()


def test_a_free_energy_that_is_no_number_is_told_and_the_state_stays(network):
    regression = regression_of(network, learning_rate=1e4, n_iterations=30)
    with pytest.raises(DivergedError, match="learning rate"):
        follow(regression, observations(network))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"window": 0}, "window"),
        ({"n_iterations": 0}, "n_iterations"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"n_predicted": 1.5}, "n_predicted"),
        ({"n_samples": 0}, "n_samples"),
        ({"warm_start": "priors"}, "prior"),
        ({"optimiser_state": "keep"}, "kept"),
        ({"n_trials": 0}, "n_trials"),
        ({"seed": -1}, "seed"),
        ({"initial": (np.zeros(2), np.zeros(2))}, "initial"),
    ],
)
def test_bad_options_are_named(network, changes, words):
    with pytest.raises(InvalidInputError, match=words):
        regression_of(network, **changes)
