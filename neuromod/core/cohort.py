"""One computation for many: subjects, sessions, seeds, settings.

Two verbs. `lanes` runs a JAX function over items of one shape as a single program,
the fastest way for many small fits. `map` runs any Python function over any items, in
processes of this machine or on the executor it is given, keeps each finished result
in a folder and never computes it twice::

    fits = cohort.map(fit_subject, recordings, config={"n_states": 4}, store="fits")
    fits["rat7"].summary()
    fits.failed                      # what went wrong, and where
    fits = cohort.map(...)           # once more: runs only what failed
"""

import logging
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from neuromod.core import pool
from neuromod.core import store as stores
from neuromod.core.devices import n_cores
from neuromod.core.dimensions import require_integer, require_unique
from neuromod.core.errors import invalid
from neuromod.core.keys import keys
from neuromod.core.lanes import lanes as lanes
from neuromod.core.outcomes import CohortResult as CohortResult
from neuromod.core.progress import progress_bar
from neuromod.core.worker import Call, Finished, compute, compute_packed
from neuromod.core.worker import Failure as Failure

__all__ = ["CohortResult", "Failure", "lanes", "map"]


Outcomes = Iterator[tuple[str, Finished | Failure]]


def map(
    function: Callable[..., Any],
    items: Mapping[str, Any] | Sequence[Any],
    *,
    config: Mapping[str, Any] | None = None,
    store: str | os.PathLike[str] | None = None,
    executor: Any = None,
    n_workers: int | None = None,
    classes: Mapping[str, type] | None = None,
    progress: bool = True,
) -> CohortResult:
    """Apply any function to many items, in parallel; keep and reuse what is finished.

    Parameters
    ----------
    function
        Called as ``function(item, **config)``. New processes must be able to import
        it (from the top level of a module), unless cloudpickle is installed.
    items
        What to compute: recordings, arrays, paths, plain values, anything; in a dict
        (or DataTree) by label, or in a list, whose labels are "0", "1", ...

    Other Parameters
    ----------------
    config
        Keyword arguments of the function, the same for every item.
    store
        A folder for finished results. What is there is not computed again, unless
        the function, the item, the config or neuromod's version changes
        (`neuromod.core.keys` tells what counts). The workers write to it: on a
        cluster it is a folder that all machines see. With it, the function returns a
        Result, xarray objects, arrays (which come back as NumPy's), plain values, or
        lists, tuples and dicts of these.
    executor
        Does the work instead of processes of this machine: anything with ``submit``
        (concurrent.futures, a dask Client) or ``map``.
    n_workers
        Number of processes; by default one per core.
    classes
        The function's own model classes by name, as `neuromod.load` takes them.
    progress
        Whether to show a progress bar.

    Returns
    -------
    CohortResult
        The results by label, and ``failed``.

    Raises
    ------
    InvalidInputError
        If there is no item, a label occurs twice, the function cannot be sent to a
        process or, with a store, something cannot be reduced to a key.
    NeuromodError
        If no process can be started.

    Notes
    -----
    An exception in one item does not stop the others. A worker that is killed costs
    nothing that is finished; the items under way are run once more, each alone, and
    one that kills its worker again has failed. An interrupt, or a kill of the whole
    program, loses nothing that is in the store.

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> recordings = {"rat1": [2, 4], "rat2": [1]}
    >>> with ThreadPoolExecutor() as executor:
    ...     found = map(max, recordings, executor=executor, progress=False)
    >>> dict(found)
    {'rat1': 4, 'rat2': 1}
    """
    labelled, settings = _labelled(items), dict(config or {})
    run = _runner(function, executor, n_workers)
    targets, outcomes = _look_up(function, labelled, settings, store)
    calls = {
        label: Call(function, item, settings, targets.get(label))
        for label, item in labelled.items()
        if label not in outcomes
    }
    n_reused = len(outcomes)
    bar = progress_bar(len(labelled), "cohort.map", "item", shown=progress)
    bar.update(n_reused)
    with bar, closing(run(calls)) as running:
        for label, outcome in running:
            outcomes[label] = outcome
            bar.update()
    ordered = {label: outcomes[label] for label in labelled}
    failed = {k: o for k, o in ordered.items() if isinstance(o, Failure)}
    if failed:
        told = "; ".join(f"{label}: {failure}" for label, failure in failed.items())
        logging.getLogger("neuromod").warning(
            "cohort.map: %d of %d items failed: %s", len(failed), len(ordered), told
        )
    finished = {k: o for k, o in ordered.items() if isinstance(o, Finished)}
    return CohortResult(finished, failed, n_reused, dict(classes or {}))


def _labelled(items: Mapping[str, Any] | Sequence[Any]) -> dict[str, Any]:
    if isinstance(items, Mapping):
        pairs = [(str(label), item) for label, item in items.items()]
    elif isinstance(items, Sequence) and not isinstance(items, str):
        pairs = [(str(label), item) for label, item in enumerate(items)]
    else:
        expected = "a list, or a dict by label"
        raise invalid("items", f"a {type(items).__name__}", expected, "Use list(...).")
    if not pairs:
        raise invalid("items", "none", "at least one item")
    require_unique([label for label, _ in pairs], "items")
    return dict(pairs)


def _look_up(
    function: Callable[..., Any],
    labelled: Mapping[str, Any],
    settings: Mapping[str, Any],
    store: str | os.PathLike[str] | None,
) -> tuple[dict[str, tuple[Path, str]], dict[str, Finished | Failure]]:
    """Return where each result goes, and those that are there already."""
    if store is None:
        return {}, {}
    folder = stores.folder(store)
    targets = {
        label: (folder, key)
        for label, key in keys(function, labelled, settings).items()
    }
    paths = {label: stores.find(*target) for label, target in targets.items()}
    return targets, {k: Finished(None, path) for k, path in paths.items() if path}


def _runner(
    function: Callable[..., Any], executor: Any, n_workers: int | None
) -> Callable[[Mapping[str, Call]], Any]:
    """Return the generator function that does the calls."""
    if executor is None:
        _require_sendable(function)
        workers = n_cores() if n_workers is None else n_workers
        workers = require_integer(workers, "n_workers")
        return lambda calls: _in_processes(calls, workers)
    if n_workers is not None:
        remedy = "An executor has its own number of workers: leave n_workers out."
        raise invalid("n_workers", n_workers, "None beside an executor", remedy)
    if callable(getattr(executor, "submit", None)):
        return lambda calls: _by_submit(executor, calls)
    if callable(getattr(executor, "map", None)):
        return lambda calls: _by_map(executor, calls)
    raise invalid(
        "executor",
        f"a {type(executor).__name__}",
        "an object with a method `submit` or `map`",
        "For instance concurrent.futures.ThreadPoolExecutor().",
    )


def _in_processes(calls: Mapping[str, Call], n_workers: int) -> Outcomes:
    def packed(label: str) -> bytes:
        return _dumps(calls[label])

    for label, outcome in pool.run(compute_packed, packed, list(calls), n_workers):
        failed = isinstance(outcome, BaseException)
        yield label, Failure.of(outcome) if failed else outcome


def _by_submit(executor: Any, calls: Mapping[str, Call]) -> Outcomes:
    futures = {label: executor.submit(compute, call) for label, call in calls.items()}
    try:
        for label, future in futures.items():
            try:
                outcome = future.result()
            except Exception as error:  # the executor lost the item, not the function
                outcome = Failure.of(error)
            yield label, outcome
    except BaseException:  # interrupted
        for future in futures.values():
            future.cancel()
        raise


def _by_map(executor: Any, calls: Mapping[str, Call]) -> Outcomes:
    yield from zip(calls, executor.map(compute, list(calls.values())), strict=True)


def _dumps(value: Any) -> bytes:
    if find_spec("cloudpickle") is None:
        return pickle.dumps(value)
    import cloudpickle

    return cloudpickle.dumps(value)


def _require_sendable(function: Callable[..., Any]) -> None:
    """Raise unless another process can get hold of the function."""
    main = getattr(function, "__module__", "") == "__main__"
    typed_in = main and not hasattr(sys.modules["__main__"], "__file__")
    try:
        _dumps(function)
        if not typed_in or find_spec("cloudpickle"):
            return
    except Exception as error:
        reason: Exception | None = error
    else:
        reason = None
    raise invalid(
        "function",
        getattr(function, "__qualname__", repr(function)),
        "a function that a new process can import",
        "Define it at the top level of a module, install cloudpickle, or run it in "
        "this process by executor=concurrent.futures.ThreadPoolExecutor().",
    ) from reason
