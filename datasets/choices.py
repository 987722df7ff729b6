r"""Choices of an animal, trial by trial: a recording, and its simulated twin.

What an animal answers depends on what it senses and on what it has just done, and how
much on each depends on the strategy that it is in. The twin is a GLM-HMM of the form
of Ashwood et al.: in the state $z_t$, trial $t$ is answered by "right" with the odds

$$
\log \frac{p(y_t = 1)}{p(y_t = 0)} = \beta_{z_t} + v_{z_t}^{\top} u_t
$$

where $u_t$ holds the stimulus (positive on the right), the previous choice ($\pm 1$)
and win-stay lose-switch: the previous choice if it was rewarded, else the other one.
With two options that is the side which was right in the previous trial. Nothing comes
before the first trial of a session, and both are 0 there.

Ashwood et al. (2022), Mice alternate between discrete strategies during perceptual
decision-making, Nature Neuroscience 25, doi:10.1038/s41593-021-01007-z.
"""

import numpy as np
import xarray as xr
from scipy.special import expit

from neuromod.core import dimensions
from neuromod.core.errors import invalid
from neuromod.datasets import registry, store
from neuromod.datasets.registry import Entry, attributes
from neuromod.datasets.switching import require_probability, sticky_matrix
from neuromod.io.files import malformed
from neuromod.io.npy import Archive

# Label of an input, and the array of the file that holds it in its first column.
RECORDED = {
    "s1": "s1",
    "s2": "s2",
    "previous_choice": "prev_choice",
    "previous_correct_side": "prev_correct_side",
    "previous_reward": "prev_reward",
}
SIMULATED = ("stimulus", "previous_choice", "win_stay_lose_switch")
# Bias, and weights of SIMULATED.
STRATEGIES = {
    "engaged": (0.0, 4.0, 0.0, 0.0),
    "biased left": (-2.0, 1.0, 0.3, 0.3),
    "biased right": (2.0, 1.0, 0.3, 0.3),
    "perseverating": (0.0, 0.5, 2.0, 0.0),
    "win-stay lose-switch": (0.0, 0.5, 0.0, 2.0),
}
INDIVIDUAL = 0.2
CONTRASTS = (0.0, 0.0625, 0.125, 0.25, 1.0)
CITATION = (
    "Ashwood et al. (2022) Mice alternate between discrete strategies during "
    "perceptual decision-making. Nature Neuroscience 25, 201-212."
)


def load_choices(name: str, *, download: bool = True) -> xr.DataTree:
    """Load a recording of choices, downloading it if it is not here.

    Parameters
    ----------
    name
        A set of `list` with choices, such as "rat_delayed_comparison".
    download
        Whether the network may be used.

    Returns
    -------
    xarray.DataTree
        ``recording`` holds ``choices`` (time, neuron), 1 for right and 0 for left in a
        single entry along ``neuron``; ``inputs`` (time, input), what each choice may
        depend on; and ``correct_side`` (time). Time counts the trials of a ``session``.
        Choices and inputs are what `neuromod.switching.fit` takes. Title, source,
        licence, citation and known faults (``quality``) are in ``attrs``.

    Raises
    ------
    DatasetUnavailableError
        If it is not on this machine and cannot be downloaded.
    ChecksumError
        If the file is not the one that was published or first downloaded.
    DataFormatError
        If the file does not hold what it should.
    InvalidInputError
        If there is no such set.
    """
    entry = registry.describe(name)
    arrays = _arrays(entry, download)
    inputs = [arrays[column][:, 0] for column in RECORDED.values()]
    recording = _recording(
        arrays["choice"],
        np.stack(inputs, axis=1).astype(float),
        arrays["correct_side"],
        arrays["session_length"],
        list(RECORDED),
    )
    tree = xr.DataTree.from_dict({"recording": recording})
    tree.attrs = attributes(entry)
    return tree


def _arrays(entry: Entry, download: bool) -> dict[str, np.ndarray]:
    """Read the arrays of the file, or raise if they do not fit together."""
    path = store.obtain(entry, download=download)
    archive = Archive(path)
    columns = list(RECORDED.values())
    names = ["choice", "correct_side", "session_length", *columns]
    missing = [name for name in names if name not in archive]
    if missing:
        raise malformed(path, f"no arrays {missing}", f"the arrays {names}")
    arrays = {name: archive[name] for name in names}
    n_trials = int(arrays["session_length"].sum())
    shapes = {"choice": (n_trials,), "correct_side": (n_trials,)}
    shapes |= {name: (n_trials, 2) for name in columns}
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            got = f"{name!r} of shape {arrays[name].shape}"
            raise malformed(path, got, f"shape {shape} as its session_length says")
    return arrays


def simulate_choices(
    *,
    seed: int,
    n_states: int = 3,
    n_sessions: int = 40,
    n_trials: int = 250,
    stay_probability: float = 0.98,
) -> xr.DataTree:
    """Simulate an animal that switches between strategies.

    Parameters
    ----------
    seed
        Seed of the animal's weights, the strategies, the stimuli and the choices.
    n_states
        Number of strategies, at most 5: "engaged" in the stimulus, "biased left",
        "biased right", "perseverating" and "win-stay lose-switch", in this order.
    n_sessions, n_trials
        Number of sessions, and of trials in each.

    Other Parameters
    ----------------
    stay_probability
        Probability of keeping a strategy from one trial to the next; the others are
        equally likely to follow, and to be first.

    Returns
    -------
    xarray.DataTree
        ``recording`` as from `load_choices`. ``truth`` holds ``state_sequence`` (time)
        and the parameters in the form of a fit's (``bias``, ``input_weight``,
        ``transition_matrix``, ``initial``); ``strategy`` names the states.

    Raises
    ------
    InvalidInputError
        If a number is out of its range.

    Examples
    --------
    >>> data = simulate_choices(seed=0, n_sessions=2, n_trials=50)
    >>> dict(data["recording"]["inputs"].sizes)
    {'time': 100, 'input': 3}
    """
    n_states = dimensions.require_integer(n_states, "n_states")
    if n_states > len(STRATEGIES):
        raise invalid("n_states", n_states, f"at most {len(STRATEGIES)} strategies")
    n_sessions = dimensions.require_integer(n_sessions, "n_sessions")
    n_trials = dimensions.require_integer(n_trials, "n_trials")
    seed = dimensions.require_integer(seed, "seed", minimum=0)
    stay = require_probability(stay_probability, "stay_probability")
    generator = np.random.default_rng(seed)
    weights = np.array(list(STRATEGIES.values()))[:n_states]
    weights = weights + generator.normal(0, INDIVIDUAL, size=weights.shape)
    matrix = sticky_matrix(n_states, stay)
    shape = (n_sessions, n_trials)
    states = _draw_strategies(matrix, shape, generator)
    stimulus, side = _draw_stimuli(shape, generator)
    choices, inputs = _answer(weights[states], stimulus, side, generator)
    recording = _recording(
        choices.ravel(),
        inputs.reshape(-1, len(SIMULATED)),
        side.ravel(),
        np.full(n_sessions, n_trials),
        list(SIMULATED),
    )
    truth = _truth(weights, matrix, states, recording)
    tree = xr.DataTree.from_dict({"recording": recording, "truth": truth})
    tree.attrs = {
        "title": f"Simulated choices: {n_states} strategies, {n_sessions} sessions",
        "source": f"neuromod.datasets.simulate_choices(seed={seed}, ...)",
        "licence": "none needed: simulated",
        "citation": CITATION,
    }
    return tree


def _draw_strategies(
    transition_matrix: np.ndarray,
    shape: tuple[int, int],
    generator: np.random.Generator,
) -> np.ndarray:
    """Draw the Markov chains (session, trial)."""
    n_states = len(transition_matrix)
    states = generator.integers(n_states, size=shape)
    below = np.cumsum(transition_matrix, axis=1)[:, :-1]
    uniform = generator.random(shape)
    for t in range(1, shape[1]):
        states[:, t] = (uniform[:, t, None] >= below[states[:, t - 1]]).sum(axis=1)
    return states


def _draw_stimuli(
    shape: tuple[int, int], generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw signed contrasts of unit variance, and the side that is rewarded."""
    side = generator.integers(2, size=shape)
    levels = np.array(CONTRASTS) / np.sqrt(np.mean(np.square(CONTRASTS)))
    return (2 * side - 1) * generator.choice(levels, size=shape), side


def _answer(
    weights: np.ndarray,
    stimulus: np.ndarray,
    side: np.ndarray,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Answer trial by trial, since every choice is an input of the next."""
    choices = np.zeros(stimulus.shape, dtype=int)
    inputs = np.zeros((*stimulus.shape, len(SIMULATED)))
    inputs[..., 0] = stimulus
    inputs[:, 1:, 2] = 2 * side[:, :-1] - 1
    uniform = generator.random(stimulus.shape)
    for t in range(stimulus.shape[1]):
        if t:
            inputs[:, t, 1] = 2 * choices[:, t - 1] - 1
        eta = weights[:, t, 0] + (weights[:, t, 1:] * inputs[:, t]).sum(axis=-1)
        choices[:, t] = uniform[:, t] < expit(eta)
    return choices, inputs


def _truth(
    weights: np.ndarray,
    transition_matrix: np.ndarray,
    states: np.ndarray,
    recording: xr.Dataset,
) -> xr.Dataset:
    """Name the axes of the parameters as a fit does, and add the strategies."""
    # Inside, so that listing the data sets does not have to load jax.
    from neuromod.switching.model import SwitchingGLM
    from neuromod.switching.results import parameters

    n_states = len(weights)
    model = SwitchingGLM(
        initial=np.full(n_states, 1 / n_states),
        transition_matrix=transition_matrix,
        bias=weights[:, :1],
        weight=np.zeros((n_states, 1, 1, 0)),
        basis=np.zeros((0, 0)),
        input_weight=weights[:, None, 1:],
        observation="bernoulli",
    )
    choice_labels, input_labels = recording["neuron"].values, recording["input"].values
    truth = parameters(model, choice_labels, 1.0, input_labels).assign_coords(
        strategy=("state", list(STRATEGIES)[:n_states]),
        time=recording["time"],
        session=recording["session"],
    )
    truth["state_sequence"] = ("time", states.ravel(), {"long_name": "hidden state"})
    return truth


def _recording(
    choices: np.ndarray,
    inputs: np.ndarray,
    correct_side: np.ndarray,
    session_lengths: np.ndarray,
    labels: list[str],
) -> xr.Dataset:
    """Put names on trials that follow one another, session after session."""
    trial = np.concatenate([np.arange(length) for length in session_lengths])
    labelled = [str(session) for session in range(len(session_lengths))]
    sides = {"units": "1", "long_name": "1 for right, 0 for left"}
    told = {"units": "1", "long_name": "what the choice may depend on"}
    counted = {"units": "trial", "long_name": "trial of the session"}
    return xr.Dataset(
        {
            "choices": (("time", "neuron"), choices[:, None].astype(int), sides),
            "inputs": (("time", "input"), inputs, told),
            "correct_side": ("time", correct_side.astype(int), sides),
        },
        coords={
            "time": ("time", trial.astype(float), counted),
            "session": ("time", np.repeat(labelled, session_lengths)),
            "neuron": ["right"],
            "input": labels,
        },
    )
