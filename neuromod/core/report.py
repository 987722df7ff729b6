"""What a family says of itself in a report: question, figures, numbers, code.

A family's ``demo.py`` builds a `Section`; the command line renders sections into
one self-contained page. Families know nothing of HTML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from neuromod.core.result import Result


@dataclass(frozen=True)
class Number:
    """A measured number beside what it should be.

    Parameters
    ----------
    name
        What was measured, in words.
    value
        The number that this run measured, or a short text.
    expected
        The value that the ground truth, the literature or a null model says, with
        its bound in words if it has one; empty if nothing is expected.
    source
        Where the expected value comes from ("ground truth", a paper, "chance").
    unit
        The unit of both.
    met
        Whether the value meets the expectation; None if there is nothing to meet.
    """

    name: str
    value: float | int | str
    expected: float | int | str = ""
    source: str = ""
    unit: str = ""
    met: bool | None = None


@dataclass(frozen=True)
class Picture:
    """A figure with its caption and the text that a screen reader speaks.

    Parameters
    ----------
    figure
        The figure; wider than 7 inches it is shrunk to the width of the page.
    caption
        What it shows.
    alternative
        What is said in its place to those who cannot see it.
    """

    figure: Figure
    caption: str
    alternative: str


@dataclass(frozen=True)
class Section:
    """One family's part of a report.

    Parameters
    ----------
    title
        What it is about, in a few words.
    question, answer
        The question in a sentence, and what this run says; blank lines part
        paragraphs.
    pictures
        The figures, in the order in which they are read.
    numbers
        What was measured, beside what it should be.
    code
        The lines of Python that do the same again.
    seconds
        How long it took (wall clock).
    results
        The fits behind it by name, for whoever renders the section to save.
    """

    title: str
    question: str
    answer: str
    pictures: Sequence[Picture] = ()
    numbers: Sequence[Number] = ()
    code: str = ""
    seconds: float = float("nan")
    results: Mapping[str, Result] = field(default_factory=dict)

    @property
    def n_judged(self) -> int:
        """Number of numbers that had an expectation to meet."""
        return sum(number.met is not None for number in self.numbers)

    @property
    def n_met(self) -> int:
        """Number of numbers that met their expectation."""
        return sum(number.met is True for number in self.numbers)
