import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from neuromod import errors
from neuromod.core.sequences import gather


def session(n_bins, value=1.0, neurons=("a", "b")):
    return xr.DataArray(
        np.full((n_bins, len(neurons)), value) + np.arange(n_bins)[:, None],
        dims=("time", "neuron"),
        coords={"time": 0.1 * np.arange(n_bins), "neuron": list(neurons)},
        name="spikes",
    )


def long(parts, labels, boundary="session"):
    named = [
        p.assign_coords({boundary: ("time", [label] * p.sizes["time"])})
        for p, label in zip(parts, labels, strict=True)
    ]
    return xr.concat(named, dim="time")


def tree(parts, labels):
    children = zip(labels, parts, strict=True)
    return xr.DataTree.from_dict({k: p.to_dataset() for k, p in children})


DIMS = ("time", "neuron")


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_every_form_gives_the_same_arrays_and_its_own_form_back(lengths):
    parts = [session(n, 10.0 * i) for i, n in enumerate(lengths)]
    labels = [f"s{i}" for i in range(len(parts))]
    forms = {"list": parts, "tree": tree(parts, labels), "long": long(parts, labels)}
    for name, form in forms.items():
        found = gather(form, "spikes", DIMS)
        assert found.values.shape == (len(parts), max(lengths), 2)
        assert found.lengths.tolist() == lengths
        assert found.observed.sum(1).tolist() == lengths
        assert (found.values[~found.observed] == 0).all()
        back = found.restore(found.values, ("neuron",), {"neuron": ["a", "b"]})
        if name == "list":
            again = back
        elif name == "tree":
            assert list(back) == labels
            again = [child["values"] for child in back.values()]
        else:
            assert back["session"].values.tolist() == form["session"].values.tolist()
            again = [back[back["session"] == label] for label in labels]
        for part, got in zip(parts, again, strict=True):
            np.testing.assert_array_equal(got.values, part.values)
            np.testing.assert_array_equal(got["time"], part["time"])


def test_a_single_recording_comes_back_alone():
    found = gather(session(4), "spikes", DIMS)
    assert found.form == "single"
    back = found.restore(found.values[..., 0])
    assert back.dims == ("time",)
    assert "session" not in back.coords


def test_trials_are_a_boundary_too():
    found = gather(long([session(2), session(3)], ["x", "y"], "trial"), "s", DIMS)
    assert found.labels == ("x", "y")
    assert found.restore(found.observed)["trial"].values.tolist() == list("xxyyy")


def test_a_trial_ends_with_its_session_too():
    data = long([session(4), session(2)], ["x", "y"])
    data = data.assign_coords(trial=("time", [0, 0, 1, 1, 0, 0]))
    found = gather(data, "spikes", DIMS)
    assert found.labels == ("x/0", "x/1", "y/0")
    back = found.restore(found.observed)
    assert back["trial"].values.tolist() == [0, 0, 1, 1, 0, 0]


def test_what_labels_the_bins_comes_back():
    data = session(3).assign_coords(block=("time", ["run", "run", "rest"]))
    data["time"].attrs["units"] = "s"
    found = gather(data, "spikes", DIMS)
    back = found.restore(found.observed, name="x", attrs={"units": "1"})
    assert back["block"].values.tolist() == ["run", "run", "rest"]
    assert back["time"].attrs == {"units": "s"}
    assert back.attrs == {"units": "1"}


def test_missing_bins_are_masked():
    data = session(4)
    data[2, 1] = np.nan
    found = gather(data, "spikes", DIMS)
    assert found.observed[0].tolist() == [True, True, False, True]
    assert (found.n_bins, found.n_observed) == (4, 3)
    assert found.values[0, 2, 1] == 0


def test_order_of_dimensions_does_not_matter():
    turned = gather(session(4).transpose("neuron", "time"), "spikes", DIMS)
    np.testing.assert_array_equal(
        turned.values, gather(session(4), "spikes", DIMS).values
    )


def test_a_variable_is_chosen_from_a_tree():
    both = session(3).to_dataset().assign(speed=("time", np.zeros(3)))
    data = xr.DataTree.from_dict({"one": both})
    found = gather(data, "spikes", DIMS, variable="spikes")
    assert found.values.shape == (1, 3, 2)
    with pytest.raises(errors.ShapeError, match="exactly one variable"):
        gather(data, "spikes", DIMS)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (xr.DataTree.from_dict({"/recording": xr.Dataset()}), r"Pass data\['recording"),
        ([], "no sequence at all"),
        (xr.DataTree(), "no sequence at all"),
        ([session(2), session(0)], r"spikes\['1'\]: got 0 bins"),
        ([session(2), session(2, neurons=("a", "c"))], "other labels along `neuron`"),
        ([session(2), session(2, neurons=("a",))], "got 1 entries along `neuron`"),
        ([session(2).rename(neuron="unit")], "expected a DataArray with dimensions"),
        (
            long([session(2)] * 3, ["a", "b", "a"]),
            r"'a' twice, in separate stretches.*sortby\(\['session', 'time'\]\)",
        ),
        ([session(2), session(2).astype(str)], r"\['1'\]: got values of type <U"),
        (session(2) * 1j, "spikes: got values of type complex128.*take .real"),
        (
            [session(2), session(2).drop_vars("neuron")],
            r"\['1'\]: got 2 entries without labels .*expected names as in spikes\['0",
        ),
        (
            [session(2).drop_vars("neuron"), session(2)],
            r"\['1'\]: got names along `neuron`, expected 2 entries without labels",
        ),
        ([session(2, neurons=(0, 1)), session(2)], "got names .*expected numbers as"),
        (session(3).isel(time=[1, 0, 2]), "followed by"),
        (session(2, neurons=("a", "a")), "the label.*'a' twice"),
        ([session(2).values], r"spikes\['0'\]: got ndarray"),
        ("spikes.npz", "spikes: got str"),
    ],
)
def test_what_cannot_be_joined_is_refused(data, message):
    with pytest.raises(errors.InvalidInputError, match=message):
        gather(data, "spikes", DIMS)


def test_sessions_may_be_joined_on_labels_that_differ():
    parts = [session(3, neurons=("a", "b")), session(2, 7.0, neurons=("b", "c"))]
    found = gather(parts, "spikes", DIMS, join="neuron")
    assert found.coords["neuron"].tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(found.recorded, [[1, 1, 0], [0, 1, 1]])
    np.testing.assert_array_equal(found.values[0, :, 1], parts[0].values[:, 1])
    np.testing.assert_array_equal(found.values[1, :2, 1], parts[1].values[:, 0])
    assert (
        found.values[~found.recorded[:, None] & np.ones((2, 3, 3), bool)] == 0
    ).all()
    assert found.observed.sum() == 5
    with pytest.raises(errors.ShapeError, match="same labels"):
        gather(parts, "spikes", DIMS)
    same = gather(parts[:1] * 2, "spikes", DIMS, join="neuron")
    assert same.recorded is None


def test_in_one_long_array_what_is_missing_throughout_was_not_recorded():
    whole = long([session(3), session(2)], ["one", "two"]).astype(float)
    whole[dict(time=slice(3, None), neuron=1)] = np.nan
    whole[dict(time=0, neuron=0)] = np.nan
    found = gather(whole, "spikes", DIMS, join="neuron")
    np.testing.assert_array_equal(found.recorded, [[1, 1], [1, 0]])
    np.testing.assert_array_equal(found.observed, [[0, 1, 1], [1, 1, 0]])
    alone = gather(whole.isel(time=slice(0, 3)), "spikes", DIMS, join="neuron")
    assert alone.recorded is None
    lost = whole.isel(time=slice(3, None)).drop_vars("session")
    found = gather(lost, "spikes", DIMS, join="neuron")
    np.testing.assert_array_equal(found.recorded, [[1, 0]])


def test_a_sequence_without_any_value_is_missing_and_lacks_no_entry():
    found = gather([session(3), np.nan * session(2)], "s", DIMS, join="neuron")
    assert found.recorded is None
    assert found.observed.sum(1).tolist() == [3, 0]


def test_joined_labels_must_not_repeat():
    with pytest.raises(errors.InvalidInputError, match="'a' twice"):
        gather([session(2, neurons=("a", "a"))], "spikes", DIMS, join="neuron")


def test_entries_without_labels_are_numbered():
    plain = xr.DataArray(
        np.zeros((4, 2)), dims=("time", "input"), coords={"time": np.arange(4.0)}
    )
    found = gather(plain, "inputs", ("time", "input"))
    assert found.coords["input"].tolist() == [0, 1]
    assert found.numbered == ("input",)
    assert gather(session(2), "spikes", DIMS).numbered == ()
