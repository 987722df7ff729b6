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

Gates = tuple[Array, ...]


class Weights(NamedTuple):
    """The weights of each gate; None for a tangent that is zero."""

    inputs: Gates | None
    recurrent: Gates | None
    bias: Gates | None


class Kept(NamedTuple):
    """What the derivative needs of each step.

    ``source`` is what the recurrent weights multiply, one for all gates or a tuple,
    ``slopes`` what `GatedCell.follow` takes, ``rest`` what `GatedCell.push` takes.
    """

    source: Array | Gates
    slopes: Any
    rest: Any = None


class Change(NamedTuple):
    """Tangents: of the cell, its inputs and its noise; None where there are none."""

    cell: Any
    inputs: Any
    noise: Any


class GatedCell(Cell):
    """A cell whose state goes through a matrix (the module's equations).

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
        """Return the weights of each gate."""
        fields = (self.input_weight, self.recurrent_weight, self.bias)
        return Weights(*(None if field is None else tuple(field) for field in fields))

    def project(self, inputs: Float[Array, "*batch input"]) -> Gates:
        """Return W x + b of each gate."""
        weights = self.weights()
        products = [matvec(weight, inputs) for weight in weights.inputs]
        pairs = zip(products, weights.bias, strict=True)
        return tuple(x + jnp.broadcast_to(bias, x.shape) for x, bias in pairs)

    def advance(self, carry: Any, projected: Gates, noise: Any = None):
        """Take one step."""
        return self.step(self.weights().recurrent, carry, projected, noise)[:2]

    @abc.abstractmethod
    def step(
        self, recurrent: Gates, carry: Any, projected: Gates, noise: Any
    ) -> tuple[Any, Any, Kept]:
        """Take one step, and tell what its derivative needs."""

    @abc.abstractmethod
    def follow(
        self, recurrent: Gates, change: Any, slopes: Any, drive: Gates, push: Any
    ) -> tuple[Any, Any]:
        """Carry a small change of the carry through one step, linearly."""

    def drive(self, change: Change, kept: Kept, inputs: Array, noise: Any) -> Gates:
        """Return what changes the gates beside the carry, over all steps."""
        return tuple(
            total(
                gate_source(kept, gate),
                recurrent_drive(change, kept, gate),
                input_drive(self, change, inputs, gate),
            )
            for gate in range(len(self.weights().bias))
        )

    def push(self, change: Change, kept: Kept, noise: Any) -> Any:
        """Return what changes the carry directly, over all steps; None for nothing."""
        return None


def matvec(weight: Float[Array, "*heads out in"], vector: Array) -> Array:
    """Multiply the last axis of ``vector``; block by block if there are heads."""
    if weight.ndim == 2:
        return lax.dot_general(vector, weight, (((vector.ndim - 1,), (1,)), ((), ())))
    n_heads, _, n_in = weight.shape
    split = vector.reshape(*vector.shape[:-1], n_heads, n_in)
    product = jnp.einsum("...hi,hoi->...ho", split, weight)
    return product.reshape(*vector.shape[:-1], -1)


def gate_source(kept: Kept, gate: int) -> Array:
    """Return what the recurrent weights of a gate multiply."""
    return kept.source[gate] if isinstance(kept.source, tuple) else kept.source


def recurrent_drive(change: Change, kept: Kept, gate: int) -> Array | None:
    """Return dR v, over all steps."""
    weights = change.cell.weights().recurrent
    return None if weights is None else matvec(weights[gate], gate_source(kept, gate))


def input_drive(
    cell: GatedCell, change: Change, inputs: Array, gate: int
) -> Array | None:
    """Return dW x + W dx + db, over all steps."""
    tangent = change.cell.weights()
    terms = []
    if tangent.inputs is not None:
        terms.append(matvec(tangent.inputs[gate], inputs))
    if change.inputs is not None:
        terms.append(matvec(cell.weights().inputs[gate], change.inputs))
    if tangent.bias is not None:
        shape = (*inputs.shape[:-1], cell.n_hidden)
        terms.append(jnp.broadcast_to(tangent.bias[gate], shape))
    return sum(terms[1:], terms[0]) if terms else None


def scaled(coefficient: Any, values: Any) -> Array | None:
    """Multiply by a coefficient () or (hidden,); None if there is none of either."""
    if coefficient is None or values is None:
        return None
    return jnp.broadcast_to(coefficient, values.shape) * values


def total(like: Array, *terms: Any) -> Array:
    """Sum what is not None; zeros in the shape of ``like`` if all is."""
    found = [term for term in terms if term is not None]
    return sum(found[1:], found[0]) if found else jnp.zeros_like(like)


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
