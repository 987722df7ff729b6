"""Load thousands of damaged and hostile result files, and tell what became of each.

Damaged files (cut short, a bit flipped) must be refused. Hostile ones, whose maker
computed the checksum anew, must be refused or give plain data; and whatever is in
them, loading must not crash, hang, take memory without bound, run code, import what
the file names, or raise an error that is not ours. Run it at length by

    python -m tests.core.fuzz_result --cases 2000 --seed 0 --out FILE.json

which loads every case in a child process that is watched from outside. A case can be
run again alone: its kind and its seed determine it.
"""

import argparse
import copy
import functools
import hashlib
import io
import json
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

import neuromod
from neuromod.core import envelope, models
from neuromod.core.errors import DataFormatError
from neuromod.core.result import Result
from tests.core.tiny import CLASSES, TinyLayer, tiny_result

GOOD = ("refused", "plain data")
SECONDS_ALLOWED = 60
MEMORY_ALLOWED = 2 * 1024**3  # above what the process takes before the first case

# Modules of the standard library that nothing here imports unless a file makes it.
BAIT = "antigravity"


# --- the files from which all others are made


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


# --- what is done to them


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


def _places(packed: Any):
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
    {"$model": {"class": f"{BAIT}:geohash", "fields": {}}},
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


# --- one case


def make_case(folder: Path, kind: str, seed: int) -> bytes:
    rng = random.Random(f"{kind} {seed}")
    return KINDS[kind](rng, *rng.choice(originals(str(folder))))


def run_case(folder: Path, kind: str, seed: int) -> dict[str, Any]:
    """Load one case, and return its verdict, its error and its CPU seconds."""
    path = folder / "case.nc"
    path.write_bytes(make_case(folder, kind, seed))
    before = set(folder.iterdir())
    _events.clear()
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.alarm(SECONDS_ALLOWED)
    started, detail = time.process_time(), ""
    try:
        with _watched():
            result = neuromod.load(path, CLASSES)
            repr(result)
        verdict = "plain data" if isinstance(result, Result) else "no result"
    except DataFormatError as error:
        verdict, detail = "refused", f"{type(error).__name__}: {error}"
    except BaseException as error:
        verdict, detail = "wrong error", f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    seconds = time.process_time() - started
    if verdict == "plain data" and kind in DAMAGE:
        verdict = "damage not noticed"
    if _events or BAIT in sys.modules or set(folder.iterdir()) != before:
        verdict, detail = "did something", str(_events[:5])
    return {
        "kind": kind,
        "seed": seed,
        "verdict": verdict,
        "cpu_seconds": round(seconds, 4),
        "detail": detail[-300:],
    }


class _OutOfTime(BaseException):
    """No Exception, which `neuromod.load` would take for its file's fault."""


def _out_of_time(*_: object) -> None:
    raise _OutOfTime(f"{SECONDS_ALLOWED} s are over")


# What the interpreter is asked to do while a file is loaded, told by an audit hook.
_events: list[str] = []
_watching = False


class _watched:
    def __enter__(self):
        global _watching
        _watching = True

    def __exit__(self, *_):
        global _watching
        _watching = False


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching:
        return
    running = event.startswith(("os.", "subprocess.", "socket.", "pickle.", "shutil."))
    harmless = event in ("os.listdir", "os.scandir")
    writing = event == "open" and isinstance(arguments[1], str) and "w" in arguments[1]
    text = event == "compile" or (event == "import" and arguments[0] == BAIT)
    if (running and not harmless) or writing or text:
        _events.append(f"{event} {arguments!r:.200}")


sys.addaudithook(_note)


# --- thousands of cases, in child processes


def work(first: int, n_cases: int, seed: int) -> None:
    """Run cases until done, telling each before and after; called in a child."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in KINDS:  # what is imported and compiled only once
            run_case(folder, kind, -1)
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        _limit_memory()
        for number in range(first, n_cases):
            kind = list(KINDS)[number % len(KINDS)]
            print(json.dumps({"begins": number}), flush=True)
            outcome = run_case(folder, kind, seed * 10**9 + number)
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used
            print(json.dumps({**outcome, "grown_mb": grown / 1024}), flush=True)


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY_ALLOWED
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def watch(n_cases: int, seed: int) -> list[dict[str, Any]]:
    """Run all cases in children; a child that dies or is silent is a finding."""
    outcomes: list[dict[str, Any]] = []
    while len(outcomes) < n_cases:
        first = str(len(outcomes))
        arguments = ["--from", first, "--cases", str(n_cases), "--seed", str(seed)]
        child = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        for line in child.stdout:
            said = json.loads(line)
            if "verdict" in said:
                outcomes.append(said)
            if len(outcomes) % 200 == 0 and "verdict" in said:
                print(f"{len(outcomes)} of {n_cases}", file=sys.stderr, flush=True)
        if child.wait() != 0 and len(outcomes) < n_cases:
            died = {"kind": "?", "seed": len(outcomes), "cpu_seconds": 0, "grown_mb": 0}
            outcomes.append({**died, "verdict": "crashed", "detail": child.returncode})
    return outcomes


def report(outcomes: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    tally = Counter(f"{o['kind']}: {o['verdict']}" for o in outcomes)
    packages = ("numpy", "xarray", "h5py", "h5netcdf", "jax", "equinox")
    return {
        "versions": {
            "python": sys.version.split()[0],
            "neuromod": neuromod.__version__,
            **{name: version(name) for name in packages},
        },
        "seed": seed,
        "cases": len(outcomes),
        "verdicts": dict(sorted(tally.items())),
        "slowest": sorted(outcomes, key=lambda o: o["cpu_seconds"])[-3:],
        "memory_growth_mb": round(max(o["grown_mb"] for o in outcomes)),
        "bad": [o for o in outcomes if o["verdict"] not in GOOD],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--from", type=int, dest="first", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.first is not None:
        work(asked.first, asked.cases, asked.seed)
        return
    found = report(watch(asked.cases, asked.seed), asked.seed)
    text = json.dumps(found, indent=1)
    print(text)
    if asked.out is not None:
        asked.out.write_text(text + "\n")
    sys.exit(bool(found["bad"]))


if __name__ == "__main__":
    main()
