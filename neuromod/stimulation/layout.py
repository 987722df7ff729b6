r"""The whole of a stimulus and its parts: which functions the response to each has.

A stimulus may have parts that could be stimulated alone: one electrode of a pair, a
pair without its delay. Each such *block* has a latent function $g_b$ of its own
dimensions, and what a block does is the sum over itself and everything in it,

$$
f_b(x) = g_b(x^{(b)}) + \sum_{c \in \text{parts}(b)} f_c(x), \qquad
y_b = o_b + \alpha_b f_b(x) + e ,
$$

so $g$ of the whole is the interaction: what the parts together do that they do not do
alone. One Cholesky factor of all trials, of the whole and of parts, tells of all
blocks at once: what was learned of a part informs the whole, and the other way round,
with the weights that follow from the covariances. A stimulus without parts has one
function, and is searched by a plain Gaussian process.
"""

from collections.abc import Iterator
from typing import NamedTuple


class Block(NamedTuple):
    """The whole of a stimulus, or a part of it.

    Parameters
    ----------
    name
        By which trials of it are asked for.
    dimensions
        Numbers of the coordinates that it has.
    parts
        Blocks in it.
    """

    name: str
    dimensions: tuple[int, ...]
    parts: tuple["Block", ...] = ()

    def walk(self) -> Iterator["Block"]:
        """Go through the block itself and everything in it, in a fixed order."""
        yield self
        for part in self.parts:
            yield from part.walk()

    def without_parts(self) -> "Block":
        """Return the block as one."""
        return self._replace(parts=())


def flat(n_dimensions: int) -> Block:
    """Return a stimulus that has no parts."""
    return Block("whole", tuple(range(n_dimensions)))


def shares(block: Block, interaction: float) -> list[float]:
    """Return what share of the variance each function has, in the order of `walk`.

    Parameters
    ----------
    block
        The whole.
    interaction
        The share of a block with parts that is of its own function; its parts have
        equal shares of the rest.

    Examples
    --------
    >>> pair = Block("whole", (0, 1), (Block("first", (0,)), Block("second", (1,))))
    >>> shares(pair, 0.2)
    [0.2, 0.4, 0.4]
    """
    if not block.parts:
        return [1.0]
    rest = (1 - interaction) / len(block.parts)
    below = [shares(part, interaction) for part in block.parts]
    return [interaction, *(rest * share for part in below for share in part)]


def membership(block: Block) -> list[list[bool]]:
    """Return which functions each block has, both in the order of `walk`."""
    blocks = list(block.walk())
    return [[other in list(one.walk()) for other in blocks] for one in blocks]
