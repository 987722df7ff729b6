"""Whatever is asked of a session with whatever limits, nothing unsafe is sent.

Ten thousand asks of the same: ``tests/benchmarks/stimulation_kills.py``.
"""

from collections import Counter

import pytest
from hypothesis import given, settings

from neuromod.stimulation import steady
from neuromod.stimulation.limits import HOUR
from tests.stimulation.hostile import CASES, WRONG, Sent, fast_folder, run, unsafe

TOTAL = Counter()


@pytest.fixture(scope="module", autouse=True)
def no_collections():
    """Keep sessions from collecting all garbage whenever one opens."""
    steady.begin()
    yield
    steady.end()


@settings(max_examples=20)
@given(CASES)
def test_hostile_settings_send_nothing_unsafe(case):
    with fast_folder() as folder:
        found = run(case, folder / "rat7.db", n_asks=25)
    assert not any(found[name] for name in WRONG), found
    TOTAL.update(found)


def test_hostile_settings_did_send_and_did_refuse():
    assert TOTAL["sent"] > 100
    assert TOTAL["refused"] > 100


FINE = Sent(0.0, ["7"], [50.0, 50.0], [200.0, 200.0], 300.0, 10)
MOST = {
    "amplitude": {"7": 100.0},
    "charge_per_phase": 12.0,
    "imbalance": 0.5,
    "frequency": 330.0,
    "n_pulses": 20,
    "interval": 1.0,
    "per_hour": 3,
    "per_electrode_per_hour": 2,
    "ramp": 50.0,
}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, []),
        ({"amplitudes": [50.0, 51.0]}, ["ramp", "imbalance"]),
        ({"amplitudes": [101.0, 101.0], "widths": [0.0, 0.0]}, ["amplitude", "ramp"]),
        ({"widths": [241.0, 241.0]}, ["charge per phase"]),
        ({"frequency": 331.0}, ["frequency"]),
        ({"n_pulses": 21}, ["n_pulses"]),
        ({"electrodes": ["8"]}, ["amplitude"]),
        ({"widths": [-1.0, -1.0]}, ["less than nothing"]),
    ],
)
def test_the_judge_itself_sees_what_is_unsafe(changes, found):
    assert sorted(set(unsafe(FINE._replace(**changes), [], MOST))) == sorted(found)


@pytest.mark.parametrize(
    ("times", "label", "found"),
    [
        ([0.0], "7", ["interval"]),
        ([-2.0, -3.0], "7", ["per electrode per hour"]),
        ([-2.0, -3.0, -4.0], "8", ["per hour"]),
        ([-HOUR - 1.0] * 5, "7", []),
    ],
)
def test_the_judge_itself_counts(times, label, found):
    before = [FINE._replace(at=at, electrodes=[label]) for at in times]
    assert sorted(set(unsafe(FINE, before, MOST))) == found
