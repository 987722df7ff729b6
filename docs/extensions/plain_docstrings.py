"""Docstrings as they are written: equations, shapes, no aliases of fields."""

import re
from typing import Any

from sphinx.application import Sphinx

INLINE = re.compile(r"(?<![\\$])\$([^$\n]+)\$(?!\$)")
SHAPE = re.compile(r"\(\*(\([^*]*\))\*\)")
BLOCK = re.compile(r"^(\s*)\$\$\s*\n(.*?)\n\s*\$\$\s*$", re.DOTALL | re.MULTILINE)


def translate(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines) -> None:
    """Write $x$ and $$ blocks as reStructuredText; put shapes in one parenthesis."""
    text = BLOCK.sub(_directive, "\n".join(lines))
    text = INLINE.sub(r":math:`\1`", text)
    lines[:] = SHAPE.sub(r"\1", text).splitlines()


def _directive(match: re.Match[str]) -> str:
    indent, equation = match[1], match[2].splitlines()
    body = [f"{indent}   {line.strip()}" for line in equation]
    return "\n".join([f"{indent}.. math::", "", *body, ""])


def skip(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any):
    """Leave out the fields of named tuples, which the class's docstring explains."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register both."""
    app.connect("autodoc-process-docstring", translate)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
