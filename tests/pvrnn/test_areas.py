"""Recordings of areas: channels, references, scales and what is missing."""

import jax
import mne
import numpy as np
import pytest
import xarray as xr

from neuromod.core.errors import InvalidInputError
from neuromod.pvrnn import of_areas, reconstruct, segments, train

AREAS = {"front": ["a", "c"], "back": ["b"]}
RATE, N_SAMPLES = 100.0, 1050


@pytest.fixture(scope="module")
def raw():
    rng = np.random.default_rng(0)
    values = 1e-5 * rng.normal(size=(4, N_SAMPLES))
    made = mne.create_info(["a", "b", "c", "d"], RATE, "eeg")
    found = mne.io.RawArray(values, made, verbose="error")
    found.set_annotations(mne.Annotations([1.0], [0.5], ["BAD_artefact"]))
    return found


def test_segments_are_the_recording_area_by_area(raw):
    found = segments(raw, AREAS, n_steps=100, half_range=1e-4, reference=False)
    assert found.sizes == {"trial": 10, "time": 100, "channel": 3}
    assert found["channel"].values.tolist() == ["a", "c", "b"]
    assert found["region"].values.tolist() == ["front", "front", "back"]
    assert float(found["time"][1]) == pytest.approx(1 / RATE)
    stored = raw.get_data()[[0, 2, 1]]
    np.testing.assert_allclose(found[3], 0.8 * stored[:, 300:400].T / 1e-4)
    # What is marked as bad is missing.
    assert np.isnan(found[1, :50]).all()
    assert np.isfinite(found[1, 50:]).all()


def test_the_reference_is_the_median_of_what_is_chosen(raw):
    found = segments(raw, AREAS, n_steps=100, half_range=1e-4)
    np.testing.assert_allclose(np.nanmedian(found[3], axis=-1), 0, atol=1e-12)


def test_what_is_out_of_range_is_missing(raw):
    found = segments(raw, AREAS, n_steps=100, half_range=1e-5, reference=False)
    stored = raw.get_data()[[0, 2, 1], 300:400].T
    np.testing.assert_array_equal(np.isnan(found[3]), np.abs(stored) > 1.25e-5)
    easy = segments(raw, AREAS, n_steps=100)
    assert float(np.isnan(easy[3]).mean()) < 0.01
    assert easy.attrs["half_range"] > 0


def test_files_epochs_and_arrays_are_read_alike(raw, tmp_path):
    how = {"n_steps": 100, "half_range": 1e-4}
    want = segments(raw, AREAS, **how)
    raw.save(tmp_path / "brain_raw.fif", verbose="error")
    stored = segments(tmp_path / "brain_raw.fif", AREAS, **how)
    np.testing.assert_allclose(stored, want, rtol=1e-4, atol=1e-8)
    epochs = mne.make_fixed_length_epochs(
        raw, 1.0, preload=True, reject_by_annotation=False, verbose="error"
    )
    np.testing.assert_allclose(segments(epochs, AREAS, **how)[3], want[3])
    array = xr.DataArray(
        raw.get_data().T,
        {"time": np.arange(N_SAMPLES) / RATE, "channel": list("abcd")},
        ("time", "channel"),
    )
    np.testing.assert_allclose(segments(array, AREAS, **how)[3], want[3])


def test_a_network_of_areas_tells_a_recording(raw):
    data = segments(raw, AREAS, n_steps=100)[[0, 2, 3]]

    def build(key):
        return of_areas(key, AREAS, n_units=6, n_latents=2, n_association_units=4)

    found = train(data, build, seed=0, n_steps=150, learning_rate=1e-2, progress=False)
    loss = found.data["history"]["loss"].values
    assert loss[-10:].mean() < 0.7 * loss[:3].mean()
    told = reconstruct(found, seed=0)
    assert told["head_of_channel"].values.tolist() == ["front", "front", "back"]
    layers = set(told["layer_of_latent"].values.tolist())
    assert layers == {"front_0", "back_0", "association_0", "executive"}


def test_a_learned_variance_is_an_option():
    network = of_areas(jax.random.key(0), AREAS, learns_variance=True)
    assert {type(head).__name__ for head in network.heads} == {"GaussianHead"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"areas": {"front": ["a", "x"]}}, "'x'"),
        ({"areas": {"front": ["a"], "back": ["a"]}}, "unlike"),
        ({"areas": {}}, "at least one"),
        ({"n_steps": 2000}, "at most the 1050"),
        ({"half_range": 0.0}, "half_range"),
        ({"recording": 3}, "MNE recording"),
    ],
)
def test_bad_input_is_named(raw, changes, words):
    given = {"recording": raw, "areas": AREAS, "n_steps": 100}
    with pytest.raises(InvalidInputError, match=words):
        segments(**(given | changes))
