r"""How much an event looks like a replay: its scores, on arrays.

An event is a table of probabilities $p_t(x)$ of places in its bins of time, of which
those without a spike are left out (all 0).

- *line*: the largest share of probability within a band around a straight line through
  time and space, over lines between any two places (Davidson, Kloosterman & Wilson,
  Neuron 2009). Lines end inside the space, so that none gains by leaving it.
- *weighted correlation*: $|r|$ of time and place, each pair weighted by $p_t(x)$; along
  a track only (Wu & Foster, J. Neuroscience 2014).
- *continuous*: the mean probability of continuous dynamics of the decoder with memory
  (Denovellis et al., eLife 2021).
- *running direction*: $|\overline{p_t(+1) - p_t(-1)}|$, how much the event keeps to
  maps of one direction of running, whichever; where maps are of two.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from neuromod.kernels.loop import Count
from neuromod.reactivation.replay import inference
from neuromod.reactivation.replay.inference import Chain, Number


def ends_of_lines(centres: np.ndarray, spacing: float) -> np.ndarray:
    """Return places (place, space) that are ``spacing`` apart, for lines to end at."""
    kept = centres[:1]
    for centre in centres[1:]:
        if np.min(np.linalg.norm(kept - centre, axis=1)) >= spacing:
            kept = np.concatenate([kept, centre[None]])
    return kept


def lines_between(ends: np.ndarray) -> np.ndarray:
    """Return all lines (line, 2, space) from one place to another, or to itself."""
    n_ends = len(ends)
    start = np.repeat(ends, n_ends, axis=0)
    stop = np.tile(ends, (n_ends, 1))
    return np.stack([start, stop], axis=1)


def bands(
    lines: Float[Array, "line 2 space"],
    centres: Float[Array, "position space"],
    length: Count,
    n_steps: int,
    width: Number,
) -> Float[Array, "time position line"]:
    """Tell (1 or 0) which bins of time and space are within ``width`` of each line.

    Lines run from the first to the last of ``length`` bins of time; those after it, up
    to ``n_steps``, are padding, in no band.
    """
    time = jnp.arange(n_steps)
    last = jnp.asarray(jnp.maximum(length - 1, 1), lines.dtype)
    part = time.astype(lines.dtype) / last
    away = (lines[:, 1] - lines[:, 0])[None]
    along = lines[None, :, 0] + part[:, None, None] * away  # (time, line, space)
    offset = centres[None, :, None] - along[:, None]
    near = jnp.sum(offset**2, axis=-1) <= width**2
    return (near & (time < length)[:, None, None]).astype(lines.dtype)


def line_scores(
    posterior: Float[Array, "time position"], band: Float[Array, "time position line"]
) -> Float[Array, " line"]:
    """Return the share of probability within the band of each line."""
    inside = jnp.einsum("tp,tpl->l", posterior, band)
    return inside / jnp.maximum(jnp.sum(posterior), 1.0)


def weighted_correlation(
    posterior: Float[Array, "time position"], place: Float[Array, " position"]
) -> Float[Array, ""]:
    """Return the correlation of time and place; 0 where one does not vary."""
    total = jnp.maximum(jnp.sum(posterior), 1.0)
    time = jnp.arange(len(posterior)).astype(posterior.dtype)
    of_time, of_place = jnp.sum(posterior, axis=1), jnp.sum(posterior, axis=0)
    time = time - jnp.sum(of_time * time) / total
    place = place - jnp.sum(of_place * place) / total
    covariance = time @ posterior @ place
    variances = jnp.sum(of_time * time**2) * jnp.sum(of_place * place**2)
    varies = variances > 0
    return jnp.where(varies, covariance / jnp.sqrt(jnp.where(varies, variances, 1)), 0)


def continuous_share(
    chain: Chain,
    log_likelihood: Float[Array, "time position"],
    length: Count,
) -> Float[Array, ""]:
    """Return the mean probability of continuous dynamics."""
    found = inference.smooth(chain, log_likelihood, length=length)
    place = inference.DYNAMICS.index("continuous")
    return jnp.sum(found[:, place]) / jnp.asarray(length, found.dtype)


def one_direction(
    posterior: Float[Array, "time position"], direction: Float[Array, " position"]
) -> Float[Array, ""]:
    """Return the mean of the direction of running that the maps stand for."""
    total = jnp.maximum(jnp.sum(posterior), 1.0)
    return jnp.sum(posterior * direction[None]) / total
