"""The examples in the docstrings run and print what they say."""

import doctest
import importlib
import pkgutil

import pytest

import neuromod

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(neuromod.__path__, "neuromod.")
    if not module.name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_of(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    tried = doctest.testmod(importlib.import_module(name), optionflags=flags)
    assert tried.failed == 0, f"{name}: see the difference above"


def test_there_are_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [t for m in MODULES for t in finder.find(importlib.import_module(m))]
    assert sum(bool(t.examples) for t in found) >= 20
