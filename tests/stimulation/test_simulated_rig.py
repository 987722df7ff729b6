"""A simulated rig answers like muscles do, as a map that is known."""

import dataclasses
import time

import numpy as np
import pytest

from neuromod.core.errors import InvalidInputError
from neuromod.stimulation.limits import Stimulus
from neuromod.stimulation.rig import NoResponseError, Rig, RigLostError
from neuromod.stimulation.simulated_rig import SimulatedRig
from neuromod.stimulation.space import Interval, Space

POSITIONS = {str(k): divmod(k, 4) for k in range(16)}
LABELS = list(POSITIONS)
TRAIN = {"pulse_width": 200.0, "frequency": 300.0, "n_pulses": 12}
QUIET = {"seed": 0, "variation": 0.0}


def space(amplitudes=(80.0,), electrodes=tuple(POSITIONS), **options):
    axes = {"electrode": list(electrodes), "amplitude": amplitudes}
    return Space(axes, POSITIONS, fixed=TRAIN, **options)


def stimulus(*electrodes, **changes):
    return dataclasses.replace(Stimulus(electrodes, 80.0, **TRAIN), **changes)


def best(rig):
    """Return the electrode with the largest true response of the first muscle."""
    return LABELS[rig.true_map(space())[:, 0].to_numpy().argmax()]


def responses(rig, n_trials, *given, **changes):
    told = [
        rig.stimulate(stimulus(*given, **changes), {}, f"{len(rig.sent)}")
        for _ in range(n_trials)
    ]
    return np.array([list(one.values()) for one in told])


def test_it_is_a_rig_whose_best_site_can_be_found():
    rig = SimulatedRig(POSITIONS, ["flexor"], seed=3)
    assert isinstance(rig, Rig)
    means = [responses(rig, 10, label).mean() for label in LABELS]
    truth = rig.true_map(space())[:, 0].to_numpy()
    assert truth[np.argmax(means)] > 0.9 * truth.max()
    assert np.corrcoef(means, truth)[0, 1] > 0.95


def test_responses_are_those_of_the_true_map_with_a_deviation_that_grows():
    rig = SimulatedRig(POSITIONS, ["flexor", "extensor"], seed=0, variation=0.3)
    truth = rig.true_map(space())
    order = np.argsort(truth[:, 0].to_numpy())
    deviations = []
    for k in (order[0], order[-1]):
        told = responses(rig, 150, LABELS[k])
        error = told.std(axis=0) / np.sqrt(len(told))
        assert (abs(told.mean(axis=0) - truth[k].to_numpy()) < 4 * error + 0.005).all()
        deviations.append(told.std(axis=0)[0])
        np.testing.assert_allclose(told.std(0) / told.mean(0), 0.3, atol=0.07)
    assert deviations[1] > 1.5 * deviations[0]


def test_without_variation_only_the_noise_of_the_recording_is_left():
    rig = SimulatedRig(POSITIONS, **QUIET)
    told = responses(rig, 20, best(rig))
    assert 0 < told.std() < 0.02 * told.mean()


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("amplitude", (20.0, 50.0, 80.0, 110.0)),
        ("pulse_width", (50.0, 100.0, 200.0, 400.0)),
        ("frequency", (50.0, 100.0, 200.0, 300.0)),
        ("n_pulses", (1, 4, 8, 12)),
    ],
)
def test_every_part_of_a_stimulus_matters(part, values):
    rig = SimulatedRig(POSITIONS, **QUIET)
    site = best(rig)
    found = [responses(rig, 1, site, **{part: v}).item() for v in values]
    assert (np.diff(found) > 0.02).all()
    assert found[-1] > 2 * found[0]


def test_a_pulse_excites_by_the_law_of_strength_and_duration():
    rig = SimulatedRig(POSITIONS, **QUIET)
    site = best(rig)
    plain = responses(rig, 1, site).item()
    # A wider pulse needs less current, but not as much less as for the same charge.
    weiss = 80.0 * (200 / 450) / (300 / 550)
    as_strong = responses(rig, 1, site, pulse_width=300.0, amplitude=weiss).item()
    charge = 80.0 * 200 / 300
    as_charged = responses(rig, 1, site, pulse_width=300.0, amplitude=charge).item()
    assert as_strong == pytest.approx(plain, rel=0.02)
    assert as_charged < 0.9 * plain


def test_the_current_falls_with_the_distance():
    rig = SimulatedRig(POSITIONS, **QUIET)
    near, far = (rig._reach(stimulus(label)) for label in ("0", "10"))
    at = np.array(list(POSITIONS.values()))
    order = np.argsort(np.linalg.norm(at, axis=1))
    assert (np.diff(near[order]) <= 0).all()
    assert near[0] > 3 * near[1] > 6 * near[3]
    assert far.argmax() == 10
    np.testing.assert_allclose(near, 2 * rig._reach(stimulus("0", amplitude=40.0)))
    np.testing.assert_allclose(rig._reach(stimulus("0", "10")), near + far)


def test_two_electrodes_do_more_than_either():
    rig = SimulatedRig(POSITIONS, **QUIET)
    first, second = np.argsort(rig.true_map(space())[:, 0].to_numpy())[-2:]
    alone = [responses(rig, 1, LABELS[k]).item() for k in (first, second)]
    assert responses(rig, 1, *(LABELS[k] for k in (first, second))) > max(alone)


def test_the_same_seed_gives_the_same_trials_and_another_one_another_map():
    one, again, other = (SimulatedRig(POSITIONS, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(responses(one, 5, "3"), responses(again, 5, "3"))
    assert one.impedance() == again.impedance()
    maps = [rig.true_map(space()).to_numpy()[:, 0] for rig in (one, again, other)]
    np.testing.assert_array_equal(maps[0], maps[1])
    assert np.corrcoef(maps[0], maps[2])[0, 1] < 0.9


def test_some_trials_fail_if_they_are_to():
    rig = SimulatedRig(POSITIONS, seed=0, failure=0.4)
    n_failed = 0
    for k in range(60):
        try:
            rig.stimulate(stimulus("3"), {}, str(k))
        except NoResponseError:
            n_failed += 1
    assert 14 <= n_failed <= 34


def test_a_drift_wanders_and_is_not_in_the_true_map():
    rig = SimulatedRig(POSITIONS, **QUIET, drift=0.2)
    site = best(rig)
    before = rig.true_map(space())
    told = np.log(responses(rig, 60, site)[:, 0])
    assert np.diff(told).std() == pytest.approx(0.2, rel=0.3)
    np.testing.assert_array_equal(rig.true_map(space()), before)


def test_a_pulse_is_sent_once():
    rig = SimulatedRig(POSITIONS, seed=0)
    rig.stimulate(stimulus("3"), {}, "a-1")
    with pytest.raises(RigLostError, match="sent before"):
        rig.stimulate(stimulus("3"), {}, "a-1")
    assert rig.sent == ["a-1"]


def test_it_is_there_and_its_electrodes_have_impedances():
    rig = SimulatedRig(POSITIONS, seed=0)
    assert rig.heartbeat()
    assert list(rig.impedance()) == list(POSITIONS)
    assert all(3e4 <= ohm <= 12e4 for ohm in rig.impedance().values())


def test_a_map_has_the_candidates_of_its_space():
    rig = SimulatedRig(POSITIONS, ["flexor", "extensor"], **QUIET)
    some = space((40.0, 80.0), LABELS[4:12])
    found = rig.true_map(some)
    assert found.dims == ("candidate", "output")
    assert found["electrode"].to_numpy().tolist()[:3] == ["4", "4", "5"]
    k = some.find({"electrode": "9", "amplitude": 80.0})
    told = responses(rig, 1, "9")[0]
    np.testing.assert_allclose(told, found[k], atol=0.02)


def test_a_trial_is_fast():
    rig = SimulatedRig(POSITIONS, seed=0)
    responses(rig, 1, "3")
    times = []
    for _ in range(10):
        began = time.process_time()
        responses(rig, 1, "3")
        times.append(time.process_time() - began)
    assert np.median(times) < 0.02


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"seed": None}, "seed"),
        ({"variation": -0.1}, "variation"),
        ({"failure": 1.5}, "failure"),
        ({"drift": np.nan}, "drift"),
    ],
)
def test_what_cannot_be_is_told(given, told):
    with pytest.raises(InvalidInputError, match=told):
        SimulatedRig(POSITIONS, **{"seed": 0} | given)


def test_other_electrodes_and_intervals_are_told():
    rig = SimulatedRig(POSITIONS, seed=0)
    with pytest.raises(InvalidInputError, match="'99'"):
        rig.stimulate(stimulus("99"), {}, "a-1")
    with pytest.raises(InvalidInputError, match="Interval"):
        rig.true_map(space(Interval(10.0, 90.0)))
