"""The report says all of a session, in one file that asks nothing of anybody."""

import html
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import PatchCollection

from neuromod.core.errors import InvalidInputError
from neuromod.stimulation import Rule, Session
from neuromod.stimulation.plot import plot_session
from neuromod.stimulation.report import report
from tests.cli import chromium
from tests.stimulation.test_session import limits, space

MARKED = "the <b>cable</b> & all"


@pytest.fixture(autouse=True)
def strict_jax():
    """Leave JAX as it is everywhere: what was compiled before need not be again."""


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    """Return the path of a session in which everything happened once."""
    path = tmp_path_factory.mktemp("report") / "rat7.db"
    given = {"outputs": ["FDI", "EDC"], "n_planned": 6, "rule": Rule(refit=0)}
    most = limits(amplitude={str(k): 50.0 + k for k in range(12)}, per_hour=60)
    with Session.open(path, space((40.0, 50.0)), most, seed=3, **given) as session:
        session.confirm("impedance of all electrodes", by="Eva")
        for response in (1.0, 4.0, 2.0):
            session.tell(session.ask().id, {"FDI": response, "EDC": 0.5})
        session.tell(session.ask().id, {"FDI": 9.0, "EDC": 0.5}, valid=False)
        session.reject(session.ask().id, MARKED)
        session.ask()
    with Session.open(path) as session:
        session.resolve(session.unresolved[0].id, sent=True, by="Jo")
        session.stop("the animal is tired")
    return path


@pytest.fixture(scope="module")
def session(journal):
    return Session.read(journal)


@pytest.fixture(scope="module")
def page(session, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    assert report(session, path, title="Rat 7 <today>") == path
    return path


@pytest.fixture(scope="module")
def rows(page):
    """Return all rows of all tables, each a list of texts."""
    text = page.read_text()
    found = re.findall(r"<tr role=\"row\">(.*?)</tr>", text)
    cells = (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in found)
    clean = lambda cell: html.unescape(re.sub(r"<[^>]*>", "", cell))  # noqa: E731
    return [[clean(cell).replace("\u00a0", " ") for cell in row] for row in cells]


def test_the_question_and_the_answer_come_first(session, page):
    text = page.read_text()
    best = session.best()
    assert "Which of 24 candidates makes FDI largest?" in text
    assert (
        f"Best: electrode {best['electrode']}, amplitude {best['amplitude']:g}" in text
    )
    found = session.map().sel(output="FDI")
    here = (found["electrode"] == best["electrode"]) & (
        found["amplitude"] == best["amplitude"]
    )
    one = found.isel(candidate=int(here.values.argmax()))
    interval = f"{float(one['low']):.4g} to {float(one['high']):.4g}"
    assert f"{float(one['expected']):.4g} (95 % interval {interval})" in text
    assert "The session was stopped: the animal is tired." in text


def test_trials_are_counted_by_what_became_of_them(rows):
    counted = dict(row for row in rows if len(row) == 2)
    assert counted["asked for"] == "6"
    assert counted["valid"] == "3"
    assert counted["excluded"] == "1"
    assert counted["rejected"] == "2"
    assert counted["planned"] == "6"


def test_what_each_electrode_was_sent_stands_beside_what_it_may_have(session, rows):
    sent = {}
    for trial in session.trials.values():
        sent.setdefault(trial.point["electrode"], []).append(trial.point["amplitude"])
    told = {row[0]: row[1:] for row in rows if len(row) == 6 and row[0].isdigit()}
    assert set(told) == set(sent)
    for electrode, amplitudes in sent.items():
        largest = max(amplitudes)
        assert told[electrode] == [
            str(len(amplitudes)),
            f"{largest:g} µA",
            f"{50 + int(electrode)} µA",
            f"{largest * 0.2:g} nC",
            "30 nC",
        ]


def test_limits_and_settings_are_said_with_units(rows):
    said = dict(row for row in rows if len(row) == 2)
    assert said["Charge per phase"] == "30 nC"
    assert said["Stimuli within an hour"] == "60"
    assert said["Stimuli of an electrode within an hour"] == "no limit"
    assert "11: 61 µA" in said["Amplitude"]
    assert said["axis amplitude"] == "40.0, 50.0 µA"
    assert said["frequency"] == "300 Hz"
    assert said["seed"] == "3"
    assert said["rule, refit"] == "0"


def test_what_persons_said_is_told_with_their_names(page):
    text = page.read_text()
    assert "confirm: impedance of all electrodes, says Eva" in text
    assert "sent, says Jo" in text


def test_the_whole_journal_is_in_it_with_its_last_hash(session, page, rows):
    events = session.events()
    listed = [row for row in rows if len(row) == 5 and row[0].isdigit()]
    assert [int(row[0]) for row in listed] == [event.number for event in events]
    assert [row[2] for row in listed] == [event.kind for event in events]
    assert [row[4] for row in listed] == [event.hash[:12] for event in events]
    assert events[-1].hash in page.read_text()
    assert any("FDI 4, EDC 0.5" in row[3] for row in listed)


def test_words_of_persons_are_no_markup(page):
    text = page.read_text()
    assert "the &lt;b&gt;cable&lt;/b&gt; &amp; all" in text
    assert MARKED not in text
    assert "Rat 7 &lt;today&gt;" in text


def test_all_stimuli_are_checked_once_more(session, page):
    assert "All 6 stimuli, checked once more: within the limits." in page.read_text()


def test_a_broken_limit_would_be_told(session, tmp_path, monkeypatch):
    strict = session.settings._replace(limits=limits(amplitude=45.0))
    monkeypatch.setattr(session, "settings", strict)
    text = report(session, tmp_path / "report.html").read_text()
    assert "Limits were broken: amplitude 50 uA, at most 45 uA" in text


def test_a_session_without_trials_has_a_report(tmp_path):
    given = {"seed": 0, "outputs": ["FDI", "EDC"], "n_planned": 2}
    given |= {"space": space((40.0, 50.0)), "rule": Rule(refit=0)}
    with Session.open(tmp_path / "rat8.db", limits=limits(), **given) as session:
        text = report(session, tmp_path / "report.html").read_text()
    assert "No trial was valid." in text
    assert "Nothing was confirmed by a person." in text


def test_its_figures_show_the_session_as_it_is(session):
    beliefs, course = plot_session(session)[[0, 3]]
    found = session.map().sel(output="FDI")
    largest = found["expected"].groupby("electrode").max()
    largest = largest.sel(electrode=list(session.space.axes["electrode"]))
    (sites,) = (c for c in beliefs.collections if isinstance(c, PatchCollection))
    assert np.allclose(sites.get_array(), largest)
    assert course.collections[0].get_offsets()[:, 1].tolist() == [1, 4, 2]
    last = session.history()["best_expected"].values[-1]
    assert course.lines[0].get_ydata()[-1] == last
    plt.close("all")


def test_a_folder_that_is_not_there_is_refused(session, tmp_path):
    with pytest.raises(InvalidInputError, match="folder"):
        report(session, tmp_path / "nowhere" / "report.html")


@pytest.mark.browser
@pytest.mark.parametrize(("width", "dark"), [(375, True), (1280, False)])
def test_a_browser_shows_it_without_asking_for_anything(page, width, dark):
    seen = chromium.look(page, width, dark)
    assert seen.overflow == 0
    assert seen.console == []
    assert seen.requests == []
    assert [image["colours"] > 10 for image in seen.images] == [True, True]
    assert all(image["alt"] for image in seen.images)
    assert seen.lowest_contrast["contrast"] >= 4.5, seen.lowest_contrast
    assert seen.headings.count(1) == 1
