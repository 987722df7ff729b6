"""Several responses on one trial, such as a choice and how long it took."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from neuromod.core.errors import did_you_mean, invalid
from neuromod.hgf.responses.response import Response, Seen, Trials, score


class Joint(Response):
    """Response models of several columns, independent given the beliefs.

    Parameters
    ----------
    **parts : Response
        The models, by the names of the columns that they are of.

    Raises
    ------
    InvalidInputError
        If there is no model, or one is none; from `log_probability`, if the columns
        are not those of the models.

    Examples
    --------
    >>> from neuromod.hgf import binary_two_level, inference, responses
    >>> network = binary_two_level()
    >>> series = inference.Series((jnp.ones(3),), (None,), None)
    >>> seen = responses.look(network, series, inference.run(network, series))
    >>> model = responses.joint(
    ...     choice=responses.softmax(), log_time=responses.log_reaction_time()
    ... )
    >>> done = {
    ...     "choice": jnp.array([1.0, 0.0, 1.0]),
    ...     "log_time": jnp.array([6.1, jnp.nan, 6.2]),
    ... }
    >>> [round(float(x), 2) for x in responses.score(model, seen, done)]
    [-0.51, -0.8, -0.31]
    >>> sorted(model.simulate(seen, jax.random.key(0)))
    ['choice', 'log_time']
    """

    parts: dict[str, Response]

    def __init__(self, **parts: Response) -> None:
        if not parts:
            raise invalid("parts", "none", "at least one response model, by its name")
        for name, part in parts.items():
            if not isinstance(part, Response):
                raise invalid(
                    name,
                    f"{part!r:.80}",
                    "a response model",
                    "Such as hgf.responses.softmax().",
                )
        self.parts = dict(sorted(parts.items()))

    def log_probability(self, seen: Seen, response: Any) -> Trials:
        """Return the sum of the columns' log probabilities (`Response`).

        Parameters
        ----------
        seen
            What the network believed.
        response
            One column (time,) for each of the models that need one, each with missing
            trials (NaN) of its own.
        """
        columns = self._columns(response)
        nats = [score(part, seen, columns[name]) for name, part in self.parts.items()]
        return jnp.sum(jnp.stack(nats), axis=0)

    def simulate(self, seen: Seen, key: PRNGKeyArray) -> dict[str, Trials]:
        """Draw every column, by its name (`Response`)."""
        keys = jax.random.split(key, len(self.parts))
        pairs = zip(keys, self.parts.items(), strict=True)
        return {name: part.simulate(seen, own) for own, (name, part) in pairs}

    def _columns(self, response: Any) -> dict[str, Any]:
        if not isinstance(response, Mapping):
            raise invalid(
                "responses",
                type(response).__name__,
                "a mapping from " + ", ".join(map(repr, self.parts)) + " to columns",
            )
        for name in response:
            if name not in self.parts:
                raise invalid(
                    "responses",
                    f"the column {name!r}",
                    "names of the response models",
                    did_you_mean(str(name), self.parts),
                )
        for name, part in self.parts.items():
            if part.needs_responses and name not in response:
                raise invalid(
                    "responses",
                    f"no column {name!r}",
                    "one for each response model",
                    "Fill it with NaN if all are missing.",
                )
        return {name: response.get(name) for name in self.parts}
