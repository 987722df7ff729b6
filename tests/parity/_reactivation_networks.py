"""Networks of reactivation against stored runs, gradients and steps of Adam."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from neuromod.reactivation import inference
from neuromod.reactivation.codes import Code, HeadDirectionCode, PlaceCode
from neuromod.reactivation.inference import Conditions, Noise, begin
from neuromod.reactivation.measures.manifold import manifold_fit
from neuromod.reactivation.measures.paths import step_length
from neuromod.reactivation.measures.positions import grid
from neuromod.reactivation.network import GRUNetwork, Layer, Network, VanillaNetwork
from neuromod.reactivation.train import squared_error
from tests.parity._format import Case, Fixture, Report

TIGHT = 1e-10
VANILLA = {
    "encoder": "encoder",
    "w_in": "input_layer",
    "w_rec": "recurrent_layer",
    "w_out": "output_layer",
}
GATED = {
    "encoder": "encoder",
    "decoder": "decoder",
    "w_z": "update_input",
    "u_z": "update_recurrent",
    "w_r": "reset_input",
    "u_r": "reset_recurrent",
    "w_h": "candidate_input",
    "u_h": "candidate_recurrent",
}
SLEEP = {
    "quiescent_sqrt2": Conditions(noise_factor=2**0.5),
    "quiescent_noiseless": Conditions(noise_factor=0.0),
}


def check(fixture: Fixture, report: Report) -> None:
    """Check every case: runs awake and asleep, gradients, three steps of Adam."""
    for name in dict.fromkeys(key.partition("/")[0] for key in fixture.arrays):
        with report.case(fixture.name, name) as case:
            _check_case(case, fixture, name)


def _check_case(case: Case, fixture: Fixture, name: str) -> None:
    network, names = _network(fixture, name)
    kinds = ("x", "noise_in", "noise_rec", "noise_out")
    given = {k: _time_first(fixture, f"{name}/{k}") for k in kinds}
    noise = Noise(given["noise_in"], given["noise_rec"], given["noise_out"])
    code, x = fixture[f"{name}/init"], given["x"]
    first = network.encode(jnp.asarray(code))
    case.compare("init_state", first, fixture[f"{name}/init_state"], TIGHT)
    awake = inference.run(network, x, begin(first), noise=noise)
    _compare_run(case, fixture, f"{name}/awake", awake)
    zero = inference.run(network, x, begin(jnp.zeros_like(first)), noise=noise)
    last = fixture[f"{name}/awake_zero_init/h_last"]
    case.compare("awake_zero_init", zero.carry.state, last, TIGHT)
    for kind, conditions in SLEEP.items():
        if any(key.startswith(f"{name}/{kind}/") for key in fixture.arrays):
            found = inference.run(
                network,
                None,
                begin(first),
                noise=noise,
                n_steps=len(x),
                conditions=conditions,
            )
            _compare_run(case, fixture, f"{name}/{kind}", found)
    if f"{name}/train/target" in fixture:
        _compare_training(case, fixture, name, network, names, (code, x, noise))


def _time_first(fixture: Fixture, key: str) -> jax.Array:
    return jnp.swapaxes(jnp.asarray(fixture[key]), 0, 1)


def _network(fixture: Fixture, name: str) -> tuple[Network, dict[str, str]]:
    gated = f"{name}/param/w_z.weight" in fixture
    names = GATED if gated else VANILLA
    layers = {}
    for stored, field in names.items():
        bias = f"{name}/param/{stored}.bias"
        layers[field] = Layer(
            jnp.asarray(fixture[f"{name}/param/{stored}.weight"]),
            jnp.asarray(fixture[bias]) if bias in fixture else None,
        )
    dt, tau, sigma_in, sigma_rec, sigma_out = map(float, fixture[f"{name}/scalars"])
    make = GRUNetwork if gated else VanillaNetwork
    network = make(
        **layers,
        time_step=dt,
        membrane_time_constant=tau,
        input_noise=sigma_in,
        recurrent_noise=sigma_rec,
        output_noise=sigma_out,
        activation=name.split("_")[0],
    )
    return network, names


def _compare_run(
    case: Case, fixture: Fixture, where: str, found: inference.Run
) -> None:
    for key, values in {"h": found.states, "y": found.outputs}.items():
        if f"{where}/{key}" in fixture:
            stored = _time_first(fixture, f"{where}/{key}")
            case.compare(f"{where}/{key}", values, stored, TIGHT)


def _compare_training(case, fixture, name, network, names, given) -> None:
    code, x, noise = given
    target = _time_first(fixture, f"{name}/train/target")

    def loss(layers):
        moved = type(network)(**{**vars(network), **layers})
        carry = begin(moved.encode(jnp.asarray(code)))
        return squared_error(
            inference.run(moved, x, carry, noise=noise).outputs, target
        )

    layers = network.layers()
    optimiser = optax.adam(1e-3)
    state = optimiser.init(layers)
    losses = []
    differentiate = jax.jit(jax.value_and_grad(loss))
    for number in range(len(fixture[f"{name}/train/losses"])):
        value, gradient = differentiate(layers)
        if number == 0:
            _compare_layers(case, fixture, f"{name}/train/grad", gradient, names)
        losses.append(float(value))
        updates, state = optimiser.update(gradient, state)
        layers = optax.apply_updates(layers, updates)
    case.compare("losses", np.array(losses), fixture[f"{name}/train/losses"], TIGHT)
    after = f"{name}/train/param_after_3_adam"
    _compare_layers(case, fixture, after, layers, names)


def _compare_layers(case, fixture, where, layers, names) -> None:
    for stored, field in names.items():
        for part in ("weight", "bias"):
            if f"{where}/{stored}.{part}" in fixture:
                got = getattr(layers[field], part)
                want = fixture[f"{where}/{stored}.{part}"]
                case.compare(f"{where}/{stored}.{part}", got, want, TIGHT)


def check_trained(fixture: Fixture, report: Report) -> None:
    """Put trained networks to sleep: what they do is told, there is no stored run."""
    for name in dict.fromkeys(key.partition("/")[0] for key in fixture.arrays):
        if f"{name}/wrec" in fixture:
            with report.case(fixture.name, name) as case:
                network, code, _ = trained(fixture, name)
                cosine, step = asleep(fixture, name)
                if network.n_cells != code.n_cells or not np.isfinite(cosine + step):
                    case.fail("weights and cells do not fit")
                told = f"cosine {cosine:.3f}, step {step:.4f}"
                case.state("data", f"weights without a stored run; asleep: {told}")


def trained(fixture: Fixture, name: str) -> tuple[VanillaNetwork, Code, float]:
    """Return a trained network, its code, and half the width of its arena."""
    kind = name.partition("_")[0]
    scalars = next(k for k in fixture.arrays if k.startswith(f"{kind}/scalars"))
    alpha, sigma, width, *rest = map(float, fixture[scalars])
    cells = jnp.asarray(fixture[f"{kind}/cells"])
    make = HeadDirectionCode if cells.ndim == 1 else PlaceCode
    layers = {
        "encoder": "enc",
        "input_layer": "win",
        "recurrent_layer": "wrec",
        "output_layer": "wout",
    }
    network = VanillaNetwork(
        **{k: Layer(jnp.asarray(fixture[f"{name}/{v}"])) for k, v in layers.items()},
        time_step=alpha,
        membrane_time_constant=1.0,
        recurrent_noise=sigma,
    )
    return network, make(cells, width), rest[0] / 2 if rest else np.pi


def asleep(fixture: Fixture, name: str, noise_factor: float = 2**0.5):
    """Return how near the code a network stays asleep (cosine), and its mean step."""
    network, code, half = trained(fixture, name)
    n_space = 1 if code.periodic else 2
    random = np.random.default_rng(0)
    places = random.uniform(-half, half, (100, n_space)).astype(np.float32)
    candidates = grid([[-half, half]] * n_space, 45 if n_space == 2 else 360)
    run = inference.run(
        network,
        None,
        begin(network.encode(code.activation(places))),
        noise=jax.random.key(0),
        n_steps=500,
        conditions=Conditions(noise_factor=noise_factor),
    )
    outputs = jnp.swapaxes(run.outputs, 0, 1)[:, 100:]
    fit = manifold_fit(outputs[:, ::20], code, candidates.astype(np.float32))
    step = step_length(np.asarray(code.decode(outputs)), periodic=code.periodic)
    return float(fit.cosine.mean()), float(step.mean())
