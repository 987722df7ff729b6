"""What became of a cohort: results by label, and why the others have none."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuromod.core import store
from neuromod.core.errors import NeuromodError
from neuromod.core.worker import Failure, Finished


@dataclass(frozen=True, eq=False, repr=False)
class CohortResult(Mapping[str, Any]):
    """The results of a cohort: a mapping in the order of the items.

    It holds those that are finished, by label; ``failed`` tells of the others.
    Results in a store are read when they are asked for.

    Parameters
    ----------
    finished
        Where the result of each finished item is.
    failed
        Why the others have none.
    n_reused
        How many results were in the store before.
    classes
        The user's own model classes by name, for reading results.
    """

    finished: Mapping[str, Finished]
    failed: Mapping[str, Failure]
    n_reused: int
    classes: Mapping[str, type]

    @property
    def paths(self) -> dict[str, Path]:
        """The file of each finished item; empty without a store."""
        return {k: f.path for k, f in self.finished.items() if f.path is not None}

    def require_all(self) -> "CohortResult":
        """Return itself if every item has a result.

        Raises
        ------
        NeuromodError
            If one failed; names all that did, with the traceback of the first.
        """
        if not self.failed:
            return self
        label, first = next(iter(self.failed.items()))
        raise NeuromodError(
            f"{len(self.failed)} item(s) failed: {', '.join(self.failed)}. Call "
            f"cohort.map again to run them alone. The first, {label!r}:\n"
            f"{first.traceback}"
        )

    def __getitem__(self, label: str) -> Any:
        if label in self.failed:
            raise KeyError(
                f"{label!r} has no result but .failed[{label!r}]: {self.failed[label]}"
            )
        value, path = self.finished[label]
        return value if path is None else store.read(path, self.classes)

    def __contains__(self, label: object) -> bool:
        return label in self.finished

    def __iter__(self) -> Iterator[str]:
        return iter(self.finished)

    def __len__(self) -> int:
        return len(self.finished)

    def __repr__(self) -> str:
        counts = (
            f"cohort: {len(self)} finished ({self.n_reused} of them found in the "
            f"store), {len(self.failed)} failed"
        )
        return "\n".join([counts, *(f"  {k}: {f}" for k, f in self.failed.items())])
