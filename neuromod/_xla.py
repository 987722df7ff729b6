"""The XLA option that makes gradients of small recurrent models fast on a CPU.

XLA's CPU backend compiles a loop into one kernel only while the bytes its body
touches stay under a threshold. The default, 1 KiB, is enough for the forward
pass of a small hidden Markov model and too little for its gradient, which then
runs 20 to 35 times slower (jax 0.10). The option has to stand in the
environment before the first JAX backend starts, so it is set when neuromod is
imported. This module therefore imports neither jax nor anything else of ours.

A value that the user has put into ``XLA_FLAGS`` stays as it is, processes started
from this one inherit the option, and ``NEUROMOD_NO_XLA_OPTION=1`` keeps it away.
"""

import os
import re
import sys
from typing import Literal

OPTION = "xla_cpu_small_while_loop_byte_threshold"
THRESHOLD_BYTES = 65536
OPT_OUT = "NEUROMOD_NO_XLA_OPTION"

State = Literal["set", "set by user", "too late", "opted out"]

_state: State = "opted out"


def set_option() -> State:
    """Put the option into ``XLA_FLAGS`` if that can still have an effect."""
    global _state
    _state = _set_option()
    return _state


def state() -> State:
    """Tell what became of the option when neuromod was imported."""
    return _state


def value() -> int | None:
    """Return the threshold (bytes) that ``XLA_FLAGS`` asks for, None if it is silent.

    Among repeated occurrences XLA lets the last one win.
    """
    found = re.findall(rf"{OPTION}=(\d+)", os.environ.get("XLA_FLAGS", ""))
    return int(found[-1]) if found else None


def backend_started() -> bool:
    """Tell whether this process has already initialised a JAX backend."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    started = getattr(bridge, "backends_are_initialized", None)
    return bool(started()) if started is not None else False


def _set_option() -> State:
    flags = os.environ.get("XLA_FLAGS", "").strip()
    if OPTION in flags:
        # Our own value where a parent process that imported neuromod set it.
        return "set" if value() == THRESHOLD_BYTES else "set by user"
    if flags and not flags.startswith("-"):
        # The name of a file that holds the flags: nothing can be put before it.
        return "set by user"
    if os.environ.get(OPT_OUT, "") not in ("", "0"):
        return "opted out"
    if backend_started():
        return "too late"
    # Prepended, so that whatever the user appends later still wins.
    option = f"--xla_backend_extra_options={OPTION}={THRESHOLD_BYTES}"
    os.environ["XLA_FLAGS"] = f"{option} {flags}".strip()
    return "set"
