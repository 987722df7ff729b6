"""Equations as MathML, which browsers draw by themselves: no script, no network."""

import latex2mathml.converter
from docutils import nodes
from sphinx.application import Sphinx


def _write(self, latex: str, display: str) -> None:
    self.body.append(latex2mathml.converter.convert(latex, display=display))


def visit_inline(self, node: nodes.Element) -> None:
    """Write an equation within a line."""
    _write(self, node.astext(), "inline")
    raise nodes.SkipNode


def visit_block(self, node: nodes.Element) -> None:
    """Write an equation of its own."""
    self.body.append('<div class="equation">')
    _write(self, node.astext(), "block")
    self.body.append("</div>")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
