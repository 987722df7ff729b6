"""The section of the demo judges what it should, and not in favour of anything.

That it meets its expectations is tested where the whole demo runs (tests/cli).
"""

import numpy as np
import pytest
import xarray as xr

from neuromod import datasets, hgf
from neuromod.core.result import Result
from neuromod.hgf import demo, results
from neuromod.hgf.parameters import space


@pytest.fixture(scope="module")
def tree():
    return datasets.simulate_beliefs(seed=0, n_subjects=4, n_trials=40)


@pytest.fixture(scope="module")
def known(tree):
    """Return a fit that found the truth to the last bit, and is as sure as it is."""
    truth = tree["truth"].to_dataset()
    agent = hgf.Agent(hgf.binary_three_level(), hgf.responses.unit_square_sigmoid())
    free = space(agent, None)
    native = np.stack([truth[name].values for name in free.names], axis=1)
    native[:, 2] = np.log(native[:, 2])
    parameters = truth[list(free.names)]
    moments = xr.Dataset(
        {
            "native_mean": (("subject", "parameter"), native),
            "native_covariance": (
                ("subject", "parameter", "parameter_to"),
                np.tile(np.diag([0.01, 4.0, 0.04]), (4, 1, 1)),
            ),
        },
        {"parameter": list(free.names), "parameter_to": list(free.names)},
    )
    data = {"parameters": parameters, "uncertainty": moments}
    settings = {"parameters": results.packed(free)}
    return Result(agent, xr.DataTree.from_dict(data), settings, {})


def test_the_truth_agrees_with_itself(known, tree):
    recovered = demo._compared(known, tree["truth"].to_dataset())
    np.testing.assert_allclose(recovered["estimate"], recovered["true"])
    assert recovered["standard_error"].values[:, 0].tolist() == [0.1, 0.2]
    assert demo._agreement(known, tree) == pytest.approx(1)


def test_beliefs_of_other_participants_do_not_agree(known, tree):
    """Exchange the slowest learner's parameters with the fastest's."""
    truth = tree["truth"].to_dataset()
    order = np.argsort(truth[demo.LEARNING].values)
    mixed = truth["expected_mean"].values.copy()
    mixed[order[[0, -1]]] = mixed[order[[-1, 0]]]
    exchanged = tree.copy()
    exchanged["truth"] = truth.assign(
        expected_mean=(truth["expected_mean"].dims, mixed)
    )
    assert demo._agreement(known, exchanged) < 0.99


def recovered(error, seed):
    """Return 24 estimates with an error that is told to be as large as 0.3."""
    generator = np.random.default_rng(seed)
    true = generator.normal(size=24)
    estimate = true + error * generator.normal(size=24)
    dims = ("parameter", "subject")
    columns = {"true": true, "estimate": estimate, "standard_error": np.full(24, 0.3)}
    return xr.Dataset({k: (dims, v[None]) for k, v in columns.items()}, {dims[0]: [""]})


def test_recovery_is_judged_by_the_standard_errors():
    for seed in range(5):
        assert demo._recovery(recovered(0.3, seed), "", "").met is True
        assert demo._recovery(recovered(1.5, seed), "", "").met is False
