"""The look of every figure: one matplotlib style, and colours that stay apart.

A plot function that makes its own figure draws in this style; on axes that the
user passes in, the user's own settings rule. Decorating the function with
`styled` does both, and `new_axes` gives it the axes to draw on:

    @styled
    def plot_rate(rate, *, ax=None):
        ax = new_axes(ax, (6.4, 2.4))
        ax.plot(rate["time"], rate)
        return ax

The colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), which
people with any kind of colour blindness can tell apart.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps
from importlib.resources import files
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from neuromod.core.dimensions import require_integer
from neuromod.core.errors import ShapeError, invalid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
R = TypeVar("R")

PALETTE = (
    "#0072B2",  # blue
    "#D55E00",  # vermilion
    "#009E73",  # bluish green
    "#CC79A7",  # reddish purple
    "#56B4E9",  # sky blue
    "#E69F00",  # orange
    "#444444",  # dark grey
)

DIVERGING = "RdBu_r"  # colour map of signed values: red above zero, blue below


@contextmanager
def context() -> Iterator[None]:
    """Draw in the library's style for the length of a ``with`` block.

    Examples
    --------
    >>> import matplotlib
    >>> with context():
    ...     matplotlib.rcParams["axes.spines.top"]
    False
    """
    import matplotlib.style

    path = files("neuromod.core") / "neuromod.mplstyle"
    with matplotlib.style.context(str(path)):
        yield
        # The first figure of a notebook makes it interactive. Were that undone with
        # the style, no later figure would appear.
        interactive = matplotlib.is_interactive()
    matplotlib.interactive(interactive)


def figure(
    n_rows: int = 1,
    n_columns: int = 1,
    size: tuple[float, float] | None = None,
    **kwargs: Any,
) -> "tuple[Figure, Any]":
    """Make a figure in the library's style.

    Parameters
    ----------
    n_rows, n_columns
        Number of axes.
    size
        Width and height in inches; the style's own size if omitted.
    **kwargs
        Passed to ``matplotlib.pyplot.subplots``.

    Returns
    -------
    Figure, Axes or array of Axes
        As from ``matplotlib.pyplot.subplots``.
    """
    import matplotlib.pyplot as plt

    with context():
        return plt.subplots(n_rows, n_columns, figsize=size, **kwargs)


def new_axes(ax: "Axes | None", figsize: tuple[float, float] | None = None) -> "Axes":
    """Return ``ax``, or the axes of a new figure if it is None.

    Parameters
    ----------
    ax
        The axes that a user passed to a plot function.
    figsize
        Width and height of a new figure in inches.
    """
    return figure(size=figsize)[1] if ax is None else ax


def styled(plot: Callable[P, R]) -> Callable[P, R]:
    """Let a plot function with a keyword ``ax`` draw its own figures in the style."""

    @wraps(plot)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        with context() if kwargs.get("ax") is None else nullcontext():
            return plot(*args, **kwargs)

    return drawn


def state_colours(n_states: int) -> list[str]:
    """Return one colour per state, the same for the same state in every figure.

    Parameters
    ----------
    n_states
        Number of states. Up to seven get the named colours of `PALETTE`; more are
        spread over viridis, where the order is told by lightness.

    Returns
    -------
    list of str
        Hexadecimal colours.

    Raises
    ------
    InvalidInputError
        If ``n_states`` is no whole number >= 1.

    Examples
    --------
    >>> state_colours(2)
    ['#0072B2', '#D55E00']
    """
    n_states = require_integer(n_states, "n_states")
    if n_states <= len(PALETTE):
        return list(PALETTE[:n_states])
    import matplotlib
    from matplotlib.colors import to_hex

    viridis = matplotlib.colormaps["viridis"]
    # The last tenth is too pale on white paper.
    return [to_hex(viridis(0.9 * i / (n_states - 1))) for i in range(n_states)]


def styled_panels(plot: Callable[..., Any]) -> Callable[..., Any]:
    """Do what `styled` does, for a plot of several panels with a keyword ``axes``."""

    @wraps(plot)
    def drawn(*args: Any, axes: Any = None, **kwargs: Any) -> Any:
        with context() if axes is None else nullcontext():
            return plot(*args, axes=axes, **kwargs)

    return drawn


def panels(
    axes: Any,
    n_panels: int,
    size: tuple[float, float],
    n_columns: int = 1,
    **kwargs: Any,
) -> np.ndarray:
    """Return the user's axes, or those of a new figure: (panel,).

    Parameters
    ----------
    axes
        What the user passed: None, axes, or a sequence of them.
    n_panels
        How many are needed.
    size
        Width and height of one panel in inches.
    n_columns
        Panels side by side in a new figure.
    **kwargs
        Passed to ``matplotlib.pyplot.subplots``.

    Raises
    ------
    ShapeError
        If there are not as many axes as panels.
    """
    if axes is not None:
        axes = np.atleast_1d(np.asarray(axes, object)).ravel()
        if len(axes) != n_panels:
            expected = f"{n_panels}, one per panel"
            raise invalid("axes", f"{len(axes)} axes", expected, kind=ShapeError)
        return axes
    n_columns = min(n_columns, n_panels)
    n_rows = -(-n_panels // n_columns)
    whole = (size[0] * n_columns, size[1] * n_rows)
    _, grid = figure(n_rows, n_columns, whole, squeeze=False, **kwargs)
    for spare in grid.ravel()[n_panels:]:
        spare.remove()
    return grid.ravel()[:n_panels]
