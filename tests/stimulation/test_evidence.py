"""The evidence of a process is that of its best offset and scale, and so its slope."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, stats

from neuromod.stimulation.belief import constant, prior_of
from neuromod.stimulation.covariance import covariance
from neuromod.stimulation.evidence import log_evidence
from neuromod.stimulation.layout import Block, flat
from neuromod.stimulation.rows import Row, arrange
from neuromod.stimulation.rule import Rule, build, free_parameters

N_TRIALS = 12


def trials(n_outputs=2, n_levels=1):
    rng = np.random.default_rng(0)
    rows = []
    for i in range(N_TRIALS):
        level = i % n_levels
        indicator = (np.arange(n_levels) == level).astype(float)
        response = np.append(rng.normal(3.0, 0.7, n_outputs), indicator)
        rows.append(Row(rng.uniform(0, 4, 2), level, response, rng.uniform(0.5, 2)))
    found = arrange(rows, 32)
    return jax.tree.map(jnp.asarray, found)


def setting(n_outputs=2, n_levels=1):
    basis = constant(np.zeros(1, int), n_levels)
    prior = prior_of(0.7, 4.0, n_outputs)
    return jax.tree.map(jnp.asarray, (basis, prior))


def test_it_is_the_largest_over_offset_and_scale():
    """Found by brute force, of dense normal densities."""
    rule, rows = Rule(), trials()
    process = build(jnp.asarray(free_parameters(rule, flat(2)).start), rule, flat(2))
    at = jax.tree.map(lambda x: x[:N_TRIALS], rows.points)
    between = np.asarray(covariance(process, at, at))
    between = between + rule.noise * np.diag(np.asarray(rows.noise)[:N_TRIALS])
    total = 0.0
    for y in np.asarray(rows.response)[:N_TRIALS, :2].T:

        def loss(free, y=y):
            offset, size = free[0], np.exp(free[1])
            density = stats.multivariate_normal.logpdf(
                y, np.full(N_TRIALS, offset), size**2 * between
            )
            return -(density - 2.0 * (2 * np.log(size) + (0.7 / size) ** 2))

        found = [
            optimize.minimize(loss, [3.0, start], method="Nelder-Mead", tol=1e-10).fun
            for start in (-1.0, 0.0, 1.0)  # from one alone it may end too early
        ]
        total -= min(found)
    got = log_evidence(process, rows, *setting())
    assert float(got) == pytest.approx(total, abs=1e-6)


@pytest.mark.parametrize(
    "block",
    [
        flat(2),
        Block("whole", (0, 1), (Block("first", (0,)), Block("second", (1,)))),
    ],
    ids=["flat", "parts"],
)
@pytest.mark.parametrize("size", ["learned", "largest"])
def test_its_slope_is_that_of_differences(block, size):
    n_levels = len(list(block.walk()))
    rule = Rule(size=size)
    rows, given = trials(n_levels=n_levels), setting(n_levels=n_levels)

    def density(parameters):
        return log_evidence(build(parameters, rule, block), rows, *given, size=size)

    start = jnp.asarray(free_parameters(rule, block).start) + 0.1
    slope = jax.jit(jax.grad(density))(start)
    density = jax.jit(density)
    for j in range(len(start)):
        step = 1e-5 * jnp.eye(len(start))[j]
        difference = (density(start + step) - density(start - step)) / 2e-5
        assert float(slope[j]) == pytest.approx(float(difference), rel=1e-5, abs=1e-7)
