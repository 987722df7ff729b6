"""Cells whose state goes through a matrix, with hand-written derivatives.

All these cells take a step of the same form. The gates z are linear in what the
recurrent weights R see of the past, the source v, and the rest of the step acts on
each hidden unit by itself::

    z_t = R v_{t-1} + W x_t + b
    carry_t, output_t = f(carry_{t-1}, z_t, noise_t)

Small changes therefore follow a linear recursion, with slopes (derivatives of f) that
the forward pass leaves behind::

    dz_t = R dv_{t-1} + drive_t,      drive_t = dR v_{t-1} + dW x_t + W dx_t + db
    dcarry_t, doutput_t = slopes_t (dcarry_{t-1}, dz_t) + push_t

where the push is what noise and time constants change directly. Neither drive nor push
depends on the recursion: they are matrix products over all steps of a chunk at once.
JAX transposes this linear program into the backward pass: a loop that only carries the
error back, and then one matrix product over all steps for the gradient of the weights,
where differentiating the loop would add up as many outer products as there are steps.
Because the rule is written forward (``custom_jvp``), forward mode and higher
derivatives work too.
"""

import abc
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float, Key

from neuromod.kernels.cell import Cell, draw
from neuromod.kernels.loop import Slices, guard


class Weights(NamedTuple):
    """All gates side by side; None for a tangent that is zero.

    ``inputs`` is (gate * hidden, input), ``bias`` (gate * hidden); ``recurrent`` is
    what `matvec` takes, or whatever else the cell's own methods take.
    """

    inputs: Any
    recurrent: Any
    bias: Any


class Kept(NamedTuple):
    """What the derivative needs of each step.

    ``source`` is what the recurrent weights multiply, ``slopes`` what
    `GatedCell.follow` takes, ``rest`` what `GatedCell.push` takes.
    """

    source: Any
    slopes: Any
    rest: Any = None


class Change(NamedTuple):
    """Tangents: of the cell, its inputs and its noise; None where there are none."""

    cell: Any
    inputs: Any
    noise: Any


class GatedCell(Cell):
    """A cell whose state goes through a matrix (the module's equations).

    One product makes all gates: a matrix of all their weights is read faster than
    several small ones.

    Parameters
    ----------
    input_weight : (gate, hidden, input)
        W.
    recurrent_weight : (gate, hidden, hidden) or (gate, head, unit, unit)
        R; with heads it is block-diagonal, and the hidden units are those of all heads.
    bias : (gate, hidden)
        b.
    """

    input_weight: eqx.AbstractVar[Any]
    recurrent_weight: eqx.AbstractVar[Any]
    bias: eqx.AbstractVar[Any]

    @property
    def n_hidden(self) -> int:
        """Number of hidden units."""
        return self.bias.shape[-1]

    def weights(self) -> Weights:
        """Return the weights of all gates side by side."""
        return Weights(
            linear(self.input_weight, lambda w: w.reshape(-1, w.shape[-1])),
            linear(self.recurrent_weight, side_by_side),
            linear(self.bias, lambda b: b.reshape(-1)),
        )

    def project(self, inputs: Float[Array, "*batch input"]) -> Array:
        """Return W x + b of all gates, (..., gate * hidden)."""
        weights = self.weights()
        product = matvec(weights.inputs, inputs)
        return product + jnp.broadcast_to(weights.bias, product.shape)

    def advance(self, carry: Any, projected: Array, noise: Any = None):
        """Take one step."""
        return self.step(self.weights().recurrent, carry, projected, noise)[:2]

    @abc.abstractmethod
    def step(
        self, recurrent: Any, carry: Any, projected: Array, noise: Any
    ) -> tuple[Any, Any, Kept]:
        """Take one step, and tell what its derivative needs."""

    @abc.abstractmethod
    def follow(
        self, recurrent: Any, change: Any, slopes: Any, drive: Any, push: Any
    ) -> tuple[Any, Any]:
        """Carry a small change of the carry through one step, linearly."""

    def drive(self, change: Change, kept: Kept, inputs: Array, noise: Any) -> Any:
        """Return what changes the gates beside the carry, over all steps."""
        recurrent = change.cell.weights().recurrent
        return total(
            self.gates_like(inputs),
            linear(recurrent, lambda weights: matvec(weights, kept.source)),
            self.input_drive(change, inputs),
        )

    def input_drive(self, change: Change, inputs: Array) -> Array | None:
        """Return dW x + W dx + db of all gates, over all steps."""
        tangent, shape = change.cell.weights(), self.gates_like(inputs).shape
        terms = (
            linear(tangent.inputs, lambda weights: matvec(weights, inputs)),
            linear(change.inputs, lambda x: matvec(self.weights().inputs, x)),
            linear(tangent.bias, lambda bias: jnp.broadcast_to(bias, shape)),
        )
        found = [term for term in terms if term is not None]
        return functools.reduce(jnp.add, found) if found else None

    def gates_like(self, inputs: Array) -> jax.ShapeDtypeStruct:
        """Return the shape of the gates that go with these inputs."""
        shape = (*inputs.shape[:-1], self.bias.size)
        return jax.ShapeDtypeStruct(shape, self.bias.dtype)

    def push(self, change: Change, kept: Kept, noise: Any) -> Any:
        """Return what changes the carry directly, over all steps; None for nothing."""
        return None


def side_by_side(weight: Float[Array, "gate *head out in"]) -> Array:
    """Put the matrices of all gates under one another; heads stay apart."""
    return weight.reshape(-1, weight.shape[-1]) if weight.ndim == 3 else weight


def matvec(weight: Array, vector: Array) -> Array:
    """Multiply the last axis of ``vector`` by (gate * hidden, in), or by heads.

    Heads are (gate, head, out, in): each multiplies its own part of the vector.
    """
    if weight.ndim == 2:
        return lax.dot_general(vector, weight, (((vector.ndim - 1,), (1,)), ((), ())))
    _, n_heads, _, n_in = weight.shape
    split = vector.reshape(*vector.shape[:-1], n_heads, n_in)
    product = jnp.einsum("...hi,ghoi->...gho", split, weight)
    return product.reshape(*vector.shape[:-1], -1)


def linear(change: Any, function: Callable) -> Any:
    """Apply a linear function to a tangent; None stays None, for zero."""
    return None if change is None else function(change)


def scaled(coefficient: Any, values: Any) -> Array | None:
    """Multiply by a coefficient () or (hidden,); None if there is none of either."""
    if coefficient is None or values is None:
        return None
    return jnp.broadcast_to(coefficient, values.shape) * values


def total(like: Array | jax.ShapeDtypeStruct, *terms: Any) -> Array:
    """Sum what is not None; zeros in the shape of ``like`` if all is."""
    found = [term for term in terms if term is not None]
    if not found:
        return jnp.zeros(like.shape, like.dtype)
    return functools.reduce(jnp.add, found)


def run(
    cell: GatedCell,
    carry: Any,
    initial: Any,
    slices: Slices,
    key: Key[Array, "*lane"] | None,
    *,
    reverse: bool,
    hoist: bool,
) -> tuple[Any, Any]:
    """Run a cell over a chunk; ``hoist`` projects all its inputs at once."""
    loop = jax.custom_jvp(_primal(reverse, hoist, keep=False))
    loop.defjvp(_derivative(reverse, hoist), symbolic_zeros=True)
    return loop(cell, carry, initial, slices, key)


def _primal(reverse: bool, hoist: bool, keep: bool) -> Callable:
    """Return the loop; if ``keep``, with what its derivative needs of every step."""

    def forward(cell, carry, initial, slices, key):
        recurrent = cell.weights().recurrent

        def step(carry, now):
            projected = now.inputs if hoist else cell.project(now.inputs)
            noise = now.noise if key is None else draw(cell, key, now.index, carry)
            after, output, kept = cell.step(recurrent, carry, projected, noise)
            return after, (output, kept, noise) if keep else output

        if hoist:
            slices = slices._replace(inputs=cell.project(slices.inputs))
        return lax.scan(guard(step, initial), carry, slices, reverse=reverse)

    return forward


def _derivative(reverse: bool, hoist: bool) -> Callable:
    """Return the rule: the loop, and the linear loop of small changes along it."""

    def differentiate(primals, tangents):
        cell, _, _, slices, _ = primals
        end, (outputs, kept, noise) = _primal(reverse, hoist, keep=True)(*primals)
        d_cell, d_carry, d_initial, d_steps, _ = jax.tree.map(_none_if_zero, tangents)
        change = Change(d_cell, d_steps.inputs, d_steps.noise)
        recurrent = cell.weights().recurrent

        def follow(d_carry, now):
            return cell.follow(recurrent, d_carry, *now.inputs)

        drive = cell.drive(change, kept, slices.inputs, noise)
        push = cell.push(change, kept, noise)
        changes = Slices((kept.slopes, drive, push))
        changes = changes._replace(valid=slices.valid, restart=slices.restart)
        d_carry, d_initial = (
            jax.tree.map(_zeros_if_none, like, tree, is_leaf=_is_none)
            for like, tree in ((primals[1], d_carry), (primals[2], d_initial))
        )
        changed = lax.scan(guard(follow, d_initial), d_carry, changes, reverse=reverse)
        return (end, outputs), changed

    return differentiate


def _none_if_zero(tangent):
    return None if isinstance(tangent, SymbolicZero) else tangent


def _zeros_if_none(like, tangent):
    return jnp.zeros_like(like) if tangent is None else tangent


def _is_none(tangent):
    return tangent is None
