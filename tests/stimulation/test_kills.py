"""Twenty kills of a session lose nothing, send nothing twice, and change nothing.

The evidence at length: ``tests/benchmarks/stimulation_kills.py``.
"""

import pytest

from neuromod.stimulation import steady
from tests.stimulation.kills import MOMENTS, MUST_BE_NONE, Campaign

N_KILLS = 20


@pytest.fixture
def no_collections():
    """Keep the judge's sessions from collecting all garbage whenever one opens."""
    steady.begin()
    yield
    steady.end()


def test_kills_lose_nothing_and_send_nothing_twice(tmp_path, no_collections):
    with Campaign(
        tmp_path, tmp_path / "cache", "two muscles", seed=0, most_trials=2
    ) as campaign:
        moments = (MOMENTS * 2)[:N_KILLS]
        found = [campaign.kill(moment) for moment in moments]
        found.append(campaign.finish(n_trials=2))
    for row in found:
        assert not any(row[name] for name in MUST_BE_NONE), row
    assert sum(row["asks"] for row in found) >= 12
    assert sum(row["unresolved"] for row in found) >= 3
    assert found[-1]["acknowledged"] >= 6
    assert len({row["phase"] for row in found[:-1]}) >= 7
