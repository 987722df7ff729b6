"""The cells against their equations, written out once more in NumPy."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from neuromod.kernels import GRU, LSTM, MTRNN, LeakyRNN, scan

T, B, N_IN, H = 9, 2, 3, 4
MASK = np.array([1, 1, 0, 1, 1, 1, 0, 1, 1], bool)
RESET = np.array([0, 0, 0, 1, 0, 0, 0, 0, 0], bool)
CONSTANTS = np.array([1.0, 2.0, 5.0, 40.0])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def dense(weight):
    """Return the recurrent weights of each gate as full matrices."""
    if weight.ndim == 3 and weight.shape[-1] == H:
        return weight
    gates = weight.reshape(-1, H // 2, 2, 2)
    full = np.zeros((len(gates), H, H))
    for gate, blocks in enumerate(gates):
        for head, block in enumerate(blocks):
            full[gate, 2 * head : 2 * head + 2, 2 * head : 2 * head + 2] = block
    return full


def leaky(cell, h, x, eps):
    leak = 1.0 if cell.leak is None else cell.leak
    s = 0.0 if cell.noise_scale is None else cell.noise_scale * eps
    within, outside = (s, 0) if cell.noise_enters == "activation" else (0, s)
    act = np.tanh if cell.activation == "tanh" else lambda z: np.maximum(z, 0)
    z = h @ dense(cell.recurrent_weight[None])[0].T + x @ cell.input_weight.T
    h = (1 - leak) * h + leak * act(z + cell.bias + within) + outside
    return h, h


def timescales(cell, carry, x, eps):
    u, y = carry
    z = y @ cell.recurrent_weight.T + x @ cell.input_weight.T + cell.bias
    u = (1 - 1 / cell.time_constant) * u + z / cell.time_constant
    return (u, np.tanh(u)), np.tanh(u)


def gru(cell, h, x, eps):
    weights = zip(cell.input_weight, cell.bias, strict=True)
    (xr, xu, xn), (r, u, n) = [x @ w.T + b for w, b in weights], cell.recurrent_weight
    reset, update = sigmoid(xr + h @ r.T), sigmoid(xu + h @ u.T)
    if cell.reset_enters == "after":
        new = np.tanh(xn + reset * (h @ n.T + cell.recurrent_bias))
    else:
        new = np.tanh(xn + (reset * h) @ n.T + cell.recurrent_bias)
    h = (1 - update) * new + update * h
    return h, h


def lstm(cell, carry, x, eps):
    h, c = carry
    recurrent = dense(cell.recurrent_weight)
    gates = zip(recurrent, cell.input_weight, cell.bias, strict=True)
    i, f, g, o = (h @ r.T + x @ w.T + b for r, w, b in gates)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return (h, c), h


CASES = {
    "elman": (LeakyRNN, {}, leaky),
    "noise inside": (LeakyRNN, {"leak": 0.3, "noise_scale": 0.5}, leaky),
    "noise outside": (
        LeakyRNN,
        {
            "leak": 1 / CONSTANTS,
            "noise_scale": 0.1 * CONSTANTS,
            "noise_enters": "state",
        },
        leaky,
    ),
    "heads": (LeakyRNN, {"n_heads": 2, "leak": 0.3, "activation": "relu"}, leaky),
    "timescales": (MTRNN, {"time_constant": CONSTANTS}, timescales),
    "gru": (GRU, {}, gru),
    "gru, reset before": (GRU, {"reset_enters": "before"}, gru),
    "lstm": (LSTM, {}, lstm),
    "lstm, heads": (LSTM, {"n_heads": 2}, lstm),
}


def make(kind, options, seed=0):
    """Draw a cell in float64 with no zero in it, inputs and noise."""
    rng = np.random.default_rng(seed)
    cell = kind.random(jax.random.key(seed), N_IN, H, **options)
    draw = {"leak", "noise_scale", "time_constant"} & set(options)
    kept = {name: jnp.asarray(options[name], float) for name in draw}
    cell = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=jnp.shape(x))), cell)
    for name, value in kept.items():
        cell = _replace(cell, name, value)
    x = jnp.asarray(rng.normal(size=(T, B, N_IN)))
    noisy = "noise_scale" in options
    return cell, x, jnp.asarray(rng.normal(size=(T, B, H))) if noisy else None


def _replace(cell, name, value):
    return eqx.tree_at(lambda c: getattr(c, name), cell, value)


def by_numpy(step, cell, carry, x, noise):
    """Run the equations with the mask and the reset."""
    cell, carry = jax.tree.map(np.asarray, (cell, carry))
    start, outputs = carry, np.zeros((T, B, H))
    for t in range(T):
        carry = start if RESET[t] else carry
        if MASK[t]:
            eps = None if noise is None else np.asarray(noise[t])
            carry, outputs[t] = step(cell, carry, np.asarray(x[t]), eps)
    return carry, outputs


@functools.partial(jax.jit, static_argnames=("project", "checkpoint", "plain"))
def run(cell, carry, x, noise, project="auto", checkpoint=None, plain=False):
    """Run the cell; if ``plain`` as a function, whose derivative JAX finds."""
    step = (lambda *arguments: cell(*arguments)) if plain else cell
    options = {"mask": MASK, "reset": RESET, "checkpoint": checkpoint}
    return scan(step, carry, x, noise=noise, project=project, **options)[:2]


def loss(cell, carry, x, noise, **options):
    carry, outputs = run(cell, carry, x, noise, **options)
    ends = sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(carry))
    return jnp.sum(outputs**2) + ends


def assert_close(got, want, tolerance=1e-12):
    def close(got, want):
        scale = np.abs(want).max() + 1e-300
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * scale)

    jax.tree.map(close, got, want)


def start_of(cell, seed=1):
    zeros = cell.initial((B,))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda c: jnp.asarray(0.3 * rng.normal(size=c.shape)), zeros)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("case", CASES)
def test_equations_and_derivatives(case):
    """Values against NumPy; the hand-written derivative, both ways, against JAX's."""
    kind, options, step = CASES[case]
    cell, x, noise = make(kind, options)
    carry = start_of(cell)
    every = (cell, carry, x, noise)
    change = jax.tree.map(jnp.cos, every)
    got, hand, auto, forward = evaluate(every, change)
    want = by_numpy(step, *every)
    assert_close(jax.tree.leaves(got), jax.tree.leaves(want))
    assert_close(hand, auto)
    assert all(np.abs(leaf).sum() > 0 for leaf in jax.tree.leaves(hand))
    dots = jax.tree.map(np.vdot, hand, change)
    assert_close(forward, sum(jax.tree.leaves(dots)), 1e-11)


@jax.jit
def evaluate(every, change):
    """Return the outputs, the derivatives by hand and by JAX, and that along a change.

    One program, because compiling it is what takes the time.
    """

    def slopes(plain):
        return jax.grad(lambda every: loss(*every, plain=plain))(every)

    _, forward = jax.jvp(lambda every: loss(*every), (every,), (change,))
    return run(*every), slopes(plain=False), slopes(plain=True), forward


slopes = jax.jit(
    jax.value_and_grad(loss), static_argnames=("plain", "project", "checkpoint")
)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("project", ["chunk", "step"])
@pytest.mark.parametrize("checkpoint", [None, 4])
def test_projection_and_chunks_change_nothing(project, checkpoint):
    cell, x, noise = make(*CASES["lstm"][:2])
    every = (cell, start_of(cell), x, noise)
    options = {"project": project, "checkpoint": checkpoint}
    assert_close(slopes(*every, **options), slopes(*every, plain=True))
    info = scan(*every[:3], **options).info
    assert (info.projected, info.recomputed) == (project, checkpoint is not None)
    assert info.n_chunks == (1 if checkpoint is None else 3)


@functools.partial(jax.jit, static_argnames="first_step")
def go_on(cell, carry, x, noise, mask, reset, length, first_step):
    """Run a part of a stream whose resets go back to the very first carry."""
    options = {"mask": mask, "reset": reset, "length": length, "noise": noise}
    options["initial"] = start_of(cell)
    return scan(cell, carry, x, first_step=first_step, **options)[:2]


flags = st.lists(st.booleans(), min_size=T, max_size=T).map(np.array)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("case", ["noise outside", "lstm"])
@settings(max_examples=20)
@given(mask=flags, reset=flags, length=st.integers(0, T))
@example(mask=MASK, reset=RESET, length=0)
@example(mask=MASK, reset=RESET, length=1)
def test_a_stream_gives_the_whole(case, mask, reset, length):
    """In three parts, with noise drawn from a key, wherever the sequence ends."""
    kind, options, _ = CASES[case]
    cell, x, noise = make(kind, options)
    noise = None if noise is None else jax.random.key(3)
    start = carry = start_of(cell)
    want = go_on(cell, start, x, noise, mask, reset, length, 0)
    parts = []
    for first in range(0, T, 3):
        cut = slice(first, first + 3)
        left = min(max(length - first, 0), 3)
        arguments = (carry, x[cut], noise, mask[cut], reset[cut], left, first)
        carry, outputs = go_on(cell, *arguments)
        parts.append(outputs)
    close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-12)
    jax.tree.map(close, (carry, jnp.concatenate(parts)), want)


@pytest.mark.usefixtures("float64")
def test_second_derivatives():
    cell, x, noise = make(*CASES["gru"][:2])
    every = (start_of(cell), x, noise)

    @functools.partial(jax.jit, static_argnums=0)
    def curvature(plain):
        slope = jax.grad(functools.partial(loss, plain=plain))
        change = jax.tree.map(jnp.ones_like, cell)
        return jax.jvp(lambda cell: slope(cell, *every), (cell,), (change,))[1]

    assert_close(curvature(False), curvature(True), 1e-11)


def test_the_backward_loop_carries_no_gradient_of_weights():
    """They come from one product over all steps, not from a sum inside the loop."""

    cell = LeakyRNN.random(jax.random.key(0), 5, 7)

    def carries_weights(plain):
        def total(weight):
            changed = _replace(cell, "recurrent_weight", weight)
            step = (lambda *arguments: changed(*arguments)) if plain else changed
            return jnp.sum(scan(step, jnp.zeros((2, 7)), jnp.ones((6, 2, 5))).outputs)

        program = jax.make_jaxpr(jax.grad(total))(cell.recurrent_weight)
        loops = [e for e in program.eqns if e.primitive.name == "scan"]
        carried = (v for e in loops for v in e.outvars[: e.params["num_carry"]])
        return (7, 7) in {v.aval.shape for v in carried}

    assert carries_weights(plain=True)
    assert not carries_weights(plain=False)


def test_single_precision_and_lanes():
    """Many networks at once by vmap, in float32."""
    keys = jax.random.split(jax.random.key(0), 3)
    cells = jax.vmap(lambda key: LSTM.random(key, N_IN, H))(keys)
    x = jax.random.normal(jax.random.key(1), (T, N_IN))
    lanes = jax.vmap(lambda cell: scan(cell, cell.initial(), x).outputs)(cells)
    assert lanes.dtype == jnp.float32
    one = jax.tree.map(lambda leaf: leaf[1], cells)
    alone = scan(one, one.initial(), x).outputs
    np.testing.assert_allclose(lanes[1], alone, atol=1e-6)
    assert np.abs(lanes[0] - lanes[1]).max() > 1e-3


def test_random_weights_have_the_shape_of_the_heads():
    cell = GRU.random(jax.random.key(0), 3, 6, n_heads=3)
    assert cell.recurrent_weight.shape == (3, 3, 2, 2)
    assert np.abs(cell.recurrent_weight).max() <= 1 / np.sqrt(2)
    assert np.abs(cell.recurrent_weight).max() > 0.5
    with pytest.raises(ValueError, match="n_heads: got 4, expected a divisor"):
        GRU.random(jax.random.key(0), 3, 6, n_heads=4)


@pytest.mark.usefixtures("own_errors_only")
def test_what_cells_refuse():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="activation: got 'sine', expected one of"):
        LeakyRNN.random(key, 3, 4, activation="sine")
    with pytest.raises(ValueError, match="reset_enters: got 'never'"):
        GRU.random(key, 3, 4, reset_enters="never")
    for cell in (LeakyRNN.random(key, 3, 4), GRU.random(key, 3, 4)):
        with pytest.raises(
            ValueError, match=r"noise: got some, expected none .* \w+\."
        ):
            scan(cell, cell.initial(), jnp.ones((5, 3)), noise=key)
