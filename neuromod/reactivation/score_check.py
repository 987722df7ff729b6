r"""Whether a trained network does what the theory of reactivation says it learnt.

The theory (Krishna et al., ICLR 2024) holds that a network which tracks a position from
its changes, against noise of variance $\sigma^2\Delta t$ per step, learns a step

$$
\Delta h = \underbrace{\sigma^2 \nabla \log p(h)\,\Delta t}_{\Delta_1:\ \text{without
input}} + \underbrace{D^\dagger \frac{\partial f}{\partial s}\Delta s}_{\Delta_2:\
\text{with input}} + \sigma\sqrt{\Delta t}\,\xi ,
$$

$p$ being the density of awake states, $D$ the readout, $f(s)$ the code of position $s$
and $^\dagger$ the pseudo-inverse. Asleep only $\Delta_1$ is left, which is why sleep
draws from $p$. That sleep *looks* like waking is weak evidence (a network trained
without noise can do so too), so the two terms are tested themselves.

**The first term** (`score_check`). In the space of the first principal components of
awake states, the score $g = \nabla\log \hat p$ of their density is computed at states
$z$ and the quiescent drift $d$ regressed on it through the origin,

$$
d = b\,g + \text{rest}, \qquad b = \frac{\sum g \cdot d}{\sum \|g\|^2}, \qquad
R^2 = 1 - \frac{\sum \|d - b g\|^2}{\sum \|d\|^2} .
$$

The theory expects $b = \sigma^2\Delta t$, the variance of the noise of one step.
Projection keeps that: the score of a marginal is the mean of the whole score given
the components. But it leaves out of $R^2$ what else moves the drift, so that few
components give a small $R^2$ whatever the network learnt. Neither number is enough
alone: integration by parts makes $b = -\mathbb{E}\,\nabla\!\cdot\!d \,/\,
\mathbb{E}\|g\|^2$ under $p$, so that any drift that contracts as much, a mere leak
even, has the same slope; and $R^2$ knows no scale.

Two densities are at hand. Gaussian kernels follow any shape, in few components: with
5000 points and a drift that *is* the score of a Gaussian cloud, $R^2$ reaches 0.97,
0.91 and 0.80 (slope 1.07, 0.99 and 0.89 times the true one) in 2, 3 and 5 components,
and 0.55 in 20. One Gaussian is only the cloud's ellipsoid, but exact in all components
at once, where the directions off the manifold of codes, which noise shakes and the
theory wants corrected, are seen. There small networks trained with noise had $R^2$ of
0.55 and 0.67 and slopes of 0.83 and 0.52 $\sigma^2\Delta t$, the same networks trained
without it 0.32 and 0.02 and slopes of 0.02 and 0.00.

**The second term** (`split_test`). At awake states the step with and without input
gives $\Delta_2 = \Delta h(x) - \Delta h(0)$, which the theory wants (i) equal to
$D^\dagger(\partial f/\partial s)\Delta s$, (ii) proportional to the input, (iii) apart
from $\Delta_1$, and (iv) blind to the noise, which is what $\Delta_1$ takes away.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from neuromod.core.dimensions import require_integer, require_positive
from neuromod.core.errors import ShapeError, choice, invalid
from neuromod.core.precision import Precision, dtype, in_precision, precision_context
from neuromod.reactivation.measures.components import (
    principal_components,
    project,
    require_states,
)
from neuromod.reactivation.measures.positions import subsample
from neuromod.reactivation.measures.score import gaussian_score, kernel_score

LEAST_VARIANCE = 1e-10


class ScoreCheck(NamedTuple):
    """The quiescent drift beside the score of awake states.

    Parameters
    ----------
    slope
        Of the drift on the score; to compare with the variance of the noise per step.
    slope_interval : (2,)
        Its bootstrap interval.
    r_squared
        Share of the drift that the score explains.
    r_squared_interval : (2,)
        Its bootstrap interval.
    captured
        Share of the whole drift (its mean square) that lies in the components.
    score, drift : (sample, latent)
        Both, in the components.
    """

    slope: float
    slope_interval: np.ndarray
    r_squared: float
    r_squared_interval: np.ndarray
    captured: float
    score: np.ndarray
    drift: np.ndarray


def score_check(
    awake: Any,
    states: Any,
    drift: Any,
    *,
    seed: int,
    n_components: int | None = 3,
    density: Literal["kernel", "gaussian"] = "kernel",
    bandwidth: float | None = None,
    max_points: int = 5000,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
) -> ScoreCheck:
    """Regress the quiescent drift on the score of the density of awake states.

    Parameters
    ----------
    awake : (..., unit)
        Awake states, from stationary steps, all pooled; or projections of them.
    states : (trial, time, unit) or (sample, unit)
        Where the drift was taken: quiescent states, or awake ones that are not among
        ``awake``. Whole trials are resampled for the intervals, their steps being
        alike; samples are taken as independent.
    drift : the same
        What one step without input and noise adds there.
    seed
        Of subsamples and the bootstrap.

    Other Parameters
    ----------------
    n_components
        Number of principal components; None for all along which awake states vary.
    density
        "kernel" for Gaussian kernels, in few components; "gaussian" for one ellipsoid.
    bandwidth
        Width of the kernels relative to the cloud; None as in `kernel_score`.
    max_points
        Most awake states under the kernels.
    n_bootstrap
        Number of bootstrap resamples.
    confidence
        Of the intervals.

    Raises
    ------
    ShapeError
        If states and drift do not fit together.
    InvalidInputError
        If numbers are missing, or the drift is zero everywhere.

    Examples
    --------
    >>> normal = np.random.default_rng(0).normal
    >>> states = normal(size=(500, 2))
    >>> found = score_check(
    ...     normal(size=(5000, 2)), states, -0.01 * states, seed=0, n_components=2
    ... )
    >>> round(found.slope, 3), found.r_squared > 0.9
    (0.01, True)
    """
    choice("density", density, ("kernel", "gaussian"))
    max_points = require_integer(max_points, "max_points", minimum=2)
    n_bootstrap = require_integer(n_bootstrap, "n_bootstrap", minimum=2)
    if not 0 < confidence < 1:
        raise invalid("confidence", confidence, "a number between 0 and 1")
    generator = np.random.default_rng(require_integer(seed, "seed", minimum=0))
    components = principal_components(awake)
    n_units = len(components.mean)
    rows = require_states(states, "states", n_units)
    changes = _same_rows(drift, "drift", states, n_units)
    if not changes.any():
        raise invalid("drift", "0 everywhere", "a drift to explain")
    if n_components is None:
        varies = components.explained_variance_ratio > LEAST_VARIANCE
        n_components = int(varies.sum())
    points = project(require_states(awake, "awake"), components, n_components)
    at = project(rows, components, n_components)
    if density == "kernel":
        points = subsample(points, max_points, generator)
        score = kernel_score(points, at, bandwidth=bandwidth)
    else:
        score = gaussian_score(points, at)
    within = changes @ components.axes[:n_components].T
    if not within.any():
        raise invalid("drift", "a drift outside the components", "more components")
    pairs = ((score, within), (score, score), (within, within))
    n_groups = np.shape(states)[0]
    sums = np.stack([(a * b).reshape(n_groups, -1).sum(axis=1) for a, b in pairs])
    slope, r_squared = _regress(sums.sum(axis=1))
    equal = np.full(n_groups, 1 / n_groups)
    weights = generator.multinomial(n_groups, equal, n_bootstrap)
    slopes, r_squares = _regress(sums @ weights.T)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    return ScoreCheck(
        float(slope),
        np.quantile(slopes, tails),
        float(r_squared),
        np.quantile(r_squares, tails),
        float((within**2).sum() / (changes**2).sum()),
        score,
        within,
    )


def _regress(sums: np.ndarray) -> tuple[Any, Any]:
    """Return slope and R^2 through the origin from sums of products (3, ...)."""
    between, of_one, of_other = sums
    return between / of_one, between**2 / (of_one * of_other)


class SplitTest(NamedTuple):
    r"""The two terms of a step, apart.

    Parameters
    ----------
    signal_slope, signal_r_squared
        Of $\Delta_2$ on $D^\dagger(\partial f/\partial s)\Delta s$, through the origin:
        1 and 1 if the theory holds to the letter.
    output_slope, output_r_squared
        The same as the readout sees it: of $D\Delta_2$ on $(\partial f/\partial
        s)\Delta s$. The loss constrains nothing else, so this may be high while
        $\Delta_2$ has parts that the readout does not see.
    linearity
        $1 - \sum\|2\Delta_2(x/2) - \Delta_2(x)\|^2 / \sum\|\Delta_2(x)\|^2$: 1 where
        $\Delta_2$ is proportional to the input.
    cosine, chance_cosine
        Root mean square of the cosine between $\Delta_1$ and $\Delta_2$ of a sample,
        and of $\Delta_1$ with the $\Delta_2$ of another sample: 0 where the terms are
        orthogonal, and not above chance where they know nothing of one another.
    denoising
        $-\sum\Delta_1\cdot\xi / \sum\|\xi\|^2$ for the noise $\xi$ of the step before:
        the share that the next step takes away. A leak alone takes its own share.
    noise_in_signal
        $\sum\Delta_2\cdot\xi / \sum\|\xi\|^2$: 0 where the second term is blind to it.
        Both are NaN for a network without noise.
    """

    signal_slope: float
    signal_r_squared: float
    output_slope: float
    output_r_squared: float
    linearity: float
    cosine: float
    chance_cosine: float
    denoising: float
    noise_in_signal: float


def split_test(
    drift: Callable[[Any, Any], Any],
    states: Any,
    inputs: Any,
    *,
    readout: Any,
    code_changes: Any,
    noise: Any,
    seed: int,
    cutoff: float = 0.1,
    precision: Precision = "float64",
) -> SplitTest:
    r"""Split the steps of a network at awake states, and test what theory says of each.

    Parameters
    ----------
    drift
        ``drift(state (unit,), input (input,)) -> (unit,)``, what one step without noise
        adds; of a PyTree (`jax.tree_util.Partial(function, network)`) the numbers are
        taken in the precision.
    states : (..., unit)
        Awake states before the step, all pooled.
    inputs : (..., input)
        What comes in at that step.

    Other Parameters
    ----------------
    readout : (cell, unit)
        The matrix $D$.
    code_changes : (..., cell)
        $(\partial f/\partial s)\Delta s$ at that step, as
        ``jax.jvp(code.activation, (position,), (change,))[1]`` gives it.
    noise : (..., unit)
        The noise that was added to reach the state.
    seed
        Of the samples that are paired for the chance cosine.
    cutoff
        Singular values of the readout below this share of the largest count as 0 in
        the pseudo-inverse; else hardly readable directions drown the rest.
    precision
        "float64" or "float32", of the steps.

    Raises
    ------
    ShapeError
        If the arrays do not fit together.
    InvalidInputError
        If numbers are missing, or the network does not respond to its input.
    """
    rows = require_states(states, "states")
    readout = require_states(readout, "readout", rows.shape[1])
    cutoff = require_positive(cutoff, "cutoff")
    wanted = _same_rows(code_changes, "code_changes", states, len(readout))
    shaken = _same_rows(noise, "noise", states, rows.shape[1])
    given = _same_rows(inputs, "inputs", states, None)
    if not wanted.any():
        raise invalid("code_changes", "0 everywhere", "positions that move")
    generator = np.random.default_rng(require_integer(seed, "seed", minimum=0))

    with precision_context(precision):
        step = jax.vmap(in_precision(drift, precision))
        at = jnp.asarray(rows, dtype(precision))
        silent, half, whole = (
            np.asarray(step(at, jnp.asarray(share * given, at.dtype)), float)
            for share in (0.0, 0.5, 1.0)
        )
    signal, half_signal = whole - silent, half - silent
    if not signal.any():
        raise invalid("inputs", "inputs that change no step", "a network that responds")
    ideal = wanted @ np.linalg.pinv(readout, rtol=cutoff).T
    other = generator.permutation(len(signal))
    bent = (2 * half_signal - signal) ** 2
    return SplitTest(
        *_explained(signal, ideal),
        *_explained(signal @ readout.T, wanted),
        float(1 - bent.sum() / (signal**2).sum()),
        _cosine(silent, signal),
        _cosine(silent, signal[other]),
        -_share(silent, shaken),
        _share(signal, shaken),
    )


def _explained(found: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    sums = [(expected * found).sum(), (expected**2).sum(), (found**2).sum()]
    slope, r_squared = _regress(np.array(sums))
    return float(slope), float(r_squared)


def _share(change: np.ndarray, noise: np.ndarray) -> float:
    power = (noise**2).sum()
    return float((change * noise).sum() / power) if power else float("nan")


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Return the root mean square cosine of rows, of those that have a direction."""
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    moving = norms > 0
    cosine = (one * other).sum(axis=1)[moving] / norms[moving]
    return float(np.sqrt(np.mean(cosine**2)))


def _same_rows(
    array: Any, argument: str, states: Any, n_columns: int | None
) -> np.ndarray:
    """Return pooled rows that belong to those of the states, or raise."""
    rows = require_states(array, argument, n_columns)
    if np.shape(array)[:-1] != np.shape(states)[:-1]:
        raise invalid(
            argument,
            f"shape {np.shape(array)}",
            f"{np.shape(states)[:-1]} as states, before the last dimension",
            kind=ShapeError,
        )
    return rows
