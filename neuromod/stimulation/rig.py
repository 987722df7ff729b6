"""What stands on the table: anything that stimulates once and tells what came of it.

A `Rig` sends a stimulus under the id of its ask and returns the response;
`neuromod.stimulation.drive` runs a session with one. `ReplayRig` answers with stored
single trials.
"""

import os
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from neuromod.core.dimensions import require_integer
from neuromod.core.errors import (
    DataFormatError,
    NeuromodError,
    ShapeError,
    choice,
    invalid,
)
from neuromod.stimulation.limits import Stimulus


class NoResponseError(NeuromodError):
    """A stimulus was sent, or may have been, and nothing usable came back."""


class RigLostError(NeuromodError):
    """The rig does not answer any more."""


@runtime_checkable
class Rig(Protocol):
    """Hardware, or what stands for it."""

    def stimulate(
        self, stimulus: Stimulus, point: Mapping[str, Any], pulse_id: str
    ) -> Mapping[str, float]:
        """Send a stimulus once, and return the response by the names of outputs.

        Raises
        ------
        NoResponseError
            If nothing usable came back.
        RigLostError
            If the rig is gone.
        """
        ...

    def heartbeat(self) -> bool:
        """Return whether the rig is there and well."""
        ...

    def impedance(self) -> Mapping[str, float]:
        """Return the impedance of each electrode (ohm); empty if it cannot tell."""
        ...

    def stop(self) -> None:
        """Stop whatever is being sent, at once."""
        ...


class ReplayRig:
    """A rig that answers with single trials that were recorded.

    Parameters
    ----------
    responses : (electrode, output, trial)
        The trials; NaN is none.
    electrodes
        Labels of the electrodes.
    outputs
        Names of the outputs.
    seed
        Of which trial comes.
    """

    def __init__(
        self,
        responses: np.ndarray,
        electrodes: list[str],
        outputs: list[str],
        *,
        seed: int,
    ) -> None:
        responses = np.asarray(responses, float)
        if responses.shape[:2] != (len(electrodes), len(outputs)):
            expected = f"({len(electrodes)}, {len(outputs)}, trials)"
            got = f"shape {responses.shape}"
            raise invalid("responses", got, expected, kind=ShapeError)
        self.responses, self.outputs = responses, list(outputs)
        self._rows = {str(label): k for k, label in enumerate(electrodes)}
        self._rng = np.random.default_rng(require_integer(seed, "seed", minimum=0))
        self.sent: list[str] = []

    @classmethod
    def of(
        cls, path: str | os.PathLike[str], outputs: Sequence[str], *, seed: int
    ) -> "ReplayRig":
        """Return a rig that replays a file.

        Parameters
        ----------
        path
            An .npz file with ``resp`` (electrode, output, trial) and, if outputs are
            to be found by name, ``muscles``. Electrodes are called 1, 2, ...
        outputs
            Names of the outputs.
        seed
            Of which trial comes.

        Raises
        ------
        DataFormatError
            If it is no such file.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                responses = np.asarray(stored["resp"], float)
                names = [str(n) for n in stored.get("muscles", outputs)]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise DataFormatError(
                f"{os.fspath(path)!r} holds no responses to replay: {error}"
            ) from error
        columns = [names.index(choice("outputs", name, names)) for name in outputs]
        labels = [str(k + 1) for k in range(len(responses))]
        return cls(responses[:, columns], labels, list(outputs), seed=seed)

    def stimulate(
        self, stimulus: Stimulus, point: Mapping[str, Any], pulse_id: str
    ) -> dict[str, float]:
        """Return one of the trials of the electrode, drawn at random."""
        if pulse_id in self.sent:
            raise RigLostError(f"{pulse_id} was sent before: a pulse is sent once")
        self.sent.append(pulse_id)
        (electrode,) = stimulus.electrodes
        trials = self.responses[self._rows[electrode]]
        valid = np.flatnonzero(np.isfinite(trials).all(axis=0))
        if not valid.size:
            raise NoResponseError(f"no valid trial of electrode {electrode}")
        drawn = trials[:, self._rng.choice(valid)]
        return dict(zip(self.outputs, drawn.tolist(), strict=True))

    def heartbeat(self) -> bool:
        """Return that it is there."""
        return True

    def impedance(self) -> dict[str, float]:
        """Return nothing: recordings have none."""
        return {}

    def stop(self) -> None:
        """Do nothing: nothing is sent."""
