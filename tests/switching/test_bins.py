import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from neuromod import datasets, kernels, switching
from neuromod.core import slabs
from neuromod.core.errors import InvalidInputError
from neuromod.core.provenance import checksum
from neuromod.switching import starts, stretches
from neuromod.switching.bins import Held, Streamed, bins_of
from neuromod.switching.information import choose
from tests.switching.models import random_model, recording_of

LENGTHS = (900, 1500)


@pytest.fixture(autouse=True)
def short_slabs(monkeypatch):
    monkeypatch.setattr(slabs, "SLAB_VALUES", 700)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def model():
    return random_model(n_states=3, n_inputs=2, n_own=2)


def stored(values, chunk=100):
    """Values (session, time, neuron) as chunks that only dask knows to read."""
    parts = [
        xr.DataArray(part[:length], dims=("time", "neuron")).chunk(time=chunk)
        for part, length in zip(values, LENGTHS, strict=True)
    ]
    return slabs.Slabs(tuple(parts))


@pytest.fixture
def recording(model):
    generator = np.random.default_rng(0)
    values = generator.poisson(0.4, (2, max(LENGTHS), 3)).astype(float)
    values[0, LENGTHS[0] :] = 0
    inputs = generator.normal(size=(2, max(LENGTHS), 2))
    found = recording_of(values, None, inputs)
    return found._replace(lengths=np.array(LENGTHS))


def weights_of(recording, n_states):
    generator = np.random.default_rng(1)
    weights = generator.dirichlet(np.ones(n_states), recording.observed.shape)
    weights[0, LENGTHS[0] :] = 0
    return jnp.asarray(weights.reshape(-1, n_states))


def test_slabs_give_the_numbers_of_the_whole(model, recording):
    held = bins_of(model, recording)
    read = bins_of(model, recording, stored(recording.values))
    assert isinstance(held, Held)
    assert isinstance(read, Streamed)
    weights = weights_of(recording, 3)
    counted = np.asarray(weights).any(1)
    a, b = held.evaluate(model, weights), read.evaluate(model, weights)
    np.testing.assert_allclose(
        np.asarray(b.evidence)[counted], np.asarray(a.evidence)[counted], rtol=1e-12
    )
    np.testing.assert_allclose(b.objective, a.objective, rtol=1e-12)
    a, b = held.differentiate(model, weights), read.differentiate(model, weights)
    np.testing.assert_allclose(b.gradient, a.gradient, rtol=1e-10, atol=1e-10)
    for n_draws in (50, recording.observed.size):
        chosen = choose(weights, n_draws)
        a = held.inform(model, weights, chosen)
        b = read.inform(model, weights, chosen)
        np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-10)
    a, b = held.expect(model, weights), read.expect(model, weights)
    np.testing.assert_allclose(b[counted], a[counted], rtol=1e-12)


def test_no_slab_is_larger_than_asked_for(recording):
    read = stored(recording.values)
    assert read.n_bins == 200
    sizes = [len(slab.values) for slab in read.read()]
    assert max(sizes) == 200
    assert sum(sizes) == sum(LENGTHS)
    np.testing.assert_array_equal(np.asarray(read), recording.values)


def test_what_lies_on_disk_has_the_checksum_of_what_is_held(recording):
    counts = recording.values.astype("uint8")
    assert checksum(stored(counts)) == checksum(counts)


@pytest.fixture(scope="module")
def spikes():
    truth = datasets.simulate_switching(
        seed=0, n_states=2, n_neurons=6, n_sessions=2, n_steps=700
    )
    spikes = truth["recording"]["spikes"].astype(float)
    spikes[40:44, 2] = np.nan
    # Text of fixed width has no stable form in zarr.
    return spikes.assign_coords(session=spikes["session"].astype(int))


def test_a_fit_from_disk_is_the_fit_from_memory(spikes, tmp_path):
    spikes.to_dataset(name="spikes").to_zarr(
        tmp_path / "spikes.zarr", consolidated=False
    )
    opened = xr.open_zarr(tmp_path / "spikes.zarr", consolidated=False)["spikes"]
    assert slabs.is_on_disk(opened)
    settings = {"seed": 0, "prior": "ridge", "progress": False, "n_restarts": 1}
    held = switching.fit(spikes, 2, **settings)
    read = switching.fit(opened, 2, **settings)
    np.testing.assert_allclose(read.model.weight, held.model.weight, atol=1e-7)
    np.testing.assert_allclose(
        read.data.attrs["log_likelihood"], held.data.attrs["log_likelihood"], rtol=1e-10
    )
    for found in (held, read):
        assert found.provenance["inputs"] == held.provenance["inputs"]
    for verb in (switching.smooth, switching.predict):
        np.testing.assert_allclose(verb(held, opened), verb(held, spikes), atol=1e-9)
    np.testing.assert_array_equal(
        switching.decode(held, opened), switching.decode(held, spikes)
    )
    a, b = switching.score(held, opened), switching.score(held, spikes)
    np.testing.assert_allclose(a["bits_per_spike"], b["bits_per_spike"], rtol=1e-9)


def test_counts_on_disk_are_checked_too(spikes):
    wrong = spikes.copy()
    wrong[1300, 1] = -1
    with pytest.raises(InvalidInputError, match="negative count -1"):
        switching.fit(wrong.chunk(time=300), 2, seed=0, progress=False)


@pytest.mark.parametrize("n_bins", [1, 7, 100, 5000])
def test_stretches_smooth_like_the_whole(n_bins):
    generator = np.random.default_rng(0)
    evidence = generator.normal(scale=3, size=(203, 4))
    evidence[50, 1:] = -np.inf
    observed = generator.random(203) < 0.8
    observed[50] = True
    initial = generator.dirichlet(np.ones(4))
    transition = generator.dirichlet(np.ones(4), 4)
    transition[0] = [0, 0.5, 0.5, 0]
    transition[:, 3] = 0
    transition /= transition.sum(1, keepdims=True)
    whole = kernels.hmm_smoother(initial, transition, evidence, observed=observed)
    smoothed = np.zeros_like(evidence)
    found = stretches.smooth(
        initial, transition, evidence, observed, n_bins, into=smoothed
    )
    np.testing.assert_allclose(smoothed, whole.smoothed, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(
        found.transition_counts, whole.transition_counts, rtol=1e-9, atol=1e-12
    )
    assert np.isclose(found.log_likelihood, whole.log_likelihood, rtol=1e-12)


def test_starts_from_disk_are_those_from_memory(recording, monkeypatch):
    monkeypatch.setattr(starts, "MOST_POINTS", 500)
    lengths = np.array(LENGTHS)

    def found(values):
        return list(starts.guesses(values, lengths, 3, seed=0, n_restarts=2))

    on_disk = found(stored(recording.values))
    for a, b in zip(on_disk, found(recording.values), strict=True):
        for number, length in enumerate(LENGTHS):
            np.testing.assert_array_equal(a[number, :length], b[number, :length])
