"""Sections count how many of their numbers are as expected."""

from neuromod.core.report import Number, Section


def test_only_judged_numbers_count():
    numbers = [
        Number("a", 1, met=True),
        Number("b", 2, met=False),
        Number("c", 3, met=True),
        Number("d", 4),
    ]
    section = Section("title", "question", "answer", numbers=numbers)
    assert (section.n_met, section.n_judged) == (2, 3)


def test_a_section_without_numbers_judges_nothing():
    section = Section("title", "question", "answer")
    assert (section.n_met, section.n_judged) == (0, 0)
    assert dict(section.results) == {}
