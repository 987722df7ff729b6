"""The report in a real browser: light, dark, narrow, and silent on the network."""

import numpy as np
import pytest
from PIL import Image

from neuromod.cli.report import render
from neuromod.core import style
from neuromod.core.report import Number, Picture, Section
from tests.cli import chromium

pytestmark = pytest.mark.browser

LONG = "a_very_long_unit_label_without_a_single_space_" * 4


def section(title="States", name="accuracy"):
    figure, axes = style.figure(size=(6.8, 2))
    axes.plot(np.arange(10), color=style.state_colours(1)[0])
    return Section(
        title=title,
        question="Do the states come back?",
        answer="They do.\n\nThe best of five restarts.",
        pictures=[Picture(figure, "Posterior over time.", "A rising line.")],
        numbers=[
            Number(name, 0.98, "≥ 0.95", "ground truth", met=True),
            Number("log-likelihood", -4.123, -4.1, "truth", "nats/bin", met=False),
            Number("agreement", 0.52, 0.5, "chance"),
        ],
        code="fit = nm.switching.fit(spikes, n_states=2, seed=0)  # " + "long " * 30,
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    sections = [section(), section(title=f"<b>{LONG}", name=LONG)]
    provenance = {"seed": 0, "file": f"/data/{LONG}.npz"}
    return render(sections, path, "neuromod demo", provenance)


@pytest.fixture(scope="module")
def wide(page):
    return chromium.look(page)


def test_every_figure_is_drawn_sharply(wide):
    assert len(wide.images) == 2
    assert all(image["colours"] > 10 for image in wide.images)
    pixels = [image["natural"] / image["shown"] for image in wide.images]
    assert min(pixels) >= 1.99
    assert max(pixels) < 2.2  # not shrunk either: the column is wide enough


def test_every_figure_has_a_text_to_be_spoken(wide):
    assert [image["alt"] for image in wide.images] == ["A rising line."] * 2


def test_headings_form_an_outline(wide):
    assert wide.headings.count(1) == 1
    assert wide.headings[0] == 1
    deeper = np.diff(wide.headings)
    assert deeper.max() == 1


def test_nothing_is_asked_of_the_network(wide):
    assert wide.requests == []


def test_the_browser_has_nothing_to_complain_about(wide):
    assert wide.console == []


@pytest.mark.parametrize("dark", [False, True])
def test_all_text_stands_out(page, dark):
    seen = chromium.look(page, dark=dark)
    assert len(seen.texts) > 30
    assert seen.lowest_contrast["contrast"] >= 4.5, seen.lowest_contrast
    assert seen.background == ("rgb(20, 23, 26)" if dark else "rgb(255, 255, 255)")


@pytest.mark.parametrize("width", [320, 400, 700])
def test_a_narrow_window_scrolls_only_downwards(page, width):
    assert chromium.look(page, width).overflow == 0


@pytest.mark.parametrize("dark", [False, True])
def test_figures_keep_their_white_card(page, tmp_path, dark):
    chromium.screenshot(page, tmp_path / "page.png", (700, 1200), dark)
    pixels = np.asarray(Image.open(tmp_path / "page.png").convert("L"))
    assert pixels.shape == (1200, 700)
    corner = int(pixels[-1, 0])
    assert (corner < 40) if dark else (corner > 250)
    assert (pixels > 250).mean() > 0.1  # the card, at least


def test_the_probe_sees_what_would_be_wrong(tmp_path):
    page = tmp_path / "bad.html"
    page.write_text(
        "<!DOCTYPE html><body style='background:#fff'><h2>x</h2>"
        "<p style='color:#bbb; width:900px'>pale and wide</p>"
        "<img src='http://asked.invalid/a.png' alt=''>"
        "<script>console.error('broken')</script>"
    )
    seen = chromium.look(page, 400)
    assert seen.overflow > 400
    assert seen.lowest_contrast["contrast"] < 2
    assert seen.images[0]["colours"] == 0
    assert any("asked.invalid" in request for request in seen.requests)
    assert any("broken" in line for line in seen.console)
