import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

import neuromod as nm
from neuromod import errors, switching
from neuromod.switching import glm
from neuromod.switching.observations import OBSERVATIONS
from tests.switching.models import as_recording, random_counts, random_model


def few(seed=0, n_steps=80):
    """A small recording; tests share its shape, so that EM compiles once for all."""
    return as_recording(random_counts(seed=seed, n_steps=n_steps)[0])


def quick(spikes, n_states=2, **changes):
    """Fit with a ridge, which compiles sooner than the one-hot prior."""
    settings = {"seed": 0, "n_restarts": 2, "progress": False, "tolerance": 1e-4}
    settings["prior"] = "ridge"
    settings |= changes
    return switching.fit(spikes, n_states, **settings)


@pytest.fixture(scope="module")
def truth():
    """Three states that differ in rates and couplings."""
    model = random_model(seed=3, n_states=3, n_neurons=8, stay=0.98)
    return model, switching.simulate(model, 2500, seed=1, n_sessions=3)


@pytest.fixture(scope="module")
def fitted(truth):
    return quick(truth[1]["recording"]["spikes"], 3, tolerance=1e-6)


def test_known_parameters_are_found_again(truth, fitted):
    model, tree = truth
    decoded = switching.decode(fitted, tree["recording"]["spikes"])
    states = tree["truth"]["state_sequence"].values
    assert switching.state_accuracy(decoded, states) > 0.97
    order = switching.match_states(decoded, states)
    matched = [order[s] for s in range(3)]
    weight_error = fitted.model.weight - model.weight[matched]
    expected = fitted.data["uncertainty"]["weight_standard_error"].values
    assert (weight_error**2).mean() < 1.3 * (expected**2).mean()
    assert (
        np.corrcoef(fitted.model.weight.ravel(), model.weight[matched].ravel())[0, 1]
        > 0.85
    )
    stay = np.diag(fitted.model.transition_matrix)
    # Three standard errors of a probability estimated from a third of the bins.
    np.testing.assert_allclose(stay, 0.98, atol=3 * np.sqrt(0.98 * 0.02 / 2500))


def test_standard_errors_cover_the_truth(truth, fitted):
    model, tree = truth
    decoded = switching.decode(fitted, tree["recording"]["spikes"])
    order = switching.match_states(decoded, tree["truth"]["state_sequence"].values)
    matched = [order[s] for s in range(3)]
    errors_ = fitted.data["uncertainty"]["weight_standard_error"].values
    z = (fitted.model.weight - model.weight[matched]) / errors_
    assert 0.8 < z.std() < 1.4
    assert (np.abs(z) < 2).mean() > 0.85


def test_states_are_sorted_by_occupancy(fitted):
    shares = switching.occupancy(fitted.data["latent"]["state_probability"])
    assert (np.diff(shares) <= 0).all()


def test_the_stored_posterior_is_what_smooth_returns(truth, fitted):
    again = switching.smooth(fitted, truth[1]["recording"]["spikes"])
    stored = fitted.data["latent"]["state_probability"]
    np.testing.assert_array_equal(stored.values, again.values)


def test_the_best_restart_is_kept(fitted):
    history = fitted.data["history"]
    ends = history["objective"].max("iteration")
    spikes = fitted.data.attrs["log_likelihood"]
    best = int(ends.argmax("restart"))
    reached = history["log_likelihood"].isel(restart=best).max()
    assert spikes == pytest.approx(float(reached))
    assert best == history.attrs["restart_kept"]
    assert history.attrs["converged"]
    assert (history["objective"].diff("iteration").min() >= -1e-6).all()


def test_the_same_seed_gives_the_same_bits(truth):
    spikes = truth[1]["recording"]["spikes"]
    first, again, other = (
        quick(spikes, 3, seed=seed, n_restarts=1, tolerance=1e3) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.model.weight, again.model.weight)
    assert not np.array_equal(first.model.weight, other.model.weight)


def test_the_ragged_forms_give_the_same_fit():
    parts = [few(0, 70), few(1, 45)]
    long = xr.concat(
        [
            p.assign_coords(session=("time", [n] * p.sizes["time"]))
            for p, n in zip(parts, "ab", strict=True)
        ],
        dim="time",
    )
    tree = xr.DataTree.from_dict(
        {n: p.to_dataset(name="spikes") for p, n in zip(parts, "ab", strict=True)}
    )
    fits = [quick(form) for form in (parts, long, tree)]
    for other in fits[1:]:
        np.testing.assert_array_equal(fits[0].model.weight, other.model.weight)
    assert list(switching.smooth(fits[2], tree)) == ["a", "b"]
    assert [s.sizes["time"] for s in switching.smooth(fits[0], parts)] == [70, 45]
    smoothed = switching.smooth(fits[1], long)
    assert smoothed["session"].values.tolist() == ["a"] * 70 + ["b"] * 45
    joined = as_recording(long.values)
    as_one, as_two = (switching.score(fits[0], form) for form in (joined, parts))
    assert float(as_one["log_likelihood"]) != float(as_two["log_likelihood"])


def test_missing_bins_carry_no_evidence():
    spikes = few()
    missing = spikes.where(~((spikes.time > 3) & (spikes.time < 4)))
    result = quick(missing)
    assert result.data.attrs["n_missing_bins"] == 10
    loud = spikes.copy()
    loud[dict(time=slice(30, 40))] = 50.0
    within = switching.score(result, missing)["log_likelihood"]
    assert np.isfinite(within)
    assert float(switching.score(result, loud)["log_likelihood"]) < float(within) - 100


def test_one_state_is_the_plain_glm():
    result = quick(few(), 1, tolerance=1e-10)
    assert result.model.n_states == 1
    assert result.config["n_restarts"] == 1
    assert (switching.decode(result, few()) == 0).all()
    more = quick(few(), 2, prior="none")
    less = quick(few(), 1, prior="none")
    gain = more.data.attrs["log_likelihood"] - less.data.attrs["log_likelihood"]
    assert gain > 1


def test_no_basis_is_a_hidden_markov_model():
    result = quick(few(), basis=None)
    assert result.model.weight.shape == (2, 3, 3, 0)
    np.testing.assert_allclose(
        switching.predict(result, few()).isel(time=0),
        np.log1p(np.exp(result.model.bias)).T @ result.model.initial,
        rtol=1e-10,
    )


def test_bernoulli_predicts_probabilities():
    result = quick(few(), observation="bernoulli")
    assert result.config["link"] == "sigmoid"
    expected = switching.predict(result, few())
    assert float(expected.max()) <= 1 + 1e-12
    spiked = few().clip(max=1)
    assert float(expected.mean()) == pytest.approx(float(spiked.mean()), abs=0.05)


def test_the_exponential_link_multiplies():
    result = quick(few(), link="exp", basis=None)
    rates = np.exp(result.model.bias)
    shares = result.data["latent"]["state_probability"].mean("time").values
    np.testing.assert_allclose(shares @ rates, few().mean("time"), rtol=0.1)


def test_ridge_shrinks_weights():
    sizes = [
        np.abs(quick(few(), prior=switching.Ridge(ridge)).model.weight).mean()
        for ridge in (0.0, 1.0, 100.0)
    ]
    assert sizes[0] > sizes[1] > 2 * sizes[2]


def test_a_longer_basis_reaches_further_back():
    spikes = few()
    result = quick(spikes, basis="raised_cosine")
    assert result.model.weight.shape[-1] == 3
    changed = spikes.copy(deep=True)
    changed[dict(time=69)] += 4
    before, after = (switching.predict(result, s) for s in (spikes, changed))
    moved = np.abs(after - before).max("neuron").values
    assert moved[:70].max() == 0
    assert moved[70:].min() > 0


def test_warm_start_goes_on_where_the_first_fit_stopped(truth):
    spikes = truth[1]["recording"]["spikes"]
    with pytest.warns(errors.ConvergenceWarning, match=r"fit\(..., init=result\)"):
        stopped = quick(spikes, 3, max_iterations=2, n_restarts=1, tolerance=1e-6)
    went_on = quick(spikes, 3, init=stopped)
    start = went_on.data["history"]["objective"].values[0, 0]
    end = stopped.data["history"]["objective"].values[0, -1]
    assert start == pytest.approx(end, rel=1e-12)
    assert went_on.data.attrs["log_likelihood"] > stopped.data.attrs["log_likelihood"]
    with pytest.raises(errors.InvalidInputError, match="init: got a fit with 3 states"):
        quick(spikes, 2, init=stopped)
    with pytest.raises(errors.InvalidInputError, match=r"init\.config"):
        quick(spikes, 3, init=stopped, link="exp")
    with pytest.raises(errors.ShapeError, match="differ from the fit's"):
        quick(spikes[:, ::-1], 3, init=stopped)
    with pytest.raises(errors.NotFittedError, match=r"init: got str.*neuromod\.load"):
        quick(spikes, 3, init="fit.nc")


def test_float32_is_close_to_float64(truth):
    spikes = truth[1]["recording"]["spikes"]
    double, single = (
        quick(spikes, 3, precision=p, n_restarts=1) for p in ("float64", "float32")
    )
    assert single.model.weight.dtype == np.float32
    np.testing.assert_allclose(single.model.weight, double.model.weight, atol=0.02)
    assert single.config["precision"] == "float32"
    went_on = quick(spikes, 3, init=single)
    assert went_on.model.weight.dtype == np.float64


def test_each_step_of_em_traces_once(monkeypatch):
    """Another fit of data of the same shape compiles nothing."""
    traced = []
    poisson = OBSERVATIONS["poisson"]

    def counted(*arguments):
        traced.append(arguments)
        return poisson.log_probability(*arguments)

    counting = poisson._replace(log_probability=counted)
    monkeypatch.setitem(OBSERVATIONS, "poisson", counting)
    for step in (glm.evaluate, glm.differentiate):
        step.clear_cache()
    quick(few(), n_restarts=3)
    n_traced = len(traced)
    assert n_traced > 0
    quick(few(seed=1), prior=switching.Ridge(0.5))
    assert len(traced) == n_traced


def test_saved_fits_predict_the_same_bits_elsewhere(tmp_path, truth, fitted):
    spikes = truth[1]["recording"]["spikes"].isel(time=slice(0, 500))
    fitted.save(tmp_path / "fit.nc")
    spikes.drop_vars("session").to_netcdf(tmp_path / "spikes.nc", engine="h5netcdf")
    here = switching.smooth(fitted, spikes.drop_vars("session")).values
    code = (
        "import sys, xarray as xr, neuromod as nm\n"
        "spikes = xr.load_dataarray(sys.argv[2], engine='h5netcdf')\n"
        "out = nm.switching.smooth(nm.load(sys.argv[1]), spikes)\n"
        "sys.stdout.write(out.values.tobytes().hex())\n"
    )
    files = [str(tmp_path / "fit.nc"), str(tmp_path / "spikes.nc")]
    done = subprocess.run(
        [sys.executable, "-c", code, *files], capture_output=True, text=True, check=True
    )
    assert bytes.fromhex(done.stdout) == here.tobytes()
    again = nm.load(tmp_path / "fit.nc")
    assert again.config == fitted.config
    xr.testing.assert_identical(
        again.data["parameters"].to_dataset(), fitted.data["parameters"].to_dataset()
    )


def bad(change):
    return change(few(n_steps=40))


def duplicated(spikes):
    return spikes.assign_coords(neuron=["a", "b", "a"])


def unsorted(spikes):
    return spikes.isel(time=[1, 0, *range(2, 40)])


def two_clocks(spikes):
    time = spikes.time.values.copy()
    time[20:] += 0.05
    return spikes.assign_coords(time=time)


def two_widths(spikes):
    return [spikes, spikes.assign_coords(time=2 * spikes.time)]


def repeated_session(spikes):
    names = ["a"] * 10 + ["b"] * 10 + ["a"] * 20
    return spikes.assign_coords(session=("time", names))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: -s, "negative count.*Pass the raw counts"),
        (lambda s: s + 0.5, "fractional count.*neuromod.io.bin_spikes"),
        (lambda s: s.where(s < 2, np.inf), "infinite count"),
        (lambda s: s * np.nan, "only missing bins"),
        (lambda s: s.isel(time=slice(0, 5)), "longer than the history of 5.*basis"),
        (lambda s: s.isel(time=slice(0, 0)), "0 bins"),
        (lambda s: s.isel(neuron=slice(0, 0)), "0 neurons"),
        (lambda s: s.values, "xarray.DataArray"),
        (lambda s: s.rename(neuron="neurons"), "Did you mean 'neuron'"),
        (lambda s: s.drop_vars("time"), "no time coordinate.*assign_coords"),
        (lambda s: [], "no sequence at all"),
        (duplicated, "'a' twice"),
        (unsorted, "followed by.*sortby"),
        (two_clocks, "Two clocks, or a gap"),
        (two_widths, "one bin width"),
        (repeated_session, "'a' twice"),
    ],
)
def test_bad_spikes_are_refused(change, message):
    with pytest.raises(errors.InvalidInputError, match=message):
        quick(bad(change))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_states": 0}, "n_states: got 0, expected a whole number >= 1"),
        ({"n_states": 2.0}, "n_states: got 2.0"),
        ({"seed": -1}, "seed"),
        ({"prior": switching.Ridge(-1.0)}, "prior.precision: got -1.0"),
        ({"prior": "onehot"}, "Did you mean 'one_hot'"),
        ({"prior": switching.OneHot(types="edges")}, "Did you mean 'edge'"),
        ({"stickiness": -1.0}, "stickiness"),
        ({"link": "softpuls"}, "Did you mean 'softplus'"),
        ({"observation": "bernoulli", "link": "exp"}, "'sigmoid' for bernoulli"),
        ({"precision": "float16"}, "precision"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"n_restarts": 0}, "n_restarts"),
    ],
)
def test_bad_settings_are_refused(arguments, message):
    spikes = few()
    with pytest.raises(errors.InvalidInputError, match=message):
        quick(spikes, **arguments)


@pytest.mark.parametrize("prior", ["none", "one_hot"])
def test_silent_neurons_are_kept_and_named(prior):
    silent = few()
    silent[dict(neuron=1)] = 0
    with pytest.warns(UserWarning, match=r"1 neuron\(s\) never fire \(n1\)"):
        result = quick(silent, prior=prior)
    assert np.isfinite(result.model.bias).all()
    assert np.isfinite(result.model.weight).all()
    expected = switching.predict(result, silent).sel(neuron="n1")
    assert float(expected.max()) < 0.05


def test_what_the_data_do_not_tell_has_an_infinite_error():
    silent = few()
    silent[dict(neuron=1)] = 0
    with pytest.warns(UserWarning, match="never fire"):
        result = quick(silent, prior="none")
    found = result.data["uncertainty"]["weight_standard_error"]
    assert np.isinf(found.sel(source_neuron="n1")).all()
    assert np.isfinite(found.sel(source_neuron="n0", neuron="n0")).all()


def test_sigmoid_refuses_more_than_a_spike_per_bin():
    with pytest.raises(errors.InvalidInputError, match="Take smaller bins"):
        quick(few() + 2, link="sigmoid")


def test_sessions_of_one_bin():
    sessions = [few(), few(1, 1)]
    result = quick(sessions)
    assert [s.sizes["time"] for s in switching.smooth(result, sessions)] == [80, 1]
    alone, both = (switching.score(result, s) for s in (sessions[:1], sessions))
    assert float(both["log_likelihood"]) < float(alone["log_likelihood"])


def test_only_sessions_of_one_bin_need_a_declared_width():
    sessions = few().isel(time=[0, 1]).assign_coords(session=("time", ["a", "b"]))
    with pytest.raises(errors.InvalidInputError, match="attrs\\['bin_size'\\]"):
        quick(sessions, basis=None)
    declared = sessions.assign_attrs(bin_size=0.1)
    result = quick(declared, basis=None)
    assert result.config["bin_size"] == 0.1
