r"""Noise: its laws, its units, and how much of it keeps a density.

**Units.** The noise of a network is per *step*, $h' = h + \ldots + \sigma\,\xi$. That
of a differential equation, $dh = \ldots + \sigma_\mathrm{sde}\, dW$, is
$\sigma = \sigma_\mathrm{sde} \sqrt{\Delta t}$ per step of $\Delta t$ seconds: the paper
of Krishna et al. (ICLR 2024) gives 0.0707, which is 0.01 per step of 0.02 s.

**Temperature.** Along a direction in which a network lets go of the share $\rho$ of its
state per step, and has learned to keep a variance $c$ against noise of variance
$\epsilon = \rho c$, $g$ times that noise makes the variance of sleep

$$
v = \frac{g \epsilon}{1 - (1 - \epsilon / c)^2} = \frac{g c}{2 - \rho}\, .
$$

Where it relaxes slowly ($\rho \to 0$, along the manifold of the code), $g = 2$ keeps
$c$; where it relaxes at once ($\rho = 1$, off the manifold), $g = 1$ does. No single
scale of the noise does both.

**Momentum and adaptation** change how far the same noise carries. One direction $h$ of
a linear network, with all options of sleep, is

$$
v' = (1 - \lambda) v - \rho h - \alpha a + \kappa \sigma \xi, \qquad
h' = h + v', \qquad
a' = (1 - 1 / \tau) a + (b / \tau) h ,
$$

and `preserving_scale` returns the $\kappa$ with which the stationary variance of $h$ is
that of $\lambda = 1, b = 0$: *exactly*, for this direction of a linear network. With
momentum alone, and with adaptation alone where steps are small (an Ornstein-Uhlenbeck
process), it is

$$
\kappa^2 = \frac{\lambda\,(4 - 2 \lambda - \rho)}{(2 - \lambda)(2 - \rho)}
\;\xrightarrow{\rho \to 0}\; \lambda, \qquad
\kappa^2 \approx 1 + \frac{\alpha b / \rho}{1 + \tau (\rho + \alpha b)} .
$$

Momentum heats every slow direction alike, so that $\sqrt\lambda$ (`momentum_scale`)
serves all of them. Adaptation cools each direction by another factor, and a
direction without relaxation by an infinite one: its $\kappa$ holds for the one $\rho$
that is asked for. Neither keeps how fast the density is explored, and in a network
that is not linear both are approximate.
"""

from typing import Any

import numpy as np
from jaxtyping import Array, PRNGKeyArray
from scipy import linalg

from neuromod.core.dimensions import require_non_negative, require_positive
from neuromod.core.errors import invalid
from neuromod.kernels.normal import standard_normal, uniform

LAWS = ("gaussian", "uniform01")


def draw(key: PRNGKeyArray, shape: tuple[int, ...], law: str, dtype: Any) -> Array:
    """Draw noise that is not yet scaled.

    Parameters
    ----------
    key
        Random key.
    shape, dtype
        Of what is drawn.
    law
        "gaussian" (mean 0, variance 1), or "uniform01": between 0 and 1, as in the
        published code, whose mean of 1/2 drives every unit and whose deviation is
        1/sqrt(12).
    """
    if law == "uniform01":
        return uniform(key, shape, dtype)
    return standard_normal(key, shape, dtype)


def step_noise(sde_noise: float, time_step: float) -> float:
    """Return the noise per step of a differential equation's.

    Parameters
    ----------
    sde_noise
        Per square root of a second.
    time_step
        In seconds.

    Examples
    --------
    >>> round(step_noise(0.0707, 0.02), 4), round(step_noise(0.707, 0.02), 3)
    (0.01, 0.1)
    """
    return sde_noise * require_positive(time_step, "time_step", "s") ** 0.5


def sde_noise(step_noise: float, time_step: float) -> float:
    """Return the noise of the differential equation that has this noise per step.

    Parameters
    ----------
    step_noise
        Per step.
    time_step
        In seconds.

    Examples
    --------
    >>> round(sde_noise(0.01, 0.02), 4)
    0.0707
    """
    return step_noise / require_positive(time_step, "time_step", "s") ** 0.5


def quiescent_scale(temperature: float) -> float:
    r"""Return $\sqrt g$: what multiplies the noise of waking in sleep.

    Parameters
    ----------
    temperature
        $g$: the variance of the noise in sleep over that of waking. A network at its
        optimum visits its states with the density of waking to the power $2 / g$.

    Examples
    --------
    >>> round(quiescent_scale(2.0), 4)
    1.4142
    """
    return require_non_negative(temperature, "temperature") ** 0.5


def langevin_variance(
    epsilon: float, variance: float, temperature: float = 2.0
) -> float:
    r"""Return the variance of sleep along a direction that was learned exactly.

    Parameters
    ----------
    epsilon
        $\epsilon$: variance of the noise of waking, per step.
    variance
        $c$: variance of the states of waking.
    temperature
        $g$: what multiplies $\epsilon$ in sleep.

    Returns
    -------
    float
        $g \epsilon / (1 - (1 - \epsilon / c)^2)$.

    Raises
    ------
    InvalidInputError
        If $\epsilon \ge 2 c$: every step overshoots by more than it corrects.

    Examples
    --------
    >>> [round(langevin_variance(0.01, c), 3) for c in (1.0, 0.1, 0.01)]
    [1.005, 0.105, 0.02]
    """
    epsilon = require_positive(epsilon, "epsilon")
    relaxation = epsilon / require_positive(variance, "variance")
    temperature = require_non_negative(temperature, "temperature")
    return temperature * epsilon / _loss(_require_relaxation(relaxation, "epsilon"))


def momentum_scale(friction: float) -> float:
    r"""Return $\sqrt\lambda$: what noise is multiplied by to keep a density.

    A step that repeats $1 - \lambda$ of the last one drifts $1 / \lambda$ times as far
    and spreads $1 / \lambda^2$ times as much, to first order in the step.

    Examples
    --------
    >>> momentum_scale(0.25)
    0.5
    """
    return friction**0.5


def linear_mode(
    relaxation: float,
    *,
    friction: float = 1.0,
    leak: float = 0.2,
    adaptation_strength: float = 0.0,
    adaptation_time_constant: float = 1.0,
) -> np.ndarray:
    r"""Return the step of one direction of a linear network, as a matrix.

    Parameters
    ----------
    relaxation
        $\rho$: the share of its state that the direction loses per step.

    Other Parameters
    ----------------
    friction
        $\lambda$, in (0, 1]: the share of the last step that is forgotten.
    leak
        $\alpha$: time step over membrane time constant.
    adaptation_strength
        $b$.
    adaptation_time_constant
        $\tau$, in steps.

    Returns
    -------
    array (3, 3)
        From $(h, v, a)$ to $(h', v', a')$; noise enters $h'$ and $v'$ alike.
    """
    velocity = [-relaxation, 1 - friction, -leak]
    state = [1 - relaxation, 1 - friction, -leak]
    rate = 1 / require_positive(adaptation_time_constant, "adaptation_time_constant")
    return np.array([state, velocity, [rate * adaptation_strength, 0.0, 1 - rate]])


def stationary_covariance(transition: Any, noise: Any) -> np.ndarray:
    r"""Return the covariance that a linear system settles to.

    The solution $P$ of $P = M P M^T + Q$ for $x' = M x + \xi$.

    Parameters
    ----------
    transition : (state, state)
        $M$.
    noise : (state, state)
        $Q$, the covariance of the noise per step.

    Raises
    ------
    InvalidInputError
        If an eigenvalue is not inside the unit circle: nothing is stationary.

    Examples
    --------
    >>> stationary_covariance([[0.5]], [[3.0]])
    array([[4.]])
    """
    transition, noise = np.asarray(transition, float), np.asarray(noise, float)
    largest = np.abs(np.linalg.eigvals(transition)).max()
    if not largest < 1:
        raise invalid(
            "transition",
            f"an eigenvalue of size {largest:.3g}",
            "all of them inside the unit circle",
            "What grows has no stationary covariance: adapt or relax less.",
        )
    return linalg.solve_discrete_lyapunov(transition, noise)


def preserving_scale(relaxation: float, **options: float) -> float:
    r"""Return what noise is multiplied by so that a direction keeps its variance.

    Parameters
    ----------
    relaxation
        $\rho$, in (0, 2): the share of its state that the direction loses per step.
    **options
        Momentum and adaptation, as `linear_mode` takes them.

    Returns
    -------
    float
        $\kappa$, exact for this direction of a linear network.

    Raises
    ------
    InvalidInputError
        If the direction is not stable, without the options or with them.

    Examples
    --------
    >>> round(preserving_scale(0.001, friction=0.25), 2)  # momentum_scale(0.25)
    0.5
    >>> bool(
    ...     preserving_scale(
    ...         0.05, adaptation_strength=0.3, adaptation_time_constant=8.0
    ...     )
    ...     > 1
    ... )
    True
    """
    plain = 1 / _loss(_require_relaxation(relaxation, "relaxation"))
    entered = np.array([1.0, 1.0, 0.0])
    noise = np.outer(entered, entered)
    variance = stationary_covariance(linear_mode(relaxation, **options), noise)[0, 0]
    return float((plain / variance) ** 0.5)


def _loss(relaxation: float) -> float:
    """Return the share of its variance that a direction loses per step."""
    return relaxation * (2 - relaxation)


def _require_relaxation(relaxation: float, argument: str) -> float:
    if not 0 < relaxation < 2:
        raise invalid(
            argument,
            f"a relaxation by {relaxation:.3g} per step",
            "more than 0 and less than 2",
        )
    return relaxation
