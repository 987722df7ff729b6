"""A session's beginning as a text that is written once and kept with the data.

A protocol is a TOML file. What it leaves out is as `Session.open` has it; what it says
and nobody knows is refused, with the nearest name.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuromod.core.errors import DataFormatError, did_you_mean, invalid
from neuromod.stimulation.axes import Interval
from neuromod.stimulation.limits import Limits
from neuromod.stimulation.presets import preset
from neuromod.stimulation.rule import Rule
from neuromod.stimulation.settings import Aim, Safe
from neuromod.stimulation.space import Space

TEMPLATE = """\
# What a session begins with: neuromod stimulation init SESSION.db --protocol THIS.toml
seed = 0
n_planned = 32                     # trials; the search gets less curious towards them
outputs = ["flexor", "extensor"]   # what is measured in every trial
aim = "flexor"                     # what is to be large

[axes]                             # what is chosen; all combinations are candidates
electrode = ["1", "2", "3", "4", "5", "6", "7", "8"]
amplitude = [20.0, 40.0, 60.0]     # uA
# delay = { low = 0.0, high = 60.0 }   # any number between two

[positions]                        # of electrodes, in pitches
1 = [0, 0]
2 = [0, 1]
3 = [1, 0]
4 = [1, 1]
5 = [2, 0]
6 = [2, 1]
7 = [3, 0]
8 = [3, 1]

[fixed]                            # what is not chosen
pulse_width = 200.0                # us
frequency = 330.0                  # Hz
n_pulses = 13

[limits]                           # checked on every stimulus; inf is none
amplitude = 100.0                  # uA
charge_per_phase = 20.0            # nC
imbalance = 0.0                    # nC that a train may leave
frequency = 330.0                  # Hz
n_pulses = 20
interval = 0.5                     # s between two stimuli
per_hour = 2000
per_electrode_per_hour = 500
ramp = 20.0                        # uA above what an electrode has had before

# [safe]                           # what must not get large
# output = "extensor"
# at_most = 0.5
# probability = 0.95
# known = [{ electrode = "1", amplitude = 20.0 }]

# [rule]                           # how to search; or rule = "bonizzato_primate"
# length_scale = 1.8
"""
NAMES = (
    "seed",
    "n_planned",
    "outputs",
    "aim",
    "context",
    "axes",
    "positions",
    "fixed",
    "blocks",
    "limits",
    "safe",
    "rule",
)


def read_protocol(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what `Session.open` takes, but its path.

    Parameters
    ----------
    path
        A TOML file; `TEMPLATE` is one.

    Raises
    ------
    DataFormatError
        If it is no TOML.
    InvalidInputError
        If something in it is unknown, missing, or cannot be used.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "rat7.toml"
    >>> _ = path.write_text(TEMPLATE)
    >>> len(read_protocol(path)["space"])
    24
    """
    try:
        given = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataFormatError(f"{str(path)!r} is no protocol: {error}") from error
    _require_known(given, NAMES, "protocol")
    for name in ("seed", "axes", "limits"):
        if name not in given:
            raise invalid("protocol", f"no {name}", "seed, axes and limits")
    found: dict[str, Any] = {
        name: given[name]
        for name in ("seed", "n_planned", "outputs", "context")
        if name in given
    }
    found["space"] = Space(
        {name: _axis(axis) for name, axis in given["axes"].items()},
        given.get("positions"),
        fixed=given.get("fixed"),
        blocks=given.get("blocks"),
    )
    found["limits"] = _made(Limits, given["limits"], "limits")
    if "aim" in given:
        aim = given["aim"]
        found["aim"] = aim if isinstance(aim, str) else _made(Aim, aim, "aim")
    if "safe" in given:
        safe = _made(Safe, given["safe"], "safe")
        found["safe"] = safe._replace(known=tuple(safe.known))
    if "rule" in given:
        rule = given["rule"]
        found["rule"] = preset(rule) if isinstance(rule, str) else _rule(rule)
    return found


def _axis(given: Any) -> Any:
    return _made(Interval, given, "axes") if isinstance(given, Mapping) else given


def _rule(given: Mapping[str, Any]) -> Rule:
    _require_known(given, Rule._fields, "rule")
    changed = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    return Rule()._replace(**changed)


def _made(kind: Any, given: Mapping[str, Any], name: str) -> Any:
    known = getattr(kind, "_fields", None) or tuple(kind.__dataclass_fields__)
    _require_known(given, known, name)
    try:
        return kind(**given)
    except TypeError as error:
        missing = [k for k in known if k not in given]
        got = f"no {missing[0]}"
        raise invalid(name, got, f"all of {', '.join(known)}") from error


def _require_known(given: Mapping[str, Any], known: Any, name: str) -> None:
    for key in given:
        if key not in known:
            raise invalid(name, repr(key), f"{known}", did_you_mean(key, known))
