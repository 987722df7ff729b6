"""Check neuromod.hgf against stored numbers.

``python tests/parity/hgf.py FOLDER`` reads every ``*.npz`` of the folder in the format
that its README describes, and prints one JSON line per case.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # a script's own folder must not shadow packages
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from neuromod import hgf
from neuromod.hgf import inference, responses
from neuromod.hgf.regressors import regressors
from tests.parity import _hgf_deep, _hgf_statistics
from tests.parity._format import Case, Fixture, Report, run

TIGHT = 1e-8
# Errors near zero are differences of larger numbers.
ERRORS = 1e-7
GRADIENT = 1e-6
# The toolbox's table has five digits.
ROUNDED = 5e-5
UPDATES = {"standard": "standard", "eHGF": "ehgf", "unbounded": "unbounded"}


def check(fixture: Fixture, report: Report) -> None:
    """Tell the kind of file by its arrays, and check it."""
    with jax.enable_x64(True):
        if "value_edges" in fixture:
            return _check_network(fixture, report)
        if _hgf_statistics.is_categorical(fixture):
            return _hgf_statistics.check_categorical(fixture, report)
        if _hgf_statistics.is_exponential(fixture):
            return _hgf_statistics.check_exponential(fixture, report)
        if "W_init_1" in fixture:
            return _hgf_deep.check(fixture, report)
        if any(key.startswith("logp_") for key in fixture.arrays):
            return _check_responses(fixture, report)
        if "columns" in fixture and "table" in fixture:
            return _check_canonical(fixture, report)
        if {"mu1", "pi1", "mu2", "pi2"} <= set(fixture.arrays):
            return _check_continuous(fixture, report)
    raise ValueError("no kind of file that the README describes")


def _check_network(fixture: Fixture, report: Report) -> None:
    meta = json.loads(str(fixture["meta"]))
    network = _network(fixture, meta)
    series = _series(fixture, network)
    kinds = fixture["node_kind"]
    names = [f"x{i}" for i in range(len(kinds))]
    found = jax.jit(inference.run)(network, series)
    with report.case(fixture.name, "trajectories") as case:
        _compare_beliefs(case, fixture, network, series, names, found)
        _compare_errors(case, fixture, network, series, names, found)
        _compare_surprise(case, fixture, network, series, names, found)
    if "response" in fixture:
        fixture["response"]  # scored below, if totals are stored
    if any(key.startswith("nll_") for key in fixture.arrays):
        with report.case(fixture.name, "gradients") as case:
            _compare_totals(case, fixture, network, series)


def _network(fixture: Fixture, meta: dict) -> hgf.Network:
    """Build the network that the arrays describe."""
    codes = meta.get("coupling_fn_codes", {"0": "linear"})
    kinds = fixture["node_kind"]
    value_edges, volatility_edges = fixture["value_edges"], fixture["volatility_edges"]
    parents = {int(row[0]) for row in (*value_edges, *volatility_edges)}
    own = {
        key: fixture[key]
        for key in (
            "init_mean",
            "init_precision",
            "tonic_volatility",
            "tonic_drift",
            "autoconnection",
        )
    }

    def node(i: int) -> Any:
        name = f"x{i}"
        if kinds[i] == 0:
            return hgf.BinaryInput(name)
        if i not in parents:
            return hgf.ContinuousInput(name, precision=own["init_precision"][i])
        drift, kept = own["tonic_drift"][i], own["autoconnection"][i]
        return hgf.ContinuousState(
            name,
            mean=own["init_mean"][i],
            precision=own["init_precision"][i],
            tonic_volatility=own["tonic_volatility"][i],
            tonic_drift=None if drift == 0 else drift,
            autoconnection=None if kept == 1 else kept,
        )

    nodes = [node(i) for i in range(len(kinds))]
    edges = []
    for parent, child, strength, code in value_edges:
        below = nodes[int(child)]
        make = {
            hgf.BinaryInput: hgf.probability,
            hgf.ContinuousInput: hgf.observation,
            hgf.ContinuousState: hgf.drift,
        }[type(below)]
        coupling = codes[str(int(code))]
        edges.append(make(f"x{int(parent)}", below.name, strength, coupling))
    for parent, child, strength in volatility_edges:
        below = nodes[int(child)]
        observed = isinstance(below, hgf.ContinuousInput)
        make = hgf.noise if observed else hgf.volatility
        edges.append(make(f"x{int(parent)}", below.name, strength))
    corrected = "observed" not in fixture
    return hgf.Network(
        nodes,
        edges,
        update=UPDATES[meta["volatility_updates"]],
        approximation="mean_field" if meta["mean_field_updates"] else "relaxed",
        largest_precision=meta.get("max_posterior_precision", 1e10),
        clip=meta.get("precision_clipping", 1e-6),
        compatibility="pyhgf_without_interval" if corrected else "pyhgf",
    )


def _series(fixture: Fixture, network: hgf.Network) -> inference.Series:
    values = fixture["input"].astype(float)
    columns = {name: i for i, name in enumerate(network.inputs)}
    if "input_nodes" in fixture:
        columns = {f"x{node}": i for i, node in enumerate(fixture["input_nodes"])}
    observed = np.ones(values.shape, bool)
    if "observed" in fixture:
        observed = fixture["observed"].astype(bool)

    def known(name):
        column = observed[:, columns[name]]
        return None if column.all() else jnp.asarray(column)

    return inference.Series(
        tuple(jnp.asarray(values[:, columns[n]]) for n in network.inputs),
        tuple(known(n) for n in network.inputs),
        jnp.asarray(fixture["time_steps"].astype(float)),
    )


def _defined(fixture: Fixture, key: str, names: list[str]) -> dict[str, np.ndarray]:
    """Return the columns of an array that hold a number for their kind of node."""
    table = fixture[key]
    return {name: table[:, i] for i, name in enumerate(names)}


def _compare(
    case: Case, key: str, got: Any, want: np.ndarray, tolerance: float
) -> None:
    """Compare where both are numbers; NaN has to stand at the same places."""
    got = np.asarray(got)
    missing = np.isnan(want)
    if not np.array_equal(np.isnan(got), missing):
        return case.fail(f"{key}: NaN at other places")
    case.compare(key, got[~missing], want[~missing], tolerance)


def _compare_beliefs(case, fixture, network, series, names, found) -> None:
    mean, precision = (_defined(fixture, k, names) for k in ("mean", "precision"))
    expected = _defined(fixture, "expected_mean", names)
    expected_precision = _defined(fixture, "expected_precision", names)
    conditional = None
    if "conditional_expected_precision" in fixture:
        conditional = _defined(fixture, "conditional_expected_precision", names)
    for name in names:
        predicted = found.predictions[name]
        _compare(case, f"expected_mean {name}", predicted.mean, expected[name], TIGHT)
        _compare(
            case,
            f"expected_precision {name}",
            predicted.precision,
            expected_precision[name],
            TIGHT,
        )
        if conditional is not None and name in network.states:
            _compare(
                case,
                f"conditional {name}",
                predicted.conditional_precision,
                conditional[name],
                TIGHT,
            )
        if name in network.states:
            belief = found.beliefs[name]
            _compare(case, f"mean {name}", belief.mean, mean[name], TIGHT)
            _compare(
                case, f"precision {name}", belief.precision, precision[name], TIGHT
            )
        else:
            # An input's mean is what was observed, and nothing is believed of it.
            column = series.values[network.inputs.index(name)]
            _compare(case, f"mean {name}", column, mean[name], TIGHT)


def _compare_errors(case, fixture, network, series, names, found) -> None:
    got = inference.errors(network, series, found)
    value = _defined(fixture, "value_prediction_error", names)
    volatility = _defined(fixture, "volatility_prediction_error", names)
    effective = _defined(fixture, "effective_precision", names)
    family = network.family
    for name in names:
        has_volatility = bool(family.volatility_parents[name])
        if not has_volatility and not family.value_parents[name]:
            case.compare(f"no errors {name}", value[name], 0 * value[name], 0)
            case.compare(f"no errors {name}", volatility[name], 0 * value[name], 0)
        elif isinstance(network[name], hgf.BinaryInput):
            _compare(case, f"error {name}", got[name].value, value[name], ERRORS)
            continue
        else:
            masked = (
                series.observed[network.inputs.index(name)]
                if (name in network.inputs)
                else None
            )
            seen = slice(None) if masked is None else np.asarray(masked)
            for key, mine, want in (
                ("error", got[name].value, value[name]),
                ("volatility error", got[name].volatility, volatility[name]),
            ):
                _compare(
                    case, f"{key} {name}", np.asarray(mine)[seen], want[seen], ERRORS
                )
        if name in network.states or has_volatility:
            mine = got[name].effective_precision
            _compare(case, f"effective {name}", mine, effective[name], TIGHT)


def _compare_surprise(case, fixture, network, series, names, found) -> None:
    got = inference.surprise(network, series, found)
    if "surprise_input" in fixture:
        total = sum(got[name] for name in network.inputs)
        return _compare(case, "surprise", total, fixture["surprise_input"], TIGHT)
    want = _defined(fixture, "surprise", names)
    for name in names:
        mine = got[name]
        if name in network.inputs:
            seen = series.observed[network.inputs.index(name)]
            if seen is not None:
                keep = np.asarray(seen)
                _compare(case, f"surprise {name}", mine[keep], want[name][keep], TIGHT)
                continue
        _compare(case, f"surprise {name}", mine, want[name], TIGHT)


def _compare_totals(case, fixture, network, series) -> None:
    """Compare total surprises, and their gradients in volatility and temperature."""
    nodes = [f"x{i}" for i in fixture["grad_omega_nodes"]]
    beta = jnp.asarray(float(fixture["beta"])) if "beta" in fixture else jnp.ones(())
    tonic = jnp.stack([jnp.asarray(network[n].tonic_volatility) for n in nodes])
    choices = jnp.asarray(fixture["response"]) if "response" in fixture else None

    def at(tonic):
        return eqx.tree_at(
            lambda n: [n[name].tonic_volatility for name in nodes], network, list(tonic)
        )

    for key in [k for k in fixture.arrays if k.startswith("nll_")]:
        total = TOTALS[key.removeprefix("nll_")]

        def function(tonic, beta, total=total):
            return total(at(tonic), series, beta, choices)

        value, slopes = jax.jit(jax.value_and_grad(function, (0, 1)))(tonic, beta)
        _compare_total(case, key, value, fixture[key])
        for name, got in zip(("omega", "beta"), slopes, strict=True):
            want = fixture[key.replace("nll", f"grad_{name}")]
            # Where the total is infinite its gradient is nothing.
            if name == "omega" and not np.isfinite(value):
                got = np.full_like(got, np.nan)
            _compare(case, f"grad_{name} {key}", got, want, GRADIENT)


def _compare_total(case, key, got, want) -> None:
    if np.isinf(want) or np.isnan(want):
        if np.isfinite(float(got)):
            case.fail(f"{key}: {got}, not {want}")
        return
    case.compare(key, got, want, TIGHT)


def _binary_surprise(network, series, beta, choices):
    found = inference.run(network, series)
    return inference.surprise(network, series, found)[network.inputs[0]].sum()


def _of_choices(response):
    def total(network, series, beta, choices):
        seen = responses.response.look(network, series, inference.run(network, series))
        found = response(beta).log_probability(seen, choices)
        # The stored totals are of probabilities within [1e-6, 1 - 1e-6].
        return -jnp.clip(found, np.log(1e-6), np.log1p(-1e-6)).sum()

    return total


def _first_level_gaussian(network, series, beta, choices):
    predicted = inference.run(network, series).predictions["x1"]
    nats = inference.gaussian_surprise(
        series.values[0], predicted.mean, predicted.precision
    )
    return nats.sum()


def _total_gaussian(network, series, beta, choices):
    found = inference.run(network, series)
    nats = inference.surprise(network, series, found)
    return sum(
        nats[node.name].sum()
        for node in network.nodes
        if not isinstance(node, hgf.BinaryInput)
    )


TOTALS = {
    "binary_surprise": _binary_surprise,
    "softmax_y": _of_choices(lambda beta: responses.unit_square_sigmoid(1.0)),
    "softmax_invtemp_y": _of_choices(responses.unit_square_sigmoid),
    "first_level_gaussian": _first_level_gaussian,
    "total_gaussian": _total_gaussian,
}


def _binary_three_level(tonic2, tonic3, means, precisions, **settings) -> hgf.Network:
    return hgf.Network(
        [
            hgf.BinaryInput("u"),
            hgf.ContinuousState(
                "x2", mean=means[0], precision=precisions[0], tonic_volatility=tonic2
            ),
            hgf.ContinuousState(
                "x3", mean=means[1], precision=precisions[1], tonic_volatility=tonic3
            ),
        ],
        [hgf.probability("x2", "u"), hgf.volatility("x3", "x2")],
        **settings,
    )


def _check_responses(fixture: Fixture, report: Report) -> None:
    """Check every response model that the file has log-likelihoods of."""
    meta = json.loads(str(fixture["meta"]))
    spec, p = meta["spec"], meta["parameters"]
    network = _binary_three_level(
        spec["omega2"],
        spec["omega3"],
        spec["init"]["mean"],
        spec["init"]["precision"],
        clip=1e-3,
    )
    series = inference.Series(
        (jnp.asarray(fixture["input"].astype(float)),), (None,), None
    )
    found = jax.jit(inference.run)(network, series)
    covariates = {
        name: jnp.asarray(fixture[name].astype(float))
        for name in ("reward0", "reward1", "true_probability")
        if name in fixture
    }
    seen = responses.response.look(network, series, found, covariates)
    with report.case(fixture.name, "trajectories") as case:
        for key, got in {
            "muhat1": seen.expected_mean["u"],
            "muhat2": seen.expected_mean["x2"],
            "muhat3": seen.expected_mean["x3"],
            "mu2": seen.mean["x2"],
            "mu3": seen.mean["x3"],
            "sa2": 1 / seen.precision["x2"],
        }.items():
            if key in fixture:
                case.compare(key, got, fixture[key], TIGHT)
    for key in [k for k in fixture.arrays if k.startswith("logp_")]:
        name = key.removeprefix("logp_")
        with report.case(fixture.name, name) as case:
            model, column = _response(name, p)
            response = jnp.asarray(fixture[column].astype(float))
            case.compare(
                key, model.log_probability(seen, response), fixture[key], TIGHT
            )
            total = meta.get("sums", {}).get(name)
            if total is not None:
                case.compare("sum", np.sum(fixture[key]), total, TIGHT)


def _response(name: str, p: dict) -> tuple[responses.Response, str]:
    """Return a response model of the toolbox, and the column that it is of."""
    of_choices = {
        "unitsq_sgm": lambda: responses.unit_square_sigmoid(p["zeta"]),
        "unitsq_sgm_mu3": lambda: responses.unit_square_sigmoid(by_volatility=True),
        "softmax_binary": lambda: responses.softmax(p["beta"]),
        "softmax_binary_rewards": lambda: responses.softmax(p["beta"], rewards=True),
        "cdfgaussian_obs_toolbox": lambda: responses.gaussian_threshold(
            variance_as_deviation=True
        ),
        "condhalluc_obs": lambda: responses.conditioned_hallucination(p["beta"]),
        "condhalluc_obs2": lambda: responses.conditioned_hallucination(
            p["beta"], p["nu_ch"], weighting="fixed"
        ),
        "condhalluc_obs3": lambda: responses.conditioned_hallucination(
            p["beta"], weighting="volatility"
        ),
    }
    if name in of_choices:
        return of_choices[name](), "choice"
    if name == "logrt_linear_binary":
        return responses.log_reaction_time(*p["b"], variance=p["zrt"]), "log_rt"
    if name == "gaussian_obs":
        return responses.gaussian_report(p["zg"]), "continuous_response"
    if name == "beta_obs":
        return responses.beta_report(p["nu"]), "continuous_response"
    driver = name.removeprefix("rs_")
    speed = (p["z1v"], p["z1i"], p["z2"], p["z3"])
    return responses.response_speed(*speed, driver=driver), "response_speed"


def _check_canonical(fixture: Fixture, report: Report) -> None:
    """Check the table of the toolbox: predictions, beliefs and errors by trial."""
    columns = [str(name) for name in fixture["columns"]]
    table = dict(zip(columns, fixture["table"].T, strict=True))
    p = _numbers(json.loads(str(fixture["meta"]))["params"])
    network = _binary_three_level(
        p["omega2"],
        p["omega3"],
        (p["mu2_0"], p["mu3_0"]),
        (p["pi2_0"], p["pi3_0"]),
        update="standard",
        clip=1e-3,
    )
    table.pop("response", None)  # no model of it is named
    values = jnp.asarray(table["mu1"])
    series = inference.Series((values,), (None,), None)
    found = jax.jit(inference.run)(network, series)
    got = regressors(network, series, found)
    with report.case(fixture.name, "table") as case:
        for name, want in table.items():
            if name in got and not np.isnan(want).all():
                case.compare(name, got[name], want, ROUNDED)
            elif not np.isnan(want).all():
                case.fail(f"{name}: not understood")


def _numbers(text: str) -> dict[str, float]:
    found = re.findall(r"(\w+)=(-?[\d.]+(?:e-?\d+)?)", text)
    return {name: float(value) for name, value in found}


def _check_continuous(fixture: Fixture, report: Report) -> None:
    """Check a two-level continuous network whose row 0 is the prior."""
    meta = json.loads(str(fixture["meta"]))
    p = _numbers(meta["params"])
    precision = float(re.findall(r"input precision ([\d.e]+)", meta["params"])[0])
    network = hgf.Network(
        [
            hgf.ContinuousInput("u", precision=precision),
            hgf.ContinuousState(
                "x1",
                mean=p["mu1_0"],
                precision=p["pi1_0"],
                tonic_volatility=p["omega1"],
            ),
            hgf.ContinuousState(
                "x2",
                mean=p["mu2_0"],
                precision=p["pi2_0"],
                tonic_volatility=p["omega2"],
            ),
        ],
        [hgf.observation("x1", "u"), hgf.volatility("x2", "x1", p.get("kappa", 1.0))],
        update="standard",
    )
    series = inference.Series(
        (jnp.asarray(fixture["input"].astype(float)),), (None,), None
    )
    found = jax.jit(inference.run)(network, series)
    with report.case(fixture.name, "beliefs") as case:
        for level in (1, 2):
            belief = found.beliefs[f"x{level}"]
            first = fixture[f"mu{level}"][0], fixture[f"pi{level}"][0]
            case.compare("prior", first, (p[f"mu{level}_0"], p[f"pi{level}_0"]), TIGHT)
            case.compare(f"mu{level}", belief.mean, fixture[f"mu{level}"][1:], TIGHT)
            case.compare(
                f"pi{level}", belief.precision, fixture[f"pi{level}"][1:], TIGHT
            )


if __name__ == "__main__":
    run(check)
