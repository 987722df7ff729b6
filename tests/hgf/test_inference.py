import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod import hgf
from neuromod.hgf import inference
from neuromod.hgf.schemes import UPDATES


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def series_of(*columns, observed=None, intervals=None):
    known = observed or (None,) * len(columns)
    return inference.Series(
        tuple(jnp.asarray(c, float) for c in columns),
        tuple(None if k is None else jnp.asarray(k) for k in known),
        None if intervals is None else jnp.asarray(intervals, float),
    )


def outcomes(n_trials=60, seed=0):
    return np.random.default_rng(seed).integers(0, 2, n_trials).astype(float)


def run(network, series):
    return jax.tree.map(np.asarray, jax.jit(inference.run)(network, series))


def slow_binary_three_level(values, tonic, strength, update):
    """The equations in a loop, for a mean-field network that starts at 0 and 1."""
    (m2, p2), (m3, p3), found = (0.0, 1.0), (0.0, 1.0), []
    for u in values:
        volatility = np.exp(tonic[0] + strength * m3)
        e2 = 1 / (1 / p2 + volatility)
        e3 = 1 / (1 / p3 + np.exp(tonic[1]))
        mu = 1 / (1 + np.exp(-m2))
        before = 1 / p2
        h2, h3 = m2, m3
        p2 = e2 + mu * (1 - mu)
        m2 = h2 + (u - mu) / p2
        error = e2 / p2 + e2 * (m2 - h2) ** 2 - 1
        gamma = volatility * e2
        message = strength * gamma * error / 2
        usual = (strength * gamma) ** 2 * (0.5 + error)
        usual = e3 + usual - strength**2 * gamma * error / 2
        if update == "standard":
            p3 = usual
            m3 = h3 + message / p3
        else:
            m3 = h3 + message / e3
            again = np.exp(strength * m3 + tonic[0])
            total = before + again
            share, weight = again / total, (again - before) / total
            surprise = (1 / p2 + (m2 - h2) ** 2) / total - 1
            gain = strength**2 * share * (share + weight * surprise) / 2
            p3 = e3 + max(0.0, gain) if update == "ehgf" else usual
        found.append((m2, p2, m3, p3))
    return np.array(found)


@pytest.mark.parametrize("update", ["standard", "ehgf", "ehgf_swap"])
def test_three_levels_follow_the_equations(update):
    values, tonic, strength = outcomes(), (-2.0, -3.0), 0.7
    network = hgf.binary_three_level(tonic, strength, update=update)
    found = run(network, series_of(values)).beliefs
    want = slow_binary_three_level(values, tonic, strength, update)
    got = [getattr(found[n], q) for n in ("x2", "x3") for q in ("mean", "precision")]
    got = np.stack(got, axis=1)
    np.testing.assert_allclose(got, want, rtol=1e-10)


def test_without_volatility_the_filter_is_kalmans():
    """Drift, autoconnection, two sensors, irregular times and missing values."""
    generator = np.random.default_rng(1)
    n_trials = 80
    values = generator.normal(size=(2, n_trials))
    intervals = generator.uniform(0, 3, n_trials)
    intervals[[0, 7]] = 0
    seen = generator.random((2, n_trials)) < 0.7
    strengths, precisions = (1.5, -0.4), (2.0, 5.0)
    kept, drift, tonic = 0.8, 0.3, -1.0
    network = hgf.Network(
        [
            hgf.ContinuousInput("a", precision=precisions[0]),
            hgf.ContinuousInput("b", precision=precisions[1]),
            hgf.ContinuousState(
                "x",
                mean=0.5,
                precision=2.0,
                tonic_volatility=tonic,
                tonic_drift=drift,
                autoconnection=kept,
            ),
        ],
        [hgf.observation("x", n, s) for n, s in zip("ab", strengths, strict=True)],
    )
    values[~seen] = np.nan
    series = series_of(*values, observed=tuple(seen), intervals=intervals)
    found = run(network, series).beliefs["x"]
    mean, variance, want = 0.5, 0.5, []
    for k, t in enumerate(intervals):
        mean = kept**t * mean + t * drift
        variance = kept ** (2 * t) * variance + t * np.exp(tonic)
        for sensor in (0, 1):
            if seen[sensor, k]:
                a, noise = strengths[sensor], 1 / precisions[sensor]
                gain = variance * a / (a**2 * variance + noise)
                mean = mean + gain * (values[sensor, k] - a * mean)
                variance = (1 - gain * a) * variance
        want.append((mean, 1 / variance))
    got = np.stack([found.mean, found.precision], axis=1)
    np.testing.assert_allclose(got, want, rtol=1e-9)


def test_a_drift_reaches_its_parent_times_the_interval():
    """One step by hand: the parent is seen through t times its strength."""
    network = hgf.Network(
        [
            hgf.ContinuousInput("u", precision=4.0),
            hgf.ContinuousState("x", tonic_volatility=-2.0),
            hgf.ContinuousState("pull", tonic_volatility=-3.0),
        ],
        [hgf.observation("x", "u"), hgf.drift("pull", "x", 0.5)],
    )
    t = 2.0
    found = run(network, series_of([1.0], intervals=[t]))
    expected = 1 / (1 + t * np.exp(-2.0))
    belief = found.beliefs["x"]
    np.testing.assert_allclose(belief.precision, expected + 4)
    parent = 1 / (1 + t * np.exp(-3.0)) + (t * 0.5) ** 2 * expected
    np.testing.assert_allclose(found.beliefs["pull"].precision, parent)
    error = float(belief.mean[0])
    want = t * 0.5 * expected * error / parent
    np.testing.assert_allclose(found.beliefs["pull"].mean, want)


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("approximation", ["mean_field", "relaxed"])
def test_gradients_are_those_of_differences(update, approximation):
    values = outcomes(40)
    settings = {"update": update, "approximation": approximation}

    def total(tonic):
        network = hgf.binary_three_level((tonic[0], tonic[1]), tonic[2], **settings)
        series = series_of(values)
        found = inference.run(network, series)
        return inference.surprise(network, series, found)["outcome"].sum()

    at = jnp.array([-3.0, -4.0, 0.8])
    function = jax.jit(total)
    slope = jax.jit(jax.grad(total))(at)
    step = 1e-5
    for i in range(3):
        moved = [function(at.at[i].add(sign * step)) for sign in (1, -1)]
        difference = (moved[0] - moved[1]) / (2 * step)
        np.testing.assert_allclose(slope[i], difference, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("update", UPDATES)
def test_resets_and_padding_make_sessions_independent(update):
    values = outcomes(50)
    network = hgf.binary_three_level(update=update)
    whole = run(network, series_of(values[:30])).beliefs["x2"].mean
    rest = run(network, series_of(values[30:])).beliefs["x2"].mean
    reset = jnp.zeros(60, bool).at[30].set(True)
    mask = jnp.arange(60) < 50
    padded = series_of(np.pad(values, (0, 10), constant_values=np.nan))
    joined = inference.run(network, padded, mask=mask, reset=reset)
    found = np.asarray(joined.beliefs["x2"].mean)
    np.testing.assert_allclose(found[:30], whole, rtol=1e-12)
    np.testing.assert_allclose(found[30:50], rest, rtol=1e-12)


def test_single_precision_agrees():
    values = outcomes(100)
    double = run(hgf.binary_three_level(), series_of(values)).beliefs["x3"].mean
    with jax.enable_x64(False):
        network = jax.tree.map(
            lambda x: jnp.asarray(x, "float32"), hgf.binary_three_level()
        )
        series = inference.Series((jnp.asarray(values, "float32"),), (None,), None)
        single = inference.run(network, series).beliefs["x3"].mean
        assert single.dtype == np.float32
    np.testing.assert_allclose(single, double, rtol=2e-4, atol=1e-6)


def test_a_network_can_be_batched():
    values = outcomes(30)

    def last(tonic):
        network = hgf.binary_two_level(tonic)
        return inference.run(network, series_of(values)).beliefs["x2"].mean[-1]

    tonic = jnp.array([-3.0, -1.0, 0.5])
    together = jax.vmap(last)(tonic)
    np.testing.assert_allclose(together, [last(t) for t in tonic], rtol=1e-12)


def test_nodes_can_have_schemes_of_their_own():
    values = outcomes(50)

    def found(**own):
        network = hgf.Network(
            [
                hgf.BinaryInput("outcome"),
                hgf.ContinuousState("x2", tonic_volatility=-1.0),
                hgf.ContinuousState("x3", tonic_volatility=-2.0, **own),
            ],
            [hgf.probability("x2", "outcome"), hgf.volatility("x3", "x2")],
        )
        return run(network, series_of(values)).beliefs["x3"].mean

    usual = hgf.binary_three_level((-1.0, -2.0), update="unbounded")
    np.testing.assert_allclose(
        found(update="unbounded"), run(usual, series_of(values)).beliefs["x3"].mean
    )
    assert not np.allclose(found(update="unbounded"), found())
