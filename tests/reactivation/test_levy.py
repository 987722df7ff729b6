import numpy as np
import pytest
from scipy import stats

from neuromod.core.errors import InvalidInputError
from neuromod.reactivation import levy


def pareto(exponent, size, seed=0):
    return np.random.default_rng(seed).pareto(exponent - 1, size) + 1


def stable(index, size, seed=0, skewness=0.0):
    generator = np.random.default_rng(seed)
    law = stats.levy_stable(index, skewness)
    return np.asarray(law.rvs(size=size, random_state=generator))


def index_of(displacements):
    found = levy.fit_stable(displacements).sel(parameter="index")
    return float(found["estimate"]), float(found["standard_error"])


@pytest.mark.parametrize("exponent", [1.5, 2.5, 3.5])
def test_the_exponent_is_recovered_within_its_standard_error(exponent):
    scores = []
    for seed in range(30):
        found = levy.fit_power_law(pareto(exponent, 1000, seed), smallest=1.0)
        scores.append((found["exponent"] - exponent) / found["standard_error"])
    assert abs(np.mean(scores)) < 3 / 30**0.5
    assert 0.6 < np.std(scores) < 1.4


def test_the_tail_begins_where_the_power_law_does():
    # Below 2 the density is flat, and joined to the power law without a jump.
    generator = np.random.default_rng(1)
    tail = 2 * pareto(2.5, 6000, seed=1)
    sizes = np.concatenate([tail, generator.uniform(0, 2, 6000)])
    found = levy.fit_power_law(sizes)
    assert 1.6 < found["smallest"] < 3.2
    assert abs(found["exponent"] - 2.5) < 3 * found["standard_error"]
    assert found["n_tail"] == (sizes >= float(found["smallest"])).sum()
    too_low = levy.fit_power_law(sizes, smallest=0.5)
    assert too_low["distance"] > 5 * found["distance"]
    assert abs(too_low["exponent"] - 2.5) > 10 * too_low["standard_error"]


def test_the_distance_is_that_of_kolmogorov_and_smirnov():
    sizes = pareto(2.2, 300)
    found = levy.fit_power_law(sizes, smallest=1.0)
    law = stats.pareto(float(found["exponent"]) - 1)
    assert float(found["distance"]) == pytest.approx(stats.kstest(sizes, law.cdf)[0])


@pytest.mark.parametrize("index", [0.8, 1.0, 1.2, 1.5, 1.8])
def test_the_index_of_a_stable_law_is_recovered_within_its_standard_error(index):
    found = [index_of(stable(index, 2000, seed)) for seed in range(25)]
    scores = [(estimate - index) / error for estimate, error in found]
    assert abs(np.mean(scores)) < 3 / 25**0.5
    assert 0.6 < np.std(scores) < 1.4


def test_gaussian_steps_have_the_index_two():
    steps = 3 + 0.5 * np.random.default_rng(0).normal(size=5000)
    found = levy.fit_stable(steps)["estimate"]
    assert 1.97 < found.sel(parameter="index") <= 2
    assert found.sel(parameter="scale") == pytest.approx(0.5 / 2**0.5, rel=0.05)
    assert found.sel(parameter="location") == pytest.approx(3, abs=0.03)


def test_skewness_scale_and_location_are_recovered_too():
    index, skewness = 1.5, 0.6
    steps = 7 + 2 * stable(index, 20_000, skewness=skewness)
    found = levy.fit_stable(steps)["estimate"].sel(parameter=list(levy.STABLE))
    location = 7 + 2 * skewness * np.tan(np.pi * index / 2)
    np.testing.assert_allclose(found, [index, skewness, 2.0, location], atol=0.1)


def test_units_change_the_scale_and_nothing_else():
    steps = stable(1.3, 1000)
    plain, scaled = levy.fit_stable(steps), levy.fit_stable(100 * steps - 5)
    for parameter, expected in (("index", 1.0), ("scale", 100.0)):
        ratio = scaled.sel(parameter=parameter) / plain.sel(parameter=parameter)
        assert ratio["estimate"] == pytest.approx(expected, rel=1e-9)
        assert ratio["standard_error"] == pytest.approx(expected, rel=1e-9)


def test_the_likelihood_ratio_tells_power_laws_from_lighter_tails():
    generator = np.random.default_rng(2)
    flight = levy.compare_tails(pareto(2.5, 3000)).sel(model="exponential")
    assert flight["normalised_ratio"] > 4
    assert flight["p_value"] < 1e-4
    for law in (generator.exponential, lambda size: generator.lognormal(0, 1, size)):
        found = levy.compare_tails(law(size=3000), smallest=0.3)
        assert found["normalised_ratio"].min() < -3
        assert found["p_value"].min() < 0.01
    light = levy.compare_tails(generator.exponential(size=3000), smallest=0.3)
    assert light["log_likelihood_ratio"].sel(model="exponential") < 0


def test_a_power_law_is_no_worse_than_its_log_normal_cousin():
    p_values = [
        float(
            levy.compare_tails(pareto(2.5, 1000, seed))["p_value"].sel(
                model="lognormal"
            )
        )
        for seed in range(10)
    ]
    assert np.mean(p_values) > 0.2


def test_the_log_densities_that_are_compared_are_normalised():
    sizes = np.sort(np.random.default_rng(3).lognormal(0, 0.7, 5000))
    tail = levy._tail(sizes, 0.5)
    grid = np.geomspace(0.5, 1e3, 20_001)
    for density in (levy._lognormal, levy._exponential):
        found = np.exp(density(tail))
        at = np.interp(grid, tail.sizes, found)
        assert np.trapezoid(at, grid) == pytest.approx(1, rel=0.03)


def test_bad_steps_are_refused():
    with pytest.raises(InvalidInputError, match="sizes: got the negative length"):
        levy.fit_power_law(np.random.default_rng(0).normal(size=100))
    with pytest.raises(InvalidInputError, match="sizes: got 10 of them"):
        levy.fit_power_law(np.ones(10))
    with pytest.raises(InvalidInputError, match="tail of one value"):
        levy.fit_power_law(np.ones(100))
    with pytest.raises(InvalidInputError, match="displacements: got mostly one value"):
        levy.fit_stable(np.zeros(100))
    with pytest.raises(InvalidInputError, match="1 values that are not finite"):
        levy.fit_stable(np.append(np.ones(100), np.nan))
    with pytest.raises(InvalidInputError, match="3 in the tail"):
        levy.compare_tails(np.arange(100.0), smallest=97)
