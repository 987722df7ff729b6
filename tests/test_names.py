"""The names of the library do not drift apart (the rules are in tests/naming.py)."""

import pytest

from tests import naming

MODULE = "neuromod/switching/fit.py"
FACE = "neuromod/switching/__init__.py"


def texts(source: str, path: str = MODULE) -> list[str]:
    return [p.text for p in naming.check({path: source}, {"time", "neuron"})]


def test_library_has_no_drifting_name_and_no_forbidden_call():
    assert [str(p) for p in naming.check_repository()] == []


def test_every_module_is_read_once():
    read = naming.sources()
    assert {"neuromod/core/errors.py", "kernels/__init__.py"} <= set(read)
    assert not [p for p in read if p.startswith(("neuromod/kernels", "neuromod/data"))]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def fit(num_states): ...", "'num_states' is spelt n_..."),
        ("def fit(rng): ...", "'rng' is called 'key' here"),
        ("class Fit:\n    n_iter: int", "'n_iter' is called 'max_iterations' here"),
        ("def fit(*, time_bins): ...\ndef f(timebins): ...", "is nearly"),
        ("def f(transition_matrx): ...\ndef g(transition_matrix): ...", "is nearly"),
        ("def center_of_mass(x): ...", "is spelt centre"),
        ("def normalize(x): ...", "is spelt -ise"),
        ("x = DataArray(y, dims=('time', 'neurn'))", "'neurn' is not in neuromod"),
        ("x = y.mean(dim='neurons')", "'neurons' is not in neuromod"),
        ("x = Dataset({'s': (('time', 'unti'), y)})", "'unti' is not in neuromod"),
        ("import pickle", "pickle is forbidden"),
        ("from joblib import load", "joblib is forbidden"),
        ("np.load(p, allow_pickle=True)", "allow_pickle=True is forbidden"),
        ("eval(text)", "eval() is forbidden"),
        ("jax.config.update('jax_enable_x64', True)", "jax.enable_x64(True)"),
        ("\n" * 601, "601 lines, more than 600"),
    ],
)
def test_each_rule_finds_what_it_forbids(source, message):
    assert any(message in text for text in texts(source))


@pytest.mark.parametrize(
    "source",
    [
        "def fit(spikes, n_states, *, seed, bin_size, key): ...",
        "def _private(num_states): ...",
        "def resize(size, prize): ...",
        "def f(log_likelihood): ...\ndef g(log_likelihoods): ...",
        "x = DataArray(y, dims=('time', 'neuron'))",
        "model.eval()",
    ],
)
def test_good_names_pass(source):
    assert texts(source) == []


def test_options_of_the_shell_are_named_for_the_shell():
    assert texts("def fit(states): ...", "neuromod/cli/switching.py") == []


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("from a import b as b", "no literal `__all__`"),
        ("from a import b as b\n__all__ = names()", "no literal `__all__`"),
        ("from a import b as b, c as c\n__all__ = ['b']", "not in `__all__`: c"),
    ],
)
def test_a_face_lists_what_it_shows(source, message):
    assert any(message in text for text in texts(source, FACE))
