r"""A planar arm that moves itself, or is shown movements of another.

Three joints have angles $m_i$ between -0.8 and 0.8, which stand for
$\theta_i = (m_i + 0.8)\, \pi / 1.6$ from 0 to $\pi$; with links of lengths $l_i$ the
hand is at

$$
\Big( -\sum_i l_i \cos \phi_i,\; \sum_i l_i \sin \phi_i \Big), \qquad
\phi_i = \theta_1 + \ldots + \theta_i .
$$

A network is told joints and hand. When the arm moves itself, the hand is where the
joints bring it; when the movement is external, the hand seen is that of other joints.
(Idei, Ohata, Yamashita, Ogata & Tani, Scientific Reports 2022,
doi:10.1038/s41598-022-18207-7.)

`simulate_arm` draws joints as those of the published recordings look. Every 20 steps
the arm leaves a posture of rest, wanders, and comes back to it. What wanders is a
vector autoregression of two steps, in which the second and the third joint turn around
each other, and whose values are mapped to the range of each joint. That reproduces the
mean (-0.29) and deviation (0.40) of their angles, the mean size of a step (0.25), the
correlations from step to step (0.60, 0.22), those over half a cycle and a whole one
(-0.18, 0.37), and how well one step tells the next.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy import linalg, stats

from neuromod.core.dimensions import require_finite, require_integer, require_positive
from neuromod.core.errors import ShapeError, choice, invalid

LINKS = (0.1, 0.3, 0.5)
LIMIT = 0.8
CONTEXTS = ("self", "external")
REST, SCATTER = (-0.76, -0.69, -0.55), 0.03  # posture of rest, and its deviation
BETA = (1.6, 1.6), (0.83, 1.57), (1.88, 2.84)  # law of each joint that wanders
ONE_BACK = np.array([[0.57, -0.02, -0.07], [0.02, 0.62, 0.24], [-0.04, -0.28, 0.32]])
TWO_BACK = np.array([[-0.19, -0.02, 0.07], [-0.04, -0.25, 0.0], [0.08, 0.09, -0.24]])
NEW = np.array([[0.74, 0.03, -0.16], [0.03, 0.62, -0.01], [-0.16, -0.01, 0.74]])
"""How joints wander, before they are mapped: from two steps, and what is new."""
LEAVING, COMING = (0.33, 0.76), (0.95, 0.75, 0.36, 0.08, 0.01, 0, 0)
AWAY = np.array([*LEAVING, *[1.0] * 11, *COMING])
"""How far from rest the arm is at each step of its cycle."""


def hand_of(joints: Any, links: Sequence[float] = LINKS) -> np.ndarray:
    """Return where the hand is.

    Parameters
    ----------
    joints : (..., joint)
        Angles between -0.8 and 0.8.
    links
        Length of each link, from the shoulder.

    Returns
    -------
    array (..., space)

    Examples
    --------
    >>> hand_of([-0.8, -0.8, -0.8]).round(3)
    array([-0.9,  0. ])
    """
    joints, lengths = np.asarray(joints, float), _links(links)
    if joints.shape[-1:] != lengths.shape:
        expected = f"{len(lengths)} joints, one for each link"
        raise invalid("joints", f"shape {joints.shape}", expected, kind=ShapeError)
    angle = np.cumsum((joints + LIMIT) * np.pi / (2 * LIMIT), axis=-1)
    return np.stack(
        [-(lengths * np.cos(angle)).sum(-1), (lengths * np.sin(angle)).sum(-1)], axis=-1
    )


def simulate_arm(
    n_trials: int,
    n_steps: int = 200,
    *,
    seed: int,
    context: str | Sequence[str] = "self",
    links: Sequence[float] = LINKS,
) -> xr.DataArray:
    """Simulate movements.

    Parameters
    ----------
    n_trials, n_steps
        Trials, and the steps of each.
    seed
        Of the joints.
    context
        "self" or "external", of all trials or of each.
    links
        Length of each link.

    Returns
    -------
    xarray.DataArray
        (trial, time, channel): the joints, then the hand; with ``context`` along trial.
        The hand of an external trial belongs to joints that are not shown.

    Examples
    --------
    >>> arm = simulate_arm(2, 50, seed=0, context=["self", "external"])
    >>> joints, hand = arm[..., :3], arm[..., 3:]
    >>> np.isclose(hand_of(joints), hand).all(axis=(1, 2)).tolist()
    [True, False]
    """
    n_trials = require_integer(n_trials, "n_trials")
    n_steps = require_integer(n_steps, "n_steps")
    labels = [context] * n_trials if isinstance(context, str) else list(context)
    if len(labels) != n_trials:
        expected = f"one, or one for each of {n_trials} trials"
        raise invalid("context", f"{len(labels)} labels", expected, kind=ShapeError)
    for label in labels:
        choice("context", label, CONTEXTS)
    rng = np.random.default_rng(require_integer(seed, "seed", minimum=0))
    n_joints = len(_links(links))
    joints, hidden = (_joints(rng, n_trials, n_steps, n_joints) for _ in range(2))
    external = np.array([label == "external" for label in labels])
    moved = np.where(external[:, None, None], hidden, joints)
    values = np.concatenate([joints, hand_of(moved, links)], axis=-1)
    coords = {
        "trial": np.arange(n_trials),
        "time": np.arange(n_steps, dtype=float),
        "channel": channels_of(n_joints),
        "context": ("trial", labels),
    }
    return xr.DataArray(values, coords, ("trial", "time", "channel"))


def channels_of(n_joints: int) -> list[str]:
    """Return the names of channels."""
    return [*(f"joint{k + 1}" for k in range(n_joints)), "hand_x", "hand_y"]


class Arm:
    """An arm in a closed loop: it goes where it is told, and tells what it senses.

    Until ``switch`` the hand seen is its own; from then on it is that of a recording,
    whatever the arm does.

    Parameters
    ----------
    shown : (time, space)
        The hand that is seen from ``switch`` on; the arm's own to the end if None.
    switch
        First step of the recording.
    links
        Length of each link.
    n_control_steps
        Steps of the joints' controller for one step of the world.
    gains
        Of the controller: proportional, integral and derivative.

    Examples
    --------
    >>> arm = Arm()
    >>> arm.act([0.5, 0.0, -0.2, 0.0, 0.0])
    >>> arm.observe().round(2)[:3]
    array([ 0.5,  0. , -0.2])
    """

    def __init__(
        self,
        shown: Any = None,
        *,
        switch: int = 100,
        links: Sequence[float] = LINKS,
        n_control_steps: int = 50,
        gains: tuple[float, float, float] = (0.3, 0.3, 0.02),
    ) -> None:
        self.links = tuple(_links(links).tolist())
        self.shown = None if shown is None else np.asarray(shown, float)
        if self.shown is not None and self.shown.shape[1:] != (2,):
            got = f"shape {self.shown.shape}"
            raise invalid("shown", got, "(time, 2)", kind=ShapeError)
        self.switch = require_integer(switch, "switch", minimum=0)
        self.n_control_steps = require_integer(n_control_steps, "n_control_steps")
        self.gains = gains
        self.channels = channels_of(len(self.links))
        self.reset()

    def reset(self) -> None:
        """Go back to rest, before the first step."""
        self.joints = np.zeros(len(self.links))
        self.n_done = 0

    @property
    def context(self) -> str:
        """Whether the hand seen is its own now."""
        external = self.shown is not None and self.n_done >= self.switch
        return CONTEXTS[int(external)]

    def observe(self) -> np.ndarray:
        """Return joints and hand (channel,)."""
        hand = hand_of(self.joints, self.links)
        if self.shown is not None and self.context == "external":
            if self.n_done >= len(self.shown):
                expected = f"less than the {len(self.shown)} of `shown`"
                raise invalid("n_steps", self.n_done + 1, expected)
            hand = self.shown[self.n_done]
        return np.concatenate([self.joints, hand])

    def act(self, command: Any) -> None:
        """Move towards commanded angles, the first numbers of a prediction.

        Each joint has a controller of its own: it moves by what is missing, by the sum
        of that so far, and by its change, times the gains.
        """
        target = np.asarray(command, float)[: len(self.joints)]
        require_finite(target, "command")
        target = target.clip(-LIMIT, LIMIT)
        proportional, integral, derivative = self.gains
        total, before = np.zeros_like(self.joints), target - self.joints
        for _ in range(self.n_control_steps):
            missing = target - self.joints
            total = total + missing
            change = missing - before
            step = proportional * missing + integral * total + derivative * change
            before = missing
            self.joints = (self.joints + step).clip(-LIMIT, LIMIT)
        self.n_done += 1


def _joints(rng: Any, n_trials: int, n_steps: int, n_joints: int) -> np.ndarray:
    """Return angles (trial, time, joint) that leave a rest and come back to it."""
    cycle = np.arange(n_steps) // len(AWAY)
    away = AWAY[np.arange(n_steps) % len(AWAY)][:, None]
    shape = (n_trials, cycle[-1] + 1, n_joints)
    rest = np.resize(REST, n_joints) + SCATTER * rng.normal(size=shape)
    rest = rest.clip(-LIMIT, LIMIT)[:, cycle]
    wandering = _wander(rng, n_trials, n_steps, n_joints)
    return rest + away * (wandering - rest)


def _wander(rng: Any, n_trials: int, n_steps: int, n_joints: int) -> np.ndarray:
    """Return angles (trial, time, joint) that come from the two steps before."""
    groups = -(-n_joints // len(NEW))  # joints beyond the third are as the first ones
    one, two, new = (np.kron(np.eye(groups), x) for x in (ONE_BACK, TWO_BACK, NEW))
    size, n_transient = len(new), 30
    shocks = rng.multivariate_normal(
        np.zeros(size), new, (n_transient + n_steps, n_trials)
    )
    values = np.zeros_like(shocks)
    for t in range(2, len(values)):
        values[t] = values[t - 1] @ one.T + values[t - 2] @ two.T + shocks[t]
    scores = values[n_transient:, :, :n_joints] / _deviation(one, two, new)[:n_joints]
    shapes = np.resize(BETA, (n_joints, 2)).T
    angles = LIMIT * (2 * stats.beta.ppf(stats.norm.cdf(scores), *shapes) - 1)
    return np.swapaxes(angles, 0, 1)


def _deviation(one: np.ndarray, two: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return the standard deviation of each variable of an autoregression."""
    size = len(new)
    forward = np.block([[one, two], [np.eye(size), np.zeros((size, size))]])
    covariance = np.zeros((2 * size, 2 * size))
    covariance[:size, :size] = new
    found = linalg.solve_discrete_lyapunov(forward, covariance)
    return np.sqrt(np.diag(found)[:size])


def _links(links: Sequence[float]) -> np.ndarray:
    lengths = np.asarray(links, float)
    if lengths.ndim != 1 or not lengths.size:
        raise invalid("links", f"{links}", "a length for each link")
    for length in lengths:
        require_positive(length, "links")
    return lengths
