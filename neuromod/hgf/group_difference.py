"""How large a study must be to find that two groups differ in a parameter.

Participants of both groups are simulated and fitted, as in `neuromod.hgf.recovery`, and
studies of every size put together from them.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import xarray as xr

from neuromod.core.dimensions import require_integer, require_positive
from neuromod.core.errors import choice, invalid
from neuromod.core.precision import Precision
from neuromod.hgf.agent import Agent
from neuromod.hgf.parameters import Priors, space
from neuromod.hgf.participants import Given, Participants, gather
from neuromod.hgf.responses.response import Response
from neuromod.hgf.virtual_participants import (
    draw_parameters,
    outcomes_only,
    refit,
    simulate_responses,
)

SIGNIFICANT = 0.05


def power(
    network: Any,
    data: Any,
    *,
    response: Response,
    parameter: str,
    difference: float,
    n_per_group: Sequence[int],
    seed: int,
    between_subject_sd: float | None = None,
    priors: Priors | None = None,
    n_trials: Sequence[int] | None = None,
    n_simulated: int = 200,
    n_studies: int = 2000,
    n_restarts: int = 4,
    precision: Precision = "float64",
) -> xr.Dataset:
    """Tell how likely a study of two groups finds a difference in a parameter.

    Participants of both groups are simulated on the design and fitted one by one;
    studies of every size are put together from them, and each is tested by Welch's t
    test of the estimates, two-sided, at 5 %.

    Parameters
    ----------
    network, data, response, seed
        As `prior_predictive` takes them.
    parameter
        Name of the free parameter that differs.
    difference
        By how much the groups' means differ, on the native scale.
    n_per_group
        Numbers of participants to try.

    Other Parameters
    ----------------
    between_subject_sd
        Spread of the parameter within a group, on the native scale; half of the
        prior's if omitted. The other parameters spread as their prior does.
    priors, precision
        As `prior_predictive` takes them.
    n_trials
        Lengths of the design to try: its first trials; all if omitted.
    n_simulated
        Number of participants that are simulated for each group and length.
    n_studies
        Number of studies for each size.
    n_restarts
        Number of starting points of each fit.

    Returns
    -------
    Dataset
        ``power`` (n_trials, n_per_group), and by n_trials the ``correlation`` of
        estimates and truth within groups.

    Raises
    ------
    InvalidInputError
        If the parameter is not free, or a study would be larger than what is
        simulated.
    """
    agent = Agent(network, response)
    free = space(agent, priors)
    place = free.names.index(choice("parameter", parameter, free.names))
    sizes = [require_integer(n, "n_per_group", minimum=2) for n in n_per_group]
    if max(sizes) > n_simulated:
        raise invalid(
            "n_simulated", f"{n_simulated}", f"at least {max(sizes)}, the largest group"
        )
    sd = free.sd[place] / 2
    if between_subject_sd is not None:
        sd = require_positive(between_subject_sd, "between_subject_sd")
    random = np.random.default_rng([seed, 2])
    native = draw_parameters(free, 2 * n_simulated, random)
    group = np.repeat([-0.5, 0.5], n_simulated)
    noise = random.standard_normal(2 * n_simulated)
    native[:, place] = free.mean[place] + sd * noise + difference * group
    whole = gather(outcomes_only(agent), Given(data))
    lengths = [min(whole.lengths)] if n_trials is None else list(n_trials)
    table, correlation = [], []
    for length in lengths:
        simulated, _ = simulate_responses(
            agent, free, _cut(whole, length), native, [seed, length], precision
        )
        found = refit(agent, free, simulated, seed, n_restarts, precision)
        estimate = found["native"][:, place].reshape(2, n_simulated)
        table.append([_found(estimate, n, n_studies, random) for n in sizes])
        truth = native[:, place].reshape(2, n_simulated)
        pairs = zip(truth, estimate, strict=True)
        correlation.append(np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs]))
    return xr.Dataset(
        {
            "power": (("n_trials", "n_per_group"), np.array(table)),
            "correlation": ("n_trials", np.array(correlation)),
        },
        {"n_trials": lengths, "n_per_group": sizes},
        {"parameter": parameter, "difference": float(difference), "sd": float(sd)},
    )


def _found(estimate: np.ndarray, n: int, n_studies: int, random: Any) -> float:
    """Return the share of studies of 2 n participants with a significant test."""
    from scipy.stats import ttest_ind

    picks = random.integers(estimate.shape[1], size=(2, n_studies, n))
    one, other = (values[pick] for values, pick in zip(estimate, picks, strict=True))
    _, p_value = ttest_ind(one, other, axis=1, equal_var=False)
    return float(np.mean(np.asarray(p_value) < SIGNIFICANT))


def _cut(participants: Participants, length: int) -> Participants:
    shortest = min(participants.lengths)
    if not 0 < length <= shortest:
        raise invalid("n_trials", f"{length}", f"1 to {shortest}, the design's trials")

    def first(values):
        return values[:length]

    return participants._replace(
        behaviours=tuple(jax.tree.map(first, one) for one in participants.behaviours),
        trials=tuple(one.first(length) for one in participants.trials),
    )
