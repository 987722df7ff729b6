"""Fits that go on while the session does: no decision waits for one."""

import warnings
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from neuromod.core.errors import ConvergenceWarning
from neuromod.stimulation.regression import Refitted
from neuromod.stimulation.search import Search


class Refits:
    """Fits of the parameters of a search, one at a time, in a thread.

    Parameters
    ----------
    search
        What is fitted. Its trials are read when a fit begins, and never changed.
    every
        After so many further trials a fit is due; never if zero.
    """

    def __init__(self, search: Search, every: int) -> None:
        self._search, self._every = search, every
        self._last = len(search.rows)
        self._running: Future[Refitted] | None = None
        self._pool = ThreadPoolExecutor(1) if every else None

    def begin_if_due(self) -> None:
        """Begin a fit if one is due and none is running."""
        n_trials = len(self._search.rows)
        due = self._every and n_trials - self._last >= self._every
        if self._pool is not None and due and self._running is None:
            self._last = n_trials
            self._running = self._pool.submit(self._search.refit)

    def take(self) -> Refitted | None:
        """Return what a fit found, once, if it has ended."""
        if self._running is None or not self._running.done():
            return None
        done, self._running = self._running, None
        found = done.result()
        if not np.isfinite(found.parameters).all():
            warnings.warn(
                "a fit of the search's parameters came to nothing; it goes on with "
                "those of before",
                ConvergenceWarning,
                stacklevel=2,
            )
            return None
        return found

    def wait(self) -> None:
        """Wait until no fit is running."""
        if self._running is not None:
            self._running.result()

    def close(self) -> None:
        """Wait for what is running, and begin no more."""
        if self._pool is not None:
            self._pool.shutdown()
