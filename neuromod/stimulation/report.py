"""The report of a session: one page that says what was done, and by which right.

It stands by itself: figures and style are in the file, no script is run and nothing is
asked of the network, which a policy in its head forbids. The journal is in it as a
whole. Its last hash is that of all events: whoever has written it down can tell later
whether the journal is still the same.
"""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from importlib.resources import files
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuromod.core.atomic import write_atomically
from neuromod.core.html import Markup, cell, element, join, row, table, text
from neuromod.stimulation.axes import Interval
from neuromod.stimulation.limits import Limits
from neuromod.stimulation.plot import plot_map, plot_session
from neuromod.stimulation.plot_sites import UNITS
from neuromod.stimulation.session import Session
from neuromod.stimulation.words import (
    best_of,
    broken,
    counts,
    limit_at,
    moment,
    number,
    of_event,
    sent_to,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
CSS_PIXELS_PER_INCH = 96
LIMITS = {
    "amplitude": ("Amplitude", "µA"),
    "charge_per_phase": ("Charge per phase", "nC"),
    "imbalance": ("Charge left by a train", "nC"),
    "frequency": ("Frequency", "Hz"),
    "n_pulses": ("Pulses of a train", ""),
    "interval": ("Between two stimuli, at least", "s"),
    "per_hour": ("Stimuli within an hour", ""),
    "per_electrode_per_hour": ("Stimuli of an electrode within an hour", ""),
    "ramp": ("Amplitude above the largest before", "µA"),
}


def report(
    session: Session,
    path: str | PathLike[str],
    *,
    title: str = "Stimulation session",
) -> Path:
    """Write the report of a session as one self-contained HTML page.

    Parameters
    ----------
    session
        A session, open or only read.
    path
        The file to write; it is replaced only once the page is complete.
    title
        The heading of the page.

    Returns
    -------
    pathlib.Path
        The file.
    """
    return write_atomically(path, document(session, title).encode("utf-8"))


def document(session: Session, title: str) -> str:
    """Return the report as text."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("link", rel="icon", href="data:,"),
        element("style", Markup(style())),
    )
    main = element(
        "main",
        _section("Question and answer", *_question(session)),
        _section("Map and course", *_figures(session)),
        _section("Trials", _trials(session)),
        _section("What was sent, and what might have been", *_sent(session)),
        _section("Settings", _settings(session)),
        _section("Said by the operator", _operator(session)),
        _section("Journal", *_journal(session)),
    )
    first = session.events()[0]
    header = element(
        "header",
        element("h1", title),
        element("p", f"Begun {moment(first.time)} UTC.", class_="quiet"),
    )
    body = element("body", element("div", header, main, class_="page"))
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en-GB')}\n"


def style() -> str:
    """Return the style sheet of a session."""
    return (files("neuromod.stimulation") / "session.css").read_text("utf-8")


def _section(heading: str, *children: object) -> Markup:
    return element("section", element("h2", heading), *children)


def _question(session: Session) -> Iterable[Markup]:
    aim, space = session.settings.aim, session.space
    among = (
        f"{len(space)} candidates" if space.is_finite else "all that is within reach"
    )
    asked = f"Which of {among} makes {aim.target} largest"
    if aim.against:
        asked += f" and leaves {', '.join(aim.against)} small"
    yield element("p", f"{asked}?", class_="question")
    best = best_of(session)
    yield element("p", f"Best: {best}." if best else "No trial was valid.")
    if session.stopped:
        yield element("p", f"The session was stopped: {session.stopped}.")
    elif best and session.finished():
        told = "No candidate is likely to be better by more than a tenth."
        yield element("p", told)


def _figures(session: Session) -> Iterable[Markup]:
    caption = (
        "What is expected of each site, how uncertain that is, how often each was "
        "tried, and all responses with what was expected of the best site."
    )
    best = best_of(session)
    spoken = f"Map of the session. Best: {best}." if best else "Map without trials."
    yield _figure(plot_session(session)[0].figure, caption, spoken)
    for output in session.outputs:
        if output != session.settings.aim.target:
            told = f"What is expected of {output}."
            yield _figure(plot_map(session, output=output).figure, told, told)


def _figure(figure: Any, caption: str, alternative: str) -> Markup:
    width, height = figure.get_size_inches() * CSS_PIXELS_PER_INCH
    image = element(
        "img",
        src=f"data:image/png;base64,{b64encode(_png(figure)).decode()}",
        alt=alternative,
        width=round(width),
        height=round(height),
    )
    card = element("div", image, class_="card")
    return element("figure", card, element("figcaption", caption))


def _png(figure: "Figure") -> bytes:
    """Draw a figure sharply, and let it go."""
    import matplotlib.pyplot as plt

    buffer = BytesIO()
    dpi = 2 * CSS_PIXELS_PER_INCH
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()


def _trials(session: Session) -> Markup:
    rows = {"asked for": len(session.trials)} | counts(session)
    rows |= {"planned": session.settings.n_planned}
    told = [(name, str(count)) for name, count in rows.items()]
    return _pairs(told, "Trials by what became of them.", "Trials", "Number")


def _sent(session: Session) -> Iterable[Markup]:
    deliveries, limits = session.delivered, session.limits
    faults = broken(session)
    if faults:
        yield element("p", f"Limits were broken: {'; '.join(faults)}.", class_="alarm")
    else:
        told = f"All {len(deliveries)} stimuli, checked once more: within the limits."
        yield element("p", told, class_="good")
    rows = [
        (label, _limit(limits, name, unit)) for name, (label, unit) in LIMITS.items()
    ]
    yield _pairs(rows, "What might be sent, at most.", "Limit", "Value")
    rows = [
        row(
            one.electrode,
            cell("Stimuli", one.n_stimuli),
            cell("Largest amplitude", number(one.amplitude, "µA")),
            cell("Allowed", number(limit_at(limits, one.electrode), "µA")),
            cell("Largest charge per phase", number(one.charge, "nC")),
            cell("Allowed", number(limits.charge_per_phase, "nC")),
        )
        for one in sent_to(deliveries)
    ]
    columns = ["Electrode", "Stimuli", "Largest amplitude", "Allowed"]
    columns += ["Largest charge per phase", "Allowed"]
    caption = text("What was sent, or may have been, by electrode.")
    yield element("h3", "By electrode")
    yield table(columns, rows, caption, "stacked")


def _limit(limits: Limits, name: str, unit: str) -> str:
    value = getattr(limits, name)
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {number(v, unit)}" for k, v in value.items())
    return number(value, unit)


def _settings(session: Session) -> Markup:
    settings, space = session.settings, session.space
    rows = [(f"axis {name}", _axis(name, axis)) for name, axis in space.axes.items()]
    rows += [
        (name.replace("_", " "), _value(name, v)) for name, v in space.fixed.items()
    ]
    rows += [("part " + name, str(inside)) for name, inside in space.blocks.items()]
    rows += [
        ("outputs", ", ".join(settings.outputs)),
        ("context", ", ".join(settings.context) or "none"),
        ("seed", str(settings.seed)),
        ("trials of other sessions", str(len(settings.known))),
        ("safe", "not asked for" if settings.safe is None else str(settings.safe)),
    ]
    rule = settings.rule._asdict().items()
    rows += [(f"rule, {name.replace('_', ' ')}", str(value)) for name, value in rule]
    return _pairs(rows, "What the session began with.", "Setting", "Value")


def _axis(name: str, axis: Any) -> str:
    unit = UNITS.get(name, "")
    if isinstance(axis, Interval):
        return f"{axis.low:g} to {number(axis.high, unit)}"
    if len(axis) > 12:
        return f"{len(axis)} values, {axis[0]} to {axis[-1]} {unit}".strip()
    return f"{', '.join(map(str, axis))} {unit}".strip()


def _value(name: str, value: Any) -> str:
    if isinstance(value, int | float):
        return number(value, UNITS.get(name, ""))
    return ", ".join(map(str, value))


def _operator(session: Session) -> Markup:
    said = [e for e in session.events() if e.kind in ("confirm", "resolve", "stop")]
    if not said:
        return element("p", "Nothing was confirmed by a person.", class_="quiet")
    rows = [(moment(event.time), f"{event.kind}: {of_event(event)}") for event in said]
    return _pairs(
        rows, "Confirmations, resolved trials, the end.", "Time (UTC)", "What"
    )


def _journal(session: Session) -> Iterable[Markup]:
    events = session.events()
    yield element(
        "p",
        f"{len(events)} events. Hash of the last: ",
        element("code", events[-1].hash),
    )
    rows = [
        row(
            str(event.number),
            cell("Time (UTC)", moment(event.time)),
            cell("Kind", event.kind),
            cell("What", of_event(event)),
            cell("Hash", element("code", event.hash[:12])),
        )
        for event in events
    ]
    caption = text("All events; of each hash the first twelve digits.")
    columns = ["Event", "Time (UTC)", "Kind", "What", "Hash"]
    yield table(columns, rows, caption, "stacked")


def _pairs(
    rows: Iterable[tuple[str, str]], caption: str, name: str, value: str
) -> Markup:
    told = [row(label, cell(value, said)) for label, said in rows]
    return table([name, value], told, join(caption), "pairs")
