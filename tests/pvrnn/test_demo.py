"""The section of the demo judges what it should, and not in favour of anything.

That it meets its expectations is tested where the whole demo runs (tests/cli).
"""

import jax
import numpy as np
import pytest
import xarray as xr

from neuromod import pvrnn
from neuromod.pvrnn import demo

GOOD = {demo.HIGH: 0.3, demo.BEST: 0.99, demo.LOW: 0.4}


class Trained:
    """What the section reads of a training: the divergence of its last steps (nats)."""

    def __init__(self, divergence):
        steps = {"divergence": ("step", np.full(200, divergence * 240.0))}
        self.data = xr.DataTree.from_dict({"history": xr.Dataset(steps)})


def judged(*, legal=GOOD, nats=0.0, chance=0.3, ours=0.1, others=0.2):
    names = ("last_value", "channel_mean")
    error = xr.Dataset({"error_regression": ours} | dict.fromkeys(names, others))
    numbers = demo._numbers({demo.HIGH: Trained(nats)}, legal, chance, error)
    return [number.met for number in numbers]


def test_what_is_expected_is_met():
    assert judged() == [True] * 5


@pytest.mark.parametrize(
    ("number", "found"),
    [
        (0, {"legal": GOOD | {demo.BEST: 0.96}}),
        (1, {"legal": GOOD | {demo.LOW: 0.9}}),
        (2, {"nats": 0.1}),
        (3, {"chance": 0.05}),
        (3, {"chance": 0.6}),
        (4, {"ours": 0.3}),
    ],
)
def test_what_is_not_so_is_not_met(number, found):
    met = judged(**found)
    assert not met[number]
    assert sum(met) == 4


def test_a_network_without_training_makes_up_nothing_legal():
    """The measure that is judged is not met by what any network does."""
    network = demo.build(jax.random.key(0))
    made = pvrnn.generate(network, 120, seed=0, n_trials=20)["channel_value"]
    machine = pvrnn.branching_cycle()
    legal = pvrnn.measures.legal_fraction(made, machine, burn_in=10)
    assert legal < 0.8
