import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod import hgf
from neuromod.core.errors import InvalidInputError
from neuromod.hgf import inference
from neuromod.hgf.agent import Agent
from neuromod.hgf.importers import from_pyhgf, from_tapas
from neuromod.hgf.parameters import places
from neuromod.hgf.responses import unit_square_sigmoid
from tests.hgf.test_inference import series_of
from tests.shared import shared


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def node(kind, functions=(None,), **links):
    keys = ("value_parents", "volatility_parents", "value_children")
    lists = [links.get(key) for key in (*keys, "volatility_children")]
    return (kind, *lists, functions)


def described(folder="hgf/binary3_default__eHGF__mf.npz"):
    """Return a stand-in for the live network whose numbers a file holds."""
    with np.load(shared("reference/" + folder)) as file:
        stored = dict(file)
    meta = json.loads(str(stored["meta"]))
    (parent, child, strength, _) = stored["value_edges"][0]
    (above, below, coupling) = stored["volatility_edges"][0]
    assert (parent, child, above, below) == (1, 0, 2, 1)
    attributes = {
        i: {
            "mean": jnp.asarray(stored["init_mean"][i]),
            "precision": jnp.asarray(stored["init_precision"][i]),
            "tonic_volatility": jnp.asarray(stored["tonic_volatility"][i]),
            "tonic_drift": 0.0,
            "autoconnection_strength": 1.0,
            "value_coupling_children": jnp.array([strength]) if i == 1 else None,
            "volatility_coupling_children": (coupling,) if i == 2 else None,
        }
        for i in range(3)
    } | {-1: {"time_step": 0.0}}
    edges = (
        node(1, value_parents=(1,)),
        node(2, volatility_parents=(2,), value_children=(0,)),
        node(2, volatility_children=(1,)),
    )
    network = SimpleNamespace(
        attributes=attributes,
        edges=edges,
        volatility_updates=meta["volatility_updates"],
        mean_field_updates=meta["mean_field_updates"],
        max_posterior_precision=1e10,
        precision_clipping_value=meta["precision_clipping"],
    )
    return network, stored


def test_a_live_network_gives_its_numbers():
    network, stored = described()
    ours = from_pyhgf(network, names={0: "outcome"})
    assert ours.inputs == ("outcome",)
    assert ours.states == ("x1", "x2")
    found = jax.jit(inference.run)(ours, series_of(stored["input"][:, 0]))
    for i, name in enumerate(ours.names):
        got = found.predictions[name].mean
        np.testing.assert_allclose(got, stored["expected_mean"][:, i], rtol=1e-8)
    for i in (1, 2):
        got = found.beliefs[f"x{i}"].precision
        np.testing.assert_allclose(got, stored["precision"][:, i], rtol=1e-8)


def two_inputs(**other):
    """Two continuous inputs of one state, with a bias, a drift and noise."""
    state = {"mean": 0.3, "precision": 2.0, "tonic_volatility": -3.0}
    attributes = {
        0: {"precision": 5.0},
        1: {"precision": 6.0},
        2: state
        | {"tonic_drift": 0.1, "value_coupling_children": jnp.array([1.0, 0.5])},
        3: state | {"autoconnection_strength": 0.9, "value_coupling_children": [2.0]},
        4: state | {"volatility_coupling_children": [0.7, 0.4]},
        5: {"value_coupling_children": [1.5]},
    }
    edges = (
        node(2, value_parents=(2,), volatility_parents=(4,)),
        node(2, value_parents=(2,)),
        node(2, (None, jnp.tanh), value_parents=(3, 5), value_children=(0, 1)),
        node(2, (lambda x: jnp.exp(x / 2),), value_children=(2,)),
        node(2, volatility_children=(0, 3)),
        node(0, value_children=(2,)),
    )
    return {"attributes": attributes, "edges": edges} | other


def test_all_that_is_described_arrives():
    ours = from_pyhgf(two_inputs(max_posterior_precision=1e6))
    assert ours.inputs == ("x0", "x1")
    assert ours.states == ("x2", "x3", "x4")
    assert isinstance(ours["x5"], hgf.Constant)
    # What pyhgf does if nothing is said.
    assert (ours.update, ours.approximation) == ("unbounded", "relaxed")
    assert ours.compatibility == "pyhgf"
    assert ours.largest_precision == 1e6
    edges = [
        (e.kind, e.parent, e.child, float(e.strength), e.coupling) for e in ours.edges
    ]
    assert edges == [
        ("observation", "x2", "x0", 1.0, "linear"),
        ("observation", "x2", "x1", 0.5, "tanh"),
        ("drift", "x3", "x2", 2.0, "exp_half"),
        ("noise", "x4", "x0", 0.7, "linear"),
        ("volatility", "x4", "x3", 0.4, "linear"),
        ("drift", "x5", "x2", 1.5, "linear"),
    ]
    assert ours["x2"].tonic_drift == 0.1
    assert ours["x2"].autoconnection is None
    assert ours["x3"].tonic_drift is None
    assert ours["x3"].autoconnection == 0.9
    assert (ours["x2"].mean, ours["x2"].precision, ours["x1"].precision) == (0.3, 2, 6)
    clipped = from_pyhgf(
        two_inputs(
            volatility_updates="standard",
            mean_field_updates=True,
            precision_clipping_value=1e-3,
        )
    )
    assert (clipped.update, clipped.approximation) == ("standard", "mean_field")
    assert clipped.clip == 1e-3


def test_what_a_network_cannot_hold_is_named():
    with pytest.raises(InvalidInputError, match=r"a list without 'attributes'"):
        from_pyhgf([])
    with pytest.raises(InvalidInputError, match=r"volatility_updates: got 'eHFG'"):
        from_pyhgf(two_inputs(volatility_updates="eHFG"))
    other = two_inputs()
    other["edges"] = (*other["edges"][:5], node(3, value_children=(2,)))
    with pytest.raises(InvalidInputError, match=r"node 'x5' of type 3.*hgf.learn"):
        from_pyhgf(other)
    other["edges"] = (*other["edges"][:5], node(0, (jnp.cosh,), value_children=(2,)))
    with pytest.raises(InvalidInputError, match=r"coupling function of 'x5'.*'tanh'"):
        from_pyhgf(other)
    other["attributes"][5] = {}
    with pytest.raises(InvalidInputError, match=r"value_coupling_children: got 0"):
        from_pyhgf(other)


NAN = np.nan
BINARY = {
    "model": "tapas_ehgf_binary",
    "n_levels": 3,
    "mu_0mu": [NAN, 0.5, 1],
    "mu_0sa": [NAN, 4, 0],
    "logsa_0mu": [NAN, np.log(0.1), 0],
    "logsa_0sa": [NAN, 0.25, 0],
    "rhomu": [NAN, 0, 0.2],
    "rhosa": [NAN, 1, 0],
    "logkamu": [np.log(2), np.log(0.7)],
    "logkasa": [0.01, 0.04],
    "ommu": [NAN, -3, 2],
    "omsa": [NAN, 16, 0],
}
ORDER = ("mu_0", "logsa_0", "rho", "logka", "om")
CONTINUOUS = {
    "model": "hgf",
    "n_levels": 2,
    "priormus": [99991, 1, 99993, np.log(0.1), 0, 0, 0, 99994, -4, -99993],
    "priorsas": [99992, 0, 1, 1, 0, 0, 0, 16, 16, 4],
}


def told(priors):
    return {name: (p.scale, p.mean, p.sd) for name, p in priors.items()}


def test_a_binary_configuration_becomes_a_network_and_its_priors():
    network, priors = from_tapas(BINARY)
    assert network.update == "ehgf"
    assert network.names == ("outcome", "x2", "x3")
    x2, x3 = network["x2"], network["x3"]
    assert (x2.mean, x2.tonic_volatility, x3.tonic_volatility) == (0.5, -3, 2)
    assert x2.precision == pytest.approx(10)
    assert x3.precision == 1
    # What is free needs a place, also where it is 0.
    assert (x2.tonic_drift, x3.tonic_drift) == (0, 0.2)
    strengths = {e.kind: float(e.strength) for e in network.edges}
    assert strengths == pytest.approx({"probability": 2, "volatility": 0.7})
    assert told(priors) == {
        "x2.mean": ("identity", 0.5, 2),
        "x2.precision": ("log", pytest.approx(np.log(10)), 0.5),
        "x2.tonic_drift": ("identity", 0, 1),
        "x2.tonic_volatility": ("identity", -3, 4),
        "x2->outcome.probability": ("log", pytest.approx(np.log(2)), 0.1),
        "x3->x2.volatility": ("log", pytest.approx(np.log(0.7)), 0.2),
    }
    assert set(priors) <= set(places(Agent(network, unit_square_sigmoid())))
    joint = {"model": "ehgf_binary_config", "n_levels": 3} | {
        f"prior{kind}s": np.concatenate([BINARY[name + kind] for name in ORDER])
        for kind in ("mu", "sa")
    }
    again, same = from_tapas(joint)
    assert told(same) == told(priors)
    assert jax.tree.all(jax.tree.map(np.array_equal, again, network))


def test_placeholders_are_taken_from_the_data():
    data = np.random.default_rng(0).normal(3, 2, 50)
    network, priors = from_tapas(CONTINUOUS, data)
    variance = data[:20].var(ddof=1)
    assert network.update == "standard"
    assert network.names == ("value", "x1", "x2")
    assert network["x1"].mean == data[0]
    assert network["x2"].mean == 1
    assert network["x1"].precision == pytest.approx(1 / variance)
    assert network["value"].precision == pytest.approx(1 / variance)
    assert network["x1"].tonic_volatility == pytest.approx(np.log(variance) - 2)
    assert network["x1"].tonic_drift is None
    assert told(priors) == {
        "x1.mean": ("identity", data[0], pytest.approx(np.sqrt(variance))),
        "x1.precision": ("log", pytest.approx(-np.log(variance)), 1),
        "x1.tonic_volatility": ("identity", pytest.approx(np.log(variance) - 2), 4),
        "x2.precision": ("log", pytest.approx(np.log(10)), 1),
        "x2.tonic_volatility": ("identity", -4, 4),
        "value.precision": ("log", pytest.approx(-np.log(variance)), 2),
    }
    with pytest.raises(InvalidInputError, match=r"inputs: got None.*placeholders"):
        from_tapas(CONTINUOUS)


def test_the_toolbox_numbers_are_reproduced():
    with np.load(shared("reference/hgf/tapas_canonical_binary3.npz")) as file:
        table = dict(zip(file["columns"], file["table"].T, strict=True))
    fixed = {name + "sa": [0.0] * 3 for name in ORDER} | {"logkasa": [0.0] * 2}
    mean = {
        "mu_0mu": [NAN, 0, 1],
        "logsa_0mu": [NAN, 0, 0],
        "rhomu": [NAN, 0, 0],
        "logkamu": [0, 0],
        "ommu": [NAN, -2.5, -6],
    }
    network, priors = from_tapas({"model": "hgf_binary", "n_levels": 3} | fixed | mean)
    assert priors == {}
    found = jax.jit(inference.run)(network, series_of(table["mu1"]))
    for k in (2, 3):
        got = found.beliefs[f"x{k}"].mean
        np.testing.assert_allclose(got, table[f"mu{k}"], rtol=5e-5, atol=5e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "hgf_whatworld"}, r"model: got 'hgf_whatworld'"),
        ({"n_levels": 2}, r"n_levels: got 2.*3 or more"),
        ({"ommu": [NAN, -3]}, r"ommu: got 2 numbers, expected 3"),
        ({"priormus": [0.0]}, r"priormus: got 1 numbers, expected 14"),
    ],
)
def test_bad_configurations_are_named(change, message):
    with pytest.raises(InvalidInputError, match=message):
        from_tapas(BINARY | change)


def test_a_missing_field_is_named():
    config = {key: value for key, value in BINARY.items() if key != "omsa"}
    with pytest.raises(InvalidInputError, match=r"no field 'omsa'"):
        from_tapas(config)
