"""The VRNN: its bound against a slow loop, and what it learns and predicts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import neuromod as nm
from neuromod.core.errors import InvalidInputError, ShapeError
from neuromod.core.precision import in_precision
from neuromod.pvrnn.vrnn import VRNN, evidence_bound, predict
from neuromod.pvrnn.vrnn_training import predict_vrnn, train_vrnn

SETTINGS = {
    "n_units": 16,
    "n_latents": 2,
    "n_steps": 300,
    "learning_rate": 1e-2,
    "divergence_weight": 0.5,
    "progress": False,
}


@pytest.fixture(autouse=True)
def double_precision():
    """Let the equations be checked in double precision; verbs have their own."""
    with jax.enable_x64(True):
        yield


def waves(n_trials=12, seed=0):
    """Return noisy sines of random phases."""
    rng = np.random.default_rng(seed)
    phases = rng.uniform(0, 6, (n_trials, 1, 1))
    values = 0.7 * np.sin(np.arange(40)[:, None] / 2 + phases)
    values = values + 0.1 * rng.normal(size=values.shape)
    coords = {"time": np.arange(40) * 0.1, "channel": ["x"]}
    return xr.DataArray(values, coords, ("trial", "time", "channel"))


@pytest.fixture(scope="module")
def trained():
    return train_vrnn(waves(), seed=[0, 1], **SETTINGS)


def network(seed=0):
    """Return a network of two channels, in double precision."""
    found = VRNN.random(jax.random.key(seed), n_channels=2, n_units=5, n_latents=3)
    return jax.tree.map(jnp.asarray, in_precision(found, "float64"))


def numbers(seed=0):
    """Return values, what of them is known (not all of it at any trial), and noise."""
    rng = np.random.default_rng(seed)
    values, noise = rng.normal(size=(6, 3, 2)), rng.normal(size=(6, 3, 3))
    known = rng.random(values.shape) < 0.6
    known[3, 1] = False
    known[0, 2] = False
    return jnp.asarray(values), jnp.asarray(known), jnp.asarray(noise)


@jax.jit
def graded(net, values, known, noise, weight):
    """Return the bound, and the gradient of its total."""

    def total(net):
        found = evidence_bound(net, values, known, noise, weight)
        return found.total, found

    slope, found = jax.grad(total, has_aux=True)(net)
    return found, slope


def bound(net, values, known, noise, weight=1.0):
    return graded(net, values, known, noise, weight)[0]


expected_of = jax.jit(predict, static_argnums=(4, 5))
KEY = jax.random.key(0)


def told(part, *inputs):
    """Return mean and deviation of one of the three networks."""

    def affine(layer, x):
        return np.asarray(layer.weight) @ x + np.asarray(layer.bias)

    active = np.tanh(affine(part.hidden, np.concatenate(inputs)))
    deviation = np.log1p(np.exp(affine(part.deviation, active))) + 1e-3
    return affine(part.mean, active), deviation


def slow_step(net, h, x, known, eps):
    """Return posterior, prior, latents and the next state of one trial."""
    prior = told(net.prior, h)
    expected = told(net.decoder, prior[0], h)[0]
    posterior = prior
    if known.any():
        posterior = told(net.posterior, np.where(known, x, expected), h)
    z = posterior[0] + posterior[1] * eps
    x = np.where(known, x, told(net.decoder, z, h)[0])
    cell = net.recurrence
    projected = np.asarray(cell.input_weight) @ np.concatenate([x, z])
    projected = projected + np.asarray(cell.bias)
    inner = np.asarray(cell.recurrent_weight) @ h
    r, u = 1 / (1 + np.exp(-(projected[:2] + inner[:2])))
    n = np.tanh(projected[2] + r * (inner[2] + np.asarray(cell.recurrent_bias)))
    return posterior, prior, z, (1 - u) * n + u * h


def slow_bound(net, values, known, noise):
    """Return error and divergence, summed."""
    error = divergence = 0.0
    for trial in range(values.shape[1]):
        h = np.zeros(5)
        for x, seen, eps in zip(
            values[:, trial], known[:, trial], noise[:, trial], strict=True
        ):
            before = h
            posterior, prior, z, h = slow_step(net, h, x, seen, eps)
            mean, deviation = told(net.decoder, z, before)
            squares = ((x - mean) / deviation) ** 2 + np.log(2 * np.pi * deviation**2)
            error += squares[seen].sum() / 2
            ratio = (posterior[1] / prior[1]) ** 2
            shift = ((posterior[0] - prior[0]) / prior[1]) ** 2
            divergence += (ratio + shift - 1 - np.log(ratio)).sum() / 2
    return error, divergence


@pytest.mark.parametrize("complete", [True, False])
def test_the_bound_is_that_of_a_slow_loop(complete):
    values, known, noise = numbers()
    known = np.ones_like(known) if complete else np.asarray(known)
    given = None if complete else jnp.asarray(known)
    found = bound(network(), values, given, noise, 0.3)
    error, divergence = slow_bound(network(), *map(np.asarray, (values, known, noise)))
    n = known.sum()
    assert float(found.reconstruction) == pytest.approx(error / n, rel=1e-12)
    assert float(found.divergence) == pytest.approx(divergence / n, rel=1e-12)
    assert float(found.total) == pytest.approx((error + 0.3 * divergence) / n)


def test_all_known_is_as_no_mask():
    values, known, noise = numbers()
    one = bound(network(), values, None, noise)
    other = bound(network(), values, jnp.ones_like(known), noise)
    np.testing.assert_allclose(one, other, rtol=1e-13)


@pytest.mark.parametrize("complete", [True, False])
def test_the_gradient_is_that_of_finite_differences(complete):
    values, known, noise = numbers()
    flat, build = jax.flatten_util.ravel_pytree(network())

    def at(flat):
        given = None if complete else known
        return graded(build(flat), values, given, noise, 0.3)

    slope, _ = jax.flatten_util.ravel_pytree(at(flat)[1])
    rng = np.random.default_rng(0)
    for _ in range(3):
        way = rng.normal(size=flat.shape)
        ahead, behind = (float(at(flat + s * way)[0].total) for s in (1e-6, -1e-6))
        want = (ahead - behind) / 2e-6
        assert float(jnp.vdot(slope, way)) == pytest.approx(want, rel=1e-6)


def test_the_divergence_is_never_negative():
    values, known, noise = numbers()
    for seed in range(5):
        assert float(bound(network(seed), values, None, noise).divergence) > 0
        assert float(bound(network(seed), values, known, noise).divergence) > 0


def test_a_step_without_data_adds_nothing():
    """One value in the first step of one trial: all later steps are of the prior."""
    values, known, noise = numbers()
    one = jnp.zeros_like(known).at[0, 0, 0].set(True)
    found = bound(network(), values, one, noise)
    first = slow_bound(
        network(), *(np.asarray(a)[:1, :1] for a in (values, one, noise))
    )
    assert float(found.reconstruction) == pytest.approx(first[0], rel=1e-12)
    assert float(found.divergence) == pytest.approx(first[1], rel=1e-12)


def test_what_stands_where_nothing_is_known_does_not_matter():
    values, known, noise = numbers()
    other = jnp.where(known, values, 1e3)
    bounds = [bound(network(), v, known, noise) for v in (values, other)]
    np.testing.assert_array_equal(*bounds)
    made = [expected_of(network(), v, known, KEY, 2, 400) for v in (values, other)]
    np.testing.assert_array_equal(*made)


def test_a_prediction_is_the_mean_of_runs_of_the_prior():
    values, known, _ = numbers()
    net = network()
    found = np.asarray(expected_of(net, values, known, KEY, 2, 400))
    rng = np.random.default_rng(0)
    want, nothing = np.zeros((2, 2)), np.zeros(2, bool)
    past = list(zip(np.asarray(values[:3, 1]), np.asarray(known[:3, 1]), strict=True))
    for _ in range(1000):
        h = np.zeros(5)
        for x, seen in past:
            h = slow_step(net, h, x, seen, rng.normal(size=3))[3]
        for row in want:
            eps = rng.normal(size=3)
            _, _, z, after = slow_step(net, h, np.zeros(2), nothing, eps)
            row += told(net.decoder, z, h)[0] / 1000
            h = after
    np.testing.assert_allclose(found[:, 2, 1], want, atol=0.02)


def test_training_lowers_the_loss(trained):
    history = trained.data["history"].to_dataset()
    assert history["loss"].dims == ("seed", "step")
    loss = history["loss"]
    assert (loss[:, -20:].mean("step") < loss[:, 0] - 1).all()
    parts = history["reconstruction"] + 0.5 * history["divergence"]
    np.testing.assert_allclose(parts, loss, rtol=1e-4, atol=1e-5)
    assert trained.config["divergence_weight"] == 0.5


def test_it_predicts_better_than_the_mean_and_the_last_value(trained):
    """Of waves that it has not seen, whose noise alone has the variance 0.01."""
    new = waves(8, seed=1)
    expected = predict_vrnn(trained.sel(seed=1), new, 3, seed=0)
    assert expected.dims == ("trial", "time", "lag", "channel")
    np.testing.assert_array_equal(expected["time"], new["time"])
    for lag in (1, 3):
        came = new.values[:, 5 + lag :]
        made = expected.sel(lag=lag).values[:, 5:-lag]
        error = np.square(made - came).mean()
        assert error < 0.3 * np.square(new.values[:, 5:-lag] - came).mean()
        assert error < 0.1 * came.var()


def test_more_samples_make_predictions_that_depend_less_on_the_seed(trained):
    one, many = (
        np.stack(
            [
                predict_vrnn(trained.sel(seed=0), waves(2), 2, seed=s, n_samples=n)
                for s in range(4)
            ]
        ).std(axis=0)
        for n in (1, 16)
    )
    assert 0 < many.mean() < 0.5 * one.mean()


def test_the_future_does_not_change_a_prediction(trained):
    data = waves(2)
    other = data.copy()
    other[:, 20:] = -other[:, 20:] + 0.3
    one, two = (predict_vrnn(trained.sel(seed=0), d, 2, seed=0) for d in (data, other))
    np.testing.assert_array_equal(one[:, :20], two[:, :20])
    assert (one[:, 20:] != two[:, 20:]).mean() > 0.9


def test_missing_values_and_ends_of_trials_are_told_apart(trained):
    whole = waves(2)
    gaps = whole[0].copy()
    gaps[12:20] = np.nan
    found = predict_vrnn(trained.sel(seed=0), [gaps, whole[1, :30]], 2, seed=0)
    assert np.isfinite(found[0]).all()
    assert np.isfinite(found[1, :30]).all()
    assert np.isnan(found[1, 30:]).all()
    # Through the gap the network goes on by itself.
    error = np.square(found.sel(lag=1)[0, 11:19].values - whole[0, 12:20].values)
    assert error.mean() < 0.3 * float(whole.var())


def test_a_seed_alone_is_that_seed_among_others(trained):
    alone = train_vrnn(waves(), seed=1, **SETTINGS | {"n_steps": 20})
    among = trained.sel(seed=1).data["history"]["loss"].values[:20]
    np.testing.assert_allclose(alone.data["history"]["loss"], among, rtol=1e-3)


def test_an_interrupted_training_goes_on_to_the_same_bits(trained, tmp_path):
    def stop(step, _):
        raise KeyboardInterrupt

    path = tmp_path / "training.nc"
    with pytest.raises(KeyboardInterrupt):
        train_vrnn(waves(), seed=[0, 1], checkpoint=path, callback=stop, **SETTINGS)
    again = train_vrnn(waves(), seed=[0, 1], checkpoint=path, **SETTINGS)
    for one, other in zip(
        *(jax.tree.leaves(r.model) for r in (trained, again)), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(InvalidInputError, match="checkpoint"):
        train_vrnn(waves(), seed=[0, 2], checkpoint=path, **SETTINGS)


def test_a_result_comes_back_from_a_file(trained, tmp_path):
    again = nm.load(trained.save(tmp_path / "vrnn.nc"))
    one, other = (
        predict_vrnn(r.sel(seed=0), waves(2), seed=0) for r in (trained, again)
    )
    assert one.identical(other)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": None}, "seed"),
        ({"seed": []}, "no seeds"),
        ({"n_units": 0}, "n_units"),
        ({"n_latents": 1.5}, "n_latents"),
        ({"n_steps": 0}, "n_steps"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"divergence_weight": -1}, "divergence_weight"),
        ({"precision": "float16"}, "float32"),
        ({"data": waves().where(waves()["trial"] != 1)}, "nothing but NaN"),
        ({"data": waves().rename(channel="neuron")}, "channel"),
    ],
)
def test_bad_training_is_named(changes, words):
    with pytest.raises(InvalidInputError, match=words):
        train_vrnn(**{"data": waves(), "seed": 0, "progress": False} | changes)


def test_bad_predictions_are_named(trained):
    one = trained.sel(seed=0)
    for changes, words in (
        ({"model": trained}, "several seeds"),
        ({"model": 3}, "a VRNN"),
        ({"n_predicted": 0}, "n_predicted"),
        ({"n_samples": 0}, "n_samples"),
        ({"seed": -1}, "seed"),
    ):
        given = {"model": one, "data": waves(2), "seed": 0} | changes
        with pytest.raises(InvalidInputError, match=words):
            predict_vrnn(**given)
    two = xr.concat([waves(2)] * 2, "channel")
    with pytest.raises(ShapeError, match="2 channels"):
        predict_vrnn(one, two, seed=0)
