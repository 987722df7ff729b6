"""Old objects are set apart while a session is open, and taken back after it."""

import gc

from neuromod.stimulation import steady


def test_objects_are_apart_until_the_last_session_is_closed():
    gc.unfreeze()
    steady.begin()
    apart = gc.get_freeze_count()
    assert apart > 1000
    steady.begin()
    steady.end()
    assert gc.get_freeze_count() >= apart
    steady.end()
    assert gc.get_freeze_count() == 0
