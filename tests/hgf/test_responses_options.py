import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from neuromod import hgf
from neuromod.core.errors import InvalidInputError
from neuromod.hgf import inference, responses
from neuromod.hgf.categories import outcomes
from neuromod.hgf.responses import score
from tests.hgf.test_inference import series_of

N_TRIALS, N_OPTIONS = 40, 3
MISSED = 11


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def seen():
    """A categorical filter; on one trial no category was observed."""
    with jax.enable_x64(True):
        generator = np.random.default_rng(5)
        which = generator.choice(N_OPTIONS, N_TRIALS, p=[0.2, 0.7, 0.1])
        known = jnp.arange(N_TRIALS) != MISSED
        series = outcomes(jax.nn.one_hot(jnp.asarray(which), N_OPTIONS), known)
        network = hgf.categorical(N_OPTIONS, tonic_volatility=-1.0)
        found = jax.jit(inference.run)(network, series)
        names = [f"reward{i}" for i in range(N_OPTIONS)]
        beside = {name: jnp.asarray(generator.random(N_TRIALS)) for name in names}
        beside["loss"] = jnp.asarray(generator.integers(0, 2, N_TRIALS).astype(float))
        return responses.look(network, series, found, beside)


FULL = responses.softmax_choice(
    4.0,
    loss_inverse_temperature=2.0,
    win_distortion=0.3,
    loss_distortion=-0.2,
    lapse=0.1,
    rewards=True,
    by_volatility=True,
)
MODELS = [
    responses.softmax_choice(5.0),
    responses.softmax_choice(1.5, value="log_probability"),
    FULL,
]


def choices(seed=6):
    return np.random.default_rng(seed).integers(0, N_OPTIONS, N_TRIALS).astype(float)


def slow_log_probability(model, seen, chosen):
    """The equations trial by trial."""
    mean = np.stack([seen.expected_mean[name] for name in seen.options], axis=1)
    outcome = np.stack([seen.value[name] for name in seen.options], axis=1)
    third = np.asarray(seen.expected_mean["volatility"])
    found = np.zeros(N_TRIALS)
    for k in range(N_TRIALS):
        values = mean[k].copy()
        if model.value == "log_probability":
            values = np.log(values)
        if model.rewards:
            values *= [float(seen.covariates[f"reward{i}"][k]) for i in range(3)]
        if k > 0 and k - 1 != MISSED and not np.isnan(chosen[k - 1]):
            before = int(chosen[k - 1])
            won = outcome[k - 1, before] == 1
            distortion = model.win_distortion if won else model.loss_distortion
            values[before] += distortion or 0.0
        beta = model.inverse_temperature
        if model.loss_inverse_temperature and seen.covariates["loss"][k] == 1:
            beta = model.loss_inverse_temperature
        if model.by_volatility:
            beta *= np.exp(-third[k])
        weights = np.exp(beta * values)
        lapse = model.lapse or 0.0
        p = (1 - lapse) * weights / weights.sum() + lapse / N_OPTIONS
        found[k] = 0.0 if np.isnan(chosen[k]) else np.log(p[int(chosen[k])])
    return found


@pytest.mark.parametrize("model", MODELS)
def test_choices_follow_the_equations(model, seen):
    chosen = choices()
    chosen[[4, 5, 20]] = np.nan
    got = score(model, seen, jnp.asarray(chosen))
    want = slow_log_probability(model, seen, chosen)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("model", MODELS)
def test_probabilities_of_options_add_to_one(model, seen):
    """On any trial, whatever came before it."""
    chosen = np.tile(choices(), (N_OPTIONS, 1))
    for trial in (0, 9, MISSED + 1):
        rows = chosen.copy()
        rows[:, trial] = np.arange(N_OPTIONS)
        scored = [score(model, seen, jnp.asarray(row))[trial] for row in rows]
        assert np.exp(scored).sum() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("option", ["win_distortion", "loss_distortion", "lapse"])
def test_each_option_moves_the_probabilities(option, seen):
    chosen = choices()
    model = responses.softmax_choice(4.0, **{option: 0.4})
    plain = score(responses.softmax_choice(4.0), seen, jnp.asarray(chosen))
    moved = np.asarray(score(model, seen, jnp.asarray(chosen)) - plain)
    repeated = np.flatnonzero(chosen[1:] == chosen[:-1]) + 1
    came = np.stack([seen.value[name] for name in seen.options], axis=1)
    before = came[np.arange(N_TRIALS), chosen.astype(int)][repeated - 1]
    kept = repeated - 1 != MISSED
    if option == "lapse":
        unlikely = np.asarray(plain) < np.log(1 / N_OPTIONS)
        assert (moved[unlikely] > 0).all()
        # On the first trial all are equally probable.
        assert (moved[1:][~unlikely[1:]] < 0).all()
    else:
        gained = kept & (before == (option == "win_distortion"))
        assert gained.any()
        assert (moved[repeated[gained]] > 0).all()
        np.testing.assert_allclose(moved[repeated[~gained]], 0, atol=1e-12)


def test_draws_follow_the_probabilities_given_the_choice_before(seen):
    model = responses.softmax_choice(3.0, win_distortion=2.0, loss_distortion=-1.0)
    keys = jax.random.split(jax.random.key(2), 4000)
    drawn = jax.jit(jax.vmap(lambda key: model.simulate(seen, key)))(keys)
    assert set(np.unique(drawn)) == {0.0, 1.0, 2.0}
    for trial, before in ((0, None), (8, 0), (8, 1), (MISSED + 1, 1)):
        rows = np.asarray(drawn)
        if before is not None:
            rows = rows[rows[:, trial - 1] == before]
        counts = np.bincount(rows[:, trial].astype(int), minlength=N_OPTIONS)
        trials = np.tile(rows[0], (N_OPTIONS, 1))
        trials[:, trial] = np.arange(N_OPTIONS)
        p = [np.exp(slow_log_probability(model, seen, t)[trial]) for t in trials]
        assert stats.chisquare(counts, counts.sum() * np.array(p)).pvalue > 1e-3


def test_gradients_are_those_of_finite_differences(seen):
    column = jnp.asarray(choices()).at[jnp.array([4, 20])].set(jnp.nan)
    values, rest = jax.tree.flatten(FULL)
    total = jax.jit(
        lambda v: score(jax.tree.unflatten(rest, list(v)), seen, column).sum()
    )
    at = jnp.asarray(values)
    assert at.shape == (5,)
    steps = 1e-6 * np.eye(5)
    up, down = (np.array([total(at + s * e) for e in steps]) for s in (1, -1))
    np.testing.assert_allclose(
        jax.jit(jax.grad(total))(at), (up - down) / 2e-6, rtol=1e-6
    )


def test_two_options_that_add_to_one_are_the_unit_square_sigmoid(seen):
    mean = seen.expected_mean["category_1"]
    two = seen._replace(
        expected_mean=seen.expected_mean | {"category_0": 1 - mean},
        options=("category_0", "category_1"),
        levels=("category_1",),
    )
    ones = jnp.ones(N_TRIALS)
    got = score(responses.softmax_choice(2.0, value="log_probability"), two, ones)
    one = two._replace(options=("category_1",))
    want = score(responses.unit_square_sigmoid(2.0), one, ones)
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_arms_of_a_bandit_are_options():
    """Of which only the chosen one shows an outcome: the others distort nothing."""
    generator = np.random.default_rng(7)
    chosen, won = generator.integers(0, 2, (2, N_TRIALS))
    arms = np.stack([chosen == 0, chosen == 1])
    network = hgf.Network(
        [
            *(hgf.BinaryInput(f"arm{i}") for i in range(2)),
            *(hgf.ContinuousState(f"x{i}") for i in range(2)),
        ],
        [hgf.probability(f"x{i}", f"arm{i}") for i in range(2)],
    )
    series = series_of(won, won, observed=list(arms))
    seen = responses.look(network, series, jax.jit(inference.run)(network, series))
    model = responses.softmax_choice(2.0, win_distortion=0.5, loss_distortion=-0.3)
    other = jnp.asarray(1.0 - chosen)
    plain = responses.softmax_choice(2.0)
    # Had the participant chosen the arms that were not observed, nothing is added.
    np.testing.assert_allclose(
        score(model, seen, other), score(plain, seen, other), rtol=1e-12
    )
    stays = jnp.asarray(chosen.astype(float))
    moved = np.asarray(score(model, seen, stays) - score(plain, seen, stays))
    same = np.where(chosen[1:] == chosen[:-1], 1, -1)
    np.testing.assert_array_equal(
        np.sign(moved[1:]), same * np.where(won[:-1] == 1, 1, -1)
    )


def test_reaction_times_to_the_category_that_came(seen):
    """The toolbox's model of transitions, in bits."""
    model = responses.log_reaction_time(
        5.0, 0.3, 0.2, 0.4, 0.1, 0.04, among_options=True
    )
    which = np.argmax([seen.value[name] for name in seen.options], axis=0)
    want = np.zeros(N_TRIALS)
    for k, i in enumerate(which):
        mean = float(seen.expected_mean[f"category_{i}"][k])
        log_odds = float(seen.mean[f"log_odds_{i}"][k])
        bend = np.exp(-log_odds) / (1 + np.exp(-log_odds)) ** 2
        variance = 1 / float(seen.precision[f"log_odds_{i}"][k])
        phasic = np.exp(float(seen.mean["volatility"][k]))
        want[k] = 5.0 - 0.3 * np.log2(mean) + 0.2 * mean * (1 - mean)
        want[k] += 0.4 * bend * variance + 0.1 * bend * phasic
    got = score(model, seen, jnp.full(N_TRIALS, 6.0))
    kept = np.arange(N_TRIALS) != MISSED
    want = stats.norm.logpdf(6.0, want, 0.2)
    np.testing.assert_allclose(got[kept], want[kept], rtol=1e-10)
    assert np.isfinite(got[MISSED])


def test_what_softmax_choice_cannot_do_is_refused(seen):
    with pytest.raises(InvalidInputError, match=r"1 binary inputs.*at least 2"):
        score(
            responses.softmax_choice(),
            seen._replace(options=("category_0",)),
            jnp.asarray(choices()),
        )
    model = responses.softmax_choice(loss_inverse_temperature=1.0)
    with pytest.raises(InvalidInputError, match="'loss'"):
        score(model, seen._replace(covariates={}), jnp.asarray(choices()))
    with pytest.raises(InvalidInputError, match="rewards"):
        responses.softmax_choice(rewards=True, value="log_probability")
    with pytest.raises(InvalidInputError, match="'probability'"):
        responses.softmax_choice(value="probabilty")
