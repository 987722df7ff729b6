import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from neuromod import errors, hgf
from neuromod.hgf import inference
from neuromod.hgf.categories import categorical, dirichlet, divergence, outcomes


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def draw(n_steps, probabilities, seed=0):
    labels = np.random.default_rng(seed).choice(
        len(probabilities), n_steps, p=probabilities
    )
    return jnp.asarray(np.eye(len(probabilities))[labels])


@jax.jit
def filtered(network, table, observed=None):
    series = outcomes(table, observed)
    found = inference.run(network, series)
    return dirichlet(network, series, found), found


def test_parameters_reach_their_nodes():
    above = hgf.ContinuousState("v", mean=0.5, precision=2.0, tonic_volatility=-6.0)
    network = categorical(
        3,
        mean=jnp.array([0.1, 0.2, 0.3]),
        precision=4.0,
        tonic_volatility=np.array([-1.0, -2.0, -3.0]),
        volatility_parent=above,
        coupling=0.7,
        update="unbounded",
        approximation="relaxed",
    )
    assert [float(network[f"log_odds_{i}"].mean) for i in range(3)] == [0.1, 0.2, 0.3]
    assert [float(network[f"log_odds_{i}"].precision) for i in range(3)] == [4.0] * 3
    assert float(network["log_odds_2"].tonic_volatility) == -3.0
    assert network["v"] is above
    strengths = [float(e.strength) for e in network.edges if e.kind == "volatility"]
    assert strengths == [0.7] * 3
    assert (network.update, network.approximation) == ("unbounded", "relaxed")


@pytest.mark.parametrize("n_categories", [2, 5])
def test_categories_are_equally_probable_at_first(n_categories):
    network = categorical(n_categories)
    table = draw(1, np.full(n_categories, 1 / n_categories))
    result, found = filtered(network, table)
    for name in network.inputs:
        assert found.predictions[name].mean[0] == pytest.approx(1 / n_categories)
    single = -np.log(1 / n_categories)
    others = -(n_categories - 1) * np.log(1 - 1 / n_categories)
    assert result.surprise[0] == pytest.approx(single + others)


@pytest.mark.parametrize("n_categories", [1, 0, True])
def test_too_few_categories(n_categories):
    with pytest.raises(errors.InvalidInputError, match="n_categories"):
        categorical(n_categories)


def test_one_value_for_each_category():
    with pytest.raises(errors.InvalidInputError, match=r"tonic_volatility.*of 3"):
        categorical(3, tonic_volatility=np.array([-1.0, -2.0]))


@pytest.mark.parametrize(
    ("before", "after"), [((2.0, 5.0), (3.5, 1.2)), ((1, 1), (9, 4))]
)
def test_divergence_is_the_integral(before, after):
    p, q = stats.beta(*before), stats.beta(*after)
    want, _ = integrate.quad(
        lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), 0, 1, epsabs=1e-12
    )
    got = divergence(jnp.asarray(before, float), jnp.asarray(after, float))
    assert got == pytest.approx(want, rel=1e-8)


def test_divergence_of_three_categories_is_the_integral():
    p, q = stats.dirichlet([2.0, 3.0, 4.0]), stats.dirichlet([4.0, 2.0, 2.5])
    nodes, weights = np.polynomial.legendre.leggauss(40)
    nodes, weights = (nodes + 1) / 2, weights / 2
    # The triangle as a square: x, then y as a share of what x leaves.
    x, share = (part.ravel() for part in np.meshgrid(nodes, nodes))
    points = np.stack([x, (1 - x) * share, (1 - x) * (1 - share)])
    area = np.outer(weights, weights).ravel() * (1 - x)
    want = np.sum(area * p.pdf(points) * np.log(p.pdf(points) / q.pdf(points)))
    got = divergence(jnp.array([2.0, 3.0, 4.0]), jnp.array([4.0, 2.0, 2.5]))
    assert got == pytest.approx(want, rel=1e-5)


def test_divergence_is_finite_where_gamma_is_not():
    at = jnp.array([1e5, 2e6])
    assert divergence(at, at) == 0
    # Concentrated beliefs are normal: the divergence is half a squared distance.
    near = at * (1 + jnp.array([1e-5, -1e-5]))
    assert 0 < divergence(at, near) < 1e-4


def test_the_concentration_tells_by_how_much_the_probability_moved():
    network = categorical(3, tonic_volatility=-3.0)
    table = draw(40, [0.6, 0.3, 0.1])
    result, found = filtered(network, table)
    expected = np.stack([found.predictions[n].mean for n in network.inputs], axis=1)
    count = (result.concentration - 1) / expected
    want = expected + (table - expected) / (1 + count)
    np.testing.assert_allclose(result.probability, want, rtol=1e-10)
    assert (result.concentration >= 1).all()
    assert (result.divergence >= 0).all()


def test_a_stable_world_makes_sure():
    table = draw(400, [0.6, 0.3, 0.1])
    stable, _ = filtered(categorical(3, tonic_volatility=-12.0), table)
    volatile, _ = filtered(categorical(3, tonic_volatility=-1.0), table)
    total = [np.sum(r.concentration[-50:], axis=1).mean() for r in (stable, volatile)]
    assert total[0] > 10 * total[1]
    late = [float(r.divergence[-50:].mean()) for r in (stable, volatile)]
    assert late[0] < late[1]
    np.testing.assert_allclose(stable.probability[-1], [0.6, 0.3, 0.1], atol=0.06)


def test_names_of_categories_do_not_matter():
    network = categorical(3)
    table, order = draw(40, [0.6, 0.3, 0.1]), np.array([2, 0, 1])
    plain, _ = filtered(network, table)
    renamed, _ = filtered(network, table[:, order])
    np.testing.assert_allclose(
        plain.concentration[:, order], renamed.concentration, rtol=1e-9
    )
    np.testing.assert_allclose(plain.divergence, renamed.divergence, rtol=1e-8)


def test_surprise_is_that_of_the_inputs():
    network = categorical(3)
    table = draw(40, [0.6, 0.3, 0.1])
    observed = jnp.arange(40) % 7 != 3
    result, found = filtered(network, table, observed)
    each = inference.surprise(network, outcomes(table, observed), found)
    np.testing.assert_allclose(result.surprise, sum(each[n] for n in network.inputs))


@pytest.mark.parametrize("update", ["ehgf", "standard", "unbounded"])
def test_missing_trials_leave_the_concentration(update):
    network = categorical(3, update=update)
    table = draw(40, [0.6, 0.3, 0.1])
    observed = jnp.ones(40, bool).at[jnp.array([0, 9, 10, 39])].set(False)
    table = jnp.where(observed[:, None], table, jnp.nan)
    result, _ = filtered(network, table, observed)
    assert all(np.isfinite(part).all() for part in result)
    missing = ~np.asarray(observed)
    assert (result.divergence[missing] == 0).all()
    assert (result.surprise[missing] == 0).all()
    np.testing.assert_array_equal(result.concentration[0], np.ones(3))
    np.testing.assert_array_equal(result.concentration[10], result.concentration[8])
    want = divergence(result.concentration[8], result.concentration[11])
    assert result.divergence[11] == pytest.approx(float(want))


def total(tonic_volatility, table, observed):
    network = categorical(3, tonic_volatility=tonic_volatility)
    result, _ = filtered(network, table, observed)
    return result.surprise.sum() + result.divergence.sum()


def test_gradients():
    table = draw(40, [0.6, 0.3, 0.1])
    observed = jnp.arange(40) % 5 != 2
    table = jnp.where(observed[:, None], table, jnp.nan)
    at = jnp.array([-3.0, -2.0, -4.0])
    slope = jax.jit(jax.grad(total))(at, table, observed)
    for i in range(3):
        step = jnp.zeros(3).at[i].set(1e-5)
        ends = [at + step, at - step]
        above, below = (float(total(end, table, observed)) for end in ends)
        assert slope[i] == pytest.approx((above - below) / 2e-5, rel=1e-6)


def test_many_at_once():
    tables = jnp.stack([draw(40, [0.6, 0.3, 0.1], seed) for seed in range(3)])
    tonic = jnp.array([-3.0, -2.0, -4.0])
    alone = [total(tonic[i], tables[i], None) for i in range(3)]
    together = jax.vmap(total, in_axes=(0, 0, None))(tonic, tables, None)
    np.testing.assert_allclose(together, np.array(alone), rtol=1e-12)


def test_single_precision():
    table = draw(40, [0.6, 0.3, 0.1])
    double, _ = filtered(categorical(3), table)
    with jax.enable_x64(False):
        single, _ = filtered(categorical(3), jnp.asarray(np.asarray(table), "float32"))
        assert single.concentration.dtype == jnp.float32
        np.testing.assert_allclose(
            single.concentration, double.concentration, rtol=2e-4
        )
        np.testing.assert_allclose(single.divergence, double.divergence, atol=1e-4)


def test_pyhgf_has_no_number_for_missing_trials():
    network = categorical(3, compatibility="pyhgf")
    table = draw(40, [0.6, 0.3, 0.1])
    observed = jnp.ones(40, bool).at[5].set(False)
    result, _ = filtered(network, table, observed)
    assert np.isinf(result.concentration[5]).all()
    assert np.isfinite(np.delete(result.concentration, 5, axis=0)).all()
    assert np.flatnonzero(np.isnan(result.divergence)).tolist() == [5, 6]
    assert (result.surprise > 0).all()


def test_pyhgf_has_no_number_for_large_concentrations():
    table = draw(400, [0.6, 0.3, 0.1])
    settings = {"tonic_volatility": -14.0, "precision": 20.0}
    literal, _ = filtered(categorical(3, compatibility="pyhgf", **settings), table)
    plain, _ = filtered(categorical(3, **settings), table)
    large = plain.concentration.sum(axis=1) > 172
    assert large.any()
    assert np.isfinite(plain.divergence).all()
    assert not np.isfinite(literal.divergence[large]).any()
    small = np.array(plain.concentration.sum(axis=1) < 170)
    small[1:] &= small[:-1]
    np.testing.assert_allclose(
        literal.divergence[small], plain.divergence[small], rtol=1e-6, atol=1e-9
    )
