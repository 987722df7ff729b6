"""Published searches in a session: they choose, the joint regression tells.

`bif` and both forms of `one_way` name what is asked for next as their sources do. What
a session shows of the map is that of the joint regression, which is exact, for them as
for any other rule. They begin with trials of each part alone
(``session.ask(level=...)``, or trials of other sessions), and look at these no more
once the first whole was stimulated.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from neuromod.core.errors import SessionError, invalid
from neuromod.stimulation import bif, one_way
from neuromod.stimulation.decide import Objective
from neuromod.stimulation.ground import Ground, Place
from neuromod.stimulation.parts import Method, Observed, Parts, parts_of
from neuromod.stimulation.rule import Rule
from neuromod.stimulation.search import Search

METHODS = {
    "bif": partial(bif.method, bif.Published()),
    "bif_neural": partial(bif.method, bif.NEURAL),
    "one_way": partial(bif.method, bif.ONE_WAY),
    "one_way_2020": partial(one_way.method, one_way.OneWay()),
}


class PublishedSearch(Search):
    """A search that chooses by a published method.

    Parameters
    ----------
    ground
        What could be stimulated: a whole with parts that have none themselves.
    rule
        Whose `model` names the method.
    n_planned
        Trials that are planned.
    n_outputs
        Responses of every trial; the first one is what is to be large.
    """

    def __init__(
        self, ground: Ground, rule: Rule, n_planned: int, n_outputs: int = 1
    ) -> None:
        parts = ground.block.parts
        if not parts or any(part.parts for part in parts) or rule.refit:
            expected = "a space with one level of blocks, and a rule without refits"
            raise invalid("rule", f"model {rule.model!r}", expected)
        at = ground.coordinates[ground.level == 0]
        with jax.enable_x64(True):
            self.parts: Parts = parts_of(at, tuple(part.dimensions for part in parts))
            method: Method = METHODS[rule.model](self.parts)
        self._begin, self._method_learn = method.begin, jax.jit(method.learn)
        self._method_choose = jax.jit(method.choose)
        self._sites: list[list[tuple[int, float]]] = [[] for _ in parts]
        self._state: Any = None
        super().__init__(ground, rule, n_planned, n_outputs)

    def prepare(self, n_trials: int, *, elsewhere: bool = False) -> None:
        """Compile all that so many trials will need, and forget all trials."""
        self._sites = [[(0, 1.0)] for _ in self._sites]
        super().prepare(n_trials, elsewhere=elsewhere)
        self._sites = [[] for _ in self._sites]
        self._state = None

    def learn(self, place: Place, response: np.ndarray) -> None:
        """Take in what came of a trial at a place."""
        super().learn(place, response)
        first = float(np.asarray(response, float)[0])
        if place.level:
            self._sites[place.level - 1].append((self._site(place), first))
        elif all(self._sites):
            with jax.enable_x64(True):
                self._state = self._method_learn(
                    self._begun(), jnp.asarray(self._whole(place)), jnp.asarray(first)
                )

    def choose(
        self,
        seed: int,
        n_asked: int,
        allowed: np.ndarray,
        *,
        objective: Objective | None = None,
        pending: Sequence[Place] = (),
    ) -> int:
        """Return the candidate to stimulate next; of a part one is drawn.

        As published, one trial follows the other, and one output counts: what is
        pending, and other objectives, change nothing.
        """
        whole = self.ground.level == 0
        if not (allowed & whole).any():
            never = np.where(self.n_visits > 0, 0, 1) * allowed
            possible = never if never.any() else allowed.astype(int)
            rng = np.random.default_rng([seed, n_asked])
            return int(rng.choice(np.flatnonzero(possible)))
        if not all(self._sites):
            missing = self.ground.block.parts[[not s for s in self._sites].index(True)]
            raise SessionError(
                f"{self.rule.model!r} begins with trials of each part alone, and there "
                f"is none of {missing.name!r}: ask for it by its level"
            )
        with jax.enable_x64(True):
            key = jax.random.fold_in(jax.random.key(seed), n_asked)
            mask = jnp.asarray(allowed[whole])
            found = self._method_choose(key, self._begun(), mask)
        return int(np.flatnonzero(whole)[int(found)])

    def _begun(self) -> Any:
        if self._state is None:
            observed = tuple(
                Observed(
                    jnp.asarray([site for site, _ in trials]),
                    jnp.asarray([response for _, response in trials]),
                )
                for trials in self._sites
            )
            self._state = self._begin(observed, self.n_planned)
        return self._state

    def _whole(self, place: Place) -> int:
        """Return the number of a candidate among those of the whole."""
        here = (self.ground.coordinates == place.at).all(axis=1)
        return int(np.flatnonzero(here[self.ground.level == 0])[0])

    def _site(self, place: Place) -> int:
        """Return the number of a part's site."""
        sites = np.asarray(self.parts.sites[place.level - 1])
        seen = list(self.parts.dimensions[place.level - 1])
        return int(np.flatnonzero((sites == place.at[seen]).all(axis=1))[0])


def begin_search(
    ground: Ground, rule: Rule, n_planned: int, n_outputs: int, n_context: int
) -> Search:
    """Return a search of the kind that a rule names."""
    if rule.model in METHODS:
        if n_context or np.isfinite(rule.time_constant):
            expected = "model 'joint' or 'flat' where a map moves"
            raise invalid("rule", f"model {rule.model!r}", expected)
        return PublishedSearch(ground, rule, n_planned, n_outputs)
    return Search(ground, rule, n_planned, n_outputs, n_context)
