"""What a loop keeps, how it reports, and how it is cut."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromod.kernels import GRU, AffineCell, Fold, LeakyIntegrator, scan

N_STEPS = 23


def cumulate(carry, x):
    carry = 0.9 * carry + x
    return carry, {"sum": carry, "clock": x.astype(jnp.int32)}


X = jnp.asarray(np.random.default_rng(0).normal(size=(N_STEPS, 2)), jnp.float32)
ADD = Fold(lambda total, output: total + output["sum"] ** 2, jnp.zeros(2))


def run(outputs, **options):
    return scan(cumulate, jnp.zeros(2), X, outputs=outputs, **options).outputs


flags = st.lists(st.booleans(), min_size=N_STEPS, max_size=N_STEPS).map(np.array)
EVERY = (1, 3, 30)


@functools.partial(jax.jit, static_argnames=("reverse", "checkpoint"))
def run_all_ways(mask, reverse, checkpoint):
    options = {"mask": mask, "reverse": reverse}
    cut = options | {"checkpoint": checkpoint}
    kept = [run(outputs, **cut) for outputs in (*EVERY, "last", ADD)]
    return run("all", **options), kept


@settings(max_examples=15, deadline=None)
@given(flags, st.sampled_from([(False, None), (True, None), (True, 4), (False, 7)]))
def test_less_than_all(mask, how):
    everything, (*thinned, last, total) = run_all_ways(mask, *how)
    for every, got in zip(EVERY, thinned, strict=True):
        want = jax.tree.map(lambda y, k=every: y[k - 1 :: k], everything)
        jax.tree.map(np.testing.assert_allclose, got, want)
    valid = np.flatnonzero(mask)[:: -1 if how[0] else 1]
    want = jax.tree.map(lambda y: y[valid[-1]] if len(valid) else 0 * y[0], everything)
    jax.tree.map(np.testing.assert_allclose, last, want)
    np.testing.assert_allclose(total, (everything["sum"] ** 2).sum(0), rtol=1e-5)


def test_a_fold_goes_in_the_order_of_the_loop():
    """And a reset does not start it again."""
    digits = Fold(lambda total, digit: 10 * total + digit, jnp.int32(0))
    step = lambda carry, x: (carry, x)  # noqa: E731
    options = {"outputs": digits, "reset": np.array([0, 0, 1], bool)}
    x = jnp.array([1, 2, 3], jnp.int32)
    for checkpoint in (None, 2):
        options["checkpoint"] = checkpoint
        assert scan(step, jnp.int32(0), x, **options).outputs == 123
        assert scan(step, jnp.int32(0), x, reverse=True, **options).outputs == 321


def test_gradients_of_what_is_kept():
    """A sum inside the loop has the gradient of the sum outside."""
    cell = GRU.random(jax.random.key(0), 2, 3)
    square = Fold(lambda total, output: total + jnp.sum(output**2), jnp.float32(0))

    @jax.jit
    def slopes(cell):
        def loss(cell, outputs, checkpoint=None):
            kept = scan(
                cell, cell.initial(), X, outputs=outputs, checkpoint=checkpoint
            ).outputs
            return jnp.sum(kept**2) if outputs == "all" else kept

        return jax.grad(loss)(cell, "all"), jax.grad(loss)(cell, square, 5)

    want, got = slopes(cell)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), got, want)


@pytest.mark.parametrize("reverse", [False, True])
def test_progress_is_told_at_the_edges_of_chunks(reverse):
    told = []
    options = {"progress": lambda done: told.append(int(done)), "checkpoint": 5}
    with_progress = jax.jit(lambda x: scan(cumulate, jnp.zeros(2), x, **options).carry)
    np.testing.assert_allclose(
        with_progress(X), scan(cumulate, jnp.zeros(2), X).carry, rtol=1e-6
    )
    jax.effects_barrier()
    assert sorted(told) == [5, 10, 15, 20, 23]
    slope = jax.grad(lambda x: scan(cumulate, jnp.zeros(2), x, **options).carry.sum())
    assert slope(X).any()


def test_progress_without_chunks_of_ones_own():
    told = []
    scan(cumulate, jnp.zeros(2), X, progress=lambda done: told.append(int(done)))
    jax.effects_barrier()
    assert len(told) > 2
    assert max(told) == N_STEPS


@pytest.mark.parametrize("n_steps", [0, 1])
def test_no_step_and_one(n_steps):
    cell = GRU.random(jax.random.key(0), 2, 3)
    x, start = X[:n_steps], jnp.ones(3)
    for options in ({}, {"mask": np.ones(n_steps, bool)}, {"checkpoint": 3}):
        carry, outputs, _ = scan(cell, start, x, **options)
        assert outputs.shape == (n_steps, 3)
        np.testing.assert_array_equal(carry, outputs[-1] if n_steps else start)
    for kept in ("last", Fold(lambda a, b: a + b, jnp.zeros(3))):
        value = scan(cell, start, x, outputs=kept).outputs
        assert value.shape == (3,)
        assert value.any() == bool(n_steps)
    slope = jax.grad(lambda cell: scan(cell, start, x).outputs.sum())(cell)
    assert slope.bias.any() == bool(n_steps)


def test_info_tells_how_it_was_run():
    info = scan(cumulate, jnp.zeros(2), X).info
    assert (info.method, info.n_chunks, info.chunk_size) == ("sequential", 1, 23)
    assert (info.recomputed, info.projected) == (False, None)
    info = scan(cumulate, jnp.zeros(2), X, checkpoint=4).info
    assert (info.n_chunks, info.chunk_size, info.recomputed) == (6, 4, True)
    long = jnp.zeros((10_000, 512))
    bend = lambda carry, x: (jnp.tanh(carry + x), None)  # noqa: E731
    info = jax.jit(lambda x: scan(bend, jnp.zeros(512), x).info)(long)
    assert (info.n_chunks, info.chunk_size, info.recomputed) == (100, 100, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outputs": "most"}, "outputs: got 'most', expected 'all', 'last', a number"),
        ({"outputs": 0}, "outputs: got 0"),
        ({"method": "fast"}, "method: got 'fast', expected 'auto'"),
        ({"method": "associative"}, "expected a cell that is affine in its carry"),
        ({"project": "never"}, "project: got 'never', expected 'auto'"),
    ],
)
@pytest.mark.usefixtures("own_errors_only")
def test_what_cannot_be_asked(options, message):
    with pytest.raises(ValueError, match=message):
        scan(cumulate, jnp.zeros(2), X, **options)


class Turn(AffineCell):
    """A dense affine cell for the tests: a rotation that the input speeds up."""

    dense = True
    angle: jax.Array

    def initial(self, batch_shape=()):
        return jnp.ones((*batch_shape, 2), self.angle.dtype)

    def coefficients(self, projected):
        angle = self.angle + projected[0]
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        return jnp.stack([jnp.stack([cos, -sin]), jnp.stack([sin, cos])]), projected

    def read(self, carry, projected):
        return {"norm": jnp.sum(carry**2), "sum": carry + projected}


def affine_cells():
    key = jax.random.key(0)
    decay = jax.random.uniform(key, (3,))
    yield LeakyIntegrator(decay, jax.random.normal(key, (3, 2)))
    yield Turn(jnp.asarray(0.3))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("number", "reverse"), [(0, False), (1, True)])
def test_affine_cells_give_the_same_by_every_method(number, reverse):
    cell = jax.tree.map(lambda x: x.astype(float), list(affine_cells())[number])
    x = X.astype(float).at[3].set(jnp.nan)
    marks = {
        "mask": np.arange(N_STEPS) % 5 != 3,
        "reset": np.isin(np.arange(N_STEPS), [4, 8, 13]),
        "length": 20,
        "initial": cell.initial() + 0.5,
        "reverse": reverse,
    }

    @functools.partial(jax.jit, static_argnums=1)
    def everything(cell, method):
        def loss(cell):
            found = scan(cell, 2 * cell.initial() + 1, x, method=method, **marks)
            leaves = jax.tree.leaves((found.outputs, found.carry))
            return sum(jnp.sum(jnp.sin(leaf)) for leaf in leaves), found

        return jax.value_and_grad(loss, has_aux=True)(cell)

    (_, found), slope = everything(cell, "sequential")
    (_, other), other_slope = everything(cell, "associative")
    assert (found.info.method, other.info.method) == ("sequential", "associative")
    close = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-12)
    jax.tree.map(close, (found[:2], slope), (other[:2], other_slope))
    thinned = scan(cell, cell.initial(), x[4:8], method="associative", outputs=2)
    assert len(jax.tree.leaves(thinned.outputs)[0]) == 2
