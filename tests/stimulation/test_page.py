"""The page is worked from here alone, with the token, one thing at a time."""

import http.client
import re
import socket
import subprocess
import sys
import threading
import time
from urllib.parse import urlencode

import numpy as np
import pytest

from neuromod.core.errors import InvalidInputError, SessionError
from neuromod.stimulation import NoResponseError, ReplayRig, Rule, Session
from neuromod.stimulation.journal import Journal
from neuromod.stimulation.page import serve
from tests.shared import shared
from tests.stimulation.browser import browser
from tests.stimulation.test_session import POSITIONS, limits, space

TOKEN = "a-token-of-this-test"
PLAIN = {"blocked": "*/figure/*"}  # figures take their time
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def begin(path, n_planned=10, **options):
    """Begin a session that needs few programs to be compiled."""
    given = {"space": space(), "limits": limits(), "rule": Rule(refit=0)}
    return Session.open(path, **given | options, seed=0, n_planned=n_planned)


@pytest.fixture(autouse=True)
def strict_jax():
    """Leave JAX as it is everywhere: what was compiled before need not be again."""


@pytest.fixture
def session(tmp_path):
    with begin(tmp_path / "rat7.db") as opened:
        yield opened


@pytest.fixture
def server(session):
    with serve(session, token=TOKEN) as running:
        yield running


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    """Return a server at which all tests but fail to change anything."""
    path = tmp_path_factory.mktemp("door") / "rat7.db"
    with begin(path) as opened, serve(opened, token=TOKEN) as running:
        yield running
        assert kinds(opened) == ["open"]


def own(server):
    """Return the headers of a browser that has been let in."""
    host = f"127.0.0.1:{server.port}"
    return {"Host": host, "Cookie": f"neuromod-{server.port}={TOKEN}"}


def request(server, method, path, headers, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers
    finally:
        connection.close()


def get(server, path="/"):
    return request(server, "GET", path, own(server))


def say(server, token=TOKEN, headers=None, **said):
    """Send a form as the page does."""
    origin = {"Origin": f"http://127.0.0.1:{server.port}"}
    body = urlencode({"token": token} | said)
    sent = {k: v for k, v in (own(server) | origin | FORM | (headers or {})).items()}
    sent = {name: value for name, value in sent.items() if value is not None}
    return request(server, "POST", "/", sent, body)


def kinds(session):
    return [event.kind for event in session.events()]


def alert(page):
    found = re.search(r'role="alert"[^>]*>([^<]*)<', page)
    return found[1] if found else ""


# Who gets in


@pytest.mark.parametrize("path", ["/", "/state", "/figure/visits.svg", "/page.js"])
def test_nothing_is_shown_without_the_token(door, path):
    host = {"Host": f"127.0.0.1:{door.port}"}
    cookie = f"neuromod-{door.port}="
    for headers in (host, host | {"Cookie": f"{cookie}x{TOKEN}"}):
        status, page, _ = request(door, "GET", path, headers)
        assert status == 401
        assert "electrode" not in page
    assert request(door, "GET", f"{path}?token=wrong", host)[0] == 401


def test_the_address_lets_a_browser_in_by_a_cookie_that_no_script_can_read(door):
    path = door.url.removeprefix(f"http://127.0.0.1:{door.port}")
    host = {"Host": f"localhost:{door.port}"}
    status, page, headers = request(door, "GET", path, host)
    assert status == 200
    assert TOKEN not in page
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    status, page, _ = request(door, "GET", "/", host | {"Cookie": cookie.split(";")[0]})
    assert status == 200
    assert "Ask for the next stimulus" in page


@pytest.mark.parametrize(
    "host", ["evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "127.0.0.1.:{port}", ""]
)
def test_a_name_that_was_made_to_lead_here_is_refused(door, host):
    headers = own(door) | {"Host": host.format(port=door.port)}
    assert request(door, "GET", "/", headers)[0] in (400, 403)
    assert say(door, headers={"Host": headers["Host"]}, do="ask", number="1")[0] in (
        400,
        403,
    )
    assert kinds(door.session) == ["open"]


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", None, "http://127.0.0.1:1"]
)
def test_a_form_of_another_page_changes_nothing(door, origin):
    status, _, _ = say(door, headers={"Origin": origin}, do="ask", number="1")
    assert status == 403
    assert kinds(door.session) == ["open"]


@pytest.mark.parametrize(
    ("token", "headers", "status"),
    [("", {}, 403), ("x" + TOKEN, {}, 403), (TOKEN, {"Cookie": None}, 401)],
)
def test_a_form_without_the_token_changes_nothing(door, token, headers, status):
    said = say(door, token=token, headers=headers, do="ask", number="1")
    assert said[0] == status
    assert kinds(door.session) == ["open"]


def test_the_same_form_with_all_of_it_is_obeyed(server):
    assert say(server, do="ask", number="1")[0] == 303
    assert kinds(server.session) == ["open", "ask"]


def test_only_a_form_that_was_sent_can_change_anything(door):
    for path in ("/", "/state"):
        said = urlencode({"token": TOKEN, "do": "ask", "number": "1"})
        get(door, f"{path}?{said}")
    own_origin = own(door) | {"Origin": f"http://127.0.0.1:{door.port}"}
    for method in ("PUT", "DELETE", "PATCH"):
        assert request(door, method, "/", own_origin, said)[0] == 405
    assert request(door, "POST", "/state", own_origin | FORM, said)[0] == 405
    assert kinds(door.session) == ["open"]


def test_no_other_address_of_this_computer_listens(door):
    others = {"127.0.0.2"}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:  # nothing is sent: this only asks which address would be used
            probe.connect(("192.0.2.1", 9))
            others.add(probe.getsockname()[0])
        except OSError:
            pass
    for address in others - {"127.0.0.1"}:
        with pytest.raises(OSError, match=r"refused|unreachable|timed out"):
            socket.create_connection((address, door.port), timeout=2)


def test_every_answer_forbids_scripts_of_others_and_frames(door):
    anybody = {"Host": f"127.0.0.1:{door.port}"}
    for status, _, headers in (get(door), request(door, "GET", "/", anybody)):
        assert status in (200, 401)
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cache-Control"] == "no-store"


def test_a_form_that_is_far_too_large_is_refused(door):
    status, _, _ = say(door, do="confirm", what="x" * 20_000, by="Eva")
    assert status == 413
    assert kinds(door.session) == ["open"]


def test_what_is_wrong_with_a_server_is_said(session, door, monkeypatch):
    with pytest.raises(InvalidInputError, match="ssh -L"):
        serve(session, host="0.0.0.0")
    with pytest.raises(InvalidInputError, match="16 to 128"):
        serve(session, token="short")
    with pytest.raises(SessionError, match=f"port {door.port} cannot be used"):
        serve(session, port=door.port)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(InvalidInputError, match=r"uvicorn.*neuromod\[live\]"):
        serve(session)


# What it does


def test_trials_are_asked_told_marked_and_rejected(server):
    session = server.session
    say(server, do="ask", number="1")
    page = get(server)[1]
    assert "Send now: rat7-00001" in page
    assert "50\u00a0µA" in page
    say(server, do="tell", id="rat7-00001", **{"response-0": "0,25"})
    say(server, do="ask", number="2")
    artefact = {"response-0": "9", "artefact": "on"}
    say(server, do="tell", id="rat7-00002", **artefact)
    say(server, do="ask", number="3")
    say(server, do="reject", id="rat7-00003", reason="the cable fell off")
    trials = list(session.trials.values())
    assert [t.fate for t in trials] == ["valid", "excluded", "rejected"]
    assert trials[0].response == {"response": 0.25}
    page = get(server)[1]
    assert "the cable fell off" in page
    assert "Trials excluded" in page


def test_what_was_done_already_is_refused_in_words(server):
    assert say(server, do="ask", number="1")[0] == 303
    status, page, _ = say(server, do="ask", number="1")
    assert status == 409
    assert "meanwhile" in alert(page)
    say(server, do="tell", id="rat7-00001", **{"response-0": "1"})
    status, page, _ = say(server, do="tell", id="rat7-00001", **{"response-0": "2"})
    assert status == 409
    assert alert(page) == "rat7-00001 is valid already"
    assert kinds(server.session) == ["open", "ask", "tell"]


def test_what_was_typed_wrongly_stands_there_to_be_mended(server):
    say(server, do="ask", number="1")
    status, page, _ = say(
        server, do="tell", id="rat7-00001", **{"response-0": '"><script>'}
    )
    assert status == 409
    assert "expected a number" in alert(page)
    assert 'value="&quot;&gt;&lt;script&gt;"' in page
    assert "<script>" not in page
    for value in ("nan", "inf", ""):
        say(server, do="tell", id="rat7-00001", **{"response-0": value})
    for said in ({"do": "fly"}, {}, {"do": "tell", "id": "no such"}):
        assert say(server, **said)[0] == 409
    assert kinds(server.session) == ["open", "ask"]


def test_a_session_is_stopped_only_by_somebody_who_is_sure(server):
    assert say(server, do="stop", reason="done")[0] == 409
    assert say(server, do="stop", reason=" ", sure="yes")[0] == 409
    assert say(server, do="confirm", what="impedance", by="Eva")[0] == 303
    assert say(server, do="stop", reason="done", sure="yes")[0] == 303
    page = get(server)[1]
    assert "Stopped: done." in page
    assert 'value="ask"' not in page
    assert "stopped: done" in alert(say(server, do="ask", number="1")[1])
    assert kinds(server.session) == ["open", "confirm", "stop"]


def test_a_person_says_what_became_of_a_trial_before_a_crash(tmp_path):
    with begin(tmp_path / "rat7.db") as opened:
        opened.ask()
    with Session.open(tmp_path / "rat7.db") as opened, serve(opened, token=TOKEN) as s:
        page = get(s)[1]
        assert "It is not known whether rat7-00001 was sent." in page
        assert 'value="ask"' not in page
        said = {"do": "resolve", "id": "rat7-00001", "sent": "no"}
        assert say(s, **said)[0] == 409  # nobody says so
        assert say(s, **said, by="Eva")[0] == 303
        assert opened.trials["rat7-00001"].reason == "not sent, says Eva"
        assert "Ready for trial 2" in get(s)[1]


def test_it_counts_down_to_the_next_ask(tmp_path):
    strict = limits(interval=60.0)
    with begin(tmp_path / "rat7.db", limits=strict) as opened:
        opened.tell(opened.ask().id, 1.0)
        with serve(opened, token=TOKEN) as running:
            seconds = float(re.search(r'data-wait="([\d.]+)"', get(running)[1])[1])
            assert 50 < seconds <= 60
            page = say(running, do="ask", number="2")[1]
            assert "allow no stimulus for another" in alert(page)


def test_one_output_of_several_is_shown_and_all_are_told(tmp_path):
    with begin(tmp_path / "rat7.db", outputs=["FDI", "EDC"]) as opened:
        with serve(opened, token=TOKEN) as running:
            say(running, do="ask", number="1")
            told = {"response-0": "1", "response-1": "2"}
            say(running, do="tell", id="rat7-00001", **told)
            assert opened.trials["rat7-00001"].response == {"FDI": 1.0, "EDC": 2.0}
            assert "Course of FDI" in get(running)[1]
            assert "Course of EDC" in get(running, "/?output=EDC")[1]
            status, drawn, headers = get(running, "/figure/visits.svg?output=EDC")
            assert status == 200
            assert headers["Content-Type"] == "image/svg+xml"
            assert drawn.startswith("<svg")
            assert get(running, "/figure/other.svg")[0] == 404


def test_calls_of_a_session_wait_for_one_another(server):
    session, asks = server.session, []

    def ask():
        asks.append(session.ask().id)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(asks) == [f"rat7-{k:05d}" for k in range(1, 9)]


class SlowRig(ReplayRig):
    """A rig that waits until it may answer."""

    def __init__(self):
        labels = list(POSITIONS)
        super().__init__(np.ones((len(labels), 1, 1)), labels, ["response"], seed=0)
        self.began, self.may, self.stopped = (threading.Event() for _ in range(3))
        self.error = None

    def stimulate(self, stimulus, point, pulse_id):
        self.began.set()
        assert self.may.wait(10)
        if self.error:
            raise self.error
        return super().stimulate(stimulus, point, pulse_id)

    def stop(self):
        self.stopped.set()


def wait_for(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_rig_does_one_trial_at_the_press_of_a_button(session):
    rig = SlowRig()
    with serve(session, token=TOKEN, rig=rig) as running:
        assert say(running, do="trial", number="1")[0] == 303
        assert rig.began.wait(10)
        assert "The rig is at work on a trial." in get(running)[1]
        assert "at work on a trial already" in say(running, do="trial", number="2")[1]
        rig.may.set()
        wait_for(lambda: "Ready for trial 2" in get(running)[1])
        assert rig.sent == ["rat7-00001"]
        assert say(running, do="trial", number="1")[0] == 409
        rig.error = NoResponseError("nothing <came> back")
        say(running, do="trial", number="2")
        wait_for(lambda: "Ready for trial 3" in get(running)[1])
        assert session.trials["rat7-00002"].fate == "rejected"
        rig.error = OSError("the port <is> gone")
        say(running, do="trial", number="3")
        wait_for(lambda: "the port &lt;is&gt; gone" in alert(get(running)[1]))


def test_stopping_stops_the_rig_at_once(session):
    rig = SlowRig()
    with serve(session, token=TOKEN, rig=rig) as running:
        say(running, do="trial", number="1")
        assert rig.began.wait(10)
        assert say(running, do="stop", reason="twitch", sure="yes")[0] == 303
        assert rig.stopped.wait(10)
        assert "Stopped: twitch." in get(running)[1]
        rig.may.set()
    assert session.trials["rat7-00001"].fate == "valid"  # what came back is kept
    assert session.stopped == "twitch"


OWNER = """
import sys
from neuromod.stimulation.journal import Journal
with Journal(sys.argv[1]) as journal:
    print("mine", flush=True)
    sys.stdin.readline()
    journal.append("confirm", {"what": "impedance", "by": "Eva"})
    print("said", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def owned_elsewhere(tmp_path_factory):
    """Return the path of a session and the process that owns it."""
    path = tmp_path_factory.mktemp("elsewhere") / "rat7.db"
    with begin(path) as opened:
        opened.tell(opened.ask().id, 1.0)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", OWNER, path], **pipes) as owner:
        assert owner.stdout.readline() == "mine\n"
        yield path, owner
        owner.stdin.close()


def test_where_another_process_owns_the_session_it_can_only_be_seen(owned_elsewhere):
    path, owner = owned_elsewhere
    with pytest.raises(SessionError, match="owns the session"):
        Journal(path)
    with pytest.raises(InvalidInputError, match="only looked at"):
        serve(path, rig=SlowRig())
    with serve(path, token=TOKEN) as running:
        page = get(running)[1]
        assert "Another program owns this session" in page
        assert "<form" not in page
        assert "<button" not in page
        status, page, _ = say(running, do="ask", number="2")
        assert status == 409
        assert "another program owns this session" in alert(page)
        owner.stdin.write("\n")
        owner.stdin.flush()
        assert owner.stdout.readline() == "said\n"
        assert "impedance, says Eva" in get(running)[1]


# In a browser


@pytest.fixture(scope="module")
def chromium():
    with browser() as opened:
        yield opened


def worrying(tab):
    """Return complaints but those about answers that are no pages to go on from."""
    return [c for c in tab.complaints() if "'info'" not in c]


@pytest.mark.browser
def test_a_whole_session_is_worked_by_the_buttons(chromium, tmp_path):
    with np.load(shared("data/neurostim") / "nhp_cebus1_m1_trials.npz") as stored:
        mean, xy = stored["mean"][:, :1, None], stored["ch2xy"]
    labels = [str(k + 1) for k in range(len(mean))]
    positions = dict(zip(labels, map(tuple, xy.astype(float)), strict=True))
    rig = ReplayRig(mean, labels, ["response"], seed=0)
    where = {"space": space_of(labels, positions), "n_planned": 20}
    typed = {}
    with (
        begin(tmp_path / "cebus1.db", **where) as session,
        serve(session) as server,
    ):
        tab = chromium.tab(server.url)
        tab.call("Network.setBlockedURLs", urls=[PLAIN["blocked"]])
        for number in range(1, 21):
            name = f"cebus1-{number:05d}"
            tab.click("#ask")
            tab.until(
                f"document.querySelector('.now h2')?.innerText.includes({name!r})"
            )
            electrode, amplitude = tab.text(".stimulus").split("\n")[1:4:2]
            assert amplitude.replace("\u00a0", " ") == "50 µA"
            stimulus = session.space.stimulus({"electrode": electrode})
            value = rig.stimulate(stimulus, {}, name)["response"]
            typed[name] = electrode, value
            tab.until("document.activeElement?.name === 'response-0'")
            tab.call("Input.insertText", text=repr(value))
            tab.press("Enter") if number % 2 else tab.click("form button.main")
            tab.until("document.querySelector('#state').innerText.includes('Ready')")
        assert [c for c in worrying(tab) if "/figure/" not in c] == []
        tab.call("Network.setBlockedURLs", urls=[])
        tab.open(server.url)
        seen = "[...document.images].filter((i) => i.complete && i.naturalWidth)"
        tab.until(f"{seen}.length === 4")
        best = session.best()["electrode"]
        assert f"electrode {best}:" in tab.text("[data-region=numbers]")
        for width in (375, 1280):
            tab.look_as(width, dark=False)
            assert tab.overflow() == 0
        home = f"http://127.0.0.1:{server.port}/"
        assert all(url.startswith((home, "data:")) for url in tab.asked())
        told = [
            (e.kind, e.content["id"], e.content.get("response"))
            for e in session.events()[1:]
        ]
    expected = []
    for name, (_, value) in typed.items():
        expected += [("ask", name, None), ("tell", name, {"response": value})]
    assert told == expected
    points = {name: t.point["electrode"] for name, t in session.trials.items()}
    assert points == {name: electrode for name, (electrode, _) in typed.items()}


def space_of(labels, positions):
    from neuromod.stimulation import Space

    fixed = {"amplitude": 50.0, "pulse_width": 200.0, "frequency": 300.0}
    return Space({"electrode": labels}, positions, fixed=fixed)


@pytest.mark.browser
def test_two_tabs_see_the_same_and_only_one_asks(chromium, server):
    one, other = (chromium.tab(server.url, **PLAIN) for _ in range(2))
    for tab in (one, other):
        tab.until("!!document.querySelector('#ask')")
    other.ask("document.body.dataset.version = ''")  # what it shows gets old
    other.ask("window.stop(); clearInterval(1); clearInterval(2)")
    one.click("#ask")
    one.until("!!document.querySelector('.now')")
    other.click("#ask")
    assert "meanwhile" in other.until("document.querySelector('#error')?.innerText")
    assert kinds(server.session) == ["open", "ask"]
    one.type(".now input[name=reason]", "half a wor")
    other.type("input[name=response-0]", "0.5")
    other.press("Enter")
    # Without being loaded again, the first tab shows that there is nothing to tell.
    one.until("document.querySelector('#state').innerText.includes('Ready')")
    assert not one.ask("!!document.querySelector('.now')")
    assert kinds(server.session) == ["open", "ask", "tell"]


@pytest.mark.browser
def test_what_a_person_types_outlives_what_changes_around_it(chromium, server):
    first = server.session.ask()
    tab = chromium.tab(server.url, **PLAIN)
    tab.type(f"#response-0-{first.id}", "0.2")
    tab.click("#confirming summary")
    tab.type("#what", "impedance of all")
    tab.click(f"#response-0-{first.id}")
    second = server.session.ask()
    tab.until(f"!!document.querySelector('#response-0-{second.id}')")
    assert tab.ask(f"document.querySelector('#response-0-{first.id}').value") == "0.2"
    assert tab.ask("document.activeElement.id") == f"response-0-{first.id}"
    assert tab.ask("document.querySelector('#what').value") == "impedance of all"
    assert tab.ask("document.querySelector('#confirming').open")


@pytest.mark.browser
def test_the_keyboard_is_enough(chromium, server):
    tab = chromium.tab(server.url, **PLAIN)
    tab.until("!!document.querySelector('#ask')")
    reached = []
    while "ask" not in reached:
        tab.press("Tab")
        reached.append(tab.ask("document.activeElement.id"))
        assert len(reached) < 10
    tab.press("Enter")
    tab.until("document.activeElement.name === 'response-0'")
    tab.call("Input.insertText", text="0.5")
    tab.press("Tab")
    assert tab.ask("document.activeElement.name") == "artefact"
    tab.press(" ")
    tab.press("Enter")
    tab.until("document.querySelector('#state').innerText.includes('Ready')")
    (trial,) = server.session.trials.values()
    assert trial.fate == "excluded"
    unnamed = (
        "[...document.querySelectorAll('input:not([type=hidden]), select')]"
        ".filter((e) => !e.labels.length).length"
    )
    assert tab.ask(unnamed) == 0


@pytest.mark.browser
def test_a_session_is_ended_on_the_page(chromium, server):
    tab = chromium.tab(server.url, width=375, dark=True, **PLAIN)
    tab.click("#stopping summary")
    tab.type("#why", "the animal is tired")
    tab.click("button.danger")  # the browser asks to be sure first
    assert kinds(server.session) == ["open"]
    tab.click("#sure")
    tab.click("button.danger")
    tab.until("document.querySelector('#state').innerText.includes('tired')")
    assert kinds(server.session) == ["open", "stop"]
    assert tab.overflow() == 0


@pytest.mark.browser
def test_no_button_is_there_where_another_process_owns_it(chromium, owned_elsewhere):
    path, _ = owned_elsewhere
    with serve(path) as running:
        tab = chromium.tab(running.url, **PLAIN)
        tab.until("document.body.innerText.includes('Another program owns')")
        assert tab.ask("document.querySelectorAll('button, input').length") == 0


@pytest.mark.browser
def test_a_page_that_lost_its_program_says_so(chromium, session):
    with serve(session) as running:
        tab = chromium.tab(running.url, **PLAIN)
        tab.until("!!document.querySelector('#ask')")
    tab.until("document.querySelector('#state').innerText.includes('lost')")
