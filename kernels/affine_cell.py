"""Cells that are affine in their carry, and so can be run in parallel over time.

::

    carry_t = factor_t carry_{t-1} + drive_t

where factor and drive depend on the input alone. The factor is a number for each entry
of the carry, or a matrix. (`neuromod.kernels.affine` has the recurrence itself.)
"""

import abc
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from neuromod.kernels.affine import affine_scan, matrix_affine_scan
from neuromod.kernels.affine_methods import ASSOCIATIVE_STEPS
from neuromod.kernels.cell import Cell
from neuromod.kernels.loop import Slices, select
from neuromod.kernels.methods import choose


class AffineCell(Cell):
    """A cell whose next carry, one array, is affine in the carry.

    A new one writes down `initial` and `coefficients`; with ``dense = True`` the factor
    is a matrix (state, state) and the carry a vector.
    """

    dense: ClassVar[bool] = False

    @abc.abstractmethod
    def coefficients(self, projected: Any) -> tuple[Array, Array]:
        """Return factor and drive of a step."""

    def read(self, carry: Array, projected: Any) -> Any:
        """Return the output of a step from its new carry: the carry itself."""
        return carry

    def advance(self, carry: Array, projected: Any, noise: Any = None):
        """Take one step."""
        if noise is not None:
            raise ValueError(
                f"noise: got some, expected none for {type(self).__name__}. Add it to "
                "the inputs."
            )
        factor, drive = self.coefficients(projected)
        carry = self.apply(factor, carry) + drive
        return carry, self.read(carry, projected)

    def apply(self, factor: Array, carry: Array) -> Array:
        """Return the part of the carry that is kept."""
        return factor @ carry if self.dense else factor * carry


class LeakyIntegrator(AffineCell):
    """Units that sum their inputs and forget: ``h_t = decay h_{t-1} + W x_t``.

    Parameters
    ----------
    decay : (hidden,)
        ``exp(-dt / time_constant)`` of each unit.
    input_weight : (hidden, input)
        W.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from neuromod.kernels import LeakyIntegrator, scan
    >>> cell = LeakyIntegrator(jnp.array([0.5]), jnp.array([[1.0]]))
    >>> inputs = jnp.array([[4.0], [4.0], [4.0]])
    >>> found = scan(cell, cell.initial(), inputs, method="associative")
    >>> print(found.outputs[:, 0], found.info.method)
    [4. 6. 7.] associative
    """

    decay: Float[Array, " hidden"]
    input_weight: Float[Array, "hidden input"]

    def initial(self, batch_shape: tuple[int, ...] = ()) -> Array:
        """Return zeros (..., hidden)."""
        return jnp.zeros((*batch_shape, *self.decay.shape), self.decay.dtype)

    def project(self, inputs: Float[Array, "*batch input"]) -> Array:
        """Return W x."""
        return jnp.einsum("...i,hi->...h", inputs, self.input_weight)

    def coefficients(self, projected: Array) -> tuple[Array, Array]:
        """Return decay and drive of a step."""
        return jnp.broadcast_to(self.decay, projected.shape), projected


def chosen(cell: Any, method: str, n_steps: int) -> str:
    """Return the method to run a cell with."""
    if not isinstance(cell, AffineCell) or method != "auto":
        return "sequential" if method == "auto" else method
    enough = None if cell.dense else ASSOCIATIVE_STEPS
    return choose(method, ("sequential", "associative"), n_steps, enough)


def run(
    cell: AffineCell, carry: Array, initial: Array, slices: Slices, reverse: bool
) -> tuple[Array, Any]:
    """Run a cell over all steps in log2(time) rounds."""
    projected = cell.project(slices.inputs)
    factor, drive = jax.vmap(cell.coefficients)(projected)
    mask, reset = slices.valid, slices.restart
    if reset is not None:
        flags = reset.reshape(-1, *(1,) * (drive.ndim - 1))
        apply = jax.vmap(lambda factor: cell.apply(factor, initial))
        restarted = drive + apply(factor)
        if mask is not None:
            # A masked step where a sequence starts still sets the carry.
            shown = mask.reshape(flags.shape)
            start = jnp.broadcast_to(initial, drive.shape)
            restarted = jnp.where(shown, restarted, start)
            mask = mask | reset
        drive = jnp.where(flags, restarted, drive)
    solve = matrix_affine_scan if cell.dense else affine_scan
    options = {"mask": mask, "reset": reset, "reverse": reverse}
    states, last = solve(factor, drive, carry, method="associative", **options)
    outputs = jax.vmap(cell.read)(states, projected)
    if slices.valid is None:
        return last, outputs
    hide = jax.vmap(lambda shown, y: select(shown, y, jax.tree.map(jnp.zeros_like, y)))
    return last, hide(slices.valid, outputs)
