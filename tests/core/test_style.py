"""The library's figures: one style, colours that everybody can tell apart."""

from itertools import combinations

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from neuromod.core import style
from neuromod.core.errors import InvalidInputError

# Machado, Oliveira & Fernandes (2009), full severity, on linear RGB.
COLOUR_VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)


def linear_rgb(colour):
    encoded = np.array(to_rgb(colour))
    return np.where(
        encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4
    )


def lab(linear):
    """CIELAB of a linear RGB colour, in which distances mean visible difference."""
    ratio = XYZ @ np.clip(linear, 0, 1) / [0.9505, 1.0, 1.089]
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast_with_white(colour):
    luminance = XYZ[1] @ linear_rgb(colour)
    return 1.05 / (luminance + 0.05)


@pytest.mark.parametrize("vision", COLOUR_VISION)
def test_colours_stay_apart_under_every_colour_vision(vision):
    seen = [lab(np.array(COLOUR_VISION[vision]) @ linear_rgb(c)) for c in style.PALETTE]
    nearest = min(np.linalg.norm(a - b) for a, b in combinations(seen, 2))
    assert nearest > 10  # about 2 is just noticeable


def test_colours_of_the_first_states_stand_out_on_paper():
    assert min(contrast_with_white(c) for c in style.PALETTE[:4]) >= 3


@pytest.mark.parametrize("n_states", [1, 2, 7, 8, 20])
def test_every_state_has_a_colour_of_its_own(n_states):
    colours = style.state_colours(n_states)
    assert len(set(colours)) == n_states
    assert all(contrast_with_white(c) > 1.5 for c in colours)


def test_a_state_keeps_its_colour_when_others_are_added():
    assert style.state_colours(4)[:2] == style.state_colours(2)


def test_no_states_have_no_colours():
    with pytest.raises(
        InvalidInputError, match="n_states: got 0, expected a whole number >= 1"
    ):
        style.state_colours(0)


def test_the_style_file_cycles_through_the_palette():
    with style.context():
        cycle = matplotlib.rcParams["axes.prop_cycle"].by_key()["color"]
    assert tuple(f"#{c.lstrip('#')}" for c in cycle) == style.PALETTE


def test_the_style_ends_with_its_context():
    before = matplotlib.rcParams["axes.spines.top"]
    with style.context():
        assert matplotlib.rcParams["axes.spines.top"] is False
    assert matplotlib.rcParams["axes.spines.top"] == before


def test_figure_has_the_asked_size_and_axes():
    figure, axes = style.figure(2, 3, size=(5, 4), sharex=True)
    assert axes.shape == (2, 3)
    assert tuple(figure.get_size_inches()) == (5, 4)
    assert not axes[0, 0].spines["top"].get_visible()


def test_new_axes_keeps_the_axes_passed_in():
    _, ax = plt.subplots()
    assert style.new_axes(ax, (3, 2)) is ax


def test_new_axes_makes_a_figure_of_the_asked_size():
    figure = style.new_axes(None, (3, 2)).get_figure(root=True)
    assert figure is not None
    assert tuple(figure.get_size_inches()) == (3, 2)


@style.styled
def plot_line(values, *, ax=None):
    """Draw a line."""
    ax = style.new_axes(ax)
    ax.plot(values)
    return ax


def test_a_styled_function_draws_its_own_figure_in_the_style():
    line = plot_line([1, 2]).lines[0]
    assert line.get_linewidth() == 1.4
    assert line.get_color() == "#0072B2"


def test_a_styled_function_leaves_the_users_axes_to_the_user():
    with matplotlib.rc_context({"lines.linewidth": 7}):
        _, ax = plt.subplots()
        line = plot_line([1, 2], ax=ax).lines[0]
    assert line.get_linewidth() == 7


def test_a_styled_function_keeps_its_name_and_text():
    assert plot_line.__name__ == "plot_line"
    assert plot_line.__doc__ == "Draw a line."


def test_the_style_leaves_a_notebook_interactive():
    before = matplotlib.is_interactive()
    try:
        matplotlib.interactive(False)
        with style.context():
            # What the backend of a notebook does with the first figure.
            matplotlib.interactive(True)
        assert matplotlib.is_interactive()
    finally:
        matplotlib.interactive(before)
