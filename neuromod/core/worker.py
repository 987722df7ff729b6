"""The work on one item of a cohort: what a worker runs, and what it sends back.

Light on purpose: a new process imports no more than this and what its function needs.
"""

import pickle
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple


class Call(NamedTuple):
    """What to do: ``function(item, **config)``, and where to store what it returns."""

    function: Callable[..., Any]
    item: Any
    config: Mapping[str, Any]
    target: tuple[Path, str] | None


class Finished(NamedTuple):
    """The result of an item, or the file that it was stored in."""

    value: Any
    path: Path | None


@dataclass(frozen=True)
class Failure:
    """Why an item has no result.

    Parameters
    ----------
    kind
        The name of the exception.
    message
        Its text.
    traceback
        Where it was raised, as Python prints it.
    """

    kind: str
    message: str
    traceback: str

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        """Describe an exception."""
        text = "".join(traceback.format_exception(error))
        return cls(type(error).__name__, str(error), text)

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


def compute(call: Call) -> Finished | Failure:
    """Do the work on one item."""
    try:
        value = call.function(call.item, **call.config)
        if call.target is None:
            return Finished(value, None)
        from neuromod.core import store

        return Finished(None, store.write(*call.target, value))
    except Exception as error:
        return Failure.of(error)


def compute_packed(packed: bytes) -> Finished | Failure:
    """Do the work on one item that was packed for another process."""
    try:
        call = pickle.loads(packed)
    except Exception as error:
        return Failure.of(error)
    return compute(call)
