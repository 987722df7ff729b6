"""The likelihood as a pure function: its values, its gradients, and its doors."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod import switching
from neuromod.core.errors import ShapeError
from tests.switching.models import (
    KINDS,
    as_recording,
    random_counts,
    random_model,
    random_values,
)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def test_it_is_the_score_of_a_fit():
    counts = random_counts(seed=5, n_steps=80)
    spikes = as_recording(counts[0])
    fit = switching.fit(
        spikes, 2, seed=0, prior="ridge", n_restarts=1, tolerance=1.0, progress=False
    )
    missing = spikes.where(spikes.time > 1)
    for array in (spikes, missing):
        expected = float(switching.score(fit, array)["log_likelihood"])
        found = switching.log_likelihood(fit.model, array.values[None])
        np.testing.assert_allclose(float(found[0]), expected, rtol=1e-10)


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[4]], ids=lambda k: k[0])
def test_its_gradient_is_that_of_differences(kind):
    model = random_model(kind=kind, n_inputs=1, n_own=1, n_tilts=1)
    values = random_values(kind, n_sessions=2, n_steps=25)
    generator = np.random.default_rng(2)
    drives = {
        "inputs": generator.normal(size=(2, 25, 1)),
        "transition_inputs": generator.normal(size=(2, 25, 1)),
        "lengths": np.array([25, 18]),
    }
    total = jax.jit(
        lambda model: switching.log_likelihood(model, values, **drives).sum()
    )
    slope = jax.jit(jax.grad(total))(model)
    step = 1e-5
    for name in ("bias", "weight", "input_weight", "transition_weight", "dispersion"):
        array = np.asarray(getattr(model, name))
        if name == "dispersion" and kind[0] == "poisson":
            continue
        direction = generator.normal(size=array.shape)
        ends = [
            float(total(replace(model, **{name: array + side * step * direction})))
            for side in (-1, 1)
        ]
        found = float((getattr(slope, name) * direction).sum())
        assert found == pytest.approx((ends[1] - ends[0]) / (2 * step), rel=1e-5)


def test_a_recurrent_chain_sees_its_own_neurons():
    model = random_model(n_tilts=3)
    recurrent = replace(model, recurrent=True)
    counts = random_counts(n_steps=30, n_sessions=2)
    past = np.stack([_seen(model, session) for session in counts])
    np.testing.assert_allclose(
        switching.log_likelihood(recurrent, counts),
        switching.log_likelihood(model, counts, transition_inputs=past),
        rtol=1e-12,
    )


def _seen(model, counts):
    """Return the history of one session by plain loops."""
    found = np.zeros_like(counts)
    for t in range(len(counts)):
        for lag, scale in enumerate(np.asarray(model.basis)[0], start=1):
            if t >= lag:
                found[t] += scale * counts[t - lag]
    return found


def test_models_can_be_mapped_over():
    models = [random_model(seed=seed) for seed in range(3)]
    counts = random_counts(n_steps=30)
    stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *models)
    found = jax.vmap(lambda model: switching.log_likelihood(model, counts))(stacked)
    expected = [switching.log_likelihood(model, counts) for model in models]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.ones((10, 3))}, r"values: .*values\[None\]"),
        ({"values": np.ones((1, 10, 2))}, r"values: .*\(session, time, 3\)"),
        ({"inputs": None}, r"inputs: got shape \(1, 10, 0\)"),
        ({"inputs": np.ones((1, 9, 1))}, r"inputs: got shape \(1, 9, 1\)"),
        ({"transition_inputs": np.ones((1, 10, 1))}, r"transition_inputs: got"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, message):
    arrays = {"values": np.ones((1, 10, 3)), "inputs": np.ones((1, 10, 1)), **change}
    with pytest.raises(ShapeError, match=message):
        switching.log_likelihood(random_model(n_inputs=1), **arrays)
