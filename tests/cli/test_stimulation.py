"""The commands of a session: begin it, let a rig do trials, go through it again."""

import numpy as np
import pytest
from typer.testing import CliRunner

from neuromod.cli.app import app
from neuromod.core.errors import DataFormatError, InvalidInputError
from neuromod.stimulation import Session
from neuromod.stimulation.protocol import TEMPLATE, read_protocol


def neuromod(*arguments, code=0):
    done = CliRunner().invoke(app, ["stimulation", *(str(a) for a in arguments)])
    assert done.exit_code == code, done.output + done.stderr
    return done.output + done.stderr


@pytest.fixture
def protocol(tmp_path):
    path = tmp_path / "rat7.toml"
    text = TEMPLATE.replace("interval = 0.5", "interval = 0.0")
    path.write_text(text.replace('"flexor", "extensor"', '"flexor"'))
    return path


@pytest.fixture
def recording(tmp_path):
    rng = np.random.default_rng(0)
    means = np.array([0.1, 0.2, 0.3, 0.2, 0.1, 1.0, 0.2, 0.1])
    responses = means[:, None, None] * rng.gamma(20.0, 0.05, (8, 1, 30))
    path = tmp_path / "recording.npz"
    np.savez(path, resp=responses, muscles=np.array(["flexor"]))
    return path


def test_a_session_from_its_protocol_to_its_export(tmp_path, protocol, recording):
    session, out = tmp_path / "rat7.db", tmp_path / "out"
    assert "24 candidates" in neuromod("init", session, "--protocol", protocol)
    given = "--rig", "replay", "--recording", recording
    neuromod("run", session, *given, "--trials", 3)
    told = neuromod("run", session, *given)  # goes on to all that were planned
    assert "32 valid; believed best: electrode 6" in told
    again = neuromod("replay", session, "--out", out)
    # One event to begin with, two a trial, one for being opened again among trials.
    assert "66 events" in again
    assert "32 of 32 stimuli are chosen again as they were" in again
    assert (out / "journal.jsonl").read_text().count("\n") == 66
    assert (out / "session.nc").exists()
    page = tmp_path / "session.html"
    neuromod("report", session, "--out", page)
    assert "electrode 6" in page.read_text()
    assert "exists" in neuromod("report", session, "--out", page, code=2)
    assert "not there" in neuromod("serve", tmp_path / "none.db", code=2)


def test_an_interrupted_trial_waits_for_a_word(tmp_path, protocol):
    session = tmp_path / "rat7.db"
    neuromod("init", session, "--protocol", protocol)
    with Session.open(session) as opened:
        ask = opened.ask()
    with Session.open(session):
        pass
    refused = neuromod("run", session, "--rig", "simulated", code=2)
    assert "neuromod stimulation resolve" in refused
    told = neuromod("resolve", session, "--not-sent", "--by", "J.")
    assert f"{ask.id}: not sent, says J." in told


def test_a_template_is_a_protocol(tmp_path):
    path = tmp_path / "new.toml"
    assert f"--protocol {path}" in neuromod("init", "--template", path)
    assert read_protocol(path)["limits"].ramp == 20.0
    assert "exists" in neuromod("init", "--template", path, code=2)
    assert "--template" in neuromod("init", code=2)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("seed = 0", "sed = 0", "seed"),
        ("seed = 0", "", "no seed"),
        ("ramp = 20.0 ", "", "no ramp"),
        ("ramp = 20.0 ", "rmap = 20.0 ", "ramp"),
        ("[fixed]", "[rule]\nlenth_scale = 2.0\n[fixed]", "length_scale"),
        ('aim = "flexor"', 'aim = { goal = "flexor" }', "goal"),
    ],
)
def test_what_a_protocol_gets_wrong_is_told(tmp_path, old, new, told):
    path = tmp_path / "wrong.toml"
    assert old in TEMPLATE
    path.write_text(TEMPLATE.replace(old, new, 1))
    with pytest.raises(InvalidInputError, match=told):
        read_protocol(path)


def test_a_protocol_says_all_that_a_session_takes(tmp_path):
    path = tmp_path / "all.toml"
    path.write_text(
        TEMPLATE.replace(
            'aim = "flexor"', 'aim = { target = "flexor" }\ncontext = ["up"]'
        )
        .replace("# delay", "delay")
        .replace("# [safe]", "[safe]")
        .replace("# output", "output")
        .replace("# at_most", "at_most")
        .replace("# probability", "probability")
        .replace("# known = [{ electrode", "known = [{ delay = 0.0, electrode")
        .replace("# [rule]", "[rule]\nrefit = 4\n#")
    )
    given = read_protocol(path)
    assert given["aim"].target == "flexor"
    assert not given["space"].is_finite
    assert given["rule"].refit == 4
    with Session.open(tmp_path / "s.db", **given) as session:
        assert session.settings.safe.at_most == 0.5
        assert session.settings.context == ("up",)


def test_what_is_no_protocol_or_no_recording_is_told(tmp_path, protocol):
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xff\x00 = 3")
    with pytest.raises(DataFormatError, match="no protocol"):
        read_protocol(path)
    session = tmp_path / "s.db"
    neuromod("init", session, "--protocol", protocol)
    given = "--rig", "replay", "--recording", path
    assert "holds no responses" in neuromod("run", session, *given, code=3)
    assert "--recording" in neuromod("run", session, "--rig", "replay", code=2)
    assert "no journal" in neuromod("replay", path, code=3)
