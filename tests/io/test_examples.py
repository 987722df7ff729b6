"""The examples in the docstrings run."""

import doctest
import importlib
import pkgutil

import pytest

from neuromod import io

MODULES = [f"neuromod.io.{module.name}" for module in pkgutil.iter_modules(io.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
