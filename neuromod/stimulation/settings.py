"""What a session begins with: said once, kept in its journal, never changed."""

import math
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np

from neuromod.core.dimensions import require_finite, require_integer
from neuromod.core.errors import SessionError, ShapeError, choice, invalid
from neuromod.stimulation.limits import Limits
from neuromod.stimulation.rule import Rule
from neuromod.stimulation.space import Space, of_axis

TO_BEGIN = "space, limits and seed to begin a session"


class Aim(NamedTuple):
    """What is to be large.

    On a logarithmic scale a penalty of 1 makes a ratio of outputs, which a site that
    does almost nothing can win; a smaller one keeps the target large.

    Parameters
    ----------
    target
        Name of the output.
    against
        Outputs that are to stay small.
    penalty
        What the largest of these counts for, relative to the best expected of each.
    """

    target: str
    against: tuple[str, ...] = ()
    penalty: float = 1.0


class Safe(NamedTuple):
    """What must not get large.

    A candidate is allowed only if the response that it would give is, by what is
    believed, with this probability at most as large as is safe.

    Parameters
    ----------
    output
        Name of the output.
    at_most
        The largest response that is safe.
    probability
        With which each response is to be safe.
    known
        Points that are known to be safe: a session begins with these.
    """

    output: str
    at_most: float
    probability: float
    known: tuple[dict[str, Any], ...]


class Known(NamedTuple):
    """A trial of another session that is learned from.

    Parameters
    ----------
    level
        The whole, or the name of a part.
    point
        Values of its axes, in their order; the axes may have other names.
    response
        By the names of the outputs.
    """

    level: str
    point: dict[str, Any]
    response: dict[str, float]


class Settings(NamedTuple):
    """All of it.

    Parameters
    ----------
    space, limits, seed
        What could be stimulated, what may be, and the seed of all draws.
    outputs
        Names of what is measured in every trial.
    n_planned
        Trials that are planned.
    rule
        How to search.
    aim
        What is to be large.
    safe
        What must not get large.
    context
        Names of numbers that tell the context of a trial.
    earlier : (candidate,)
        What earlier animals make expect of the whole.
    known
        Trials of other sessions to begin with.
    """

    space: Space
    limits: Limits
    seed: int
    outputs: tuple[str, ...]
    n_planned: int
    rule: Rule
    aim: Aim
    safe: Safe | None
    context: tuple[str, ...]
    earlier: np.ndarray | None
    known: tuple[Known, ...]

    def describe(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "space": self.space.describe(),
            "limits": _plain(self.limits),
            "seed": self.seed,
            "outputs": list(self.outputs),
            "n_planned": self.n_planned,
            "rule": self.rule._asdict(),
            "aim": self.aim._asdict(),
            "safe": None if self.safe is None else self.safe._asdict(),
            "context": list(self.context),
            "earlier": self.earlier,
            "known": [trial._asdict() for trial in self.known],
        }


def settings(
    space: Space | None,
    limits: Limits | None,
    *,
    seed: int | None,
    outputs: Sequence[str],
    n_planned: int,
    rule: Rule,
    aim: Aim | str | None,
    safe: Safe | None,
    context: Sequence[str],
    earlier: Any,
    known: Sequence[Known],
) -> Settings:
    """Return what a session begins with, checked."""
    given = {"space": space, "limits": limits, "seed": seed}
    missing = [name for name, value in given.items() if value is None]
    if space is None or limits is None or missing:
        raise invalid(missing[0], "none", TO_BEGIN)
    if not outputs or len(set(outputs)) < len(outputs):
        raise invalid("outputs", f"{list(outputs)}", "names, all unlike")
    names = tuple(str(name) for name in outputs)
    if isinstance(aim, str):
        aim = Aim(aim)
    return Settings(
        space,
        limits,
        require_integer(seed, "seed", minimum=0),
        names,
        require_integer(n_planned, "n_planned"),
        rule,
        require_aim(aim or Aim(names[0]), names),
        _require_safe(safe, names, space),
        tuple(str(name) for name in context),
        _require_map(earlier, space),
        tuple(_require_known(trial, names, space) for trial in known),
    )


def from_description(given: Mapping[str, Any]) -> Settings:
    """Return the settings that `Settings.describe` told."""
    aim, safe = dict(given["aim"]), None
    aim["against"] = tuple(aim["against"])
    if given["safe"] is not None:
        safe = Safe(**given["safe"])
        safe = safe._replace(known=tuple(safe.known))
    return Settings(
        Space.from_description(given["space"]),
        Limits(**given["limits"]),
        given["seed"],
        tuple(given["outputs"]),
        given["n_planned"],
        Rule(**given["rule"]),
        Aim(**aim),
        safe,
        tuple(given["context"]),
        given["earlier"],
        tuple(Known(**trial) for trial in given["known"]),
    )


def versions() -> dict[str, str]:
    """Return the versions that a decision depends on."""
    names = ("neuromod", "jax", "jaxlib", "numpy", "scipy")
    return {"python": platform.python_version()} | {n: version(n) for n in names}


def require_aim(aim: Aim, outputs: Sequence[str]) -> Aim:
    """Return an aim whose outputs there are."""
    choice("aim", aim.target, outputs)
    for name in aim.against:
        choice("against", name, outputs)
    if aim.target in aim.against:
        raise invalid("against", repr(aim.target), "outputs other than the target")
    if not 0 <= aim.penalty < np.inf:
        raise invalid("penalty", f"{aim.penalty:g}", "zero or more")
    return aim._replace(against=tuple(aim.against))


def require_context(
    context: Mapping[str, float] | None, names: Sequence[str]
) -> list[float]:
    """Return the numbers of a context in the order of their names."""
    given = dict(context or {})
    if set(given) != set(names):
        raise invalid("context", f"{sorted(given)}", f"a number for {list(names)}")
    return [_finite("context", name, given[name]) for name in names]


def require_response(
    response: float | Mapping[str, float], outputs: Sequence[str]
) -> dict[str, float]:
    """Return a response, a number or one for each output, by the names of outputs."""
    expected = f"a number for each of {list(outputs)}"
    if not isinstance(response, Mapping):
        if len(outputs) > 1:
            raise invalid("response", repr(response), expected)
        response = dict.fromkeys(outputs, response)
    if set(response) != set(outputs):
        raise invalid("response", f"{sorted(response)}", expected)
    return {name: _finite("response", name, response[name]) for name in outputs}


def _finite(argument: str, name: str, value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        remedy = "Reject the trial if nothing was measured."
        raise invalid(argument, f"{name} {number}", "a finite number", remedy)
    return number


def _require_safe(
    safe: Safe | None, outputs: Sequence[str], space: Space
) -> Safe | None:
    if safe is None:
        return None
    choice("safe.output", safe.output, outputs)
    if not 0.5 <= safe.probability < 1:
        raise invalid(
            "safe.probability", f"{safe.probability:g}", "from 0.5 to below 1"
        )
    if not safe.known:
        expected = "at least one point that is known to be safe"
        raise invalid("safe.known", "none", expected)
    for point in safe.known:
        space.find(point)
    return safe._replace(known=tuple(dict(point) for point in safe.known))


def _require_map(earlier: Any, space: Space) -> np.ndarray | None:
    if earlier is None:
        return None
    found = np.asarray(earlier, float)
    if not space.is_finite or found.shape != (len(space),):
        got = f"shape {found.shape}"
        expected = f"({len(space)},): a number for each candidate of a finite space"
        raise invalid("earlier", got, expected, kind=ShapeError)
    require_finite(found, "earlier")
    return found


def _require_known(trial: Known, outputs: Sequence[str], space: Space) -> Known:
    """Return a trial by the names of the axes of the space."""
    names = [block.name for block in space.block.walk()]
    block = list(space.block.walk())[names.index(choice("known", trial.level, names))]
    axes = dict.fromkeys(of_axis(space.dimensions[j]) for j in block.dimensions)
    if len(axes) != len(trial.point):
        got = f"{list(trial.point)} for {trial.level}"
        raise invalid("known", got, f"values for {list(axes)}", kind=ShapeError)
    point = dict(zip(axes, trial.point.values(), strict=True))
    return Known(trial.level, point, require_response(trial.response, outputs))


def _plain(limits: Limits) -> dict[str, Any]:
    return {
        name: dict(value) if isinstance(value, Mapping) else value
        for name, value in vars(limits).items()
    }


def require_same(stored: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise if a session was begun with something else."""
    for name, value in given.items():
        if not _same(stored[name], value):
            raise SessionError(
                f"the session was begun with another {name}: open it by its path "
                "alone, or begin another one"
            )


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return set(one) == set(other) and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        arrays: Any = one, other
        return one is not None and other is not None and np.array_equal(*arrays)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
