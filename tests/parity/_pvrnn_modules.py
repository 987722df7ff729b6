"""Modules under an executive latent (family b): a run, its gradient, a step of Adam."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from neuromod.pvrnn import (
    PVRNN,
    Objective,
)
from neuromod.pvrnn.energy import Data, divergence, evaluate
from neuromod.pvrnn.importing import TOP, from_sensory_attenuation, places
from neuromod.pvrnn.inference import outputs
from neuromod.pvrnn.latents import Adaptive, parts
from neuromod.pvrnn.running import of_training
from tests.parity._format import Case, Fixture, Report
from tests.parity._pvrnn_tower import time_first

TIGHT = 1e-9


class Setting:
    """A file as a network; layers from the lowest of the last module to the top."""

    def __init__(self, fixture: Fixture) -> None:
        self.fixture = fixture
        arrays = {
            key: fixture[key].astype(float)
            for key in fixture.arrays
            if key.startswith(("param/", "bias_d/", "tau/"))
        }
        self.network, self.adaptive = of_training(from_sensory_attenuation(arrays))
        self.places = places(arrays)
        self.senses = list(dict.fromkeys(m for m, _ in self.places if m != TOP))

    def is_executive(self, module: str, i: int) -> bool:
        """Tell whether a layer has no units."""
        return (module, i) == (TOP, 0)

    def cfg(self, name: str) -> list[Any]:
        """Return a setting of every layer."""
        return [self.fixture[f"cfg/{m}_{name}"][i] for m, i in self.places]

    def flat(self, network: PVRNN, adaptive: Adaptive) -> dict[str, Any]:
        """Return what belongs to every stored parameter."""
        found: dict[str, Any] = {}
        halves = [parts(self.network, a) for a in adaptive[:2]]
        for k, (module, i) in enumerate(self.places):
            path, layer = f"{module}.layers.{i}", network.layers[k]
            both = jnp.concatenate([half[k] for half in halves], axis=-1)
            found[f"{path}.A.0"] = time_first(both)
            if self.is_executive(module, i):
                continue
            found[f"{path}.init_h.0"] = adaptive.initial[k]
            found[f"{path}.d_to_h.weight"] = layer.recurrent_weight
            found[f"{path}.z_to_h.weight"] = layer.latent_weight
            maps = layer.prior.mean.weight, layer.prior.log_deviation.weight
            found[f"{path}.d_to_z.weight"] = jnp.concatenate(maps)
            connection = next(
                c for c in network.connections if c.target == f"{module}/{i}"
            )
            found[f"{path}.hd_to_h.weight"] = connection.weight
        for module, head in zip(self.senses, network.heads, strict=True):
            found[f"{module}_out.layer.0.weight"] = head.layer.weight
        return found


def check(fixture: Fixture, report: Report) -> None:
    """Check one file."""
    with report.case(fixture.name, "posterior") as case:
        setting = Setting(fixture)
        objective = Objective(
            np.array(setting.cfg("w")), np.array(setting.cfg("w1")), constants="sa"
        )
        data = Data(tuple(time_first(fixture[f"target_{m}"]) for m in setting.senses))
        noise = jnp.concatenate(
            [time_first(fixture[f"eps/{m}/{i}"]) for m, i in setting.places], axis=-1
        )
        _check_run(case, setting, objective, data, noise)
    with report.case(fixture.name, "gradient") as case:
        _check_gradient(case, setting, objective, data, noise)
    # What the README calls leftovers, and settings that only repeat sizes.
    for key in fixture.arrays:
        if "init_h" in key or key.startswith(("cfg/", "bias_d/", "tau/", "d/")):
            fixture[key]


def _check_run(
    case: Case, setting: Setting, objective: Objective, data: Data, noise: Any
) -> None:
    fixture, network = setting.fixture, setting.network
    terms, run = evaluate(network, objective, setting.adaptive, data, noise)
    case.compare("loss", terms.total, fixture["loss"], TIGHT)
    told = outputs(network, run.activities)
    for k, module in enumerate(setting.senses):
        case.compare("x", time_first(told[k]), fixture[f"x_{module}"], TIGHT)
        rec = terms.reconstruction[k]
        case.compare("rec", rec, fixture[f"rec_{module}"], TIGHT)
    by_latent = divergence(run.posterior, run.prior, objective.constants)
    means = [parts(network, n.mean) for n in (run.posterior, run.prior)]
    deviations = [parts(network, n.deviation) for n in (run.posterior, run.prior)]
    steps = parts(network, by_latent)
    factors = objective.divergence_factors(network)
    weights = objective.weights(network, len(noise), True)
    for k, (module, i) in enumerate(setting.places):
        place = f"{module}/{i}"
        if not setting.is_executive(module, i):
            d = time_first(run.activities[k])
            case.compare("d", d, fixture[f"d/{place}"], TIGHT)
        for which, name in ((0, "q"), (1, "p")):
            mean, deviation = means[which][k], deviations[which][k]
            case.compare("mu", time_first(mean), fixture[f"mu_{name}/{place}"], TIGHT)
            want = fixture[f"sigma_{name}/{place}"]
            case.compare("sigma", time_first(deviation), want, TIGHT)
        step = steps[k].sum((1, 2)) * factors[k]
        case.compare("kl_step", step, fixture[f"kl_step/{place}"], TIGHT)
        case.compare("kl", step.sum(), fixture[f"kl/{module}"][i], TIGHT)
        weighed = jnp.vdot(step, weights[:, k])
        case.compare("wkl", weighed, fixture[f"wkl/{module}"][i], TIGHT)


def _check_gradient(
    case: Case, setting: Setting, objective: Objective, data: Data, noise: Any
) -> None:
    fixture = setting.fixture

    def loss(both: Any) -> jax.Array:
        return evaluate(both[0], objective, both[1], data, noise)[0].total

    given = setting.network, setting.adaptive
    gradient = jax.jit(jax.grad(loss))(given)
    optimiser = optax.adam(float(fixture["lr"]))
    updates, _ = optimiser.update(gradient, optimiser.init(given))
    after: Any = optax.apply_updates(given, updates)
    for kind, found in (("grad", gradient), ("adam1", after)):
        for name, value in setting.flat(*found).items():
            want = fixture[f"{kind}/{name}"]
            if name.endswith("init_h.0") and not np.any(want):
                continue  # the stored run holds initial potentials at 0
            case.compare(f"{kind}/{name}", value, want, TIGHT)
