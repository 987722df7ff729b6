"""Divergences of positions: closed forms, chance, circles, and what is refused."""

import itertools

import numpy as np
import pytest
from scipy.stats import norm, vonmises

from neuromod.core.errors import InvalidInputError, ShapeError
from neuromod.reactivation import measures
from neuromod.reactivation.measures import CIRCLE, Uniform
from tests.shared import shared

ARENA = [[-1.1, 1.1], [-0.8, 0.8]]


def cases():
    with np.load(shared("reference/reactivation/metrics.npz")) as stored:
        arrays = dict(stored)
    return {
        case: {k.split("/")[1]: v for k, v in arrays.items() if k.startswith(case)}
        for case in sorted({key.split("/")[0] for key in arrays})
    }


def normal(mean, sd, seed, n_dimensions=1, n_points=4000):
    draws = np.random.default_rng(seed).normal(size=(20, n_points // 20, n_dimensions))
    return mean + sd * draws


def kl_of_normals(mean, sd):
    """KL of N(0, 1) from N(mean, sd^2), per dimension."""
    return np.log(sd) + (1 + mean**2) / (2 * sd**2) - 0.5


def test_kernel_densities_and_their_divergence_are_the_reference_s():
    for case in cases().values():
        both = {k: measures.kernel_density(case[k]) for k in ("quiescent", "awake")}
        for name, density in both.items():
            np.testing.assert_allclose(
                density.log_density(case["kde_points"]),
                case[f"kde_{name}_logpdf"],
                rtol=1e-10,
            )
        factors = [both["awake"].factor, both["quiescent"].factor]
        np.testing.assert_allclose(factors, case["kde_factor"], rtol=1e-12)
        samples = case["kl_samples_from_quiescent_kde"]
        found = measures.monte_carlo_kl(samples, both["quiescent"], both["awake"])
        np.testing.assert_allclose(found, case["kl_reference_mc"], rtol=1e-10)


@pytest.mark.parametrize("n_dimensions", [1, 2])
def test_the_divergence_of_normals_by_kernels_is_near_the_closed_form(n_dimensions):
    p, q = normal(0, 1, 0, n_dimensions), normal(0.5, 1.5, 1, n_dimensions)
    truth = n_dimensions * kl_of_normals(0.5, 1.5)
    assert measures.kl_kde(p, q, seed=0) == pytest.approx(truth, rel=0.1)


def test_the_divergence_of_normals_by_bins_is_near_the_closed_form():
    """Bins as fine as one likes give it; those of samples, what their shares give."""

    def exact(mean, sd, n_bins):
        return np.diff(norm.cdf(np.linspace(-12, 12, n_bins + 1), mean, sd))

    fine = measures.histogram_kl(exact(0, 1, 400), exact(0.5, 1.5, 400), epsilon=1e-12)
    assert fine == pytest.approx(kl_of_normals(0.5, 1.5), rel=1e-3)
    p, q = normal(0, 1, 0, n_points=40_000), normal(0.5, 1.5, 1, n_points=40_000)
    binned = measures.kl_histogram(p, q, [[-12, 12]], n_bins=48)
    expected = measures.histogram_kl(exact(0, 1, 48), exact(0.5, 1.5, 48))
    assert binned == pytest.approx(expected, abs=0.01)
    assert binned == pytest.approx(kl_of_normals(0.5, 1.5), rel=0.1)


def test_a_histogram_s_divergence_is_its_sum():
    p, q = np.array([[0.5, 0.25], [0.25, 0.0]]), np.full((2, 2), 0.25)
    raised = (p + 0.01) / 1.04
    expected = (raised * np.log(raised / 0.25)).sum()
    np.testing.assert_allclose(measures.histogram_kl(p, q, epsilon=0.01), expected)
    assert measures.histogram_kl(p, q, epsilon=1e-9) > expected
    with pytest.raises(ShapeError, match="shares"):
        measures.histogram_kl(p[0], q)


def test_uniform_is_normalised_over_the_whole_arena():
    """The reference divided by one side of it only: log 2.2 too much in its square."""
    uniform = Uniform(ARENA)
    np.testing.assert_allclose(
        uniform.log_density(np.array([[0.0, 0.0], [0.0, 0.9]])),
        [-np.log(2.2 * 1.6), -np.inf],
    )
    # A normal reference: KL = -log area - E log q over the arena.
    sd = 0.6
    awake = normal(0, sd, 2, 2)
    second_moment = (2.2**2 + 1.6**2) / 12
    truth = -np.log(2.2 * 1.6) + np.log(2 * np.pi * sd**2) + second_moment / (2 * sd**2)
    assert measures.kl_kde(uniform, awake, seed=0) == pytest.approx(truth, abs=0.03)


def test_uniform_positions_are_at_no_distance_from_chance():
    uniform = Uniform(ARENA)
    drawn = uniform.draw(5000, np.random.default_rng(0))[None]
    # Of a chi-square with 120 degrees of freedom over 2 n: 0.012 nats.
    assert 0 < measures.kl_histogram(uniform, drawn, ARENA) < 0.018
    # Kernels leak over the walls; a density per side would add log 2.2 = 0.79.
    assert 0 < measures.kl_kde(uniform, drawn, seed=0) < 0.2
    with pytest.raises(InvalidInputError, match="quiescent"):
        measures.kl_histogram(uniform, drawn, [[-2, 2], [-2, 2]])


def test_the_cut_sets_the_number_where_supports_are_disjoint():
    p, q = (normal(mean, 1, 0, n_points=500) for mean in (0, 1000))
    assert measures.kl_kde(p, q, seed=0) == pytest.approx(np.log(1e7))
    cut = measures.kl_kde(p, q, seed=0, largest_ratio=10.0)
    assert cut == pytest.approx(np.log(10))
    assert measures.kl_kde(p, q, seed=0, largest_ratio=np.inf) > 1e5


def test_on_a_circle_nothing_depends_on_where_it_was_cut():
    draw = np.random.default_rng(0).vonmises
    p, q = draw(0.3, 4.0, (5, 200, 1)), draw(0.0, 2.0, (5, 200, 1))
    found = [
        measures.kl_kde(*turned, seed=0, periodic=True, n_samples=5000)
        for turned in ((p, q), (wrapped(p + np.pi), wrapped(q + np.pi)))
    ]
    assert found[0] == pytest.approx(found[1], abs=0.04)
    angle = np.linspace(-np.pi, np.pi, 2000, endpoint=False)
    log_p, log_q = vonmises.logpdf(angle, 4.0, 0.3), vonmises.logpdf(angle, 2.0, 0.0)
    truth = (np.exp(log_p) * (log_p - log_q)).mean() * 2 * np.pi
    assert found[0] == pytest.approx(truth, abs=0.05)


def test_a_density_on_a_circle_or_torus_integrates_to_one():
    angle = np.linspace(-np.pi, np.pi, 60, endpoint=False)
    for n_dimensions in (1, 2):
        points = np.random.default_rng(0).vonmises(3.0, 3.0, (1, 80, n_dimensions))
        density = measures.kernel_density(points, periodic=True)
        places = np.array(list(itertools.product(angle, repeat=n_dimensions)))
        total = np.exp(density.log_density(places)).sum() * (2 * np.pi / 60) ** (
            n_dimensions
        )
        assert total == pytest.approx(1, abs=1e-6)
        drawn = density.draw(4000, np.random.default_rng(1))
        mean = np.angle(np.exp(1j * drawn).mean(axis=0))
        sample = np.angle(np.exp(1j * points[0]).mean(axis=0))
        assert np.abs(wrapped(mean - sample)).max() < 0.1


def test_a_kernel_on_a_circle_is_the_embedded_gaussian_one():
    """Of narrow clouds far from the cut it is the kernel density of the line."""
    points = normal(0.5, 0.1, 0, n_points=500)
    at = np.linspace(0.3, 0.7, 9)[:, None]
    circle = measures.kernel_density(points, periodic=True).log_density(at)
    line = measures.kernel_density(points).log_density(at)
    np.testing.assert_allclose(circle, line, atol=0.02)


def wrapped(angle):
    return (angle + np.pi) % (2 * np.pi) - np.pi


def test_draws_and_subsamples_follow_the_seed():
    p, q = (normal(mean, 1, seed, n_points=1000) for seed, mean in enumerate((0, 0.5)))
    assert measures.kl_kde(p, q, seed=3) == measures.kl_kde(p, q, seed=3)
    assert measures.kl_kde(p, q, seed=3) != measures.kl_kde(p, q, seed=4)
    few = measures.kl_kde(p, q, seed=3, max_points=400)
    assert few != measures.kl_kde(p, q, seed=3)
    assert few == pytest.approx(kl_of_normals(0.5, 1.0), abs=0.1)


def test_positions_outside_the_arena_are_refused_and_a_few_moved_to_the_wall():
    inside = np.random.default_rng(0).uniform(-1, 1, (10, 100, 2))
    few = inside.copy()
    few[0, :20] = 1.05
    shares = measures.histogram(few, [[-1, 1], [-1, 1]])
    assert shares.sum() == pytest.approx(1)
    assert shares[-1, -1] >= 20 / 1000
    with pytest.raises(InvalidInputError, match=r"awake: got .*outside the bounds"):
        measures.kl_histogram(inside, 2 * inside, [[-1, 1], [-1, 1]])
    with pytest.raises(InvalidInputError, match="outside"):
        measures.histogram(np.full((1, 3, 1), 90.0), CIRCLE)  # degrees


@pytest.mark.parametrize("n_bins", [5, 11])
def test_a_histogram_has_as_many_bins_as_asked(n_bins):
    positions = np.random.default_rng(0).uniform(-1, 1, (10, 100, 2))
    found = measures.histogram(positions, [[-1, 1], [-1, 1]], n_bins=n_bins)
    assert found.shape == (n_bins, n_bins)


def test_bad_positions_are_refused():
    good = normal(0, 1, 0, 2)
    missing = good.copy()
    missing[1, 2, 0] = np.nan
    with pytest.raises(InvalidInputError, match=r"quiescent.*not finite"):
        measures.kl_kde(missing, good, seed=0)
    with pytest.raises(InvalidInputError, match=r"awake.*not finite"):
        measures.kl_histogram(good, missing, [[-5, 5], [-5, 5]])
    with pytest.raises(ShapeError, match="trial, time, space"):
        measures.kl_kde(good[0], good, seed=0)
    with pytest.raises(ShapeError, match="coordinates"):
        measures.kl_kde(good[..., :1], good, seed=0)
    with pytest.raises(ShapeError, match="bounds"):
        measures.kl_histogram(good, good, [[-5, 5]])
    with pytest.raises(ShapeError, match="bounds"):
        measures.kl_kde(Uniform([[0, 1]]), good, seed=0)
    with pytest.raises(InvalidInputError, match="lowest below highest"):
        measures.kl_histogram(good, good, [[5, -5], [-5, 5]])
    with pytest.raises(InvalidInputError, match="real numbers"):
        measures.kl_kde(good + 1j, good, seed=0)
    with pytest.raises(InvalidInputError, match="largest_ratio"):
        measures.kl_kde(good, good, seed=0, largest_ratio=0.5)
    with pytest.raises(InvalidInputError, match="epsilon"):
        measures.kl_histogram(good, good, [[-9, 9], [-9, 9]], epsilon=0)


@pytest.mark.parametrize("periodic", [False, True])
def test_a_frozen_network_has_no_kernel_density(periodic):
    frozen = np.full((3, 10, 2), 0.7)
    with pytest.raises(InvalidInputError, match="kl_histogram"):
        measures.kernel_density(frozen, periodic=periodic)
    line = np.linspace(0, 1, 30).reshape(1, 30, 1) * np.ones(2)
    with pytest.raises(InvalidInputError, match="every direction"):
        measures.kernel_density(line)
