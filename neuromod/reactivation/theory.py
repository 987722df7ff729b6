"""What a trained network has learned, held against theory, and where it comes to rest.

The measures themselves, and what theory expects of each, are in
`neuromod.reactivation.score_check` and `neuromod.reactivation.measures.fixed_points`;
here they are asked of a network that was trained, on new trials of its own task.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from neuromod.core.dimensions import require_integer
from neuromod.core.errors import invalid
from neuromod.core.result import Result
from neuromod.reactivation import measures, noise
from neuromod.reactivation.inference import Noise
from neuromod.reactivation.motion import wrap
from neuromod.reactivation.navigator import Navigator, navigators_of
from neuromod.reactivation.score_check import score_check, split_test
from neuromod.reactivation.telling import by_seed
from neuromod.reactivation.wake import wake

# Mean and variance of a number of each law.
MOMENTS = {"gaussian": (0.0, 1.0), "uniform01": (0.5, 1 / 12)}
# Steps between samples of one trial, which are alike.
EVERY = 5
KERNEL_COMPONENTS = 3
TAILS = (0.025, 0.975)
LONG_NAMES = {
    "score_slope": "slope of the quiescent drift on the score",
    "expected_slope": "variance of the noise of one step",
    "score_r_squared": "share of the quiescent drift that the score explains",
    "kernel_slope": "slope on the score of a kernel density",
    "kernel_r_squared": "share explained by the score of a kernel density",
    "signal_slope": "slope of the response to input on what theory wants",
    "signal_r_squared": "share of the response that theory explains",
    "output_slope": "slope of the read-out response on the change of the code",
    "output_r_squared": "share of the read-out response explained",
    "linearity": "how linear the response to input is",
    "cosine": "cosine of drift and response (root mean square)",
    "chance_cosine": "the same of samples that do not belong together",
    "denoising": "share of the last noise that the drift takes away",
    "noise_in_signal": "share of the last noise in the response",
}


def check_theory(
    network: Navigator | Result, *, seed: int, n_trials: int = 200
) -> xr.Dataset:
    """Test what theory says a network learns when it keeps on track against noise.

    That sleep looks like waking is weak evidence: so does that of networks which stand
    still where they were put. Here both terms of the step are tested themselves, the
    drift without input against the score of the waking states, and the response to
    input against the change of the code; see `neuromod.reactivation.score_check`.

    Parameters
    ----------
    network
        What `train` returned, or a `Navigator`.
    seed
        Of the trials and their noise.

    Other Parameters
    ----------------
    n_trials
        Trials awake: half of them make the density, the drift is looked at in the
        other half.

    Returns
    -------
    Dataset
        ``score_slope`` with ``expected_slope`` beside it, and ``score_r_squared``: of
        the ellipsoid of waking states, in all components along which they vary.
        ``kernel_slope`` and ``kernel_r_squared``: of a kernel density in three
        components. Intervals (quantile) as ``score_slope_interval`` and so on. All
        numbers of `neuromod.reactivation.score_check.SplitTest`. With ``seed``, if the
        network was trained with several.

    Raises
    ------
    InvalidInputError
        If the noise is inside the activation function: the theory is of noise that is
        added to the state.
    """
    seed = require_integer(seed, "seed", minimum=0)
    n_trials = require_integer(n_trials, "n_trials", minimum=4)
    parts = {
        label: _checked(one, seed, n_trials)
        for label, one in navigators_of(network).items()
    }
    return by_seed(parts)


class _Samples(NamedTuple):
    """Steps awake: before each, state and position; in it, input; what came before."""

    states: Any
    inputs: Any
    noise: Any
    code_changes: Any
    drift: Any


def _checked(navigator: Navigator, seed: int, n_trials: int) -> xr.Dataset:
    network = navigator.network
    if network.noise_inside:
        raise invalid(
            "network",
            "noise inside the activation function",
            "noise that is added to the state",
        )
    key, skip = jax.random.key(seed), navigator.task.stationary_after
    samples = jax.tree.map(np.asarray, _sampled(navigator, key, n_trials, skip))
    half = n_trials // 2
    awake, states, drift = (
        samples.states[:half], samples.states[half:], samples.drift[half:]
    )  # fmt: skip
    whole = score_check(
        awake, states, drift, seed=seed, n_components=None, density="gaussian"
    )
    kernels = score_check(
        awake, states, drift, seed=seed,
        n_components=min(KERNEL_COMPONENTS, network.n_units),
    )  # fmt: skip
    split = split_test(
        jax.tree_util.Partial(_drift, network),
        samples.states,
        samples.inputs,
        readout=network.read_out(jnp.eye(network.n_units)).T,
        code_changes=samples.code_changes,
        noise=samples.noise,
        seed=seed,
    )
    _, variance = MOMENTS[network.noise_law]
    found: dict[str, Any] = {
        "score_slope": whole.slope,
        "expected_slope": float(network.recurrent_noise) ** 2 * variance,
        "score_r_squared": whole.r_squared,
        "kernel_slope": kernels.slope,
        "kernel_r_squared": kernels.r_squared,
        **split._asdict(),
    }
    intervals = {
        "score_slope": whole.slope_interval,
        "score_r_squared": whole.r_squared_interval,
        "kernel_slope": kernels.slope_interval,
        "kernel_r_squared": kernels.r_squared_interval,
    }
    dataset = xr.Dataset(
        {k: ((), v, {"long_name": LONG_NAMES[k]}) for k, v in found.items()}
    )
    told = {f"{k}_interval": ("quantile", v) for k, v in intervals.items()}
    return dataset.assign(told).assign_coords(quantile=list(TAILS))


def _drift(network: Any, state: Any, inputs: Any) -> Any:
    """Return what one step adds without recurrent noise but its mean."""
    mean, _ = MOMENTS[network.noise_law]
    leak = jnp.asarray(network.leak, state.dtype)
    push = jnp.asarray(mean * network.recurrent_noise, state.dtype)
    return leak * network.drive(state, inputs, None) + push


@partial(jax.jit, static_argnums=(2, 3))
def _sampled(navigator: Navigator, key: Any, n_trials: int, skip: int) -> _Samples:
    network, task = navigator.network, navigator.task
    keys = jax.random.split(key)
    batch = task.draw(keys[0], n_trials, skip=skip)
    shape = (batch.inputs.shape[1], n_trials, network.n_units)
    drawn = noise.draw(keys[1], shape, network.noise_law, batch.inputs.dtype)
    states = navigator.awake(batch, Noise(recurrent=drawn)).states.swapaxes(0, 1)
    mean, _ = MOMENTS[network.noise_law]
    scale = jnp.asarray(network.recurrent_noise, states.dtype)
    before = slice(None, -1, EVERY), slice(1, None, EVERY)
    at, then = (batch.positions[:, part] for part in before)
    change = wrap(then - at) if task.code.periodic else then - at
    _, code_changes = jax.jvp(task.code.activation, (at,), (change,))
    states = states[:, before[0]]
    return _Samples(
        states,
        batch.inputs[:, before[1]],
        scale * (drawn.swapaxes(0, 1)[:, before[0]] - mean),
        code_changes,
        _drift(network, states, None),
    )


def fixed_points(
    network: Navigator | Result,
    *,
    seed: int,
    n_restarts: int = 100,
    relative: bool | None = None,
    max_iterations: int = 200,
) -> xr.Dataset:
    """Find where a network comes to rest, or nearly, without input and noise.

    Parameters
    ----------
    network
        What `train` returned (one seed), or a `Navigator`.
    seed
        Of the waking states to start from.

    Other Parameters
    ----------------
    n_restarts
        Number of waking states to start from.
    relative
        Whether to look where the *relative* speed is least; if omitted, in networks of
        rectified units without biases, whose only fixed point is silence.
    max_iterations
        Most steps of a descent.

    Returns
    -------
    Dataset
        By point, the slowest first: ``state`` (unit), ``position`` (space) that it is
        decoded as, ``speed``, ``fixed``, ``stable``, ``n_reached`` and
        ``multiplier``, the largest factor by which a deviation grows or shrinks in
        a step.

    Warns
    -----
    ConvergenceWarning
        If a descent was still under way after its most steps.

    Examples
    --------
    >>> from neuromod.reactivation import untrained
    >>> network = untrained("head_direction_small", 0, n_units=5, bias=True)
    >>> found = fixed_points(network, seed=0, n_restarts=5)
    >>> found["stable"].values
    array([ True])
    """
    (navigator,) = navigators_of(network).values()
    model = navigator.network
    if relative is None:
        relative = model.activation == "relu" and all(
            layer.bias is None for layer in model.layers().values()
        )
    n_restarts = require_integer(n_restarts, "n_restarts")
    awake = wake(navigator, seed=seed, n_trials=n_restarts, states=True)
    found = measures.fixed_points(
        jax.tree_util.Partial(_silent, model),
        awake["state"].isel(time=-1).values,
        relative=relative,
        max_iterations=max_iterations,
    )
    states = jnp.asarray(found.states, jnp.result_type(float))
    place = np.asarray(navigator.task.code.decode(model.read_out(states)))
    unit = awake["position"].attrs
    return xr.Dataset(
        {
            "state": (("point", "unit"), found.states),
            "position": (("point", "space"), place, unit),
            "speed": ("point", found.speed),
            "fixed": ("point", found.fixed),
            "stable": ("point", found.stable),
            "n_reached": ("point", found.n_reached),
            "multiplier": ("point", np.abs(found.eigenvalues[:, 0])),
        },
        attrs={"relative": relative},
    )


def _silent(network: Any, state: Any) -> Any:
    return _drift(network, state, None)
