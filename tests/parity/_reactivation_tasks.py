"""Motion, codes and measures of reactivation against stored numbers."""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from neuromod.reactivation.codes import HeadDirectionCode, PlaceCode
from neuromod.reactivation.measures import components, density, paths
from neuromod.reactivation.motion_walk import Draws, HeadDirectionWalk, RandomWalk
from tests.parity._format import Case, Fixture, Report

TIGHT = 1e-10


def check(fixture: Fixture, report: Report) -> None:
    """Check every case: the motion from its draws, the codes, what they decode to."""
    for name in _cases(fixture):
        with report.case(fixture.name, name) as case:
            turning = f"{name}/preferred" in fixture
            (_check_turning if turning else _check_walk)(case, fixture, name)


def _cases(fixture: Fixture) -> Iterator[str]:
    yield from dict.fromkeys(key.partition("/")[0] for key in fixture.arrays)


def _check_walk(case: Case, fixture: Fixture, name: str) -> None:
    def stored(key):
        return jnp.asarray(fixture[f"{name}/{key}"])

    (
        width, height, border, slow, drift, x, y, time_step, mean, sd, scale,
        cell_width, surround,
    ) = map(float, fixture[f"{name}/scalars"])  # fmt: skip
    walk = RandomWalk(
        box=(width, height),
        biased=name.startswith("biased"),
        drift=drift,
        anchor=(x, y),
        time_step=time_step,
        turn_mean=mean,
        turn_sd=sd,
        speed_scale=scale,
        border=border,
        slow_factor=slow,
    )
    start = jnp.stack([stored("draw/x0"), stored("draw/y0")], axis=-1)
    drawn = Draws(start, *(stored(f"draw/{k}") for k in ("hd0", "turn", "speed")))
    found = walk.follow(drawn)
    case.compare("init_pos", found.positions[:, 0], stored("init_pos"), TIGHT)
    case.compare("target_pos", found.positions[:, 1:], stored("target_pos"), TIGHT)
    case.compare("input_v", found.inputs[:, 1:], stored("input_v"), TIGHT)
    case.compare("ego_v", found.distances[:, 1:], stored("ego_v"), TIGHT)
    _compare_angles(case, "target_hd", found.headings[:, 1:], stored("target_hd"))
    at = stored("target_pos")[:, :: int(fixture[f"{name}/activation_every"])]
    centres = stored("cell_centres")
    kinds = {"activation": "softmax", "activation_dog_intended": "difference"}
    for key, kind in kinds.items():
        if f"{name}/{key}" in fixture:
            code = PlaceCode(centres, cell_width, kind, surround)
            case.compare(key, code.activation(at), stored(key), TIGHT)
    code = PlaceCode(centres, cell_width)
    decoded = code.decode(stored("decode_in"))
    case.compare("decoded", decoded, stored("decoded_pos_top3"), TIGHT)


def _check_turning(case: Case, fixture: Fixture, name: str) -> None:
    def stored(key):
        return jnp.asarray(fixture[f"{name}/{key}"])

    time_step, mean, sd, spread = map(float, fixture[f"{name}/scalars"])
    walk = HeadDirectionWalk(name.startswith("biased"), time_step, mean, sd)
    found = walk.follow(stored("draw/hd0"), stored("draw/turn"))
    _compare_angles(case, "init_hd", found.start, stored("init_hd"))
    case.compare("input_angv", found.inputs, stored("input_angv"), TIGHT)
    _compare_angles(case, "target_hd", found.positions, stored("target_hd"))
    code = HeadDirectionCode(stored("preferred"), spread)
    at = stored("target_hd")
    case.compare("activation", code.activation(at), stored("activation"), TIGHT)
    decoded = code.decode(stored("decode_in"))
    _compare_angles(case, "decoded", decoded, stored("decoded_hd_top3"))


def _compare_angles(case: Case, quantity: str, got, want) -> None:
    """Compare as points of the circle: an angle is one modulo a turn."""
    got, want = (np.exp(1j * np.asarray(a)) for a in (got, want))
    case.compare(quantity, got, want, TIGHT)


def check_measures(fixture: Fixture, report: Report) -> None:
    """Check steps, variances, kernel densities, divergences and components."""
    for name in _cases(fixture):
        with report.case(fixture.name, name) as case:
            _check_measures(case, fixture, name)


def _check_measures(case: Case, fixture: Fixture, name: str) -> None:
    def stored(key):
        return fixture[f"{name}/{key}"]

    awake, asleep = stored("awake"), stored("quiescent")
    for kind, walk in {"awake": awake, "quiescent": asleep}.items():
        key = f"stepwise_distance_{kind}"
        case.compare(key, paths.step_length(walk), stored(key), TIGHT)
    variance = paths.within_trajectory_variance(asleep, shift=int(stored("shift")))
    key = "output_variance_quiescent"
    case.compare(key, variance.mean(), stored(key), TIGHT)
    densities = [density.kernel_density(walk) for walk in (awake, asleep)]
    factors = [found.factor for found in densities]
    case.compare("kde_factor", factors, stored("kde_factor"), TIGHT)
    points = stored("kde_points")
    for kind, found in zip(("awake", "quiescent"), densities, strict=True):
        key = f"kde_{kind}_logpdf"
        case.compare(key, found.log_density(points), stored(key), TIGHT)
    samples = stored("kl_samples_from_quiescent_kde")
    found = density.monte_carlo_kl(samples, densities[1], densities[0])
    case.compare("kl", found, stored("kl_reference_mc"), TIGHT)
    states = {k: stored(f"pca_{k}_states") for k in ("awake", "quiescent")}
    for kind, rows in states.items():
        ratios = components.principal_components(rows).explained_variance_ratio
        case.compare(f"pca_{kind}_evr", ratios, stored(f"pca_{kind}_evr"), TIGHT)
    axes = components.principal_components(states["awake"])
    wanted = stored("pca_quiescent_projected_abs")
    projected = components.project(states["quiescent"], axes, wanted.shape[1])
    case.compare("pca_projected", np.abs(projected), wanted, TIGHT)
