"""One batch over many devices.

Trials, subjects and seeds do not see each other, so a batch of them can be cut into
equal parts, one for each device. Only what they share, the parameters, is copied. Their
gradient is a sum over the parts, and it is summed once, after the backward pass: the
loop over time runs on each device without waiting for the others.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

AXIS = "part"


def over_devices(
    function: Callable,
    *,
    in_axes: int | Sequence[int | None],
    out_axes: Any = 0,
    devices: Sequence[Any] | None = None,
) -> Callable:
    """Let every device run a function on its part of the batch.

    Parameters
    ----------
    function
        Takes and returns pytrees of arrays that keep the axis of the batch.
    in_axes
        The axis of the batch in each argument, None for one that all parts share; one
        number for all arguments. In the words of `jax.vmap`.
    out_axes
        The axis of the batch in the results: a number, or a pytree of them.
    devices
        The devices to use; all of ``jax.devices()`` if omitted.

    Returns
    -------
    function
        The same function of whole batches. It can be jitted and differentiated.

    Raises
    ------
    ValueError
        If a batch cannot be cut into equal parts.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from neuromod.kernels import LSTM, over_devices, scan
    >>> def run(network, inputs):
    ...     start = network.initial(inputs.shape[1:2])
    ...     return scan(network, start, inputs).outputs
    >>> network = LSTM.random(jax.random.key(0), n_inputs=3, n_hidden=5)
    >>> run = over_devices(run, in_axes=(None, 1), out_axes=1)
    >>> run(network, jnp.ones((100, 16, 3))).shape
    (100, 16, 5)
    """
    mesh = Mesh(np.array(devices or jax.devices()), (AXIS,))

    def run(*arguments: Any) -> Any:
        axes = (in_axes,) * len(arguments) if isinstance(in_axes, int) else in_axes
        for number, (argument, axis) in enumerate(zip(arguments, axes, strict=True)):
            _check_parts(argument, axis, number, mesh.size)
        # Unchecked, because checking replication would make JAX sum the gradient of
        # what is shared wherever it is used: in every step of the loop.
        return jax.shard_map(
            function,
            mesh=mesh,
            in_specs=tuple(_cut_along(axis) for axis in axes),
            out_specs=jax.tree.map(_cut_along, out_axes),
            check_vma=False,
        )(*arguments)

    return run


def _cut_along(axis: int | None) -> PartitionSpec:
    return PartitionSpec() if axis is None else PartitionSpec(*(None,) * axis, AXIS)


def _check_parts(argument: Any, axis: int | None, number: int, n_parts: int) -> None:
    for leaf in jax.tree.leaves(argument) if axis is not None else ():
        if leaf.ndim <= axis or leaf.shape[axis] % n_parts:
            raise ValueError(
                f"argument {number}: got an array of shape {leaf.shape}, expected an "
                f"axis {axis} that can be cut into {n_parts} equal parts. Pad the "
                "batch, or pass fewer devices."
            )
