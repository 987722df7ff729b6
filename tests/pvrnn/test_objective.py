"""Meta-priors under the constants of the published codes, and heads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from neuromod.core.errors import InvalidInputError, ShapeError
from neuromod.pvrnn import Objective, convert, gaussian_head, softmax_head, tanh_head
from neuromod.pvrnn.energy import Data, divergence, encode, evaluate
from neuromod.pvrnn.layers import Normal
from neuromod.pvrnn.objective import CONSTANTS
from tests.pvrnn.networks import POINTS, tower, vectors


@pytest.fixture(autouse=True)
def precise():
    with jax.enable_x64(True):
        yield


def coded():
    return tower(heads=[softmax_head(2, reference=POINTS, width=0.3)])


@pytest.mark.parametrize("constants", CONSTANTS)
def test_conversion_keeps_where_the_gradient_points(constants):
    """Two objectives with one exchange rate differ by a factor."""
    network = coded()
    adaptive, noise = vectors(network)
    rng = np.random.default_rng(0)
    values = jnp.asarray(rng.uniform(-0.9, 0.9, (7, 3, 2)))
    data = encode(network, values)
    given = Objective([0.3, 0.2, 0.1], 0.5, constants="tglean")
    other = convert(given, network, constants)

    def slope(objective):
        def of(adaptive):
            return evaluate(network, objective, adaptive, data, noise)[0].total

        return np.concatenate(
            [np.ravel(x) for x in jax.tree.leaves(jax.grad(of)(adaptive))]
        )

    one, two = slope(given), slope(other)
    factor = np.vdot(one, two) / np.vdot(one, one)
    # Offsets within the divergence differ by a millionth.
    np.testing.assert_allclose(two, factor * one, rtol=0, atol=2e-5 * np.abs(two).max())
    back = convert(other, network, "tglean")
    np.testing.assert_allclose(back.meta_prior, [0.3, 0.2, 0.1])


def test_every_constant_changes_the_energy_as_its_table_says():
    network = tower()
    adaptive, noise = vectors(network)
    data = encode(network, jnp.full((7, 3, 2), 0.4))
    terms = {
        name: evaluate(network, Objective(1.0, constants=name), adaptive, data, noise)[
            0
        ]
        for name in CONSTANTS
    }
    sdd, glean, tglean = (terms[n] for n in ("sdd", "glean", "tglean"))
    np.testing.assert_allclose(glean.divergence, 2 * sdd.divergence, rtol=1e-5)
    np.testing.assert_allclose(tglean.reconstruction, sdd.reconstruction / 2)
    whole = tglean.reconstruction.sum() + tglean.divergence.sum()
    np.testing.assert_allclose(tglean.total, whole / 3)
    everything = CONSTANTS["sdd"]._replace(divergence_divisor="all")
    found = evaluate(
        network, Objective(1.0, constants=everything), adaptive, data, noise
    )[0]
    np.testing.assert_allclose(
        np.asarray(found.divergence) * 4, np.asarray(sdd.divergence) * [2, 1, 1]
    )


def test_meta_priors_weigh_their_layer_their_step_and_their_head():
    network = tower(heads=[tanh_head(1, "a"), tanh_head(1, "b")])
    adaptive, noise = vectors(network)
    data = encode(network, jnp.full((7, 3, 2), 0.4))

    def total(*given, **named):
        objective = Objective(*given, **named)
        return float(evaluate(network, objective, adaptive, data, noise)[0].total)

    terms = evaluate(network, Objective(1.0), adaptive, data, noise)[0]
    rest = total(0.0)
    np.testing.assert_allclose(rest, terms.reconstruction.sum())
    np.testing.assert_allclose(total([0, 0, 1.0]) - rest, terms.divergence[2])
    first = total(0.0, 1.0) - rest
    np.testing.assert_allclose(total(1.0, 0.0) - rest + first, terms.divergence.sum())
    steps = np.eye(7)[0]
    np.testing.assert_allclose(total(1.0, 1.0, steps) - rest, first)
    np.testing.assert_allclose(
        total(0.0, head_weight=[0.0, 2.0]), 2 * terms.reconstruction[1]
    )


def test_divergence_is_that_of_gaussians():
    rng = np.random.default_rng(0)
    posterior = Normal(*jnp.asarray(np.abs(rng.normal(size=(2, 5))) + 0.1))
    prior = Normal(*jnp.asarray(np.abs(rng.normal(size=(2, 5))) + 0.1))
    found = divergence(posterior, prior, CONSTANTS["tglean"])
    x = np.linspace(-30, 30, 200_001)[:, None]
    log_q, log_p = (stats.norm.logpdf(x, *n) for n in (posterior, prior))
    expected = np.trapezoid(np.exp(log_q) * (log_q - log_p), x[:, 0], axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    same = divergence(prior, prior, CONSTANTS["tglean"])
    np.testing.assert_allclose(same, 0, atol=1e-15)


def test_what_is_not_observed_or_not_there_counts_nothing():
    network = tower(heads=[gaussian_head(2)])
    adaptive, noise = vectors(network)
    values = np.full((7, 3, 2), 0.4)
    observed, valid = np.ones(values.shape, bool), np.ones((7, 3), bool)
    observed[2, 1, 0] = valid[5:, 2] = False
    other = values.copy()
    other[2, 1, 0] = other[5:, 2] = 77.0

    def terms(values):
        data = encode(network, *map(jnp.asarray, (values, observed, valid)))
        return evaluate(network, Objective(0.1), adaptive, data, noise)[0]

    np.testing.assert_array_equal(terms(values).total, terms(other).total)
    cut = jax.tree.map(lambda x: x[:5, 2:], (adaptive, noise))
    alone = evaluate(
        network,
        Objective(0.1),
        cut[0],
        encode(network, jnp.full((5, 1, 2), 0.4)),
        cut[1],
    )[0]
    both = jax.tree.map(lambda x: x[:, :2], (adaptive, noise))
    data = encode(network, *map(jnp.asarray, (values[:, :2], observed[:, :2])))
    others = evaluate(network, Objective(0.1), both[0], data, both[1])[0]
    np.testing.assert_allclose(terms(values).total, alone.total + others.total)


def test_a_softmax_code_tells_a_value_and_its_error_is_a_divergence():
    head = coded().heads[0]
    values = jnp.asarray([[0.3, -0.2]])
    code = head.encode(values)
    np.testing.assert_allclose(code.sum(-1), 1)
    raw = np.exp(-((POINTS - 0.3) ** 2) / 0.3)
    np.testing.assert_allclose(code[0, 0], raw / raw.sum())
    np.testing.assert_allclose(head.error(code, code), 0, atol=1e-12)
    flat = jnp.full(code.shape, 0.25)
    expected = np.log(4) + np.sum(code * np.log(code), axis=-1)
    np.testing.assert_allclose(head.error(flat, code), expected, rtol=1e-7)
    fine = softmax_head(1, reference=np.linspace(-3, 3, 200), width=0.01)
    fine = fine(jax.random.key(0), 4, source="layer_0")
    np.testing.assert_allclose(fine.decode(fine.encode(values)), values, atol=1e-6)


def test_a_gaussian_head_gives_densities():
    head = gaussian_head(2)(jax.random.key(0), 5, source="layer_0")
    head = jax.tree.map(lambda x: jnp.asarray(x, float), head)
    outputs = head(jnp.full((3, 5), 0.3))
    x = jnp.full((3, 2), 0.2)
    scale = np.exp(outputs[..., 1] / 2)
    expected = -stats.norm.logpdf(x, outputs[..., 0], scale)
    np.testing.assert_allclose(head.error(outputs, x), expected, rtol=1e-6)


def test_bad_objectives_are_told():
    with pytest.raises(InvalidInputError, match="meta_prior"):
        Objective(-1.0)
    with pytest.raises(InvalidInputError, match="sdd"):
        Objective(1.0, constants="sddd")
    network = tower()
    adaptive, noise = vectors(network)
    with pytest.raises(ShapeError, match="meta_prior"):
        evaluate(
            network,
            Objective([1.0, 2.0]),
            adaptive,
            Data((jnp.zeros((7, 3, 2)),)),
            noise,
        )
