"""Drawn paths have the moments of the joint posterior."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod.kernels.kalman_sample import kalman_sample
from tests.kernels.kalman_dense import condition_jointly, random_model

N_DRAWS = 40_000
FLAGS = {
    "observed": np.array([[True, False], [True, True], [False, False], [True, True]]),
    "reset": np.arange(4) == 2,
    "length": 4,
}


@functools.partial(jax.jit, static_argnums=3)
def draw(keys, arrays, options, method):
    def one(key):
        return kalman_sample(*arrays, key=key, method=method, **options)

    return jax.vmap(one)(keys)


def paths_of(arrays, options, method):
    keys = jax.random.split(jax.random.key(0), N_DRAWS)
    arrays = jax.tree.map(lambda x: jnp.asarray(x, np.float32), arrays)
    return np.asarray(draw(keys, arrays, options, method), np.float64)


@pytest.mark.parametrize(
    ("options", "method"),
    [(FLAGS, "sequential"), ({}, "associative")],
    ids=["flags", "associative"],
)
def test_paths_have_the_moments_of_the_posterior(options, method):
    arrays = random_model(0, 4, 2, 2)
    want = condition_jointly(*arrays, **options)
    paths = paths_of(arrays, options, method)
    centred = paths - want.smoothed_means
    variance = np.einsum("tii->ti", want.smoothed_covariances)
    error = 5 * np.sqrt(variance / N_DRAWS)
    assert (np.abs(centred.mean(axis=0)) < error).all()
    scale = np.sqrt(variance[:, :, None] * variance[:, None])
    now = np.einsum("nti,ntj->tij", centred, centred) / N_DRAWS
    distance = np.abs(now - want.smoothed_covariances) / scale
    assert distance.max() < 5 * np.sqrt(2 / N_DRAWS)
    pairs = np.einsum("nti,ntj->tij", centred[:, 1:], centred[:, :-1]) / N_DRAWS
    scale = np.sqrt(variance[1:, :, None] * variance[:-1, None])
    distance = np.abs(pairs - want.cross_covariances) / scale
    assert distance.max() < 5 * np.sqrt(2 / N_DRAWS)


def test_each_key_gives_its_own_path_and_padding_is_zero():
    options = FLAGS | {"length": 2}
    paths = paths_of(random_model(1, 4, 2, 2), options, "sequential")
    assert (paths[:, 2:] == 0).all()
    assert len(np.unique(paths[:100, 1, 0])) == 100
