r"""Fits to what was perceived: parameters under which a network predicts best.

These need no responses. With them in the place of a response model, a fit finds the
network that expects its inputs best, such as that of an ideal observer.
"""

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from neuromod.hgf.responses.response import Response, Seen, Trials, normal


class _Perception(Response):
    """What scores the inputs, and draws no responses."""

    needs_responses: ClassVar[bool] = False

    def simulate(self, seen: Seen, key: PRNGKeyArray) -> Trials:
        """Return NaN for each trial: there is nothing to respond to (`Response`)."""
        first = next(iter(seen.surprise.values()))
        return jnp.full_like(first, jnp.nan)


class BayesOptimal(_Perception):
    r"""The log density of the inputs under what was expected.

    Of a binary input it is minus its surprise; of a continuous one

    $$
    \log p = \log \mathcal{N}\big(u;\; \hat\mu_u,\;
    1/\hat\pi_u + \textstyle\sum_b (\alpha_b g_b'(\hat\mu_b))^2 / \hat\pi_b\big),
    $$

    where the uncertainty about the states $b$ that it observes adds to its noise: for
    a network without volatility parents, the exact likelihood of the data. Inputs that
    were not observed add nothing.

    Notes
    -----
    The toolbox's ``bayes_optimal`` leaves out the noise of a continuous input, and its
    ``bayes_optimal_categorical`` the surprise about the categories that did not come.

    Examples
    --------
    >>> from neuromod.hgf import binary_two_level, inference, responses
    >>> network = binary_two_level()
    >>> series = inference.Series((jnp.ones(3),), (None,), None)
    >>> seen = responses.look(network, series, inference.run(network, series))
    >>> nats = responses.score(responses.bayes_optimal(), seen, None)
    >>> [round(float(x), 2) for x in nats]
    [-0.69, -0.51, -0.41]
    """

    def log_probability(self, seen: Seen, response: Any = None) -> Trials:
        """Return the log density of each trial's inputs (`Response`)."""
        found = seen.log_density
        if found is None:
            found = {name: -nats for name, nats in seen.surprise.items()}
        return jnp.sum(jnp.stack(list(found.values())), axis=0)


class SquaredError(_Perception):
    r"""Squared errors of prediction, weighed against the prior by $\zeta$.

    $$
    \log p = \sum_i \log \mathcal{N}(u_i;\, \hat\mu_i,\, \zeta)
    $$

    over the inputs $i$ that were observed. How sure the network was of its predictions
    does not enter.

    Parameters
    ----------
    variance
        $\zeta$.
    """

    positive: ClassVar[tuple[str, ...]] = ("variance",)

    variance: Any = 1.0

    def log_probability(self, seen: Seen, response: Any = None) -> Trials:
        """Return the log density of each trial's inputs (`Response`)."""
        found = []
        for name, known in seen.observed.items():
            mean = seen.expected_mean[name]
            value = seen.value[name]
            if known is not None:
                value = jnp.where(known, value, mean)
            nats = normal(mean, self.variance, value)
            found.append(nats if known is None else jnp.where(known, nats, 0.0))
        return jnp.sum(jnp.stack(found), axis=0)
