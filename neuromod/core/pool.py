"""Jobs on spawned processes that survive the death of any of them.

A worker can be killed at any moment, most often by a system out of memory. The pool
of Python then breaks: every job under way is lost, and nobody can tell which of them
was to blame. So each of these is run once more, alone, after the others: one that
kills its worker again is the culprit, and the rest are done.

Workers end with the process that started them, even if that one is killed: each
watches a pipe whose other end only the parent holds, and dies when it closes.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from neuromod.core.errors import NeuromodError

Function = Callable[[bytes], Any]
Pack = Callable[[str], bytes]


def run(
    function: Function, pack: Pack, labels: list[str], n_workers: int
) -> Iterator[tuple[str, Any]]:
    """Call a function for each job, in other processes; yield outcomes as they come.

    Parameters
    ----------
    function
        An importable function of one packed job.
    pack
        Packs the job of a label; called when its turn has come.
    labels
        The jobs.
    n_workers
        The number of processes.

    Yields
    ------
    label, outcome
        What the function returned, or the exception that kept it from returning: a
        ``BrokenProcessPool`` if its process died twice.

    Raises
    ------
    NeuromodError
        If no process can be started.
    """
    waiting, suspects = list(labels), []
    while waiting:
        lost: list[str] = []
        yield from _until_broken(function, pack, waiting, n_workers, lost)
        suspects += lost
    for label in suspects:
        lost = []
        yield from _until_broken(function, pack, [label], 1, lost)
        if lost:
            yield label, BrokenProcessPool("its process died, and once more alone")


def _until_broken(
    function: Function, pack: Pack, waiting: list[str], n_workers: int, lost: list[str]
) -> Iterator[tuple[str, Any]]:
    """Take jobs off ``waiting`` until none is left, or those under way are lost."""
    running: dict[Future[Any], str] = {}
    with _processes(min(n_workers, len(waiting))) as pool:
        while running or (waiting and not lost):
            # No more than there are workers: what waits in a queue is lost as well.
            while waiting and not lost and len(running) < n_workers:
                label = waiting.pop(0)
                running[_submit(pool, function, pack, label)] = label
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                label, error = running.pop(future), future.exception()
                if isinstance(error, BrokenProcessPool):
                    lost.append(label)
                else:
                    yield label, future.result() if error is None else error


def _submit(
    pool: ProcessPoolExecutor, function: Function, pack: Pack, label: str
) -> Future[Any]:
    try:
        return pool.submit(function, pack(label))
    except Exception as error:  # not to be packed, or the pool has just broken
        future: Future[Any] = Future()
        future.set_exception(error)
        return future


@contextmanager
def _processes(n_workers: int) -> Iterator[ProcessPoolExecutor]:
    """Start workers; stop them at once if the block is left by an exception."""
    context = multiprocessing.get_context("spawn")
    watched, held = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(n_workers, context, _live_with_parent, (watched,))
    with watched, held:
        try:
            _require_start(pool)
            yield pool
        except BaseException:
            held.close()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _require_start(pool: ProcessPoolExecutor) -> None:
    try:
        pool.submit(os.getpid).result()
    except BrokenProcessPool as error:
        raise NeuromodError(
            "cohort.map: worker processes die while they start. A script that starts "
            "processes is imported by each of them: put what it does under "
            "`if __name__ == '__main__':`. Or run in this process, with "
            "executor=concurrent.futures.ThreadPoolExecutor()."
        ) from error


def _live_with_parent(watched: Connection) -> None:
    """Leave interrupts to the parent, and die when it closes its end or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, args=(watched,), daemon=True).start()


def _die_with_parent(watched: Connection) -> None:
    try:
        watched.poll(None)
    finally:
        os._exit(1)
