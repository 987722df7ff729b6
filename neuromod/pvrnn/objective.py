r"""What a network descends: reconstruction, and complexity weighed by the meta-prior.

$$
F = \frac{1}{c_n} \sum_{n,t} \Big[ \sum_c \frac{f}{c_x}\, \text{error}_{ntc}
    + \sum_l w_{lt}\, \frac{k}{c_z} \mathrm{KL}_{ntl} \Big]
$$

A value of $w$ means nothing without the constants, in which the published codes differ:

| name | $f / c_x$ of squares | $f / c_x$ of a softmax code | $k / c_z$ | $c_n$ |
|---|---|---|---|---|
| `sdd` (Soda 2023) | 1 / channels | 1 / channels | 1 / latents of the layer | 1 |
| `sa` (Idei 2022) | 1 / channels of the head | | 1 / latents of the layer | 1 |
| `glean` (GLean 2020) | | 1 / outputs | 2 / latents of the layer | 1 |
| `tglean` (T-GLean 2022) | 0.5 / channels | 1 / outputs | 1 / latents | trials |

`Objective.exchange_rate` is what all of this comes to: nats of divergence per unit of
error. `convert` finds the meta-prior with the same rate under other constants.
"""

from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from neuromod.core.dimensions import require_non_negative
from neuromod.core.errors import ShapeError, choice, invalid
from neuromod.pvrnn.heads import Head, SoftmaxHead
from neuromod.pvrnn.model import PVRNN


class Constants(NamedTuple):
    """The constants of a published code.

    Parameters
    ----------
    error_factor
        f, of errors that are not of a softmax code.
    error_divisor
        c_x: "channels" of the head, or its "outputs".
    divergence_factor
        k.
    divergence_divisor
        c_z: the latents of the "layer" or of "all" layers.
    deviation_offset
        Added to both deviations within the divergence.
    term_offset
        Added to deviations within logs, and to the variance of the prior.
    averages_trials
        Whether c_n is the number of trials; else 1.
    """

    error_factor: float = 1.0
    error_divisor: Literal["channels", "outputs"] = "channels"
    divergence_factor: float = 1.0
    divergence_divisor: Literal["layer", "all"] = "layer"
    deviation_offset: float = 0.0
    term_offset: float = 0.0
    averages_trials: bool = False


CONSTANTS = {
    "sdd": Constants(deviation_offset=1e-7),
    "sa": Constants(term_offset=1e-6),
    "glean": Constants(error_divisor="outputs", divergence_factor=2.0),
    "tglean": Constants(
        error_factor=0.5, error_divisor="outputs", averages_trials=True
    ),
}


class Objective(eqx.Module):
    """What is descended.

    Parameters
    ----------
    meta_prior : () or (layer,)
        w, at all steps but the first of a trial.
    first_meta_prior : () or (layer,)
        w at the first step, whose prior is N(0, 1); ``meta_prior`` if None.
    schedule : (time,) or (time, layer)
        Multiplies both at every step; None for 1.
    head_weight : () or (head,)
        Multiplies the errors of a head.
    initial_penalty
        Multiplies half the sum of squares of the potentials that a trial has before its
        first step, if these are its own.
    constants
        Name of a code whose constants are meant, or `Constants`.

    Examples
    --------
    >>> Objective([0.01, 0.005], first_meta_prior=1.0, constants="tglean").constants[0]
    0.5
    """

    meta_prior: Any
    first_meta_prior: Any = None
    schedule: Any = None
    head_weight: Any = 1.0
    initial_penalty: Any = 0.0
    constants: Constants = eqx.field(
        default="sdd",
        static=True,
        converter=lambda given: (
            Constants(*given)
            if isinstance(given, tuple | list)
            else CONSTANTS[choice("constants", given, CONSTANTS)]
        ),
    )

    def __check_init__(self) -> None:
        for name in (
            "meta_prior",
            "first_meta_prior",
            "head_weight",
            "initial_penalty",
        ):
            value = getattr(self, name)
            if isinstance(value, int | float | list | tuple | np.ndarray):
                for one in np.ravel(np.asarray(value)):
                    require_non_negative(one, name)

    def with_meta_prior(self, meta_prior: Any, first: Any) -> "Objective":
        """Return it with other meta-priors."""
        names = "schedule", "head_weight", "initial_penalty", "constants"
        others = {name: getattr(self, name) for name in names}
        return Objective(meta_prior, first, **others)

    def complete(self, network: PVRNN) -> "Objective":
        """Return it with one number (numpy) for each layer and head of a network."""
        first = (
            self.meta_prior if self.first_meta_prior is None else self.first_meta_prior
        )
        n_layers = len(network.layers)
        later, first = (
            _numbers(w, n_layers, "meta_prior") for w in (self.meta_prior, first)
        )
        parts = (
            None if self.schedule is None else np.asarray(self.schedule, float),
            _numbers(self.head_weight, len(network.heads), "head_weight"),
            np.asarray(self.initial_penalty, float),
        )
        return Objective(later, first, *parts, self.constants)

    def penalty(self, initial: tuple[Any, ...] | None) -> Array:
        """Return what potentials (trial, unit) before the first step cost."""
        squares = [jnp.square(leaf).sum() for leaf in initial or () if leaf is not None]
        if not squares:
            return jnp.zeros(())
        return jnp.asarray(self.initial_penalty, squares[0].dtype) * sum(squares) / 2

    def weights(self, network: PVRNN, n_steps: int, starts: Any) -> Array:
        """Return the meta-prior (time, layer) of every step."""
        n_layers = len(network.layers)
        first = (
            self.meta_prior if self.first_meta_prior is None else self.first_meta_prior
        )
        later, first = (
            _per(w, n_layers, "meta_prior") for w in (self.meta_prior, first)
        )
        begins = (jnp.arange(n_steps) == 0) & jnp.asarray(starts)
        shape = n_steps, n_layers
        begins = jnp.broadcast_to(begins[:, None], shape)
        rows = [jnp.broadcast_to(w[None], shape) for w in (first, later)]
        weights = jnp.where(begins, *rows)
        if self.schedule is None:
            return weights
        factor = jnp.asarray(self.schedule, weights.dtype)
        factor = factor[:, None] if factor.ndim == 1 else factor
        return weights * jnp.broadcast_to(factor, shape)

    def divergence_factors(self, network: PVRNN) -> np.ndarray:
        """Return k / c_z (layer,)."""
        sizes = np.array([layer.n_latents for layer in network.layers], float)
        if self.constants.divergence_divisor == "all":
            sizes = np.full_like(sizes, network.n_latents)
        return self.constants.divergence_factor / sizes

    def error_factor(self, head: Head) -> float:
        """Return f / c_x of a head."""
        factor = 1.0 if isinstance(head, SoftmaxHead) else self.constants.error_factor
        by_output = self.constants.error_divisor == "outputs"
        n = head.n_outputs_per_channel if by_output else 1
        return factor / (head.n_channels * n)

    def exchange_rate(self, network: PVRNN) -> np.ndarray:
        """Return (layer, head): units of error that a nat of divergence counts for."""
        meta_prior = _per(self.meta_prior, len(network.layers), "meta_prior")
        costs = np.asarray(meta_prior) * self.divergence_factors(network)
        weights = _per(self.head_weight, len(network.heads), "head_weight")
        factors = np.array([self.error_factor(head) for head in network.heads])
        return costs[:, None] / (np.asarray(weights) * factors)[None]


def convert(objective: Objective, network: PVRNN, constants: Any) -> Objective:
    """Return the objective with other constants and the same exchange rate.

    Parameters
    ----------
    objective
        Whose meta-priors are known.
    network
        Of how many latents and channels.
    constants
        Name of a code, or `Constants`.

    Raises
    ------
    InvalidInputError
        If the errors of the heads would need different meta-priors.

    Examples
    --------
    A meta-prior of T-GLean, as GLean would have to write it:

    >>> import jax
    >>> from neuromod.pvrnn import hierarchy, softmax_head
    >>> head = softmax_head(2, reference=np.linspace(-0.1, 1.1, 10), width=0.05)
    >>> network = hierarchy(jax.random.key(0), [20], [2], [2], [head])
    >>> given = Objective(0.01, constants="tglean")
    >>> print(f"{convert(given, network, 'glean').meta_prior[0]:.4f}")
    0.0050
    """
    one, other = (
        Objective(1.0, head_weight=objective.head_weight, constants=name)
        for name in (objective.constants, constants)
    )
    rates = one.exchange_rate(network) / other.exchange_rate(network)
    if not np.allclose(rates, rates[:, :1]):
        raise invalid(
            "constants",
            f"{constants!r} for heads whose errors count differently",
            "heads of one kind",
            "Convert each head's part by hand: exchange_rate tells the numbers.",
        )
    factor = rates[:, 0]

    def converted(meta_prior: Any) -> Any:
        if meta_prior is None:
            return None
        return np.asarray(_per(meta_prior, len(factor), "meta_prior")) * factor

    return Objective(
        converted(objective.meta_prior),
        converted(objective.first_meta_prior),
        objective.schedule,
        objective.head_weight,
        objective.initial_penalty,
        constants,
    )


def _per(value: Any, n: int, argument: str) -> Array:
    """Return one number for each of n."""
    array = jnp.asarray(value, jnp.result_type(float))
    if array.shape not in ((), (n,)):
        expected = f"() or ({n},)"
        raise invalid(argument, f"shape {array.shape}", expected, kind=ShapeError)
    return jnp.broadcast_to(array, (n,))


def _numbers(value: Any, n: int, argument: str) -> np.ndarray:
    """Return one number for each of n, in double precision."""
    _per(value, n, argument)
    return np.broadcast_to(np.asarray(value, float), (n,)).copy()
