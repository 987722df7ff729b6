"""Recurrent cells against stored numbers: PyTorch's cells and leaky noisy networks."""

import re

import jax
import jax.numpy as jnp
import numpy as np

from neuromod import kernels
from tests.parity._format import Case, Fixture, Report

# Relative to the largest entry: of values, and of gradients.
TOLERANCES = {"float64": (1e-10, 1e-10), "float32": (2e-5, 2e-4)}


def check_torch_cells(fixture: Fixture, report: Report) -> None:
    """Check every group of stacked layers, whole and as padded sequences."""
    groups = {key.split("/")[0] for key in fixture.arrays if "/" in key}
    for group in sorted(groups):
        for part in (f"{group}/", f"{group}/packed/"):
            if f"{part}y" not in fixture:
                continue
            # Single precision once: each case is a program to compile.
            for precision in list(TOLERANCES)[: 1 if part.endswith("packed/") else 2]:
                with (
                    jax.enable_x64(precision == "float64"),
                    report.case(fixture.name, f"{part[:-1]}, {precision}") as case,
                ):
                    _check_layers(fixture, group, part, precision, case)


def _check_layers(fixture, group, part, precision, case: Case) -> None:
    start = {"h0", "c0"}
    weights = {"weight_ih", "weight_hh", "bias_ih", "bias_hh"}
    inputs = {
        name.removeprefix(f"{group}/"): jnp.asarray(fixture[name], precision)
        for name in fixture.arrays
        if re.fullmatch(rf"{group}/(x|h0|c0|(weight|bias)_[ih]h_l\d+)", name)
    }
    if not {f"{name}_l0" for name in weights} <= set(inputs) or not start & set(inputs):
        raise KeyError(f"weights or start of {group!r} are missing")
    lengths = fixture["lengths"] if part.endswith("packed/") else None
    kind = _kind(fixture, group)

    def loss(inputs):
        outputs, hidden, memory = run_layers(kind, inputs, lengths)
        return jnp.sum(outputs**2), (outputs, hidden, memory)

    grad = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, (outputs, hidden, memory)), gradient = grad(inputs)
    values, slopes = TOLERANCES[precision]
    case.compare("y", outputs, fixture[f"{part}y"], values)
    case.compare("loss", value, fixture[f"{part}loss"], values)
    case.compare("hT", hidden, fixture[f"{part}hT"], values)
    if kind == "lstm":
        case.compare("cT", memory, fixture[f"{part}cT"], values)
    for name, slope in gradient.items():
        case.compare(f"g_{name}", slope, fixture[f"{part}g_{name}"], slopes)


def _kind(fixture: Fixture, group: str) -> str:
    """Tell the cell by the number of its gates, and an RNN by its name or values."""
    gates, hidden = fixture[f"{group}/weight_hh_l0"].shape
    several = {3: "gru", 4: "lstm"}
    if gates // hidden in several:
        return several[gates // hidden]
    if "relu" in group or "tanh" in group:
        return "relu" if "relu" in group else "tanh"
    return "relu" if fixture[f"{group}/y"].min() >= 0 else "tanh"


def run_layers(kind: str, arrays: dict, lengths: np.ndarray | None):
    """Run stacked layers: the outputs of the last, all final states."""
    outputs, ends = arrays["x"], []
    for layer in range(len(arrays["h0"])):
        cell = _cell(kind, [arrays[f"{name}_l{layer}"] for name in NAMES])
        start = arrays["h0"][layer]
        if kind == "lstm":
            start = kernels.LSTMState(start, arrays["c0"][layer])
        end, outputs = _run(cell, start, outputs, lengths)
        ends.append(end)
    if kind == "lstm":
        return outputs, *(jnp.stack(parts) for parts in zip(*ends, strict=True))
    return outputs, jnp.stack(ends), None


NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _run(cell, start, inputs, lengths):
    if lengths is None:
        return kernels.scan(cell, start, inputs)[:2]

    def of_sequence(start, inputs, length):
        return kernels.scan(cell, start, inputs, length=length)[:2]

    axes = {"in_axes": (0, 1, 0), "out_axes": (0, 1)}
    return jax.vmap(of_sequence, **axes)(start, inputs, jnp.asarray(lengths))


def _cell(kind, weights):
    of_input, of_state, *biases = weights
    if kind in ("tanh", "relu"):
        return kernels.LeakyRNN(of_input, of_state, sum(biases), activation=kind)
    n_hidden = of_state.shape[1]
    of_input = of_input.reshape(-1, n_hidden, of_input.shape[1])
    of_state = of_state.reshape(-1, n_hidden, n_hidden)
    direct, through = (bias.reshape(-1, n_hidden) for bias in biases)
    if kind == "lstm":
        return kernels.LSTM(of_input, of_state, direct + through)
    both = direct + through.at[2].set(0.0)
    return kernels.GRU(of_input, of_state, both, through[2])


def check_leaky(fixture: Fixture, report: Report) -> None:
    """Check a network whose noise enters the activation, and the state."""
    for group in sorted({key.split("/")[0] for key in fixture.arrays if "/" in key}):
        for precision in TOLERANCES:
            with (
                jax.enable_x64(precision == "float64"),
                report.case(fixture.name, f"{group}, {precision}") as case,
            ):
                _check_leaky_group(fixture, group, precision, case)


def _check_leaky_group(fixture, group, precision, case: Case) -> None:
    enters = {"pre": "activation", "state": "state"}[group]
    names = ("W", "Wi", "b", "h0", "x", "eps", "alpha", "sigma")
    inputs = {name: jnp.asarray(fixture[name], precision) for name in names}

    def loss(inputs):
        cell = kernels.LeakyRNN(
            inputs["Wi"],
            inputs["W"],
            inputs["b"],
            leak=inputs["alpha"],
            noise_scale=inputs["sigma"],
            noise_enters=enters,
        )
        noise = inputs["eps"]
        outputs = kernels.scan(cell, inputs["h0"], inputs["x"], noise=noise).outputs
        return jnp.sum(outputs**2), outputs

    grad = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, outputs), gradient = grad(inputs)
    values, slopes = TOLERANCES[precision]
    case.compare("y", outputs, fixture[f"{group}/y"], values)
    case.compare("loss", value, fixture[f"{group}/loss"], values)
    stored = {n for n in names if f"{group}/g_{n}" in fixture} | {*names[:5]}
    for name in sorted(stored):
        slope = fixture[f"{group}/g_{name}"]
        case.compare(f"g_{name}", gradient[name], slope, slopes)
