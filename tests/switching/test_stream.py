import time
from typing import Any

import numpy as np
import pytest
import xarray as xr

from neuromod import errors, switching
from tests.switching.models import as_recording, random_counts


@pytest.fixture(scope="module")
def spikes():
    return as_recording(random_counts(seed=5, n_steps=80)[0])


@pytest.fixture(scope="module")
def inputs(spikes):
    generator = np.random.default_rng(0)
    return xr.DataArray(
        generator.normal(size=(80, 2)),
        dims=("time", "input"),
        coords={"time": spikes["time"].values, "input": ["light", "sound"]},
    )


@pytest.fixture(scope="module")
def driven(spikes, inputs):
    return switching.fit(
        spikes,
        2,
        seed=0,
        prior="ridge",
        inputs=inputs,
        transition_inputs=inputs,
        self_basis="lags",
        n_restarts=1,
        tolerance=1e-3,
        progress=False,
    )


def run(stepper, values, *inputs):
    state, found = stepper.start, []
    for row in zip(values, *inputs, strict=True):
        state, probability, log_likelihood = stepper.step(state, *row)
        found.append((probability, log_likelihood))
    return np.array([p for p, _ in found]), np.array([v for _, v in found])


def test_one_bin_at_a_time_is_the_filter(driven, spikes, inputs):
    missing = spikes.where(~((spikes.time > 2) & (spikes.time < 3)))
    both = {"inputs": inputs, "transition_inputs": inputs}
    stepper = switching.make_stepper(driven)
    found, log_likelihood = run(stepper, missing.values, inputs.values, inputs.values)
    whole = switching.filter(driven, missing, **both)
    np.testing.assert_allclose(found, whole, atol=1e-12)
    score = switching.score(driven, missing, **both)["log_likelihood"]
    assert log_likelihood.sum() == pytest.approx(float(score), rel=1e-10)
    assert (log_likelihood[20:29] == 0).all()


def test_a_step_is_fast_and_stays_so(driven, spikes, inputs):
    stepper = switching.make_stepper(driven)
    seconds = []
    for _ in range(3):
        start = time.process_time()
        run(stepper, spikes.values, inputs.values, inputs.values)
        seconds.append(time.process_time() - start)
    # Far above what it takes, far below a compilation in each step.
    assert min(seconds) / 80 < 0.005


def test_wrong_shapes_are_refused(driven):
    path: Any = "fit.nc"
    stepper = switching.make_stepper(driven)
    with pytest.raises(errors.ShapeError, match=r"values: got shape \(2,\)"):
        stepper.step(stepper.start, np.zeros(2), np.zeros(2), np.zeros(2))
    with pytest.raises(errors.ShapeError, match=r"inputs: got shape \(0,\)"):
        stepper.step(stepper.start, np.zeros(3))
    with pytest.raises(errors.NotFittedError, match=r"neuromod\.load"):
        switching.make_stepper(path)
