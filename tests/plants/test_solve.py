"""The integration converges as its orders say, with gradients that are right."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod.plants import JansenRit, brownian_path, solve
from tests.plants.test_jansen_rit import STANDARD, reference

END = 0.25
MANY = np.zeros((24, 24))  # columns alone


def potential(plant, n_steps, end=END, **options):
    times = jnp.linspace(0.0, end, n_steps + 1)
    return plant.potential(solve(plant, plant.silence(), times, **options))


def ends(noise):
    """Return potentials at the end, of one path in coarse and in fine steps."""
    plant = JansenRit(MANY, input_noise=noise)
    path = brownian_path(jax.random.key(0), END, 24, jnp.float64)
    return [potential(plant, n, path=path)[-1] for n in (128, 1024)]


def test_without_noise_the_order_is_two():
    y = reference(np.array([0.0, END]), np.zeros((1, 1)), STANDARD)[..., -1]
    coarse, fine = (abs(v[0] - (y[1, 0] - y[2, 0])) for v in ends(0.0))
    assert np.log(coarse / fine) / np.log(8) == pytest.approx(2.0, abs=0.2)


def test_with_noise_finer_steps_follow_the_same_path():
    coarse, fine = ends(1.8)
    assert fine.std() > 0.1
    assert float(jnp.sqrt(((coarse - fine) ** 2).mean())) < 0.1 * fine.std()


def test_noise_of_a_quiet_column_has_the_variance_of_its_linear_filter():
    # Without synapses of its own a column is a filter h = A a t exp(-a t) of its
    # input: the variance is sigma^2 times the integral of h^2, A^2 sigma^2 / (4 a).
    plant = JansenRit(MANY, n_synapses=0.0, input_noise=3.0)
    path = brownian_path(jax.random.key(1), 2.0, 24, jnp.float64)
    late = potential(plant, 1024, 2.0, path=path)[50:]
    assert float(late.var()) == pytest.approx(3.25**2 * 9 / 400, rel=0.08)
    assert float(late.mean()) == pytest.approx(3.25 / 100 * 220, rel=0.01)
    alike = np.corrcoef(late.T) - np.eye(24)
    assert abs(alike).max() < 0.5


def test_a_current_acts_as_so_much_more_input_and_is_traced_once():
    traced = []

    class Counted(JansenRit):
        def drift(self, state, current):
            traced.append(1)
            return super().drift(state, current)

    found = []
    for size, rate in ((10.0, 220.0), (0.0, 260.0)):
        values = jnp.full((2, 1), size)
        current = diffrax.LinearInterpolation(jnp.asarray([0.0, END]), values)
        plant = Counted(stimulation_gain=4.0, input_rate=rate)
        found.append(potential(plant, 128, stimulation=current))
        found.append(len(traced))
    driven, n_traced, expected, n_traced_again = found
    np.testing.assert_allclose(driven, expected, rtol=1e-10)
    assert n_traced == n_traced_again


def test_gradients_are_those_of_finite_differences_side_by_side():
    times = jnp.linspace(0.0, END, 17)
    steps = jax.random.normal(jax.random.key(2), (17, 2))
    path = diffrax.LinearInterpolation(times, 0.1 * jnp.cumsum(steps, axis=0))

    def loss(parameters):
        connection, rate, gain = parameters
        plant = JansenRit(
            jnp.asarray([[0.0, 1.0], [0.0, 0.0]]) * connection,
            input_rate=rate,
            excitatory_gain=gain,
            input_noise=5.0,
        )
        return (potential(plant, 128, path=path) ** 2).mean()

    at = jnp.asarray([[10.0, 200.0, 3.25], [20.0, 150.0, 3.0]])
    shift = 1e-5 * at[:, None] * jnp.eye(3)[None]
    ends = at[:, None] + jnp.concatenate([0 * shift[:, :1], shift, -shift], axis=1)
    run = eqx.filter_jit(jax.vmap(jax.value_and_grad(loss)))
    losses, gradients = (
        x.reshape(2, 7, *x.shape[1:]) for x in run(ends.reshape(14, 3))
    )
    expected = (losses[:, 1:4] - losses[:, 4:]) / (2e-5 * at)
    np.testing.assert_allclose(gradients[:, 0], expected, rtol=1e-5)
