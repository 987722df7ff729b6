"""The section of the demo judges what it should, and not in favour of anything.

That it meets its expectations is tested where the whole demo runs (tests/cli).
"""

import pytest

from neuromod.stimulation import demo
from neuromod.stimulation.replay import Replayed


def judged(*, share=0.95, ours=0.8, theirs=0.6, n_asks=demo.N_TRIALS, other=()):
    replayed = Replayed(2 * n_asks + 1, n_asks, other, {})
    return [n.met for n in demo._numbers(share, ours, theirs, replayed)]


def test_what_is_expected_is_met():
    assert judged() == [True] * 3


@pytest.mark.parametrize(
    ("number", "found"),
    [
        (0, {"share": 0.7}),
        (1, {"theirs": 0.85}),
        (2, {"other": ("rat7-00003",)}),
        (2, {"n_asks": demo.N_TRIALS - 1}),
    ],
)
def test_what_is_not_so_is_not_met(number, found):
    met = judged(**found)
    assert not met[number]
    assert sum(met) == 2
