"""What was sent, or may have been, and what may therefore be sent now."""

from typing import Any

import numpy as np

from neuromod.stimulation.candidates import Candidates
from neuromod.stimulation.limits import HOUR, Delivery, Limits, Stimulus


class Delivered:
    """All stimuli of a session, counted as limits count them.

    What single candidates break is worked out once. Each ask then costs a few
    operations on arrays, however many candidates there are.

    Parameters
    ----------
    candidates
        What could be sent.
    limits
        What may be.
    """

    def __init__(self, candidates: Candidates, limits: Limits) -> None:
        self.limits = limits
        self.all: list[Delivery] = []
        self._reached: dict[str, float] = {}
        self.choose_from(candidates)

    def choose_from(self, candidates: Candidates) -> None:
        """Take in what could be sent now."""
        self._candidates = candidates
        alone = np.flatnonzero(candidates.alone)
        stimuli = {k: candidates.stimulus(k) for k in alone.tolist()}
        labels = sorted({e for s in stimuli.values() for e in s.electrodes})
        self._labels = np.array(labels)
        numbers = {label: k for k, label in enumerate(labels)}
        self._uses = np.zeros((len(candidates), len(labels)), bool)
        self._amplitude = np.zeros(len(candidates))
        free = Limits(**vars(self.limits) | {"ramp": np.inf})
        self._broken = ["it is no stimulus alone"] * len(candidates)
        for k, stimulus in stimuli.items():
            self._uses[k, [numbers[label] for label in stimulus.electrodes]] = True
            self._amplitude[k] = stimulus.largest_amplitude
            self._broken[k] = "; ".join(free.violations(stimulus, [], now=0.0))
        self._fine = np.array([not words for words in self._broken])

    def add(self, stimulus: Stimulus, at: float) -> None:
        """Count a stimulus."""
        self.all.append(Delivery(at, stimulus))
        for label in stimulus.electrodes:
            reached = self._reached.get(label, 0.0)
            self._reached[label] = max(reached, stimulus.largest_amplitude)

    def allowed(self, now: float) -> np.ndarray:
        """Return which candidates are within all limits now (candidate,)."""
        return self.wanted(now) & self._ramped()

    def wanted(self, now: float) -> np.ndarray:
        """Return which are within all limits but the ramp, which leads to them."""
        last = max((d.time for d in self.all), default=-np.inf)
        recent = [d for d in self.all if max(now - d.time, 0.0) < HOUR]
        if max(now - last, 0.0) < self.limits.interval:
            return np.zeros(len(self._fine), bool)
        if len(recent) + 1 > self.limits.per_hour:
            return np.zeros(len(self._fine), bool)
        return self._fine & ~self._worn(recent)

    def step(self, candidate: int, allowed: np.ndarray) -> int | None:
        """Return what leads to a candidate that is above the ramp; None if nothing.

        It is what may be sent to the same electrodes and is more than they have had:
        the largest of these, and of equal ones the most alike.
        """
        same = (self._uses == self._uses[candidate]).all(axis=1)
        had = np.where(self._uses[candidate], self._reach(), np.inf).min()
        between = (had < self._amplitude) & (
            self._amplitude <= self._amplitude[candidate]
        )
        found = np.flatnonzero(allowed & same & between)
        if not len(found):
            return None
        at = self._candidates.ground.coordinates
        apart = np.linalg.norm(at[found] - at[candidate], axis=1)
        return int(found[np.lexsort((apart, -self._amplitude[found]))[0]])

    def wait(self, now: float) -> float:
        """Return after how many seconds something may be sent; infinite if never."""
        possible = np.flatnonzero(self._fine & self._ramped())
        kinds = {tuple(self._uses[k]): int(k) for k in possible}
        waits = [
            self.limits.wait(self._candidates.stimulus(k), self.all, now=now)
            for k in kinds.values()
        ]
        return min(waits, default=np.inf)

    def why_none(self, now: float) -> str:
        """Tell why nothing may be sent now."""
        if not self._fine.any():
            return f"no candidate is within the limits: {self._broken[0]}"
        if not (self._fine & self._ramped()).any():
            return (
                f"no candidate is within a ramp of {self.limits.ramp:g} uA: begin with "
                "smaller amplitudes"
            )
        return f"the rates allow no stimulus for another {self.wait(now):.3g} s"

    def _ramped(self) -> Any:
        most = np.where(self._uses, self._reach() + self.limits.ramp, np.inf)
        smallest: Any = most.min(axis=1, initial=np.inf)
        return self._amplitude <= smallest

    def _reach(self) -> np.ndarray:
        """Return the largest amplitude that each electrode has had (electrode,)."""
        return np.array([self._reached.get(label, 0.0) for label in self._labels])

    def _worn(self, recent: list[Delivery]) -> Any:
        """Return which candidates use an electrode that has had enough."""
        counts = np.zeros(self._uses.shape[1])
        for delivery in recent:
            counts += np.isin(self._labels, delivery.stimulus.electrodes)
        return (self._uses & (counts + 1 > self.limits.per_electrode_per_hour)).any(1)
