r"""Choices between several options, 0 to K - 1: the binary inputs of a network.

The options are the arms of a bandit, of which only the chosen one shows its outcome,
or the categories of a categorical filter. With a value $v_i$ for each,

$$
p(i) = (1 - \epsilon)\, \frac{e^{\beta v_i}}{\sum_j e^{\beta v_j}} + \epsilon / K .
$$

A choice is made before its outcome is seen, so everything in it is a prediction, and
what a choice led to bears on the next one only.
"""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from neuromod import kernels
from neuromod.core.errors import choice, invalid
from neuromod.hgf.responses.response import Response, Seen, Trials, lapsing

Table = Float[Array, "time option"]

VALUES = ("probability", "log_probability")


class SoftmaxChoice(Response):
    r"""A softmax over the options by their values (module docstring).

    Parameters
    ----------
    inverse_temperature
        $\beta$.
    loss_inverse_temperature
        $\beta$ of the trials where the covariate ``loss`` is 1: those that threaten a
        punishment instead of promising a reward. None for the same.
    win_distortion, loss_distortion
        What is added to the value of the option that was chosen on the trial before,
        if its outcome was 1, or 0. None for nothing. Where the outcome of the chosen
        option was not observed, or there was no response, nothing is added.
    lapse
        $\epsilon$, the probability of choosing whatever; None for none.
    value
        "probability": $v_i = \hat\mu_i$. "log_probability": $v_i = \log\hat\mu_i$, so
        that $\beta = 1$ matches probabilities; it is the unit-square sigmoid if there
        are two options whose probabilities add up to one.
    rewards
        Multiply the values by the rewards on offer, the covariates ``reward0``,
        ``reward1`` and so on.
    by_volatility
        Multiply $\beta$ by $e^{-\hat\mu_3}$, by level 3 over the first option.

    Raises
    ------
    InvalidInputError
        If the network has fewer than two binary inputs, or a covariate is missing.

    Notes
    -----
    These are the models ``softmax``, ``softmax_2beta``, ``softmax_mu3``,
    ``softmax_wld`` and ``softmax_mu3_wld`` of the toolbox, and their combinations.
    Different are: $\hat\mu_3$, where the toolbox takes $\mu_3$, which knows the outcome
    of the choice; the covariate ``loss``, where it takes the trial's own outcome; win
    distortion and inverse temperature, which are one number in its ``softmax_wld``; and
    options from 0, where it counts from 1. When responses are simulated, what was
    observed stays: a choice of another option than the participant's has no outcome
    if that was not observed.

    Examples
    --------
    >>> from neuromod.hgf import categorical, inference, responses
    >>> from neuromod.hgf.categories import outcomes
    >>> network = categorical(3)
    >>> series = outcomes(jax.nn.one_hot(jnp.array([2, 2, 2]), 3))
    >>> seen = responses.look(network, series, inference.run(network, series))
    >>> model = responses.softmax_choice(inverse_temperature=5.0)
    >>> probability = jnp.exp(responses.score(model, seen, jnp.array([2, 2, 2])))
    >>> [round(float(p), 2) for p in probability]
    [0.33, 0.56, 0.71]
    """

    positive: ClassVar[tuple[str, ...]] = (
        "inverse_temperature",
        "loss_inverse_temperature",
    )
    unit_interval: ClassVar[tuple[str, ...]] = ("lapse",)
    # No option: neither probable, nor distorting the next choice.
    stand_in: ClassVar[float] = -1.0

    inverse_temperature: Any = 1.0
    loss_inverse_temperature: Any = None
    win_distortion: Any = None
    loss_distortion: Any = None
    lapse: Any = None
    value: str = eqx.field(static=True, default="probability")
    rewards: bool = eqx.field(static=True, default=False)
    by_volatility: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        choice("value", self.value, VALUES)
        if self.rewards and self.value != "probability":
            raise invalid(
                "rewards", f"True with value={self.value!r}", "value='probability'"
            )

    def log_probability(self, seen: Seen, response: Trials) -> Trials:
        """Return the log probability of each choice (`Response`)."""
        values = self._values(seen)
        chosen = jax.nn.one_hot(
            response.astype(int), values.shape[1], dtype=values.dtype
        )
        added = chosen * self._distortions(seen, values)
        held = jnp.concatenate([jnp.zeros_like(added[:1]), added[:-1]])
        beta = self._inverse_temperatures(seen, values)
        found = self._log_probabilities(beta[:, None] * (values + held))
        return jnp.sum(jnp.where(chosen > 0, found, 0.0), axis=1)

    def simulate(self, seen: Seen, key: PRNGKeyArray) -> Trials:
        """Draw a choice for each trial (`Response`)."""
        values = self._values(seen)
        n_trials, n_options = values.shape

        def choose(held, now):
            values, beta, distortions, key = now
            found = self._log_probabilities(beta * (values + held))
            drawn = jax.random.categorical(key, found)
            chosen = jax.nn.one_hot(drawn, n_options, dtype=values.dtype)
            return chosen * distortions, drawn.astype(values.dtype)

        inputs = (
            values,
            self._inverse_temperatures(seen, values),
            self._distortions(seen, values),
            jax.random.split(key, n_trials),
        )
        return kernels.scan(choose, jnp.zeros_like(values[0]), inputs).outputs

    def _log_probabilities(self, logits: Array) -> Array:
        found = jax.nn.log_softmax(logits, axis=-1)
        if self.lapse is None:
            return found
        return lapsing(found, self.lapse, logits.shape[-1])

    def _values(self, seen: Seen) -> Table:
        n_options = len(seen.options)
        if n_options < 2:
            raise invalid(
                "network",
                f"{n_options} binary inputs",
                "at least 2, for softmax_choice to choose among",
                "Of one binary input softmax or unit_square_sigmoid are choices.",
            )
        means = [seen.expected_mean[name] for name in seen.options]
        if self.value == "log_probability":
            means = [jnp.log(mean) for mean in means]
        if self.rewards:
            offers = [seen.covariate(f"reward{i}") for i in range(n_options)]
            means = [r * m for r, m in zip(offers, means, strict=True)]
        return jnp.stack(means, axis=1)

    def _inverse_temperatures(self, seen: Seen, values: Table) -> Trials:
        beta = self.inverse_temperature + jnp.zeros_like(values[:, 0])
        if self.loss_inverse_temperature is not None:
            losing = seen.covariate("loss") > 0.5
            beta = jnp.where(losing, self.loss_inverse_temperature, beta)
        if self.by_volatility:
            beta = beta * jnp.exp(-seen.expected_mean[seen.level(3)])
        return beta

    def _distortions(self, seen: Seen, values: Table) -> Table:
        """Return what each option would gain for the next trial if it were chosen."""
        total = jnp.zeros_like(values)
        for outcome, weight in ((1, self.win_distortion), (0, self.loss_distortion)):
            if weight is not None:
                came = jnp.stack([seen.was(n, outcome) for n in seen.options], axis=1)
                total = total + jnp.where(came, weight, 0.0)
        return total
