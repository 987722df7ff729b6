"""Towers of layers (family a): runs, gradients, Adam, regression, generation."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

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
from neuromod.pvrnn.energy import Data, divergence, encode, evaluate
from neuromod.pvrnn.inference import outputs
from neuromod.pvrnn.latents import Adaptive, parts, start
from neuromod.pvrnn.regression import regress
from neuromod.pvrnn.stepwise import generate
from tests.parity._format import Case, Fixture, Report

TIGHT = 1e-9
MAPS = {"prior": ("Wmp", "prior"), "inference": ("Wmq", "inference")}


def check(fixture: Fixture, report: Report) -> None:
    """Check one file."""
    with report.case(fixture.name, "posterior") as case:
        setting = Setting(fixture)
        _check_run(case, setting)
    with report.case(fixture.name, "gradient") as case:
        _check_gradient(case, setting)
    with report.case(fixture.name, "error regression") as case:
        _check_regression(case, setting)
    with report.case(fixture.name, "prior") as case:
        _check_prior(case, setting)


class Setting:
    """A file as a network, its data and its adaptive vectors."""

    def __init__(self, fixture: Fixture) -> None:
        self.fixture = fixture
        self.units = fixture["h_dim"].tolist()
        self.latents = fixture["z_dim"].tolist()
        self.uses_activity = bool(fixture["posterior_uses_d"])
        self.masks = {
            name.removeprefix("mask/"): fixture[name]
            for name in fixture.arrays
            if name.startswith("mask/")
        }
        self.network = self.build(lambda name: fixture[f"param/{name}"])
        self.adaptive = adaptive_of(fixture["param/adaptive_vars"])
        self.noise = time_first(fixture["eps"])
        self.data = self.data_of(fixture["target"])

    def data_of(self, target: Any) -> Data:
        """Return stored outputs (trial, time, output) as what should be told."""
        target = time_first(target)
        if self.kind == "softmax":
            target = target.reshape(*target.shape[:2], -1, self.n_quant)
        return Data((target,))

    @property
    def kind(self) -> str:
        """The kind of outputs."""
        return str(self.fixture["output_kind"])

    @property
    def n_quant(self) -> int:
        """Outputs per channel."""
        return int(self.fixture["n_quant"])

    def objective(self, prefix: str = "") -> Objective:
        """Return what is descended."""
        w, w1 = (self.fixture[prefix + name] for name in ("w", "w1"))
        return Objective(w, w1, constants="sdd")

    def blocks(self) -> list[tuple[slice, slice]]:
        """Return where the units and the latents of each layer stand."""
        at = np.cumsum([0, *self.units]), np.cumsum([0, *self.latents])
        return [
            (slice(*at[0][i : i + 2].tolist()), slice(*at[1][i : i + 2].tolist()))
            for i in range(len(self.units))
        ]

    def build(self, given: Any) -> PVRNN:
        """Build the network from matrices of all layers side by side."""
        places, n_units = self.blocks(), sum(self.units)
        weight = given("recurrence.layer.weight") * self.masks["recurrence.layer"]
        bias = given("recurrence.layer.bias")
        layers, connections = [], []
        for i, (u, z) in enumerate(places):
            layers.append(
                LatentLayer(
                    f"layer_{i}",
                    self.latents[i],
                    jnp.asarray(weight[u, u]),
                    jnp.asarray(weight[u, n_units:][:, z]),
                    jnp.asarray(bias[u]),
                    jnp.full(self.units[i], float(self.fixture["tau"][i])),
                    self.maps("prior", u, z, given),
                    self.maps("inference", u, z, given) if self.uses_activity else None,
                )
            )
            for j in (i - 1, i + 1):
                if 0 <= j < len(places) and (j > i or self.fixture["bottom_up"]):
                    block = jnp.asarray(weight[u, places[j][0]])
                    ends = f"layer_{j}", f"layer_{i}"
                    connections.append(Connection(block, *ends, "activity", 1))
        out = Affine(
            jnp.asarray(given("generation.layer.weight")),
            jnp.asarray(given("generation.layer.bias")),
        )
        if self.kind == "softmax":
            points = np.linspace(-1, 1, self.n_quant)
            head: Any = SoftmaxHead("output", "layer_0", out, points, 0.05)
        else:
            head = TanhHead("output", "layer_0", out)
        return PVRNN(layers, connections, (head,))

    def maps(self, name: str, u: slice, z: slice, given: Any) -> LatentMap:
        """Return what activities say of the latents of a layer."""
        found = []
        for part in ("mean_layer", "std_layer"):
            weight = given(f"{name}.{part}.weight") * self.masks[f"{name}.{part}"]
            bias = given(f"{name}.{part}.bias")
            found.append(Affine(jnp.asarray(weight[z, u]), jnp.asarray(bias[z])))
        return LatentMap(*found)

    def flat(self, network: PVRNN, adaptive: Adaptive) -> dict[str, np.ndarray]:
        """Return what belongs to every stored parameter: the inverse of `build`."""
        places, n_units = self.blocks(), sum(self.units)
        names = [n.removeprefix("param/") for n in self.fixture.arrays if "param/" in n]
        found = {n: np.zeros(self.fixture[f"param/{n}"].shape) for n in names}
        weight = found["recurrence.layer.weight"]
        for i, ((u, z), layer) in enumerate(zip(places, network.layers, strict=True)):
            weight[u, u] = layer.recurrent_weight
            weight[u, n_units + z.start : n_units + z.stop] = layer.latent_weight
            found["recurrence.layer.bias"][u] = layer.bias
            kinds = [("prior", layer.prior), ("inference", layer.posterior)]
            for name, told in kinds:
                if told is not None:
                    of = ("mean_layer", told.mean), ("std_layer", told.log_deviation)
                    for part, affine in of:
                        found[f"{name}.{part}.weight"][z, u] = affine.weight
                        found[f"{name}.{part}.bias"][z] = affine.bias
            for connection in network.connections:
                if connection.target == f"layer_{i}":
                    j = network.index(connection.source)
                    weight[u, places[j][0]] = connection.weight
        found["generation.layer.weight"][:] = network.heads[0].layer.weight
        found["generation.layer.bias"][:] = network.heads[0].layer.bias
        found["adaptive_vars"][:] = stored(adaptive)
        return found


def time_first(values: Any) -> jax.Array:
    """Swap the first two axes."""
    return jnp.swapaxes(jnp.asarray(values, float), 0, 1)


def adaptive_of(values: Any) -> Adaptive:
    """Return stored vectors (trial, time, 2 latent) as adaptive vectors."""
    return Adaptive(*jnp.split(time_first(values), 2, axis=-1))


def stored(adaptive: Adaptive) -> jax.Array:
    """Return adaptive vectors as they are stored."""
    return time_first(jnp.concatenate(adaptive[:2], axis=-1))


def _check_run(case: Case, setting: Setting) -> None:
    fixture, network = setting.fixture, setting.network
    values = time_first(fixture["raw"])
    target = encode(network, values).targets[0]
    case.compare("target", target, setting.data.targets[0], TIGHT)
    objective = setting.objective()
    terms, run = evaluate(
        network, objective, setting.adaptive, setting.data, setting.noise
    )
    whole = time_first(jnp.concatenate(run.activities, axis=-1))
    case.compare("d", whole, fixture["d"], TIGHT)
    case.compare("h", np.arctanh(whole), fixture["h"], 1e-7)
    case.compare("z", time_first(run.latents), fixture["z"], TIGHT)
    for name, normal in (("q", run.posterior), ("p", run.prior)):
        case.compare(
            f"mu_{name}", time_first(normal.mean), fixture[f"mu_{name}"], TIGHT
        )
        deviation = time_first(normal.deviation)
        case.compare(f"sigma_{name}", deviation, fixture[f"sigma_{name}"], TIGHT)
    told = outputs(network, run.activities)[0]
    x = time_first(told.reshape(*told.shape[:2], -1))
    case.compare("x", x, fixture["x"], TIGHT)
    by_latent = divergence(run.posterior, run.prior, objective.constants)
    case.compare("kl_element", time_first(by_latent), fixture["kl_element"], TIGHT)
    layers = jnp.stack([part.sum((1, 2)) for part in parts(network, by_latent)], -1)
    layers = layers * objective.divergence_factors(network)[None]
    case.compare("kl first", layers[0], fixture["kl_per_layer_first"], TIGHT)
    case.compare("kl rest", layers[1:].sum(0), fixture["kl_per_layer_rest"], TIGHT)
    case.compare("divergence", terms.divergence, layers.sum(0), TIGHT)
    case.compare("rec_loss", terms.reconstruction[0], fixture["rec_loss"], TIGHT)
    case.compare("loss", terms.total, fixture["loss"], TIGHT)
    _ = fixture["x_dim"], fixture["n_quant"]  # told by the shapes of the weights


def _check_gradient(case: Case, setting: Setting) -> None:
    fixture, objective = setting.fixture, setting.objective()

    def loss(both: Any) -> jax.Array:
        return evaluate(both[0], objective, both[1], setting.data, setting.noise)[
            0
        ].total

    given = setting.network, setting.adaptive
    gradient = jax.jit(jax.grad(loss, allow_int=True))(given)
    optimiser = optax.adam(float(fixture["lr"]))
    updates, _ = optimiser.update(gradient, optimiser.init(given))
    after: Any = optax.apply_updates(given, updates)
    masks = {f"{name}.weight": mask for name, mask in setting.masks.items()}
    for name, value in setting.flat(*gradient).items():
        case.compare(f"grad/{name}", value, fixture[f"grad/{name}"], TIGHT)
    for name, value in setting.flat(*after).items():
        mask = masks.get(name, 1)
        want = fixture[f"adam1/{name}"] * mask
        case.compare(f"adam1/{name}", value * mask, want, TIGHT)


def _check_regression(case: Case, setting: Setting) -> None:
    fixture = setting.fixture
    network, objective = setting.network, setting.objective("er/")
    data = setting.data_of(fixture["er/target"])
    adaptive = adaptive_of(fixture["er/A0"][None])
    optimiser = optax.adam(float(fixture["er/lr"]))
    memory = None
    for i, eps in enumerate(fixture["er/eps"]):
        noise = time_first(eps[None])

        def loss(adaptive: Adaptive, noise: Any = noise) -> Any:
            terms, run = evaluate(network, objective, adaptive, data, noise)
            return terms.total, outputs(network, run.activities)[0]

        gradient, x = jax.grad(loss, has_aux=True)(adaptive)
        case.compare("grad", stored(gradient)[0], fixture["er/grad"][i], TIGHT)
        flat = x[:, 0].reshape(len(x), -1)
        case.compare("x", flat, fixture["er/x"][i], TIGHT)
        found = regress(
            network, objective, adaptive, data, noise[None], optimiser, memory=memory
        )
        adaptive, memory, values = found
        case.compare("loss", values[0], fixture["er/loss"][i], TIGHT)
        case.compare("A", stored(adaptive)[0], fixture["er/A"][i], TIGHT)
    first = adaptive_of(fixture["er/A0"][None])
    noise = jnp.stack([time_first(eps[None]) for eps in fixture["er/eps"]])
    found = regress(network, objective, first, data, noise, optimiser)
    case.compare("all at once", stored(found.adaptive)[0], fixture["er/A"][-1], TIGHT)


def _check_prior(case: Case, setting: Setting) -> None:
    fixture, network = setting.fixture, setting.network
    noise = time_first(fixture["prior/eps"])
    found = generate(network, noise, start(network, noise.shape[1]))
    activities, prior, latents, _ = found
    told = outputs(network, activities)[0]
    case.compare(
        "x", time_first(told.reshape(*told.shape[:2], -1)), fixture["prior/x"], TIGHT
    )
    case.compare("z", time_first(latents), fixture["prior/z"], TIGHT)
    case.compare("mu_p", time_first(prior.mean), fixture["prior/mu_p"], TIGHT)
    deviation = time_first(prior.deviation)
    case.compare("sigma_p", deviation, fixture["prior/sigma_p"], TIGHT)
    whole = time_first(jnp.concatenate(activities, axis=-1))
    case.compare("d", whole, fixture["prior/d"], TIGHT)
