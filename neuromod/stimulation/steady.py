"""No pause of Python's garbage collector while an animal waits.

A collection goes through every object of the process: with jax loaded, several
milliseconds at a moment that nobody chose. Objects that are there when a session opens
are therefore set apart, so that collections go through those that came since; closing
the last session takes them back.
"""

import gc

_open = 0


def begin() -> None:
    """Set all objects apart that are there now."""
    global _open
    if _open == 0:
        gc.collect()
    gc.freeze()
    _open += 1


def end() -> None:
    """Take them back, if nobody else needs them apart."""
    global _open
    _open -= 1
    if _open == 0:
        gc.unfreeze()
