"""Builders of tasks with several branches, and contexts that nobody tells."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from neuromod import hgf
from neuromod.core.errors import InvalidInputError, ShapeError
from neuromod.hgf.contexts import switch
from neuromod.hgf.tasks import (
    bandit,
    categorical_transitions,
    many_cues,
    route,
    route_transitions,
    switching,
    two_branch,
)

N_TRIALS = 60


def shown(seed=0, count=2):
    return np.random.default_rng(seed).integers(0, count, N_TRIALS)


def values_of(seed=0):
    return np.random.default_rng(seed).integers(0, 2, N_TRIALS).astype(float)


def test_many_cues_with_constant_volatility_are_filters_of_their_own():
    which, values = shown(), values_of()
    network = many_cues(2, volatility="constant", tonic_volatility=(-2.0, 0.0))
    found = hgf.filter(network, route(values, which, 2))
    for cue in (0, 1):
        own = np.where(which == cue, values, np.nan)
        alone = hgf.filter(hgf.binary_two_level(-2.0), own)
        for quantity in ("mean", "precision"):
            np.testing.assert_allclose(
                found[quantity].sel(node=f"log_odds_{cue}"),
                alone[quantity].sel(node="x2"),
                rtol=1e-12,
            )


def unforeseen(volatility):
    """Cue 0 is as expected, then cue 1 surprises on every trial."""
    network = many_cues(
        2,
        kind="continuous",
        volatility=volatility,
        tonic_volatility=(-3.0, -1.0),
        input_precision=10.0,
    )
    values = np.where(np.arange(N_TRIALS) % 2, 3.0 * (-1) ** (shown(5)), 0.0)
    return hgf.filter(network, route(values, np.arange(N_TRIALS) % 2, 2))


def test_shared_volatility_carries_surprise_from_one_cue_to_the_other():
    shared, own = unforeseen("shared"), unforeseen("own")
    names = list(own["node"].values)
    assert names[-2:] == ["volatility_0", "volatility_1"]
    assert list(shared["node"].values)[-1] == "volatility"
    noisy, calm = own["mean"].sel(node=["volatility_1", "volatility_0"])[-1].T
    assert noisy > calm + 0.5
    assert shared["mean"].sel(node="volatility")[-1] > calm + 0.5
    # What is less certain is held with less precision.
    precision = [f["precision"].sel(node="value_0")[-1] for f in (shared, own)]
    assert precision[0] < 0.9 * precision[1]


def test_beliefs_about_an_arm_that_is_not_chosen_only_age():
    which = np.where(np.arange(N_TRIALS) < 20, 0.0, 1.0)
    network = bandit(2, volatility="constant")
    found = hgf.filter(network, route(values_of(1), which, 2))
    arm = found.sel(node="log_odds_0")
    np.testing.assert_array_equal(arm["mean"][20:], arm["mean"][19])
    aged = 1 / arm["precision"][19].item() + np.exp(-4.0) * np.arange(1, 41)
    np.testing.assert_allclose(1 / arm["precision"][20:], aged, rtol=1e-10)
    assert (found["surprise"].sel(node="arm_0")[20:] == 0).all()


def test_options_of_each_cue_reach_its_nodes():
    network = many_cues(
        2,
        kind="continuous",
        mean=[1.0, 2.0],
        precision=[3.0, 4.0],
        tonic_volatility=([-1.0, -2.0], -5.0),
        volatility_coupling=[0.5, 0.7],
        input_precision=[5.0, 6.0],
        name="tone",
        update="standard",
    )
    assert [float(network[f"value_{i}"].mean) for i in (0, 1)] == [1, 2]
    assert [float(network[f"value_{i}"].precision) for i in (0, 1)] == [3, 4]
    assert [float(network[f"value_{i}"].tonic_volatility) for i in (0, 1)] == [-1, -2]
    assert [float(network[f"tone_{i}"].precision) for i in (0, 1)] == [5, 6]
    assert float(network["volatility"].tonic_volatility) == -5
    strengths = [float(e.strength) for e in network.edges if e.kind == "volatility"]
    assert strengths == [0.5, 0.7]
    assert network.update == "standard"
    two = many_cues(2, volatility="own", tonic_volatility=(-4.0, [-5.0, -6.0]))
    assert float(two["volatility_1"].tonic_volatility) == -6


def test_a_trend_in_common_drives_both_branches():
    network = two_branch((1.0, -0.5), volatility="constant", input_precision=10.0)
    values = np.column_stack([np.arange(N_TRIALS), np.full(N_TRIALS, np.nan)]) / 4
    found = hgf.filter(network, values)
    last = found["expected_mean"].isel(trial=-1)
    step = (last - found["mean"].isel(trial=-2)).sel(node=["value_0", "value_1"])
    assert step[0] == pytest.approx(0.25, abs=0.02)
    assert step[1] == pytest.approx(-0.125, abs=0.01)
    without = two_branch(volatility="own")
    assert without.inputs == ("branch_0", "branch_1")
    assert without.states[2:] == ("volatility_0", "volatility_1")
    assert two_branch().states[2:] == ("volatility",)
    assert two_branch((1.0, 1.0), update="standard").update == "standard"


def test_transitions_are_learned_row_by_row():
    matrix = np.array([[0.1, 0.9], [0.8, 0.2]])
    generator = np.random.default_rng(0)
    sequence = [0]
    for _ in range(299):
        sequence.append(generator.choice(2, p=matrix[sequence[-1]]))
    network = categorical_transitions(2, tonic_volatility=(-5.0, -6.0))
    found = hgf.filter(network, route_transitions(sequence, 2))
    expected = found["expected_mean"].sel(node=list(network.inputs))[-100:]
    learned = expected.mean("trial").values.reshape(2, 2)
    np.testing.assert_allclose(learned, matrix, atol=0.1)
    one_row = hgf.categorical(3)
    rows = categorical_transitions(3)
    assert [float(rows[s].mean) for s in rows.states[:9]] == 9 * [
        float(one_row["log_odds_0"].mean)
    ]
    assert rows.states[9:] == ("volatility",)
    own = categorical_transitions(3, volatility="own")
    above = {e.child: e.parent for e in own.edges if e.kind == "volatility"}
    assert above["log_odds_1_0"] == above["log_odds_1_2"] == "volatility_1"


def test_data_are_routed_to_one_input():
    table = np.arange(6.0).reshape(3, 2)
    want = [[np.nan, 1], [2, np.nan], [np.nan, np.nan]]
    np.testing.assert_array_equal(route(table, [1, 0, np.nan], 2), want)
    np.testing.assert_array_equal(route([1, 2, 9], [1, 0, np.nan], 2), want)
    broken = route_transitions([0, 2, np.nan, 1, 1], 3).values
    seen = ~np.isnan(broken)
    np.testing.assert_array_equal(seen.sum(axis=1), [0, 3, 0, 0, 3])
    np.testing.assert_array_equal(broken[1, :3], [0, 0, 1])
    np.testing.assert_array_equal(broken[4, 3:6], [0, 1, 0])


CONTEXTS = switching([-1.5, 1.5], input_precision=2.0, tonic_volatility=(-9.0, 0.0))
STAY = np.array([[0.95, 0.05], [0.05, 0.95]])


def regimes(seed=0):
    generator = np.random.default_rng(seed)
    which = np.repeat([0, 1, 0, 1], N_TRIALS // 4)
    return which, generator.normal(np.array([-2.0, 1.0])[which], np.sqrt(0.5))


def test_known_regimes_are_recovered_and_their_values_learned():
    which, values = regimes()
    values[[7, 40]] = np.nan
    found = switch(CONTEXTS, values, STAY)
    guess = found["responsibility"].argmax("context").values
    assert (guess == which).mean() > 0.95
    away = found["mean"][-1] - [-2, 1]
    width = found["precision"][-1] ** -0.5
    assert (width < 0.2).all()
    assert (np.abs(away) < 3 * width).all()
    assert found["surprise"].sum() < 1.35 * N_TRIALS
    assert (found["surprise"][[7, 40]] == 0).all()
    # Nothing was seen: the chain moves on.
    before = found["responsibility"][6].values @ STAY
    np.testing.assert_allclose(found["responsibility"][7], before, rtol=1e-12)
    np.testing.assert_allclose(found["responsibility"].sum("context"), 1)


def test_contexts_that_are_told_select_the_branch():
    which, values = regimes()
    values[3] = np.nan
    told = switch(CONTEXTS, values, STAY, contexts=which)
    hard = hgf.filter(CONTEXTS, route(values, which, 2)).sel(node=list(CONTEXTS.states))
    for quantity in ("mean", "precision"):
        xr.testing.assert_allclose(told[quantity], hard[quantity], rtol=1e-12)
    np.testing.assert_array_equal(told["responsibility"][:, 1], which)
    # Contexts far apart need not be told: responsibilities are certain.
    far = switching([-40.0, 40.0], input_precision=2.0, tonic_volatility=(-9.0, 0.0))
    apart = values + np.where(which == 0, -40, 40)
    soft, hard = (
        switch(far, apart, STAY, contexts=contexts)
        for contexts in (np.where(np.arange(N_TRIALS) == 3, which, np.nan), which)
    )
    xr.testing.assert_allclose(soft["mean"], hard["mean"], rtol=1e-12)


def slow_switch(values, matrix, initial, mean, precision, tonic):
    """The equations in a loop, for Kalman branches."""
    m, v, q = np.array(mean), np.ones(2), np.array(initial)
    found = []
    for u in values:
        v = v + np.exp(tonic)
        p = stats.norm.pdf(u, m, np.sqrt(v + 1 / precision))
        spread = q @ (v + 1 / precision + (m - q @ m) ** 2)
        row = [q @ m, spread, -np.log(q @ p)]
        r = q * p / (q @ p)
        gain = v / (v + 1 / precision)
        moved, narrow = m + gain * (u - m), (1 - gain) * v
        mixed = r * moved + (1 - r) * m
        v = r * (narrow + (moved - mixed) ** 2) + (1 - r) * (v + (m - mixed) ** 2)
        m, q = mixed, r @ matrix
        found.append([*row, *r, *m, *v])
    return np.array(found)


def test_switching_follows_the_equations():
    _, values = regimes(1)
    initial = [0.3, 0.7]
    found = switch(CONTEXTS, values, STAY, initial=initial)
    want = slow_switch(values, STAY, initial, [-1.5, 1.5], 2.0, -9.0)
    for i, name in enumerate(("expected_mean", "expected_variance", "surprise")):
        np.testing.assert_allclose(found[name], want[:, i], rtol=1e-9)
    np.testing.assert_allclose(found["responsibility"], want[:, 3:5], atol=1e-12)
    np.testing.assert_allclose(found["mean"], want[:, 5:7], rtol=1e-9)
    np.testing.assert_allclose(1 / found["precision"], want[:, 7:9], rtol=1e-9)


def test_binary_contexts_mix_their_probabilities():
    network = switching([-2.0, 2.0], kind="binary")
    which = np.repeat([0, 1, 0, 1], N_TRIALS // 4)
    values = (np.random.default_rng(2).random(N_TRIALS) < 0.1 + 0.8 * which) * 1.0
    found = switch(network, values, STAY)
    ahead = found["expected_mean"].values
    assert np.corrcoef(ahead, which)[0, 1] > 0.7
    np.testing.assert_allclose(found["expected_variance"], ahead * (1 - ahead))
    nats = -np.log(np.where(values == 1, ahead, 1 - ahead))
    np.testing.assert_allclose(found["surprise"], nats)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: many_cues(0), InvalidInputError, "n_cues"),
        (lambda: bandit(1), InvalidInputError, "n_arms"),
        (lambda: many_cues(2, kind="real"), InvalidInputError, "'continuous'"),
        (lambda: many_cues(2, volatility="none"), InvalidInputError, "'constant'"),
        (lambda: many_cues(2, mean=[1, 2, 3]), InvalidInputError, "mean.*each of 2"),
        (lambda: many_cues(2, tonic_volatility=-4.0), InvalidInputError, "two"),
        (lambda: two_branch((1, 2, 3)), InvalidInputError, "trend"),
        (lambda: categorical_transitions(1), InvalidInputError, "n_categories"),
        (
            lambda: route([1, 0], [0, 2], 2),
            InvalidInputError,
            "2.0 at trial 1.* 0 to 1",
        ),
        (lambda: route([1, 0, 1], [0, 1], 2), ShapeError, r"values.*\(3,\)"),
        (lambda: route_transitions([0.5], 2), InvalidInputError, "categories.*0.5"),
        (lambda: switch(CONTEXTS, [1.0], [[1.0]]), ShapeError, r"\(2, 2\)"),
        (lambda: switch(CONTEXTS, [1.0], STAY * 2), InvalidInputError, "add up to 1"),
        (
            lambda: switch(CONTEXTS, [1.0], STAY, initial=[1, 1]),
            InvalidInputError,
            "initial",
        ),
        (
            lambda: switch(CONTEXTS, [1.0], STAY, contexts=[0, 1]),
            ShapeError,
            "contexts.*2 trials",
        ),
    ],
)
def test_bad_input_is_refused_by_name(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
