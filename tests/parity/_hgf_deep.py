"""Deep networks against stored numbers: every layer's trajectories, and the weights."""

import functools
import json
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from neuromod.hgf import deep, deep_learning
from neuromod.hgf.schemes import UPDATES
from tests.parity._format import Case, Fixture, Report

TOLERANCE = 1e-8
FIELDS = {
    "mean": "mean",
    "precision": "precision",
    "expected_mean": "expected_mean",
    "expected_precision": "expected_precision",
    "conditional_expected_precision": "conditional_precision",
    "effective_precision": "effective_precision",
    "value_prediction_error": "error",
}
OUTPUTS = {"volatile": "continuous", "binary": "binary", "categorical": "categorical"}
COUPLINGS = {"identity": "linear"}
# What the program adds to the log-volatilities where it is asked for a tonic one.
TONIC_VOLATILITY = -4.0


def check(fixture: Fixture, report: Report) -> None:
    """Check a file that holds ``W_init_1``."""
    with jax.enable_x64(True):
        with report.case(fixture.name, "deep") as case:
            meta = json.loads(str(fixture["meta"]))
            network = _network(fixture, meta)
            inputs, outputs = (jnp.asarray(fixture[k], float) for k in ("x", "y"))
            run = functools.partial(deep_learning.run, kind=meta["learning_kind"])
            found = jax.jit(run)(network, inputs, outputs, float(meta["lr"]))
            _compare_layers(case, fixture, found)
            _compare_weights(case, fixture, found)
            _compare_predictions(case, fixture, network, found, inputs)


def _network(fixture: Fixture, meta: dict) -> deep.DeepNetwork:
    """Build the network that a file describes."""
    options = dict(meta.get("net", {}))
    kinds = meta.get("kinds", ["volatile"] * len(meta["sizes"]))
    if set(kinds[1:]) - {"volatile"}:
        raise ValueError(f"only the output may be of another kind, not {kinds}")
    update = options.pop("volatility_updates", "unbounded")
    mean_field = options.pop("mean_field_updates", False)
    coupling = meta["coupling"]
    if isinstance(coupling, str):
        coupling = COUPLINGS.get(coupling, coupling)
    else:  # one per layer; that of the output has nothing to act on
        coupling = [COUPLINGS.get(name, name) for name in coupling][-len(kinds) + 1 :]
    network = deep.DeepNetwork(
        [fixture[f"W_init_{k}"] for k in range(1, len(kinds))],
        coupling=coupling,
        output=OUTPUTS[kinds[0]],
        update={name.lower(): name for name in UPDATES}[update.lower()],
        approximation="mean_field" if mean_field else "relaxed",
        feedforward_uncertainty=options.pop("feedforward_uncertainty", False),
        tonic_volatility=TONIC_VOLATILITY * bool(options.pop("tonic_volatility", 0)),
        largest_precision=options.pop("max_posterior_precision", 1e10),
        clip=options.pop("precision_clipping_value", 1e-6),
        compatibility="pyhgf",
    )
    if options:
        raise ValueError(f"options not understood: {sorted(options)}")
    if network.sizes != tuple(meta["sizes"]):
        raise ValueError(f"sizes {meta['sizes']}, but weights of {network.sizes}")
    return network


def _compare_layers(case: Case, fixture: Fixture, found: deep_learning.Run) -> None:
    for key in fixture.arrays:
        named = re.fullmatch(r"(\w+)_layer(\d+)", key)
        if named and named[1] in FIELDS:
            got = getattr(found.layers[int(named[2])], FIELDS[named[1]])
            _compare(case, key, got, fixture[key])


def _compare_weights(case: Case, fixture: Fixture, found: deep_learning.Run) -> None:
    for k, weight in enumerate(found.network.weights, 1):
        _compare(case, f"W_final_{k}", weight, fixture[f"W_final_{k}"])


def _compare_predictions(case, fixture, network, found, inputs) -> None:
    for key, got in {
        "prediction_before": deep.predict(network, inputs),
        "prediction_after": deep.predict(found.network, inputs),
        "online_predictions": found.layers[0].expected_mean,
    }.items():
        if key in fixture:
            _compare(case, key, got, fixture[key])


def _compare(case: Case, key: str, got: Any, want: np.ndarray) -> None:
    """Compare where both are numbers; NaN has to stand at the same places."""
    got, missing = np.asarray(got), np.isnan(want)
    if not np.array_equal(np.isnan(got), missing):
        return case.fail(f"{key}: NaN at other places")
    case.compare(key, got[~missing], want[~missing], TOLERANCE)
