"""A state with a volatility of its own is a pair of states."""

import equinox as eqx
import numpy as np
import pytest

from neuromod import hgf
from neuromod.core.errors import InvalidInputError
from neuromod.core.models import rebuild, take_apart
from neuromod.hgf.nodes import VolatileState
from neuromod.hgf.schemes import UPDATES
from tests.hgf.test_inference import outcomes

# Every setting differs from its default, so that none can be lost.
STATE = {
    "mean": 0.3,
    "precision": 2.0,
    "tonic_volatility": -1.5,
    "tonic_drift": 0.02,
    "autoconnection": 0.9,
}


def volatile(of_network=None, **more):
    node = VolatileState(
        "x",
        **STATE,
        volatility_mean=0.4,
        volatility_precision=3.0,
        metavolatility=-2.5,
        **more,
    )
    return hgf.Network(
        [hgf.BinaryInput("u"), node],
        [hgf.probability("x", "u", 1.3)],
        **(of_network or {}),
    )


def written_out(of_network=None, name="x_volatility", **more):
    above = hgf.ContinuousState(
        name, mean=0.4, precision=3.0, tonic_volatility=-2.5, **more
    )
    return hgf.Network(
        [hgf.BinaryInput("u"), hgf.ContinuousState("x", **STATE, **more), above],
        [hgf.probability("x", "u", 1.3), hgf.volatility(name, "x")],
        **(of_network or {}),
    )


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("approximation", ["mean_field", "relaxed"])
def test_it_is_the_pair_in_every_scheme(update, approximation):
    scheme = {"update": update, "approximation": approximation}
    assert eqx.tree_equal(volatile(scheme), written_out(scheme), typematch=True)
    assert eqx.tree_equal(volatile(**scheme), written_out(**scheme), typematch=True)


@pytest.mark.parametrize(
    ("update", "approximation"), [("ehgf", "mean_field"), ("unbounded", "relaxed")]
)
def test_beliefs_are_those_of_the_pair(update, approximation):
    values, times = outcomes(40), np.random.default_rng(0).uniform(0, 2, 40)
    scheme = {"update": update, "approximation": approximation}
    ours = hgf.filter(volatile(**scheme), values, time_steps=times)
    pair = hgf.filter(written_out(scheme, name="z"), values, time_steps=times)
    assert list(ours["node"].values) == ["u", "x", "x_volatility"]
    for name in ours.data_vars:
        np.testing.assert_allclose(ours[name], pair[name], rtol=1e-12, atol=1e-12)
    volatility = ours["mean"].sel(node="x_volatility")
    assert np.ptp(volatility.values) > 0.01


def test_both_nodes_can_have_parents():
    network = hgf.Network(
        [
            hgf.ContinuousInput("u"),
            VolatileState("x"),
            VolatileState("pull"),
            hgf.ContinuousState("world"),
        ],
        [
            hgf.observation("x", "u"),
            hgf.drift("pull", "x"),
            hgf.volatility("world", "x_volatility"),
        ],
    )
    order = network.family.downwards
    assert order.index("world") < order.index("x_volatility") < order.index("x")
    assert order.index("pull_volatility") < order.index("pull") < order.index("x")


def test_a_network_with_one_is_built_again_from_its_fields():
    packed, dataset = take_apart(volatile())
    assert eqx.tree_equal(rebuild(packed, dataset, {}).edges[1], volatile().edges[1])
    assert rebuild(packed, dataset, {}).states == ("x", "x_volatility")


def test_what_is_refused():
    taken = [hgf.BinaryInput("u"), VolatileState("x")]
    edges = [hgf.probability("x", "u")]
    with pytest.raises(InvalidInputError, match="two nodes named 'x_volatility'"):
        hgf.Network([*taken, hgf.ContinuousState("x_volatility")], edges)
    with pytest.raises(InvalidInputError, match=r"precision.*x_volatility"):
        VolatileState("x", volatility_precision=0.0)
    with pytest.raises(InvalidInputError, match=r"tonic_volatility.*x_volatility"):
        VolatileState("x", metavolatility=np.nan)
