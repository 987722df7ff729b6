"""Calibration: right posteriors pass, wrong ones fail, and chains are told apart."""

import warnings

import numpy as np
import pytest
import xarray as xr
from scipy.signal import lfilter
from scipy.stats import kstwo

from neuromod.core.calibration import calibrate, sbc
from neuromod.core.diagnostics import diagnose, warn_of_trouble
from neuromod.core.errors import (
    ConvergenceWarning,
    InvalidInputError,
    NeuromodError,
    ShapeError,
)

RANDOM = np.random.default_rng(0)
NOISE = RANDOM.standard_normal((4, 1000))


def autoregressive(correlation, n_draws=4000, n_chains=4, seed=1):
    """Return chains (chain, draw) whose neighbours have this correlation."""
    random = np.random.default_rng(seed)
    innovations = random.standard_normal((n_chains, n_draws + 500))
    return lfilter([1], [1, -correlation], innovations, axis=1)[:, 500:]


def of(values):
    return diagnose({"x": values}).isel(parameter=0)


# One run.


def test_independent_draws():
    told = of(NOISE)
    assert told.r_hat < 1.01
    assert 3200 < told.ess_bulk < 4800
    assert 3000 < told.ess_tail < 4800


@pytest.mark.parametrize("correlation", [0.5, 0.9, -0.5])
def test_effective_draws_of_correlated_chains(correlation):
    theory = 16000 * (1 - correlation) / (1 + correlation)
    assert abs(of(autoregressive(correlation)).ess_bulk / theory - 1) < 0.15


def test_chains_in_different_modes():
    apart = NOISE + np.array([[0.0], [0.0], [0.0], [3.0]])
    assert of(apart).r_hat > 1.3
    assert of(apart).ess_bulk < 20


def test_a_drift_within_each_chain():
    assert of(NOISE + np.linspace(0, 2, 1000)).r_hat > 1.1


def test_chains_of_different_width():
    # The bulk agrees: only draws folded around the median tell.
    wide = NOISE * np.array([[1.0], [1.0], [1.0], [4.0]])
    assert of(wide).r_hat > 1.1


def test_heavy_tails_and_any_monotone_scale():
    # Ranks do not depend on the scale, and a Cauchy distribution has no variance.
    cauchy = np.tan(np.pi * (np.random.default_rng(2).random((4, 1000)) - 0.5))
    assert of(cauchy).r_hat < 1.01
    assert float(of(np.exp(NOISE)).ess_bulk) == float(of(NOISE).ess_bulk)


def test_tails_mix_more_slowly_than_the_bulk():
    # The sign is new with every draw, the size moves slowly.
    sizes = np.exp(autoregressive(0.99, 1000))
    told = of(sizes * np.sign(NOISE))
    assert told.ess_tail < told.ess_bulk / 5


def test_names_of_arrays_and_datasets():
    table = np.stack([NOISE, 2 * NOISE], axis=-1)
    assert list(diagnose({"a": NOISE, "b": table}).parameter.values) == [
        "a", "b[0]", "b[1]",
    ]  # fmt: skip
    dataset = xr.Dataset(
        {"b": (("state", "draw", "chain"), table.T), "a": (("chain", "draw"), NOISE)}
    )
    from_dataset = diagnose(dataset)
    assert list(from_dataset.parameter.values) == ["b[0]", "b[1]", "a"]
    np.testing.assert_array_equal(from_dataset.r_hat[0], from_dataset.r_hat[1:])


def test_energy():
    fresh = {"energy": NOISE, "diverging": NOISE > 3}
    slow = {"energy": autoregressive(0.95, 1000), "diverging": NOISE > 9}
    told = diagnose({"x": NOISE}, fresh)
    # Independent energies differ by twice their variance.
    assert np.all(np.abs(told.e_bfmi - 2) < 0.3)
    assert int(told.n_diverging) == (NOISE > 3).sum()
    assert np.all(diagnose({"x": NOISE}, slow).e_bfmi < 0.3)


def test_trouble_is_told_by_name_with_a_remedy():
    stuck = NOISE + np.array([[0.0], [0.0], [0.0], [3.0]])
    stats = {"energy": autoregressive(0.95, 1000), "diverging": NOISE > 3}
    told = diagnose({"good": NOISE, "bad": stuck}, stats)
    with pytest.warns(ConvergenceWarning) as record:
        warn_of_trouble(told)
    (warning,) = record
    assert warning.filename == __file__
    text = str(warning.message)
    for part in ("R-hat 1.", "of bad", "draws", "diverged", "target_accept", "E-BFMI"):
        assert part in text
    assert "good" not in text


def test_constants_are_trouble_and_good_draws_are_not():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_trouble(diagnose({"x": NOISE}))
    with pytest.warns(ConvergenceWarning, match="R-hat nan of still"):
        warn_of_trouble(diagnose({"still": np.ones((4, 100))}))


def test_few_draws_are_trouble():
    with pytest.warns(ConvergenceWarning, match=r"effective number of draws .* of x"):
        warn_of_trouble(diagnose({"x": NOISE[:, :80]}))


def test_draws_need_chains():
    with pytest.raises(ShapeError, match=r"draws: got shape \(1000,\)"):
        diagnose({"x": NOISE[0]})


# The method. The conjugate model: a normal mean, five observations of variance 1.


def draw_parameters(seed):
    return {"mean": np.random.default_rng(seed).standard_normal(2)}


def simulate(parameters, seed):
    noise = np.random.default_rng(seed).standard_normal((5, 2))
    return parameters["mean"] + noise


def posterior(data, seed, width=1.0, bias=0.0, correlation=0.0):
    centre, sd = data.sum(axis=0) / 6, 6**-0.5
    chains = autoregressive(correlation, 150, 4, seed)[:, :, None]
    chains = chains * np.sqrt(1 - correlation**2)
    other = np.random.default_rng(seed + 1).standard_normal((4, 150, 1))
    draws = np.concatenate([chains, other], axis=2)
    return {"mean": centre + bias * sd + width * sd * draws}


def narrow(data, seed):
    return posterior(data, seed, width=0.7)


def biased(data, seed):
    return posterior(data, seed, bias=0.6)


def sticky(data, seed):
    return posterior(data, seed, correlation=0.9)


def prior(data, seed):
    return {"mean": np.random.default_rng(seed).standard_normal((4, 150, 2))}


def log_likelihood(parameters, data):
    return {"log_likelihood": -np.sum((data - parameters["mean"]) ** 2) / 2}


def ranks(sampler=posterior, **settings):
    settings = {"seed": 1, "n_replications": 200, "progress": False, **settings}
    return sbc(draw_parameters, simulate, sampler, **settings)


def test_the_exact_posterior_passes():
    found = ranks()
    assert dict(found.sizes) == {"seed": 200, "parameter": 2}
    told = calibrate(found)
    assert np.all(told.p_chi_square > 0.01)
    assert np.all(told.p_ecdf > 0.01)
    assert np.all(np.abs(told.coverage - told["quantile"]) < 0.1)
    # sd 1 / sqrt(6) after a prior of 1.
    assert np.all(np.abs(told.sharpness - 6**-0.5) < 0.05)
    assert np.all(np.abs(told.contraction - 5 / 6) < 0.05)


def test_a_narrow_posterior_fails():
    told = calibrate(ranks(narrow))
    assert np.all(told.p_ecdf < 0.01)
    assert np.all(told.p_chi_square < 0.01)
    # The 90 % interval reaches 0.7 * 1.645 true sd: 75 %.
    assert np.all(np.abs(told.coverage.sel(quantile=0.9) - 0.75) < 0.08)


def test_a_biased_posterior_fails():
    found = ranks(biased)
    told = calibrate(found)
    assert np.all(told.p_ecdf < 0.001)
    assert np.all(told.p_chi_square < 0.001)
    assert np.all(found["rank"].mean("seed") < 40)


def test_correlated_chains_are_thinned():
    found = ranks(sticky)
    assert np.all(found.n_effective < 99)
    assert np.all(calibrate(found).p_ecdf > 0.01)


def test_a_quantity_of_the_data_tells_a_posterior_that_learnt_nothing():
    told = calibrate(ranks(prior, quantities=log_likelihood))
    of_means = told.sel(parameter=["mean[0]", "mean[1]"])
    assert np.all(of_means.p_ecdf > 0.01)
    assert np.all(np.abs(of_means.contraction) < 0.2)
    assert told.p_ecdf.sel(parameter="log_likelihood") < 0.001
    right = calibrate(ranks(quantities=log_likelihood))
    assert right.p_ecdf.sel(parameter="log_likelihood") > 0.01


def test_ties_are_broken_evenly():
    def coin(seed):
        return {"side": np.random.default_rng(seed).integers(0, 2)}

    def nothing(parameters, seed):
        return None

    def toss(data, seed):
        return {"side": np.random.default_rng(seed).integers(0, 2, (4, 150))}

    found = sbc(coin, nothing, toss, seed=0, n_replications=300, progress=False)
    assert calibrate(found).p_ecdf.item() > 0.01


def test_replications_are_their_own_and_kept(tmp_path):
    few = ranks(n_replications=3)
    xr.testing.assert_identical(few, ranks(n_replications=5).isel(seed=slice(3)))
    assert not few.equals(ranks(n_replications=3, seed=2))
    ranks(posterior, n_replications=3, store=tmp_path)
    n_files = len(list(tmp_path.iterdir()))
    again = ranks(posterior, n_replications=4, store=tmp_path)
    assert len(list(tmp_path.iterdir())) == n_files + 1
    xr.testing.assert_identical(again, ranks(n_replications=4))


def test_a_failed_replication_is_told_and_the_others_are_kept(tmp_path):
    def failing(data, seed):
        if data.sum() > 0:
            raise RuntimeError("no posterior today")
        return posterior(data, seed)

    with pytest.raises(NeuromodError, match="no posterior today"):
        ranks(failing, n_replications=6, store=tmp_path)
    assert 0 < len(list(tmp_path.iterdir())) < 6


def test_draws_must_fit_their_parameters():
    def scalar(data, seed):
        return {"mean": np.zeros((4, 150))}

    with pytest.raises(NeuromodError, match=r"draws of 'mean': got shape \(4, 150\)"):
        ranks(scalar, n_replications=1)
    with pytest.raises(NeuromodError, match="sample_posterior: got none of mean"):
        ranks(lambda data, seed: {}, n_replications=1)


# Precomputed ranks.


def test_p_values_of_uniform_ranks_are_uniform():
    uniform = np.random.default_rng(3).integers(0, 100, (200, 300))
    told = calibrate(uniform, n_ranked=99)
    bound = kstwo.ppf(0.999, 300)
    for name in ("p_ecdf", "p_chi_square"):
        p = np.sort(told[name].values)
        assert np.max(np.abs(p - (np.arange(300) + 0.5) / 300)) < bound + 0.02
    assert np.all(np.abs(told.coverage.mean("parameter") - told["quantile"]) < 0.01)


def test_extreme_ranks_fail():
    ends = np.tile([[0], [9]], (50, 1))
    told = calibrate(ends, n_ranked=9, n_bins=5)
    assert told.attrs["n_bins"] == 5
    assert told.p_ecdf.item() < 0.001
    assert told.p_chi_square.item() < 1e-10
    assert np.all(told.coverage.sel(quantile=[0.5, 0.8]) == 0)
    assert "sharpness" not in told


@pytest.mark.parametrize(
    ("wrong", "n_ranked", "error"),
    [
        (np.array([[0], [100]]), 99, InvalidInputError),
        (np.array([[0], [-1]]), 99, InvalidInputError),
        (np.array([[0.5]]), 99, InvalidInputError),
        (np.array([1, 2]), 99, ShapeError),
        (np.array([[1, 2]]), None, InvalidInputError),
    ],
)
def test_impossible_ranks_are_refused(wrong, n_ranked, error):
    with pytest.raises(error, match="rank"):
        calibrate(wrong, n_ranked=n_ranked)
