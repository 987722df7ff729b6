import numpy as np
import pytest

from neuromod import hgf
from neuromod.core.errors import InvalidInputError
from neuromod.core.models import rebuild, take_apart


def nodes(*more):
    return [hgf.BinaryInput("u"), hgf.ContinuousState("x2"), *more]


def test_order_goes_from_parents_to_children():
    network = hgf.binary_three_level()
    assert network.family.downwards == ("x3", "x2", "outcome")
    assert network.inputs == ("outcome",)
    assert network["x3"].name == "x3"


def test_a_network_is_built_again_from_its_fields():
    network = hgf.Network(
        [*nodes(hgf.ContinuousState("x3", autoconnection=0.9)), hgf.Constant("one")],
        [
            hgf.probability("x2", "u", 0.5, "tanh"),
            hgf.volatility("x3", "x2", 2.0),
            hgf.drift("one", "x3", 0.1),
        ],
        update="unbounded",
        compatibility="pyhgf",
    )
    packed, dataset = take_apart(network)
    again = rebuild(packed, dataset, {})
    assert again.names == network.names
    assert again.update == "unbounded"
    assert again.edges[0].coupling == "tanh"
    assert float(again["x3"].autoconnection) == 0.9


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([hgf.probability("x9", "u")], "'x9'.*'x2'"),
        ([hgf.probability("x2", "uu")], "child.*'uu'"),
        ([hgf.observation("x2", "u")], "observation to 'u', a BinaryInput"),
        ([hgf.probability("u", "u")], "from 'u', a BinaryInput"),
        ([], "none to the input 'u'"),
        ([hgf.probability("x2", "u")] * 2, "two edges"),
    ],
)
def test_edges_that_cannot_be_are_refused_by_name(edges, message):
    with pytest.raises(InvalidInputError, match=message):
        hgf.Network(nodes(), edges)


def test_circles_and_dangling_nodes_are_refused_by_name():
    three = nodes(hgf.ContinuousState("x3"))
    with pytest.raises(InvalidInputError, match="'x3', which no data"):
        hgf.Network(three, [hgf.probability("x2", "u")])
    edges = [
        hgf.probability("x2", "u"),
        hgf.volatility("x3", "x2"),
        hgf.drift("x2", "x3"),
    ]
    with pytest.raises(InvalidInputError, match=r"circle, .*x2.*x3"):
        hgf.Network(three, edges)
    with pytest.raises(InvalidInputError, match="two nodes named 'x2'"):
        hgf.Network(nodes(hgf.ContinuousState("x2")), edges)
    with pytest.raises(InvalidInputError, match="no input"):
        hgf.Network([hgf.ContinuousState("x2")], [])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hgf.ContinuousState("x", precision=0), "precision.*above 0"),
        (lambda: hgf.ContinuousState("x", precision=-1.0), "precision.*above 0"),
        (lambda: hgf.ContinuousState("x", mean=np.nan), "mean.*finite"),
        (lambda: hgf.ContinuousState("x", autoconnection=1.2), "from 0 to 1"),
        (lambda: hgf.ContinuousState("x", tonic_volatility="high"), "a number"),
        (lambda: hgf.ContinuousInput("x", precision=0.0), "precision.*above 0"),
        (lambda: hgf.volatility("x3", "x2", 0.0), "strength.*above 0"),
        (lambda: hgf.volatility("x3", "x2", -1.0), "strength.*above 0"),
        (lambda: hgf.drift("x3", "x2", 1.0, "tan"), "coupling.*'tanh'"),
        (lambda: hgf.Edge("volatility", "x3", "x2", 1.0, "tanh"), "'linear'"),
        (lambda: hgf.Edge("vol", "x3", "x2"), "kind.*'volatility'"),
        (lambda: hgf.BinaryInput(""), "name"),
        (lambda: hgf.binary_two_level(update="eHGF"), "update.*'ehgf'"),
        (lambda: hgf.binary_two_level(approximation="full"), "'mean_field'"),
        (lambda: hgf.binary_two_level(compatibility="tapas"), "'pyhgf'"),
    ],
)
def test_numbers_and_names_that_cannot_be_are_refused(make, message):
    with pytest.raises(InvalidInputError, match=message):
        make()
