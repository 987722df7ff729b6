"""Codes, components, transport, tables and cautions: what the measures mean."""

import warnings

import numpy as np
import pytest
import xarray as xr

from neuromod.core.errors import InvalidInputError, ShapeError
from neuromod.reactivation import measures
from neuromod.reactivation.codes import HeadDirectionCode, PlaceCode
from neuromod.reactivation.measures import CIRCLE, Uniform
from tests.reactivation.test_measures_density import cases, wrapped
from tests.reactivation.test_measures_paths import walk

ARENA = [[-1.1, 1.1], [-1.1, 1.1]]
HEADINGS = measures.grid(CIRCLE, 200, periodic=True)


@pytest.fixture(scope="module")
def headings():
    return HeadDirectionCode.regular(24, np.pi / 6)


@pytest.fixture(scope="module")
def places():
    centres = np.random.default_rng(0).uniform(-1.1, 1.1, (60, 2))
    return PlaceCode(centres, 0.3)


def ideal(code, positions):
    return np.asarray(code.activation(np.asarray(positions, "f4")), float)


# --- the manifold of codes


def test_the_code_of_a_candidate_fits_perfectly(headings, places):
    arena = measures.grid(ARENA, 15)
    for code, candidates in ((headings, HEADINGS), (places, arena)):
        chosen = candidates[::7]
        fit = measures.manifold_fit(ideal(code, chosen), code, candidates)
        np.testing.assert_allclose(fit.cosine, 1, atol=1e-6)
        np.testing.assert_allclose(fit.amplitude, 1, atol=1e-5)
        np.testing.assert_allclose(fit.residual, 0, atol=1e-5)
        np.testing.assert_allclose(fit.position, chosen, atol=1e-6)


def test_strength_shows_in_amplitude_and_residual_alone(headings):
    outputs = 0.25 * ideal(headings, HEADINGS[:50])
    fit = measures.manifold_fit(outputs, headings, HEADINGS)
    np.testing.assert_allclose(fit.cosine, 1, atol=1e-6)
    np.testing.assert_allclose(fit.amplitude, 0.25, rtol=1e-5)
    np.testing.assert_allclose(fit.residual, 0.75, rtol=1e-5)


def test_residual_amplitude_and_cosine_belong_together(headings):
    outputs = np.random.default_rng(0).normal(size=(3, 40, 24))
    fit = measures.manifold_fit(outputs, headings, HEADINGS)
    assert fit.cosine.shape == (3, 40)
    assert fit.position.shape == (3, 40, 1)
    expected = 1 + fit.amplitude**2 - 2 * fit.amplitude * fit.cosine
    np.testing.assert_allclose(fit.residual**2, expected, rtol=1e-6)
    assert fit.cosine.mean() < 0.7


def test_the_best_candidate_is_that_of_a_search_over_all(headings):
    outputs = np.random.default_rng(1).normal(size=(7, 24))
    codes = ideal(headings, HEADINGS)
    norms = np.linalg.norm(codes, axis=1) * np.linalg.norm(outputs, axis=1)[:, None]
    cosines = outputs @ codes.T / norms
    fit = measures.manifold_fit(outputs, headings, HEADINGS)
    np.testing.assert_allclose(fit.cosine, cosines.max(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(fit.position, HEADINGS[cosines.argmax(axis=1)])


def test_chunks_change_nothing(headings, monkeypatch):
    outputs = np.random.default_rng(0).normal(size=(3, 40, 24))
    whole = measures.manifold_fit(outputs, headings, HEADINGS)
    module = "neuromod.reactivation.measures.manifold.CHUNK"
    monkeypatch.setattr(module, 7 * len(HEADINGS))
    for one, other in zip(
        measures.manifold_fit(outputs, headings, HEADINGS), whole, strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_a_silent_output_fits_nothing(headings):
    fit = measures.manifold_fit(np.zeros((2, 24)), headings, HEADINGS)
    np.testing.assert_array_equal(fit.cosine, 0)
    np.testing.assert_array_equal(fit.amplitude, 0)
    np.testing.assert_allclose(fit.residual, 1)


def test_bad_outputs_are_refused(headings):
    with pytest.raises(ShapeError, match="24 cells of the code"):
        measures.manifold_fit(np.zeros((2, 23)), headings, HEADINGS)
    with pytest.raises(InvalidInputError, match="outputs"):
        measures.manifold_fit(np.full((2, 24), np.nan), headings, HEADINGS)
    with pytest.raises(ShapeError, match="candidates"):
        measures.manifold_fit(np.zeros((2, 24)), headings, HEADINGS[:0])

    class Silent:
        def activation(self, position):
            return np.zeros((len(position), 24))

    with pytest.raises(InvalidInputError, match="silent"):
        measures.manifold_fit(np.zeros((2, 24)), Silent(), HEADINGS)


# --- principal components


def test_components_are_the_reference_s():
    for case in cases().values():
        found = {}
        for name in ("awake", "quiescent"):
            found[name] = measures.principal_components(case[f"pca_{name}_states"])
            np.testing.assert_allclose(
                found[name].explained_variance_ratio,
                case[f"pca_{name}_evr"],
                rtol=1e-10,
            )
        projected = measures.project(case["pca_quiescent_states"], found["awake"], 2)
        np.testing.assert_allclose(
            np.abs(projected), case["pca_quiescent_projected_abs"], rtol=1e-10
        )


def rotated(variances, seed, n_samples=4000):
    generator = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(generator.normal(size=(len(variances),) * 2))
    cloud = generator.normal(size=(n_samples, len(variances))) * np.sqrt(variances)
    return cloud @ turn.T, turn


def test_components_of_a_known_covariance():
    variances = np.array([9.0, 4.0, 1.0, 0.25])
    states, turn = rotated(variances, 0, 40_000)
    found = measures.principal_components(states + 5)
    np.testing.assert_allclose(
        found.explained_variance_ratio, variances / variances.sum(), rtol=0.05
    )
    np.testing.assert_allclose(np.abs(found.axes @ turn), np.eye(4), atol=0.03)
    np.testing.assert_allclose(found.mean, 5, atol=0.1)
    np.testing.assert_allclose(found.axes @ found.axes.T, np.eye(4), atol=1e-12)
    assert (
        np.take_along_axis(found.axes, np.abs(found.axes).argmax(1)[:, None], 1) > 0
    ).all()


def test_equal_ratios_along_other_axes_are_told_apart_by_capture():
    axes = np.eye(6)
    spread = np.random.default_rng(0).normal(size=(5000, 2)) * [3.0, 2.0]
    awake, quiescent = spread @ axes[:2], spread @ axes[3:5]
    noise = 0.01 * np.random.default_rng(1).normal(size=(5000, 6))
    awake, quiescent = awake + noise, quiescent + noise
    own, other = map(measures.principal_components, (awake, quiescent))
    np.testing.assert_allclose(
        own.explained_variance_ratio, other.explained_variance_ratio, atol=1e-3
    )
    assert measures.capture(awake, own, 2)[-1] > 0.999
    assert measures.capture(quiescent, own, 2)[-1] < 0.001
    assert measures.capture(quiescent, own, 6)[-1] == pytest.approx(1)
    # About its own mean: a shift is no variance.
    shifted = measures.capture(quiescent + 100, own, 2)
    np.testing.assert_allclose(shifted, measures.capture(quiescent, own, 2), atol=1e-9)


def test_projections_are_centred_at_the_awake_mean():
    awake, _ = rotated(np.array([4.0, 1.0, 0.1]), 0)
    components = measures.principal_components(awake + 3)
    np.testing.assert_allclose(
        measures.project(awake + 3, components, 2).mean(axis=0), 0, atol=1e-10
    )
    shape = measures.project(np.zeros((2, 5, 3)), components, 1).shape
    assert shape == (2, 5, 1)


def test_bad_states_are_refused():
    awake, _ = rotated(np.array([4.0, 1.0, 0.1]), 0, 100)
    components = measures.principal_components(awake)
    with pytest.raises(ShapeError, match="3"):
        measures.capture(awake[:, :2], components, 1)
    with pytest.raises(InvalidInputError, match="at most 3"):
        measures.project(awake, components, 4)
    with pytest.raises(InvalidInputError, match="not finite"):
        measures.principal_components(np.full((4, 3), np.inf))
    with pytest.raises(InvalidInputError, match="all the same"):
        measures.principal_components(np.ones((4, 3)))
    with pytest.raises(ShapeError, match="at least two"):
        measures.principal_components(np.ones((1, 3)))


# --- transport


def test_a_shifted_cloud_is_its_shift_away():
    line = walk(n_trials=4, n_steps=200, n_dimensions=1)
    assert measures.wasserstein(line + 0.3, line, seed=0) == pytest.approx(0.3)
    plane = np.random.default_rng(0).normal(size=(2, 150, 2))
    shift = np.array([3.0, 4.0])
    assert measures.wasserstein(plane + shift, plane, seed=0) == pytest.approx(5)


def test_on_a_circle_the_way_is_the_shorter_one():
    angles = np.random.default_rng(0).vonmises(0, 3.0, (1, 300, 1))
    turned = wrapped(angles + np.pi - 0.2)
    found = measures.wasserstein(turned, angles, seed=0, periodic=True)
    again = measures.wasserstein(
        wrapped(turned + 2), wrapped(angles + 2), seed=0, periodic=True
    )
    assert found == pytest.approx(again, abs=1e-9)
    assert found < np.pi - 0.2
    # A cloud so narrow that nothing goes the other way round, across the cut.
    narrow = np.random.default_rng(0).vonmises(np.pi, 30.0, (1, 300, 1))
    moved = wrapped(narrow + 0.1)
    found = measures.wasserstein(moved, narrow, seed=0, periodic=True)
    assert found == pytest.approx(0.1)
    assert measures.wasserstein(moved, narrow, seed=0) > 0.11


def test_two_draws_of_one_cloud_are_as_near_as_their_number_allows():
    draw = np.random.default_rng(0).normal
    a, b = draw(size=(1, 4000, 2)), draw(size=(1, 4000, 2))
    few, many = (measures.wasserstein(a, b, seed=0, max_points=n) for n in (50, 800))
    assert 0 < many < few < 0.8
    assert measures.wasserstein(a, b, seed=1, max_points=50) != few


# --- cautions


def test_a_transient_reference_is_refused():
    measures.require_stationary(60, 60)
    with pytest.raises(InvalidInputError, match=r"slice\(50, None\)"):
        measures.require_stationary(10, 60)


def test_outputs_off_the_manifold_are_told():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measures.caution_manifold([0.9, 0.5], [0.5, 0.4])
    with pytest.warns(measures.MisleadingWarning, match=r"cosine .* 0\.40"):
        measures.caution_manifold([0.3, 0.5], 1.0)
    with pytest.warns(measures.MisleadingWarning, match=r"amplitude .* 0\.20"):
        measures.caution_manifold(0.9, [0.1, 0.3])
    with pytest.warns(measures.MisleadingWarning, match="nan"):
        measures.caution_manifold(np.nan, 1.0)


def test_a_divergence_that_tells_nothing_is_told():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measures.caution_divergence([0.35, 0.4], [1.5, 1.6])
    with pytest.warns(measures.MisleadingWarning, match=r"0\.02 nats"):
        measures.caution_divergence([0.08, 0.13], [0.02, 0.14])


# --- tables


def labelled(values, dims, units=""):
    time = {"time": 0.02 * np.arange(values.shape[1])}
    return xr.DataArray(values, dims=dims, coords=time, attrs={"units": units})


def test_paths_come_with_names_units_and_delays_in_seconds():
    values = np.clip(0.1 * walk(n_trials=5, n_steps=80), -1, 1)
    positions = labelled(values, ("trial", "time", "space"), "m")
    positions = positions.assign_coords(space=["x", "y"])
    table = measures.path_table(
        positions.transpose("space", "trial", "time"), bounds=ARENA, lags=[1, 2, 4]
    )
    np.testing.assert_allclose(table["lag"], [0.02, 0.04, 0.08])
    np.testing.assert_allclose(table["step_length"], measures.step_length(values))
    np.testing.assert_allclose(
        table["displacement"], measures.displacement(values, [1, 2, 4])
    )
    assert table["step_length"].attrs["units"] == "m per step"
    assert table["within_trajectory_variance"].attrs["units"] == "m^2"
    assert list(table["velocity_sd"]["space"].values) == ["x", "y"]
    assert all("long_name" in table[name].attrs for name in table)
    late = measures.path_table(positions, bounds=ARENA, lags=[1, 2], shift=40, n_bins=3)
    assert not np.allclose(
        late["within_trajectory_variance"], table["within_trajectory_variance"]
    )
    assert late["coverage"] > table["coverage"]


def test_paths_on_a_circle_come_in_radians():
    angles = wrapped(walk(n_trials=5, n_steps=80, n_dimensions=1, drift=0.3))
    positions = labelled(angles, ("trial", "time", "space"), "rad")
    table = measures.path_table(positions, bounds=CIRCLE, lags=[1, 2], periodic=True)
    np.testing.assert_allclose(table["velocity_mean"], 0.3, atol=0.02)
    assert table["velocity_mean"].attrs["units"] == "rad per step"


def test_divergences_of_sleep_and_of_chance_stand_in_tables_of_one_form():
    generator = np.random.default_rng(0)
    dims = ("trial", "time", "space")
    awake = labelled(generator.normal(0, 0.2, (10, 100, 2)), dims, "m")
    quiescent = labelled(generator.normal(0, 0.2, (10, 150, 2)), dims, "m")
    settings = {"bounds": ARENA, "first_step": 60, "stationary_after": 60, "seed": 0}
    asleep = measures.density_table(quiescent, awake, **settings)
    chance = measures.density_table(Uniform(ARENA), awake, **settings)
    assert list(asleep) == list(chance) == ["kl_kde", "kl_histogram", "wasserstein"]
    for name in asleep:
        assert float(asleep[name]) < 0.2 < float(chance[name])
    assert asleep["wasserstein"].attrs["units"] == "m"
    coarse = measures.density_table(quiescent, awake, **settings, n_bins=2)
    assert coarse["kl_histogram"] < asleep["kl_histogram"]
    with pytest.raises(InvalidInputError, match="stationary"):
        measures.density_table(quiescent, awake, **{**settings, "first_step": 0})


def test_divergences_on_a_circle_are_periodic():
    dims = ("trial", "time", "space")
    draw = np.random.default_rng(0).vonmises
    awake, asleep = (
        labelled(draw(np.pi, 4.0, (5, 100, 1)), dims, "rad") for _ in range(2)
    )
    settings = {"bounds": CIRCLE, "first_step": 0, "stationary_after": 0, "seed": 0}
    table = measures.density_table(asleep, awake, **settings, periodic=True)
    turned = measures.density_table(
        wrapped(asleep + np.pi).assign_attrs(units="rad"),
        wrapped(awake + np.pi),
        **settings,
        periodic=True,
    )
    assert float(table["kl_kde"]) == pytest.approx(float(turned["kl_kde"]), abs=0.02)
    assert float(table["wasserstein"]) == pytest.approx(
        float(turned["wasserstein"]), abs=1e-9
    )


def test_fits_to_the_code_are_told_at_every_time(headings):
    dims = ("trial", "time", "cell")
    outputs = labelled(np.random.default_rng(0).normal(size=(3, 40, 24)), dims)
    table = measures.manifold_table(outputs, headings, HEADINGS)
    fit = measures.manifold_fit(outputs.values, headings, HEADINGS)
    for name in ("cosine", "residual", "amplitude"):
        assert table[name].dims == ("trial", "time")
        np.testing.assert_array_equal(table[name], getattr(fit, name))
    np.testing.assert_array_equal(table["time"], outputs["time"])


def test_overlap_of_components_is_told_both_ways():
    dims = ("trial", "time", "unit")
    awake = rotated(np.array([9.0, 4.0, 1.0, 0.1]), 0, 400)[0].reshape(4, 100, 4)
    asleep = awake[:, ::2] * [1, 1, 0, 1]
    table = measures.component_table(
        labelled(asleep, dims), labelled(awake, dims), n_components=3
    )
    assert table.sizes == {"latent": 3}
    own = measures.principal_components(awake)
    np.testing.assert_allclose(
        table["quiescent_in_awake"], measures.capture(asleep, own, 3)
    )
    np.testing.assert_allclose(
        table["explained_variance_awake"], own.explained_variance_ratio[:3]
    )
    assert not np.allclose(table["quiescent_in_awake"], table["awake_in_quiescent"])


def test_arrays_without_names_are_refused_by_the_tables(headings):
    values = walk(n_trials=2, n_steps=20)
    with pytest.raises(ShapeError, match="trial, time, space"):
        measures.path_table(values, bounds=ARENA, lags=[1, 2])
    unknown = xr.DataArray(values, dims=("trial", "tyme", "space"))
    with pytest.raises(ShapeError, match="time"):
        measures.path_table(unknown, bounds=ARENA, lags=[1, 2])
    timeless = xr.DataArray(values, dims=("trial", "time", "space"))
    with pytest.raises(InvalidInputError, match="time coordinate"):
        measures.path_table(timeless, bounds=ARENA, lags=[1, 2])
    with pytest.raises(ShapeError, match="outputs"):
        measures.manifold_table(timeless, headings, HEADINGS)


def test_a_grid_leaves_out_the_end_of_a_circle():
    assert len(measures.grid(ARENA, 5)) == 25
    closed, opened = measures.grid(CIRCLE, 8), measures.grid(CIRCLE, 8, periodic=True)
    assert closed[-1, 0] == np.pi
    np.testing.assert_allclose(opened[-1, 0], np.pi - 2 * np.pi / 8)
