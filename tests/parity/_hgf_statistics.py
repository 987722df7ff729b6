"""Check the categorical filter and the exponential family against stored numbers.

``tests/parity/hgf.py`` tells the kind of a file and calls `check_categorical` or
`check_exponential`; float64 has to be enabled.
"""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from neuromod.hgf import categories as filters
from neuromod.hgf import exponential_family as family
from neuromod.hgf import inference
from neuromod.hgf.nodes import ContinuousState
from tests.parity._format import Case, Fixture, Report

TIGHT = 1e-8
UPDATES = {"standard": "standard", "eHGF": "ehgf", "unbounded": "unbounded"}


def is_categorical(fixture: Fixture) -> bool:
    """Tell whether the arrays are those of a categorical filter."""
    return "alpha" in fixture and "state_mean" in fixture


def is_exponential(fixture: Fixture) -> bool:
    """Tell whether the arrays are those of an exponential-family filter."""
    return "xis" in fixture and "nus" in fixture


def _settings(meta: dict) -> dict[str, Any]:
    return {
        "update": UPDATES[meta["volatility_updates"]],
        "approximation": "mean_field" if meta["mean_field_updates"] else "relaxed",
        "largest_precision": meta.get("max_posterior_precision", 1e10),
        "clip": meta.get("precision_clipping", 1e-6),
        "compatibility": "pyhgf",
    }


def _seen(fixture: Fixture, n_steps: int) -> np.ndarray:
    if "observed" not in fixture:
        return np.ones(n_steps, bool)
    table = fixture["observed"].reshape(n_steps, -1)
    return np.asarray(table.astype(bool).all(axis=1))


def _intervals(fixture: Fixture) -> Any:
    if "time_steps" not in fixture:
        return None
    return jnp.asarray(fixture["time_steps"].astype(float))


def _compare(
    case: Case, key: str, got: Any, want: np.ndarray, tolerance: float = TIGHT
) -> None:
    """Compare where both are numbers; NaN and infinities have to be the same."""
    got = np.asarray(got)
    if got.shape != want.shape:
        return case.fail(f"{key} has shape {got.shape}, not {want.shape}")
    missing = np.isnan(want)
    if not np.array_equal(np.isnan(got), missing):
        return case.fail(f"{key}: NaN at other places")
    case.compare(key, got[~missing], want[~missing], tolerance)


def check_categorical(fixture: Fixture, report: Report) -> None:
    """Compare every array of a categorical filter."""
    with report.case(fixture.name, "categorical") as case:
        meta = json.loads(str(fixture["meta"]))
        table = fixture["input"].astype(float)
        seen = _seen(fixture, len(table))
        network = filters.categorical(
            meta.get("n_categories", table.shape[1]),
            tonic_volatility=meta["omega2"],
            volatility_parent=ContinuousState(
                "volatility", tonic_volatility=meta["omega3"]
            ),
            **_settings(meta),
        )
        known = None if seen.all() else jnp.asarray(seen)
        series = filters.outcomes(jnp.asarray(table), known, _intervals(fixture))
        found = jax.jit(inference.run)(network, series)
        got = jax.jit(filters.dirichlet)(network, series, found)
        for key, mine in _beliefs(network, found).items():
            _compare(case, key, mine, fixture[key])
        _compare_dirichlet(case, fixture, meta, seen, got)


def _beliefs(network: Any, found: inference.Trajectories) -> dict[str, Any]:
    """Return the beliefs under the names of the arrays; each (time, node)."""
    *states, above = network.states

    def columns(table, names, quantity):
        return np.stack([getattr(table[n], quantity) for n in names], axis=1)

    beliefs, predictions = found.beliefs, found.predictions
    result = {
        "binary_expected_mean": columns(predictions, network.inputs, "mean"),
    }
    for kind, names in (("state", states), ("vol", [above])):
        for quantity in ("mean", "precision"):
            result[f"{kind}_{quantity}"] = columns(beliefs, names, quantity)
            result[f"{kind}_expected_{quantity}"] = columns(
                predictions, names, quantity
            )
    return result


def _compare_dirichlet(case, fixture, meta, seen, got) -> None:
    """Compare; masked trials have no concentration, nor the next one a divergence."""
    follows = seen & np.concatenate([[True], seen[:-1]])
    _compare(case, "alpha", got.concentration[seen], fixture["alpha"][seen])
    kl = fixture["kl_divergence"]
    _compare(case, "kl_divergence", got.divergence[follows], kl[follows])
    _compare(case, "surprise", got.surprise, fixture["surprise"])
    _compare(case, "category_mean", got.probability, fixture["category_mean"])
    for name, mine in (("sum_kl", got.divergence), ("sum_surprise", got.surprise)):
        total = meta.get(name)
        if total is not None and np.isfinite(total) and seen.all():
            case.compare(name, mine.sum(), np.asarray(total), TIGHT)


def check_exponential(fixture: Fixture, report: Report) -> None:
    """Compare every array of an exponential-family filter."""
    with report.case(fixture.name, "exponential family") as case:
        meta = json.loads(str(fixture["meta"]))
        data = fixture["input"].astype(float)
        n_steps = len(data)
        seen = _seen(fixture, n_steps)
        dimension = None
        if meta["distribution"] == "multivariate-normal":
            dimension = meta.get("dimension", data.reshape(n_steps, -1).shape[1])
        shape = (n_steps,) if dimension is None else (n_steps, dimension)
        x = jnp.asarray(data.reshape(shape))
        learner = _learner(meta, dimension)
        known = None if seen.all() else jnp.asarray(seen)
        got = jax.jit(family.learn)(learner, x, known, _intervals(fixture))
        given = family.statistics(x, dimension)
        _compare(case, "observation_ss", given, fixture["observation_ss"])
        _compare(case, "xis", got.statistics, fixture["xis"])
        _compare_counts(case, seen, np.asarray(got.nu), fixture["nus"])
        if got.trajectories is not None:
            _compare_nodes(case, fixture, learner.network, given, got.trajectories)


def _compare_counts(case: Case, seen: np.ndarray, got: Any, want: np.ndarray) -> None:
    """Compare; where nothing came the ratio is 0 / 0 or infinite, and not scored."""
    if got.shape != want.shape:
        return case.fail(f"nus has shape {got.shape}, not {want.shape}")
    scored = seen | np.isfinite(want) | np.isfinite(got)
    _compare(case, "nus", got[scored], want[scored])


def _learner(meta: dict, dimension: int | None) -> family.NormalLearner:
    learning, network = meta["learning"], None
    if learning == "generalised-filtering":
        learning = "fixed"
    else:
        network = family.small_filter(int(learning[-1]), **_settings(meta))
    first = meta.get("init_xis")
    first = first if isinstance(first, list) else None
    return family.NormalLearner(dimension, learning, meta["nus0"], first, network)


def _compare_nodes(case, fixture, network, given, found) -> None:
    """Compare the nodes, which the edges place: one chain for each statistic."""
    places = _places(fixture["edges"], network.states)
    below = network.inputs[0]
    quantities = {
        "node_mean": lambda name: found.beliefs[name].mean,
        "node_precision": lambda name: found.beliefs[name].precision,
        "node_expected_mean": lambda name: found.predictions[name].mean,
        "node_expected_precision": lambda name: found.predictions[name].precision,
    }
    # The node of a statistic holds what was observed, and its precision stays.
    fixed = {
        "node_mean": given,
        "node_precision": jnp.full_like(given, float(network[below].precision)),
    }
    for key, read in quantities.items():
        if key not in fixture:
            continue
        want = fixture[key]
        if want.shape[1] != len(places):
            case.fail(f"{key} has {want.shape[1]} columns, not {len(places)}")
            continue
        for node, (name, statistic) in places.items():
            own = key in fixed and name is None
            mine = fixed[key] if own else read(below if name is None else name)
            _compare(case, f"{key} {node}", mine[:, statistic], want[:, node - 1])


def _places(
    edges: np.ndarray, states: tuple[str, ...]
) -> dict[int, tuple[str | None, int]]:
    """Return for each node its state, None for the statistic itself, and the column."""
    found: dict[int, tuple[str | None, int]] = {}
    n_statistics = 0
    for node, child, volatility_child in edges.tolist():
        if child == 0:
            found[node] = (None, n_statistics)
            n_statistics += 1
        elif child > 0:
            found[node] = (states[0], found[child][1])
        elif volatility_child > 0:
            name, statistic = found[volatility_child]
            found[node] = (states[states.index(name) + 1], statistic)
    return found
