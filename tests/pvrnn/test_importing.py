"""The published network of sensory attenuation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod.core.errors import DataFormatError
from neuromod.pvrnn import from_sensory_attenuation, inference
from neuromod.pvrnn.latents import parts
from neuromod.pvrnn.running import of_training
from tests.shared import shared

FILE = "data/pvrnn/sensory_attenuation_trained_net.npz"
# Response of the posterior and deviation of the prior: self-produced, external.
PUBLISHED = {
    "vision/0": (0.0175, 0.265, 0.045, 0.255),
    "prop/0": (0.038, 0.270, 0.065, 0.290),
}


def test_it_attenuates_what_it_produces_itself():
    network, adaptive = of_training(from_sensory_attenuation(shared(FILE)))
    noise = jax.random.normal(jax.random.key(0), adaptive.mean.shape)
    run = jax.jit(inference.run)(network, adaptive, noise)
    means = parts(network, run.posterior.mean)
    deviations = parts(network, run.prior.deviation)
    for name, published in PUBLISHED.items():
        i = network.index(name)
        response = jnp.abs(jnp.diff(means[i][..., 0], axis=0)).mean(axis=0)
        deviation = deviations[i].mean(axis=(0, 2))
        found = [half.mean() for x in (response, deviation) for half in jnp.split(x, 2)]
        np.testing.assert_allclose(found, published, rtol=0.03)
    context = np.asarray(adaptive.mean[0, :, -1])
    assert np.median(context[:24]) == pytest.approx(-2.37, abs=0.01)
    assert np.median(context[24:]) == pytest.approx(1.41, abs=0.01)


def test_what_is_no_such_network_is_told(tmp_path):
    (tmp_path / "no.npz").write_bytes(b"nothing")
    with pytest.raises(DataFormatError, match=r"no \.npz"):
        from_sensory_attenuation(tmp_path / "no.npz")
    with np.load(shared(FILE)) as stored:
        arrays = {k: stored[k] for k in stored.files if "prop.layers.0.d_to_h" not in k}
    with pytest.raises(DataFormatError, match="d_to_h"):
        from_sensory_attenuation(arrays)
