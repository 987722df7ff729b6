import jax
import numpy as np
import pytest

from neuromod import errors, kernels, switching
from tests.switching.models import (
    as_recording,
    random_counts,
    slow_log_likelihoods,
    slow_rates,
)


@pytest.fixture(scope="module")
def spikes():
    return as_recording(random_counts(seed=5, n_steps=80)[0])


@pytest.fixture(scope="module")
def fit(spikes):
    return switching.fit(spikes, 2, seed=0, prior="ridge", n_restarts=2, progress=False)


def test_filter_and_predict_do_not_look_ahead(fit, spikes):
    changed = spikes.copy(deep=True)
    changed[dict(time=slice(50, None))] = 3.0
    for verb, unchanged in ((switching.filter, 50), (switching.predict, 51)):
        before, after = verb(fit, spikes).values, verb(fit, changed).values
        np.testing.assert_array_equal(before[:unchanged], after[:unchanged])
        assert not np.array_equal(before[51:], after[51:])
    before, after = (switching.smooth(fit, s).values for s in (spikes, changed))
    assert not np.array_equal(before[:50], after[:50])


def test_filter_smooth_and_decode_by_plain_recursions(fit, spikes):
    evidence = slow_log_likelihoods(fit.model, spikes.values)
    likelihood = np.exp(evidence - evidence.max(1, keepdims=True))
    transition = np.asarray(fit.model.transition_matrix)
    predicted, filtered = fit.model.initial, []
    for row in likelihood:
        filtered.append(predicted * row / (predicted * row).sum())
        predicted = filtered[-1] @ transition
    np.testing.assert_allclose(switching.filter(fit, spikes), filtered, atol=1e-10)
    smoothed = [filtered[-1]]
    for t in range(len(filtered) - 2, -1, -1):
        ahead = filtered[t] @ transition
        smoothed.insert(0, filtered[t] * (transition @ (smoothed[0] / ahead)))
    np.testing.assert_allclose(switching.smooth(fit, spikes), smoothed, atol=1e-10)
    assert switching.decode(fit, spikes).dtype.kind == "i"


def test_predict_averages_rates_over_what_was_known_before(fit, spikes):
    rates = slow_rates(fit.model, spikes.values)
    filtered = switching.filter(fit, spikes).values
    ahead = np.concatenate(
        [fit.model.initial[None], filtered[:-1] @ fit.model.transition_matrix]
    )
    expected = np.einsum("ts,stn->tn", ahead, rates)
    found = switching.predict(fit, spikes)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    assert found.dims == ("time", "neuron")
    assert found.name == "expected_spikes"


def test_streaming_one_bin_at_a_time_gives_the_filter(fit, spikes):
    evidence = slow_log_likelihoods(fit.model, spikes.values)
    filtered = switching.filter(fit, spikes).values
    with jax.enable_x64(True):
        predicted = np.asarray(fit.model.initial)
        for t in range(20):
            step = kernels.hmm_step(predicted, fit.model.transition_matrix, evidence[t])
            np.testing.assert_allclose(step.filtered, filtered[t], atol=1e-12)
            predicted = step.predicted_next


def test_score_is_the_log_marginal_likelihood(fit, spikes):
    found = switching.score(fit, spikes)
    assert float(found["log_likelihood"]) == pytest.approx(
        fit.data.attrs["log_likelihood"], rel=1e-9
    )
    rate = spikes.mean("time").values
    null = (spikes.values * np.log(rate + 1e-8) - rate).sum()
    from scipy.special import gammaln

    null -= gammaln(spikes.values + 1).sum()
    assert float(found["null_per_bin"]) == pytest.approx(null / 80, rel=1e-9)
    bits = (float(found["log_likelihood"]) - null) / spikes.values.sum() / np.log(2)
    assert float(found["bits_per_spike"]) == pytest.approx(bits, rel=1e-6)
    per_bin = bits * spikes.values.sum() / 80
    assert float(found["bits_per_bin"]) == pytest.approx(per_bin, rel=1e-6)


def test_probabilities_sum_to_one_and_keep_time(fit, spikes):
    for verb in (switching.smooth, switching.filter):
        found = verb(fit, spikes)
        np.testing.assert_allclose(found.sum("state"), 1, atol=1e-12)
        np.testing.assert_array_equal(found["time"], spikes["time"])


def test_silence_cannot_be_scored_per_spike(fit, spikes):
    with pytest.raises(errors.InvalidInputError, match="no spike in any bin"):
        switching.score(fit, 0 * spikes)


def test_results_say_what_they_are(fit, spikes):
    for verb, name in (
        (switching.smooth, "probability of the state"),
        (switching.decode, "most probable path of states"),
        (switching.predict, "expected spike count"),
    ):
        assert verb(fit, spikes).attrs["long_name"] == name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.assign_coords(neuron=["n0", "n1", "n9"]), "such as 'n9'"),
        (lambda s: s.assign_coords(time=2 * s.time), "bins of 0.1 s as in the fit"),
        (lambda s: -s, "negative"),
    ],
)
def test_other_recordings_are_refused(fit, spikes, change, message):
    with pytest.raises(errors.InvalidInputError, match=message):
        switching.smooth(fit, change(spikes))


def test_something_that_is_no_fit_is_refused(spikes):
    with pytest.raises(errors.NotFittedError, match=r"neuromod\.load"):
        switching.smooth(None, spikes)
