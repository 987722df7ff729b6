"""Nothing passes that breaks a limit, whatever is asked and however hostile it is."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromod.core.errors import InvalidInputError
from neuromod.stimulation.limits import HOUR, Delivery, Limits, Stimulus

GIVEN = {
    "amplitude": 100.0,
    "charge_per_phase": 15.0,
    "imbalance": 0.5,
    "frequency": 330.0,
    "n_pulses": 20,
    "interval": 0.5,
    "per_hour": 5,
    "per_electrode_per_hour": 3,
    "ramp": 60.0,
}
FINE = {
    "electrodes": ("7",),
    "amplitude": 50.0,
    "pulse_width": 200.0,
    "frequency": 300.0,
    "n_pulses": 10,
}


def limits(**changes):
    return Limits(**GIVEN | changes)


def stimulus(**changes):
    return Stimulus(**FINE | changes)


def sent(*times, **changes):
    return [Delivery(t, stimulus(**changes)) for t in times]


def test_what_is_within_all_limits_may_be_sent():
    assert limits().violations(stimulus(), sent(0.0, 10.0), now=11.0) == []
    assert limits().violations(stimulus(amplitude=-50.0), [], now=0.0) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"amplitude": 60.1}, "amplitude 60.1 uA, at most 60 uA now"),
        ({"amplitude": -60.1}, "amplitude 60.1 uA, at most 60 uA now"),
        ({"amplitude": 101.0, "pulse_width": 100.0}, "at most 100 uA at electrode 7"),
        ({"pulse_width": 301.0}, "charge per phase 15.05 nC, at most 15 nC"),
        ({"second_amplitude": 49.0}, "imbalance 2 nC, at most 0.5 nC"),
        ({"second_pulse_width": 190.0}, "imbalance 5 nC, at most 0.5 nC"),
        (
            {"second_amplitude": 61.0, "pulse_width": 0.0, "second_pulse_width": 0.0},
            "amplitude 61 uA, at most 60 uA now",
        ),
        ({"frequency": 331.0}, "frequency 331 Hz, at most 330 Hz"),
        ({"n_pulses": 21}, "pulses 21, at most 20"),
        ({"amplitude": math.nan}, "amplitude nan"),
        ({"frequency": math.nan}, "frequency nan"),
        ({"pulse_width": -200.0}, "pulse_width -200"),
        ({"electrodes": ()}, "no electrode"),
    ],
)
def test_what_breaks_a_limit_is_told(changes, told):
    found = limits().violations(stimulus(**changes), [], now=0.0)
    assert any(told in words for words in found), found


def test_amplitude_rises_by_steps_at_each_electrode():
    one = limits(per_hour=99, per_electrode_per_hour=99)
    more = stimulus(amplitude=75.0)
    assert one.violations(more, sent(0.0, amplitude=14.0), now=9.0)
    assert not one.violations(more, sent(0.0, amplitude=15.0), now=9.0)
    elsewhere = sent(0.0, amplitude=60.0, electrodes=("8",))
    assert one.violations(more, elsewhere, now=9.0)


def test_an_electrode_that_is_not_named_may_have_nothing():
    named = limits(amplitude={"7": 55.0})
    assert not named.violations(stimulus(), [], now=0.0)
    pair = stimulus(electrodes=("7", "8"))
    assert named.violations(pair, [], now=0.0) == [
        "amplitude 50 uA, at most 0 uA at electrode 8"
    ]


@pytest.mark.parametrize(
    ("before", "now", "wait"),
    [
        (sent(0.0), 0.4, 0.1),
        (sent(0.0), 0.5, 0.0),
        (sent(10.0), 3.0, 7.5),  # a clock that went back does not shorten a wait
        (sent(0.0, 10.0, 20.0), 100.0, HOUR - 100.0),
        (sent(*range(5), electrodes=("8",)), 100.0, HOUR - 100.0),
        (sent(*range(5), electrodes=("8",)), HOUR, 0.0),
    ],
)
def test_how_long_to_wait_is_when_it_may_be_sent(before, now, wait):
    found = limits().wait(stimulus(), before, now=now)
    assert found == pytest.approx(wait, abs=1e-9)
    assert bool(limits().violations(stimulus(), before, now=now)) == (wait > 0)
    assert not limits().violations(stimulus(), before, now=now + found + 1e-9)


@pytest.mark.parametrize("name", GIVEN)
@pytest.mark.parametrize("value", [math.nan, -1.0, None, "many", True])
def test_a_limit_that_is_none_is_refused(name, value):
    with pytest.raises(InvalidInputError, match=name):
        limits(**{name: value})


def test_all_limits_must_be_given():
    for name in GIVEN:
        with pytest.raises(TypeError, match=name):
            Limits(**{k: v for k, v in GIVEN.items() if k != name})


NUMBERS = st.floats(allow_nan=True, allow_infinity=True, width=32)


@settings(max_examples=500, deadline=None)
@given(
    NUMBERS,
    NUMBERS,
    NUMBERS,
    st.one_of(st.none(), NUMBERS),
    st.one_of(st.none(), NUMBERS),
    st.lists(st.sampled_from(["7", "8"]), max_size=2),
)
def test_whatever_passes_is_within_limits(a, w, f, second, second_width, electrodes):
    asked = Stimulus(tuple(electrodes), a, w, f, 3, second, second_width)
    if limits().violations(asked, [], now=0.0):
        return
    phases = [(a, w), (a if second is None else second, w)]
    if second_width is not None:
        phases[1] = phases[1][0], second_width
    charges = [abs(x) * y / 1000 for x, y in phases]
    assert electrodes
    assert all(abs(x) <= 60.0 and y >= 0 for x, y in phases)
    assert all(0 <= q <= 15.0 for q in charges)
    assert 3 * abs(charges[0] - charges[1]) <= 0.5
    assert 0 <= f <= 330.0
