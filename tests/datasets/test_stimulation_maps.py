"""Maps of motor cortex by name, and their twin."""

import numpy as np
import pytest

import neuromod as nm
from neuromod.core.errors import DataFormatError, InvalidInputError
from tests.shared import shared

SHAPES = {
    "capuchin_motor_maps": (96, 6),
    "macaque_motor_maps": (96, 4),
    "rat_motor_maps": (32, 7),
}


@pytest.mark.parametrize("name", SHAPES)
def test_recorded_maps_have_their_shape_and_electrodes_of_their_own(name, monkeypatch):
    monkeypatch.setenv("NEUROMOD_DATA", str(shared("data/neurostim")))
    maps = nm.datasets.load(name)["maps"].to_dataset()
    assert maps["mean"].shape == SHAPES[name]
    assert float(maps["mean"].min()) > 0
    places = maps["position"].values
    assert len(np.unique(places, axis=0)) == len(places)
    if "response" in maps:
        mean = maps["response"].mean("trial")
        np.testing.assert_allclose(maps["mean"], mean, rtol=1e-5)


def test_maps_of_populations_are_smooth_on_their_array(monkeypatch):
    monkeypatch.setenv("NEUROMOD_DATA", str(shared("data/neurostim")))
    maps = nm.datasets.load("rat_population_maps")["maps"].to_dataset()
    assert list(maps["output"].values) == ["generic", "injury", "intact"]
    at, mean = maps["position"].values, maps["mean"].values
    apart = np.linalg.norm(at[:, None] - at[None], axis=-1)
    differ = np.square(mean[:, None] - mean[None]).mean(axis=-1)
    assert differ[apart == 1].mean() < 0.3 * differ[apart > 0].mean()


def test_the_twin_draws_trials_around_its_truth():
    one, same, other = (
        nm.datasets.simulate_stimulation_maps(seed=s, array="rat", n_trials=100)["maps"]
        for s in (0, 0, 1)
    )
    assert one.to_dataset().identical(same.to_dataset())
    assert not np.allclose(one["mean"], other["mean"])
    np.testing.assert_allclose(one["response"].mean("trial"), one["mean"], rtol=0.2)
    with pytest.raises(InvalidInputError, match="primate"):
        nm.datasets.simulate_stimulation_maps(seed=0, array="primat")


def test_a_damaged_file_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("NEUROMOD_DATA", str(tmp_path))
    path = tmp_path / "rat2_m1_means.npz"
    path.write_bytes(b"0" * 2374)
    with pytest.raises(DataFormatError, match="no maps"):
        nm.datasets.load("rat_motor_maps", download=False)
