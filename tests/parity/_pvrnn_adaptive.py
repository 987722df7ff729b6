"""Towers with same-step drive from above (family c), stored in single precision."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from neuromod.pvrnn import (
    PVRNN,
    Affine,
    Connection,
    LatentLayer,
    LatentMap,
    Objective,
    SoftmaxHead,
    TanhHead,
)
from neuromod.pvrnn.energy import Data, encode, evaluate
from neuromod.pvrnn.inference import outputs
from neuromod.pvrnn.latents import Adaptive, parts
from tests.parity._format import Case, Fixture, Report
from tests.parity._pvrnn_tower import time_first

SINGLE = 2e-6
SUMMED = 1e-5  # a sum of a thousand logs, stored from single precision


def check(fixture: Fixture, report: Report) -> None:
    """Check one file."""
    with report.case(fixture.name, "posterior and gradient") as case:
        _check(case, fixture)


def _check(case: Case, fixture: Fixture) -> None:
    tops = sorted(
        {k.partition("/")[0] for k in fixture.arrays if k.startswith("layer")}
    )
    names = list(reversed(tops))  # from the lowest, which is stored last
    rec, n_trials, n_steps, _, n_reference = fixture["rec_reported_N_T_D_Q"]
    facts = {n: fixture[f"{n}/dsize_zsize_tau_w_beta_kldreported"] for n in names}
    network = _network(fixture, names, facts, int(n_reference))

    def joined(key: str) -> jax.Array:
        return jnp.concatenate(
            [time_first(fixture[f"{n}/{key}"]) for n in names], axis=-1
        )

    adaptive = Adaptive(joined("A_mu"), joined("A_sigma"))
    noise = joined("eps")
    objective = Objective(
        np.array([facts[n][3] for n in names]),
        np.array([facts[n][4] for n in names]),
        constants="tglean",
    )
    target = time_first(fixture["target" if n_reference else "norm"])
    encoded = encode(network, time_first(fixture["norm"])).targets[0]
    target = target.reshape(encoded.shape)
    case.compare("target", encoded, target, SINGLE)

    def loss(both: Any) -> Any:
        terms, run = evaluate(both[0], objective, both[1], Data((target,)), noise)
        return terms.total, (terms, run)

    gradient, (terms, run) = jax.grad(loss, has_aux=True)((network, adaptive))
    told = outputs(network, run.activities)[0]
    x = time_first(told.reshape(*told.shape[:2], -1))
    case.compare("x", x, fixture["x"], SINGLE)
    mean_error = terms.reconstruction[0] / (n_trials * n_steps)
    case.compare("rec", mean_error, rec, SUMMED)
    _ = fixture["raw"]  # asked for: x is checked in its code
    _compare_layers(case, fixture, names, facts, network, (gradient, terms, run, x))


def _network(fixture: Fixture, names: list[str], facts: Any, n_reference: int) -> PVRNN:
    def of(key: str) -> jax.Array:
        return jnp.asarray(fixture[key], float)

    layers, connections = [], []
    for k, name in enumerate(names):
        n_units, n_latents, time_constant = facts[name][:3]
        prior = LatentMap(
            Affine(of(f"{name}/Wdmp"), of(f"{name}/Bmp")),
            Affine(of(f"{name}/Wdsp"), of(f"{name}/Bsp")),
        )
        layers.append(
            LatentLayer(
                name,
                int(n_latents),
                of(f"{name}/Wdh"),
                of(f"{name}/Wzh"),
                of(f"{name}/Bh"),
                jnp.full(int(n_units), time_constant),
                prior,
            )
        )
        if f"{name}/Whdh" in fixture:
            ends = names[k + 1], name
            connections.append(Connection(of(f"{name}/Whdh"), *ends, "activity", 0))
    out = Affine(of("out_W"), of("out_b"))
    if n_reference:
        points = np.linspace(-0.1, 1.1, n_reference)
        head: Any = SoftmaxHead("output", names[0], out, points, 0.05)
    else:
        head = TanhHead("output", names[0], out)
    return PVRNN(layers, connections, (head,))


def _compare_layers(
    case: Case,
    fixture: Fixture,
    names: list[str],
    facts: Any,
    network: PVRNN,
    found: Any,
) -> None:
    gradient, terms, run, x = found
    n_trials, n_steps = x.shape[:2]
    slopes = [parts(network, part) for part in gradient[1][:2]]
    for k, name in enumerate(names):
        d = time_first(run.activities[k])
        whole = jnp.concatenate([jnp.zeros_like(d[:, :1]), d], axis=1)
        case.compare("d", whole, fixture[f"{name}/d"], SINGLE)
        case.compare(
            "z",
            time_first(parts(network, run.latents)[k]),
            fixture[f"{name}/z"],
            SINGLE,
        )
        for normal, kind in ((run.posterior, "q"), (run.prior, "p")):
            for part, key in ((normal.mean, "mu"), (normal.deviation, "sigma")):
                value = time_first(parts(network, part)[k])
                case.compare(key, value, fixture[f"{name}/{key}_{kind}"], SINGLE)
        share = terms.divergence[k] / (n_trials * n_steps)
        case.compare("kl", share, facts[name][5], SUMMED)
        layer = gradient[0].layers[k]
        wanted = {
            "grad_Wdh": layer.recurrent_weight,
            "grad_Wzh": layer.latent_weight,
            "grad_Bh": layer.bias,
            "grad_A_mu": time_first(slopes[0][k]),
            "grad_A_sigma": time_first(slopes[1][k]),
        }
        for key, value in wanted.items():
            case.compare(key, value, fixture[f"{name}/{key}"], SUMMED)
