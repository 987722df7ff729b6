"""Networks beside plain loops: what a step is, what every option does to it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod.core.errors import InvalidInputError
from neuromod.reactivation import inference, noise
from neuromod.reactivation.inference import Conditions, Noise, begin
from neuromod.reactivation.network import GRUNetwork, VanillaNetwork

N_STEPS, N_TRIALS, N_INPUTS, N_UNITS, N_CELLS = 7, 3, 2, 6, 5
KINDS = [VanillaNetwork, GRUNetwork]


def network_of(kind, **fields):
    fields = {
        "bias": True,
        "time_step": 0.02,
        "membrane_time_constant": 0.1,
        "input_noise": 0.3,
        "recurrent_noise": 0.2,
        "output_noise": 0.1,
        **fields,
    }
    return kind.random(jax.random.key(0), N_INPUTS, N_UNITS, N_CELLS, **fields)


def arrays(seed=0):
    random = np.random.default_rng(seed)
    shapes = (
        (N_STEPS, N_TRIALS, N_INPUTS),
        (N_TRIALS, N_CELLS),
        (N_STEPS, N_TRIALS, N_INPUTS),
        (N_STEPS, N_TRIALS, N_UNITS),
        (N_STEPS, N_TRIALS, N_CELLS),
    )
    return [random.normal(size=s).astype(np.float32) for s in shapes]


def numpy_drive(network, h, x, within):
    def apply(layer, v):
        return v @ np.asarray(layer.weight).T + np.asarray(layer.bias)

    def sigmoid(v):
        return 1 / (1 + np.exp(-v))

    if isinstance(network, VanillaNetwork):
        u = apply(network.recurrent_layer, h) + apply(network.input_layer, x)
        return np.maximum(u + within, 0) - h
    z = sigmoid(apply(network.update_input, x) + apply(network.update_recurrent, h))
    r = sigmoid(apply(network.reset_input, x) + apply(network.reset_recurrent, h))
    u = apply(network.candidate_recurrent, r * h) + apply(network.candidate_input, x)
    return (1 - z) * (np.tanh(u + within) - h)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inside", [False, True])
def test_a_run_is_the_loop_of_its_equations(kind, inside):
    network = network_of(kind, noise_inside=inside)
    x, code, of_input, of_state, of_output = arrays()
    noise = Noise(*map(jnp.asarray, (of_input, of_state, of_output)))
    carry = begin(network.encode(jnp.asarray(code)))
    found = inference.run(network, jnp.asarray(x), carry, noise=noise)
    h = code @ np.asarray(network.encoder.weight).T + np.asarray(network.encoder.bias)
    for t in range(N_STEPS):
        push = 0.2 * of_state[t]
        drive = numpy_drive(network, h, x[t] + 0.3 * of_input[t], push if inside else 0)
        h = h + 0.2 * drive + (0 if inside else push)
        np.testing.assert_allclose(found.states[t], h, rtol=2e-5, atol=2e-5)
        out = network.read_out(jnp.asarray(h, jnp.float32)) + 0.1 * of_output[t]
        np.testing.assert_allclose(found.outputs[t], out, rtol=2e-5, atol=2e-5)


def test_sleep_has_momentum_adaptation_and_more_noise():
    network = network_of(VanillaNetwork, input_noise=0.0)
    _, code, _, of_state, _ = arrays()
    conditions = Conditions(1.7, 0.3, 4.0, 0.6, 0.05)
    h = np.asarray(network.encode(jnp.asarray(code)))
    found = inference.run(
        network,
        None,
        begin(jnp.asarray(h), conditions),
        noise=Noise(recurrent=jnp.asarray(of_state)),
        n_steps=N_STEPS,
        conditions=conditions,
    )
    v, a = np.zeros_like(h), np.zeros_like(h)
    for t in range(N_STEPS):
        push = 1.7 * (0.2 + 0.05 * abs(h)) * of_state[t]
        step = (
            0.4 * v
            + 0.2 * numpy_drive(network, h, np.zeros((N_TRIALS, N_INPUTS)), -a)
            + push
        )
        h, v, a = h + step, step, a + (0.3 * h - a) / 4
        np.testing.assert_allclose(found.states[t], h, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_records_are_those_of_a_run_of_every_step(kind):
    network = network_of(kind)
    carry = begin(network.encode(jnp.asarray(arrays()[1])))
    key = jax.random.key(3)
    whole = inference.run(network, None, carry, noise=key, n_steps=12)
    end, kept = inference.record(
        network, carry, lambda h: 2 * h, noise=key, n_records=4, every=3
    )
    np.testing.assert_allclose(kept, 2 * whole.states[2::3], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(end.state, whole.carry.state, rtol=1e-5, atol=1e-6)


def test_noise_has_the_law_and_the_scale_that_were_asked_for():
    still = jnp.zeros((400, N_UNITS))
    moments = {}
    for law in ("gaussian", "uniform01"):
        network = network_of(
            VanillaNetwork,
            bias=False,
            membrane_time_constant=0.02,
            activation="identity",
            noise_law=law,
        )
        run = inference.run(
            network, None, begin(still), noise=jax.random.key(1), n_steps=1
        )
        moments[law] = float(run.states.mean()), float(run.states.std())
    assert moments["gaussian"][0] == pytest.approx(0, abs=0.03)
    # The input's noise adds to the recurrent one; its share is of 2 inputs in 6 units.
    assert moments["uniform01"][0] > 0.05
    assert moments["gaussian"][1] > 2 * moments["uniform01"][1]


def test_no_noise_is_drawn_where_there_is_none():
    network = network_of(
        VanillaNetwork, input_noise=0.0, recurrent_noise=0.0, output_noise=0.0
    )
    carry = begin(network.encode(jnp.asarray(arrays()[1])))
    drawn = inference.run(network, None, carry, noise=jax.random.key(0), n_steps=5)
    none = inference.run(network, None, carry, n_steps=5)
    np.testing.assert_array_equal(drawn.states, none.states)
    np.testing.assert_array_equal(drawn.outputs, none.outputs)


def test_gradients_are_those_of_differences():
    with jax.enable_x64(True):
        network = jax.tree.map(
            lambda a: jnp.asarray(a, jnp.float64), network_of(GRUNetwork)
        )
        x, code, *noise = (jnp.asarray(a, jnp.float64) for a in arrays())

        def loss(weight):
            layer = type(network.candidate_recurrent)(weight)
            moved = type(network)(**{**vars(network), "candidate_recurrent": layer})
            run = inference.run(
                moved, x, begin(moved.encode(code)), noise=Noise(*noise)
            )
            return jnp.sum(run.outputs**2)

        at = network.candidate_recurrent.weight
        slope = jax.grad(loss)(at)
        for i, j in ((0, 0), (2, 4), (5, 1)):
            e = jnp.zeros_like(at).at[i, j].set(1e-5)
            expected = (loss(at + e) - loss(at - e)) / 2e-5
            assert float(slope[i, j]) == pytest.approx(float(expected), rel=1e-6)


def test_signs_and_connections_shape_what_a_unit_sends():
    signs = jnp.array([1.0, 1, 1, 1, -1, -1])
    connections = jnp.ones((N_UNITS, N_UNITS)).at[0, 3].set(0)
    network = network_of(VanillaNetwork, signs=signs, connections=connections)
    weight = np.asarray(network.recurrent_weight)
    assert (weight[:, :4] >= 0).all()
    assert (weight[:, 4:] <= 0).all()
    assert weight[0, 3] == 0
    free = network_of(VanillaNetwork)
    np.testing.assert_allclose(
        abs(weight)[1:], abs(np.asarray(free.recurrent_weight))[1:]
    )
    slope = jax.grad(lambda n: jnp.sum(n.drive(jnp.ones(N_UNITS), None)))(network)
    assert slope.recurrent_layer.weight[0, 3] == 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"recurrent_noise": -0.1}, "recurrent_noise"),
        ({"input_noise": float("nan")}, "input_noise"),
        ({"time_step": 0.2}, "at most the time constant"),
        ({"membrane_time_constant": 0.0}, "membrane_time_constant"),
        ({"activation": "rely"}, "relu"),
        ({"noise_law": "normal"}, "gaussian"),
    ],
)
def test_bad_networks_are_refused(fields, words):
    with pytest.raises(InvalidInputError, match=words):
        network_of(VanillaNetwork, **fields)


EPSILON, WIDE = 0.01, np.array([1.0, 0.1, 0.02, 0.01])


def oracle(temperature):
    """A network whose step is that of the score of variances c, asleep."""
    network = VanillaNetwork.random(
        jax.random.key(0),
        1,
        4,
        1,
        activation="identity",
        time_step=1.0,
        membrane_time_constant=1.0,
        recurrent_noise=EPSILON**0.5,
    )
    layer = type(network.recurrent_layer)(jnp.diag(jnp.asarray(1 - EPSILON / WIDE)))
    network = VanillaNetwork(**{**vars(network), "recurrent_layer": layer})
    return network, Conditions(noise_factor=temperature**0.5)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_an_oracle_of_the_score_has_the_variance_of_the_closed_form(temperature):
    """Of a linear network the variance is the sum of squares after one push."""
    with jax.enable_x64(True):
        network, conditions = oracle(temperature)
        n_steps = 4000
        push = jnp.zeros((n_steps, 4)).at[0].set(1.0)
        after = inference.run(
            network,
            None,
            begin(jnp.zeros(4), conditions),
            noise=Noise(recurrent=push),
            n_steps=n_steps,
            conditions=conditions,
        ).states
        found = (after**2).sum(axis=0)
    expected = [noise.langevin_variance(EPSILON, c, temperature) for c in WIDE]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    if temperature == 2:
        assert [f"{v:.3g}" for v in found] == ["1.01", "0.105", "0.0267", "0.02"]


def test_an_oracle_of_the_score_samples_with_its_own_noise_as_well():
    network, conditions = oracle(2.0)
    variance = np.array([noise.langevin_variance(EPSILON, c, 2.0) for c in WIDE])
    # Half of the deviation: the first ones have to forget where they began.
    start = 0.5 * np.random.default_rng(0).normal(size=(100_000, 4)) * variance**0.5
    _, found = jax.jit(
        lambda carry: inference.record(
            network,
            carry,
            lambda h: jnp.mean(h**2, axis=0),
            noise=jax.random.key(1),
            n_records=5,
            every=80,
            conditions=conditions,
        )
    )(begin(jnp.asarray(start, jnp.float32)))
    np.testing.assert_allclose(found[-1], variance, rtol=0.02)
    np.testing.assert_allclose(np.asarray(found)[-1, 1:], variance[1:], rtol=0.015)
