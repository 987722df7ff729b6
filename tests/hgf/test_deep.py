"""Deep networks: against a written-out one, against gradients and stored numbers."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod import hgf
from neuromod.core.errors import InvalidInputError, ShapeError
from neuromod.hgf import deep, deep_learning, inference
from tests.parity import _hgf_deep
from tests.parity._format import Report, load
from tests.shared import shared

UPDATES = ("ehgf", "ehgf_swap", "standard", "unbounded")


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def made(sizes=(2, 4, 3, 2), **settings):
    return deep.DeepNetwork(deep.draw_weights(jax.random.key(0), sizes), **settings)


def samples(network, n_samples=30):
    sizes = network.sizes
    draw = np.random.default_rng(1)
    inputs = draw.normal(size=(n_samples, sizes[-1]))
    outputs = np.tanh(inputs @ draw.normal(size=(sizes[-1], sizes[0])))
    if network.output == "binary":
        outputs = (outputs > 0).astype(float)
    if network.output == "categorical":
        outputs = np.eye(sizes[0])[outputs.argmax(axis=1)]
    return jnp.asarray(inputs), jnp.asarray(outputs)


def assert_close(got, want):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13, equal_nan=False)


def verdicts():
    paths = sorted(shared("reference/hgf").glob("deep_*.npz"))
    assert paths
    report = Report()
    for path in paths:
        fixture = load(path)
        _hgf_deep.check(fixture, report)
        assert not fixture.unasked()
    return [line["verdict"] for line in report.lines]


def test_stored_numbers_are_reproduced():
    assert set(verdicts()) == {"pass"}


def test_the_check_sees_a_wrong_library(monkeypatch):
    right = deep_learning.directions

    def wrong(*arguments, **options):
        return [1.000001 * way for way in right(*arguments, **options)]

    monkeypatch.setattr(deep_learning, "directions", wrong)
    assert set(verdicts()) == {"fail"}


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("approximation", ["mean_field", "relaxed"])
def test_a_node_is_a_state_with_a_state_for_its_volatility(update, approximation):
    scheme = {"update": update, "approximation": approximation}
    weights = [[[1.5, 0.0]]], [[[0.7, 0.2]]]
    network = deep.DeepNetwork(
        [np.asarray(w[0]) for w in weights],
        coupling="linear",
        tonic_volatility=-1.0,
        metavolatility=-2.0,
        **scheme,
    )
    outputs = np.random.default_rng(0).normal(size=(25, 1))
    found = deep_learning.run(network, jnp.full((25, 1), 0.5), jnp.asarray(outputs))
    written_out = hgf.Network(
        [
            hgf.ContinuousInput("output"),
            hgf.ContinuousState("value", tonic_volatility=-1.0, autoconnection=0.0),
            hgf.ContinuousState("volatility", tonic_volatility=-2.0),
            hgf.Constant("input"),
        ],
        [
            hgf.observation("value", "output", 1.5),
            hgf.drift("input", "value", 0.7 * 0.5 + 0.2),
            hgf.volatility("volatility", "value"),
        ],
        compatibility="pyhgf",  # where samples forget the mean, but not the precision
        **scheme,
    )
    series = inference.Series((jnp.asarray(outputs[:, 0]),), (None,), None)
    beliefs = inference.run(written_out, series).beliefs
    np.testing.assert_allclose(found.layers[1].mean[:, 0], beliefs["value"].mean)
    np.testing.assert_allclose(
        found.layers[1].precision[:, 0], beliefs["value"].precision
    )
    np.testing.assert_allclose(
        found.beliefs[0].volatility_mean[0], beliefs["volatility"].mean[-1]
    )
    np.testing.assert_allclose(
        found.beliefs[0].volatility_precision[0], beliefs["volatility"].precision[-1]
    )


@pytest.mark.parametrize("output", deep.OUTPUTS)
def test_errors_reach_the_first_couplings_as_in_backpropagation(output):
    network = made((3, 6, 2), output=output)
    inputs, outputs = (rows[0] for rows in samples(network))

    def loss(weight):
        weights = (network.weights[0], weight)
        expected = deep.predict(made_of(network, weights), inputs)
        if output == "continuous":
            return jnp.sum((outputs - expected) ** 2) / 2
        nats = outputs * jnp.log(expected)
        if output == "binary":
            nats = nats + (1 - outputs) * jnp.log1p(-expected)
        return -jnp.sum(nats)

    found = deep_learning.step(network, deep.start(network), inputs, outputs, 1.0)
    moved = found.network.weights[1] - network.weights[1]
    assert_close(moved, -jax.grad(loss)(network.weights[1]))


def made_of(network, weights):
    fields = {f.name: getattr(network, f.name) for f in dataclasses.fields(network)}
    return deep.DeepNetwork(**(fields | {"weights": weights}))


def test_a_network_is_rebuilt_from_its_fields():
    network = made(
        output="binary", update="unbounded", coupling=["tanh", "sin", "relu"]
    )
    again = made_of(network, network.weights)
    inputs, outputs = samples(network)
    assert_close(
        deep_learning.run(again, inputs, outputs, 0.1),
        deep_learning.run(network, inputs, outputs, 0.1),
    )


@pytest.mark.parametrize("kind", deep_learning.KINDS)
@pytest.mark.parametrize("output", deep.OUTPUTS)
def test_learning_lowers_the_error(kind, output):
    network = made((2, 8, 2), output=output)
    inputs, outputs = samples(network, 300)
    found = deep_learning.run(network, inputs, outputs, 0.05, kind)
    before, after = (
        np.mean((deep.predict(n, inputs) - outputs) ** 2)
        for n in (network, found.network)
    )
    assert after < 0.8 * before


def test_directions_of_a_ratio_are_gains():
    network = made((1, 1, 1))
    inputs, outputs = (rows[0] for rows in samples(network))
    layers = deep_learning.step(network, deep.start(network), inputs, outputs).layers
    plain, gained = (
        deep_learning.directions(layers, network.coupling, kind=kind)
        for kind in ("standard", "precision_ratio")
    )
    child, parent = layers[0].precision[0], layers[1].precision[0]
    share = jnp.stack([child / (parent + child), child / (1 + child)])
    assert_close(gained[0], plain[0] * share[None])


def test_a_sample_predicts_as_predict_does_and_a_batch_too():
    network = made(output="categorical")
    inputs, outputs = samples(network)
    found = deep_learning.run(network, inputs, outputs)
    expected = deep.predict(network, inputs)
    assert_close(found.layers[0].expected_mean, expected)
    np.testing.assert_allclose(expected.sum(axis=-1), 1.0)
    assert_close(found.network.weights, network.weights)
    stacked = deep.predict(network, jnp.reshape(inputs, (5, 6, 2)))
    assert_close(stacked, jnp.reshape(expected, (5, 6, 2)))


def test_a_run_goes_on_where_it_stopped_and_padding_is_nothing():
    network = made(update="unbounded", approximation="relaxed")
    inputs, outputs = samples(network)
    whole = deep_learning.run(network, inputs, outputs, 0.05)
    first = deep_learning.run(network, inputs[:11], outputs[:11], 0.05)
    rest = inputs[11:], outputs[11:], 0.05
    second = deep_learning.run(first.network, *rest, beliefs=first.beliefs)
    assert_close((second.network, second.beliefs), (whole.network, whole.beliefs))
    seen = jnp.arange(30) < 11
    padded = jnp.where(seen[:, None], outputs, jnp.nan)
    cut = deep_learning.run(network, inputs, padded, 0.05, mask=seen)
    assert_close((cut.network, cut.beliefs), (first.network, first.beliefs))


@pytest.mark.parametrize(
    ("update", "uncertain"), list(zip(UPDATES, (False, False, True, True), strict=True))
)
def test_gradients_are_finite_and_right(update, uncertain):
    network = made(
        (1, 3, 3, 1),
        update=update,
        approximation="relaxed",
        feedforward_uncertainty=uncertain,
    )
    inputs, outputs = samples(network, 5)

    @jax.jit
    def total(tonic, rate):
        changed = made_with(network, tonic)
        found = deep_learning.run(changed, inputs, outputs, rate)
        return jnp.sum(found.layers[0].error ** 2)

    at = (-1.0, 0.05)
    slopes = jax.jit(jax.grad(total, (0, 1)))(*at)
    for number, slope in enumerate(slopes):
        step = np.eye(2)[number] * 1e-6
        high, low = (total(*(np.asarray(at) + sign * step)) for sign in (1, -1))
        np.testing.assert_allclose(slope, (high - low) / 2e-6, rtol=1e-5)


def made_with(network, tonic):
    fields = {f.name: getattr(network, f.name) for f in dataclasses.fields(network)}
    return deep.DeepNetwork(**(fields | {"tonic_volatility": jnp.asarray(tonic)}))


def test_uncertain_parents_make_a_layer_less_precise():
    plain = made(approximation="relaxed")
    uncertain = made(approximation="relaxed", feedforward_uncertainty=True)
    inputs, outputs = (rows[0] for rows in samples(plain))
    a, b = (
        deep_learning.step(n, deep.start(n), inputs, outputs).layers[1]
        for n in (plain, uncertain)
    )
    assert_close(a.conditional_precision, b.conditional_precision)
    assert_close(a.expected_precision, a.conditional_precision)
    assert (b.expected_precision < b.conditional_precision).all()


def test_many_networks_learn_side_by_side():
    network = made()
    inputs, outputs = samples(network)
    rates = jnp.asarray([0.0, 0.02, 0.1])
    learn = functools.partial(deep_learning.run, network, inputs, outputs)
    together = jax.jit(jax.vmap(learn))(rates)
    for number, rate in enumerate(rates):
        assert_close(jax.tree.map(lambda leaf: leaf[number], together), learn(rate))  # noqa: B023


def test_single_precision_stays_single():
    with jax.enable_x64(False):
        network = made(output="binary", update="unbounded", approximation="relaxed")
        found = deep_learning.run(network, *samples(network), 0.05)
        assert {leaf.dtype for leaf in jax.tree.leaves(found.layers)} == {
            np.dtype("float32")
        }
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found.layers))


@pytest.mark.parametrize("update", ["standard", "ehgf_swap"])
def test_a_precision_that_turns_negative_is_no_number(update):
    network = made((1, 1, 1), update=update, tonic_volatility=-2.0, metavolatility=2.0)
    found = deep_learning.run(network, jnp.ones((1, 1)), jnp.full((1, 1), 20.0))
    assert np.isnan(found.beliefs[0].volatility_precision).all()
    safe = made((1, 1, 1), tonic_volatility=-2.0, metavolatility=2.0)
    found = deep_learning.run(safe, jnp.ones((1, 1)), jnp.full((1, 1), 20.0))
    assert (found.beliefs[0].volatility_precision > 0).all()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"output": "binry"}, "Did you mean 'binary'"),
        ({"coupling": "tan"}, "Did you mean 'tanh'"),
        ({"coupling": ["tanh"]}, "coupling: got 1 names"),
        ({"update": "uhgf"}, "update"),
        ({"precision": 0.0}, "precision"),
        ({"feedforward_uncertainty": True}, "approximation='relaxed'"),
    ],
)
def test_options_that_are_refused(change, text):
    with pytest.raises(InvalidInputError, match=text):
        made(**change)


def test_shapes_that_are_refused():
    with pytest.raises(ShapeError, match=r"weights\[0\]"):
        deep.DeepNetwork([np.ones((2, 4)), np.ones((4, 3))])
    with pytest.raises(InvalidInputError, match="weights: got none"):
        deep.DeepNetwork([])
    network = made()
    with pytest.raises(ShapeError, match="inputs"):
        deep_learning.run(network, jnp.ones((5, 3)), jnp.ones((5, 2)))
    with pytest.raises(InvalidInputError, match="precision_weighted"):
        deep_learning.run(network, *samples(network), 0.1, "precision_weight")
