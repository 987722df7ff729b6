"""The networks of the literature, by one call each."""

from typing import Any

from neuromod.hgf.network import Network
from neuromod.hgf.nodes import (
    BinaryInput,
    ContinuousInput,
    ContinuousState,
    observation,
    probability,
    volatility,
)


def binary_two_level(tonic_volatility: Any = -4.0, **settings: Any) -> Network:
    """Return a binary outcome whose log-odds drift with constant volatility.

    Parameters
    ----------
    tonic_volatility
        Log of the variance that the log-odds ``x2`` gain per trial.
    **settings
        Scheme, clip and so on of the `Network`.

    Examples
    --------
    >>> binary_two_level().names
    ('outcome', 'x2')
    """
    return Network(
        [
            BinaryInput("outcome"),
            ContinuousState("x2", tonic_volatility=tonic_volatility),
        ],
        [probability("x2", "outcome")],
        **settings,
    )


def binary_three_level(
    tonic_volatility: tuple[Any, Any] = (-4.0, -6.0),
    volatility_coupling: Any = 1.0,
    **settings: Any,
) -> Network:
    """Return a binary outcome whose log-odds drift with changing volatility.

    Parameters
    ----------
    tonic_volatility
        Of the log-odds ``x2`` and of their log-volatility ``x3``.
    volatility_coupling
        How strongly ``x3`` acts on the volatility of ``x2``.
    **settings
        Scheme, clip and so on of the `Network`.

    Examples
    --------
    >>> binary_three_level().states
    ('x2', 'x3')
    """
    second, third = tonic_volatility
    return Network(
        [
            BinaryInput("outcome"),
            ContinuousState("x2", tonic_volatility=second),
            ContinuousState("x3", tonic_volatility=third),
        ],
        [probability("x2", "outcome"), volatility("x3", "x2", volatility_coupling)],
        **settings,
    )


def continuous_two_level(
    tonic_volatility: tuple[Any, Any] = (-4.0, -4.0),
    input_precision: Any = 1e4,
    mean: Any = 0.0,
    volatility_coupling: Any = 1.0,
    **settings: Any,
) -> Network:
    """Return a continuous series whose volatility changes.

    Parameters
    ----------
    tonic_volatility
        Of the value ``x1`` and of its log-volatility ``x2``.
    input_precision
        Precision of an observation.
    mean
        Of ``x1`` before the first trial; near the first observation.
    volatility_coupling
        How strongly ``x2`` acts on the volatility of ``x1``.
    **settings
        Scheme and so on of the `Network`.

    Examples
    --------
    >>> continuous_two_level().names
    ('value', 'x1', 'x2')
    """
    first, second = tonic_volatility
    return Network(
        [
            ContinuousInput("value", precision=input_precision),
            ContinuousState("x1", mean=mean, tonic_volatility=first),
            ContinuousState("x2", tonic_volatility=second),
        ],
        [observation("x1", "value"), volatility("x2", "x1", volatility_coupling)],
        **settings,
    )


def continuous_three_level(
    tonic_volatility: tuple[Any, Any, Any] = (-4.0, -4.0, -4.0),
    input_precision: Any = 1e4,
    mean: Any = 0.0,
    volatility_coupling: tuple[Any, Any] = (1.0, 1.0),
    **settings: Any,
) -> Network:
    """Return a continuous series whose volatility changes at a changing rate.

    Parameters
    ----------
    tonic_volatility
        Of ``x1``, ``x2`` and ``x3``.
    input_precision
        Precision of an observation.
    mean
        Of ``x1`` before the first trial; near the first observation.
    volatility_coupling
        How strongly ``x2`` acts on ``x1``, and ``x3`` on ``x2``.
    **settings
        Scheme and so on of the `Network`.

    Examples
    --------
    >>> continuous_three_level().states
    ('x1', 'x2', 'x3')
    """
    first, second, third = tonic_volatility
    lower, upper = volatility_coupling
    return Network(
        [
            ContinuousInput("value", precision=input_precision),
            ContinuousState("x1", mean=mean, tonic_volatility=first),
            ContinuousState("x2", tonic_volatility=second),
            ContinuousState("x3", tonic_volatility=third),
        ],
        [
            observation("x1", "value"),
            volatility("x2", "x1", lower),
            volatility("x3", "x2", upper),
        ],
        **settings,
    )
