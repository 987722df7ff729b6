r"""A rig that is no hardware: electrodes over simulated cortex, muscles that answer.

Under each electrode lies a cortical column (`neuromod.plants.JansenRit`), at rest until
it is stimulated. A pulse of amplitude $A$ and width $w$ excites a column at a distance
$d$ like a current

$$
I = \frac{A}{1 + c / w} \cdot \frac{1}{1 + (d / \lambda)^2} ,
$$

(Weiss's law of strength and duration with a chronaxie $c$, and a current that spreads
over $\lambda$) for a millisecond. The columns integrate the pulses of a train, excite
their neighbours, and saturate. What their pyramidal cells fire above rest reaches each
muscle through weights that make a map with hot spots (`simulate_world`); the muscle's
electromyogram is a carrier of 150 Hz as large as that, a few milliseconds later,
in noise. From the trace comes the response, by `neuromod.stimulation.emg.response`, as
it would from a recorded one.

Trials vary: the electromyogram is multiplied by a gamma variable of mean 1, so that the
deviation of a response grows with its mean.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from neuromod.core.dimensions import require_integer, require_non_negative
from neuromod.core.errors import did_you_mean, invalid
from neuromod.core.precision import precision_context
from neuromod.plants import JansenRit, State, solve
from neuromod.stimulation import emg
from neuromod.stimulation.limits import Stimulus
from neuromod.stimulation.maps import simulate_world
from neuromod.stimulation.rig import NoResponseError, RigLostError
from neuromod.stimulation.space import Space

CHRONAXIE, SPREAD, VOLLEY = 250.0, 0.6, 1e-3  # us, pitches, s
BEFORE, AFTER = 0.1, 0.2  # s of a trace, around the beginning of a stimulus
STEP, RATE, CARRIER = 5e-4, 2000.0, 150.0  # s, Hz, Hz
CONDUCTION = 0.012  # s, from the cortex to the muscle
EMG_GAIN, EMG_NOISE = 0.2, 0.005  # mV per 1/s of weighted rate, mV
IMPEDANCES = (30e3, 120e3)  # ohm


class SimulatedRig:
    """Electrodes over simulated cortex.

    Parameters
    ----------
    positions
        Where each electrode lies, by its label (pitches).
    outputs
        Names of muscles.
    seed
        Of the map and of what varies from trial to trial.

    Other Parameters
    ----------------
    variation
        Coefficient of variation of responses.
    failure
        Probability that nothing usable comes back.
    drift
        Deviation of the step that the logarithm of all responses takes from each trial
        to the next.

    Raises
    ------
    InvalidInputError
        If an argument has no such value.

    Examples
    --------
    >>> positions = {str(k): divmod(k, 4) for k in range(16)}
    >>> rig = SimulatedRig(positions, ["flexor"], seed=0)
    >>> train = Stimulus(("5",), 80.0, 200.0, 300.0, n_pulses=12)
    >>> list(rig.stimulate(train, {"electrode": "5"}, "rat7-00001"))
    ['flexor']
    """

    def __init__(
        self,
        positions: Mapping[str, Sequence[float]],
        outputs: Sequence[str] = ("response",),
        *,
        seed: int,
        variation: float = 0.3,
        failure: float = 0.0,
        drift: float = 0.0,
    ) -> None:
        self.electrodes, self.outputs = tuple(map(str, positions)), tuple(outputs)
        self._at = np.array([list(p) for p in positions.values()], float)
        self._rng = np.random.default_rng(require_integer(seed, "seed", minimum=0))
        self._variation = require_non_negative(variation, "variation")
        self._failure = require_non_negative(failure, "failure")
        if self._failure > 1:
            raise invalid("failure", failure, "a probability")
        self._drift = require_non_negative(drift, "drift")
        self._excitability = 0.0
        self._cortex = _cortex(self._at)
        maps = [
            simulate_world(self._at, seed=int(self._rng.integers(2**31)), floor=(0, 0))
            for _ in self.outputs
        ]
        self._weights = EMG_GAIN * np.array([world.mean for world in maps])
        self._impedance = self._rng.uniform(*IMPEDANCES, len(self.electrodes))
        self.sent: list[str] = []

    def stimulate(
        self, stimulus: Stimulus, point: Mapping[str, Any], pulse_id: str
    ) -> dict[str, float]:
        """Return what the muscles answer."""
        if pulse_id in self.sent:
            raise RigLostError(f"{pulse_id} was sent before: a pulse is sent once")
        self.sent.append(pulse_id)
        self._excitability += self._drift * self._rng.normal()
        clean = self._clean([stimulus])[0] * np.exp(self._excitability)
        size = self._size()
        noise = EMG_NOISE * self._rng.normal(size=clean.shape)
        if self._rng.uniform() < self._failure:
            raise NoResponseError("an artefact, simulated")
        told = _response(size[:, None] * clean + noise)
        return dict(zip(self.outputs, told.tolist(), strict=True))

    def true_map(self, space: Space) -> xr.DataArray:
        """Return the responses to all candidates without noise, before any drift.

        Parameters
        ----------
        space
            Without intervals; its electrodes are some of the rig's.

        Returns
        -------
        DataArray
            (candidate, output), with the values of the axes along candidate.
        """
        if not space.is_finite:
            raise invalid("space", "an axis that is an Interval", "axes of values")
        points = [space[k] for k in range(len(space))]
        clean = self._clean([space.stimulus(point) for point in points])
        along = {n: ("candidate", [p[n] for p in points]) for n in space.axes}
        return xr.DataArray(
            _response(clean),
            {"output": list(self.outputs)} | along,
            ("candidate", "output"),
            attrs={"units": "mV", "long_name": "true response"},
        )

    def heartbeat(self) -> bool:
        """Return that it is there."""
        return True

    def impedance(self) -> dict[str, float]:
        """Return the impedance of each electrode (ohm)."""
        return dict(zip(self.electrodes, self._impedance.tolist(), strict=True))

    def stop(self) -> None:
        """Do nothing: a simulated stimulus is over when its response is there."""

    def _size(self) -> np.ndarray:
        """Draw how large a trial is (output,), 1 on average."""
        if not self._variation:
            return np.ones(len(self.outputs))
        variance = self._variation**2
        return self._rng.gamma(1 / variance, variance, len(self.outputs))

    def _clean(self, stimuli: Sequence[Stimulus]) -> np.ndarray:
        """Return electromyograms without noise (stimulus, output, time)."""
        reach = np.array([self._reach(stimulus) for stimulus in stimuli])
        trains = np.array([_train(stimulus) for stimulus in stimuli])
        with precision_context("float32"):
            given = jnp.asarray(reach, jnp.float32), jnp.asarray(trains, jnp.float32)
            fired = np.asarray(_fired(self._cortex, *given))
        drive = self._weights @ np.moveaxis(np.maximum(fired, 0.0), -1, 1)
        time = np.arange(round((BEFORE + AFTER) * RATE)) / RATE - BEFORE
        later = round((BEFORE + CONDUCTION) * RATE)
        traces = np.zeros((*drive.shape[:2], len(time)))
        traces[..., later:] = drive[..., : len(time) - later]
        return traces * np.sin(2 * np.pi * CARRIER * time)

    def _reach(self, stimulus: Stimulus) -> np.ndarray:
        """Return the current (uA) with which a pulse excites each column."""
        found = np.zeros(len(self.electrodes))
        for electrode in stimulus.electrodes:
            if electrode not in self.electrodes:
                remedy = did_you_mean(electrode, self.electrodes)
                expected = "an electrode of the rig"
                raise invalid("electrodes", repr(electrode), expected, remedy)
            here = self._at[self.electrodes.index(electrode)]
            found += 1 / (1 + ((self._at - here) ** 2).sum(axis=1) / SPREAD**2)
        share = stimulus.pulse_width / (stimulus.pulse_width + CHRONAXIE)
        return abs(stimulus.amplitude) * share * found


def _cortex(at: np.ndarray) -> tuple[JansenRit, State, Array]:
    """Return columns at rest, which excite their neighbours, and how they fire."""
    between = ((at[:, None] - at[None]) ** 2).sum(axis=-1)
    connectivity = 6.0 * np.exp(-between / 2) * (between > 0)
    with precision_context("float32"):
        columns = JansenRit(connectivity, input_rate=50.0, stimulation_gain=15.0)
        times = jnp.linspace(0.0, 1.0, round(1 / STEP) + 1)
        settled = solve(columns, columns.silence(), times)
        rest = jax.tree.map(lambda x: x[-1], settled)
        return columns, rest, columns.firing_rate(rest)


def _train(stimulus: Stimulus) -> np.ndarray:
    """Return how much of each step, on average, there is a volley."""
    n_steps = round(AFTER / STEP)
    found = np.zeros(n_steps + 2)
    times = np.arange(stimulus.n_pulses) / max(stimulus.frequency, 1e-9)
    at = times[times < AFTER - STEP] / STEP
    step, share = np.floor(at).astype(int), at % 1
    np.add.at(found, step, 1 - share)  # a pulse between two samples is in both
    np.add.at(found, step + 1, share)
    return found[: n_steps + 1] * VOLLEY / STEP


@eqx.filter_jit
def _fired(
    cortex: tuple[JansenRit, State, Array],
    reach: Float[Array, "stimulus region"],
    trains: Float[Array, "stimulus time"],
) -> Float[Array, "stimulus time region"]:
    """Return how columns fire above their rest, after each stimulus."""
    columns, rest, still = cortex
    times = jnp.arange(trains.shape[1], dtype=trains.dtype) * STEP

    def one(given: tuple[Array, Array]) -> Array:
        current = diffrax.LinearInterpolation(times, given[1][:, None] * given[0][None])
        states = solve(columns, rest, times, stimulation=current)
        return columns.firing_rate(states) - still[None]

    return jax.lax.map(one, (reach, trains), batch_size=16)


def _response(traces: np.ndarray) -> np.ndarray:
    """Return the responses in traces (..., time)."""
    return emg.response(traces, RATE, BEFORE, (0.0, AFTER - 0.05))
