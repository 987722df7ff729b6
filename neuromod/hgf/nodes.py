r"""The pieces that a network is built of: inputs, states and edges.

A *state* $x_a$ is a Gaussian random walk whose step is driven by its parents,

$$
x_a^{(k)} \sim \mathcal{N}\Big(\lambda_a^{t} x_a^{(k-1)}
  + t\,\big(\rho_a + \sum_b \alpha_{ba}\, g_{ba}(x_b^{(k)})\big),\;
  t\,\exp\big(\omega_a + \sum_c \kappa_{ca}\, x_c^{(k)}\big)\Big),
$$

with the interval $t$ since the step before. An *input* is where data come in:

$$
u \sim \mathcal{N}\Big(\sum_b \alpha_b\, g_b(x_b),\; 1/\pi_u
  + \exp\big(\sum_c \kappa_c x_c\big)\Big)
\qquad\text{or}\qquad
u \sim \mathrm{Bernoulli}\Big(s\big(\sum_b \alpha_b\, g_b(x_b)\big)\Big).
$$

A binary outcome $z$ may also be seen through noise, as a number near 0 or 1,

$$
u \sim \mathcal{N}(z, a),\qquad
z \sim \mathrm{Bernoulli}\Big(s\big(\sum_b \alpha_b\, g_b(x_b)\big)\Big).
$$

| symbol | name | |
|---|---|---|
| $\lambda$ | `autoconnection` | in [0, 1]; None is a random walk |
| $\rho$ | `tonic_drift` | per unit of time; None is no drift |
| $\omega$ | `tonic_volatility` | log of the variance per unit of time |
| $\pi_u$ | `precision` of an input | |
| $a$ | `noise_variance` of a binary input | None is an outcome that is seen exactly |
| $\alpha$ | `strength` of an `observation`, `drift` or `probability` edge | |
| $\kappa$ | `strength` of a `volatility` or `noise` edge | positive |

(Weber et al., eLife 2024; Mathys et al., Front. Hum. Neurosci. 2014.)
"""

from typing import Any

import equinox as eqx
import numpy as np

from neuromod.core.errors import choice, invalid
from neuromod.hgf.couplings import require_coupling
from neuromod.hgf.schemes import require_approximation, require_update

EDGES = ("observation", "drift", "probability", "volatility", "noise")


class ContinuousState(eqx.Module):
    """A hidden state that moves as a Gaussian random walk.

    Parameters
    ----------
    name
        What the node is called.
    mean, precision
        Belief before the first step.
    tonic_volatility
        Log of the variance that it gains per unit of time.
    tonic_drift
        What it moves per unit of time; None for nothing.
    autoconnection
        Share of its value that is left after a unit of time; None for all of it.
    update, approximation
        The scheme of this node, where it is not that of the network.

    Raises
    ------
    InvalidInputError
        If the precision is not positive, or the autoconnection not in [0, 1].

    Examples
    --------
    >>> state = ContinuousState("x2", tonic_volatility=-3.0)
    >>> float(state.tonic_volatility)
    -3.0
    """

    name: str = eqx.field(static=True)
    mean: Any
    precision: Any
    tonic_volatility: Any
    tonic_drift: Any
    autoconnection: Any
    update: str | None = eqx.field(static=True)
    approximation: str | None = eqx.field(static=True)

    def __init__(
        self,
        name: str,
        *,
        mean: Any = 0.0,
        precision: Any = 1.0,
        tonic_volatility: Any = -4.0,
        tonic_drift: Any = None,
        autoconnection: Any = None,
        update: str | None = None,
        approximation: str | None = None,
    ) -> None:
        self.name = require_name(name)
        self.mean = number(mean, name, "mean")
        self.precision = positive(precision, name, "precision")
        self.tonic_volatility = number(tonic_volatility, name, "tonic_volatility")
        self.tonic_drift = None
        if tonic_drift is not None:
            self.tonic_drift = number(tonic_drift, name, "tonic_drift")
        self.autoconnection = None
        if autoconnection is not None:
            self.autoconnection = share(autoconnection, name, "autoconnection")
        self.update = None if update is None else require_update(update)
        self.approximation = None
        if approximation is not None:
            self.approximation = require_approximation(approximation)


class Constant(eqx.Module):
    """A parent whose value is always one: what it drives has a bias.

    Parameters
    ----------
    name
        What the node is called.
    """

    name: str = eqx.field(static=True)

    def __init__(self, name: str) -> None:
        self.name = require_name(name)


class ContinuousInput(eqx.Module):
    """Where real numbers are observed.

    Parameters
    ----------
    name
        What the node is called.
    precision
        Of the observations given the states.
    """

    name: str = eqx.field(static=True)
    precision: Any

    def __init__(self, name: str, *, precision: Any = 1.0) -> None:
        self.name = require_name(name)
        self.precision = positive(precision, name, "precision")


class BinaryInput(eqx.Module):
    """Where zeros and ones are observed, exactly or through noise.

    Parameters
    ----------
    name
        What the node is called.
    noise_variance
        With which an outcome, 0 or 1, is perceived as a real number; None for none.
        Trials of different noise, such as cues of high and of low contrast, are inputs
        of their own on the same state, with NaN where the other one was seen.

    Raises
    ------
    InvalidInputError
        If the variance is not positive.

    Examples
    --------
    >>> BinaryInput("cue", noise_variance=0.1).is_exact
    False
    """

    name: str = eqx.field(static=True)
    noise_variance: Any

    def __init__(self, name: str, noise_variance: Any = None) -> None:
        self.name = require_name(name)
        self.noise_variance = None
        if noise_variance is not None:
            self.noise_variance = positive(noise_variance, name, "noise_variance")

    @property
    def is_exact(self) -> bool:
        """Tell whether the outcomes themselves are observed."""
        return self.noise_variance is None


Node = ContinuousState | Constant | ContinuousInput | BinaryInput


class VolatileState(eqx.Module):
    """A hidden state with a volatility of its own: two nodes by one name.

    A network takes it for the `ContinuousState` of that name, and a second one,
    ``<name>_volatility``, which acts on the volatility of the first with strength 1.
    Both may be joined to further nodes, and both are found in what the network returns.

    Parameters
    ----------
    name
        What the state is called.
    mean, precision, tonic_volatility, tonic_drift, autoconnection
        Of the state (`ContinuousState`).
    volatility_mean, volatility_precision
        Belief about its log-volatility before the first step.
    metavolatility
        Log of the variance that the log-volatility gains per unit of time.
    update, approximation
        The scheme of both, where it is not that of the network.

    Raises
    ------
    InvalidInputError
        As of `ContinuousState`.

    Examples
    --------
    >>> from neuromod import hgf
    >>> network = hgf.Network(
    ...     [hgf.ContinuousInput("rate", precision=1e4), VolatileState("x1")],
    ...     [hgf.observation("x1", "rate")],
    ... )
    >>> network.states
    ('x1', 'x1_volatility')
    """

    value: ContinuousState
    volatility: ContinuousState

    def __init__(
        self,
        name: str,
        *,
        volatility_mean: Any = 0.0,
        volatility_precision: Any = 1.0,
        metavolatility: Any = -4.0,
        update: str | None = None,
        approximation: str | None = None,
        **of_state: Any,
    ) -> None:
        scheme = {"update": update, "approximation": approximation}
        self.value = ContinuousState(name, **of_state, **scheme)
        self.volatility = ContinuousState(
            f"{name}_volatility",
            mean=volatility_mean,
            precision=volatility_precision,
            tonic_volatility=metavolatility,
            **scheme,
        )


class Edge(eqx.Module):
    """How a parent acts on a child.

    Parameters
    ----------
    kind
        "observation" (of a state by a continuous input), "probability" (by a binary
        input), "drift" (of one state by another), "volatility" (of a state) or
        "noise" (of a continuous input).
    parent, child
        Names of nodes.
    strength
        Times which the parent counts.
    coupling
        Name of the function of the parent's value; of the first three kinds.
    """

    kind: str = eqx.field(static=True)
    parent: str = eqx.field(static=True)
    child: str = eqx.field(static=True)
    strength: Any
    coupling: str = eqx.field(static=True)

    def __init__(
        self,
        kind: str,
        parent: str,
        child: str,
        strength: Any = 1.0,
        coupling: str = "linear",
    ) -> None:
        self.kind = choice("kind", kind, EDGES)
        self.parent, self.child = require_name(parent), require_name(child)
        where = f"{kind} of {child!r} by {parent!r}"
        check = number if self.carries_value else positive
        self.strength = check(strength, where, "strength")
        self.coupling = require_coupling(coupling)
        if not self.carries_value and coupling != "linear":
            raise invalid(
                "coupling", repr(coupling), f"'linear' for an edge of kind {kind!r}"
            )

    @property
    def carries_value(self) -> bool:
        """Tell whether the parent moves the child's mean, and not its variance."""
        return self.kind in ("observation", "drift", "probability")


def observation(
    parent: str, child: str, strength: Any = 1.0, coupling: str = "linear"
) -> Edge:
    """Let a continuous input observe a state (`Edge`)."""
    return Edge("observation", parent, child, strength, coupling)


def probability(
    parent: str, child: str, strength: Any = 1.0, coupling: str = "linear"
) -> Edge:
    """Let a state be the log-odds of a binary input (`Edge`)."""
    return Edge("probability", parent, child, strength, coupling)


def drift(
    parent: str, child: str, strength: Any = 1.0, coupling: str = "linear"
) -> Edge:
    """Let a state move another one, per unit of time (`Edge`)."""
    return Edge("drift", parent, child, strength, coupling)


def volatility(parent: str, child: str, strength: Any = 1.0) -> Edge:
    """Let a state be the log-volatility of another one (`Edge`)."""
    return Edge("volatility", parent, child, strength)


def noise(parent: str, child: str, strength: Any = 1.0) -> Edge:
    """Let a state be the log-variance of a continuous input's noise (`Edge`)."""
    return Edge("noise", parent, child, strength)


def require_name(name: Any) -> str:
    """Return the name of a node, which may not be empty or hold a dot."""
    if not isinstance(name, str) or not name or "." in name:
        raise invalid("name", repr(name), "a text without a dot, such as 'x2'")
    return name


def number(value: Any, where: str, argument: str) -> Any:
    """Return a value as an array, or refuse what is not a number."""
    if not hasattr(value, "shape"):
        try:
            value = np.asarray(value, float)
        except (TypeError, ValueError):
            raise invalid(argument, f"{value!r} ({where})", "a number") from None
    if isinstance(value, np.ndarray | np.generic):
        value = np.asarray(value)
        if not np.isfinite(value).all():
            raise invalid(argument, f"{value} ({where})", "a finite number")
    return value


def positive(value: Any, where: str, argument: str) -> Any:
    """Return a value as an array, or refuse what is not above zero."""
    value = number(value, where, argument)
    if isinstance(value, np.ndarray) and not (value > 0).all():
        raise invalid(argument, f"{value} ({where})", "a number above 0")
    return value


def share(value: Any, where: str, argument: str) -> Any:
    """Return a value as an array, or refuse what is not within [0, 1]."""
    value = number(value, where, argument)
    if isinstance(value, np.ndarray) and not ((value >= 0) & (value <= 1)).all():
        raise invalid(argument, f"{value} ({where})", "a number from 0 to 1")
    return value
