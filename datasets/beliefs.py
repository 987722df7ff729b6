r"""Outcomes and choices from which beliefs are read: simulated, and a recording.

The twin is a group of participants who predict a binary outcome. How probable outcome
1 is stands still for half of the trials and then reverses again and again (after
Behrens et al. 2007); all participants see the same outcomes. Each is a three-level HGF
whose choices follow the unit-square sigmoid of its prediction, with native parameters
around a group mean

$$
\omega_2 \sim \mathcal{N}(-3, 0.75^2), \qquad
\omega_3 \sim \mathcal{N}(-6, 0.5^2), \qquad
\log \zeta \sim \mathcal{N}(1, 0.5^2).
$$

Behrens, Woolrich, Walton & Rushworth (2007), Learning the value of information in an
uncertain world, Nature Neuroscience 10, doi:10.1038/nn1954. Iglesias et al. (2013),
Hierarchical prediction errors in midbrain and basal forebrain during sensory learning,
Neuron 80, doi:10.1016/j.neuron.2013.09.009.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from neuromod.core.dimensions import require_integer
from neuromod.core.errors import choice
from neuromod.datasets import registry
from neuromod.datasets.choices import load_choices
from neuromod.datasets.switching import require_probability

if TYPE_CHECKING:
    from neuromod.hgf import Agent

# Mean and standard deviation of the group, on the native scale of each parameter. From
# about 0 on, the tonic volatility of x2 lets beliefs run away.
GROUP = {
    "x2.tonic_volatility": (-3.0, 0.75),
    "x3.tonic_volatility": (-6.0, 0.5),
    "response.inverse_temperature": (1.0, 0.5),
}
CITATION = (
    "Behrens, Woolrich, Walton & Rushworth (2007) Learning the value of information "
    "in an uncertain world. Nature Neuroscience 10, 1214-1221."
)
# Of a set with choices: the label of its one participant.
SUBJECTS = {"rat_delayed_comparison": "W053"}


def load_beliefs(name: str, *, download: bool = True) -> xr.DataTree:
    """Load a recording of choices as outcomes that a participant could predict.

    Parameters
    ----------
    name
        "rat_delayed_comparison", where the outcome of a trial is the side that was
        rewarded. It is told by the sounds, so nothing has to be predicted; but rats
        go by their past too. Measured on sessions left out, the sounds alone are worth
        0.054 nats per trial over a biased coin, belief in the rat's own next choice
        (``outcome`` replaced by ``response``) another 0.013. Trials that the rat broke
        off are missing, with what it learnt in them.
    download
        Whether the network may be used.

    Returns
    -------
    xarray.DataTree
        ``recording`` has a child for each subject, a table over ``trial`` as
        `neuromod.hgf.fit` takes it: ``outcome``, ``response``, 1 for right and 0 for
        left, labels of the ``session``, and what else the choice may depend on (the
        sounds ``s1`` and ``s2``). Title, source, licence, citation and known faults
        (``quality``) are in ``attrs``.

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
    subject = SUBJECTS[choice("name", registry.describe(name).name, SUBJECTS)]
    loaded = load_choices(name, download=download)
    trials = loaded["recording"].to_dataset()
    sounds = {k: trials["inputs"].sel(input=k).values for k in ("s1", "s2")}
    table = _table(
        trials["correct_side"].values, trials["choices"].values[:, 0], trials["session"]
    )
    told = {"units": "1", "long_name": "sound level, standardised"}
    table = table.assign({k: ("trial", v, told) for k, v in sounds.items()})
    tree = xr.DataTree.from_dict({f"recording/{subject}": table})
    tree.attrs = loaded.attrs
    return tree


def simulate_beliefs(
    *,
    seed: int,
    n_subjects: int = 20,
    n_trials: int = 320,
    stable_probability: float = 0.75,
    volatile_probability: float = 0.8,
    reversal_interval: int = 30,
) -> xr.DataTree:
    """Simulate participants who learn in a stable and then in a volatile world.

    Parameters
    ----------
    seed
        Seed of the outcomes, the participants and their choices.
    n_subjects, n_trials
        Number of participants, and of trials of each.

    Other Parameters
    ----------------
    stable_probability
        Probability of outcome 1 in the first half.
    volatile_probability
        Probability of the likelier outcome in the second half: first of 0.
    reversal_interval
        Number of trials after which the likelier outcome changes there.

    Returns
    -------
    xarray.DataTree
        ``recording`` as from `load_beliefs`, in one session. ``truth`` holds the
        parameters (subject) under the names of `neuromod.hgf.fit`, those of the group
        on the native scale in ``group_mean`` and ``group_sd`` (parameter), the
        ``probability`` (trial) of outcome 1, and what was believed: ``expected_mean``,
        ``mean`` and ``precision`` (subject, trial, node).

    Raises
    ------
    InvalidInputError
        If a number is out of its range.

    Examples
    --------
    >>> data = simulate_beliefs(seed=0, n_subjects=2, n_trials=40)
    >>> list(data["recording"].children), dict(data["recording"]["0"].sizes)
    (['0', '1'], {'trial': 40})
    """
    # Inside, so that listing the data sets does not have to load jax.
    from neuromod import hgf

    n_subjects = require_integer(n_subjects, "n_subjects")
    n_trials = require_integer(n_trials, "n_trials")
    seed = require_integer(seed, "seed", minimum=0)
    generator = np.random.default_rng(seed)
    probability = _schedule(
        n_trials,
        require_probability(stable_probability, "stable_probability"),
        require_probability(volatile_probability, "volatile_probability"),
        require_integer(reversal_interval, "reversal_interval"),
    )
    outcome = (generator.random(n_trials) < probability).astype(int)
    mean, sd = np.array(list(GROUP.values())).T
    native = mean + sd * generator.standard_normal((n_subjects, len(GROUP)))
    seeds = generator.integers(2**31, size=n_subjects).tolist()
    agents = [_agent(row) for row in native]
    tables, beliefs = {}, []
    for subject, (agent, own) in enumerate(zip(agents, seeds, strict=True)):
        chosen = np.asarray(hgf.respond(agent, outcome, seed=own))
        tables[f"recording/{subject}"] = _table(outcome, chosen, np.zeros(n_trials))
        believed = hgf.filter(agent.network, outcome)
        beliefs.append(believed[["expected_mean", "mean", "precision"]])
    truth = xr.concat(beliefs, "subject", combine_attrs="drop").assign(
        {
            **{name: ("subject", row) for name, row in _natural(native).items()},
            "group_mean": ("parameter", mean),
            "group_sd": ("parameter", sd),
            "probability": ("trial", probability),
        }
    )
    labels = {"subject": list(map(str, range(n_subjects))), "parameter": list(GROUP)}
    tree = xr.DataTree.from_dict({**tables, "truth": truth.assign_coords(labels)})
    tree.attrs = {
        "title": f"Simulated beliefs: {n_subjects} participants, {n_trials} trials",
        "source": f"neuromod.datasets.simulate_beliefs(seed={seed}, ...)",
        "licence": "none needed: simulated",
        "citation": CITATION,
    }
    return tree


def _schedule(
    n_trials: int, stable: float, volatile: float, reversal_interval: int
) -> np.ndarray:
    """Return the probability of outcome 1: constant, then reversing (trial,)."""
    n_stable = n_trials // 2
    block = np.arange(n_trials - n_stable) // reversal_interval
    reversing = np.where(block % 2, volatile, 1 - volatile)
    return np.concatenate([np.full(n_stable, stable), reversing])


def _natural(native: np.ndarray) -> dict[str, np.ndarray]:
    """Return parameters (subject,) by name from (subject, parameter)."""
    found = dict(zip(GROUP, native.T, strict=True))
    temperature = "response.inverse_temperature"
    return {**found, temperature: np.exp(found[temperature])}


def _agent(native: np.ndarray) -> "Agent":
    from neuromod import hgf

    second, third, temperature = (float(v[0]) for v in _natural(native[None]).values())
    return hgf.Agent(
        hgf.binary_three_level((second, third)),
        hgf.responses.unit_square_sigmoid(temperature),
    )


def _table(outcome: np.ndarray, response: np.ndarray, session: Any) -> xr.Dataset:
    """Put names on trials that follow one another, session after session."""
    labels = np.asarray(session)
    labels = labels if labels.dtype.kind == "U" else labels.astype(int).astype(str)
    came = {"units": "1", "long_name": "what happened, 0 or 1"}
    did = {"units": "1", "long_name": "what was chosen, 0 or 1"}
    return xr.Dataset(
        {
            "outcome": ("trial", outcome.astype(float), came),
            "response": ("trial", response.astype(float), did),
        },
        {"trial": np.arange(len(outcome)), "session": ("trial", labels)},
    )
