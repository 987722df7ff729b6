"""One page that carries everything in itself and lets nothing be injected."""

import base64
import re
from html import unescape
from html.parser import HTMLParser
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from neuromod.cli.report import document, flatten, quantity, render
from neuromod.core import style
from neuromod.core.report import Number, Picture, Section

HOSTILE = "</style><script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;"


class Elements(HTMLParser):
    """The elements of a page, each with its attributes."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def all(self, name):
        return [attributes for tag, attributes in self.found if tag == name]


def words(html):
    """The pieces of text of a page, in order."""
    body = html[html.index("<body") :]
    return [unescape(piece) for piece in re.split("<[^>]+>", body) if piece.strip()]


def picture(text="A line."):
    figure, axes = style.figure(size=(3, 2))
    axes.plot([1, 3, 2])
    return Picture(figure, "What the line does.", text)


def section(**changes):
    fields = {
        "title": "States",
        "question": "Do they come back?",
        "answer": "Yes.\n\nAll of them.",
        "numbers": [
            Number("accuracy", 0.98765, "≥ 0.95", "ground truth", met=True),
            Number("error", 0.2, 0.1, "ground truth", "Hz", met=False),
            Number("bins", 12345),
        ],
        "code": "fit = 1 < 2",
        "seconds": 12.3,
    }
    return Section(**{**fields, **changes})


def test_the_page_tells_the_section_in_order():
    page = document([section(pictures=[picture()])], "demo", {"seed": 7})
    assert words(page) == [
        *("Skip to the content", "demo", "1 of 2 numbers as expected."),
        *("Contents", "States", "1 of 2 numbers as expected, 12 s"),
        *("How this page was made", "States", "Do they come back?"),
        *("Yes.", "All of them.", "Figure 1.", " What the line does."),
        *("Numbers", "Table 1.", " What was measured, beside what was expected."),
        *("Quantity", "This run", "Expected", "Verdict"),
        *("accuracy", "0.9877", "≥ 0.95", "ground truth", "✓ met"),
        *("error", "0.2\u00a0Hz", "0.1\u00a0Hz", "ground truth", "✗ not met"),
        *("bins", "12\u202f345", "none", "not judged"),
        *("Do it yourself", "fit = 1 < 2"),
        "How this page was made",
        *("Versions, seed and settings behind this page.", "What", "Value"),
        *("seed", "7"),
    ]


def test_nothing_is_promised_where_nothing_was_expected():
    page = document([section(numbers=[Number("bins", 9)])], "fit", {})
    assert "Expected" not in page
    assert "as expected" not in page
    assert words(page)[-5:] == [
        "This run",
        "bins",
        "9",
        "Do it yourself",
        "fit = 1 < 2",
    ]


def test_an_expected_zero_is_an_expectation():
    page = document([section(numbers=[Number("bias", 0.1, 0)])], "demo", {})
    assert words(page)[-5:-2] == ["0.1", "0", "not judged"]


def test_a_section_may_consist_of_words_alone():
    page = document([Section("A", "B?", "C.")], "fit", {})
    kept = ["Skip to the content", "fit", "Contents", "A", "A", "B?", "C."]
    assert words(page) == kept


def test_figures_and_tables_are_numbered_through_the_page():
    both = [section(pictures=[picture(), picture()]), section(pictures=[picture()])]
    page = document(both, "demo", {})
    assert re.findall(r"(Figure|Table) (\d)\.", page) == [
        *(("Figure", "1"), ("Figure", "2"), ("Table", "1")),
        *(("Figure", "3"), ("Table", "2")),
    ]


def test_a_figure_is_drawn_at_two_pixels_per_css_pixel_and_spoken():
    [image] = Elements(document([section(pictures=[picture()])], "x", {})).all("img")
    assert (image["width"], image["height"]) == ("288", "192")  # 3 x 2 inches
    assert image["alt"] == "A line."
    kind, data = image["src"].split(",")
    assert kind == "data:image/png;base64"
    drawn = Image.open(BytesIO(base64.b64decode(data)))
    assert drawn.size == (576, 384)
    assert len(np.unique(np.asarray(drawn.convert("L")))) > 10


def test_the_same_sections_make_the_same_page():
    first, second = (
        document([section(pictures=[picture()])], "demo", {"seed": 0}) for _ in "ab"
    )
    assert first == second


def test_the_page_asks_nothing_of_anybody():
    elements = Elements(document([section(pictures=[picture()])], "x", {"a": 1}))
    targets = [
        attributes[name]
        for _, attributes in elements.found
        for name in ("src", "href")
        if name in attributes
    ]
    assert len(targets) == 5
    assert all(target.startswith(("data:", "#")) for target in targets)
    assert not {"script", "iframe", "object"} & {tag for tag, _ in elements.found}
    [policy] = [m for m in elements.all("meta") if "http-equiv" in m]
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert policy["content"].startswith("default-src 'none';")


def test_every_link_inside_the_page_has_a_target():
    elements = Elements(document([section(), section()], "x", {"a": 1}))
    ids = [a["id"] for _, a in elements.found if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in elements.all("a")} <= set(ids)
    assert {a["aria-labelledby"] for a in elements.all("section")} <= set(ids)


def test_tables_say_what_their_headers_are_headers_of():
    elements = Elements(document([section()], "x", {"a": 1}))
    scopes = [attributes["scope"] for attributes in elements.all("th")]
    assert scopes == ["col"] * 4 + ["row"] * 3 + ["col"] * 2 + ["row"]
    assert len(elements.all("caption")) == 2


def test_language_and_title_are_told():
    elements = Elements(document([section()], "my fit", {}))
    assert elements.all("html") == [{"lang": "en-GB"}]
    assert "<title>my fit</title>" in document([section()], "my fit", {})


@pytest.mark.parametrize(
    "place", ["title", "question", "answer", "code", "caption", "alt", "name", "unit"]
)
def test_no_text_can_become_markup(place):
    figure = picture().figure
    caption = HOSTILE if place == "caption" else "c"
    drawn = Picture(figure, caption, HOSTILE if place == "alt" else "a")
    number = Number(
        HOSTILE if place == "name" else "n", 1.5, 2, HOSTILE, unit=HOSTILE, met=True
    )
    fields: dict[str, Any] = {"title": "t", "question": "q", "answer": "a", "code": "x"}
    harmless = document([section(pictures=[drawn], **fields)], "t", {})
    if place in fields:
        fields[place] = HOSTILE
    hostile = Section(pictures=[drawn], numbers=[number] * 3, **fields)
    page = document([hostile], HOSTILE, {HOSTILE: HOSTILE})
    tags = {tag for tag, _ in Elements(page).found}
    assert tags == {tag for tag, _ in Elements(harmless).found}
    assert all("onerror" not in a for _, a in Elements(page).found)


def test_provenance_may_be_nested():
    nested = {
        "python_version": "3.11",
        "versions": {"jax_lib": "0.10_2", "numpy": None},
        "devices": {"cpu": {"count": 1}, "name": "x"},
        "inputs": {},
    }
    assert flatten(nested) == [
        ("python version", "3.11"),
        ("versions", "jax lib 0.10_2, numpy none"),
        ("devices cpu", "count 1"),
        ("devices name", "x"),
        ("inputs", "none"),
    ]


@pytest.mark.parametrize(
    ("value", "written"),
    [(12.3456, "12.35"), (["cpu", "gpu"], "cpu, gpu"), (None, "none"), ("", "none")],
)
def test_provenance_is_written_for_people(value, written):
    assert flatten({"key": value}) == [("key", written)]


@pytest.mark.parametrize(
    ("value", "unit", "written"),
    [
        (0.000123456, "", "0.0001235"),
        (-4.123456, "nats/bin", "-4.123\u00a0nats/bin"),
        (np.float32(0.5), "", "0.5"),
        (np.int64(1234567), "spikes", "1\u202f234\u202f567\u00a0spikes"),
        (float("nan"), "", "nan"),
        ("31 of 40", "Hz", "31 of 40"),
    ],
)
def test_numbers_are_written_with_their_unit(value, unit, written):
    assert quantity(value, unit) == written


def test_the_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    assert render([section()], path, "new", {"a": 1}) == path
    assert path.read_text("utf-8") == document([section()], "new", {"a": 1})
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_a_failure_while_drawing_leaves_the_old_file(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    broken = Picture(None, "caption", "alternative")  # pyright: ignore
    with pytest.raises(AttributeError):
        render([section(pictures=[broken])], path)
    assert path.read_text() == "old"


def test_a_file_name_that_is_no_text_is_shown(tmp_path):
    name = b"rat\xff.npz".decode("utf-8", "surrogateescape")
    path = render([section()], tmp_path / "r.html", "fit", {"file": name})
    assert "rat\\udcff.npz" in path.read_text("utf-8")
