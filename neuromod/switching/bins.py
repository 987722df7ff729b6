"""The bins of a recording as the GLMs see them: all at once, or a slab at a time.

What the GLMs regress on is several times larger than the spikes. `Held` computes it
once and keeps it. `Streamed` reads a recording that lies on disk slab by slab, each
with the few bins before it that its history needs, and adds up the same sums; only
what there is per bin and state is ever held whole. Both give the same numbers, to
rounding.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from neuromod.core.slabs import Slab, Slabs
from neuromod.switching import glm
from neuromod.switching.information import Chosen, count, inform
from neuromod.switching.model import SwitchingGLM
from neuromod.switching.observations import OBSERVATIONS, Values
from neuromod.switching.recording import Recording, rows_of


class Held(NamedTuple):
    """Bins whose regressors are held in memory; weights are (row, state)."""

    rows: glm.Rows

    def evaluate(self, model: SwitchingGLM, weights: Values) -> glm.Evaluation:
        """Return evidence and objectives (`neuromod.switching.glm.evaluate`)."""
        return glm.evaluate(model, self.rows, weights)

    def differentiate(self, model: SwitchingGLM, weights: Values) -> glm.Statistics:
        """Return derivatives (`neuromod.switching.glm.differentiate`)."""
        return glm.differentiate(model, self.rows, weights)

    def inform(
        self, model: SwitchingGLM, weights: Values, chosen: Chosen
    ) -> Float[Array, "state group coefficient other"]:
        """Return the Fisher information (`neuromod.switching.information`)."""
        return inform(model, self.rows, chosen.rows, count(chosen, weights))

    def expect(
        self, model: SwitchingGLM, weights: Values
    ) -> Float[Values, "row neuron"]:
        """Return expected values (`neuromod.switching.glm.expect`)."""
        return glm.expect(model, self.rows, weights)


class Part(NamedTuple):
    """The rows of one slab, filled up to the length of all slabs.

    Parameters
    ----------
    rows
        What the GLMs see.
    of_all
        Where they stand among the rows of the recording.
    """

    rows: glm.Rows
    of_all: slice

    def take(self, per_row: np.ndarray) -> np.ndarray:
        """Return what belongs to the slab; 0 where it is filled up."""
        part = per_row[self.of_all]
        missing = len(self.rows.values) - len(part)
        return np.pad(part, ((0, missing), (0, 0))) if missing else part


class Streamed(NamedTuple):
    """Bins whose values are read from disk, each time they are asked for."""

    slabs: Slabs
    recording: Recording
    base: Float[np.ndarray, " row"]

    def parts(self, model: SwitchingGLM) -> Iterator[Part]:
        """Read the slabs and compute what the GLMs regress on."""
        n_time = self.slabs.shape[1]
        inputs = np.asarray(self.recording.inputs)
        for slab in self.slabs.read(model.n_lags):
            with_past = _with_past(slab, inputs, model.n_lags, self.slabs.n_bins)
            first = slab.sequence * n_time
            of_all = slice(first + slab.bins.start, first + slab.bins.stop)
            base = np.zeros(self.slabs.n_bins, inputs.dtype)
            base[: len(slab.values)] = self.base[of_all]
            yield Part(_rows_after(model, with_past, base), of_all)

    def evaluate(self, model: SwitchingGLM, weights: Values) -> glm.Evaluation:
        """Add up the objectives of the slabs, and join their evidence."""
        held = np.asarray(weights)
        evidence = np.zeros_like(held)
        objective = jnp.zeros(model.bias.shape, held.dtype)
        for part in self.parts(model):
            found = glm.evaluate(model, part.rows, part.take(held))
            objective = objective + found.objective
            into = evidence[part.of_all]
            into[:] = np.asarray(found.evidence)[: len(into)]
        return glm.Evaluation(evidence, objective)

    def differentiate(self, model: SwitchingGLM, weights: Values) -> glm.Statistics:
        """Add up the derivatives of the slabs."""
        held = np.asarray(weights)
        total = None
        for part in self.parts(model):
            found = glm.differentiate(model, part.rows, part.take(held))
            # A slab is let go before the one after the next is read.
            found = jax.block_until_ready(found)
            total = found if total is None else jax.tree.map(jnp.add, total, found)
        assert total is not None
        return total

    def inform(
        self, model: SwitchingGLM, weights: Values, chosen: Chosen
    ) -> Float[Array, "state group coefficient other"]:
        """Gather the chosen rows and look at them."""
        rows = self._gather(model, chosen.rows.ravel())
        place = np.arange(chosen.rows.size).reshape(chosen.rows.shape)
        return inform(model, rows, place, count(chosen, weights))

    def expect(
        self, model: SwitchingGLM, weights: Values
    ) -> Float[Values, "row neuron"]:
        """Join the expected values of the slabs."""
        held = np.asarray(weights)
        expected = np.zeros((len(held), model.n_neurons), held.dtype)
        for part in self.parts(model):
            into = expected[part.of_all]
            into[:] = glm.expect(model, part.rows, part.take(held))[: len(into)]
        return expected

    def _gather(self, model: SwitchingGLM, chosen: Int[np.ndarray, " some"]):
        """Return rows of the recording, in the order asked for."""
        found, definition = [], None
        for part in self.parts(model):
            here = (chosen >= part.of_all.start) & (chosen < part.of_all.stop)
            place = chosen[here] - part.of_all.start
            rows, definition = jax.tree.flatten(part.rows)
            if not found:
                # What lies past the end of a session stays 0: it counts for nothing.
                found = [np.zeros((len(chosen), *r.shape[1:]), r.dtype) for r in rows]
            for into, row in zip(found, rows, strict=True):
                into[here] = np.asarray(row)[place]
        assert definition is not None
        return jax.tree.unflatten(definition, found)


Bins = Held | Streamed


def bins_of(
    model: SwitchingGLM, recording: Recording, stored: Slabs | None = None
) -> Bins:
    """Return the bins of a recording, whose values are held or stored elsewhere."""
    if stored is None:
        return Held(rows_of(model, recording))
    return Streamed(stored, recording, _bases(model, stored))


def _with_past(slab: Slab, inputs: np.ndarray, n_lags: int, n_bins: int) -> Recording:
    """Return a slab as a recording of its own that begins `n_lags` bins earlier."""
    dtype = inputs.dtype
    n_before, n_here = len(slab.before), len(slab.values)
    values = np.zeros((1, n_lags + n_bins, *slab.values.shape[1:]), dtype)
    values[0, n_lags - n_before : n_lags] = slab.before
    values[0, n_lags : n_lags + n_here] = slab.values
    driven = np.zeros((1, n_lags + n_bins, inputs.shape[-1]), dtype)
    driven[0, n_lags : n_lags + n_here] = inputs[slab.sequence, slab.bins]
    nothing = np.zeros((1, 0, 0), dtype)
    observed = np.ones((1, n_lags + n_bins), bool)
    return Recording(values, observed, np.array([n_bins]), driven, nothing)


def _bases(model: SwitchingGLM, slabs: Slabs) -> Float[np.ndarray, " row"]:
    """Return what of the log-probability of each bin depends on the values alone.

    It costs more than all else of a pass, and does not change.
    """
    found = np.zeros(slabs.shape[:2])
    log_base = OBSERVATIONS[model.observation].log_base
    for slab in slabs.read():
        found[slab.sequence, slab.bins] = log_base(slab.values.astype(float)).sum(-1)
    return found.ravel()


@jax.jit
def _rows_after(model: SwitchingGLM, recording: Recording, base: Array) -> glm.Rows:
    """Return the rows of a slab without those before it."""
    before = jnp.zeros(model.n_lags, base.dtype)
    rows = rows_of(model, recording, jnp.concatenate([before, base]))
    return jax.tree.map(lambda array: array[model.n_lags :], rows)
