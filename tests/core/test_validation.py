"""Cross-validation: honest scores, paired comparison, nested selection."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from neuromod.core.errors import InvalidInputError
from neuromod.core.validation import (
    Fold,
    blocked_folds,
    compare,
    cross_validate,
    leave_one_out,
    select,
)


def series(values, session=None) -> xr.DataArray:
    coords = {"time": np.arange(len(values), dtype=float)}
    array = xr.DataArray(np.asarray(values, float), dims="time", coords=coords)
    return array if session is None else array.assign_coords(session=("time", session))


def values(pieces) -> np.ndarray:
    return np.concatenate([piece.values for piece in pieces])


def fit_mean(pieces, *, seed):
    return values(pieces).mean()


def fit_nothing(pieces, *, seed):
    return 0.0


def negative_error(predicted, pieces) -> float:
    return -float(((values(pieces) - predicted) ** 2).mean())


def test_scores_are_those_computed_by_hand():
    data = series([0, 0, 0, 0, 3, 3, 3, 3])
    found = cross_validate(
        fit_mean,
        negative_error,
        data,
        blocked_folds(data, 2),
        seed=0,
        progress=False,
        nulls={"nothing": fit_nothing},
    )
    assert found["score"].dims == ("model", "fold")
    assert found["score"].sel(model="model").values.tolist() == [-9.0, -9.0]
    assert found["score"].sel(model="nothing").values.tolist() == [0.0, -9.0]
    assert found["n_train"].values.tolist() == [4, 4]
    assert found["n_test"].values.tolist() == [4, 4]
    assert found["fold"].values.tolist() == ["0", "1"]
    assert found.attrs["seed"] == 0


def test_fit_and_score_get_contiguous_pieces():
    data = series(np.arange(20), ["a"] * 12 + ["b"] * 8)
    seen = []

    def fit(pieces, *, seed):
        seen.append([piece.values.tolist() for piece in pieces])

    def score(fitted, pieces):
        seen.append([piece.values.tolist() for piece in pieces])
        return 0.0

    folds = blocked_folds(data, 4, gap=1.0)
    cross_validate(fit, score, data, folds, seed=0, progress=False)
    assert seen[2] == [[0, 1], [7, 8, 9, 10, 11], [12], [17, 18, 19]]
    assert seen[3] == [[3, 4, 5], [14, 15]]


def test_each_fold_has_its_own_seed_and_nulls_share_it():
    data, seeds = series(np.arange(8)), {"model": [], "null": []}

    def fit_as(name):
        def fit(pieces, *, seed):
            seeds[name].append(seed)

        return fit

    def run(seed):
        for used in seeds.values():
            used.clear()
        cross_validate(
            fit_as("model"),
            lambda fitted, pieces: 0.0,
            data,
            blocked_folds(data, 4),
            seed=seed,
            nulls={"null": fit_as("null")},
            progress=False,
        )
        return list(seeds["model"])

    first = run(3)
    assert seeds["null"] == first
    assert len(set(first)) == 4
    assert all(0 <= seed < 2**31 for seed in first)
    assert run(3) == first
    assert run(4) != first


def test_a_leaky_predictor_is_caught_by_the_gap():
    """A nearest neighbour in time looks good only as long as it is next door."""
    generator = np.random.default_rng(0)
    noise, signal = generator.normal(size=2000), np.zeros(2000)
    for t in range(1, 2000):
        signal[t] = 0.95 * signal[t - 1] + noise[t]
    data = series(signal)
    # Stretches of five bins, so that hardly a tested bin is far from training bins.
    blocks = np.repeat(np.arange(400), 5) % 5

    def folds(gap):
        test = [blocks == f for f in range(5)]
        near = [np.convolve(m, np.ones(2 * gap + 1), mode="same") > 0 for m in test]
        return [Fold(str(f), (~near[f],), (test[f],)) for f in range(5)]

    def nearest(pieces, *, seed):
        return xr.concat(pieces, "time")

    def explained(train, pieces):
        tested = xr.concat(pieces, "time")
        predicted = train.sel(time=tested.time, method="nearest").values
        return 1 - float(((tested - predicted) ** 2).mean() / tested.var())

    def mean_score(given):
        found = cross_validate(nearest, explained, data, given, seed=0, progress=False)
        return float(found["score"].mean())

    leaky = mean_score(folds(0))
    assert leaky > 0.75
    # One stretch in five is tested: beyond 7 bins nothing would be left to train on.
    assert mean_score(folds(7)) < leaky - 0.2
    # Long stretches with a gap longer than the memory (20 bins): nothing is left.
    assert mean_score(blocked_folds(data, 5, gap=100.0)) < 0.1


def test_scores_by_name_and_datasets():
    data = series(np.arange(12))
    folds = blocked_folds(data, 3)

    def as_mapping(predicted, pieces):
        return {"error": negative_error(predicted, pieces), "n": len(pieces)}

    def as_dataset(predicted, pieces):
        return xr.Dataset(
            {**as_mapping(predicted, pieces), "per_bin": ("time", np.ones(4))}
        )

    found = [
        cross_validate(fit_mean, score, data, folds, seed=0, progress=False)
        for score in (as_mapping, as_dataset)
    ]
    assert set(found[0].data_vars) == {"error", "n"}
    assert found[0].identical(found[1])


@pytest.mark.parametrize("returned", [None, "good", [1.0, 2.0], {}, {"a": "good"}])
def test_a_score_that_is_no_number_is_refused(returned):
    data = series(np.arange(4))
    with pytest.raises(InvalidInputError, match="score: got a function that returned"):
        cross_validate(
            fit_mean,
            lambda fitted, pieces: returned,
            data,
            blocked_folds(data, 2),
            seed=0,
            progress=False,
        )


def test_scores_that_change_their_names_are_refused():
    data = series(np.arange(4))
    with pytest.raises(InvalidInputError, match=r"numbers called \['a'\]"):
        cross_validate(
            fit_mean,
            lambda fitted, pieces: {"a" if pieces[0][0] == 0 else "b": 1.0},
            data,
            blocked_folds(data, 2),
            seed=0,
            progress=False,
        )


def test_bad_arguments_are_refused():
    data = series(np.arange(4))
    with pytest.raises(InvalidInputError, match=r"folds: got no fold.*blocked_folds"):
        cross_validate(fit_mean, negative_error, data, [], seed=0)
    with pytest.raises(InvalidInputError, match="a null called 'model'"):
        cross_validate(
            fit_mean,
            negative_error,
            data,
            blocked_folds(data, 2),
            seed=0,
            nulls={"model": fit_nothing},
        )
    with pytest.raises(InvalidInputError, match="seed: got -1"):
        cross_validate(fit_mean, negative_error, data, blocked_folds(data, 2), seed=-1)


def scores(**rows) -> xr.Dataset:
    n_folds = len(next(iter(rows.values())))
    return xr.Dataset(
        {"score": (("model", "fold"), list(rows.values()))},
        {
            "model": list(rows),
            "fold": [str(f) for f in range(n_folds)],
            "n_test": ("fold", [10] * n_folds),
        },
    )


def test_the_table_is_paired_and_sorted():
    table = compare(scores(model=[1.0, 2.0, 6.0], null=[0.0, 1.0, 2.0]))
    assert table.index.tolist() == ["model", "null"]
    assert table["mean"].tolist() == [3.0, 1.0]
    # By hand: variances 7 and 1; differences -1, -1, -4 with mean -2, variance 3.
    np.testing.assert_allclose(table["standard_error"], np.sqrt([7 / 3, 1 / 3]))
    np.testing.assert_allclose(table["difference"], [0, -2])
    np.testing.assert_allclose(table["difference_standard_error"], [0, 1])
    assert table["n_folds"].tolist() == [3, 3]
    assert table["n_folds"].dtype.kind == "i"


def test_tables_join_models_and_take_a_reference():
    table = compare(
        {
            "2 states": scores(model=[1.0, 2.0], null=[0.0, 0.0]),
            "3 states": scores(model=[2.0, 5.0], null=[0.0, 0.0]),
        },
        reference="2 states",
    )
    assert table.index.tolist() == [
        "3 states",
        "2 states",
        "2 states: null",
        "3 states: null",
    ]
    assert table["difference"].tolist() == [2.0, 0.0, -1.5, -1.5]


def test_several_scores_need_a_name():
    both = scores(model=[1.0, 2.0]).assign(other=(("fold", "model"), [[5.0], [6.0]]))
    assert compare(both, metric="other")["mean"].item() == 5.5
    with pytest.raises(InvalidInputError, match=r"metric: got None.*'score', 'other'"):
        compare(both)
    with pytest.raises(InvalidInputError, match="Did you mean 'other'"):
        compare(both, metric="othr")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "scores: got nothing"),
        (scores(model=[1.0]), "a single fold"),
        (scores(model=[1.0, np.nan]), "a score of nan in fold '1' of 'model'"),
        (scores(model=[1.0, -np.inf]), "a score of -inf"),
        (
            {"a": scores(model=[1.0, 2.0]), "b": scores(model=[1.0, 2.0, 3.0])},
            "other folds for 'b' than for 'a'.*Pass the same `folds`",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(given, message):
    with pytest.raises(InvalidInputError, match=message):
        compare(given)


def test_unknown_references_are_mended():
    with pytest.raises(InvalidInputError, match="Did you mean 'null'"):
        compare(scores(model=[1.0, 2.0], null=[0.0, 0.0]), reference="nul")


def fit_polynomial(pieces, *, seed, degree):
    pieces = pieces if isinstance(pieces, list) else [pieces]
    time = np.concatenate([piece.time.values for piece in pieces])
    return np.polynomial.Polynomial.fit(time, values(pieces), degree)


def predict_polynomial(polynomial, pieces):
    time = np.concatenate([piece.time.values for piece in pieces])
    return -float(((values(pieces) - polynomial(time)) ** 2).mean())


def test_select_finds_the_degree_and_fits_all_data():
    generator = np.random.default_rng(1)
    time = np.arange(120.0)
    data = series(1e-3 * (time - 60) ** 2 + generator.normal(size=120))
    candidates = {f"degree {d}": {"degree": d} for d in (0, 1, 2, 9)}
    chosen = select(
        fit_polynomial,
        predict_polynomial,
        candidates,
        data,
        blocked_folds(data, 6),
        seed=0,
        progress=False,
    )
    assert chosen.name == "degree 2"
    assert chosen.settings == {"degree": 2}
    assert set(chosen.table.index) == set(candidates)
    expected = fit_polynomial([data], seed=0, degree=2)
    np.testing.assert_allclose(chosen.result.coef, expected.coef)


def test_nested_selection_never_sees_the_outer_test():
    data = series(np.arange(60.0), np.repeat(["a", "b", "c"], 20))
    outer, seen = leave_one_out(data), []

    def fit(pieces, *, seed):
        inner = leave_one_out(pieces)

        def fit_one(pieces, *, seed, shift):
            seen[-1].update(values(pieces).tolist())
            return values(pieces).mean() + shift

        seen.append(set())
        return select(
            fit_one,
            negative_error,
            {"0": {"shift": 0.0}, "9": {"shift": 9.0}},
            pieces,
            inner,
            seed=seed,
            progress=False,
        ).result

    found = cross_validate(fit, negative_error, data, outer, seed=0, progress=False)
    assert found.sizes["fold"] == 3
    for fold, used in zip(outer, seen, strict=True):
        tested = values(fold.cut(data)[1])
        assert used.isdisjoint(tested.tolist())
        assert len(used) == 40


def test_nothing_to_select_from():
    data = series(np.arange(4))
    with pytest.raises(InvalidInputError, match="candidates: got none"):
        select(fit_mean, negative_error, {}, data, blocked_folds(data, 2), seed=0)


def test_the_table_is_a_dataframe():
    assert isinstance(compare(scores(model=[1.0, 2.0])), pd.DataFrame)
