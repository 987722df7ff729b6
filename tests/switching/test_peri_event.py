"""What states do around events, against plain loops."""

import numpy as np
import pytest
import xarray as xr

from neuromod import errors
from neuromod.switching import peri_event

BIN = 0.25


def random_probability(n_steps, start=0.0, seed=0, n_states=3) -> xr.DataArray:
    generator = np.random.default_rng(seed)
    return xr.DataArray(
        generator.dirichlet(np.ones(n_states), n_steps),
        {"time": start + BIN * (0.5 + np.arange(n_steps)), "state": range(n_states)},
        ("time", "state"),
        name="state_probability",
    )


def slow(sessions, events, first, last):
    """Average by plain loops; count the events that are left out."""
    kept, left_out = [], 0
    for probability, times in zip(sessions, events, strict=True):
        start = probability["time"].values[0] - BIN / 2
        n_bins = probability.sizes["time"]
        for time in times:
            bin_ = int((time - start) // BIN)
            if time < start or bin_ + first < 0 or bin_ + last >= n_bins:
                left_out += 1
                continue
            kept.append([probability.values[bin_ + k] for k in range(first, last + 1)])
    kept = np.array(kept)
    error = kept.std(0, ddof=1) / np.sqrt(len(kept))
    return kept.mean(0), error, len(kept), left_out


def same(found, expected):
    mean, error, n_events, n_left_out = expected
    np.testing.assert_allclose(found["state_probability"], mean)
    np.testing.assert_allclose(found["standard_error"], error)
    assert (int(found["n_events"]), int(found["n_left_out"])) == (n_events, n_left_out)


def test_one_session():
    probability = random_probability(80, start=3.0)
    # The first and the last three have no whole window; two share a bin.
    events = [3.1, 4.2, 9.01, 9.1, 12.6, 17.3, 21.6, 22.9, 23.1]
    found = peri_event(probability, events, window=(-1.0, 1.5))
    same(found, slow([probability], [events], -4, 6))
    assert int(found["n_left_out"]) == 4
    np.testing.assert_allclose(found["time"], BIN * np.arange(-4, 7))
    np.testing.assert_allclose(found["state_probability"].sum("state"), 1)


def test_events_on_the_border_belong_to_the_later_bin():
    probability = random_probability(20)
    events = 0.25 * np.array([4, 7])  # borders of bins
    found = peri_event(probability, events, window=(0, 0.1))
    expected = probability.values[[4, 7]].mean(0)
    np.testing.assert_allclose(found["state_probability"][0], expected)


def test_a_window_need_not_hold_the_event():
    probability = random_probability(20)
    events = [0.1, 1.1, 4.9]
    found = peri_event(probability, events, window=(0.5, 1.0))
    same(found, slow([probability], [events], 2, 4))
    early = peri_event(probability, [1.1, 2.0, 5.1], window=(-1.0, -0.5))
    # The last event is past the end, although its window would end before.
    assert int(early["n_left_out"]) == 1


@pytest.mark.parametrize("form", ["list", "mapping", "tree"])
def test_sessions_with_clocks_of_their_own(form):
    sessions = [random_probability(40), random_probability(60, start=2.0, seed=1)]
    events = [[1.1, 4.4, 9.9], [3.3, 4.0, 16.9]]
    given, times = sessions, events
    if form != "list":
        given = xr.DataTree.from_dict(
            {k: v.to_dataset() for k, v in zip("ab", sessions, strict=True)}
        )
        times = dict(zip("ab", events, strict=True))
    if form == "mapping":
        long = [p.assign_coords(session=("time", [k] * p.sizes["time"]))
                for k, p in zip("ab", sessions, strict=True)]  # fmt: skip
        given = xr.concat(long, "time")
    found = peri_event(given, times, window=(-0.5, 0.5))
    same(found, slow(sessions, events, -2, 2))


def test_sessions_on_one_clock():
    sessions = [random_probability(40), random_probability(40, start=20.0, seed=1)]
    # Between the sessions, and within half a window of a border, there is none.
    events = [1.0, 5.0, 9.8, 15.0, 20.1, 22.0, 26.0]
    found = peri_event(sessions, events, window=(-0.5, 0.5))
    same(found, slow(sessions, [[1.0, 5.0, 9.8, 15.0], [20.1, 22.0, 26.0]], -2, 2))
    assert int(found["n_left_out"]) == 3


@pytest.mark.parametrize(
    ("events", "window", "message"),
    [
        ([0.1, 9.9], (-1.0, 1.0), "2 event.* of which 0 .*from -1 to 1 s.*Shorten"),
        ([5.0], (-1.0, 1.0), "expected at least 2, to average"),
        ([], (-1.0, 1.0), "0 event"),
        ([5.0, 6.0], (1.0, 1.0), "window: got .*start < stop"),
        ([5.0, 6.0], (0.1, 0.2), "window: .*at least one bin of 0.25 s"),
        ([5.0, np.nan], (-1.0, 1.0), "events: got 1 values that are not finite"),
        (["5.0"], (-1.0, 1.0), "events: got an array .*expected times in s"),
        ({"x": [5.0]}, (-1.0, 1.0), "the session 'x', expected some of: 0"),
        ([[5.0], [6.0]], (-1.0, 1.0), "2 lists of times, expected one for each"),
    ],
)
def test_bad_requests(events, window, message):
    with pytest.raises(errors.InvalidInputError, match=message):
        peri_event(random_probability(40), events, window=window)


def test_clocks_that_overlap_need_events_for_each():
    with pytest.raises(errors.InvalidInputError, match="Pass a mapping of labels"):
        peri_event([random_probability(40)] * 2, [5.0, 6.0])
