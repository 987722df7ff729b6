"""Kill sessions 200 times, and ask hostile ones 10,000 times: nothing lost or unsafe.

::

    python tests/benchmarks/stimulation_kills.py --store FOLDER --n-kills 200 \
        --n-asks 10000 --out docs/benchmarks/stimulation_kills.json

A closed-loop session runs in a process of its own with a rig in another one, which
outlives it and writes down the id of every pulse. SIGKILL meets the session before and
in the middle of each of its steps, in the middle of what it writes, while it replays
and while it compiles. After every kill it must be all there, no pulse delivered twice,
and all that it knows and asks next that of a twin which was never interrupted, bit for
bit (`tests.stimulation.kills`).

Sessions with hostile settings are then asked, and what they send is checked by loops
over all that was sent before (`tests.stimulation.hostile`).

Sessions that were finished are kept in the folder: a second call goes on.
"""

import argparse
import json
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # the script's own folder would shadow the package `kernels`
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np

from neuromod.stimulation import steady
from neuromod.stimulation.settings import versions
from tests.benchmarks._measure import machine
from tests.stimulation.hostile import WRONG, ask_hostile_sessions
from tests.stimulation.kills import KINDS, MOMENTS, MUST_BE_NONE, Campaign

KILLS_OF_ONE = 10
ASKS_OF_ONE = 1000


def kill(folder: Path, cache: Path, number: int) -> list[dict[str, Any]]:
    """Begin a session, kill it ten times and let it end; return what was found."""
    kind = list(KINDS)[number % len(KINDS)]
    order = np.random.default_rng(number // len(KINDS)).permutation(len(MOMENTS))
    first = number * KILLS_OF_ONE // len(KINDS)
    rows = []
    with Campaign(folder, cache, kind, seed=number) as campaign:
        for k in range(KILLS_OF_ONE):
            moment = MOMENTS[order[(first + k) % len(MOMENTS)]]
            rows.append({"kind": kind} | campaign.kill(moment))
            print(f"{number}: {rows[-1]['phase']}", flush=True)
        rows.append({"kind": kind, "moment": "end"} | campaign.finish(n_trials=3))
    return rows


def told(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what was found in all sessions."""
    kills = [row for row in rows if row["moment"] != "end"]
    ends = [row for row in rows if row["moment"] == "end"]
    return {
        "kills": len(kills),
        "sessions": dict(Counter(row["kind"] for row in ends)),
        "phases": dict(sorted(Counter(row["phase"] for row in kills).items())),
        "moments": dict(sorted(Counter(row["moment"] for row in kills).items())),
        "half-written journals": sum(row["hot"] for row in kills),
        "pulses": sum(row["delivered"] for row in ends),
        "acknowledged": sum(row["acknowledged"] for row in ends),
        "unresolved": sum(row["unresolved"] for row in rows),
        "asks compared with the twin": sum(row["asks"] for row in rows),
        "states compared with the twin": len(rows),
        "must be none": {name: sum(row[name] for row in rows) for name in MUST_BE_NONE},
    }


def main() -> None:
    """Kill and ask as often as wanted, and write down what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--n-kills", type=int, default=200)
    parser.add_argument("--n-asks", type=int, default=10_000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.store.mkdir(parents=True, exist_ok=True)
    steady.begin()  # or every session that opens here would collect all garbage
    rows, asks = [], Counter()
    for number in range(options.n_kills // KILLS_OF_ONE):
        folder = options.store / f"session_{number}"
        done = folder.with_suffix(".json")
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            found = kill(folder, options.store / "compiled", number)
            done.write_text(json.dumps(found))
        rows += json.loads(done.read_text())
    for seed in range(-(-options.n_asks // ASKS_OF_ONE)):
        done = options.store / f"asks_{seed}.json"
        if not done.exists():
            done.write_text(json.dumps(ask_hostile_sessions(ASKS_OF_ONE, seed=seed)))
            print(f"asks: {seed}", flush=True)
        asks += Counter(json.loads(done.read_text()))
    report = {
        "machine": machine(),
        "versions": versions(),
        "kills": told(rows),
        "asks of hostile sessions": {
            "sent and refused": {n: asks[n] for n in ("asks", "sent", "refused")},
            "must be none": {name: asks[name] for name in WRONG},
        },
    }
    print(json.dumps(report, indent=1))
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
