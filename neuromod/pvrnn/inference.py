"""A network run over given latents' posteriors, all steps of all trials at once.

Time comes first in all arrays here. Parts of the posterior that do not depend on the
activity, all that layers get from earlier stages, priors, outputs and the divergence
are computed for all steps together; only the loops of `neuromod.pvrnn.stages` are left.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from neuromod import kernels
from neuromod.kernels import MTRNN, LatentMTRNN, MTRNNState
from neuromod.pvrnn import stepwise
from neuromod.pvrnn.latents import (
    Adaptive,
    Latents,
    adaptive_posterior,
    parts,
    priors,
    scaled,
    split,
    start,
)
from neuromod.pvrnn.layers import Normal
from neuromod.pvrnn.model import PVRNN
from neuromod.pvrnn.stages import Stage, draws_within, stages


class Run(NamedTuple):
    """What a network did.

    Parameters
    ----------
    activities : (time, trial, unit) of every layer
        None for a layer without units.
    posterior, prior : means and deviations (time, trial, latent)
        Of the latents.
    latents : (time, trial, latent)
        As drawn.
    initial : (trial, unit) of every layer
        Potentials before the first step that are those of each trial; else None.
    """

    activities: tuple[Any, ...]
    posterior: Normal
    prior: Normal
    latents: Latents
    initial: tuple[Any, ...] | None = None


def run(
    network: PVRNN,
    adaptive: Adaptive,
    noise: Latents,
    potentials: tuple[Any, ...] | None = None,
    *,
    starts: Any = True,
) -> Run:
    """Run a network with the posteriors that adaptive vectors tell.

    Parameters
    ----------
    network
        The network.
    adaptive
        Its adaptive vectors.
    noise : (time, trial, latent)
        Standard normal numbers; zeros for the means.
    potentials : (trial, unit) of every layer
        Before the first step; `start` if None.
    starts
        Whether trials start with the first step, whose prior is then N(0, 1).
    """
    if potentials is None:
        potentials = start(network, adaptive.mean.shape[1], adaptive)
    noise = scaled(network, noise)
    order = stages(network)
    if order is None:
        reached, posterior = stepwise.run(network, adaptive, noise, potentials)
        activities = tuple(None if u is None else jnp.tanh(u) for u in reached)
    else:
        activities, posterior = _by_stages(network, order, adaptive, noise, potentials)
    latents = posterior.mean + posterior.deviation * noise
    prior = priors(network, activities, potentials, starts)
    return Run(activities, posterior, prior, latents, adaptive.initial)


def outputs(network: PVRNN, activities: tuple[Any, ...]) -> tuple[Array, ...]:
    """Return what every head tells of activities."""
    return tuple(head(activities[network.index(head.source)]) for head in network.heads)


def _by_stages(
    network: PVRNN,
    order: list[Stage],
    adaptive: Adaptive,
    noise: Latents,
    potentials: tuple[Any, ...],
) -> tuple[tuple[Any, ...], Normal]:
    known = adaptive_posterior(network, adaptive)
    means, deviations = (parts(network, part) for part in known)
    eps = parts(network, noise)
    latents = [m + s * e for m, s, e in zip(means, deviations, eps, strict=True)]
    activities: list[Any] = [None] * len(network.layers)
    offsets = [parts(network, a) for a in (adaptive.mean, adaptive.log_deviation)]
    for stage in order:
        enters = _enters(network, stage, activities, latents, potentials)
        cell, inputs, drawn = _cell(network, stage, enters, latents, offsets, eps)
        begin = jnp.concatenate([potentials[i] for i in stage.members], axis=-1)
        carry = MTRNNState(begin, jnp.tanh(begin))
        found = kernels.scan(cell, carry, inputs, noise=drawn, checkpoint=None).outputs
        whole = found if isinstance(cell, MTRNN) else found.activity
        sizes = [network.layers[i].n_units for i in stage.members]
        for i, part in zip(stage.members, split(whole, sizes), strict=True):
            activities[i] = part
        if isinstance(cell, LatentMTRNN):
            inside = [i for i in stage.members if draws_within(network, i)]
            sizes = [network.layers[i].n_latents for i in inside]
            of = zip(
                inside,
                split(found.mean, sizes),
                split(found.deviation, sizes),
                strict=True,
            )
            for i, mean, deviation in of:
                means[i], deviations[i] = mean, deviation
                latents[i] = mean + deviation * eps[i]
    posterior = Normal(*(jnp.concatenate(p, axis=-1) for p in (means, deviations)))
    return tuple(activities), posterior


def _enters(
    network: PVRNN,
    stage: Stage,
    activities: list[Any],
    latents: list[Any],
    potentials: tuple[Any, ...],
) -> list[tuple[int, Array, Array]]:
    """Return what enters the stage's layers: (target, weight, values of all steps)."""
    found = []
    for connection in stage.outer:
        source = network.index(connection.source)
        if connection.carries == "activity":
            values, first = activities[source], jnp.tanh(potentials[source])
        else:
            values = latents[source]
            first = jnp.zeros_like(values[0])
        if connection.delay:
            values = jnp.concatenate([first[None], values[:-1]])
        found.append((network.index(connection.target), connection.weight, values))
    return found


def _cell(
    network: PVRNN,
    stage: Stage,
    enters: list[tuple[int, Array, Array]],
    latents: list[Any],
    offsets: list[list[Array]],
    eps: list[Array],
) -> tuple[Any, Array, Array | None]:
    """Return the cell of a stage, its inputs and its noise, all steps together."""
    members = stage.members
    layers = [network.layers[i] for i in members]
    inside = [i for i in members if draws_within(network, i)]
    columns = [values for _, _, values in enters]
    blocks = {
        (members.index(target), k): weight
        for k, (target, weight, _) in enumerate(enters)
    }
    for row, i in enumerate(members):
        if i not in inside:
            blocks[row, len(columns)] = network.layers[i].latent_weight
            columns.append(latents[i])
    heights = [layer.n_units for layer in layers]
    recurrent = {(k, k): layer.recurrent_weight for k, layer in enumerate(layers)}
    for connection in (c for c in stage.inner if c.carries == "activity"):
        ends = network.index(connection.target), network.index(connection.source)
        place = members.index(ends[0]), members.index(ends[1])
        known = recurrent.get(place)
        recurrent[place] = (
            connection.weight if known is None else known + connection.weight
        )
    bias = [layer.bias for layer in layers]
    constants = jnp.concatenate([jnp.asarray(layer.time_constant) for layer in layers])
    if not inside:
        widths = [values.shape[-1] for values in columns]
        cell = MTRNN(
            _blocks(blocks, heights, widths),
            _blocks(recurrent, heights, heights),
            jnp.concatenate(bias),
            constants,
        )
        return cell, jnp.concatenate(columns, axis=-1), None
    return _latent_cell(
        network,
        stage,
        inside,
        columns,
        blocks,
        recurrent,
        bias,
        constants,
        offsets,
        eps,
    )


def _latent_cell(
    network, stage, inside, columns, blocks, recurrent, bias, constants, offsets, eps
):
    members = stage.members
    heights = [network.layers[i].n_units for i in members]
    n_latents = [network.layers[i].n_latents for i in inside]
    maps = [network.layers[i].posterior for i in inside]
    rows = heights + n_latents + n_latents
    of_means, of_deviations = len(members), len(members) + len(inside)
    blocks, recurrent = dict(blocks), dict(recurrent)
    biases, columns = list(bias), list(columns)
    for k, (i, told) in enumerate(zip(inside, maps, strict=True)):
        recurrent[of_means + k, members.index(i)] = told.mean.weight
        recurrent[of_deviations + k, members.index(i)] = told.log_deviation.weight
    for offset, first, name in zip(
        offsets, (of_means, of_deviations), ("mean", "log_deviation"), strict=True
    ):
        for k, (i, told) in enumerate(zip(inside, maps, strict=True)):
            blocks[first + k, len(columns)] = jnp.eye(n_latents[k], dtype=eps[0].dtype)
            columns.append(offset[i])
            own = getattr(told, name).bias
            biases.append(jnp.zeros(n_latents[k], eps[0].dtype) if own is None else own)
    latent = {
        (members.index(i), k): network.layers[i].latent_weight
        for k, i in enumerate(inside)
    }
    for connection in stage.inner:
        if connection.carries == "latent":
            source, target = (
                network.index(name) for name in (connection.source, connection.target)
            )
            latent[members.index(target), inside.index(source)] = connection.weight
    widths = [values.shape[-1] for values in columns]
    cell = LatentMTRNN(
        _blocks(blocks, rows, widths),
        _blocks(recurrent, rows, heights),
        jnp.concatenate(biases),
        _blocks(latent, heights, n_latents),
        constants,
    )
    drawn = jnp.concatenate([eps[i] for i in inside], axis=-1)
    return cell, jnp.concatenate(columns, axis=-1), drawn


def _blocks(
    blocks: dict[tuple[int, int], Any], heights: list[int], widths: list[int]
) -> Array:
    """Return one matrix of blocks; those that are not there are zero."""
    some = jnp.asarray(next(iter(blocks.values())))

    def block(i: int, j: int) -> Array:
        if (i, j) in blocks:
            return jnp.asarray(blocks[i, j])
        return jnp.zeros((heights[i], widths[j]), some.dtype)

    rows = [
        jnp.concatenate([block(i, j) for j in range(len(widths))], axis=1)
        for i in range(len(heights))
    ]
    return jnp.concatenate(rows)
