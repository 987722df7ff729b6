"""What an event would look like if it were no replay: shuffles, on arrays.

Each breaks something else, and is a hypothesis of its own:

- *cell_identity*: the maps are dealt out anew among the neurons: the order of the
  neurons within the event has nothing to do with their places. One deal serves all
  events of a session, which share the maps.
- *time_bins*: the bins of time of an event are put into another order: which places
  are decoded, and how sharply, is right, but not when. A neuron that fires for some
  bins in a row does better than that, too, without any map.
- *circular_position*: the probabilities of each bin of time are turned round the track
  by an amount of their own: how sharp they are is right, but not where. It finds too
  much: neurons prefer some places, so that bins agree without any sequence. Of events
  of neurons that fire at random 10 % have a line with p <= 0.05, and a session of 600
  of them has p < 0.01.
- *poisson*: spikes are drawn anew from independent Poisson neurons that burst together,
  in no order: the rate of a neuron is a number of its own times the course of the whole
  population. Neither is known, so that the draw is the one *given* the number of spikes
  of each neuron and of each bin of time, in which no unknown is left: the spikes of an
  event change their neurons with one another. It, too, breaks bursts of one neuron.

The first, the second and the last hold their level wherever their hypothesis does
(`EXACT`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from neuromod.kernels.loop import Count
from neuromod.reactivation.replay.inference import Number, log_likelihoods

SHUFFLES = ("cell_identity", "time_bins", "circular_position", "poisson")
EXACT = ("cell_identity", "time_bins", "poisson")


class Event(NamedTuple):
    """The spikes of an event of ``length`` bins, padded by nothing.

    ``counts`` (time, neuron), and for each spike its ``bin`` and ``neuron`` (spike),
    beyond the last bin where it is padding.
    """

    counts: Array
    length: Array
    bin: Array
    neuron: Array


class Evidence(NamedTuple):
    """What spikes tell of the place.

    ``log_likelihood`` (time, position), and ``spiking`` (time): 0 for a bin without
    spikes, 1 for others.
    """

    log_likelihood: Array
    spiking: Array


class Rings(NamedTuple):
    """Places that a shift turns: the first of the ring, the place in it, its size."""

    first: Array
    offset: Array
    size: Array


def events_of(parts: list[np.ndarray]) -> Event:
    """Pad the counts (time, neuron) of events: all fields are (event, ...)."""
    lengths = np.array([len(part) for part in parts])
    padded = np.zeros((len(parts), lengths.max(), parts[0].shape[1]), np.float32)
    most = max(int(part.sum()) for part in parts)
    bins = np.full((len(parts), most), lengths.max())
    neurons = np.zeros((len(parts), most), int)
    for event, part in enumerate(parts):
        padded[event, : len(part)] = part
        spikes = np.argwhere(part > 0).repeat(part[part > 0].astype(int), axis=0)
        bins[event, : len(spikes)], neurons[event, : len(spikes)] = spikes.T
    return Event(*map(jnp.asarray, (padded, lengths, bins, neurons)))


def evidence(
    counts: Float[Array, "time neuron"],
    rates: Float[Array, "neuron position"],
    bin_size: Number,
) -> Evidence:
    """Return what the spikes themselves tell."""
    spiking = (jnp.sum(counts, axis=1) > 0).astype(counts.dtype)
    return Evidence(log_likelihoods(counts, rates, bin_size), spiking)


def rings_of(direction: Float[Array, " position"]) -> Rings:
    """Return the rings of places: one, or one for each direction of running."""
    same = direction[:, None] == direction[None]
    first = jnp.argmax(same, axis=1)
    return Rings(first, jnp.arange(len(direction)) - first, jnp.sum(same, axis=1))


def shuffled(
    kind: str,
    key_of_draw: PRNGKeyArray,
    key_of_event: PRNGKeyArray,
    event: Event,
    rates: Float[Array, "neuron position"],
    bin_size: Number,
    rings: Rings,
) -> Evidence:
    """Return what an event tells after a shuffle.

    Parameters
    ----------
    kind
        One of `SHUFFLES`.
    key_of_draw, key_of_event
        Random keys: that of a draw for all events of a session, and that of this event
        in this draw.
    event
        Its spikes.
    rates, bin_size
        Maps (Hz) and the width of a bin (s).
    rings
        Of the places.
    """
    counts = event.counts
    if kind == "cell_identity":
        rates = jax.random.permutation(key_of_draw, rates)
    elif kind == "time_bins":
        counts = counts[_order(key_of_event, len(counts), event.length)]
    elif kind == "poisson":
        counts = _exchanged(key_of_event, event)
    found = evidence(counts, rates, bin_size)
    if kind == "circular_position":
        turned = _turned(key_of_event, found.log_likelihood, rings)
        return found._replace(log_likelihood=turned)
    return found


def _order(key: PRNGKeyArray, n_items: int, length: Count) -> Array:
    """Return a random order of the first items; padding stays at the end."""
    rank = jax.random.uniform(key, (n_items,))
    return jnp.argsort(jnp.where(jnp.arange(n_items) < length, rank, 2.0))


def _turned(key: PRNGKeyArray, values: Array, rings: Rings) -> Array:
    part = jax.random.uniform(key, (len(values), 1))
    shift = (part * rings.size[None].astype(part.dtype)).astype(rings.offset.dtype)
    source = (rings.offset[None] - shift) % rings.size[None]
    return jnp.take_along_axis(values, rings.first[None] + source, axis=1)


def _exchanged(key: PRNGKeyArray, event: Event) -> Array:
    n_steps, n_neurons = event.counts.shape
    order = _order(key, len(event.bin), jnp.sum(event.bin < n_steps))
    bins = jax.nn.one_hot(event.bin, n_steps, dtype=event.counts.dtype)
    neurons = jax.nn.one_hot(event.neuron[order], n_neurons, dtype=event.counts.dtype)
    return bins.T @ neurons
