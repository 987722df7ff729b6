"""A batch over eight simulated devices, in a process that has them."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from neuromod.kernels import over_devices

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import json, re
import neuromod
import jax, jax.numpy as jnp, numpy as np
from neuromod.kernels import LeakyRNN, over_devices, scan

key = jax.random.key(0)
inputs = jax.random.normal(key, (30, 16, 3))
keys = jax.random.split(key, 16)
cell = LeakyRNN.random(key, 3, 5, leak=0.3, noise_scale=0.2)

def run(cell, inputs, keys):
    return scan(cell, cell.initial(inputs.shape[1:2]), inputs, noise=keys).outputs

def loss(run):
    return lambda cell: jnp.sum(run(cell, inputs, keys) ** 2)

cut = over_devices(run, in_axes=(None, 1, 0), out_axes=1)
outputs = cut(cell, inputs, keys)
gradient = jax.jit(jax.grad(loss(cut)))
slopes = [jax.grad(loss(run))(cell), gradient(cell)]
program = gradient.lower(cell).compile().as_text()
parts = re.split(r"\\n\\n", program)
summed = [p.lstrip().startswith("ENTRY") for p in parts if " all-reduce(" in p]
print(json.dumps({
    "devices": len(outputs.sharding.device_set),
    "outputs": float(jnp.abs(outputs - run(cell, inputs, keys)).max()),
    "gradient": max(
        float(jnp.abs(a - b).max() / jnp.abs(b).max())
        for a, b in zip(jax.tree.leaves(slopes[1]), jax.tree.leaves(slopes[0]))
    ),
    "summed": summed,
    "loops": sum(" while(" in p for p in parts),
}))
"""


def test_eight_devices_do_what_one_does():
    """Same outputs and noise, same gradient, summed once and not in the loop."""
    flags = "--xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={"PYTHONPATH": str(ROOT), "XLA_FLAGS": flags, "PATH": ""},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    assert told["devices"] == 8
    assert told["outputs"] < 1e-6
    assert told["gradient"] < 1e-5
    assert told["loops"] >= 2
    assert told["summed"]
    assert all(told["summed"]), "a sum over devices stands in a loop"


def test_a_batch_that_cannot_be_cut_is_refused():
    run = over_devices(lambda x: x, in_axes=1, out_axes=1, devices=jax.devices() * 3)
    with pytest.raises(ValueError, match=r"argument 0: .* \(5, 4\).* 3 equal parts"):
        run(jnp.zeros((5, 4)))


def test_memory_does_not_grow_with_time():
    """A small version of ``python -m tests.kernels.memory``: see there."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.kernels.memory", "300000"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    # Stored for every step, states and inputs alone would be 290 MiB.
    assert told["rise_mib"] < 150
    assert told["norm"] > 0
