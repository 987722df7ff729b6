"""Markup that cannot be injected into: text is escaped unless it is markup.

`element` builds an element from children. A child that is a plain string (a file
name, a unit's label, a message) is escaped; only what `element` itself returned
goes in as it is.
"""

from collections.abc import Sequence
from html import escape

VOID = ("br", "img", "input", "link", "meta")


class Markup(str):
    """Text that is already HTML."""


def text(value: object) -> Markup:
    """Escape a value unless it is markup already."""
    return value if isinstance(value, Markup) else Markup(escape(str(value)))


def join(*children: object) -> Markup:
    """Put children one after the other."""
    return Markup("".join(text(child) for child in children))


def element(name: str, /, *children: object, **attributes: object) -> Markup:
    """Build an element; ``class_`` and ``aria_label`` stand for class, aria-label.

    Examples
    --------
    >>> element("p", "1 < 2", class_="note")
    '<p class="note">1 &lt; 2</p>'
    """
    named = {k.rstrip("_").replace("_", "-"): v for k, v in attributes.items()}
    opening = "".join(f' {k}="{escape(str(v))}"' for k, v in named.items())
    if name in VOID:
        return Markup(f"<{name}{opening}>")
    return Markup(f"<{name}{opening}>{join(*children)}</{name}>")


def paragraphs(prose: str) -> Markup:
    """Turn prose whose paragraphs are parted by blank lines into elements."""
    parts = [part.strip() for part in prose.split("\n\n")]
    return join(*(element("p", part) for part in parts if part))


def table(
    columns: Sequence[str], rows: Sequence[Markup], caption: Markup, class_: str
) -> Markup:
    """Build a table; its roles are spelt out, as narrow windows stack the cells."""
    head = [element("th", c, scope="col", role="columnheader") for c in columns]
    return element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *head, role="row"), role="rowgroup"),
        element("tbody", *rows, role="rowgroup"),
        class_=class_,
        role="table",
    )


def row(label: str, *cells: Markup) -> Markup:
    """Build a row of a table whose first cell names it."""
    header = element("th", label, scope="row", role="rowheader")
    return element("tr", header, *cells, role="row")


def cell(column: str, content: object, **attributes: object) -> Markup:
    """Build a cell that knows its column, which narrow windows write before it."""
    return element("td", content, role="cell", data_column=column, **attributes)
