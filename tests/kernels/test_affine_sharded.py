"""Linear recurrences over arrays that are sharded along time, on 8 simulated devices.

The number of devices is settled before JAX starts: the test runs this file as a script.
"""

import json
import os
import re
import subprocess
import sys

N_DEVICES = 8
N_STEPS, N_FEATURES = 800, 5
COLLECTIVE = re.compile(
    r"= (?:\()?\w+\[([\d,]*)\][^=]* "
    r"(?:all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)"
    r"(?:-start)?\("
)


def test_blocks_stay_on_their_devices():
    """Equal numbers, sharded results, and nothing but ends of blocks that travel."""
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
    found = json.loads(ran.stdout)
    assert found["error"] <= 1e-5
    assert found["sharded"] == [True, True, True]
    assert found["loops"] >= 2
    assert found["collectives in loops"] == 0
    # What blocks amount to, one row each, and never anything along time.
    assert 0 < found["largest collective"] <= 2 * N_DEVICES * N_FEATURES


def run() -> dict:
    """Compare sharded and unsharded states and gradients; read the program."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import AxisType, NamedSharding, PartitionSpec

    from neuromod.kernels.affine import affine_scan

    @jax.jit
    def compute(decay, drive):
        def loss(decay, drive):
            reset = jnp.arange(N_STEPS) % 77 == 3
            states, last = affine_scan(decay, drive, reset=reset, method="blocked")
            return jnp.sum(states**2) + jnp.sum(last), states

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(decay, drive)

    rng = np.random.default_rng(0)
    shape = (N_STEPS, N_FEATURES)
    whole = [jnp.asarray(rng.uniform(size=shape), jnp.float32) for _ in range(2)]
    mesh = jax.make_mesh((N_DEVICES,), ("devices",), axis_types=(AxisType.Auto,))
    along_time = NamedSharding(mesh, PartitionSpec("devices"))
    shards = jax.device_put(whole, along_time)
    got, want = (jax.tree.leaves(compute(*arrays)) for arrays in (shards, whole))
    pairs = list(zip(got, want, strict=True))
    program = compute.lower(*shards).compile().as_text()
    sizes = {
        name: [np.prod([int(n) for n in s.split(",") if n]) for s in found]
        for name, found in collectives(program).items()
    }
    bodies = set(re.findall(r" while\(.* body=%?([\w.\-]+)", program))
    return {
        "error": max(float(jnp.max(abs(a - b))) for a, b in pairs),
        "sharded": [x.sharding.is_equivalent_to(along_time, 2) for x in got],
        "loops": len(bodies),
        "collectives in loops": sum(len(sizes[body]) for body in bodies),
        "largest collective": int(
            max(max(found, default=0) for found in sizes.values())
        ),
    }


def collectives(program: str) -> dict[str, list[str]]:
    """Return the shapes of what each computation sends to other devices."""
    found = {}
    for block in re.split(r"\n(?=%|ENTRY)", program):
        name = re.match(r"(?:ENTRY )?%?([\w.\-]+)", block)
        if name:
            found[name.group(1)] = COLLECTIVE.findall(block)
    return found


if __name__ == "__main__":
    print(json.dumps(run()))
