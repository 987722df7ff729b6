"""The forms of the page: each button stands in one, and works without a script."""

from collections.abc import Mapping

from neuromod.core.html import Markup, element, join
from neuromod.stimulation.page.desk import Snapshot
from neuromod.stimulation.space import WHOLE
from neuromod.stimulation.state import Trial
from neuromod.stimulation.words import of_stimulus


def resolve(snapshot: Snapshot, trial: Trial, token: str) -> Markup:
    """Ask a person what became of a trial."""
    what = stimulus(snapshot, trial)
    if not snapshot.is_owned:
        return what
    by = _input(f"by-{trial.id}", "by", "Your name", required="", maxlength=80)
    return join(
        what,
        _form(
            token,
            by,
            _button("It was sent", name="sent", value="yes"),
            _button("It was not sent", name="sent", value="no"),
            do="resolve",
            id=trial.id,
        ),
    )


def answer(
    snapshot: Snapshot, trial: Trial, token: str, said: Mapping[str, str]
) -> Markup:
    """Tell what to send, and ask what came of it."""
    typed = said if said.get("id") == trial.id else {}
    inputs = [
        _input(
            f"response-{k}-{trial.id}",
            f"response-{k}",
            f"Response: {name}" if name != "response" else "Response",
            inputmode="decimal",
            required="",
            value=typed.get(f"response-{k}", ""),
            **({"autofocus": ""} if k == 0 else {}),
        )
        for k, name in enumerate(snapshot.settings.outputs)
    ]
    artefact = element(
        "label",
        element("input", type="checkbox", name="artefact", id=f"artefact-{trial.id}"),
        " An artefact: keep it, and learn nothing from it",
        class_="check",
    )
    tell = _form(
        token, *inputs, artefact, _button("Tell", "main"), do="tell", id=trial.id
    )
    reason = _input(
        f"reason-{trial.id}",
        "reason",
        "Why it failed",
        required="",
        maxlength=200,
        value=typed.get("reason", ""),
    )
    reject = _form(token, reason, _button("Reject"), do="reject", id=trial.id)
    heading = element("h2", f"Send now: {trial.id}")
    return element(
        "section", heading, stimulus(snapshot, trial), tell, reject, class_="panel now"
    )


def stimulus(snapshot: Snapshot, trial: Trial) -> Markup:
    """Return what is to be sent, large, with units."""
    told = of_stimulus(snapshot.settings.space.stimulus(trial.point))
    named = {name for name, _ in told} | {"electrode"}
    told += [
        (name.replace("_", " "), str(value))
        for name, value in trial.point.items()
        if name.replace("_", " ") not in named and not name.startswith("electrode")
    ]
    entries = [
        element("div", element("dt", name), element("dd", value))
        for name, value in told
    ]
    return element("dl", *entries, class_="stimulus", aria_label=f"Stimulus {trial.id}")


def ask(snapshot: Snapshot, token: str, kind: str) -> Markup:
    """Offer the next stimulus, or the next trial of a rig."""
    context = [
        _input(f"context-{k}", f"context-{k}", name, inputmode="decimal", required="")
        for k, name in enumerate(snapshot.settings.context)
    ]
    number = str(len(snapshot.trials) + 1)
    # No autofocus: one Enter too many must not ask for anything.
    look = {"data_waits": "", "id": "ask"}
    if snapshot.rig == "none":
        button = _button("Ask for the next stimulus", kind, **look)
        return _form(
            token, *context, _levels(snapshot), button, do="ask", number=number
        )
    busy = snapshot.rig == "busy"
    told = "The rig is at work" if busy else "Let the rig do a trial"
    return _form(
        token, *context, _button(told, kind, **look), do="trial", number=number
    )


def _levels(snapshot: Snapshot) -> Markup:
    names = [block.name for block in snapshot.settings.space.block.walk()]
    if names == [WHOLE]:
        return Markup()
    options = [element("option", name, value=name) for name in names]
    label = element("label", "What is stimulated", for_="level")
    select = element("select", *options, name="level", id="level")
    return element("div", label, select, class_="field")


def end(snapshot: Snapshot, token: str) -> Markup:
    """Offer what a person confirms, and the end."""
    if not snapshot.is_owned or snapshot.stopped:
        return Markup()
    what = _input("what", "what", "What was seen to", required="", maxlength=200)
    by = _input("by", "by", "Your name", required="", maxlength=80)
    confirm = _form(token, what, by, _button("Confirm"), do="confirm")
    reason = _input("why", "reason", "Why it ends", required="", maxlength=200)
    sure = element(
        "label",
        element(
            "input", type="checkbox", name="sure", value="yes", id="sure", required=""
        ),
        " I am sure: it cannot be taken up again",
        class_="check",
    )
    stop = _form(token, reason, sure, _button("Stop the session", "danger"), do="stop")
    return join(
        element(
            "details", element("summary", "Confirm something"), confirm, id="confirming"
        ),
        element("details", element("summary", "Stop the session"), stop, id="stopping"),
    )


def _form(token: str, *children: object, **hidden: str) -> Markup:
    fields = [
        element("input", type="hidden", name=name, value=value)
        for name, value in ({"token": token} | hidden).items()
    ]
    return element("form", *fields, *children, method="post", action="/")


def _button(words: str, class_: str = "", **attributes: object) -> Markup:
    return element("button", words, type="submit", class_=class_, **attributes)


def _input(id_: str, name: str, label: str, **attributes: object) -> Markup:
    field = element(
        "input", id=id_, name=name, type="text", autocomplete="off", **attributes
    )
    return element("div", element("label", label, for_=id_), field, class_="field")
