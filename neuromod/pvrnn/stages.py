"""The order in which a network is computed: stages, each one loop over time.

A layer can be run over all steps at once as soon as all that drives it is known: its
latents, if they depend on adaptive vectors alone, and layers that do not depend on it.
Layers that wait for each other share a loop, in which one matrix holds all that they
give to each other, a step late. What enters a stage from outside is one matrix product
over all steps before the loop, and so are, in the derivative, the gradients of all
weights (`neuromod.kernels.MTRNN`, `neuromod.kernels.LatentMTRNN`).

Layers that give to each other within the same step, both ways round, have no such
matrix: they are run step by step (`neuromod.pvrnn.stepwise`).
"""

from typing import Any, NamedTuple

from neuromod.core.errors import invalid
from neuromod.pvrnn.layers import Connection
from neuromod.pvrnn.model import PVRNN


class Stage(NamedTuple):
    """Layers that run in one loop: their numbers, and what they give to each other."""

    members: tuple[int, ...]
    inner: tuple[Connection, ...]
    outer: tuple[Connection, ...]


def draws_within(network: PVRNN, index: int) -> bool:
    """Tell whether the latents of a layer depend on its activity."""
    return network.layers[index].posterior is not None


def stages(network: PVRNN) -> list[Stage] | None:
    """Return the stages in their order, or None if there is no such order."""
    levels = _levels(network)
    found = []
    for level in sorted(set(levels.values())):
        members = tuple(i for i, at in levels.items() if at == level)
        inner, outer = [], []
        for connection in network.connections:
            source, target = _ends(network, connection)
            if target not in members:
                continue
            waits = source in members and _is_in_loop(network, connection)
            (inner if waits else outer).append(connection)
        if any(c.delay == (c.carries == "latent") for c in inner):
            return None  # activities of the same step, or latents of the one before
        found.append(Stage(members, tuple(inner), tuple(outer)))
    return found


def evaluation_order(network: PVRNN) -> list[int]:
    """Return the layers so that what they get within a step is there before them.

    Raises
    ------
    InvalidInputError
        If layers wait for each other within a step.
    """
    waits: dict[int, set[int]] = {i: set() for i in range(len(network.layers))}
    for connection in network.connections:
        source, target = _ends(network, connection)
        # Latents depend on the step before alone, so that all are there.
        if connection.delay == 0 and connection.carries == "activity":
            waits[target].add(source)
    order: list[int] = []
    while len(order) < len(waits):
        ready = [i for i in waits if i not in order and waits[i] <= set(order)]
        if not ready:
            names = [network.layers[i].name for i in waits if i not in order]
            expected = "at least one that waits a step: delay 1"
            raise invalid("connections", f"delay 0 all around {names}", expected)
        order += ready
    return order


def _ends(network: PVRNN, connection: Connection) -> tuple[int, int]:
    return network.index(connection.source), network.index(connection.target)


def _is_in_loop(network: PVRNN, connection: Connection) -> bool:
    """Tell whether what a connection carries is made by the loop of its source."""
    source, _ = _ends(network, connection)
    return connection.carries == "activity" or draws_within(network, source)


def _levels(network: PVRNN) -> dict[int, int]:
    """Return how many stages come before each layer that has units."""
    indices = [i for i, layer in enumerate(network.layers) if layer.n_units]
    before: dict[int, set[int]] = {i: set() for i in indices}
    for connection in network.connections:
        source, target = _ends(network, connection)
        if _is_in_loop(network, connection):
            before[target].add(source)
    reached = {i: _closure(i, before) for i in indices}

    def level(i: int) -> int:
        earlier = [j for j in reached[i] if i not in reached[j] and j != i]
        return 1 + max((level(j) for j in earlier), default=-1)

    return {i: level(i) for i in indices}


def _closure(start: int, before: dict[int, set[int]]) -> set[int]:
    found: set[Any] = set()
    ahead = list(before[start])
    while ahead:
        i = ahead.pop()
        if i not in found:
            found.add(i)
            ahead += before[i]
    return found
