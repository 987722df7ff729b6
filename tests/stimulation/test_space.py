"""Candidates lie where they should, and send what they say."""

import numpy as np
import pytest

from neuromod.core import plain
from neuromod.core.errors import InvalidInputError
from neuromod.stimulation.axes import Interval
from neuromod.stimulation.candidates import all_of, drawn_from
from neuromod.stimulation.space import Space

POSITIONS = {"1": (0, 0), "2": (0, 1), "3": (1, 0), "4": (1, 1)}
FIXED = {"pulse_width": 200.0, "frequency": 300.0}


def single():
    axes = {"electrode": list(POSITIONS), "amplitude": [20.0, 60.0, 100.0]}
    return Space(axes, POSITIONS, fixed=FIXED)


def pairs(**options):
    axes = {"electrode_a": [1, 2, 3, 4], "electrode_b": [1, 2, 3, 4], "delay": [0, 60]}
    fixed = FIXED | {"amplitude": 50.0}
    return Space(axes, POSITIONS, fixed=fixed, **options)


def test_coordinates_are_pitches_and_steps():
    space = single()
    assert len(space) == 12
    here = space.find({"electrode": "3", "amplitude": 100.0})
    np.testing.assert_array_equal(space.coordinates[here], [1, 0, 2])
    assert space.stimulus(space[here]).amplitude == 100.0
    assert space.stimulus(space[here]).electrodes == ("3",)


def test_all_electrodes_of_a_combination_are_stimulated():
    space = pairs()
    here = space.find({"electrode_a": "2", "electrode_b": "4", "delay": 60})
    assert space.stimulus(space[here]).electrodes == ("2", "4")
    same = space.find({"electrode_a": "2", "electrode_b": "2", "delay": 60})
    assert space.stimulus(space[same]).electrodes == ("2",)


def test_blocks_have_their_coordinates_and_parts_of_their_own():
    assert pairs().block.parts == ()
    pair = {"first": ["electrode_a"], "second": ["electrode_b"]}
    nested = pairs(blocks={"pair": pair, "timing": ["delay"]}).block
    assert [(b.name, b.dimensions) for b in nested.walk()] == [
        ("whole", (0, 1, 2, 3, 4)),
        ("pair", (0, 1, 2, 3)),
        ("first", (0, 1)),
        ("second", (2, 3)),
        ("timing", (4,)),
    ]
    again = Space.from_description(
        pairs(blocks={"pair": pair, "t": ["delay"]}).describe()
    )
    assert [b.name for b in again.block.walk()][-1] == "t"


def test_candidates_are_points_of_the_whole_and_of_every_part():
    blocks = {"first": ["electrode_a"], "second": ["electrode_b", "delay"]}
    space = pairs(blocks=blocks, valid=lambda point: point["electrode_a"] != "4")
    found = all_of(space)
    assert [len(level.points) for level in found.levels] == [24, 3, 8]
    assert found.alone.all()
    first = np.flatnonzero(found.of("first"))
    assert found.stimulus(first[1]).electrodes == ("2",)
    np.testing.assert_array_equal(found.ground.coordinates[first[1]], [0, 1, 0, 0, 0])
    only_time = {"pair": ["electrode_a", "electrode_b"], "timing": ["delay"]}
    found = all_of(pairs(blocks=only_time))
    assert not found.alone[found.of("timing")].any()


def test_any_number_of_an_interval_may_be_chosen():
    axes = {"electrode": ["1", "2"], "amplitude": Interval(10.0, 90.0)}
    space = Space(axes, POSITIONS, fixed=FIXED)
    assert not space.is_finite
    drawn = drawn_from(space, seed=0, n_asked=3)
    values = np.array([point["amplitude"] for point in drawn.points])
    assert len(drawn) == 512
    assert len(set(values)) > 500
    # Spread evenly: as many in every tenth, but for one or two.
    counts, _ = np.histogram(values, bins=np.linspace(10, 90, 11))
    assert np.ptp(counts) <= 6
    near = drawn_from(space, 0, 3, {"electrode": "1", "amplitude": 50.0})
    close = [abs(point["amplitude"] - 50) <= 4 for point in near.points]
    assert sum(close) >= 256
    again = drawn_from(Space.from_description(space.describe()), 0, 3)
    assert again.points == drawn.points
    assert drawn_from(space, 0, 4).points != drawn.points


def test_what_is_not_valid_is_no_candidate():
    space = pairs(valid=lambda point: point["electrode_a"] != point["electrode_b"])
    assert len(space) == 24
    with pytest.raises(InvalidInputError, match="valid"):
        space.find({"electrode_a": "2", "electrode_b": "2", "delay": 0})


def test_a_description_gives_the_same_space():
    space = pairs(valid=lambda point: point["delay"] == 60)
    text = plain.dumps(plain.pack(space.describe(), "space")).encode()
    again = Space.from_description(plain.unpack(plain.loads(text)))
    np.testing.assert_array_equal(again.coordinates, space.coordinates)
    assert [again[k] for k in range(16)] == [space[k] for k in range(16)]
    assert again.stimulus(again[5]) == space.stimulus(space[5])


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Space({"electrode": ["1"]}, POSITIONS, fixed=FIXED), "no amplitude"),
        (
            lambda: Space({"amplitude": [1.0]}, fixed=FIXED),
            "no electrode",
        ),
        (
            lambda: Space({"electrode": ["9"], "amplitude": [1.0]}, {}, fixed=FIXED),
            "none of electrode '9'",
        ),
        (
            lambda: Space(
                {"electrode": ["1"], "amplitude": [1.0, 1.0]}, POSITIONS, fixed=FIXED
            ),
            "all unlike",
        ),
        (
            lambda: Space(
                {"electrode": ["1"], "amplitude": [np.nan]}, POSITIONS, fixed=FIXED
            ),
            "finite",
        ),
        (lambda: pairs(valid=lambda point: False), "no combination"),
        (lambda: pairs(blocks={"a": ["electrode_a"]}), "each of"),
        (
            lambda: Space(
                {"electrode": ["1"], "amplitude": [1.0]},
                POSITIONS,
                fixed=FIXED | {"frequncy": 3},
            ),
            "frequency",
        ),
        (lambda: single().find({"electrode": "1"}), "all of"),
        (lambda: single().find({"electrode": "1", "amplitude": 7.0}), "one of"),
    ],
)
def test_bad_spaces_are_told(make, told):
    with pytest.raises(InvalidInputError, match=told):
        make()
