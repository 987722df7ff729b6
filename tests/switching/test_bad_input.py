"""What `fit` and the verbs after it refuse, and how they say to mend it.

Spikes, settings and silent neurons are in `test_fit`; here are inputs, priors,
sessions, and neurons that differ between sessions.
"""

import numpy as np
import pytest
import xarray as xr

from neuromod import errors, switching
from tests.switching.models import as_recording, random_counts

ARGUMENTS = ("inputs", "transition_inputs")


def few(seed=0, n_steps=80):
    return as_recording(random_counts(seed=seed, n_steps=n_steps)[0])


def drive(seed=0, n_steps=80, labels=("light", "tone")):
    """Inputs on the bins of `few`."""
    values = np.random.default_rng(seed).normal(size=(n_steps, len(labels)))
    coords = {"time": few(n_steps=n_steps)["time"], "input": list(labels)}
    return xr.DataArray(values, dims=("time", "input"), coords=coords)


def quick(spikes, n_states=2, **changes):
    settings = {"seed": 0, "n_restarts": 1, "progress": False, "tolerance": 1e-2}
    return switching.fit(spikes, n_states, **(settings | {"prior": "ridge"} | changes))


def halves(array, first="a", second="b", at=40):
    """Mark two sessions in one long array."""
    names = [first] * at + [second] * (array.sizes["time"] - at)
    return array.assign_coords(session=("time", names))


def tree(**parts):
    return xr.DataTree.from_dict({k: v.to_dataset(name="x") for k, v in parts.items()})


def set_to(kind, **settings):
    """Return a prior with any settings: users' annotations are not executed."""
    prior = kind()
    for name, value in settings.items():
        object.__setattr__(prior, name, value)
    return prior


def refused(message, kind=errors.InvalidInputError):
    return pytest.raises(kind, match=message)


@pytest.mark.parametrize("argument", ARGUMENTS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda u: u.values, r": got ndarray, expected a DataArray .*Wrap it"),
        (lambda u: u.rename(input="inptu"), r": got dimensions .*Did you mean 'input'"),
        (lambda u: u.isel(input=0), r": got dimensions \(time\), expected a DataArray"),
        (lambda u: u.drop_vars("time"), r": got no time coordinate.*assign_coords"),
        (lambda u: u[::-1], r"\.time: got 7.95 s followed by 7.85.*sortby"),
        (lambda u: u[:70], r": got sessions of \[70\] bins.*neuromod\.io\.align"),
        (
            lambda u: u.assign_coords(time=u.time + 0.05 * (u.time > 1)),
            r"\.time: got 1\.1 s in bin 10 of session '0', expected 1\.05 s .*align",
        ),
        (lambda u: [u, u], r": got sessions of \[80, 80\] bins, expected \[80\] bins"),
        (lambda u: [], r": got no sequence at all, expected at least one"),
        (lambda u: u.where(u.time > 1), r": got 10 bins with missing .*Fill them"),
        (
            lambda u: u.where(u.time > 1, np.inf),
            r": got 10 bins with .*infinite values, expected finite",
        ),
        (lambda u: u.astype(str), r": got values of type <U.*real numbers.*astype"),
        (lambda u: u.astype(object), r": got values of type object, .*astype\(float"),
        (lambda u: u * 1j, r": got values of type complex128, .*take \.real"),
        (lambda u: u.astype("M8[s]"), r": got values of type datetime64\[s\]"),
        (lambda u: 1e200 * u, r": got numbers up to .*1e\+12\. Standardise them"),
        (
            lambda u: u.assign_coords(input=["light", "light"]),
            r"\.input: got the label\(s\) 'light' twice.*Rename them",
        ),
        (
            lambda u: xr.DataTree.from_dict({"recording": u.to_dataset(name="x")}),
            r": got a whole data set.*Pass data\['recording'\]",
        ),
    ],
)
def test_bad_inputs_are_refused(argument, change, message):
    with refused(f"^{argument}{message}"):
        quick(few(), **{argument: change(drive())})


@pytest.mark.parametrize("argument", ARGUMENTS)
@pytest.mark.parametrize(
    ("spikes", "inputs", "message"),
    [
        (
            halves(few()),
            drive(),
            r": got the sessions \['0'\], .*assign_coords\(session=\('time', spikes\[",
        ),
        (halves(few()), halves(drive(), "a", "c"), r": got the sessions \['a', 'c'\]"),
        (halves(few()), halves(drive(), at=30), r".*of \[30, 50\] bins, expected"),
        ([few(), few(1)], [drive()], r".* of \[80\] bins, expected \[80, 80\] bins"),
        (
            [few(), few(1)],
            [drive(), drive(labels=("light",))],
            r"\['1'\]: got 1 entries .*expected 2 as in .*Select the same inputs",
        ),
        (
            [few(), few(1)],
            [drive(), drive(labels=("tone", "light"))],
            r"\['1'\]: got other labels along `input`.*reorder with \.sel\(input=",
        ),
        (
            [few(), few(1)],
            [drive().drop_vars("input"), drive()],
            r"\['1'\]: got names along `input`, expected 2 entries without labels as",
        ),
        (tree(a=few(), b=few()), tree(a=drive(), c=drive()), r": .*\['a', 'c'\]"),
        (
            tree(a=few(), b=few()),
            tree(b=drive(), a=drive()),
            r": got .*\['b', 'a'\], expected those of the data in their order: \['a', ",
        ),
    ],
)
def test_inputs_of_other_sessions_are_refused(argument, spikes, inputs, message):
    with refused(f"^{argument}{message}", errors.ShapeError):
        quick(spikes, **{argument: inputs})


@pytest.fixture(scope="module")
def driven():
    """A fit with inputs, and without transition inputs."""
    return quick(few(), inputs=drive())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"inputs": None},
            r"^inputs\.input: got none, expected the 2 inputs of the fit",
        ),
        (
            {"inputs": drive()[:, ::-1]},
            r"^inputs\.input: got 2 labels that differ .*inputs\.sel\(input=",
        ),
        ({"inputs": drive(labels=("light",))}, r"^inputs\.input: got 1 labels"),
        (
            {"inputs": drive(n_steps=70)},
            r"^inputs: got sessions of \[70\] bins",
        ),
        (
            {"transition_inputs": drive()},
            r"^transition_inputs\.input: got 2 .*expected the 0 inputs of the fit",
        ),
    ],
)
def test_verbs_want_the_inputs_of_the_fit(driven, change, message):
    given = {"inputs": drive()} | change
    for verb in (switching.smooth, switching.score):
        with refused(message, errors.ShapeError):
            verb(driven, few(), **given)
    with refused(message, errors.ShapeError):
        quick(few(), init=driven, **given)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (None, "^prior: got None, expected one of 'none', 'ridge'"),
        ("gausian", "^prior: got 'gausian'.*Did you mean 'gaussian'"),
        (switching.Ridge, "^prior: got <class .*Known names: 'none'"),
        (
            switching.Ridge(np.nan),
            r"^prior\.precision: got nan, expected a number >= 0",
        ),
        (
            switching.Ridge(np.inf),
            r"^prior\.precision: got inf, expected a number >= 0",
        ),
        (switching.Gaussian(-1.0), r"^prior\.standard_deviation: got -1.0, expected a"),
        (
            switching.Gaussian(baseline_precision=-1.0),
            r"^prior\.baseline_precision: got -1.0, expected a number >= 0",
        ),
        (switching.Lasso(-1.0), r"^prior\.strength: got -1.0, expected a number >= 0"),
        (
            switching.Lasso(group="pairs"),
            r"^prior\.group: got 'pairs'.*Did you mean 'pair'",
        ),
        (
            switching.OneHot(baseline_precision=np.nan),
            r"^prior\.baseline_precision: got nan",
        ),
        (switching.OneHot(types="Source"), r"^prior\.types: .*Did you mean 'source'"),
        (
            set_to(switching.Ridge, precision="x"),
            r"^prior\.precision: got 'x', expected a number >= 0",
        ),
        (
            set_to(switching.Ridge, precision=None),
            r"^prior\.precision: got None, expected a number",
        ),
        (
            set_to(switching.Ridge, precision=np.ones(3)),
            r"^prior\.precision: got array",
        ),
        (
            set_to(switching.Lasso, strength="a"),
            r"^prior\.strength: got 'a', expected a number >= 0",
        ),
        (
            set_to(switching.Gaussian, standard_deviation="x"),
            r"^prior\.standard_deviation: got 'x', expected",
        ),
        (
            set_to(switching.Gaussian, baseline_precision=None),
            r"^prior\.baseline_precision: got None, expected a number >= 0",
        ),
    ],
)
def test_bad_priors_are_refused(prior, message):
    with refused(message):
        quick(few(), prior=prior)


@pytest.mark.parametrize("prior", ["one_hot", "lasso"])
def test_priors_of_couplings_are_not_for_categorical_choices(prior):
    choices = few()[:, :1].clip(max=2)
    with refused(
        "^prior: got .* on categorical choices.*Pass basis=None and give past"
    ):
        quick(choices, prior=prior, observation="categorical")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"concentration": 0}, "^concentration: got 0, expected a number > 0"),
        ({"concentration": np.ones((2, 2))}, "^concentration: got array"),
        ({"stickiness": np.nan}, "^stickiness: got nan, expected a number >= 0"),
        ({"basis": "exponentail"}, "^basis: .*Did you mean 'exponential'"),
        ({"basis": np.ones(3)}, r"^basis: got shape \(3,\).*pass basis\[None\]"),
        ({"basis": np.full((1, 3), np.nan)}, "^basis: got 3 values .* not finite"),
        ({"basis": [["a", "b"]]}, "^basis: got values of type <U1, expected real"),
        ({"basis": {}}, "^basis: got values of type object, expected real numbers"),
        ({"basis": np.full((1, 3), 1j)}, "^basis: got values of type complex128"),
        ({"basis": [[1, 2], [3]]}, "^basis: got rows of unequal length.*with zeros"),
        ({"basis": np.full((1, 3), 1e200)}, r"^basis: got numbers up to 1e\+200"),
        ({"self_basis": "lag"}, "^self_basis: got 'lag'.*Did you mean 'lags'"),
        (
            {"reference": True, "prior": "lasso"},
            "^reference: .*expected the prior 'none', 'gaussian' or 'one_hot' as it is",
        ),
        ({"reference": True, "prior": switching.Gaussian(0.1)}, "^reference: .*prior"),
        (
            {"reference": True, "inputs": drive()},
            "^reference: .*without reference=True",
        ),
    ],
)
def test_bad_chains_and_bases_are_refused(change, message):
    with refused(message):
        quick(few(), **change)


@pytest.mark.parametrize(
    ("observation", "choices", "message"),
    [
        ("bernoulli", 2 * few() - 1, "^spikes: got the negative count -1"),
        ("categorical", few(), "^spikes: got 3 neurons, expected one choice per bin"),
        ("categorical", few()[:, :1] + 0.5, "^spikes: got the fractional count"),
        (
            "gaussian",
            few().where(few() < 2, np.inf),
            "^spikes: .*expected finite numbers",
        ),
        ("gaussian", few().astype(str), "^spikes: got values of type <U32.*astype"),
        ("gaussian", few().astype(object), "^spikes: got values of type object"),
        ("gaussian", 1j * few(), "^spikes: got values of type complex.*take .real"),
        ("gaussian", 1e200 * few(), r"^spikes: got numbers up to .*Standardise"),
        ("poisson", 1e300 * few(), r"^spikes: got numbers up to 4e\+300"),
        (
            "categorical",
            few()[:, :1].clip(max=1) * 1e6,
            r"^spikes: got the options 0, 1e\+06, expected at least two.*numpy\.unique",
        ),
        ("categorical", few()[:, :1].clip(max=2) + 1, "^spikes: got the options 1, 2"),
        ("categorical", 0 * few()[:, :1], "^spikes: got the options 0, expected at"),
    ],
)
def test_values_that_an_observation_cannot_take(observation, choices, message):
    with refused(message):
        quick(choices, observation=observation, basis=None)


@pytest.mark.parametrize(
    ("spikes", "message"),
    [
        ([few(), few(1).values], r"^spikes\['1'\]: got ndarray.*Wrap it"),
        ([few(), None], r"^spikes\['1'\]: got NoneType, expected a DataArray"),
        ([few(), few(1)[:, 0]], r"^spikes\['1'\]: got dimensions \(time\)"),
        ([few(), few(1)[:0]], r"^spikes\['1'\]: got 0 bins, expected at least one"),
        ([few(), -few(1)], "^spikes: got the negative count"),
        ([few(), few(1).astype(str)], r"^spikes\['1'\]: got values of type <U32"),
        (
            few().assign_coords(session=("time", ["a", "b"] * 40)),
            r"^spikes\.session: got the label 'a' twice.*sortby\(\['session'",
        ),
        (
            [few(1, 4), few(2, 3)],
            "^spikes: got at most 4 bins in a session.*basis=None",
        ),
        (
            halves(few()).to_dataset(name="spikes"),
            "^spikes: got Dataset, expected a Data",
        ),
        ({"a": few()}, "^spikes: got dict, expected a DataArray"),
        (xr.DataTree(), "^spikes: got no sequence at all"),
        (
            xr.DataTree.from_dict({"a": xr.Dataset({"x": few(), "y": few()})}),
            r"^spikes\['a'\]: got the variables \['x', 'y'\], expected a variable",
        ),
        (
            xr.DataTree.from_dict({"recording": few().to_dataset(name="spikes")}),
            r"^spikes: got a whole data set.*Pass data\['recording'\]\['spikes'\]",
        ),
        (
            few().assign_coords(time=np.datetime64("2020-01-01", "s") + np.arange(80)),
            "^spikes: got a time coordinate of type datetime64.*seconds as numbers",
        ),
    ],
)
def test_bad_sessions_are_refused(spikes, message):
    with refused(message):
        quick(spikes)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (
            few(1).assign_coords(neuron=["n0", "n1", "n1"]),
            r"^spikes\['1'\]\.neuron: got the label\(s\) 'n1' twice.*Rename them",
        ),
        (
            few(1).rename(neuron="unit"),
            r"^spikes\['1'\]: got dimensions \(time, unit\), expected a DataArray",
        ),
        (
            few(1).drop_vars("neuron"),
            r"^spikes\['1'\]: got 3 entries without labels .*expected names as in spik",
        ),
        (
            few(1).assign_coords(neuron=[0, 1, 2]),
            r"^spikes\['1'\]: got numbers .*Label all alike, with \.assign_coords",
        ),
    ],
)
def test_bad_neurons_of_one_session_are_refused(second, message):
    with refused(message):
        quick([few(), second])


def test_neurons_without_labels_are_as_many_in_every_session():
    plain = few().drop_vars("neuron")
    with refused(r"^spikes\['1'\]: got 2 entries .* 3 entries without labels as in"):
        quick([plain, plain[:, :2]])


def lost(spikes, neuron="n1"):
    """A neuron is NaN."""
    return spikes.where(spikes["neuron"] != neuron)


@pytest.mark.parametrize("observation", ["poisson", "gaussian"])
@pytest.mark.parametrize(
    "spikes",
    [
        lost(few()),
        halves(lost(few())),
        [lost(few()), lost(few(1))],
        tree(a=few()[:, ::2], b=lost(few(1))),
        [few()[:, ::2], few(1) * np.nan],
    ],
)
def test_a_neuron_without_any_value_is_named(spikes, observation):
    message = r"^spikes: got no observed bin of the neuron\(s\) n1, .*dropna\('neuron'"
    with refused(message):
        quick(spikes, observation=observation)


def test_bins_that_all_lack_some_neuron_are_refused():
    spikes = few()
    spikes[:40, 0] = spikes[40:, 1] = np.nan
    with refused("^spikes: got only missing bins, .*leave out those that often are"):
        quick(spikes)


@pytest.mark.parametrize("verb", [switching.smooth, switching.score])
@pytest.mark.parametrize(
    ("spikes", "message"),
    [
        (few().assign_coords(neuron=["n0", "n1", "z"]), "3 labels .*, such as 'z'.*"),
        (few().drop_vars("neuron"), "3 labels that differ from the fit's, such as 0"),
        (few().drop_vars("neuron")[:, :2], "2 labels that differ .* the 3 neurons"),
        (few().rename(neuron="input"), r"dimensions \(time, input\)"),
        (few().astype(str), "values of type <U32"),
        ({}, "dict, expected a DataArray"),
        (None, "NoneType, expected a DataArray"),
    ],
)
def test_verbs_want_neurons_of_the_fit(driven, verb, spikes, message):
    with refused(f"^spikes.*: got {message}"):
        verb(driven, spikes, inputs=drive())


def test_a_fit_goes_on_with_all_its_neurons_in_their_order(driven):
    for spikes in (few()[:, :2], few()[:, ::-1]):
        with refused(r"^spikes\.neuron: got .* in their order", errors.ShapeError):
            quick(spikes, init=driven, inputs=drive())


def test_later_choices_may_lack_an_option_and_have_no_new_one():
    choices = few()[:, :1].clip(max=2)
    fit = quick(choices, observation="categorical", basis=None)
    whole = [
        float(switching.score(fit, part)["log_likelihood"])
        for part in (choices, choices.where(choices < 2))
    ]
    assert whole[0] < whole[1] < 0
    with refused("^spikes: got the options 0, 3, expected those of the fit, 0 to 2"):
        switching.score(fit, 3 * choices.clip(max=1))


def test_sessions_of_categorical_choices_share_their_label():
    choices = few()[:, :1].clip(max=1)
    sessions = [choices, choices.assign_coords(neuron=["other"])]
    with refused(
        "^spikes: got 2 neurons, expected one choice per bin", errors.ShapeError
    ):
        quick(sessions, observation="categorical", basis=None)
