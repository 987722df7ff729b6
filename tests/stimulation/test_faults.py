"""A full disk, no permission, a damaged file, jumping clocks: told, nothing lost."""

import contextlib
import itertools
import os
import resource
import subprocess
import time

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from neuromod.core.errors import DataFormatError, SessionError
from neuromod.stimulation import journal, steady
from neuromod.stimulation.limits import HOUR
from neuromod.stimulation.regression import Refitted
from neuromod.stimulation.session import Session
from tests.stimulation.kills import KINDS
from tests.stimulation.rights import NOBODY, as_somebody_else, readable_folder
from tests.stimulation.twin import bits

GIVEN = KINDS["drift"]  # then what is known is looked at anew for every ask


@pytest.fixture(scope="module", autouse=True)
def no_collections():
    """Keep sessions from collecting all garbage whenever one opens."""
    steady.begin()
    yield
    steady.end()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rat7.db"


def begin(path, **changes):
    limits = GIVEN["limits"]
    limits = type(limits)(**vars(limits) | changes)
    return Session.open(path, **GIVEN | {"limits": limits}, seed=0)


def acknowledged(session):
    return {t.id: (t.fate, t.response) for t in session.trials.values()}


@contextlib.contextmanager
def largest_file(n_bytes):
    """Let no file get larger: writing beyond fails, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def until_full(session, say):
    """Run a session until it cannot write; return what it was about to say."""
    while True:
        try:
            ask = session.ask()
        except SessionError as error:
            return None, str(error)
        try:
            say(session, ask)
        except SessionError as error:
            return ask, str(error)


def tell(session, ask):
    session.tell(ask.id, 1.0)


def reject(session, ask):
    session.reject(ask.id, "the cable fell off " * 80)


def assert_stops_and_goes_on(path, full, say):
    """See that a full disk stops a session where it is, and room lets it go on."""
    with begin(path) as session:
        with full(path):
            ask, told = until_full(session, say)
            assert "was not written" in told
            assert "make room" in told
            before = acknowledged(session)
            n_events = len(session.events())
            with Session.read(path) as reader:  # readable while there is no room
                assert acknowledged(reader) == before
        if ask is None:
            assert "pending" not in {fate for fate, _ in before.values()}
            ask = session.ask()
            assert ask.id not in before
        say(session, ask)
        say(session, session.ask())
        want = acknowledged(session), bits(session)
        assert len(session.events()) == n_events + (4 if ask.id not in before else 3)
    with Session.open(path) as session:
        assert (acknowledged(session), bits(session)) == want
    changed = [name for name, fate in before.items() if want[0][name] != fate]
    assert changed == [ask.id] * (ask.id in before)


@contextlib.contextmanager
def full_at(path, n_bytes):
    with largest_file(path.stat().st_size + n_bytes):
        yield


@pytest.mark.parametrize("say", [tell, reject])
@pytest.mark.parametrize("n_bytes", [4096, 8192])
def test_a_full_disk_stops_a_session_and_room_lets_it_go_on(path, say, n_bytes):
    assert_stops_and_goes_on(path, lambda file: full_at(file, n_bytes), say)


@contextlib.contextmanager
def _small_disk(folder):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=80k", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextlib.contextmanager
def filled(path):
    """Fill the disk of a file but for a few pages, and make room again."""
    ballast = path.with_name("ballast")
    with open(ballast, "wb") as file, contextlib.suppress(OSError):
        while os.statvfs(path.parent).f_bavail > 3:
            file.write(bytes(4096))
            file.flush()
    yield
    ballast.unlink()


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no mounts")
def test_a_small_disk_that_is_full_stops_a_session_the_same_way(tmp_path):
    if os.geteuid():
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    with _small_disk(folder):
        assert_stops_and_goes_on(folder / "rat7.db", filled, tell)


def test_a_failing_ask_releases_nothing_and_comes_back_the_same(path):
    twin = path.with_name("twin") / path.name
    twin.parent.mkdir()
    with begin(path) as session, begin(twin) as other:
        for _ in range(2):
            tell(session, session.ask())
            tell(other, other.ask())
        with largest_file(1000):
            for _ in range(3):
                with pytest.raises(SessionError, match="was not written"):
                    session.ask()
        assert len(session.delivered) == 2
        assert session.ask() == other.ask()


@pytest.fixture
def open_folder():
    """Return a folder that somebody else may look into, but not write."""
    with readable_folder() as folder:
        yield folder


def test_who_may_not_write_a_session_may_read_it(open_folder):
    path = open_folder / "rat7.db"
    with begin(path) as session:
        tell(session, session.ask())
        want = acknowledged(session)
    with as_somebody_else():
        with pytest.raises(SessionError, match="cannot be written"):
            Session.open(path)
        with pytest.raises(SessionError, match="cannot be written"):
            begin(open_folder / "another.db")
        with Session.read(path) as reader:
            assert acknowledged(reader) == want
            with pytest.raises(SessionError, match="only read"):
                reader.ask()
    assert [file.name for file in open_folder.iterdir()] == ["rat7.db"]


def test_a_folder_that_is_locked_under_way_stops_a_session_until_it_is_not(open_folder):
    folder = open_folder / "mine"
    folder.mkdir()
    os.chown(folder, NOBODY, -1)
    with as_somebody_else(), begin(folder / "rat7.db") as session:
        ask = session.ask()
        folder.chmod(0o555)
        with pytest.raises(SessionError, match="mend the permissions"):
            session.tell(ask.id, 1.0)
        with Session.read(folder / "rat7.db") as reader:
            assert acknowledged(reader) == {ask.id: ("pending", None)}
        folder.chmod(0o755)
        session.tell(ask.id, 1.0)
        assert session.trials[ask.id].fate == "valid"


def test_a_damaged_session_says_how_to_get_what_is_whole(path):
    with begin(path) as session:
        for _ in range(4):
            tell(session, session.ask())
        events = session.events()
    damaged = path.read_bytes().replace(b'"rat7-00003"', b'"rat7-00009"')
    path.write_bytes(damaged)
    for opening in (Session.open, Session.read):
        with pytest.raises(DataFormatError, match="salvage"):
            opening(path)
    found = journal.salvage(path)
    assert found == events[: len(found)]
    assert [e.content["id"] for e in found[1:]][-1] == "rat7-00002"


class Clocks:
    """Both clocks of a computer: they go on, and one of them jumps."""

    def __init__(self):
        self.true, self.wall, self.steady = 0.0, 1.7e9, 5000.0

    def pass_by(self, seconds):
        self.true += seconds
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def clocks(monkeypatch):
    found = Clocks()
    monkeypatch.setattr(time, "time", lambda: found.wall)
    monkeypatch.setattr(time, "monotonic", lambda: found.steady)
    return found


# Begun anew while the session was closed, the second clock tells of a restart: below.
@pytest.mark.parametrize(
    ("clock", "jump", "closed"),
    [
        ("wall", -7200.0, False),
        ("wall", 7200.0, False),
        ("steady", -7200.0, False),
        ("steady", 7200.0, False),
        ("wall", -7200.0, True),
        ("wall", 7200.0, True),
        ("steady", 7200.0, True),
    ],
)
def test_a_clock_that_jumps_shortens_no_wait(path, clocks, clock, jump, closed):
    session = begin(path, interval=100.0)
    tell(session, session.ask())
    if closed:
        session.close()
    setattr(clocks, clock, getattr(clocks, clock) + jump)
    if closed:
        session = Session.open(path)
    clocks.pass_by(60.0)
    assert 40.0 - 1e-6 <= session.wait() <= 100.0
    with pytest.raises(SessionError, match="rates allow no stimulus"):
        session.ask()
    clocks.pass_by(100.0)
    session.ask()
    session.close()


def test_a_night_and_a_computer_started_anew_count_as_they_are(path, clocks):
    with begin(path, interval=100.0, per_hour=1) as session:
        tell(session, session.ask())
    clocks.wall += 10 * HOUR
    clocks.steady = 30.0
    with Session.open(path) as session:
        assert session.wait() == 0.0
        assert session.ask().id == "rat7-00002"
        assert session.trials["rat7-00002"].at == pytest.approx(10 * HOUR)


STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 1.0, 9.0, 40.0, 1800.0]),
        st.sampled_from(["none", "none", "wall", "steady"]),
        st.sampled_from([-3 * HOUR, -50.0, 50.0, 3 * HOUR]),
        st.booleans(),
    ),
    min_size=2,
    max_size=25,
)


@settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(STEPS)
@example([(0.0, "none", 0.0, False), (1.0, "wall", 3 * HOUR, True)] * 5)
@example([(0.0, "none", 0.0, False), (1.0, "steady", 3 * HOUR, False)] * 5)
def test_no_rate_is_broken_by_clocks_that_jump(tmp_path_factory, clocks, steps):
    # That would be a restart: above.
    assume(not any(c == "steady" and closed and j < 0 for _, c, j, closed in steps))
    path = tmp_path_factory.mktemp("clocks") / "rat7.db"
    most = {"interval": 10.0, "per_hour": 4, "per_electrode_per_hour": 2}
    session = begin(path, **most)
    sent = []
    for seconds, clock, jump, closing in steps:
        clocks.pass_by(seconds)
        if closing:
            session.close()
        if clock != "none":
            setattr(clocks, clock, getattr(clocks, clock) + jump)
        if closing:
            session = Session.open(path)
        with contextlib.suppress(SessionError):
            ask = session.ask()
            sent.append((clocks.true, ask.point["electrode"]))
            session.reject(ask.id, "nothing came")
    session.close()
    times = [at for at, _ in sent]
    assert all(b - a >= 10.0 - 1e-6 for a, b in itertools.pairwise(times))
    for at in times:
        within = [e for t, e in sent if at - HOUR < t - 1e-6 and t <= at]
        assert len(within) <= 4
        assert all(within.count(e) <= 2 for e in within)


@pytest.mark.parametrize("when", ["written", "applied"])
@pytest.mark.parametrize("kind", ["ask", "tell", "reject"])
def test_an_interrupt_in_the_middle_leaves_nothing_said_twice(
    path, monkeypatch, when, kind
):
    """By Ctrl-C: what was being said is in the journal, or it is not, and shown."""
    with begin(path) as session:
        tell(session, session.ask())
        ask = session.ask() if kind != "ask" else None

        def say():
            if ask is None:
                return session.ask()
            return {"tell": tell, "reject": reject}[kind](session, ask)

        owner = session._journal if when == "written" else session._state
        name = "append" if when == "written" else "apply"
        original = getattr(owner, name)

        def interrupted(*arguments):
            original(*arguments)
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(owner, name, interrupted)
            with pytest.raises(KeyboardInterrupt):
                say()
        with pytest.raises(SessionError, match="open it again"):
            say()
    events = journal.read(path)
    said = [(e.kind, e.content["id"]) for e in events if e.kind != "open"]
    assert len(set(said)) == len(said) == 3 + (kind != "ask")
    with Session.open(path) as session:
        fates = [t.fate for t in session.trials.values()]
        last = {"ask": "unresolved", "tell": "valid", "reject": "rejected"}[kind]
        assert fates == ["valid", last]


def test_a_refit_that_cannot_be_written_is_not_gone_on_with(path, monkeypatch):
    """Else what is asked next would not be what the journal replays to."""
    with begin(path) as session:
        for _ in range(3):
            tell(session, session.ask())
        found = Refitted(session.search.parameters + 0.3, 3, None)
        monkeypatch.setattr(session._refits, "take", lambda: found)
        before = bits(session)
        with largest_file(1000), pytest.raises(SessionError, match="was not written"):
            session.ask()
        assert bits(session) == before
        monkeypatch.setattr(session._refits, "take", lambda: found)
        ask = session.ask()
        assert bits(session) != before
        monkeypatch.setattr(session._refits, "take", lambda: None)
        tell(session, ask)
        want = bits(session)
    with Session.open(path) as session:
        assert bits(session) == want


def test_an_ask_that_fails_leaves_no_trace_in_what_is_believed(path):
    """A map that drifts is looked at anew for every ask."""
    with begin(path) as session:
        session.tell(session.ask().id, 1.0)
        ask = session.ask()
        time.sleep(0.01)
        with largest_file(1000), pytest.raises(SessionError, match="was not written"):
            session.ask()
        session.tell(ask.id, 3.0)
        want = bits(session)
    with Session.open(path) as session:
        assert bits(session) == want
