"""The XLA option that makes gradients of small recurrent models fast on a CPU.

XLA's CPU backend compiles a loop into one kernel only while the bytes its body
touches stay under a threshold. The default, 1 KiB, is enough for the forward
pass of a small hidden Markov model and too little for its gradient, which then
runs 20 to 35 times slower (jax 0.10). The option has to stand in the
environment before the first JAX backend starts, so it is set when neuromod is
imported. This module therefore imports neither jax nor anything else of ours.
"""

import os
import sys
from typing import Literal

OPTION = "xla_cpu_small_while_loop_byte_threshold"
THRESHOLD_BYTES = 65536
OPT_OUT = "NEUROMOD_NO_XLA_OPTION"

State = Literal["set", "set by user", "too late", "opted out"]

_state: State | None = None


def backend_started() -> bool:
    """Tell whether this process has already initialised a JAX backend."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    started = getattr(bridge, "backends_are_initialized", None)
    return bool(started()) if started is not None else False


def set_option() -> State:
    """Put the option into ``XLA_FLAGS`` if that can still have an effect."""
    global _state
    _state = _set_option()
    return _state


def state() -> State:
    """Tell what became of the option in this process."""
    return _state if _state is not None else set_option()


def _set_option() -> State:
    flags = os.environ.get("XLA_FLAGS", "")
    if OPTION in flags:
        # Our own value when a parent process that imported neuromod set it.
        return "set" if f"{OPTION}={THRESHOLD_BYTES}" in flags else "set by user"
    if os.environ.get(OPT_OUT, "") not in ("", "0"):
        return "opted out"
    if backend_started():
        return "too late"
    # Prepended: among repeated occurrences XLA lets the last one win.
    option = f"--xla_backend_extra_options={OPTION}={THRESHOLD_BYTES}"
    os.environ["XLA_FLAGS"] = f"{option} {flags}".strip()
    return "set"
