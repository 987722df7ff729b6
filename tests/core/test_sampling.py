"""The no-U-turn sampler: the right distribution, the same bits, whatever interrupts."""

import warnings
from contextlib import contextmanager

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from numpyro.infer import MCMC, NUTS

from neuromod.core import no_u_turn, sampling
from neuromod.core.diagnostics import diagnose, warn_of_trouble
from neuromod.core.errors import ConvergenceWarning, InvalidInputError, ShapeError
from neuromod.core.precision import precision_context
from neuromod.core.sampling import nuts

MEAN = np.array([1.0, -2.0, 0.5])
COVARIANCE = np.array([[1.0, 1.6, 0.1], [1.6, 4.0, 0.3], [0.1, 0.3, 0.25]])
PRECISION = np.linalg.inv(COVARIANCE)
START = MEAN + 3 * np.random.default_rng(0).normal(size=(4, 3))


@contextmanager
def strict():
    with precision_context("float64"), jax.numpy_dtype_promotion("strict"):
        with jax.numpy_rank_promotion("raise"):
            yield


@pytest.fixture(autouse=True)
def strict_double():
    """Compute in float64, without silent promotion."""
    with strict():
        yield


# Which of the densities below: an argument, so that one program serves all.
GAUSSIAN, NORMAL, FUNNEL, HALF, SCALES, BAD = range(6)


def gaussian(at):
    away = at - jnp.asarray(MEAN, at.dtype)
    return -away @ jnp.asarray(PRECISION, at.dtype) @ away / 2


def normal(at):
    return -jnp.sum(at**2) / 2


def funnel(at):
    inside = at[1:] ** 2 * jnp.exp(-at[0]) + at[0]
    return -((at[0] / 3) ** 2) / 2 - jnp.sum(inside) / 2


def half(at):
    """Gamma distributions of shape 2, and no number below 0."""
    inside = jnp.where(at > 0, at, 1.0)
    return jnp.sum(jnp.where(at > 0, jnp.log(inside) - at, jnp.nan))


def scales(at):
    return normal(at * jnp.asarray([1e-3, 1.0, 1e3], at.dtype))


def bad(at, value):
    return jnp.where(at[0] > 10, value, 0.0) + gaussian(at)


def density(at, which=GAUSSIAN, value=0.0, shift=0.0):
    at = at - shift
    value = jnp.asarray(value, at.dtype)
    branches = [gaussian, normal, funnel, half, scales]
    ways = [lambda at, _, f=f: f(at) for f in branches]
    return jax.lax.switch(which, [*ways, bad], at, value)


def run(which=GAUSSIAN, start=START, seed=0, value=0.0, shift=0.0, **settings):
    settings = {"n_draws": 1000, "n_warmup": 500, "progress": False, **settings}
    arguments = (np.int32(which), np.asarray(value), np.asarray(shift))
    return nuts(density, start, seed=seed, arguments=arguments, **settings)


def assert_same_bits(first, second):
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(a, b)


def assert_moments(draws, mean, covariance):
    """Compare within 4.5 standard errors, from the effective numbers of draws."""
    away = draws - mean
    products = away[..., :, None] * away[..., None, :]
    for values, truth in ((draws, mean), (products, covariance)):
        ess = diagnose({"v": values}).ess_bulk.values.reshape(truth.shape)
        error = values.std(axis=(0, 1)) / np.sqrt(ess)
        assert np.all(np.abs(values.mean(axis=(0, 1)) - truth) < 4.5 * error)


@pytest.fixture(scope="module")
def reference():
    """Draws of the Gaussian that several tests look at."""
    with strict():
        return run()


# The right distribution.


def test_a_correlated_gaussian_is_recovered(reference):
    assert_moments(reference.positions, MEAN, COVARIANCE)
    # Lower tails too: the share of draws below the 2.5 % point.
    z = (reference.positions - MEAN) / np.sqrt(np.diag(COVARIANCE))
    assert np.all(np.abs((z < -1.96).mean(axis=(0, 1)) - 0.025) < 0.01)


def test_stats_are_those_of_the_draws(reference):
    stats = reference.stats
    nats = jax.vmap(jax.vmap(gaussian))(jnp.asarray(reference.positions))
    np.testing.assert_allclose(stats["lp"], nats, rtol=1e-10)
    # The energy adds half the square of a momentum of three standard normals.
    kinetic = stats["energy"] + stats["lp"]
    assert np.all(kinetic > 0)
    assert abs(kinetic.mean() - 1.5) < 0.1
    assert not stats["diverging"].any()
    assert np.all(np.ptp(stats["step_size"], axis=1) == 0)
    assert np.all(stats["n_steps"] < 2 ** (stats["tree_depth"] + 1))
    assert np.all(stats["n_steps"] >= 2 ** stats["tree_depth"] - 1)
    assert np.all((stats["acceptance_rate"] > 0) & (stats["acceptance_rate"] <= 1))


@pytest.mark.slow
def test_trajectories_are_as_long_as_those_of_numpyro(reference):
    peer = MCMC(
        NUTS(potential_fn=lambda at: -gaussian(at)),
        num_warmup=500,
        num_samples=1000,
        num_chains=4,
        chain_method="vectorized",
        progress_bar=False,
    )
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        fields = ("num_steps", "accept_prob", "energy", "adapt_state.step_size")
        peer.run(jax.random.key(0), init_params=jnp.asarray(START), extra_fields=fields)
        fields = peer.get_extra_fields(group_by_chain=True)
    stats = {name: np.asarray(values) for name, values in fields.items()}
    ours = reference.stats
    # Given the step the trajectories are one algorithm: the product tells their time.
    time = (ours["n_steps"] * ours["step_size"]).mean()
    other = (stats["num_steps"] * stats["adapt_state.step_size"]).mean()
    assert abs(time / other - 1) < 0.1
    assert abs(ours["acceptance_rate"].mean() - stats["accept_prob"].mean()) < 0.05
    assert abs(ours["energy"].mean() - stats["energy"].mean()) < 0.3
    ess = diagnose(reference).ess_bulk
    theirs = diagnose({"x": np.asarray(peer.get_samples(group_by_chain=True))}).ess_bulk
    assert 0.7 < float((ess / theirs.values).mean()) < 1.4


def test_a_dense_mass_learns_correlations(reference):
    # With short trajectories only: their depth is bounded.
    dense = run(dense_mass=True, max_tree_depth=3)
    assert_moments(dense.positions, MEAN, COVARIANCE)
    assert dense.stats["n_steps"].mean() < 0.7 * reference.stats["n_steps"].mean()
    assert dense.stats["n_steps"].max() == 7
    assert dense.stats["tree_depth"].max() <= 3 < reference.stats["tree_depth"].max()


def test_a_higher_target_takes_shorter_steps(reference):
    careful = run(target_accept=0.95)
    assert careful.stats["step_size"].max() < reference.stats["step_size"].min()
    assert careful.stats["acceptance_rate"].mean() > 0.95


def test_scales_far_apart_are_learnt():
    draws = run(SCALES, np.random.default_rng(0).normal(size=(4, 3)) * [1e3, 1, 1e-3])
    assert draws.stats["n_steps"].mean() < 15
    assert_moments(draws.positions, np.zeros(3), np.diag([1e6, 1.0, 1e-6]))


def test_funnels_diverge():
    draws = run(FUNNEL, np.random.default_rng(0).normal(size=(4, 3)))
    told = diagnose(draws)
    assert int(told.n_diverging) == draws.stats["diverging"].sum() > 0
    with pytest.warns(ConvergenceWarning, match=r"diverged.*target_accept to 0.95"):
        warn_of_trouble(told)


def test_undefined_regions_are_left_alone():
    draws = run(HALF, np.ones((4, 3)))
    assert np.all(draws.positions > 0)
    assert np.all(np.abs(draws.positions.mean(axis=(0, 1)) - 2) < 0.25)


def test_float32_pytrees_without_warm_up():
    def by_name(at):
        return normal(jnp.concatenate([at["a"].reshape(-1), at["b"][None]]))

    start = {"a": np.ones((4, 1, 2)), "b": np.zeros(4)}
    with precision_context("float32"):
        draws = nuts(by_name, start, seed=0, n_warmup=0, n_draws=500, progress=False)
    a, b = draws.positions["a"], draws.positions["b"]
    assert a.shape == (4, 500, 1, 2)
    assert b.shape == (4, 500)
    assert a.dtype == b.dtype == draws.stats["lp"].dtype == np.float32
    assert np.all(draws.stats["step_size"] == 1)
    together = np.concatenate([a[:, :, 0], b[:, :, None]], axis=2).astype(float)
    assert_moments(together, np.zeros(3), np.eye(3))


# The same bits.


def test_seeds(reference):
    assert_same_bits(reference, run())
    other = run(seed=1)
    assert not np.any(other.positions == reference.positions)
    # No chain follows another; one may stay where it is.
    distinct = [np.unique(chain[:, 0]) for chain in reference.positions]
    assert len(np.unique(np.concatenate(distinct))) == sum(map(len, distinct)) > 3900


def test_arguments_need_no_new_program(reference):
    n_programs = no_u_turn.compiled.cache_info().misses
    moved = run(shift=100.0, start=START + 100)
    assert no_u_turn.compiled.cache_info().misses == n_programs
    assert_moments(moved.positions, MEAN + 100, COVARIANCE)


class Stop(Exception):
    pass


class Interrupting:
    """A progress bar at which an impatient user gives up."""

    def __init__(self, total, after):
        self.total, self.n, self.after = total, 0, after

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def update(self, n):
        self.n += n
        if self.n >= self.after:
            raise Stop


@pytest.mark.parametrize("after", [0, 100, 900])
def test_interrupted_chains_go_on_to_the_same_bits(
    tmp_path, monkeypatch, reference, after
):
    path = tmp_path / "chains.nc"
    # Many short pieces, however fast the machine is.
    monkeypatch.setattr(sampling, "SECONDS_PER_PIECE", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(
            sampling, "progress_bar", lambda total, *_, **__: Interrupting(total, after)
        )
        with monkeypatch.context() as faster:
            faster.setattr(sampling, "SECONDS_PER_PIECE", 0.02)
            with pytest.raises(Stop):
                run(checkpoint=path)
    assert path.exists()
    monkeypatch.setattr(sampling, "SECONDS_PER_PIECE", 1.0)
    assert_same_bits(run(checkpoint=path), reference)
    # What is finished is only read.
    with monkeypatch.context() as patch:
        patch.setattr(
            sampling, "progress_bar", lambda total, *_, **__: Interrupting(total, 1501)
        )
        assert_same_bits(run(checkpoint=path), reference)


def test_saves_come_at_intervals(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(sampling._Checkpoint, "write", lambda *_: saved.append(1))
    monkeypatch.setattr(sampling, "SECONDS_PER_PIECE", 0.02)
    run(checkpoint=tmp_path / "rarely.nc")
    assert len(saved) == 1
    monkeypatch.setattr(sampling, "SECONDS_PER_SAVE", 0.0)
    run(checkpoint=tmp_path / "often.nc")
    assert len(saved) > 3


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A finished checkpoint."""
    path = tmp_path_factory.mktemp("written") / "kept.nc"
    with strict():
        run(checkpoint=path)
    return path


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"seed": 1}, "seed"),
        ({"target_accept": 0.9}, "target_accept"),
        ({"start": START + 1e-9}, "start"),
        ({"which": NORMAL}, "log_density"),
    ],
)
def test_a_checkpoint_of_other_arguments_is_refused(written, changed, named):
    before = written.read_bytes()
    with pytest.raises(InvalidInputError, match=f"checkpoint: .*another .*{named}"):
        run(**changed, checkpoint=written)
    assert written.read_bytes() == before


# What is refused.


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_starts_without_a_density_are_refused(value):
    start = START.copy()
    start[2] = 11.0
    match = "start: got a log density of .*at the start of chain 2, expected finite"
    with pytest.raises(InvalidInputError, match=match):
        run(BAD, start, value=value)


@pytest.mark.parametrize(
    ("start", "error"),
    [
        (np.float64(1.0), ShapeError),
        ({"a": np.ones((2, 1)), "b": np.ones((3, 1))}, ShapeError),
        (np.ones((0, 3)), ShapeError),
        ({}, ShapeError),
    ],
)
def test_starts_need_a_chain_axis(start, error):
    with pytest.raises(error, match="start: got shapes"):
        run(start=start)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1}, {"n_draws": 0}, {"n_warmup": -1}, {"max_tree_depth": 0},
        {"target_accept": 1.0}, {"target_accept": 0.0},
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        run(**wrong)


def test_modules_with_arrays_are_functions_too():
    class Density(eqx.Module):
        mean: jax.Array

        def __call__(self, at):
            return normal(at - self.mean)

    function = sampling._hashable(Density(jnp.ones(1)))
    assert hash(function) is not None
    assert float(function(jnp.ones(1) * 3)) == -2
    assert sampling._hashable(normal) is normal


def test_good_draws_raise_no_warning(reference):
    told = diagnose(reference)
    assert isinstance(told, xr.Dataset)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_trouble(told)
