"""Scores of events and of their shuffles: the loop over events and draws."""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from neuromod.reactivation.replay import inference, scores, shuffles
from neuromod.reactivation.replay.inference import Chain, Number
from neuromod.reactivation.replay.maps import Maps
from neuromod.reactivation.replay.shuffles import Event, Evidence, Rings

# Draws that are computed side by side: enough for matrix products to be fast, and few
# enough for a two-dimensional arena to fit into memory.
LARGEST_BATCH = 128


class Model(eqx.Module):
    """Everything that scores depend on besides the spikes of an event.

    Parameters
    ----------
    rates, centres, direction
        Maps (neuron, position) in Hz, their bins (position, space) and directions
        (position).
    lines : (line, 2, space)
        Lines of the line fit.
    chain
        The decoder with memory.
    rings
        Rings of places, for circular shifts.
    bin_size, band
        Width of a bin (s), and half the width of the band around a line.
    statistics
        The names of the scores.
    """

    rates: Array
    centres: Array
    direction: Array
    lines: Array
    chain: Chain
    rings: Rings
    bin_size: Number
    band: Number
    statistics: tuple[str, ...] = eqx.field(static=True)


def model(maps: Maps, bin_size: float, band: float, chain: Chain) -> Model:
    """Gather what scores depend on, in float32."""
    ends = scores.ends_of_lines(np.unique(maps.centres, axis=0), band / 2)
    linear = ("weighted_correlation",) if maps.is_linear else ()
    directional = ("running_direction",) if maps.is_directional else ()
    direction = jnp.asarray(maps.direction, "f4")
    return Model(
        jnp.asarray(maps.rates, "f4"),
        jnp.asarray(maps.centres, "f4"),
        direction,
        jnp.asarray(scores.lines_between(ends), "f4"),
        chain,
        shuffles.rings_of(direction),
        bin_size,
        band,
        ("line", *linear, "continuous", *directional),
    )


class Scores(NamedTuple):
    """Of an event: the ``statistics`` (statistic), and signed numbers beside them.

    ``line`` is the index of the best line; ``correlation`` and ``direction`` are those
    of which statistics take the size.
    """

    statistics: Array
    line: Array
    correlation: Array
    direction: Array


@functools.partial(jax.jit, static_argnames=("kinds", "n_draws"))
def score(
    model: Model,
    events: Event,
    key: PRNGKeyArray,
    *,
    kinds: tuple[str, ...],
    n_draws: int,
) -> tuple[Scores, Float[Array, "event shuffle draw statistic"]]:
    """Score events, and shuffles of them; a draw is one shuffle of all events.

    Parameters
    ----------
    model
        What scores depend on.
    events
        Their spikes; all fields are (event, ...).
    key
        Of the shuffles. Those of one kind do not depend on which others there are.
    kinds
        Some of `neuromod.reactivation.replay.shuffles.SHUFFLES`.
    n_draws
        Number of draws of each.
    """
    n_batches = -(-n_draws // LARGEST_BATCH)
    size = -(-n_draws // n_batches)  # of all alike: a rest would be compiled again
    keys = jax.random.split(key, n_batches * size).reshape(n_batches, size)

    def shuffle(kind: str, key: PRNGKeyArray, index: Array, event: Event) -> Evidence:
        own = jax.random.fold_in(key, shuffles.SHUFFLES.index(kind))
        other = jax.random.fold_in(own, index)
        return shuffles.shuffled(
            kind, own, other, event, model.rates, model.bin_size, model.rings
        )

    def one(indexed: tuple[Array, Event]) -> tuple[Scores, Array]:
        index, event = indexed
        band = scores.bands(
            model.lines, model.centres, event.length, len(event.counts), model.band
        )
        plain = shuffles.evidence(event.counts, model.rates, model.bin_size)

        def batch(keys: Array) -> tuple[Scores, Array]:
            found: list[Any] = [jax.tree.map(lambda x: x[None], plain)]
            for kind in kinds:
                draw = functools.partial(shuffle, kind, index=index, event=event)
                found.append(jax.vmap(draw)(key=keys))
            # All at once with the event itself, so that scores are compiled once.
            every = jax.tree.map(lambda *parts: jnp.concatenate(parts), *found)
            scored = jax.vmap(functools.partial(_scored, model, event, band))(every)
            null = scored.statistics[1:].reshape(len(kinds), size, -1)
            return jax.tree.map(lambda x: x[0], scored), null

        observed, null = lax.map(batch, keys)
        null = jnp.moveaxis(null, 0, 1).reshape(len(kinds), n_batches * size, -1)
        return jax.tree.map(lambda x: x[0], observed), null[:, :n_draws]

    return lax.map(one, (jnp.arange(len(events.length)), events))


def _scored(model: Model, event: Event, band: Array, found: Evidence) -> Scores:
    flat = jnp.zeros_like(model.direction)
    posterior = inference.posterior(found.log_likelihood, flat)
    posterior = posterior * found.spiking[:, None]
    shares = scores.line_scores(posterior, band)
    correlation = scores.weighted_correlation(posterior, model.centres[:, 0])
    direction = scores.one_direction(posterior, model.direction)
    moving = scores.continuous_share(model.chain, found.log_likelihood, event.length)
    known = {
        "line": jnp.max(shares),
        "weighted_correlation": jnp.abs(correlation),
        "continuous": moving,
        "running_direction": jnp.abs(direction),
    }
    statistics = jnp.stack([known[name] for name in model.statistics])
    return Scores(statistics, jnp.argmax(shares), correlation, direction)
