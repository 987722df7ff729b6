"""Plain values come back from JSON with their types; nothing else goes in."""

import math
from datetime import UTC, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromod.core import plain
from neuromod.core.errors import InvalidInputError

ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.complex_numbers(),
    st.dates(),
    st.datetimes(timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=9))])),
    st.timedeltas(),
)
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        st.dictionaries(st.integers() | st.just("$tuple"), inner, max_size=3),
    ),
    max_leaves=8,
)


def round_trip(value):
    return plain.unpack(plain.loads(plain.dumps(plain.pack(value, "x")).encode()))


def same(a, b):
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, float | complex):
        return repr(a) == repr(b)
    return a == b


@settings(max_examples=100, deadline=None)
@given(VALUES)
def test_plain_values_come_back_with_their_types(value):
    assert same(round_trip(value), value)


@pytest.mark.parametrize(
    "value",
    [
        np.float32(0.1),
        np.int8(-3),
        np.bool_(True),
        np.str_("é"),
        np.datetime64("2020-01-01", "ns"),
        np.complex64(1 + 2j),
    ],
)
def test_numpy_scalars_keep_their_type(value):
    back = round_trip(value)
    assert type(back) is type(value)
    assert back == value


@pytest.mark.parametrize(
    "value",
    [np.array([0.1, np.nan], "f4"), np.array(["a", "bc"]), np.zeros((0, 3)), np.eye(2)],
)
def test_small_arrays_come_back(value):
    back = round_trip({"range": value})["range"]
    assert back.dtype == value.dtype
    np.testing.assert_array_equal(back, value)


class Odd(list):
    pass


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda: 0, r"config\['a'\]\[1\]: got the function or class .*<lambda>.*Code"),
        (math.sin, "the function or class 'sin'.*keep its name"),
        (InvalidInputError, "the function or class 'InvalidInputError'"),
        ({1, 2}, "of type set.*Convert"),
        (b"bytes", "of type bytes.*Convert"),
        (Odd(), "of type Odd"),
        (np.ma.masked_array([1], [True]), "of type MaskedArray"),
        (np.array([object()]), "array of objects"),
    ],
)
def test_other_values_are_refused_by_name(value, message):
    with pytest.raises(InvalidInputError, match=message):
        plain.pack({"a": [0, value]}, "config")


def test_too_much_and_too_deep_are_refused_at_both_doors(monkeypatch):
    deep = value = []
    for _ in range(plain.MAX_DEPTH + 1):
        value.append([])
        value = value[0]
    with pytest.raises(InvalidInputError, match="more than 100 levels of settings"):
        plain.dumps(deep)
    with pytest.raises(ValueError, match="more than 100 levels"):
        plain.loads(b"[" * 120 + b"]" * 120)
    with pytest.raises(RecursionError):
        plain.loads(b"[" * 100_000)
    with pytest.raises(InvalidInputError, match=r"300000 values.*into arrays"):
        plain.dumps({"x": [0] * 300_000})
    with pytest.raises(ValueError, match="more than 300000 values"):
        plain.loads(b"[" + b"0," * 300_000 + b"0]")
    monkeypatch.setattr(plain, "MAX_BYTES", 10)
    with pytest.raises(InvalidInputError, match="into arrays of `data`"):
        plain.dumps(["0123456789"])
    with pytest.raises(ValueError, match="bytes of JSON"):
        plain.loads(b'["0123456789"]')


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff",
        b"NaN",
        b"[Infinity]",
        b"9" * 5000,
        b'{"$eval": "1"}',
        b'{"$tuple": 3}',
        b'{"$tuple": [], "more": 1}',
        b'{"$float": [1]}',
        b'{"$float": "one"}',
        b'{"$complex": ["one"]}',
        b'{"$datetime": "today"}',
        b'{"$timedelta": [1e400]}',
        b'{"$dict": [[[], 1]]}',
        b'{"$dict": [1]}',
        b'{"$array": {"dtype": "<f8", "shape": [2], "base64": "AAAA"}}',
        b'{"$array": {"dtype": "<f8", "shape": [0], "base64": "*"}}',
        b'{"$scalar": {"dtype": "|O", "shape": [], "base64": ""}}',
    ],
)
def test_what_pack_never_makes_raises(text):
    with pytest.raises((ValueError, TypeError, KeyError, OverflowError)):
        plain.unpack(plain.loads(text))
