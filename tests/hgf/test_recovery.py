"""Forward and back: what simulated participants tell of their parameters."""

import numpy as np
import pytest

from neuromod import hgf
from neuromod.core.errors import InvalidInputError
from tests.benchmarks import hgf_calibration as study

OUTCOMES = study.outcomes(120)
SETTINGS = {"response": hgf.responses.unit_square_sigmoid(), "priors": study.PRIORS}
N = {"n_subjects": 60, "n_restarts": 2}


@pytest.fixture(scope="module")
def recovered():
    return hgf.recover(study.network(), OUTCOMES, seed=0, **SETTINGS, **N)


def test_what_was_put_in_comes_back(recovered):
    assert (recovered["correlation"] > 0.7).all()
    assert (recovered["contraction"] > 0.5).all()
    # 60 intervals of 95 %: fewer than 50 that hold the truth are 1e-4 by chance.
    assert (recovered["coverage"] > 50 / 60).all()
    error = recovered["estimate"] - recovered["true"]
    np.testing.assert_allclose(
        recovered["rmse"], np.sqrt((error**2).mean("subject")), rtol=1e-12
    )


def test_the_same_seed_is_the_same_study(recovered):
    again = hgf.recover(study.network(), OUTCOMES, seed=0, **SETTINGS, **N)
    other = hgf.recover(study.network(), OUTCOMES, seed=1, **SETTINGS, **N)
    assert again.identical(recovered)
    assert not other["true"].equals(recovered["true"])


def test_the_prior_predicts_its_own_choices():
    drawn = hgf.prior_predictive(
        study.network(), OUTCOMES, seed=0, n_subjects=60, **SETTINGS
    )
    assert set(np.unique(drawn["response"])) == {0.0, 1.0}
    assert not drawn["diverged"].any()
    log_temperature = np.log(drawn["response.inverse_temperature"])
    assert float(log_temperature.mean()) == pytest.approx(1, abs=4 * 0.5 / 60**0.5)
    # The sharper the choices, the more often they follow the outcome before.
    follows = (drawn["response"].values[:, 1:] == OUTCOMES[:-1]).mean(axis=1)
    assert np.corrcoef(follows, log_temperature)[0, 1] > 0.3


def test_models_are_told_apart_where_they_differ():
    """Whoever learns, and whoever chooses at random."""
    models = {
        "learns": (study.network(), hgf.responses.unit_square_sigmoid(), study.PRIORS),
        "guesses": (
            study.network(),
            hgf.responses.unit_square_sigmoid(1e-3),
            {"x2.tonic_volatility": hgf.Normal(-3, 1)},
        ),
    }
    table = hgf.recover_models(models, OUTCOMES, seed=0, **N)
    assert float(table["confusion"].sel(true_model="learns", model="learns")) > 0.8
    assert float(table["confusion"].sel(true_model="guesses", model="guesses")) > 0.8
    np.testing.assert_allclose(table["confusion"].sum("model"), 1)


def test_power_rises_with_the_difference_and_the_group():
    def power(difference, **changes):
        return hgf.power(
            study.network(),
            OUTCOMES,
            parameter="x2.tonic_volatility",
            difference=difference,
            n_per_group=[5, 20],
            n_simulated=60,
            n_restarts=2,
            n_studies=500,
            seed=0,
            **{**SETTINGS, **changes},
        )

    none, large = power(0.0)["power"].values[0], power(2.0)["power"].values[0]
    assert none[1] < 0.2
    assert large[0] > 0.5
    assert large[1] > large[0] > none[0]
    with pytest.raises(InvalidInputError, match="n_simulated"):
        hgf.power(
            study.network(),
            OUTCOMES,
            parameter="x2.tonic_volatility",
            difference=1.0,
            n_per_group=[100],
            n_simulated=50,
            seed=0,
            **SETTINGS,
        )


def test_an_unknown_parameter_is_named():
    with pytest.raises(InvalidInputError, match="parameter"):
        hgf.power(
            study.network(),
            OUTCOMES,
            parameter="x2.tonic_volatilty",
            difference=1.0,
            n_per_group=[5],
            seed=0,
            **SETTINGS,
        )
