"""Many fits of one shape as one program: each is a lane of it.

A fit of a small model leaves most of a processor idle. `lanes` stacks the items,
compiles the function once for all of them side by side, and divides them over the
devices there are. It takes pure JAX functions and items of one shape; for anything
else there is `neuromod.core.cohort.map`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar, overload

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from neuromod.core.dimensions import require_integer
from neuromod.core.errors import ShapeError, invalid

Tree = Any
Key = TypeVar("Key")


@overload
def lanes(
    function: Callable[[Tree], Tree],
    items: Mapping[Key, Tree],
    *,
    batch_size: int | None = None,
) -> dict[Key, Tree]: ...


@overload
def lanes(
    function: Callable[[Tree], Tree],
    items: Sequence[Tree],
    *,
    batch_size: int | None = None,
) -> list[Tree]: ...


def lanes(
    function: Callable[[Tree], Tree],
    items: Mapping[Any, Tree] | Sequence[Tree],
    *,
    batch_size: int | None = None,
) -> dict[Any, Tree] | list[Tree]:
    """Apply a JAX function to many items of one shape in a single program.

    Parameters
    ----------
    function
        A pure function of one item, which JAX can trace: no xarray in it, no files.
        It is compiled once, however often `lanes` is called with it.
    items
        Pytrees of arrays (an Equinox module, a tuple, a dict), all of one structure,
        with the same shapes and types; in a list, or in a dict by label.

    Other Parameters
    ----------------
    batch_size
        The most items that run side by side, to bound memory; all by default.

    Returns
    -------
    list or dict
        What the function returns for each item, with NumPy arrays, in the order and
        under the labels of ``items``.

    Raises
    ------
    ShapeError
        If an item has another structure, shape or type than the first; names it.
    InvalidInputError
        If there is no item, an item holds something that is no array, or the
        function is an object that cannot be hashed.

    Notes
    -----
    With several devices each takes an equal share of the lanes. Batches of another
    size may round differently: the same numbers come back within floating-point
    tolerance, the same bits only where the layout is the same.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> found = lanes(jnp.sum, {"rat1": np.ones(3), "rat2": np.zeros(3)})
    >>> {label: float(total) for label, total in found.items()}
    {'rat1': 3.0, 'rat2': 0.0}
    """
    labelled = dict(items) if isinstance(items, Mapping) else dict(enumerate(items))
    if not labelled:
        raise invalid("items", "none", "at least one item")
    _require_one_shape(labelled)
    trees, devices = list(labelled.values()), tuple(jax.devices())
    most = len(trees) if batch_size is None else batch_size
    width = min(require_integer(most, "batch_size"), len(trees))
    width += -width % len(devices)
    program, results = _program(_require_hashable(function), devices), []
    for start in range(0, len(trees), width):
        batch = trees[start : start + width]
        # One shape, one compilation: the last batch is filled with its first item.
        filled = batch + batch[:1] * (width - len(batch))
        found = jax.device_get(program(jax.tree.map(_stack, *filled)))
        results += [_lane(found, i) for i in range(len(batch))]
    if isinstance(items, Mapping):
        return dict(zip(labelled, results, strict=True))
    return results


@lru_cache(maxsize=64)
def _program(function: Callable[[Tree], Tree], devices: tuple[Any, ...]) -> Any:
    """Compile a function for lanes that are divided over devices."""
    mesh, lane = Mesh(np.array(devices), ("lane",)), PartitionSpec("lane")
    # Unchecked: otherwise the gradient with respect to a captured constant would be
    # summed over the devices.
    divided = jax.shard_map(
        jax.vmap(function), mesh=mesh, in_specs=lane, out_specs=lane, check_vma=False
    )
    return jax.jit(divided)


def _require_hashable(function: Callable[[Tree], Tree]) -> Callable[[Tree], Tree]:
    try:
        hash(function)
    except TypeError:
        raise invalid(
            "function",
            f"an object of type {type(function).__name__} that holds arrays",
            "a function that can be remembered with its program",
            "Wrap it once: def apply(item): return function(item).",
        ) from None
    return function


def _lane(stacked: Tree, index: int) -> Tree:
    return jax.tree.map(lambda leaf: leaf[index], stacked)


def _stack(*leaves: Any) -> Any:
    if jax.dtypes.issubdtype(leaves[0].dtype, jax.dtypes.prng_key):
        return jax.numpy.stack(leaves)
    return np.stack([np.asarray(leaf) for leaf in leaves])


def _require_one_shape(labelled: Mapping[Any, Tree]) -> None:
    (first_label, first), *others = labelled.items()
    expected = _shapes(first, first_label)
    for label, item in others:
        found = _shapes(item, label)
        if found != expected:
            known = {**expected, **found}
            differing = [p for p in known if found.get(p) != expected.get(p)]
            path = max(differing, key=bool)  # an array, rather than the structure
            raise invalid(
                f"items[{label!r}]{path}",
                found.get(path, "nothing"),
                f"{expected.get(path, 'nothing')} as in items[{first_label!r}]",
                "Pad or select to one shape, or use cohort.map for ragged items.",
                ShapeError,
            )


def _shapes(item: Tree, label: Any) -> dict[str, str]:
    """Return what each array of an item is, by its path in the item."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(item)
    found = {}
    for path, leaf in leaves:
        name = jax.tree_util.keystr(path)
        if not isinstance(leaf, np.ndarray | np.generic | jax.Array):
            raise invalid(
                f"items[{label!r}]{name}",
                f"{leaf!r:.80} of type {type(leaf).__name__}",
                "an array",
                "Wrap numbers by numpy.asarray; keep settings in the function.",
            )
        found[name] = f"an array of shape {leaf.shape} and type {leaf.dtype}"
    return {**found, "": f"the structure {structure}"}
