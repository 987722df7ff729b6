r"""Whether outputs are the code of some position at all.

The decoder maps any garbage to somewhere in the arena, so that decoded positions alone
do not show reactivation. An output $y$ of all cells is compared with the ideal code
$f(x)$ over candidate positions $x$:

$$
\text{cosine} = \max_x \frac{y \cdot f(x)}{\|y\|\,\|f(x)\|}, \qquad
\text{amplitude} = \frac{\|y\|}{\|f(x^*)\|}, \qquad
\text{residual} = \frac{\|y - f(x^*)\|}{\|f(x^*)\|},
$$

$x^*$ being the position of the best cosine. The cosine does not see how strong the
code is, the amplitude sees nothing else, and the residual is the distance to the code
itself: $\text{residual}^2 = 1 + a^2 - 2 a c$ of amplitude $a$ and cosine $c$. A silent
output has cosine 0, amplitude 0 and residual 1.
"""

from typing import Any, NamedTuple

import numpy as np

from neuromod.core.dimensions import require_finite, require_real
from neuromod.core.errors import ShapeError, invalid

CHUNK = 2**22


class ManifoldFit(NamedTuple):
    """How near outputs are to the code of a position; each (...), one per output.

    Parameters
    ----------
    cosine
        Best cosine with the code of a candidate.
    residual
        Distance to that code, relative to its norm.
    amplitude
        Norm relative to that code's.
    position : (..., space)
        The candidate.
    """

    cosine: np.ndarray
    residual: np.ndarray
    amplitude: np.ndarray
    position: np.ndarray


def manifold_fit(outputs: Any, code: Any, candidates: Any) -> ManifoldFit:
    """Compare outputs with the ideal code over candidate positions.

    Outputs are taken in chunks: memory holds one table of 2^22 numbers beside them.

    Parameters
    ----------
    outputs : (..., cell)
        What the network puts out.
    code
        The code: ``code.activation(position (..., space)) -> (..., cell)``.
    candidates : (point, space)
        Positions to compare with, as `grid` gives; finer than the code is wide.

    Raises
    ------
    ShapeError
        If the code has another number of cells.
    InvalidInputError
        If numbers are missing, or the code is silent at a candidate.
    """
    outputs, candidates = np.asarray(outputs), np.asarray(candidates)
    for array, argument in ((outputs, "outputs"), (candidates, "candidates")):
        require_real(array.dtype, argument)
        if array.ndim < 1 + (argument == "candidates") or 0 in array.shape:
            raise invalid(argument, f"shape {array.shape}", "rows", kind=ShapeError)
        require_finite(array, argument)
    ideal = np.asarray(code.activation(candidates), dtype=float)
    if ideal.shape != (len(candidates), outputs.shape[-1]):
        raise invalid(
            "outputs",
            f"{outputs.shape[-1]} cells",
            f"the {ideal.shape[-1]} cells of the code",
            kind=ShapeError,
        )
    norms = np.linalg.norm(ideal, axis=1)
    if not (norms > 0).all():
        silent = candidates[np.argmin(norms)].tolist()
        raise invalid("candidates", f"{silent}, where the code is silent", "a code")
    rows = outputs.reshape(-1, outputs.shape[-1])
    size = max(1, CHUNK // len(candidates))
    parts = [
        _of_chunk(rows[i : i + size], ideal, norms) for i in range(0, len(rows), size)
    ]
    cosine, residual, amplitude, best = (
        np.concatenate(part).reshape(outputs.shape[:-1])
        for part in zip(*parts, strict=True)
    )
    return ManifoldFit(cosine, residual, amplitude, candidates[best])


def _of_chunk(
    rows: np.ndarray, ideal: np.ndarray, norms: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rows = rows.astype(float)
    overlap = rows @ (ideal / norms[:, None]).T
    best = overlap.argmax(axis=1)
    size, norm = np.linalg.norm(rows, axis=1), norms[best]
    cosine = overlap.max(axis=1) / np.where(size > 0, size, 1.0)
    residual = np.linalg.norm(rows - ideal[best], axis=1) / norm
    return cosine, residual, size / norm, best
