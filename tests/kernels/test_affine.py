"""Linear recurrences: every method against a loop in NumPy, values and derivatives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.test_util import check_grads

from neuromod.kernels import affine_methods
from neuromod.kernels.affine import affine_scan, matrix_affine_scan
from tests.kernels.folded import assert_each_loop_is_one_kernel

METHODS = tuple(affine_methods.METHODS)
CASES = {  # recurrence, number of steps, a factor for each step, complex
    "no step": (affine_scan, 0, True, False),
    "one step": (affine_scan, 1, True, True),
    "decays": (affine_scan, 5, True, True),
    "one decay": (affine_scan, 5, False, False),
    "matrices": (matrix_affine_scan, 4, True, False),
    "one matrix": (matrix_affine_scan, 5, False, True),
}
N_BLOCKS = 3  # fits none of the lengths, so that steps are added


def example(case, seed=0, n_steps=None):
    """Return the arguments of a case in double precision: nothing in them is equal."""
    recurrence, length, varying, is_complex = CASES[case]
    n_steps = length if n_steps is None else n_steps
    rng = np.random.default_rng(seed)

    def draw(*shape):
        real, imaginary = rng.normal(size=(2, *shape))
        return real + 1j * imaginary if is_complex else real

    one = (3,) if recurrence is affine_scan else (3, 3)
    factor = 0.5 * draw(*((n_steps,) if varying else ()), *one)
    return factor, draw(n_steps, 3), draw(3)


def by_hand(case, factor, drive, initial, mask, reset, reverse):
    """Return the outputs and the last state by the equation."""
    recurrence, _, varying, _ = CASES[case]
    times = np.multiply if recurrence is affine_scan else np.matmul
    state, outputs = initial, np.zeros_like(drive)
    for t in reversed(range(len(drive))) if reverse else range(len(drive)):
        state = 0 * state if reset[t] else state
        if mask[t]:
            state = times(factor[t] if varying else factor, state) + drive[t]
            outputs[t] = state
    return outputs, state


@functools.partial(jax.jit, static_argnames=("case", "reverse"))
def run_all(case, arguments, reverse=False, **options):
    """Return the result of each method."""
    run = functools.partial(CASES[case][0], n_blocks=N_BLOCKS, reverse=reverse)
    return [run(*arguments, method=method, **options) for method in METHODS]


def to_jax(arrays):
    return jax.tree.map(jnp.asarray, arrays)


close = functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-12)


REVERSED = ("one decay", "one matrix")


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(list(CASES)),
    st.integers(0, 2**32 - 1),
    st.integers(0, 6),
)
def test_masks_resets_lengths(case, seed, length):
    arguments, reverse = example(case), case in REVERSED
    n_steps = len(arguments[1])
    mask, reset = np.random.default_rng(seed).random((2, n_steps)) < [[0.7], [0.3]]
    valid = mask & (np.arange(n_steps) < length)
    outputs, last = by_hand(case, *arguments, valid, reset, reverse)
    flags = {"mask": jnp.asarray(mask), "reset": jnp.asarray(reset)}
    with jax.enable_x64(True):
        for got in run_all(case, to_jax(arguments), reverse, length=length, **flags):
            assert got.states.dtype == outputs.dtype
            close(got.states, outputs)
            close(got.last, last)


def plainly(case, factor, drive, initial, reset):
    """The same recurrence, differentiated by JAX through its loop."""
    recurrence, _, varying, _ = CASES[case]
    times = jnp.multiply if recurrence is affine_scan else jnp.matmul

    def step(state, now):
        drive, own, reset = now
        state = jnp.where(reset, jnp.zeros_like(state), state)
        state = times(own if varying else factor, state) + drive
        return state, state

    inputs = (drive, factor if varying else None, reset)
    return lax.scan(step, initial, inputs)[1]


def to_parts(arguments):
    return [(x.real, x.imag) if jnp.iscomplexobj(x) else (x,) for x in arguments]


def from_parts(parts):
    return [lax.complex(*part) if len(part) == 2 else part[0] for part in parts]


def loss(function, parts):
    """Return a number that is quadratic in the states and treats none alike."""
    states = function(*from_parts(parts))
    weights = jnp.cos(jnp.arange(states.size, dtype=float)).reshape(states.shape)
    return jnp.sum(weights * (states.real**2 + states.imag * states.real))


def derivatives(case, run, order):
    """Return the gradient of `loss`, or how it changes in a direction."""
    parts = to_parts(to_jax(example(case)))
    gradient = jax.grad(functools.partial(loss, run))
    if order == 1:
        return jax.jit(gradient)(parts)
    direction = jax.tree.map(jnp.cos, parts)
    return jax.jit(lambda x: jax.jvp(gradient, (x,), (direction,))[1])(parts)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("case", "methods", "order"),
    [
        ("decays", ["associative", "blocked"], 1),
        ("one decay", ["sequential"], 1),
        ("matrices", ["sequential"], 1),
        ("one matrix", ["blocked"], 1),
        ("decays", ["sequential"], 2),
    ],
)
def test_derivatives_are_those_of_the_loop(case, methods, order):
    """With respect to real and imaginary parts."""
    reset = jnp.arange(len(example(case)[1])) == 2
    want = derivatives(case, functools.partial(plainly, case, reset=reset), order)
    assert all(np.abs(x).sum() > 0 for x in jax.tree.leaves(want))
    for method in methods:
        options = {"reset": reset, "method": method, "n_blocks": N_BLOCKS}
        run = functools.partial(CASES[case][0], **options)
        got = derivatives(case, lambda *x, f=run: f(*x).states, order)
        jax.tree.map(functools.partial(close, rtol=1e-10), got, want)


@pytest.mark.usefixtures("float64")
def test_derivatives_are_differences():
    """Also through masked steps, in reverse and of the last state."""
    decay, drive, initial = to_jax(example("decays"))
    mask = jnp.arange(5) != 2

    @jax.jit
    def last_and_all(*parts):
        result = affine_scan(*from_parts(parts), mask=mask, length=4, reverse=True)
        return result.states, result.last

    parts = to_parts((decay, drive, initial))
    check_grads(last_and_all, parts, 1, modes=["rev"], rtol=1e-7, atol=1e-7)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("method", ["sequential", "blocked"])
def test_a_stream_gives_the_whole(method):
    decay, drive, initial = to_jax(example("decays", n_steps=20))
    flags = {"mask": jnp.arange(20) % 7 != 3, "reset": jnp.arange(20) % 11 == 5}
    run = functools.partial(affine_scan, method=method, n_blocks=4)
    whole = run(decay, drive, initial, **flags)
    state, parts = initial, []
    for start in range(0, 20, 4):
        cut = slice(start, start + 4)
        own = {name: flag[cut] for name, flag in flags.items()}
        states, state = run(decay[cut], drive[cut], state, **own)
        parts.append(states)
    close(jnp.concatenate(parts), whole.states)
    close(state, whole.last)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("method", METHODS)
def test_what_is_not_used_is_never_read(method):
    """NaN at masked steps, and whatever came before a reset."""
    arguments = to_jax(example("decays"))
    mask, reset = jnp.arange(5) != 3, jnp.array([True, False, True, False, False])

    def spoil(decay, drive, initial):
        decay = decay.at[jnp.array([0, 2, 3])].set(jnp.nan)  # resets, and masked
        return decay, drive.at[3].set(jnp.nan), jnp.full_like(initial, jnp.nan)

    @jax.jit
    def slopes(*arguments):
        def total(*arguments):
            options = {"mask": mask, "reset": reset, "method": method, "n_blocks": 5}
            states, last = affine_scan(*arguments, **options)
            return jnp.sum(states.real**2) + jnp.sum(last.imag), states

        return jax.grad(total, argnums=(0, 1, 2), has_aux=True)(*arguments)

    got, want = slopes(*spoil(*arguments)), slopes(*arguments)
    jax.tree.map(np.testing.assert_array_equal, got, want)
    overflown = arguments[1].at[1].set(jnp.inf)
    gradient, states = slopes(arguments[0], overflown, arguments[2])
    close(states[2:], want[1][2:])
    close(gradient[0][2:], want[0][0][2:])


def test_a_trace_at_irregular_times():
    """Skipping samples without input changes nothing at the samples that are left."""
    rng = np.random.default_rng(0)
    kept = np.flatnonzero(rng.random(200) < 0.2)
    every = np.zeros((200, 3), np.float32)
    every[kept] = rng.normal(size=(len(kept), 3))
    step, time_constants = 0.001, jnp.array([0.005, 0.02, 0.1])
    regular = affine_scan(jnp.exp(-step / time_constants), jnp.asarray(every)).states
    elapsed = jnp.asarray(step * np.diff(kept, prepend=0), jnp.float32)
    decays = jnp.exp(-elapsed[:, None] / time_constants[None])
    irregular = affine_scan(decays, jnp.asarray(every[kept])).states
    np.testing.assert_allclose(irregular, regular[kept], atol=1e-6)


@pytest.mark.usefixtures("float64")
def test_matrices_are_decays_of_their_eigenvectors():
    """A real matrix and the complex decays that are its eigenvalues."""
    rng = np.random.default_rng(1)
    dynamics, drive = 0.6 * rng.normal(size=(4, 4)), rng.normal(size=(50, 4))
    decays, vectors = np.linalg.eig(dynamics)
    assert np.iscomplexobj(decays)
    mixed = np.asarray(matrix_affine_scan(*to_jax((dynamics, drive))).states)
    apart = affine_scan(*to_jax((decays, drive @ np.linalg.inv(vectors).T))).states
    scale = np.abs(mixed).max()
    close(np.asarray(apart) @ vectors.T / scale, mixed / scale)


@pytest.mark.parametrize("method", ["associative", "blocked"])
def test_products_of_decays_may_underflow(method):
    """A quotient of cumulative products would be 0 / 0 from the 20th step on."""
    rng = np.random.default_rng(0)
    decay = rng.uniform(1e-3, 1e-1, size=(64, 3)).astype(np.float32)
    drive = rng.normal(size=(64, 3)).astype(np.float32)
    never = np.zeros(64, bool)
    zeros = np.zeros(3)
    want, _ = by_hand("decays", decay, drive.astype(float), zeros, ~never, never, False)
    got = affine_scan(*to_jax((decay, drive)), method=method, n_blocks=8)
    np.testing.assert_allclose(got.states, want, atol=1e-6)


@pytest.mark.parametrize("shape", [(), (1, 3), (4, 2, 1)])
def test_decays_are_stretched(shape):
    rng = np.random.default_rng(0)
    drive, decay = rng.normal(size=(4, 2, 3)), rng.uniform(size=shape)
    whole, never = np.broadcast_to(decay, drive.shape), np.zeros(4, bool)
    want, _ = by_hand("decays", whole, drive, drive[0], ~never, never, False)
    arguments = [jnp.asarray(x, jnp.float32) for x in (decay, drive, drive[0])]
    for method in ("associative", "blocked") if len(shape) == 3 else ("sequential",):
        got = affine_scan(*arguments, method=method, n_blocks=2).states
        np.testing.assert_allclose(got, want, atol=1e-6)


def test_numbers_of_different_types():
    """A real decay of complex numbers, and a float decay of counts."""
    with jax.numpy_dtype_promotion("standard"):
        rotating = affine_scan(0.5, jnp.array([2.0j, 0.0, 0.0]))
        counts = affine_scan(0.5, jnp.array([2, 0, 0]))
    np.testing.assert_array_equal(rotating.states, [2j, 1j, 0.5j])
    np.testing.assert_array_equal(counts.states, [2, 1, 0.5])


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_single_precision(dtype):
    case = "decays" if dtype == np.complex64 else "one decay"
    arguments = [x.astype(dtype) for x in example(case, n_steps=1000)]
    never = np.zeros(1000, bool)
    exact = [x.astype(np.complex128) for x in arguments]
    want, _ = by_hand(case, *exact, ~never, never, False)
    got = CASES[case][0](*to_jax(arguments))
    assert got.states.dtype == got.last.dtype == dtype
    np.testing.assert_allclose(got.states, want, atol=2e-6 * np.abs(want).max())


def test_vmap_over_everything():
    lanes = [example("decays", seed) for seed in range(3)]
    stacked = [jnp.asarray(np.stack(x), np.complex64) for x in zip(*lanes, strict=True)]
    lengths = jnp.arange(3) + 2
    run = functools.partial(affine_scan, method="blocked", n_blocks=2)
    batch = jax.vmap(lambda *x, length: run(*x, length=length))
    got = batch(*stacked, length=lengths)
    for i, lane in enumerate(lanes):
        valid, never = np.arange(5) < i + 2, np.zeros(5, bool)
        want, last = by_hand("decays", *lane, valid, never, False)
        np.testing.assert_allclose(got.states[i], want, atol=1e-5)
        np.testing.assert_allclose(got.last[i], last, atol=1e-5)


def stored_bytes(argnums):
    """Return what the gradient keeps between its forward and its backward pass."""
    decay, drive = jnp.full(16, 0.5), jnp.zeros((1000, 16))

    def keep(*arguments):
        def states(*chosen):
            given = dict(zip(argnums, chosen, strict=True))
            return affine_scan(given.get(0, decay), given.get(1, drive)).states

        return jax.vjp(states, *arguments)[1]

    kept = jax.eval_shape(keep, *((decay, drive)[i] for i in argnums))
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(kept))


def test_only_states_are_stored():
    """For the decay's gradient, and not even those for the gradient of the drive."""
    states = 4 * 1000 * 16
    assert states <= stored_bytes((0, 1)) <= 1.01 * states
    assert stored_bytes((1,)) <= 0.01 * states


@pytest.mark.parametrize("case", ["decays", "one matrix"])
def test_each_loop_is_one_kernel(case):
    """What makes it fast on a CPU: XLA compiles the whole loop, marks included."""
    flags = {"reset": jnp.zeros(500, bool), "length": 400}

    def total(parts):
        states = CASES[case][0](*from_parts(parts), **flags).states
        return jnp.sum(states.real)

    arguments = [x.astype(np.complex64) for x in example(case, n_steps=500)]
    assert_each_loop_is_one_kernel(jax.grad(total), 2, to_parts(arguments))


@pytest.mark.parametrize(
    ("recurrence", "factor", "n_steps", "method"),
    [
        (affine_scan, (4,), 1999, "sequential"),
        (affine_scan, (4,), 2000, "associative"),
        (matrix_affine_scan, (4, 4), 9999, "sequential"),
        (matrix_affine_scan, (4, 4), 10_000, "associative"),
        (matrix_affine_scan, (17, 17), 10_000, "sequential"),
    ],
)
def test_auto(recurrence, factor, n_steps, method, monkeypatch):
    """Sequential on a CPU; on an accelerator as the documentation says."""
    arguments = jnp.zeros(factor), jnp.zeros((n_steps, factor[-1]))

    def program(method):
        function = functools.partial(recurrence.__wrapped__, method=method)
        return str(jax.make_jaxpr(function)(*arguments))

    assert program("auto") == program("sequential")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert program("auto") == program(method)
    assert program("associative") != program("sequential")


def test_equal_shapes_compile_once(compilations):
    first, second = (to_jax(example("one decay", seed)) for seed in (0, 1))
    affine_scan(*first, length=3)
    before = compilations()
    affine_scan(*second, length=5)
    assert compilations() == before


@pytest.mark.usefixtures("own_errors_only")
@pytest.mark.parametrize(
    ("recurrence", "changed", "message"),
    [
        (affine_scan, {"drive": jnp.float32(1)}, "drive: got a single number"),
        (affine_scan, {"decay": jnp.ones(2)}, r"decay: got shape \(2,\), expected .*"),
        (affine_scan, {"decay": jnp.ones((6, 3))}, r"decay: got shape \(6, 3\)"),
        (affine_scan, {"decay": jnp.ones((7, 3, 1))}, r"decay: got .* the length 1"),
        (affine_scan, {"initial": jnp.ones(2)}, r"initial: got shape \(2,\), expec"),
        (affine_scan, {"mask": jnp.ones(6, bool)}, r"mask: got .* expected \(7,\)"),
        (affine_scan, {"reset": jnp.ones((7, 3), bool)}, r"reset: got shape \(7, 3\)"),
        (affine_scan, {"method": "newton"}, "method: got 'newton', expected 'auto' or"),
        (affine_scan, {"n_blocks": 0, "method": "blocked"}, "n_blocks: got 0, expect"),
        (matrix_affine_scan, {"dynamics": jnp.ones(3)}, r"dynamics: got shape \(3,\)"),
        (matrix_affine_scan, {"dynamics": jnp.ones((6, 3, 3))}, r"\(6, 3, 3\), expec"),
        (matrix_affine_scan, {"drive": jnp.ones((7, 2, 3))}, "Use jax.vmap"),
    ],
)
def test_what_does_not_fit(recurrence, changed, message):
    diagonal = {"decay": jnp.ones(3)}
    dense = {"dynamics": jnp.ones((3, 3))}
    arguments = diagonal if recurrence is affine_scan else dense
    arguments = arguments | {"drive": jnp.ones((7, 3))} | changed
    with pytest.raises(ValueError, match=message):
        recurrence(**arguments)
