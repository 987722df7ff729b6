"""What the meta-prior does: a machine with a branch, learned by many networks at once.

The cycle 0.8, then -0.8 (chance 0.3) or 0, then 0.4, as ten sequences of 24 steps;
networks of 10 units and one latent, seven meta-priors and two seeds, trained by one
call of `neuromod.pvrnn.sweep`. From each one's prior 200 sequences of 120 steps are
made up and read as symbols: the nearest one, or the one within 0.2.

    python tests/benchmarks/pvrnn_sweep.py --out docs/benchmarks/pvrnn_sweep.json
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[2])

from neuromod import pvrnn
from neuromod.pvrnn import measures
from neuromod.pvrnn.machine import branching_cycle, simulate_machine
from tests.benchmarks._measure import keep_to, machine

META_PRIORS = (1.0, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0001)
BEST = (0.1, 0.03, 0.01)


def data():
    """Return what is learned."""
    return simulate_machine(branching_cycle(), 10, 24, seed=0, start=0)


def build(key):
    """Return a network with random weights."""
    return pvrnn.hierarchy(key, [10], [1], [2], [pvrnn.tanh_head(1)])


def learn(n_steps=11_000, seeds=(0, 1)):
    """Return the networks, and the CPU seconds that they took."""
    started = time.process_time()
    found = pvrnn.sweep(
        data(), build, META_PRIORS, seed=list(seeds), n_steps=n_steps, progress=False
    )
    return found, time.process_time() - started


def told(network, meta_prior):
    """Return what is measured of one network."""
    source = branching_cycle()
    made = pvrnn.generate(network, 120, seed=0, n_trials=200)["channel_value"]
    chances = measures.transition_matrix(made, source, burn_in=10)
    history = network.data["history"].isel(step=slice(-200, None)).mean("step")
    run = pvrnn.reconstruct(network, seed=0)
    exponents = measures.lyapunov_exponents(network, seed=0, n_trials=4)
    return {
        "meta_prior": meta_prior,
        "reconstruction": float(history["reconstruction"].sum()) / 10,
        "nats_per_step": float(run["divergence"].mean()),
        "posterior_deviation": float(run["posterior_deviation"].mean()),
        "prior_deviation": float(run["prior_deviation"][:, 1:].mean()),
        "legal": measures.legal_fraction(made, source, burn_in=10),
        "legal_within_0.2": measures.legal_fraction(
            made, source, burn_in=10, tolerance=0.2
        ),
        "chance_of_branch": float(chances[0, 1]),
        "transition_divergence": measures.block_divergence(made, source, burn_in=10),
        "lyapunov_exponent": float(exponents.mean()),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    out = parser.parse_args().out
    results, seconds = learn()
    rows = [
        {"seed": seed} | told(result.sel(seed=seed), w)
        for w, result in results.items()
        for seed in (0, 1)
    ]
    for row in rows:
        print(json.dumps({k: round(v, 4) for k, v in row.items()}))
    best = max(BEST, key=lambda w: np.mean([r["legal"] for r in of(rows, w)]))
    summary = {
        "best_meta_prior": best,
        "legal_at_best": [r["legal"] for r in of(rows, best)],
        "chance_of_branch_at_1": [r["chance_of_branch"] for r in of(rows, 1.0)],
        "legal_at_1": [r["legal"] for r in of(rows, 1.0)],
        "nats_at_1": [r["nats_per_step"] for r in of(rows, 1.0)],
        "legal_at_1e-4": [r["legal"] for r in of(rows, 1e-4)],
        "cpu_seconds": seconds,
    }
    print(json.dumps(summary, indent=2))
    if out:
        text = {"machine": machine(), "summary": summary, "networks": rows}
        out.write_text(json.dumps(text, indent=1) + "\n")


def of(rows, meta_prior):
    """Return the rows of a meta-prior."""
    return [row for row in rows if row["meta_prior"] == meta_prior]


if __name__ == "__main__":
    keep_to(1)
    main()
