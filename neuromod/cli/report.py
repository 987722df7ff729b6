"""The report: sections of all families as one page that needs nothing else.

The page carries its figures and its style in itself, runs no script and asks
nothing of the network: a policy in its head forbids both, so that no label or
file name could make it do so. It reads well in light and dark, on paper, on a
narrow screen and aloud.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from importlib.resources import files
from io import BytesIO
from math import isfinite
from numbers import Integral
from os import PathLike
from pathlib import Path

from neuromod.core.atomic import write_atomically
from neuromod.core.html import Markup, cell, element, join, paragraphs, row, table, text
from neuromod.core.report import Number, Picture, Section

CSS_PIXELS_PER_INCH = 96
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def render(
    sections: Sequence[Section],
    path: str | PathLike[str],
    title: str = "neuromod report",
    provenance: Mapping[str, object] | None = None,
) -> Path:
    """Write sections as one self-contained HTML page.

    Parameters
    ----------
    sections
        What the page says, in order.
    path
        The file to write; it is replaced only once the page is complete.
    title
        The heading of the page.
    provenance
        What made it, shown as a table at the end; mappings may be nested.

    Returns
    -------
    Path
        The file.
    """
    page = document(sections, title, provenance or {})
    # File names may hold bytes that are no text; they are shown, not lost.
    return write_atomically(path, page.encode("utf-8", "backslashreplace"))


def document(
    sections: Sequence[Section], title: str, provenance: Mapping[str, object]
) -> str:
    """Return the page as text."""
    numbering = _Numbering()
    body = [
        _section(section, f"section-{i}", numbering)
        for i, section in enumerate(sections, start=1)
    ]
    page = element(
        "div",
        element("a", "Skip to the content", href="#content", class_="skip"),
        _header(sections, title),
        _contents(sections, bool(provenance)),
        element("main", *body, _provenance(provenance), id="content"),
        class_="page",
    )
    html = element("html", _head(title), element("body", page), lang="en-GB")
    return f"<!DOCTYPE html>\n{html}\n"


class _Numbering:
    """Counts figures and tables through the page."""

    def __init__(self) -> None:
        self.counts = {"Figure": 0, "Table": 0}

    def label(self, kind: str) -> Markup:
        self.counts[kind] += 1
        return element("b", f"{kind} {self.counts[kind]}.")


def _head(title: str) -> Markup:
    style = (files("neuromod.cli") / "report.css").read_text("utf-8")
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("link", rel="icon", href="data:,"),
        element("style", Markup(style)),
    )


def _header(sections: Sequence[Section], title: str) -> Markup:
    judged = sum(section.n_judged for section in sections)
    met = sum(section.n_met for section in sections)
    summary = element("p", _as_expected(met, judged), ".") if judged else ""
    return element("header", element("h1", title), summary)


def _as_expected(met: int, judged: int) -> str:
    return f"{met} of {judged} numbers as expected"


def _contents(sections: Sequence[Section], provenance: bool) -> Markup:
    entries = [
        element(
            "li",
            element("a", section.title, href=f"#section-{i}"),
            element("span", _state(section), class_="quiet"),
        )
        for i, section in enumerate(sections, start=1)
    ]
    if provenance:
        link = element("a", "How this page was made", href="#provenance")
        entries.append(element("li", link))
    return element(
        "nav",
        element("h2", "Contents", id="contents"),
        element("ol", *entries),
        aria_labelledby="contents",
    )


def _state(section: Section) -> str:
    parts = []
    if section.n_judged:
        parts.append(_as_expected(section.n_met, section.n_judged))
    if isfinite(section.seconds):
        parts.append(f"{section.seconds:.0f} s")
    return ", ".join(parts)


def _section(section: Section, anchor: str, numbering: _Numbering) -> Markup:
    return element(
        "section",
        element("h2", section.title, id=f"{anchor}-title"),
        element("div", paragraphs(section.question), class_="question"),
        paragraphs(section.answer),
        *(_figure(picture, numbering) for picture in section.pictures),
        _numbers(section, numbering),
        _code(section),
        id=anchor,
        aria_labelledby=f"{anchor}-title",
    )


def _figure(picture: Picture, numbering: _Numbering) -> Markup:
    width, height = picture.figure.get_size_inches() * CSS_PIXELS_PER_INCH
    image = element(
        "img",
        src=f"data:image/png;base64,{b64encode(png(picture.figure)).decode()}",
        alt=picture.alternative,
        width=round(width),
        height=round(height),
    )
    caption = join(numbering.label("Figure"), " ", picture.caption)
    return element(
        "figure",
        element("div", image, class_="card"),
        element("figcaption", caption),
    )


def png(figure) -> bytes:
    """Draw a figure at two pixels per CSS pixel, so that it is sharp on any screen.

    Parameters
    ----------
    figure
        A matplotlib figure.

    Returns
    -------
    bytes
        The PNG file, which holds nothing that changes from run to run.
    """
    buffer = BytesIO()
    figure.savefig(
        buffer,
        format="png",
        dpi=2 * CSS_PIXELS_PER_INCH,
        facecolor="white",
        metadata={"Software": None},
    )
    return buffer.getvalue()


def _numbers(section: Section, numbering: _Numbering) -> Markup:
    if not section.numbers:
        return Markup()
    expecting = any(number.expected != "" for number in section.numbers)
    columns = ["Quantity", "This run", *(["Expected", "Verdict"] if expecting else [])]
    told = "What was measured" + (", beside what was expected." if expecting else ".")
    caption = join(numbering.label("Table"), " ", told)
    rows = [_row(number, expecting) for number in section.numbers]
    return join(element("h3", "Numbers"), table(columns, rows, caption, "numbers"))


def _row(number: Number, expecting: bool) -> Markup:
    cells = [cell("This run", _quantity(number.value, number.unit), class_="value")]
    if expecting:
        source = element("span", number.source, class_="source")
        told = "none" if number.expected == "" else number.expected
        expected = _quantity(told, number.unit)
        cells.append(cell("Expected", join(expected, source)))
        cells.append(cell("Verdict", _verdict(number.met)))
    return row(number.name, *cells)


def _quantity(value: float | int | str, unit: str) -> Markup:
    # A number keeps together with its unit; text may break wherever it has to.
    class_ = "text" if isinstance(value, str) else "number"
    return element("span", quantity(value, unit), class_=class_)


def _verdict(met: bool | None) -> Markup:
    if met is None:
        return element("span", "not judged", class_="source")
    if met:
        return element("span", "✓ met", class_="met")
    return element("span", "✗ not met", class_="missed")


def quantity(value: float | int | str, unit: str = "") -> str:
    """Write a number with its unit; text stays as it is.

    Examples
    --------
    >>> print(quantity(0.123456, "Hz"))
    0.1235 Hz
    """
    if isinstance(value, str):
        return value
    whole = isinstance(value, Integral)
    written = f"{value:_d}".replace("_", "\u202f") if whole else f"{value:.4g}"
    return f"{written}\u00a0{unit}" if unit else written


def _code(section: Section) -> Markup:
    if not section.code:
        return Markup()
    # A region that scrolls has to be reachable by keyboard.
    code = element(
        "pre",
        element("code", section.code.strip()),
        tabindex=0,
        role="region",
        aria_label=f"Code of {section.title}",
    )
    return join(element("h3", "Do it yourself"), code)


def _provenance(provenance: Mapping[str, object]) -> Markup:
    if not provenance:
        return Markup()
    rows = [row(name, cell("Value", value)) for name, value in flatten(provenance)]
    caption = text("Versions, seed and settings behind this page.")
    return element(
        "section",
        element("h2", "How this page was made", id="provenance-title"),
        table(["What", "Value"], rows, caption, "provenance"),
        id="provenance",
        aria_labelledby="provenance-title",
    )


def flatten(nested: Mapping[str, object], above: str = "") -> list[tuple[str, str]]:
    """List entries for a table; a mapping of plain values becomes one entry.

    Examples
    --------
    >>> flatten({"seed": 0, "versions": {"jax": "0.10.2", "numpy": "2.4.6"}})
    [('seed', '0'), ('versions', 'jax 0.10.2, numpy 2.4.6')]
    """
    entries: list[tuple[str, str]] = []
    for key, value in nested.items():
        name = f"{above} {key}".strip().replace("_", " ")
        if not isinstance(value, Mapping):
            entries.append((name, _written(value)))
        elif any(isinstance(inner, Mapping) for inner in value.values()):
            entries += flatten(value, name)
        else:
            parts = [f"{k.replace('_', ' ')} {_written(v)}" for k, v in value.items()]
            entries.append((name, ", ".join(parts) or "none"))
    return entries


def _written(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_written(item) for item in value)
    if isinstance(value, float):
        return quantity(value)
    return "none" if value in (None, "") else str(value)
