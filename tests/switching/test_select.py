"""The number of states that predicts best what was left out."""

import importlib

import jax
import numpy as np
import pytest
import xarray as xr

from neuromod import errors, switching
from neuromod.switching.select import count_parameters, one_standard_error
from tests.switching.models import as_recording, random_model

MODULE = importlib.import_module("neuromod.switching.select")
QUICK = {
    "basis": None,
    "prior": "ridge",
    "n_restarts": 1,
    "tolerance": 1e-4,
    "gap": 0.5,
    "n_folds": 3,
    "seed": 0,
    "progress": False,
}


def two_states(n_steps=600, seed=1) -> xr.DataArray:
    """Counts of four neurons that change their rates every two seconds."""
    generator = np.random.default_rng(seed)
    rates = np.array([[0.2, 0.2, 1.5, 1.5], [1.5, 1.5, 0.2, 0.2]])
    counts = generator.poisson(rates[np.arange(n_steps) // 20 % 2])
    return as_recording(counts.astype(float))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def selection(store):
    # Programs are compiled for these settings, which the tests have too.
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        return switching.select(two_states(), (3, 1, 2), store=store, **QUICK)


def test_the_true_number_is_chosen(selection):
    assert selection.attrs["chosen"] == 2
    assert selection["n_states"].values.tolist() == [1, 2, 3]
    assert selection["fold"].values.tolist() == ["0", "1", "2"]
    gain = selection["log_likelihood_per_bin"].diff("n_states")
    assert (gain.sel(n_states=2) > 0.1).all()
    assert gain.sel(n_states=3).mean() < 0.01
    assert (selection["bits_per_spike"].sel(n_states=2) > 0.1).all()


def test_states_are_found_again_and_a_needless_one_is_rare(selection):
    stability = selection["stability"].to_series()
    assert stability[1] == 1
    assert stability[2] > 0.9
    occupancy = selection["smallest_occupancy"].to_series()
    assert occupancy[1] == 1
    assert occupancy[2] == pytest.approx(0.5, abs=0.1)
    assert occupancy[3] < 0.1


def test_numbers_of_all_data_are_those_of_the_fit(selection):
    how = {k: v for k, v in QUICK.items() if k not in ("gap", "n_folds")}
    fit = switching.fit(two_states(), 2, **how)
    found = selection.sel(n_states=2)
    reached = fit.data.attrs["log_likelihood"]
    assert float(found["fit_log_likelihood"]) == pytest.approx(reached, rel=1e-9)
    # One probability of the first bin, two of jumps, four rates in each state.
    assert int(found["n_parameters"]) == 1 + 2 + 8
    expected = 11 * np.log(600) - 2 * reached
    assert float(found["bic"]) == pytest.approx(expected)
    shares = fit.data["latent"]["state_probability"].mean("time")
    assert float(found["smallest_occupancy"]) == pytest.approx(float(shares.min()))


def test_held_out_numbers_are_those_of_a_fit_without_the_fold(selection):
    spikes = two_states()
    how = {k: v for k, v in QUICK.items() if k not in ("gap", "n_folds")}
    bins = np.arange(600)
    # The middle third, and the half second on either side of it, are not seen.
    train = spikes.where(xr.DataArray((bins < 195) | (bins >= 405), dims="time"))
    test = spikes.where(xr.DataArray((bins >= 200) & (bins < 400), dims="time"))
    scores = switching.score(switching.fit(train, 2, **how), test)
    found = selection.sel(n_states=2, fold="1")
    assert (int(found["n_train"]), int(found["n_test"])) == (390, 200)
    for name in ("log_likelihood_per_bin", "bits_per_spike", "null_per_bin"):
        assert float(found[name]) == pytest.approx(float(scores[name]), rel=1e-9)


def test_finished_fits_are_not_fitted_again(selection, store, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("fitted again")

    monkeypatch.setattr(MODULE, "fit", refuse)
    again = switching.select(two_states(), (3, 1, 2), store=store, **QUICK)
    xr.testing.assert_identical(again, selection)


def test_one_more_number_is_all_that_is_fitted(selection, store, monkeypatch):
    fitted = []

    def caught(*_, n_states, **__):
        fitted.append(n_states)
        raise errors.InvalidInputError("caught")

    monkeypatch.setattr(MODULE, "fit", caught)
    with pytest.raises(errors.InvalidInputError, match="caught"):
        switching.select(two_states(), (1, 2, 3, 4), store=store, **QUICK)
    assert fitted == [4]
    with pytest.raises(errors.InvalidInputError, match="caught"):
        switching.select(two_states(), 1, store=store, **{**QUICK, "seed": 1})
    assert fitted == [4, 1]


@pytest.fixture
def judged(monkeypatch):
    """Catch every fit that a selection asks for; score the fewest states best."""
    calls = []

    def judge(task, *, data, seed, settings):
        calls.append((task, data, settings))
        if task.fold is None:
            names = ("fit_log_likelihood", "n_parameters", "bic", "smallest_occupancy")
            return xr.Dataset({name: 0.0 for name in names})
        score = xr.Dataset({"log_likelihood_per_bin": -float(task.n_states)})
        return score.assign(path=("time", np.zeros(4, int)))

    monkeypatch.setattr(MODULE, "_judge", judge)
    return calls


def sessions(*lengths, n_inputs=0):
    """Sessions of unequal length, each on a clock of its own, with inputs."""
    spikes = [as_recording(np.ones((length, 2))) for length in lengths]
    inputs = [
        xr.DataArray(
            np.full((length, n_inputs), i),
            {"time": part["time"], "input": [f"u{j}" for j in range(n_inputs)]},
            ("time", "input"),
        )
        for i, (length, part) in enumerate(zip(lengths, spikes, strict=True))
    ]
    return spikes, inputs


def test_sessions_are_left_out_whole(judged):
    spikes, _ = sessions(5, 6, 7)
    found = switching.select(spikes, (1, 2), seed=0, progress=False)
    assert found["fold"].values.tolist() == ["0", "1", "2"]
    assert found["n_test"].values.tolist() == [5, 6, 7]
    assert found["n_train"].values.tolist() == [13, 12, 11]
    assert found.attrs["chosen"] == 1


def test_more_sessions_than_folds_are_dealt_out(judged):
    spikes, _ = sessions(5, 6, 7, 8, 9)
    found = switching.select(spikes, 1, seed=0, n_folds=2, progress=False)
    assert found["n_test"].values.tolist() == [5 + 7 + 9, 6 + 8]


def test_trials_of_a_session_stay_together(judged):
    spikes = as_recording(np.ones((12, 2))).assign_coords(
        session=("time", np.repeat(["a", "b"], 6)),
        trial=("time", np.repeat([0, 1, 2, 3], 3)),
    )
    found = switching.select(spikes, 1, seed=0, progress=False)
    assert found["fold"].values.tolist() == ["a", "b"]
    alone = spikes.isel(time=slice(0, 6))
    found = switching.select(alone, 1, seed=0, progress=False)
    assert found["n_test"].values.tolist() == [3, 3]


def test_inputs_are_cut_like_the_spikes(judged):
    spikes, inputs = sessions(5, 6, 7, n_inputs=2)
    switching.select(spikes, 1, seed=0, inputs=inputs, progress=False, basis=None)
    task, data, settings = judged[1]
    assert settings == {"basis": None}
    train = MODULE._only(data, task.fold.train)
    test = MODULE._only(data, task.fold.test)
    for kept, wanted in ((train, [0, 2]), (test, [1])):
        assert [part.sizes["time"] for part in kept["spikes"]] == [
            (5, 6, 7)[i] for i in wanted
        ]
        for part, index in zip(kept["inputs"], wanted, strict=True):
            xr.testing.assert_identical(part, inputs[index])


def test_stretches_hide_spikes_and_keep_inputs(judged):
    (spikes,), (inputs,) = sessions(30, n_inputs=1)
    switching.select(
        spikes, 1, seed=0, inputs=inputs, gap=0.2, n_folds=3, progress=False
    )
    task, data, _ = judged[0]
    train = MODULE._only(data, task.fold.train)
    assert np.isnan(train["spikes"][0].values).all(1).tolist() == (
        [True] * 12 + [False] * 18
    )
    xr.testing.assert_identical(train["inputs"][0], inputs)


def test_a_neuron_that_a_session_lacks_is_left_to_its_own_sessions(judged):
    spikes = as_recording(np.ones((12, 2))).assign_coords(
        session=("time", np.repeat(["a", "b", "c"], 4))
    )
    spikes = spikes.where((spikes["session"] != "b") | (spikes["neuron"] == "n0"))
    switching.select(spikes, 1, seed=0, progress=False)
    _, data, _ = judged[0]
    assert [part["neuron"].values.tolist() for part in data["spikes"]] == [
        ["n0", "n1"],
        ["n0"],
        ["n0", "n1"],
    ]


def test_the_rule_takes_the_smallest_within_one_standard_error():
    noise = np.array([0.0, 1.0, -1.0, 0.0])
    fold = np.array([0.0, 50.0, -20.0, 7.0])  # what all models share does not count
    error = np.std(noise, ddof=1) / 2
    scores = np.array([fold - 1.01 * error + noise, fold - 0.99 * error + noise, fold])
    chosen, difference, standard_error = one_standard_error(scores)
    assert chosen == 1
    np.testing.assert_allclose(difference, [-1.01 * error, -0.99 * error, 0])
    np.testing.assert_allclose(standard_error, [error, error, 0])


def test_parameters_are_counted_by_their_kind():
    plain = random_model(n_states=2, n_neurons=3, n_basis=2)
    assert count_parameters(plain) == 1 + 2 + 2 * 3 * (1 + 3 * 2)
    rich = random_model(
        n_states=2, n_neurons=3, n_inputs=2, n_own=2, n_tilts=1,
        kind=("negative_binomial", "softplus"),
    )  # fmt: skip
    weights = 1 + 2 + 2 + 3 + 1  # bias, inputs, own past, sources, dispersion
    assert count_parameters(rich) == 1 + 2 + 2 + 2 * 3 * weights
    plain.weight[0, 0] = 0
    assert count_parameters(plain) == 1 + 2 + 2 * 3 * (1 + 3 * 2) - 6


@pytest.mark.parametrize(
    ("numbers", "more", "message"),
    [
        ((2, 2), {}, "n_states: got .*2, 2.*, expected different numbers"),
        ((), {}, "expected different numbers of states, at least one"),
        ((0, 1), {}, "n_states: got 0, expected a whole number >= 1"),
        ((1,), {"n_folds": 1}, "n_folds: got 1"),
        ((1,), {"gap": 100.0}, "gap: got 100.*Shorten the gap"),
        ((1,), {"inputs": sessions(9, n_inputs=1)[1]}, "inputs: .*neuromod.io.align"),
        ((1,), {"link": "probit"}, "link: got 'probit'"),
    ],
)
def test_bad_requests(numbers, more, message):
    how = {**QUICK, **more}
    with pytest.raises(errors.InvalidInputError, match=message):
        switching.select(two_states(60), numbers, **how)
