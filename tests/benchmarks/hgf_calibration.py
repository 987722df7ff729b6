"""Are posteriors of the HGF what they say? Simulation-based calibration.

::

    python tests/benchmarks/hgf_calibration.py --store FOLDER \\
        --out docs/benchmarks/hgf_calibration.json

Parameters are drawn from the prior, choices from the parameters, and the posterior of
the choices by `neuromod.hgf.sample`: of one participant, and of a group with its mean,
its spread and its members. If all of it is right, the rank of the truth among the draws
is uniform, whatever it is the rank of. ``wrong`` fits a model that is not the one that
made the choices, and has to fail. Replications that are done are kept in FOLDER: an
interrupted run goes on where it was.
"""

import argparse
import json
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import neuromod as nm
from neuromod import hgf
from neuromod.core import calibration
from neuromod.core.errors import ConvergenceWarning

VOLATILITY, TEMPERATURE = "x2.tonic_volatility", "response.inverse_temperature"
PRIORS = {VOLATILITY: hgf.Normal(-3, 1), TEMPERATURE: hgf.LogNormal(1, 0.5)}
# What the wrong model believes of the same parameters.
OTHER_PRIORS = {VOLATILITY: hgf.Normal(-3, 0.2), TEMPERATURE: hgf.LogNormal(1, 0.1)}
GROUP_SD = 1.0
N_SUBJECTS = 6
SHORT = {"n_chains": 2, "n_draws": 500, "n_warmup": 500, "progress": False}
LEVEL = 0.05


def outcomes(n_trials: int) -> np.ndarray:
    """Return outcomes whose probability turns over every 40 trials."""
    chance = np.where(np.arange(n_trials) // 40 % 2 == 0, 0.8, 0.2)
    return (np.random.default_rng(7).random(n_trials) < chance).astype(float)


def network() -> hgf.Network:
    """Return what learns."""
    return hgf.binary_two_level()


def response() -> Any:
    """Return how it chooses."""
    return hgf.responses.unit_square_sigmoid()


def agent(volatility: float, log_temperature: float) -> hgf.Agent:
    """Return an agent with these native parameters."""
    return hgf.Agent(
        hgf.binary_two_level(float(volatility)),
        hgf.responses.unit_square_sigmoid(float(np.exp(log_temperature))),
    )


def native_prior() -> tuple[np.ndarray, np.ndarray]:
    """Return means and deviations of the prior on the native scale."""
    rows = PRIORS.values()
    return np.array([p.mean for p in rows]), np.array([p.sd for p in rows])


class Case(NamedTuple):
    """Functions of plain values, so that replications can be kept and found again."""

    draw: Callable[[int], dict[str, Any]]
    simulate: Callable[[Any, int], Any]
    posterior: Callable[[Any, int], dict[str, Any]]


def single(n_trials: int = 160, *, wrong: bool = False, **settings: Any) -> Case:
    """Return the case of one participant."""
    return Case(
        draw_one,
        partial(choose_one, n_trials=n_trials),
        partial(infer_one, wrong=wrong, settings={**SHORT, **settings}),
    )


def draw_one(seed: int) -> dict[str, Any]:
    """Draw parameters from the prior."""
    mean, sd = native_prior()
    z = mean + sd * np.random.default_rng(seed).standard_normal(2)
    return {VOLATILITY: z[0], TEMPERATURE: np.exp(z[1])}


def choose_one(parameters: Any, seed: int, n_trials: int) -> np.ndarray:
    """Draw choices."""
    at = agent(parameters[VOLATILITY], np.log(parameters[TEMPERATURE]))
    return np.asarray(hgf.respond(at, outcomes(n_trials), seed=seed))


def infer_one(choices: np.ndarray, seed: int, wrong: bool, settings: Any) -> Any:
    """Draw from the posterior of the choices."""
    priors = OTHER_PRIORS if wrong else PRIORS
    shown = outcomes(len(choices))
    result = sampled(shown, choices, priors=priors, seed=seed, **settings)
    found = result.data["posterior"]
    return {name: found[name].values for name in PRIORS}


def group(n_trials: int = 80, **settings: Any) -> Case:
    """Return the case of participants around a group mean."""
    return Case(
        draw_group,
        partial(choose_group, n_trials=n_trials),
        partial(infer_group, settings={**SHORT, **settings}),
    )


def draw_group(seed: int) -> dict[str, Any]:
    """Draw a group from the prior, on the native scale."""
    random = np.random.default_rng(seed)
    mean, sd = native_prior()
    centre = mean + sd * random.standard_normal(2)
    spread = GROUP_SD * sd * np.abs(random.standard_normal(2))
    members = centre + spread * random.standard_normal((N_SUBJECTS, 2))
    return {"group_mean": centre, "group_sd": spread, "subjects": members}


def choose_group(parameters: Any, seed: int, n_trials: int) -> pd.DataFrame:
    """Draw the choices of all."""
    seeds = np.random.SeedSequence(seed).generate_state(N_SUBJECTS)
    shown, tables = outcomes(n_trials), []
    for i, at in enumerate(parameters["subjects"]):
        choices = np.asarray(hgf.respond(agent(*at), shown, seed=int(seeds[i])))
        columns = {"subject": str(i), "outcome": shown, "choice": choices}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def infer_group(table: pd.DataFrame, seed: int, settings: Any) -> dict[str, Any]:
    """Draw from the posterior of all choices."""
    result = sampled(
        table, "choice", priors=PRIORS, seed=seed, group_sd=GROUP_SD, **settings
    )
    found = result.data["posterior"]
    members = [found[VOLATILITY].values, np.log(found[TEMPERATURE].values)]
    return {
        "group_mean": found["group_mean"].values,
        "group_sd": found["group_sd"].values,
        "subjects": np.stack(members, axis=-1),
    }


def sampled(data: Any, choices: Any, **settings: Any) -> Any:
    """Draw from a posterior; that chains are short is part of the bargain."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return hgf.sample(network(), data, choices, response=response(), **settings)


def told(calibrated: Any) -> list[dict[str, Any]]:
    """Return what calibration says of each parameter as plain rows."""
    names = ("p_ecdf", "p_chi_square", "sharpness", "contraction")
    return [
        {
            "parameter": str(name),
            **{k: round(float(calibrated[k].sel(parameter=name)), 4) for k in names},
            "coverage_of_90": round(
                float(calibrated["coverage"].sel(parameter=name, quantile=0.9)), 4
            ),
        }
        for name in calibrated["parameter"].values
    ]


CASES: dict[str, Any] = {
    "single": single,
    "group": group,
    "wrong": partial(single, wrong=True),
}


def ranks(case: Case, n_replications: int, seed: int = 0, **settings: Any) -> Any:
    """Return the ranks of a case."""
    return calibration.sbc(
        case.draw,
        case.simulate,
        case.posterior,
        seed=seed,
        n_replications=n_replications,
        **settings,
    )


def main() -> None:
    """Run what is not in the store yet, and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--replications", type=int, default=200)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    options = parser.parse_args()
    report: dict[str, Any] = {}
    if options.out.exists():
        report = json.loads(options.out.read_text(encoding="utf-8"))
    for name in options.only:
        found = ranks(CASES[name](), options.replications, store=options.store / name)
        rows = told(calibration.calibrate(found))
        least = min(row["p_ecdf"] for row in rows)
        report[name] = {
            "n_replications": options.replications,
            "least_p": least,
            # Of so many parameters; Bonferroni's bound.
            "calibrated": least * len(rows) > LEVEL,
            "parameters": rows,
        }
        print(json.dumps({"case": name, "least_p": least, "n": len(rows)}))
        report["environment"] = nm.info().to_dict()
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
