"""``neuromod stimulation``: closed-loop sessions from a shell.

A session is one file: ``init`` begins it by a protocol, ``run`` lets a rig do trials,
``replay`` goes through it again, and any of them can be stopped and taken up again.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from neuromod.cli.output import Force, Out, require_writable, told
from neuromod.core.errors import invalid

Journal = Annotated[
    Path, typer.Argument(metavar="SESSION", help="The session: a journal, one file.")
]
EXPORTED = ["journal.jsonl", "session.nc"]

app = typer.Typer(
    no_args_is_help=True,
    help="Closed-loop sessions that search for the best stimulus and lose no trial.",
)


class RigKind(StrEnum):
    """What stimulates."""

    simulated = "simulated"
    replay = "replay"
    lsl = "lsl"


@app.command()
def init(
    session: Annotated[
        Path | None, typer.Argument(metavar="SESSION", help="The file to make.")
    ] = None,
    protocol: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="What to begin with (TOML)."),
    ] = None,
    template: Annotated[
        Path | None, typer.Option(help="Write a protocol to change, and no session.")
    ] = None,
) -> None:
    """Begin a session by a protocol; or write a protocol to begin with."""
    from neuromod.core.atomic import write_atomically
    from neuromod.stimulation import Session
    from neuromod.stimulation.protocol import TEMPLATE, read_protocol

    if template is not None:
        _require_new(template, "--template")
        write_atomically(template, TEMPLATE.encode())
        typer.echo(
            f"wrote {template}: change it, then\n"
            f"neuromod stimulation init SESSION.db --protocol {template}"
        )
        return
    if session is None or protocol is None:
        expected = "SESSION and --protocol, or --template"
        raise invalid("SESSION", "none", expected)
    _require_new(session, "SESSION")
    given = read_protocol(protocol)
    with Session.open(session, **given) as begun:
        n = len(begun.space)
        kind = (
            "candidates" if begun.space.is_finite else "combinations beside intervals"
        )
        typer.echo(f"began {session}: {n} {kind}, {begun.settings.n_planned} trials")
    typer.echo(f"neuromod stimulation run {session} --rig simulated")


@app.command()
def run(
    session: Journal,
    rig: Annotated[
        RigKind, typer.Option(metavar="NAME", help="simulated, replay or lsl.")
    ],
    trials: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Trials; all planned ones.")
    ] = None,
    recording: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            metavar="FILE",
            help="To replay: .npz with resp (electrode, output, trial).",
        ),
    ] = None,
    markers: Annotated[
        str, typer.Option(metavar="NAME", help="LSL stream of markers to the rig.")
    ] = "stimuli",
    responses: Annotated[
        str, typer.Option(metavar="NAME", help="LSL stream of responses from it.")
    ] = "responses",
    until_finished: Annotated[
        bool,
        typer.Option("--until-finished", help="End when nothing better is likely."),
    ] = False,
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Of a simulated or replayed rig.")
    ] = 0,
) -> None:
    """Let a rig do trials of a session. Interrupted, the same command goes on."""
    from contextlib import nullcontext

    from tqdm import tqdm

    from neuromod import stimulation

    with stimulation.Session.open(session) as opened:
        _require_resolved(opened)
        left = max(opened.settings.n_planned - len(opened.trials), 0)
        n_trials = left if trials is None else trials
        made = _rig(rig, opened, recording, markers, responses, seed)
        held: Any = made if rig is RigKind.lsl else nullcontext()
        with held, tqdm(total=n_trials, unit="trial", disable=None) as bar:

            def progress(done: int) -> None:
                bar.update(done - bar.n)

            stimulation.run(
                opened,
                made,
                n_trials,
                until_finished=until_finished,
                progress=progress,
            )
        typer.echo(_summary(opened))


@app.command()
def replay(
    session: Journal,
    out: Out | None = None,
    force: Force = False,
) -> None:
    """Go through a session again; with --out also export it."""
    from neuromod.stimulation import Session
    from neuromod.stimulation.replay import replay as again

    if out is not None:
        require_writable(out, EXPORTED, force)
    found = again(session)
    typer.echo(f"{found.n_events} events, every hash as it was written")
    same = found.n_asks - len(found.other)
    typer.echo(f"{same} of {found.n_asks} stimuli are chosen again as they were")
    for name, (then, now) in found.versions.items():
        typer.echo(f"{name} was {then}, is {now}")
    typer.echo(_summary(Session.read(session)))
    if out is not None:
        Session.read(session).export(out)
        told(*(out / name for name in EXPORTED))
    if found.other:
        raise typer.Exit(1)


@app.command()
def serve(
    session: Journal,
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="Any free one if 0.")
    ] = 0,
) -> None:
    """Open the live page of a session, on this computer only."""
    from neuromod.core.errors import SessionError
    from neuromod.stimulation import Session
    from neuromod.stimulation import serve as open_page

    if not session.is_file():
        expected = "a session that was begun by `init`"
        raise invalid("SESSION", f"{str(session)!r}, which is not there", expected)
    try:
        shown: Any = Session.open(session)
    except SessionError as error:
        if "another process owns" not in str(error):
            raise
        typer.echo("another process owns the session: the page only shows it")
        shown = session
    try:
        with open_page(shown, port=port) as server:
            typer.echo(f"{server.url}\nCtrl-C ends it")
            server.wait()
    finally:
        if isinstance(shown, Session):
            shown.close()


@app.command()
def report(
    session: Journal,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="The page to write.")
    ] = Path("session.html"),
    force: Force = False,
) -> None:
    """Write what happened in a session as one page that needs no other file."""
    from neuromod.stimulation import Session
    from neuromod.stimulation import report as write_report

    if not force:
        _require_new(out, "--out")
    told(write_report(Session.read(session), out))


@app.command()
def resolve(
    session: Journal,
    by: Annotated[str, typer.Option(metavar="NAME", help="Who says so.")],
    sent: Annotated[
        bool, typer.Option("--sent/--not-sent", help="Whether it was sent.")
    ],
) -> None:
    """Say of a stimulus before an interruption whether it was sent."""
    from neuromod.stimulation import Session

    with Session.open(session) as opened:
        for trial in opened.unresolved:
            opened.resolve(trial.id, sent=sent, by=by)
            typer.echo(f"{trial.id}: {opened.trials[trial.id].reason}")


def _require_new(path: Path, name: str) -> None:
    if path.exists():
        expected = "a file that is not there yet"
        raise invalid(name, f"{str(path)!r}, which exists", expected)


def _require_resolved(session: Any) -> None:
    if names := [trial.id for trial in session.unresolved]:
        raise invalid(
            "SESSION",
            f"{names[0]}, which may or may not have been sent before an interruption",
            "a person's word",
            "neuromod stimulation resolve SESSION --sent --by NAME, or --not-sent.",
        )


def _rig(
    kind: RigKind,
    session: Any,
    recording: Path | None,
    markers: str,
    responses: str,
    seed: int,
) -> Any:
    from neuromod import stimulation

    if kind is RigKind.lsl:
        return stimulation.LSLRig(markers, stimulation.Answers(responses))
    if kind is RigKind.simulated:
        return stimulation.SimulatedRig(
            session.space.positions, session.outputs, seed=seed
        )
    if recording is None:
        raise invalid("--recording", "none", "a recording to replay")
    return stimulation.ReplayRig.of(recording, session.outputs, seed=seed)


def _summary(session: Any) -> str:
    from neuromod.stimulation.tables import words

    fates = [trial.fate for trial in session.trials.values()]
    counts = ", ".join(f"{fates.count(f)} {f}" for f in dict.fromkeys(fates))
    if "valid" not in fates:
        return counts or "no trial yet"
    return f"{counts}; believed best: {words(session.best())}"
