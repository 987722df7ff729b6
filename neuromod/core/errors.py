"""Every error that neuromod raises on purpose, and how its text is built.

An error names the argument, what came, what is expected and how to mend it.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class NeuromodError(Exception):
    """The base of all errors raised by neuromod."""


class InvalidInputError(NeuromodError, ValueError):
    """An argument has a value that the function cannot take."""


class ShapeError(InvalidInputError):
    """An array has the wrong dimensions or sizes."""


class NotFittedError(NeuromodError, ValueError, AttributeError):
    """Something that only a fit provides was asked of an unfitted model."""


class DivergedError(NeuromodError):
    """An optimisation reached values that are not finite."""


class ConvergenceWarning(UserWarning):
    """A fit stopped before it converged."""


class DataFormatError(NeuromodError):
    """A file is not what its format promises."""


class ChecksumError(DataFormatError):
    """The content of a file does not match its checksum."""


class DatasetUnavailableError(NeuromodError):
    """A data set is neither in the cache nor can it be fetched."""


class SessionError(NeuromodError):
    """A closed-loop session was used in a way that its journal forbids."""


def invalid(
    argument: str,
    got: object,
    expected: str,
    remedy: str = "",
    kind: type[InvalidInputError] = InvalidInputError,
) -> InvalidInputError:
    """Build the error for a bad argument.

    Examples
    --------
    >>> print(invalid("n_states", 0, "a whole number >= 1"))
    n_states: got 0, expected a whole number >= 1
    """
    text = f"{argument}: got {got}, expected {expected}"
    return kind(f"{text}. {remedy}" if remedy else text)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Name the nearest known name, or list all of them.

    Examples
    --------
    >>> did_you_mean("poison", ["poisson", "bernoulli"])
    "Did you mean 'poisson'?"
    """
    known = list(known)
    nearest = get_close_matches(str(name), known, n=1)
    if nearest:
        return f"Did you mean {nearest[0]!r}?"
    return "Known names: " + ", ".join(repr(k) for k in known) + "."


def choice(argument: str, got: object, known: Iterable[str]) -> str:
    """Return ``got`` if it is one of the known names, else raise."""
    known = list(known)
    if isinstance(got, str) and got in known:
        return got
    raise invalid(
        argument,
        repr(got),
        "one of " + ", ".join(repr(k) for k in known),
        did_you_mean(str(got), known),
    )
