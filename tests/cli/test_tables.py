"""Arrays over time as files for other programs."""

import numpy as np
import pytest
import xarray as xr

from neuromod.cli.tables import to_csv, write
from neuromod.core.errors import InvalidInputError


def states():
    return xr.DataArray(
        np.array([[0.25, 0.75], [1.0, 0.0]]),
        dims=("time", "state"),
        coords={"time": [0.1, 0.3], "state": [0, 1], "session": ("time", ["a", "b"])},
        name="state_probability",
    )


def test_labels_along_time_become_columns():
    assert to_csv(states()) == (
        "time,session,state 0,state 1\n0.1,a,0.25,0.75\n0.3,b,1.0,0.0\n"
    )


def test_numbers_keep_every_digit():
    array = states() / 3
    value = to_csv(array).splitlines()[1].split(",")[2]
    assert float(value) == 0.25 / 3


def test_netcdf_keeps_everything(tmp_path):
    path = write(states(), tmp_path / "x.nc")
    with xr.open_dataarray(path, engine="h5netcdf") as found:
        xr.testing.assert_identical(found.load(), states())


def test_an_unknown_ending_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match=r"ends in \.nc .* --out x\.nc"):
        write(states(), tmp_path / "x.txt")
