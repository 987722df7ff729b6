"""Recordings that are sharded along time, on 8 simulated devices.

The number of devices is settled before JAX starts: the tests run this file as a script.
"""

import json
import math
import os
import re
import subprocess
import sys

import pytest

N_DEVICES = 8
N_STEPS, N_FEATURES = 800, 5
COLLECTIVE = re.compile(
    r" (all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)"
    r"(?:-start)?\("
)


@pytest.fixture(scope="module")
def found():
    """Run this file where eight devices are, and return what it printed."""
    flags = f"--xla_force_host_platform_device_count={N_DEVICES}"
    own = os.environ.get("XLA_FLAGS", "")
    environment = {
        **os.environ,
        "XLA_FLAGS": f"{own} {flags}".strip(),
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    ran = subprocess.run(
        [sys.executable, __file__], env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize(
    ("kind", "size"), [("affine", N_FEATURES), ("hmm", N_FEATURES**2 + N_FEATURES)]
)
def test_blocks_stay_on_their_devices(found, kind, size):
    """Equal numbers, sharded results, and nothing but ends of blocks that travel."""
    told = found[kind]
    assert told["error"] <= 1e-5
    assert all(told["sharded"])
    assert told["loops"] >= 2
    assert told["collectives in loops"] == 0
    # What blocks amount to, a few rows each, and never anything along time.
    assert 0 < told["largest collective"] <= 2 * N_DEVICES * size


def of_affine(decay, drive):
    """Return states, and gradients with respect to what is sharded."""
    import jax
    import jax.numpy as jnp

    from neuromod.kernels import affine_scan

    def loss(decay, drive):
        reset = jnp.arange(N_STEPS) % 77 == 3
        states, last = affine_scan(decay, drive, reset=reset, method="blocked")
        return jnp.sum(states**2) + jnp.sum(last), states

    return jax.grad(loss, argnums=(0, 1), has_aux=True)(decay, drive)


def of_hmm(evidence):
    """Return posteriors."""
    import jax.numpy as jnp

    from neuromod.kernels import hmm_smoother

    initial = jnp.full(N_FEATURES, 1 / N_FEATURES)
    transition = 0.9 * jnp.eye(N_FEATURES) + 0.1 / N_FEATURES
    reset = jnp.arange(N_STEPS) % 77 == 3
    options = {"method": "blocked", "n_blocks": N_DEVICES, "reset": reset}
    found = hmm_smoother(initial, transition, evidence, **options)
    return (
        found.filtered,
        found.smoothed,
        (found.log_likelihood / N_STEPS, found.transition_counts.ravel() / N_STEPS),
    )


def compare(function, n_arrays: int) -> dict:
    """Compare sharded and unsharded results; read the program."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import AxisType, NamedSharding, PartitionSpec

    rng = np.random.default_rng(0)
    shape = (N_STEPS, N_FEATURES)
    whole = [jnp.asarray(rng.uniform(size=shape), jnp.float32) for _ in range(n_arrays)]
    mesh = jax.make_mesh((N_DEVICES,), ("devices",), axis_types=(AxisType.Auto,))
    along_time = NamedSharding(mesh, PartitionSpec("devices"))
    shards = jax.device_put(whole, along_time)
    compute = jax.jit(function)
    compiled = compute.lower(*shards).compile()
    got, want = (jax.tree.leaves(x) for x in (compiled(*shards), compute(*whole)))
    program = compiled.as_text()
    found = collectives(program)
    bodies = set(re.findall(r" while\(.* body=%?([\w.\-]+)", program))
    in_loops = [op for body in bodies for op, _ in found[body] if "/rounds/" not in op]
    sizes = [size for parts in found.values() for _, size in parts]
    errors = (float(jnp.max(abs(a - b))) for a, b in zip(got, want, strict=True))
    alike = (
        x.sharding.is_equivalent_to(along_time, 2) for x in got if x.shape == shape
    )
    return {
        "error": max(errors),
        "sharded": [bool(is_alike) for is_alike in alike],
        "loops": len(bodies),
        "collectives in loops": len(in_loops),
        "largest collective": max(sizes, default=0),
    }


def collectives(program: str) -> dict[str, list[tuple[str, int]]]:
    """Return by computation what it sends to other devices: operation, largest size.

    But for the bins of a hidden Markov model one by one, which is for emergencies.
    """
    found = {}
    for block in re.split(r"\n(?=%|ENTRY)", program):
        name = re.match(r"(?:ENTRY )?%?([\w.\-]+)", block)
        lines = [line for line in block.splitlines() if COLLECTIVE.search(line)]
        found[name.group(1)] = [
            (operation(line), largest_size(line))
            for line in lines
            if "/bin_by_bin/" not in operation(line)
        ]
    return found


def operation(line: str) -> str:
    """Return from where in the Python code an instruction comes."""
    return re.search(r'op_name="([^"]*)"', line).group(1)


def largest_size(line: str) -> int:
    """Return the number of entries of the largest result of an instruction."""
    results = line.split(" = ")[1].split(COLLECTIVE.search(line).group(1))[0]
    shapes = re.findall(r"\[([\d,]*)\]", results)
    return max(math.prod(int(n) for n in s.split(",") if n) for s in shapes)


if __name__ == "__main__":
    print(json.dumps({"affine": compare(of_affine, 2), "hmm": compare(of_hmm, 1)}))
