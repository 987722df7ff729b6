"""Deep networks: against a written-out one, against gradients and stored numbers."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod import hgf
from neuromod.core.errors import InvalidInputError, ShapeError
from neuromod.hgf import deep, deep_couplings, deep_learning, inference
from tests.parity import _hgf_deep
from tests.parity._format import Report, load
from tests.shared import shared

UPDATES = ("ehgf", "ehgf_swap", "standard", "unbounded")


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def compiled(function, *static):
    """Compile a function in little time, and let it return numpy."""
    options = {"xla_backend_optimization_level": 0}
    fast = jax.jit(function, static_argnums=static, compiler_options=options)
    return lambda *given, **more: jax.tree.map(np.asarray, fast(*given, **more))


def first_step(network, *arguments):
    return deep_learning.step(network, deep.start(network), *arguments)


run = compiled(deep_learning.run, 4)
step = compiled(first_step, 4)
predict = compiled(deep.predict)
start_synapses = compiled(deep_couplings.start_synapses)


def made(sizes=(2, 4, 3, 2), **settings):
    draw = np.random.default_rng(0)
    weights = [
        np.pad(draw.normal(size=pair) * (2 / sum(pair)) ** 0.5, ((0, 0), (0, 1)))
        for pair in itertools.pairwise(sizes)
    ]
    return deep.DeepNetwork(weights, **settings)


def varied():
    """Return a network without a setting at its default."""
    return made(
        output="binary",
        update="unbounded",
        approximation="relaxed",
        coupling=["tanh", "sin", "relu"],
    )


def samples(network, n_samples=30):
    sizes = network.sizes
    draw = np.random.default_rng(1)
    inputs = draw.normal(size=(n_samples, sizes[-1]))
    outputs = np.tanh(inputs @ draw.normal(size=(sizes[-1], sizes[0])))
    if network.output == "binary":
        outputs = (outputs > 0).astype(float)
    if network.output == "categorical":
        outputs = np.eye(sizes[0])[outputs.argmax(axis=1)]
    return inputs, outputs


def assert_close(got, want):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13, equal_nan=False)


def verdicts(pattern="deep_*.npz"):
    paths = sorted(shared("reference/hgf").glob(pattern))
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
    right = deep_couplings.directions

    def wrong(*arguments, **options):
        return [1.000001 * way for way in right(*arguments, **options)]

    monkeypatch.setattr(deep_couplings, "directions", wrong)
    assert set(verdicts("deep_1_*.npz")) == {"fail"}


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
    found = run(network, np.full((25, 1), 0.5), outputs)
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
    beliefs = compiled(inference.run)(written_out, series).beliefs
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
        expected = deep.predict(made_of(network, weights), jnp.asarray(inputs))
        if output == "continuous":
            return jnp.sum((outputs - expected) ** 2) / 2
        nats = outputs * jnp.log(expected)
        if output == "binary":
            nats = nats + (1 - outputs) * jnp.log1p(-expected)
        return -jnp.sum(nats)

    found = step(network, inputs, outputs, 1.0)
    moved = found.network.weights[1] - network.weights[1]
    assert_close(moved, -compiled(jax.grad(loss))(network.weights[1]))


def made_of(network, weights):
    fields = {f.name: getattr(network, f.name) for f in dataclasses.fields(network)}
    return deep.DeepNetwork(**(fields | {"weights": weights}))


def test_a_network_is_rebuilt_from_its_fields():
    network = varied()
    again = made_of(network, network.weights)
    inputs, outputs = samples(network)
    assert_close(run(again, inputs, outputs, 0.1), run(network, inputs, outputs, 0.1))


@pytest.mark.parametrize("kind", deep_couplings.KINDS)
@pytest.mark.parametrize("output", deep.OUTPUTS)
def test_learning_lowers_the_error(kind, output):
    network = made((2, 8, 2), output=output)
    inputs, outputs = samples(network, 300)
    synapses = None
    if kind == "synaptic_uncertainty":
        synapses = start_synapses(network, 300.0, prior_precision=5.0)
    rate = 1.0 if synapses else 0.05
    found = run(network, inputs, outputs, rate, kind, synapses=synapses)
    before, after = (
        np.mean((predict(n, inputs) - outputs) ** 2) for n in (network, found.network)
    )
    assert after < 0.8 * before


def test_weights_of_a_free_belief_run_away_and_of_a_firm_one_do_not():
    """Learning XOR, as the module's docstring says of the precision-weighted kind."""
    draw = np.random.default_rng(0).integers(0, 2, (2000, 2)).astype(float)
    outputs = (draw.sum(axis=1, keepdims=True) == 1).astype(float)
    for tonic, solved in ((0.0, False), (-4.0, True)):
        network = made((1, 8, 2), output="binary", tonic_volatility=tonic)
        learned = run(network, draw, outputs, 0.1).network
        error = np.mean((predict(learned, draw) - outputs) ** 2)
        assert bool(error < 0.01) == solved


@pytest.mark.parametrize("output", deep.OUTPUTS)
def test_beliefs_about_weights_follow_the_equations(output):
    network = made((2, 3, 2, 2), output=output, approximation="relaxed")
    inputs, outputs = (rows[0] for rows in samples(network))
    synapses = start_synapses(network, 7.0, 0.4, 3.0)
    found = step(network, inputs, outputs, 0.3, "synaptic_uncertainty", synapses)
    xi, volatility = np.zeros(2), np.zeros(2)
    for a, p in enumerate(np.asarray(found.layers[0].expected_mean)):
        xi[a] = 1.0 if output == "continuous" else p * (1 - p)
    for k, weight in enumerate(network.weights):
        child, parent = found.layers[k : k + 2]
        h = np.append(np.tanh(parent.mean), 1.0)
        for a, i in np.ndindex(weight.shape):
            error = child.mean[a] - child.expected_mean[a]
            if output != "binary" or k > 0:
                error *= child.precision[a]
            way = error * h[i] / (1 + volatility[a] * xi[a])
            told = h[i] ** 2 / (1 / xi[a] + volatility[a])
            want = weight[a, i] + 0.3 * way / 3 + (0.4 - weight[a, i]) / 7
            np.testing.assert_allclose(found.network.weights[k][a, i], want)
            np.testing.assert_allclose(found.synapses.precision[k][a, i], 3 + told)
        slope = 1 - np.tanh(parent.expected_mean) ** 2
        above = np.zeros(len(slope))
        for a, i in np.ndindex(weight[:, :-1].shape):
            above[i] += (slope[i] * weight[a, i]) ** 2 / (1 / xi[a] + volatility[a])
        xi = above
        # What a layer gained: its expected precision was 1 / (1 + volatility).
        volatility = 1 / parent.conditional_precision - 1


def test_precision_of_weights_slows_them_and_fades():
    network = made((1, 2, 1))
    inputs, outputs = np.ones((1, 1)), np.full((1, 1), 2.0)
    free = start_synapses(network, 10.0)
    firm = free._replace(precision=tuple(100 * p for p in free.precision))
    kind = "synaptic_uncertainty"
    a, b = (run(network, inputs, outputs, 1.0, kind, synapses=s) for s in (free, firm))
    for before, loose, held in zip(
        network.weights, a.network.weights, b.network.weights, strict=True
    ):
        np.testing.assert_allclose(held - before, (loose - before) / 100, atol=1e-15)
    # 10 less of the 99 that a precision is above its prior is forgotten at each sample.
    for grown, fallen in zip(a.synapses.precision, b.synapses.precision, strict=True):
        np.testing.assert_allclose(fallen - grown, 99 * (1 - 1 / 10))


def test_directions_of_a_ratio_are_gains():
    network = made((1, 1, 1))
    inputs, outputs = (rows[0] for rows in samples(network))
    layers = step(network, inputs, outputs).layers
    directions = functools.partial(deep_couplings.directions, coupling=network.coupling)
    plain, gained = (
        compiled(functools.partial(directions, kind=kind))(layers)
        for kind in ("standard", "precision_ratio")
    )
    child, parent = layers[0].precision[0], layers[1].precision[0]
    share = np.stack([child / (parent + child), child / (1 + child)])
    assert_close(gained[0], plain[0] * share[None])


def test_a_sample_predicts_as_predict_does_and_a_batch_too():
    network = made(output="categorical")
    inputs, outputs = samples(network)
    found = run(network, inputs, outputs)
    expected = predict(network, inputs)
    assert_close(found.layers[0].expected_mean, expected)
    np.testing.assert_allclose(expected.sum(axis=-1), 1.0)
    assert_close(found.network.weights, network.weights)
    stacked = predict(network, np.reshape(inputs, (5, 6, 2)))
    assert_close(stacked, np.reshape(expected, (5, 6, 2)))


def test_a_run_goes_on_where_it_stopped_and_padding_is_nothing():
    network = varied()
    inputs, outputs = samples(network)
    whole = run(network, inputs, outputs, 0.05)
    first = run(network, inputs[:15], outputs[:15], 0.05)
    rest = inputs[15:], outputs[15:], 0.05
    second = run(first.network, *rest, beliefs=first.beliefs)
    assert_close((second.network, second.beliefs), (whole.network, whole.beliefs))
    seen = np.arange(30) < 15
    padded = np.where(seen[:, None], outputs, np.nan)
    cut = run(network, inputs, padded, 0.05, mask=seen)
    assert_close((cut.network, cut.beliefs), (first.network, first.beliefs))


@pytest.mark.parametrize(
    ("update", "uncertain"), list(zip(UPDATES, (False, False, True, True), strict=True))
)
def test_gradients_are_finite_and_right(update, uncertain):
    network = made(
        (1, 2, 2, 1),
        update=update,
        approximation="relaxed",
        feedforward_uncertainty=uncertain,
    )
    given = [jnp.asarray(rows) for rows in samples(network, 5)]

    def total(tonic, rate):
        changed = made_with(network, tonic)
        found = deep_learning.run(changed, *given, rate)
        return jnp.sum(found.layers[0].error ** 2)

    at = np.array([-1.0, 0.05])
    both = compiled(jax.value_and_grad(total, (0, 1)))
    for number, slope in enumerate(both(*at)[1]):
        change = np.eye(2)[number] * 1e-6
        high, low = (both(*(at + sign * change))[0] for sign in (1, -1))
        np.testing.assert_allclose(slope, (high - low) / 2e-6, rtol=1e-5)


def made_with(network, tonic):
    fields = {f.name: getattr(network, f.name) for f in dataclasses.fields(network)}
    return deep.DeepNetwork(**(fields | {"tonic_volatility": jnp.asarray(tonic)}))


def test_uncertain_parents_make_a_layer_less_precise():
    plain = made(approximation="relaxed")
    uncertain = made(approximation="relaxed", feedforward_uncertainty=True)
    inputs, outputs = (rows[0] for rows in samples(plain))
    a, b = (step(n, inputs, outputs).layers[1] for n in (plain, uncertain))
    assert_close(a.conditional_precision, b.conditional_precision)
    assert_close(a.expected_precision, a.conditional_precision)
    assert (b.expected_precision < b.conditional_precision).all()


def test_many_networks_learn_side_by_side():
    network = varied()
    given = samples(network)
    rates = np.asarray([0.0, 0.02, 0.1])
    learn = functools.partial(deep_learning.run, network)
    together = compiled(jax.vmap(learn, (None, None, 0)))(*given, rates)
    for number, rate in enumerate(rates):
        alone = run(network, *given, float(rate))
        assert_close(jax.tree.map(lambda leaf: leaf[number], together), alone)  # noqa: B023


def test_weights_are_drawn_to_keep_the_size_of_what_they_carry():
    (weight,) = deep.draw_weights(jax.random.key(0), (40, 60))
    weight = np.asarray(weight)
    assert (weight[:, -1] == 0).all()
    np.testing.assert_allclose(np.std(weight[:, :-1]), (2 / 100) ** 0.5, rtol=0.05)


def test_single_precision_stays_single():
    with jax.enable_x64(False):
        network = varied()
        found = run(network, *samples(network), 0.05)
        assert {leaf.dtype for leaf in jax.tree.leaves(found.layers)} == {
            np.dtype("float32")
        }
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found.layers))


@pytest.mark.parametrize("update", ["standard", "ehgf_swap"])
def test_a_precision_that_turns_negative_is_no_number(update):
    network = made((1, 1, 1), update=update, tonic_volatility=-2.0, metavolatility=2.0)
    found = run(network, np.ones((1, 1)), np.full((1, 1), 20.0))
    assert np.isnan(found.beliefs[0].volatility_precision).all()
    safe = made((1, 1, 1), tonic_volatility=-2.0, metavolatility=2.0)
    found = run(safe, np.ones((1, 1)), np.full((1, 1), 20.0))
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
        run(network, *samples(network), 0.1, "precision_weight")


def test_beliefs_about_weights_and_their_kind_go_together():
    network = made()
    synapses = start_synapses(network, 10.0)
    with pytest.raises(InvalidInputError, match="start_synapses"):
        run(network, *samples(network), 0.1, "synaptic_uncertainty")
    with pytest.raises(InvalidInputError, match="start_synapses"):
        run(network, *samples(network), 0.1, synapses=synapses)
    with pytest.raises(InvalidInputError, match="window"):
        deep_couplings.start_synapses(network, 0.0)
