"""Clusters: against a loop that counts, and the limits where all is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import xarray as xr

from neuromod import hgf
from neuromod.core.errors import InvalidInputError, ShapeError
from neuromod.hgf import clusters
from neuromod.hgf.exponential_family import learn, log_predictive

PRIOR = hgf.NormalLearner(nu=0.05, statistics=[1.0, 31.0])
N_TRIALS = 40


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def mixture(centres=(-6.0, 0.5, 7.0), width=0.6):
    draw = np.random.default_rng(3)
    truth = draw.integers(0, len(centres), N_TRIALS)
    values = np.asarray(centres)[truth] + width * draw.normal(size=N_TRIALS)
    order = {label: i for i, label in enumerate(dict.fromkeys(truth.tolist()))}
    return values, np.array([order[label] for label in truth.tolist()])


assigned = jax.jit(clusters.assign, static_argnums=3)


def slow(values, alpha, n_clusters):
    """Normal-gamma conjugacy in a loop, from sums of all that a cluster was given."""
    nu, (m, second) = float(PRIOR.nu), np.asarray(PRIOR.statistics)
    members, assignment, log_density = [], [], []

    def density(x, given):
        n, given = nu + len(given), np.asarray(given)
        mean = (nu * m + given.sum()) / n
        # Shape and rate of the precision, and its predictive: Murphy 2007, section 3.
        shape = (n + 1) / 2
        squares = (
            nu * (second - m**2)
            + ((given - given.sum() / max(1, len(given))) ** 2).sum()
        )
        if len(given):
            squares += nu * len(given) / n * (given.mean() - m) ** 2
        scale = np.sqrt(squares / 2 * (n + 1) / (shape * n))
        return scipy.stats.t.pdf(x, 2 * shape, mean, scale)

    for x in values:
        terms = [len(given) * density(x, given) for given in members]
        weights = [len(given) for given in members]
        if len(members) < n_clusters:
            terms.append(alpha * density(x, []))
            weights.append(alpha)
        chosen = int(np.argmax(terms))
        if chosen == len(members):
            members.append([])
        members[chosen].append(x)
        assignment.append(chosen)
        log_density.append(np.log(sum(terms) / sum(weights)))
    return assignment, log_density, members


@pytest.mark.parametrize("n_clusters", [2, 6])
def test_a_loop_over_all_members_agrees(n_clusters):
    values, _ = mixture(width=2.0)
    found = assigned(PRIOR, jnp.asarray(values), 0.7, n_clusters)
    assignment, log_density, members = slow(values, 0.7, n_clusters)
    np.testing.assert_array_equal(found.assignment, assignment)
    np.testing.assert_allclose(found.log_density, log_density, rtol=1e-10)
    counts = [len(given) for given in members]
    np.testing.assert_array_equal(found.counts[-1, : len(counts)], counts)
    assert found.counts[-1].sum() == N_TRIALS
    want = np.array([[sum(g), np.sum(np.square(g))] for g in members])
    want += PRIOR.nu * PRIOR.statistics
    want /= (PRIOR.nu + np.array(counts))[:, None]
    np.testing.assert_allclose(found.statistics[-1, : len(counts)], want, rtol=1e-10)


def test_known_clusters_are_found():
    values, truth = mixture()
    found = clusters.cluster(values, PRIOR)
    np.testing.assert_array_equal(found["assignment"], truth)
    last = found.isel(trial=-1)
    for number in range(3):
        own = values[truth == number]
        assert abs(float(last["mean"][number]) - own.mean()) < 0.1
        # The prior's squares, 0.05 * (30 + 6^2), are shared by at least 12.
        assert 0 < float(last["variance"][number]) - own.var() < 3.3 / 12
        assert last["count"][number] == len(own)
    assert np.isnan(last["mean"][3:]).all()
    assert found.attrs["n_in_use"] == 3


def test_without_concentration_there_is_one_learner():
    values, _ = mixture()
    found = assigned(PRIOR, jnp.asarray(values), 1e-300, 6)
    assert (found.assignment == 0).all()
    step, learner = jax.jit(learn), PRIOR
    for trial, x in enumerate(values):
        one = step(learner, jnp.asarray([x]))
        np.testing.assert_allclose(-one.surprise[0], found.log_density[trial])
        learner = hgf.NormalLearner(
            nu=learner.nu + 1, statistics=np.asarray(one.statistics[0])
        )
    np.testing.assert_allclose(found.statistics[-1, 0], learner.statistics)


def test_of_one_cluster_the_order_does_not_matter():
    values, _ = mixture()
    mixed = np.random.default_rng(0).permutation(values)
    forth, back = (assigned(PRIOR, jnp.asarray(v), 1e-300, 6) for v in (values, mixed))
    np.testing.assert_allclose(forth.log_density.sum(), back.log_density.sum())
    assert abs(forth.log_density[1] - back.log_density[1]) > 0.01


def test_more_concentration_gives_more_clusters():
    values, _ = mixture(width=2.0)
    used = [
        int((assigned(PRIOR, jnp.asarray(values), alpha, 6).counts[-1] > 0).sum())
        for alpha in (1e-6, 1.0, 50.0)
    ]
    assert used == sorted(used)
    assert used[0] < used[-1]


def test_the_density_is_one_and_the_probabilities_too():
    values, _ = mixture()
    grid = np.linspace(-2000.0, 2000.0, 400_001)
    found = assigned(PRIOR, jnp.asarray(values), 0.7, 6)
    counts, expected = found.counts[19], found.statistics[19]
    weights = np.append(counts[:3], 0.7) / (20 + 0.7)
    total = 0.0
    for weight, count, xi in zip(weights, counts, expected, strict=False):
        total += weight * jnp.exp(
            jax.vmap(log_predictive, (0, None, None))(grid, xi, PRIOR.nu + count)
        )
    np.testing.assert_allclose(np.trapezoid(total, grid), 1.0, atol=2e-3)
    here = np.interp(values[20], grid, total)
    np.testing.assert_allclose(found.log_density[20], np.log(here), atol=1e-3)
    np.testing.assert_allclose(found.probability.sum(axis=1), 1.0)


def test_gradients_are_those_of_differences():
    values, observed = mixture(width=2.0)[0], np.arange(N_TRIALS) % 9 > 0
    values[~observed] = np.nan

    @jax.jit
    def total(at):
        prior = hgf.NormalLearner(nu=at[1], statistics=at[2:])
        found = clusters.assign(prior, jnp.asarray(values), at[0], 6, observed)
        return found.log_density.sum()

    at = jnp.array([0.7, 0.05, 1.0, 31.0])
    slopes = jax.jit(jax.grad(total))(at)
    for number, slope in enumerate(slopes):
        step = 1e-5 * at * jnp.eye(4)[number]
        want = (total(at + step) - total(at - step)) / (2e-5 * at[number])
        np.testing.assert_allclose(slope, want, rtol=1e-6)


def test_vectors_have_clusters_and_missing_ones_none():
    draw, truth = np.random.default_rng(0), np.arange(30) % 2
    centres = np.array([[4.0, -4.0], [-4.0, 4.0]])
    values = centres[truth] + draw.normal(size=(30, 2)) * [0.3, 0.8]
    gap = values.copy()
    gap[7, 1] = np.nan
    prior = hgf.NormalLearner(2, nu=0.05, statistics=[0.0, 0.0, 20.0, 0.0, 20.0])
    times = np.arange(30) / 2
    data = xr.DataArray(gap, dims=("time", "space"), coords={"time": times})
    found = clusters.cluster(data, prior, concentration=0.5)
    np.testing.assert_array_equal(found["time"], times)
    want = np.where(np.arange(30) == 7, -1, truth)
    np.testing.assert_array_equal(found["assignment"], want)
    assert found["log_density"][7] == 0
    assert (
        found["count"]
        .sel(time=times[7])
        .equals(found["count"][6].assign_coords(time=times[7]))
    )
    seen = (np.arange(30) != 7) & (truth == 0)
    np.testing.assert_allclose(
        found["mean"][-1, 0], values[seen].sum(axis=0) / (seen.sum() + 0.05)
    )
    assert found["covariance"].dims == ("time", "cluster", "dimension", "dimension_to")
    by_mask = clusters.cluster(values, prior, concentration=0.5, observed=want >= 0)
    np.testing.assert_array_equal(by_mask["log_density"], found["log_density"])


def test_what_is_refused():
    with pytest.raises(InvalidInputError, match="learning='hgf-1'"):
        clusters.cluster([1.0], hgf.NormalLearner(learning="hgf-1"))
    with pytest.raises(InvalidInputError, match=r"nu.*above 0"):
        clusters.cluster([1.0], hgf.NormalLearner(nu=0.0))
    with pytest.raises(InvalidInputError, match=r"concentration.*above 0"):
        clusters.cluster([1.0], PRIOR, concentration=0.0)
    with pytest.raises(InvalidInputError, match="n_clusters: got 0"):
        clusters.cluster([1.0], PRIOR, n_clusters=0)
    with pytest.raises(InvalidInputError, match="infinite"):
        clusters.cluster([1.0, np.inf], PRIOR)
    with pytest.raises(ShapeError, match="data: got shape"):
        clusters.cluster(np.ones((3, 2)), PRIOR)
    with pytest.raises(ShapeError, match="observed"):
        clusters.cluster([1.0, 2.0], PRIOR, observed=[True])
