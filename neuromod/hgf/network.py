"""A network: nodes and edges, checked once, with the order in which beliefs travel.

Predictions go from parents to children, prediction errors from children to parents.
Both orders follow from the edges alone, so a step of the filter is written out when it
is compiled and nothing is looked up while it runs.
"""

import functools
from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

import equinox as eqx

from neuromod.core.errors import did_you_mean, invalid
from neuromod.hgf.nodes import (
    BinaryInput,
    Constant,
    ContinuousInput,
    ContinuousState,
    Edge,
    Node,
    VolatileState,
    volatility,
)
from neuromod.hgf.nodes import number as _number
from neuromod.hgf.nodes import positive as _positive
from neuromod.hgf.schemes import (
    COMPATIBILITY,
    require_approximation,
    require_compatibility,
    require_update,
)

LARGEST_PRECISION = 1e10
CLIP = 1e-6

# Which nodes each kind of edge may join: its parent is a state or a constant.
CHILD_OF = {
    "observation": ContinuousInput,
    "noise": ContinuousInput,
    "probability": BinaryInput,
    "drift": ContinuousState,
    "volatility": ContinuousState,
}


class Network(eqx.Module):
    """A directed acyclic graph of beliefs, and how they are updated.

    Parameters
    ----------
    nodes
        Inputs (`BinaryInput`, `ContinuousInput`), states (`ContinuousState`,
        `VolatileState`) and constants (`Constant`), in any order.
    edges
        What acts on what: `probability`, `observation`, `drift`, `volatility`,
        `noise`.
    update
        "ehgf", "ehgf_swap", "standard" or "unbounded" (`neuromod.hgf.schemes`).
    approximation
        "mean_field" or "relaxed".

    Other Parameters
    ----------------
    largest_precision
        Where the precision of a belief is cut.
    clip
        How near to 0 and 1 the predicted probability of a binary input may come.
    compatibility
        "pyhgf" follows that package where it departs from the equations.

    Raises
    ------
    InvalidInputError
        If a name is unknown or taken, an edge joins nodes that it cannot join, a node
        stands alone, or the edges go in a circle; the message names it.

    Examples
    --------
    >>> from neuromod import hgf
    >>> network = hgf.Network(
    ...     nodes=[
    ...         hgf.BinaryInput("outcome"),
    ...         hgf.ContinuousState("x2", tonic_volatility=-3.0),
    ...         hgf.ContinuousState("x3", tonic_volatility=-6.0),
    ...     ],
    ...     edges=[hgf.probability("x2", "outcome"), hgf.volatility("x3", "x2")],
    ... )
    >>> network.inputs, network.states
    (('outcome',), ('x2', 'x3'))
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    largest_precision: Any
    clip: Any
    update: str = eqx.field(static=True)
    approximation: str = eqx.field(static=True)
    compatibility: str = eqx.field(static=True)

    def __init__(
        self,
        nodes: Sequence[Node | VolatileState],
        edges: Sequence[Edge],
        update: str = "ehgf",
        approximation: str = "mean_field",
        largest_precision: Any = LARGEST_PRECISION,
        clip: Any = CLIP,
        compatibility: str = "none",
    ) -> None:
        self.nodes, self.edges = _written_out(nodes, edges)
        self.update = require_update(update)
        self.approximation = require_approximation(approximation)
        self.compatibility = require_compatibility(compatibility)
        self.largest_precision = _positive(
            largest_precision, "network", "largest_precision"
        )
        self.clip = _number(clip, "network", "clip")
        _check(self.nodes, self.edges)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all nodes."""
        return tuple(node.name for node in self.nodes)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs, in the order of the data's columns."""
        return tuple(n.name for n in self.nodes if is_input(n))

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the hidden states."""
        return tuple(n.name for n in self.nodes if isinstance(n, ContinuousState))

    def __getitem__(self, name: str) -> Any:
        """Return a node by its name."""
        return self.nodes[_find(self.names, name, "node")]

    @property
    def quirks(self) -> frozenset[str]:
        """What is done otherwise than the equations (`neuromod.hgf.schemes`)."""
        return COMPATIBILITY[self.compatibility]

    def update_of(self, state: ContinuousState) -> str:
        """Return the update of a state."""
        return state.update or self.update

    def is_relaxed(self, node: Node) -> bool:
        """Tell whether the parents' variances enter the prediction of a node."""
        own = node.approximation if isinstance(node, ContinuousState) else None
        return (own or self.approximation) == "relaxed"

    @property
    def family(self) -> "Family":
        """Who is whose parent and child, and the order of predictions."""
        return _family(
            self.names, tuple((e.kind, e.parent, e.child) for e in self.edges)
        )


class Family(NamedTuple):
    """Who is whose parent and child.

    Parameters
    ----------
    downwards
        Names of the nodes, parents before children.
    value_parents, volatility_parents, value_children, volatility_children
        For each node the numbers of the edges.
    """

    downwards: tuple[str, ...]
    value_parents: dict[str, tuple[int, ...]]
    volatility_parents: dict[str, tuple[int, ...]]
    value_children: dict[str, tuple[int, ...]]
    volatility_children: dict[str, tuple[int, ...]]


def is_input(node: Node) -> bool:
    """Tell whether data come in at a node."""
    return isinstance(node, ContinuousInput | BinaryInput)


@functools.cache
def _family(names: tuple[str, ...], edges: tuple[tuple[str, str, str], ...]) -> Family:
    def numbers(of_value: bool, end: int) -> dict[str, tuple[int, ...]]:
        return {
            name: tuple(
                number
                for number, edge in enumerate(edges)
                if (edge[0] not in ("volatility", "noise")) == of_value
                and edge[end] == name
            )
            for name in names
        }

    above = {name: [e[1] for e in edges if e[2] == name] for name in names}
    downwards = tuple(TopologicalSorter(above).static_order())
    return Family(
        downwards,
        value_parents=numbers(True, 2),
        volatility_parents=numbers(False, 2),
        value_children=numbers(True, 1),
        volatility_children=numbers(False, 1),
    )


def _written_out(
    nodes: Sequence[Node | VolatileState], edges: Sequence[Edge]
) -> tuple[tuple[Node, ...], tuple[Edge, ...]]:
    """Write every volatile state as a state and that of its volatility."""
    found: list[Node] = []
    more: list[Edge] = []
    for node in nodes:
        if isinstance(node, VolatileState):
            found += [node.value, node.volatility]
            more.append(volatility(node.volatility.name, node.value.name))
        else:
            found.append(node)
    return tuple(found), (*edges, *more)


def _check(nodes: tuple[Node, ...], edges: tuple[Edge, ...]) -> None:
    names = [node.name for node in nodes]
    for name in names:
        if names.count(name) > 1:
            raise invalid("nodes", f"two nodes named {name!r}", "each name once")
    for edge in edges:
        _check_edge(edge, nodes, names)
    joined = [(edge.parent, edge.child, edge.carries_value) for edge in edges]
    for parent, child, _ in joined:
        if any(joined.count((parent, child, value)) > 1 for value in (True, False)):
            raise invalid(
                "edges", f"two edges of one kind from {parent!r} to {child!r}", "one"
            )
    if not any(is_input(node) for node in nodes):
        raise invalid("nodes", "no input", "a BinaryInput or a ContinuousInput")
    for node in nodes:
        _check_place(node, edges)
    above = {name: [e.parent for e in edges if e.child == name] for name in names}
    try:
        TopologicalSorter(above).prepare()
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise invalid("edges", f"a circle, {circle}", "none: beliefs go down") from None


def _check_edge(edge: Edge, nodes: tuple[Node, ...], names: list[str]) -> None:
    parent = nodes[_find(names, edge.parent, f"parent of a {edge.kind} edge")]
    child = nodes[_find(names, edge.child, f"child of a {edge.kind} edge")]
    constant = isinstance(parent, Constant) and edge.carries_value
    if not (isinstance(parent, ContinuousState) or constant):
        raise invalid(
            "edges",
            f"{edge.kind} from {edge.parent!r}, a {type(parent).__name__}",
            "a ContinuousState as parent",
        )
    if not isinstance(child, CHILD_OF[edge.kind]):
        raise invalid(
            "edges",
            f"{edge.kind} to {edge.child!r}, a {type(child).__name__}",
            f"a {CHILD_OF[edge.kind].__name__} as child",
        )


def _check_place(node: Node, edges: tuple[Edge, ...]) -> None:
    below = [e for e in edges if e.parent == node.name]
    above = [e for e in edges if e.child == node.name and e.carries_value]
    if is_input(node) and not above:
        raise invalid(
            "edges",
            f"none to the input {node.name!r}",
            "an edge from the state that it observes",
        )
    if not is_input(node) and not below:
        raise invalid(
            "edges",
            f"none from {node.name!r}, which no data would reach",
            "an edge to what it acts on",
        )


def _find(names: Sequence[str], name: str, argument: str) -> int:
    names = list(names)
    if name not in names:
        known = ", ".join(map(repr, names))
        raise invalid(
            argument, repr(name), f"one of {known}", did_you_mean(str(name), names)
        )
    return names.index(name)
