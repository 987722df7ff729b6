"""MATLAB files of version 5 to 7.3, the two families of the format made alike.

The variables of a file are a mapping from their names to arrays, texts, lists
(cells), dicts (structs) and lists of dicts (arrays of structs). A variable is read
when it is asked for: the spikes of a session are not held up by its local field
potential.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuromod.io.hdf5 import is_hdf5
from neuromod.io.mat5 import Mat5
from neuromod.io.mat73 import Mat73


def read_mat(path: Path) -> Mapping[str, Any]:
    """Return the variables of a MATLAB file by name."""
    return Mat73(path) if is_hdf5(path) else Mat5(path)
