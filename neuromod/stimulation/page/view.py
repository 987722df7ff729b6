"""The page in HTML, made of a snapshot: regions that are renewed one by one.

All that comes from outside (names, reasons, what a person typed) is escaped. Every
button is in a form of its own and needs no script; the script only renews regions.
"""

import math
from collections.abc import Iterable, Mapping
from urllib.parse import urlencode

from neuromod.core.html import Markup, cell, element, join, row, table, text
from neuromod.stimulation.page.desk import Snapshot
from neuromod.stimulation.page.forms import answer, ask, end, resolve, stimulus
from neuromod.stimulation.page.painter import FIGURES, SIZES
from neuromod.stimulation.words import moment, of_event

CSS_PIXELS_PER_INCH = 96
CAPTIONS = {
    "expected": "Expected response",
    "uncertainty": "Uncertainty",
    "visits": "Valid trials",
    "convergence": "Course",
}
OWNER_ACTS = (
    "Another program owns this session. You can look at it here; only whoever has its "
    "own page may ask, tell, reject or stop."
)


def document(
    snapshot: Snapshot,
    *,
    token: str,
    wait: float,
    output: str,
    error: str = "",
    said: Mapping[str, str] | None = None,
) -> str:
    """Return the whole page.

    Parameters
    ----------
    snapshot
        What there is to be shown.
    token
        That every form carries.
    wait
        After how many seconds the next ask may come.
    output
        Of which output the figures are.
    error
        Why what was said could not be done.
    said
        What was said, to be typed in again.
    """
    found = regions(snapshot, token, said or {})
    told = element("p", error, class_="alarm", role="alert", id="error")
    status = element("p", found["state"], id="state", role="status", aria_live="polite")
    header = element(
        "header", element("h1", "Stimulation session"), status, told if error else ""
    )
    now = element(
        "div",
        _region("notice", found),
        _region("unresolved", found),
        _region("now", found),
        _countdown(wait),
        _region("numbers", found),
        _region("end", found),
        class_="column",
    )
    seen = element(
        "div",
        _outputs(snapshot, output),
        figures(snapshot, output),
        class_="column figures",
    )
    return _page(
        header,
        element("main", element("div", now, seen, class_="columns")),
        _region("journal", found),
        version=snapshot.version,
    )


def plain_page(heading: str, told: str) -> str:
    """Return a page that says something, and nothing else."""
    return _page(
        element("header", element("h1", heading)), element("main", element("p", told))
    )


def entry() -> str:
    """Return the page that leads on once the browser has its cookie.

    It is not a redirection: a browser that followed a link on another page would not
    send the cookie with that.
    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="refresh", content="0; url=/"),
        element("title", "Stimulation session"),
        element("link", rel="icon", href="data:,"),
    )
    link = element("a", "To the session", href="/")
    html = element("html", head, element("body", link), lang="en-GB")
    return f"<!DOCTYPE html>\n{html}\n"


def regions(snapshot: Snapshot, token: str, said: Mapping[str, str]) -> dict[str, str]:
    """Return what is renewed, by the names of the regions."""
    return {
        "state": text(state(snapshot)),
        "notice": _notice(snapshot),
        "unresolved": _unresolved(snapshot, token),
        "now": _now(snapshot, token, said),
        "numbers": _numbers(snapshot),
        "end": end(snapshot, token),
        "journal": _journal(snapshot),
    }


def state(snapshot: Snapshot) -> str:
    """Return in a sentence what the session waits for."""
    if snapshot.stopped:
        return f"Stopped: {snapshot.stopped}."
    if unresolved := snapshot.of("unresolved"):
        return f"It is not known whether {unresolved[0].id} was sent."
    if snapshot.rig == "busy":
        return "The rig is at work on a trial."
    if pending := snapshot.of("pending"):
        return f"{pending[-1].id} waits for its response."
    n_asked, n_planned = len(snapshot.trials), snapshot.settings.n_planned
    return f"Ready for trial {n_asked + 1}; {n_planned} are planned."


def figures(snapshot: Snapshot, output: str) -> Markup:
    """Return all figures, which the browser fetches by themselves."""
    return join(
        *(
            element(
                "figure",
                element("div", image, class_="card"),
                element("figcaption", CAPTIONS[name]),
            )
            for name, image in _images(snapshot, output)
        )
    )


def sources(snapshot: Snapshot, output: str) -> dict[str, dict[str, str]]:
    """Return where the browser finds each figure, and what is said in its place."""
    best = f"Best so far: {snapshot.best}." if snapshot.best else "No valid trial yet."
    return {
        name: {
            "src": f"figure/{name}.svg?"
            + urlencode({"output": output, "version": snapshot.version}),
            "alt": f"{CAPTIONS[name]} of {output}. {best}",
        }
        for name in FIGURES
    }


def _images(snapshot: Snapshot, output: str) -> Iterable[tuple[str, Markup]]:
    for name, source in sources(snapshot, output).items():
        width, height = (round(CSS_PIXELS_PER_INCH * side) for side in SIZES[name])
        image = element(
            "img", id=f"figure-{name}", width=width, height=height, **source
        )
        yield name, image


def _page(*children: object, version: str = "") -> str:
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", "Stimulation session"),
        element("link", rel="icon", href="data:,"),
        element("link", rel="stylesheet", href="/page.css"),
        element("script", src="/page.js", defer=""),
    )
    page = element("div", *children, class_="page wide")
    body = element("body", page, data_version=version)
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en-GB')}\n"


def _region(name: str, found: Mapping[str, str]) -> Markup:
    return element("div", Markup(found[name]), data_region=name)


def _countdown(wait: float) -> Markup:
    told = "" if wait <= 0 else f"The next stimulus may be asked for {_after(wait)}."
    return element("p", told, id="wait", class_="quiet", data_wait=f"{min(wait, 1e9)}")


def _after(wait: float) -> str:
    return "never within these limits" if math.isinf(wait) else f"in {wait:.0f} s"


def _notice(snapshot: Snapshot) -> Markup:
    if not snapshot.notice:
        return Markup()
    return element("p", snapshot.notice, class_="panel alarm", role="alert")


def _unresolved(snapshot: Snapshot, token: str) -> Markup:
    found = snapshot.of("unresolved")
    if not found:
        return Markup()
    told = (
        "The session was interrupted before these had a response. Nothing is sent "
        "until a person says what became of them."
    )
    return element(
        "section",
        element("h2", "Was it sent?"),
        element("p", told),
        *(resolve(snapshot, trial, token) for trial in found),
        class_="panel alarm-panel",
    )


def _now(snapshot: Snapshot, token: str, said: Mapping[str, str]) -> Markup:
    if not snapshot.is_owned:
        waiting = [stimulus(snapshot, trial) for trial in snapshot.of("pending")]
        told = element("p", OWNER_ACTS, class_="panel quiet")
        return join(told, *(element("section", one, class_="panel") for one in waiting))
    found = [answer(snapshot, trial, token, said) for trial in snapshot.of("pending")]
    if snapshot.stopped or snapshot.of("unresolved"):
        return join(*found)
    return join(*found, ask(snapshot, token, "" if found else "main"))


def _numbers(snapshot: Snapshot) -> Markup:
    told = {"Best so far": str(snapshot.best or "no valid trial yet")}
    told |= {f"Trials {name}": str(count) for name, count in snapshot.counts.items()}
    told |= {"Trials planned": str(snapshot.settings.n_planned)}
    rows = [row(name, cell("Value", value)) for name, value in told.items()]
    return table(["What", "Value"], rows, text("So far."), "pairs")


def _journal(snapshot: Snapshot) -> Markup:
    rows = [
        row(
            str(event.number),
            cell("Time (UTC)", moment(event.time)),
            cell("Kind", event.kind),
            cell("What", of_event(event)),
            cell("Hash", element("code", event.hash[:12])),
        )
        for event in snapshot.tail
    ]
    caption = f"The last {len(rows)} of {snapshot.n_events} events, newest first."
    columns = ["Event", "Time (UTC)", "Kind", "What", "Hash"]
    return element(
        "section",
        element("h2", "Journal"),
        table(columns, rows, text(caption), "stacked"),
    )


def _outputs(snapshot: Snapshot, output: str) -> Markup:
    names = snapshot.settings.outputs
    if len(names) == 1:
        return Markup()
    links = [
        element("b", name, aria_current="page")
        if name == output
        else element("a", name, href="/?" + urlencode({"output": name}))
        for name in names
    ]
    return element("nav", "Shown: ", *links, aria_label="Outputs", class_="outputs")
