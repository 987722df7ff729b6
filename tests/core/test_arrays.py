"""Arrays come back from their bytes as they were: type, shape and every bit."""

import json
import re

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from neuromod.core import arrays
from neuromod.core.errors import InvalidInputError

DTYPES = st.one_of(
    nps.boolean_dtypes(),
    nps.integer_dtypes(endianness="?"),
    nps.unsigned_integer_dtypes(endianness="?"),
    nps.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
    nps.complex_number_dtypes(endianness="?", sizes=(64, 128)),
    nps.datetime64_dtypes(max_period="s", min_period="ns"),
    nps.timedelta64_dtypes(max_period="s", min_period="ns"),
    nps.unicode_string_dtypes(endianness="?", max_len=5),
    nps.byte_string_dtypes(max_len=5),
)
SHAPES = nps.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


def round_trip(array, before=b""):
    numbers, entry = arrays.encode(array, "x")
    assert arrays.n_bytes(entry) == numbers.nbytes
    entry = json.loads(json.dumps(entry))
    return arrays.decode(before + numbers.tobytes() + b"after", entry, len(before))


@settings(max_examples=300, deadline=None)
@given(nps.arrays(DTYPES, SHAPES), st.binary(max_size=3))
def test_arrays_come_back_bit_for_bit(array, before):
    back = round_trip(array, before)
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()
    assert back.flags.writeable
    assert back.flags.c_contiguous


def test_nan_payloads_keep_their_bits():
    payloads = np.array([0x7FF8000000000001, 0xFFF4000000000123], "u8").view("f8")
    assert round_trip(payloads).tobytes() == payloads.tobytes()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1),
        np.arange(10)[::-2],
        np.broadcast_to(np.float32(3), (2, 3)),
        np.asfortranarray(np.array([["a", "bc"], ["é", "日本"]])),
    ],
)
def test_any_memory_layout(array):
    np.testing.assert_array_equal(round_trip(array), array)


def test_objects_that_are_all_text_stay_objects():
    array = np.array([["rat 1", ""], ["日本", "a\0b"]], object)
    back = round_trip(array)
    assert back.dtype == object
    assert back.tolist() == array.tolist()
    assert type(back[0, 0]) is str


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array(["a", None], object), "objects with None among them.*astype"),
        (np.array([1, 2], object), "objects with 1 among them.*astype"),
        (np.array(["a\0"], object), "ends in a null character"),
        (np.zeros(2, [("a", "f4")]), "type .*expected integers.*astype"),
        (np.asarray(jnp.zeros(2, jnp.bfloat16)), "type bfloat16.*astype"),
        (np.zeros(2, np.longdouble), "type float128|type longdouble"),
        (np.array(["a"], np.dtypes.StringDType()), "StringDType"),
    ],
)
def test_what_has_no_exact_counterpart_is_refused(array, message):
    with pytest.raises(InvalidInputError, match=f"^labels: .*{message}"):
        arrays.encode(array, "labels")


GOOD = {"dtype": "<f8", "shape": [2]}


@pytest.mark.parametrize(
    ("changes", "offset"),
    [
        ({}, 1),
        ({}, -8),
        ({}, 10**30),
        ({"shape": [3]}, 0),
        ({"shape": [10**12]}, 0),
        ({"shape": [2**40, 2**40]}, 0),
        ({"shape": [-1]}, 0),
        ({"shape": [-1, -2]}, 0),
        ({"shape": [True]}, 0),
        ({"shape": [2.0]}, 0),
        ({"shape": [0, 10**40]}, 0),
        ({"dtype": "<f16"}, 0),
        ({"dtype": "|V8"}, 0),
        ({"dtype": "f8,f8"}, 0),
        ({"dtype": "<M8[xx]"}, 0),
        ({"dtype": "<U2", "shape": [1]}, 0),
        ({"dtype": "<U999999999", "shape": [1], "width": 16}, 0),
        ({"dtype": "|O", "shape": [1]}, 0),
        ({"dtype": "|O", "shape": [1], "width": 10**12}, 0),
    ],
)
def test_impossible_entries_raise_before_memory_is_taken(changes, offset):
    with pytest.raises((ValueError, TypeError)):
        arrays.decode(bytes(16), {**GOOD, **changes}, offset)


def test_invalid_text_raises():
    entry = {"dtype": "<U4", "shape": [1], "width": 4}
    with pytest.raises(ValueError, match="codec can't decode"):
        arrays.decode(b"\xff\xfe\xfd\xfc", entry)


def test_truth_values_other_than_zero_and_one_are_normalised():
    back = arrays.decode(b"\x00\x01\x02\xff", {"dtype": "|b1", "shape": [4]})
    assert back.tobytes() == b"\x00\x01\x01\x01"


def test_every_type_name_is_anchored():
    assert not re.fullmatch(arrays._DTYPE, "<f8\n")
    assert not re.fullmatch(arrays._DTYPE, "x<f8")
