"""What makes small loops fast on a CPU: XLA compiles each of them into one kernel."""

from collections.abc import Callable
from typing import Any

import jax

from neuromod import _xla


def assert_each_loop_is_one_kernel(
    function: Callable, n_loops: int, *arrays: Any, **options: Any
) -> None:
    """Compile for the CPU, wherever the other tests run, and read the program."""
    assert _xla.value() == _xla.THRESHOLD_BYTES, "the tests need neuromod's XLA option"
    with jax.default_device(jax.devices("cpu")[0]):
        program = jax.jit(function).lower(*arrays, **options).compile().as_text()
    assert program.count('xla_cpu_small_call="true"') == n_loops
    assert program.count(" while(") == n_loops
