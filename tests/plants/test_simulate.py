"""Simulated networks: what comes out, what every option does, what is refused.

All runs are of two columns and 4 s, so that few programs are compiled.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from neuromod.core.errors import InvalidInputError, ShapeError
from neuromod.plants import JansenRit, brownian_path, simulate, solve

DURATION = 4.0
ALONE, PAIR = np.zeros((2, 2)), np.array([[0.0, 30.0], [0.0, 0.0]])
NAMES = ["left", "right"]


def rhythm(input_rate, seed=0, **options):
    """Return frequencies (Hz) with the most power, without the first second."""
    plant = JansenRit(ALONE, input_rate=input_rate, **options)
    found = simulate(plant, DURATION, seed=seed)["potential"]
    late = found.sel(time=slice(1.0, None)).to_numpy()
    power = abs(np.fft.rfft(late - late.mean(0), axis=0)) ** 2
    return np.argmax(power, axis=0) / (DURATION - 1)


def pulse(left, right, times=(0.0, 2.0, 2.01, 2.04, 2.05, DURATION)):
    values = np.array([0.0, 0.0, 1.0, 1.0, 0.0, 0.0])[:, None] * [left, right]
    coords = {"time": list(times), "region": NAMES}
    return xr.DataArray(values, coords, dims=("time", "region"))


def lead_field(values, names=NAMES):
    coords = {"channel": ["Cz", "Pz", "Oz"], "region": names}
    return xr.DataArray(np.asarray(values), coords, dims=("channel", "region"))


def test_a_column_has_an_alpha_rhythm():
    for found in (rhythm([150.0, 220.0]), rhythm([260.0, 300.0])):
        assert (found >= 8).all()
        assert (found <= 12).all()


def test_and_still_with_noisy_input():
    found = rhythm(220.0, seed=1, input_noise=1.8)
    assert (found >= 8).all()
    assert (found <= 12).all()


def test_below_it_a_column_makes_slow_spikes_or_is_silent():
    spiking = simulate(JansenRit(ALONE, input_rate=[120.0, 50.0]), DURATION, seed=0)
    late = spiking["potential"].sel(time=slice(2.0, None))
    assert rhythm([120.0, 50.0])[0] < 4
    assert late.std("time")[0] > 1
    assert late.std("time")[1] < 1e-3


def test_it_returns_the_arrays_of_the_core_with_their_names():
    with jax.enable_x64(False):
        plant = JansenRit(PAIR, input_noise=1.0)
        found = simulate(plant, DURATION, seed=3)
        times = jnp.asarray(found["time"].to_numpy())
        path = brownian_path(jax.random.key(3), DURATION, 2, jnp.float32)
        states = solve(plant, plant.silence(), times, path=path)
    expected = np.asarray(states.potential[:, 1] - states.potential[:, 2])
    np.testing.assert_allclose(found["potential"], expected, rtol=1e-6)
    rate = 5 / (1 + np.exp(0.56 * (6 - expected)))
    np.testing.assert_allclose(found["firing_rate"], rate, rtol=1e-4)
    assert found["potential"].dims == ("time", "region")
    assert found["potential"].attrs["units"] == "mV"
    assert found["firing_rate"].attrs["units"] == "Hz"


def test_the_seed_is_that_of_the_noise():
    noisy = JansenRit(PAIR, input_noise=2.0)
    first, again, other = (simulate(noisy, DURATION, seed=s) for s in (0, 0, 1))
    xr.testing.assert_identical(first, again)
    assert abs(first["potential"] - other["potential"]).max() > 0.1
    quiet = [simulate(JansenRit(PAIR), DURATION, seed=s) for s in (0, 1)]
    xr.testing.assert_identical(*quiet)


def test_a_stimulus_moves_its_column_and_those_that_it_acts_on():
    plant = JansenRit(PAIR, input_rate=50.0)
    rest, right, left = (
        simulate(plant, DURATION, seed=0, stimulation=pulse(*size))["potential"]
        for size in ((0.0, 0.0), (0.0, 300.0), (300.0, 0.0))
    )
    moved_by_right = abs(right - rest).max("time")
    moved_by_left = abs(left - rest).max("time")
    assert (moved_by_right > 1).all()
    assert moved_by_left.sel(region="left") > 1
    assert moved_by_left.sel(region="right") == 0
    before = slice(0.0, 1.99)
    np.testing.assert_array_equal(right.sel(time=before), rest.sel(time=before))


def test_sensors_see_what_the_lead_field_says():
    weights = [[1.0, 0.0], [0.0, 2.0], [1.0, -1.0]]
    found = simulate(JansenRit(PAIR), DURATION, seed=0, lead_field=lead_field(weights))
    left, right = (found["potential"].sel(region=n) for n in NAMES)
    np.testing.assert_allclose(found["sensor"].sel(channel="Pz"), 2 * right)
    seen = found["sensor"].sel(channel="Oz")
    np.testing.assert_allclose(seen, left - right, atol=1e-5)
    assert "channel" in found.coords


def test_a_tolerance_decides_how_near_the_truth_it_is():
    plant = JansenRit(np.zeros((3, 3)))  # with 51 times: compiled elsewhere
    options = {"seed": 0, "precision": "float64", "time_step": 0.01}

    def run(tolerance):
        return simulate(plant, 0.5, tolerance=tolerance, **options)["potential"]

    truth = run(1e-9)
    near, far = (abs(run(tolerance) - truth).max() for tolerance in (1e-6, 1e-2))
    assert near < 1e-4
    assert near < 0.1 * far


def test_the_time_step_is_that_of_output_and_integration():
    coarse = simulate(JansenRit(ALONE), 2 * DURATION, seed=0, time_step=0.002)
    np.testing.assert_allclose(coarse["time"], 0.002 * np.arange(4001))
    fine = simulate(JansenRit(ALONE), DURATION, seed=0)["potential"][:501:2]
    assert 0.01 < abs(coarse["potential"][:251] - fine).max() < 1.0


def test_precision_is_that_of_the_numbers():
    both = [
        simulate(JansenRit(ALONE), DURATION, seed=0, precision=p)["potential"]
        for p in ("float32", "float64")
    ]
    assert [x.dtype for x in both] == [np.float32, np.float64]
    assert 0 < abs(both[0] - both[1])[:200].max() < 1e-3


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"plant": "column"}, "plant"),
        ({"plant": JansenRit(input_rate=np.nan)}, "input_rate"),
        ({"plant": JansenRit(input_noise=-1.0)}, "input_noise"),
        ({"plant": JansenRit(excitatory_rate=0.0)}, "excitatory_rate"),
        ({"plant": JansenRit([[np.inf]])}, "connectivity"),
        ({"duration": 0.0}, "duration"),
        ({"duration": 1e-5}, "duration"),
        ({"time_step": -1e-3}, "time_step"),
        ({"seed": -1}, "seed"),
        ({"seed": 0.5}, "seed"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"precision": "half"}, "precision"),
        ({"plant": JansenRit(input_noise=1.0), "tolerance": 1e-6}, "tolerance"),
        ({"plant": JansenRit(input_noise=1.0), "time_step": 1e-5}, "time_step"),
        ({"plant": JansenRit(), "stimulation": pulse(1, 1)}, "stimulation"),
        ({"stimulation": pulse(1, np.nan)}, "stimulation"),
        ({"stimulation": pulse(1, 1)[1:]}, "stimulation.time"),
        ({"stimulation": pulse(1, 1)[:-1]}, "stimulation.time"),
        ({"stimulation": pulse(1, 1)[:0]}, "stimulation.time"),
        ({"stimulation": pulse(1, 1).rename(region="cell")}, "stimulation"),
        ({"plant": JansenRit(), "lead_field": lead_field(np.ones((3, 2)))}, "lead"),
    ],
)
def test_what_cannot_be_is_told(given, told):
    with pytest.raises(InvalidInputError, match=told):
        simulate(**{"plant": JansenRit(PAIR), "duration": DURATION, "seed": 0} | given)


def test_regions_of_other_names_are_told():
    other = lead_field(np.ones((3, 2)), ["right", "left"])
    options = {"stimulation": pulse(1, 1), "lead_field": other}
    with pytest.raises(ShapeError, match="lead_field"):
        simulate(JansenRit(PAIR), DURATION, seed=0, **options)
