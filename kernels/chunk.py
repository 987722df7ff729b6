"""What happens in one chunk of a loop over time."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
from jax import lax

from neuromod.kernels import affine_cell, events, gated, outputs
from neuromod.kernels.cell import Cell, draw
from neuromod.kernels.events import Slots
from neuromod.kernels.gated import GatedCell
from neuromod.kernels.loop import Slices, count_bytes, guard, replace_masked
from neuromod.kernels.outputs import Outputs

# Projections of a chunk that take less than this are made for the chunk at once.
PROJECTED_BYTES = 2**20


@dataclasses.dataclass(frozen=True, eq=False)
class Work:
    """All that is the same for every chunk; called with one, it runs it.

    Parameters
    ----------
    step
        The step or cell.
    method
        "sequential" or "associative".
    initial
        The carry that a reset returns to.
    generate
        Function that gives the input of a step from its number, or None.
    key
        Key or keys of the noise, or None.
    safe
        Input and noise for masked steps; None if only padding is masked.
    asked
        What to keep of the outputs.
    reverse
        Whether time runs backwards.
    project
        Where a cell projects its inputs.
    """

    step: Any
    method: str
    initial: Any
    generate: Callable | None
    key: Any
    safe: tuple[Any, Any] | None
    asked: Outputs
    reverse: bool
    project: Literal["auto", "chunk", "step"]

    def __call__(
        self, state: tuple[Any, Any], chunk: tuple[Slices, Slots | None]
    ) -> tuple[tuple[Any, Any], Any]:
        """Run a chunk from (carry, what is kept so far); return both and its rows."""
        (carry, kept), slices = state, self.complete(*chunk)
        carry, found = self.loop(carry, slices)
        kept, rows = outputs.collect(
            self.asked, kept, found, slices.valid, self.reverse
        )
        return (carry, kept), rows

    def complete(self, slices: Slices, slots: Slots | None) -> Slices:
        """Lay out or make the inputs, and put safe ones where steps are masked."""
        if slots is not None:
            slices = slices._replace(inputs=events.of_chunk(slots, len(slices.index)))
        if slices.valid is not None and self.safe is not None:
            given = (slices.inputs, slices.noise)
            inputs, noise = replace_masked(given, slices.valid, self.safe)
            slices = slices._replace(inputs=inputs, noise=noise)
        at_once = self.method == "associative" or isinstance(self.step, GatedCell)
        if self.generate is not None and at_once:
            slices = slices._replace(inputs=jax.vmap(self.generate)(slices.index))
        return slices

    def shapes(self, carry: Any, slices: Slices) -> Any:
        """Return the shapes of the outputs of all these steps."""
        return jax.eval_shape(
            lambda c, s: self.loop(c, self.complete(s, None))[1], carry, slices
        )

    def loop(self, carry: Any, slices: Slices) -> tuple[Any, Any]:
        """Run the steps one after another, or all at once."""
        if self.method == "associative":
            return affine_cell.run(self.step, carry, self.initial, slices, self.reverse)
        if isinstance(self.step, GatedCell):
            hoist = self.projects_chunks(slices)
            return gated.run(
                self.step,
                carry,
                self.initial,
                slices,
                self.key,
                reverse=self.reverse,
                hoist=hoist,
            )
        step = guard(self.advance, self.initial)
        return lax.scan(step, carry, slices, reverse=self.reverse)

    def advance(self, carry: Any, now: Slices) -> tuple[Any, Any]:
        """Take one step with the input and the noise of its number."""
        x = now.inputs if self.generate is None else self.generate(now.index)
        noise = now.noise
        if self.key is not None:
            noise = draw(self.step, self.key, now.index, carry)
        return self.step(carry, x) if noise is None else self.step(carry, x, noise)

    def projects_chunks(self, slices: Slices) -> bool:
        """Tell whether the inputs of these steps are projected all at once."""
        if self.project != "auto":
            return self.project == "chunk"
        narrow = self.step.input_weight.shape[-1] < self.step.n_hidden
        projected = jax.eval_shape(self.step.project, slices.inputs)
        return not narrow or count_bytes(projected) < PROJECTED_BYTES

    def where_projected(self, slices: Slices, size: int) -> str | None:
        """Tell where the inputs of chunks of ``size`` of these steps are projected."""
        if self.method == "associative":
            return "chunk"
        if not isinstance(self.step, GatedCell):
            return "step" if isinstance(self.step, Cell) else None

        def cut(slices):
            return jax.tree.map(lambda x: x[:size], self.complete(slices, None))

        chunk = jax.eval_shape(cut, slices)
        return "chunk" if self.projects_chunks(chunk) else "step"
