"""Damaged and hostile result files, made from sound ones by chance and by design.

Damaged files are cut short or have bits flipped. The others have a checksum that fits,
as a hostile maker would compute it: chance bytes, a description that claims what is
not so, other HDF5 in place of the arrays. `make_case` makes one; its kind and its seed
determine it.
"""

import copy
import functools
import hashlib
import io
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from neuromod.core import envelope, models
from neuromod.core.result import Result
from tests.core.tiny import TinyLayer, tiny_result

# A module of the standard library that nothing imports unless a file makes it.
BAIT = "this"


def make_case(folder: Path, kind: str, seed: int) -> bytes:
    """Return the content of one file."""
    rng = random.Random(f"{kind} {seed}")
    return KINDS[kind](rng, *rng.choice(originals(str(folder))))


@functools.cache
def originals(folder: str) -> list[tuple[bytes, bytes]]:
    """Return the netCDF and the description of a few sound files."""
    layers = [TinyLayer(np.eye(3) * seed, np.ones(3)) for seed in range(3)]
    stacked = xr.Dataset({"gain": (("seed", "unit"), np.ones((3, 2)))})
    texts = xr.Dataset(
        {"label": ("n", np.array(["é", "b"], object)), "name": ("n", ["ab", "c"])},
        {"when": ("n", np.array([1, 2], "M8[ns]")), "good": ("n", [True, False])},
        {"range": np.arange(3.0), "bounds": (0.0, float("inf")), "of": {1: 2j}},
    )
    seeds = xr.DataTree.from_dict({"parameters": stacked, "latent/below": texts})
    results = [tiny_result(), Result(models.stack(layers), seeds, {}, {})]
    parts = []
    for result in results:
        path = result.save(Path(folder) / "original.nc")
        parts.append(tuple(map(bytes, envelope.read_sealed(path))))
        path.unlink()
    return parts


def seal(netcdf: bytes, description: bytes) -> bytes:
    digest = hashlib.sha256(netcdf + description).hexdigest()
    sizes = len(netcdf), len(description)
    return envelope._header(envelope.SCHEMA, *sizes, digest) + netcdf + description


def cut_short(rng: random.Random, netcdf: bytes, description: bytes) -> bytes:
    whole = seal(netcdf, description)
    return whole[: rng.randrange(len(whole))]


def bits_flipped(rng: random.Random, netcdf: bytes, description: bytes) -> bytes:
    return _scribbled(rng, seal(netcdf, description))


def bytes_anywhere(rng: random.Random, netcdf: bytes, description: bytes) -> bytes:
    return seal(_scribbled(rng, netcdf), _scribbled(rng, description))


def text_of_description(rng: random.Random, netcdf: bytes, description: bytes) -> bytes:
    text = bytearray(description)
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(text))
        piece = rng.choice([b"", b"[", b"{", b'"', b"NaN", b"\xff", b"null", *LONG])
        text[start : start + rng.choice([0, 1, 5, 50])] = piece
    return seal(netcdf, bytes(text))


def values_of_description(
    rng: random.Random, netcdf: bytes, description: bytes
) -> bytes:
    packed = json.loads(description)
    for _ in range(rng.choice([1, 1, 2, 5])):
        holder, key = rng.choice(list(_places(packed)))
        holder[key] = copy.deepcopy(rng.choice(HOSTILE))
    return seal(netcdf, json.dumps(packed).encode())


def false_claims(rng: random.Random, netcdf: bytes, description: bytes) -> bytes:
    packed = json.loads(description)
    rng.choice(CLAIMS)(rng, packed)
    return seal(netcdf, json.dumps(packed).encode())


def other_hdf5(rng: random.Random, netcdf: bytes, description: bytes) -> bytes:
    crafted = rng.choice(HDF5)()
    if rng.random() < 0.5:
        crafted = _scribbled(rng, crafted)
    return seal(crafted + netcdf[len(crafted) :], description)


def lengths_shifted(rng: random.Random, netcdf: bytes, description: bytes) -> bytes:
    body, border = netcdf + description, rng.randrange(len(netcdf + description))
    return seal(body[:border], body[border:])


KINDS: dict[str, Callable[[random.Random, bytes, bytes], bytes]] = {
    function.__name__: function
    for function in (
        cut_short,
        bits_flipped,
        bytes_anywhere,
        text_of_description,
        values_of_description,
        false_claims,
        other_hdf5,
        lengths_shifted,
    )
}
DAMAGE = ("cut_short", "bits_flipped")


LONG = (b"9" * 5_000, b"[" * 100_000, b'{"a":' * 100_000, b'"' + b"a" * 10**6)


def _scribbled(rng: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 3, 30])):
        changed[rng.randrange(len(changed))] ^= rng.randint(1, 255)
    return bytes(changed) if changed != content else _scribbled(rng, content)


def _places(packed: Any) -> Iterator[tuple[Any, Any]]:
    """Give every place in a JSON value at which a value can be put."""
    if isinstance(packed, dict | list):
        for key in packed if isinstance(packed, dict) else range(len(packed)):
            yield packed, key
            yield from _places(packed[key])


def _nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


HOSTILE: list[Any] = [
    *(None, True, -1, 0, 1, 2**31, 2**63, 2**64, 10**12, 10**30, 10**4000, 1e308),
    *("", "/", ".", "..", "../../x", "a" * 10_000, "\0", "\ud800", "$tuple", "n"),
    *("|O", "<U999999999", "<U1000000", "<f16", "|V8", "f8,f8", "<M8[ns]", "|b1"),
    *("<c16", "<f2", ">f8", "|S2000000000", "<m8[99999999999s]", "O", "object"),
    *([], {}, [[]], [10**12], [2**31, 2**31], [0, 2**61], [-1, -1], ["a", "a"]),
    *(_nested(50), _nested(90), ["d"] * 100, [0] * 10_000),
    *({"$tuple": 3}, {"$dict": [[[], 0]]}, {"$float": "x"}, {"$eval": "1"}),
    {"$array": {"dtype": "|O", "shape": [1], "width": 4, "base64": "gASVAAAA"}},
    {"$array": {"dtype": "<f8", "shape": [10**12], "base64": ""}},
    {"$leaf": ["scale", "jax"]},
    {"$leaf": ["absent", "numpy"]},
    {"$model": {"class": f"{BAIT}:s", "fields": {}}},
    {"$model": {"class": BAIT, "fields": {}}},
    {"$model": {"class": "os.system", "fields": {"command": "touch HACKED"}}},
    {"$model": {"class": "TinyLayer", "fields": {"weight": 1, "bias": None}}},
    {"$model": {"class": "TinyLayer", "fields": {"__class__": 1}}},
    {"$model": {"class": "SwitchingGLM", "fields": {}}},
]


def _entries(packed: Any) -> list[dict[str, Any]]:
    groups = packed["groups"].values()
    return [entry for group in groups for entry in group["variables"].values()]


def _huge(rng, packed):
    for entry in _entries(packed):
        entry["shape"] = [10**12 for _ in entry["shape"]] or [10**12]


def _huge_and_empty(rng, packed):
    for entry in _entries(packed):
        entry["shape"] = [0, *(2**61 for _ in entry["shape"])][: len(entry["dims"])]


def _beyond(rng, packed):
    entry = rng.choice(_entries(packed))
    entry["offset"] = rng.choice([-1, -(10**9), 2**62, 10**30, 0, 10_000])


def _shared_bytes(rng, packed):
    group = rng.choice([g for g in packed["groups"].values() if g["variables"]])
    entry = {"dtype": "|u1", "shape": [4000], "dims": ["m"], "attrs": {}, "offset": 0}
    for i in range(9_000):
        group["variables"][f"v{i}"] = {**entry, "coordinate": False}


def _many_groups(rng, packed):
    for i in range(rng.choice([900, 20_000])):
        packed["groups"][f"/g{i}"] = {"variables": {}, "attrs": {}}


def _deep_groups(rng, packed):
    levels = rng.choice([30, 1_000, 1_000_000])
    packed["groups"]["/" + "/".join("a" * levels)] = {"variables": {}, "attrs": {}}


def _many_seeds(rng, packed):
    packed["model"]["seeds"] = rng.choice([0, -1, 9_999, 10**9, 10**12, 2.0, "3", [3]])
    for entry in packed["groups"]["/model"]["variables"].values():
        entry["shape"] = [packed["model"]["seeds"], *(0 for _ in entry["shape"][1:])]


def _wide_text(rng, packed):
    for entry in _entries(packed):
        entry["dtype"] = rng.choice(["<U500000000", "<U9", "|S400000000", "|O"])
        entry["width"] = rng.choice([1, 9, 500_000_000])


def _many_values(rng, packed):
    packed["config"] = {"x": [0] * rng.choice([10**5, 5 * 10**6])}


def _nested_models(rng, packed):
    root = packed["model"]["root"]
    for level in range(rng.choice([10, 30, 150])):
        fields = {"weight": root, "bias": {"$tuple": [root]} if level < 3 else None}
        root = {"$model": {"class": "TinyLayer", "fields": fields}}
    packed["model"]["root"] = root


def _strange_names(rng, packed):
    name = rng.choice(
        ["..", ".", "", "/", "//", "/..", "/a//b", "/../model", "a", "/x."]
    )
    group = packed["groups"].pop(rng.choice(list(packed["groups"])))
    packed["groups"][name] = group


CLAIMS = [
    *(_huge, _huge_and_empty, _beyond, _shared_bytes, _many_groups, _deep_groups),
    *(_many_seeds, _wide_text, _many_values, _nested_models, _strange_names),
]


def _hdf5(fill: Callable[[h5py.File], object]) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        fill(file)
    return buffer.getvalue()


def _cyclic(file):
    file.create_group("latent/below")
    file["latent/below/up"] = file["latent"]
    file["latent/root"] = file["/"]


def _links(file):
    file["latent"] = h5py.SoftLink("/latent")
    file["parameters"] = h5py.ExternalLink("/etc/passwd", "/")


def _elsewhere(file):
    parts = [("/etc/passwd", 0, 100)]
    file.create_dataset("latent", (100,), "u1", external=parts)


def _virtual(file):
    layout = h5py.VirtualLayout((10**12,), "f8")
    layout[:10] = h5py.VirtualSource("/etc/passwd", "x", (10,))
    file.create_virtual_dataset("latent", layout)


def _bomb(file):
    file.create_dataset(
        "latent", (10**12,), "f8", chunks=(10**6,), compression="gzip", fillvalue=1
    )


HDF5 = [functools.partial(_hdf5, f) for f in (_cyclic, _links, _elsewhere, _virtual)]
HDF5.append(functools.partial(_hdf5, _bomb))
