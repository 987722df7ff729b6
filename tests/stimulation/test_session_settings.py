"""What a session may be asked besides: parts, contexts, aims, safety, refits, ends."""

import json
import math

import jax
import numpy as np
import pytest

import neuromod
from neuromod.core.errors import InvalidInputError, SessionError, ShapeError
from neuromod.stimulation import (
    Aim,
    Interval,
    Rule,
    Safe,
    Session,
    Space,
    earlier_map,
    known_trials,
)
from neuromod.stimulation.replay import replay
from tests.stimulation.test_session import POSITIONS, limits, response, space

FIXED = {"amplitude": 50.0, "pulse_width": 200.0, "frequency": 300.0}


def begin(path, over=None, **options):
    given = {"n_planned": 30, "rule": Rule(length_scale=1.5, noise=0.02)} | options
    return Session.open(path, over or space(), limits(), seed=0, **given)


def bits(session):
    return [np.asarray(x).tobytes() for x in session.belief()]


def pairs():
    axes = {"electrode_a": [0, 1, 2, 3], "electrode_b": [0, 1, 2, 3]}
    blocks = {"first": ["electrode_a"], "second": ["electrode_b"]}
    return Space(axes, POSITIONS, fixed=FIXED, blocks=blocks)


# Within optax, whose line search promotes.
@pytest.fixture(autouse=True)
def loose(strict_jax):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rat7.db"


def test_parts_are_asked_for_alone_and_tell_of_the_whole(path):
    gain = {"0": 0.1, "1": 2.0, "2": 0.3, "3": 0.1}
    with begin(path, pairs()) as session:
        before = np.asarray(session.belief().deviation)[:16]
        for n in range(8):
            level = ("first", "second")[n % 2]
            ask = session.ask(level=level)
            (label,) = ask.stimulus.electrodes
            assert set(ask.point) == {("electrode_a", "electrode_b")[n % 2]}
            session.tell(ask.id, gain[label])
        ask = session.ask()
        # Nothing of the whole was ever tried: the parts told where to begin.
        assert ask.point == {"electrode_a": "1", "electrode_b": "1"}
        session.tell(ask.id, 5.0)
        assert session.best(level="first") == {"electrode_a": "1"}
        assert dict(session.map(level="first").sizes) == {"candidate": 4, "output": 1}
        after = np.asarray(session.belief().deviation)[:16]
        assert (after[4 * 1 + 1] < 0.9 * before).all()
        want = bits(session)
        with pytest.raises(InvalidInputError, match="level"):
            session.ask(level="frist")
    with Session.open(path) as session:
        assert bits(session) == want


@pytest.mark.parametrize("model", ["bif", "one_way", "one_way_2020"])
def test_published_searches_choose_in_a_session(path, model):
    """What they choose is what their own functions choose, after the same trials."""
    gain = {"0": 0.1, "1": 2.0, "2": 0.3, "3": 0.1}
    told = []
    with begin(path, pairs(), rule=Rule(model=model)) as session:
        session.tell(session.ask(level="second").id, 0.2)
        with pytest.raises(SessionError, match="'first'"):
            session.ask()
        for level in ("first", "second") * 2:
            ask = session.ask(level=level)
            (label,) = ask.stimulus.electrodes
            session.tell(ask.id, gain[label])
        for _ in range(12):
            ask = session.ask()
            a, b = ask.point["electrode_a"], ask.point["electrode_b"]
            told.append((a, b))
            session.tell(ask.id, gain[a] + gain[b])
        parts = [t.point for t in session.trials.values() if t.level == "first"]
        assert len({p["electrode_a"] for p in parts}) == 2
        want = bits(session)
    assert len(set(told)) > 2
    again = replay(path)
    assert (again.n_asks, again.other) == (17, ())
    with Session.open(path) as session:
        assert bits(session) == want


def test_a_flat_search_knows_no_parts(path):
    with begin(path, pairs(), rule=Rule(model="flat")) as session:
        with pytest.raises(InvalidInputError, match="first"):
            session.ask(level="first")
        assert session.map().sizes["candidate"] == 16


def test_a_published_search_needs_parts(path):
    with pytest.raises(InvalidInputError, match="blocks"):
        begin(path, rule=Rule(model="bif"))


def test_a_part_without_an_electrode_is_no_stimulus(path):
    axes = {"electrode": list(POSITIONS), "frequency": [100.0, 300.0]}
    fixed = {"amplitude": 50.0, "pulse_width": 200.0}
    blocks = {"site": ["electrode"], "rate": ["frequency"]}
    over = Space(axes, POSITIONS, fixed=fixed, blocks=blocks)
    with begin(path, over) as session, pytest.raises(SessionError, match="'rate'"):
        session.ask(level="rate")


def test_what_is_best_depends_on_the_context(path):
    with begin(path, context=["up_state"], n_planned=40) as session:
        for n in range(40):
            up = float(n % 2)
            ask = session.ask(context={"up_state": 3 * up})
            good = "6" if up else "1"
            session.tell(ask.id, 2.0 if ask.point["electrode"] == good else 0.2)
        ask = session.ask(context={"up_state": 3.0})
        up = session.best()
        session.reject(ask.id, "only looked")
        session.ask(context={"up_state": 0.0})
        assert (up["electrode"], session.best()["electrode"]) == ("6", "1")
        want = bits(session)
        with pytest.raises(InvalidInputError, match="up_state"):
            session.ask()
        with pytest.raises(InvalidInputError, match="finite"):
            session.ask(context={"up_state": math.nan})
    with Session.open(path) as session:
        assert bits(session) == want


def test_a_drifting_map_is_followed_and_replayed(path):
    rule = Rule(length_scale=1.5, noise=0.02, time_constant=30.0)
    with begin(path, rule=rule) as session:
        for _ in range(6):
            ask = session.ask()
            session.tell(ask.id, response(ask.point))
        want = bits(session)
    with Session.open(path) as session:
        assert bits(session) == want


def test_aims_weigh_one_muscle_against_another(path):
    with begin(path, outputs=("arm", "leg"), aim=Aim("arm", ("leg",), 1.0)) as session:
        for _ in range(30):
            ask = session.ask()
            here = int(ask.point["electrode"])
            arm = 1.0 + (here in (5, 6))
            leg = 0.1 + 1.0 * (here in (6, 7))
            session.tell(ask.id, {"arm": arm, "leg": leg})
        assert session.best() == {"electrode": "5", "amplitude": 50.0}
        assert session.best(aim="leg")["electrode"] in "67"
        front = [point["electrode"] for point in session.pareto()]
        assert "5" in front
        assert "7" not in front
        with pytest.raises(InvalidInputError, match="arm"):
            session.ask(aim="am")


def test_nothing_is_sent_that_may_hurt(path):
    """Of responses drawn from the process itself, few are larger than is safe."""
    rng = np.random.default_rng(0)
    at = np.array(list(POSITIONS.values()), float)
    apart = np.sqrt(((at[:, None] - at[None]) ** 2).sum(-1)) / 4.0
    between = np.exp(-apart)
    factor = np.linalg.cholesky(between + 1e-9 * np.eye(12))
    rule = Rule(
        family="matern12",
        length_scale=4.0,
        noise=0.05,
        trend=0.0,
        scale=1.0,
        n_prior=50.0,
        logarithm=False,
    )
    unsafe = n_asked = n_tried = 0
    for k in range(12):
        # A map whose first site is known to be harmless.
        pain = factor @ rng.normal(size=12)
        pain += 3.0 - pain[0]
        known = ({"electrode": "0", "amplitude": 50.0},)
        safe = Safe("pain", 4.5, 0.95, known)
        with begin(
            path.with_name(f"{k}.db"),
            rule=rule,
            outputs=("arm", "pain"),
            safe=safe,
        ) as session:
            first = session.ask()
            assert first.point == known[0]
            session.tell(first.id, {"arm": 1.0, "pain": 3.0})
            for _ in range(10):
                ask = session.ask()
                here = int(ask.point["electrode"])
                n_asked += 1
                unsafe += pain[here] > 4.5
                told = {"arm": 1.0 + here, "pain": pain[here] + 0.2 * rng.normal()}
                session.tell(ask.id, told)
            n_tried += len({t.point["electrode"] for t in session.trials.values()})
    assert n_tried > 3 * 12
    # Each with at most one in twenty; the chance of more than this is below 1e-4.
    assert unsafe / n_asked < 0.05 + 4 * math.sqrt(0.05 * 0.95 / n_asked)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"safe": Safe("arm", 1.0, 0.9, ())}, "at least one point"),
        ({"safe": Safe("arm", 1.0, 1.0, ({"electrode": "1"},))}, "below 1"),
        ({"safe": Safe("leg", 1.0, 0.9, ({"electrode": "1"},))}, "leg"),
        ({"aim": "leg"}, "leg"),
        ({"aim": Aim("arm", ("arm",))}, "other than the target"),
        ({"aim": Aim("arm", (), -1.0)}, "zero or more"),
        ({"outputs": ()}, "all unlike"),
    ],
)
def test_bad_settings_are_told(path, changed, told):
    with pytest.raises(InvalidInputError, match=told):
        begin(path, **{"outputs": ("arm",)} | changed)


def test_a_map_of_earlier_animals_must_fit_the_space(path):
    with pytest.raises(ShapeError, match="earlier"):
        begin(path, earlier=np.zeros(3))


def test_a_map_of_earlier_animals_says_where_to_begin(path):
    earlier = np.zeros(12)
    earlier[7] = 2.0
    with begin(path, earlier=earlier) as session:
        assert session.ask().point["electrode"] == "7"


def test_what_was_learned_of_a_part_is_known_in_another_whole(path, tmp_path):
    """Single electrodes of one session are the first of each pair in the next."""
    single = Space({"electrode": ["0", "1", "2", "3"]}, POSITIONS, fixed=FIXED)
    with begin(tmp_path / "single.db", single) as session:
        for _ in range(12):
            ask = session.ask()
            session.tell(ask.id, 3.0 if ask.point["electrode"] == "2" else 0.2)
        known = known_trials(session, part="first")
    assert len(known) == 12
    with begin(path, pairs(), known=known) as session:
        asked = [session.ask() for _ in range(2)]
        assert [ask.point["electrode_a"] for ask in asked] == ["2", "2"]
        assert session.trials.keys() == {ask.id for ask in asked}
        want = bits(session)
    with Session.open(path) as session:
        assert bits(session) == want
    with pytest.raises(ShapeError, match="electrode_a"):
        begin(path.with_name("x.db"), pairs(), known=[known[0]._replace(point={})])


def test_animals_before_say_where_to_look(path, tmp_path):
    """The mean of their maps finds the summit of a new one that is like them."""
    paths = [tmp_path / f"{k}.db" for k in range(2)]
    for k, one in enumerate(paths):
        with begin(one) as session:
            for _ in range(25):
                ask = session.ask()
                session.tell(ask.id, response(ask.point, scale=10.0**k))
    sessions = [Session.read(one) for one in paths]
    found = earlier_map(sessions, space(), "response")
    assert found.shape == (12,)
    assert int(np.argmax(found)) == 6
    with begin(path, earlier=found) as session:
        assert session.ask().point["electrode"] == "6"


def test_fits_go_on_beside_the_session_and_are_replayed(path):
    rule = Rule(length_scale=0.3, noise=1.0, refit=5)
    with begin(path, rule=rule) as session:
        for _ in range(24):
            ask = session.ask()
            session.tell(ask.id, response(ask.point))
            session._refits.wait()
        kinds = [event.kind for event in session.events()]
        refits = [e.content for e in session.events() if e.kind == "refit"]
        want = bits(session)
    # Every fifth trial began one, and the next ask went on with it.
    assert kinds.count("refit") == 4
    assert [content["n_trials"] for content in refits] == [5, 10, 15, 20]
    assert refits[-1]["parameters"]["noise of whole"] < math.log(0.3)
    with Session.open(path) as session:
        assert bits(session) == want


def test_a_far_outlier_is_kept_as_an_artefact(path):
    rule = Rule(length_scale=1.5, noise=0.05, largest_surprise=5.0)
    with begin(path, rule=rule) as session:
        for _ in range(12):
            ask = session.ask()
            session.tell(ask.id, response(ask.point))
        before = bits(session)
        ask = session.ask()
        session.tell(ask.id, 1e6)
        trial = session.trials[ask.id]
        assert (trial.fate, trial.response) == ("excluded", {"response": 1e6})
        assert "deviations" in trial.reason
        assert bits(session) == before


def test_any_amplitude_of_an_interval_is_searched(path):
    axes = {"electrode": ["0", "1"], "amplitude": Interval(10.0, 90.0)}
    over = Space(axes, POSITIONS, fixed={"pulse_width": 200.0, "frequency": 300.0})
    asked = []
    with begin(path, over, rule=Rule(length_scale=2.0, noise=0.01)) as session:
        for _ in range(25):
            ask = session.ask()
            amplitude = ask.stimulus.amplitude
            asked.append(amplitude)
            size = 1.0 if ask.point["electrode"] == "1" else 0.5
            told = size * (0.1 + math.exp(-(((amplitude - 63) / 20) ** 2)))
            session.tell(ask.id, told)
        best = session.best()
        assert best["electrode"] == "1"
        assert abs(best["amplitude"] - 63) < 3
        want = bits(session)
    assert len(set(asked)) == 25
    with Session.open(path) as session:
        assert bits(session) == want
        assert session.ask().stimulus.amplitude not in asked


def test_a_search_ends_when_nothing_is_likely_to_be_better(path):
    with begin(path) as session:
        ends = []
        for _ in range(30):
            ends.append(session.finished())
            ask = session.ask()
            session.tell(ask.id, response(ask.point))
        assert not any(ends[:3])
        assert ends[-1]
        assert not session.finished(margin=0.1, probability=1e-12)
        assert session.finished(margin=3.0)


def test_a_reader_sees_everything_and_changes_nothing(path):
    with begin(path) as owner:
        for _ in range(4):
            ask = owner.ask()
            owner.tell(ask.id, response(ask.point))
        with Session.read(path) as reader:
            assert bits(reader) == bits(owner)
            assert reader.history().identical(owner.history())
            for change in (
                lambda: reader.ask(),
                lambda: reader.tell(ask.id, 1.0),
                lambda: reader.stop("no"),
                lambda: reader.confirm("x", by="y"),
            ):
                with pytest.raises(SessionError, match="only read"):
                    change()


def test_tables_tell_what_happened(path):
    with begin(path) as session:
        first, second, third = (session.ask() for _ in range(3))
        session.tell(first.id, 0.5)
        session.reject(second.id, "cable")
        session.confirm("impedance checked", by="J.")
        history, found = session.history(), session.map()
    assert history["id"].values.tolist() == [first.id, second.id, third.id]
    assert history["fate"].values.tolist() == ["valid", "rejected", "pending"]
    assert history["reason"].values.tolist() == ["", "cable", ""]
    np.testing.assert_array_equal(history["response"][:, 0], [0.5, np.nan, np.nan])
    assert history["best"].values[0].startswith("electrode ")
    assert float(history["best_expected"][0]) == pytest.approx(0.5, rel=0.05)
    assert history["electrode"].values.tolist()[0] == first.point["electrode"]
    assert int(found["n_visits"].sum()) == 1
    here = found["electrode"].values == first.point["electrode"]
    inside = (found["low"] < found["expected"]) & (found["expected"] < found["high"])
    assert inside.all()
    width = np.log(found["high"] / found["low"])[:, 0]
    assert int(np.argmin(width.values)) == int(np.flatnonzero(here)[0])


def test_intervals_hold_what_they_say():
    """Of maps drawn from the process, 95 of 100 values lie within."""
    from neuromod.stimulation.candidates import all_of
    from neuromod.stimulation.settings import settings
    from neuromod.stimulation.state import State
    from neuromod.stimulation.tables import map_of

    rng = np.random.default_rng(2)
    rule = Rule(
        family="matern12",
        length_scale=1.5,
        noise=0.1,
        trend=0.0,
        scale=1.0,
        n_prior=4.0,
        logarithm=False,
    )
    at = all_of(space()).ground.coordinates
    apart = np.sqrt(((at[:, None, :2] - at[None, :, :2]) ** 2).sum(-1)) / 1.5
    factor = np.linalg.cholesky(np.exp(-apart) + 1e-9 * np.eye(12))
    given = settings(
        space(),
        limits(),
        seed=0,
        outputs=[f"muscle {k}" for k in range(200)],
        n_planned=12,
        rule=rule,
        aim=None,
        safe=None,
        context=(),
        earlier=None,
        known=(),
    )
    state = State(given)
    maps = 10 + factor @ rng.normal(size=(12, 200))
    for site in rng.integers(12, size=8):
        seen = maps[site] + math.sqrt(0.1) * rng.normal(size=200)
        state.search.learn(state.search.place(site), seen)
    found = map_of(state)
    inside = (found["low"].values < maps) & (maps < found["high"].values)
    assert inside.mean() == pytest.approx(0.95, abs=0.025)


def test_a_session_is_exported_whole(path, tmp_path):
    with begin(path) as session:
        for _ in range(3):
            ask = session.ask()
            session.tell(ask.id, response(ask.point))
        session.export(tmp_path / "out")
        events, history = session.events(), session.history()
    lines = (tmp_path / "out" / "journal.jsonl").read_text().splitlines()
    told = [json.loads(line) for line in lines]
    assert [row["kind"] for row in told] == ["open", *["ask", "tell"] * 3]
    assert told[-1]["hash"] == events[-1].hash
    assert "jax" in told[0]["content"]["versions"]
    result = neuromod.load(tmp_path / "out" / "session.nc")
    kept = result.data["observed_data"].to_dataset()
    np.testing.assert_array_equal(kept["response"], history["response"])
    assert result.provenance["journal_hash"] == events[-1].hash
    assert result.config["rule"]["length_scale"] == 1.5
