"""The best path and random paths, against the enumeration of all paths."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod import kernels
from tests.kernels.brute_force import enumerate_paths, random_chain

N_DRAWS = 20_000
NOTHING = {
    "observed": np.ones(4, bool),
    "reset": np.zeros(4, bool),
    "length": 4,
}
CASES = {
    "constant": ({}, {}),
    "varying": ({"varying": True}, {}),
    "zeros": ({"zeros": True}, {}),
    "missing": ({}, {"observed": np.array([True, False, True, False])}),
    "reset": ({}, {"reset": np.array([False, False, True, False])}),
    "padding": ({}, {"length": 3}),
}


def to_jax(chain, dtype=np.float32):
    return [jnp.asarray(x, dtype) for x in chain]


@jax.jit
def draw(keys, chain, options):
    return jax.vmap(lambda key: kernels.hmm_sample(*chain, key=key, **options))(keys)


@pytest.mark.parametrize("case", CASES)
def test_paths_are_drawn_as_often_as_they_are_probable(case):
    kind, options = CASES[case]
    chain = random_chain(0, 4, 3, **kind, spread=0.7)
    want = enumerate_paths(*chain, **options).probability_of_path
    keys = jax.random.split(jax.random.key(1), N_DRAWS)
    paths = np.asarray(draw(keys, to_jax(chain), NOTHING | options))
    length = options.get("length", 4)
    np.testing.assert_array_equal(paths[:, length:], 0)
    drawn = Counter(tuple(path) for path in paths[:, :length].tolist())
    for path, probability in want.items():
        error = np.sqrt(probability * (1 - probability) / N_DRAWS)
        assert abs(drawn[path] / N_DRAWS - probability) <= 5 * error, path


def test_each_key_gives_its_own_path():
    chain = to_jax(random_chain(1, 50, 3, spread=0.1))
    one, same, other = (
        kernels.hmm_sample(*chain, key=jax.random.key(seed)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def viterbi_by_loops(initial, transition, evidence):
    """The textbook algorithm, with back-pointers."""
    score = np.log(initial) + evidence[0]
    pointers = []
    for now in evidence[1:]:
        candidates = score[:, None] + np.log(transition)
        pointers.append(candidates.argmax(axis=0))
        score = candidates.max(axis=0) + now
    path = [int(score.argmax())]
    for pointer in reversed(pointers):
        path.append(int(pointer[path[-1]]))
    return path[::-1], score.max()


@pytest.mark.parametrize("spread", [1, 40])
def test_long_path(spread):
    chain = random_chain(2, 5000, 4, spread=spread)
    chain = [np.asarray(x, np.float32).astype(float) for x in chain]
    path, log_joint = viterbi_by_loops(*chain)
    got = kernels.hmm_viterbi(*to_jax(chain))
    np.testing.assert_array_equal(got.path, path)
    np.testing.assert_allclose(got.log_joint, log_joint, rtol=3e-7)


def test_of_equal_paths_the_first_is_taken():
    half = jnp.full(2, 0.5)
    got = kernels.hmm_viterbi(half, jnp.full((2, 2), 0.5), jnp.zeros((4, 2)))
    np.testing.assert_array_equal(got.path, [0, 0, 0, 0])


def test_joint_probability_has_the_gradient_of_the_path():
    """Along a fixed path each bin's evidence counts once."""
    chain = to_jax(random_chain(3, 20, 3))
    path = kernels.hmm_viterbi(*chain).path
    gradient = jax.grad(lambda *c: kernels.hmm_viterbi(*c).log_joint, 2)(*chain)
    np.testing.assert_array_equal(gradient, np.eye(3)[np.asarray(path)])
