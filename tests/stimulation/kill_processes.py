"""Processes of their own, of which one is killed: a rig, a nursery, its sessions.

::

    python -m tests.stimulation.kill_processes rig ADDRESS LOG
    python -m tests.stimulation.kill_processes nursery ADDRESS_OF_RIG ADDRESS_OF_JUDGE

The *rig* outlives all sessions. It writes the id of every pulse that it delivers to a
log that is on the disk before it answers; the log is what decides. The *nursery* has
loaded the library, but started no computation: for every order on its input it forks a
*session*, which tells the judge at every step where it is and goes on when told to.
"""

import contextlib
import hashlib
import json
import os
import sys
import traceback
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

LOST = "nothing came back"


def answer_to(pulse_id: str, electrode: str) -> dict[str, Any]:
    """Return what a rig answers: always the same to a pulse.

    One in eight is lost, and one in eight an artefact; the others have noise.
    """
    drawn = hashlib.sha256(pulse_id.encode()).digest()
    noise = int.from_bytes(drawn[:4]) / 2**32
    flexor = (1 + int(electrode)) * (0.8 + 0.4 * noise)
    kind = {0: "lost", 1: "artefact"}.get(drawn[4] % 8, "valid")
    return {"kind": kind, "response": {"flexor": flexor, "extensor": 1 / flexor}}


def say(connection: Connection, told: Any) -> None:
    """Send plain values."""
    connection.send_bytes(json.dumps(told).encode())


def hear(connection: Connection) -> Any:
    """Receive plain values."""
    return json.loads(connection.recv_bytes())


def keep(path: str, line: str) -> None:
    """Add a line to a file; it is on the disk when this returns."""
    with open(path, "a") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def rig(address: str, log: str) -> None:
    """Deliver what comes, one connection after the other, until the input ends."""
    with Listener(address) as listener:
        print("ready", flush=True)
        while True:
            with listener.accept() as connection:
                _serve(connection, log)
            print(json.dumps("hung up"), flush=True)


def _serve(connection: Connection, log: str) -> None:
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            pulse_id, electrode = hear(connection)
            keep(log, f"{pulse_id} {electrode}")
            print(json.dumps(["delivered", pulse_id]), flush=True)
            if not sys.stdin.readline():  # the judge says when to answer
                sys.exit()
            say(connection, answer_to(pulse_id, electrode))


def nursery(address_of_rig: str, address_of_judge: str) -> None:
    """Fork a session for every order, and tell how it ended."""
    from neuromod.stimulation.session import Session  # noqa: F401

    print("ready", flush=True)
    for line in sys.stdin:
        # Connected before there is a session: its death always hangs up.
        with Client(address_of_judge) as judge, Client(address_of_rig) as other:
            child = os.fork()
            if child == 0:
                os._exit(_live(judge, other, **json.loads(line)))
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _live(judge: Connection, other: Connection, **order: Any) -> int:
    try:
        _run(judge, other, **order)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _run(
    judge: Connection,
    other: Connection,
    path: str,
    acknowledged: str,
    n_trials: int,
    from_cache: bool,
) -> None:
    """Open a session and run it, telling before every step which comes."""
    import jax

    from neuromod.stimulation.session import Session

    jax.config.update("jax_enable_compilation_cache", from_cache)

    def about_to(step: str) -> None:
        say(judge, step)
        hear(judge)

    about_to("open")
    with Session.open(path) as session:
        for _ in range(n_trials):
            about_to("ask")
            ask = session.ask()
            about_to("send")
            say(other, [ask.id, ask.point["electrode"]])
            answer = hear(other)
            about_to("tell")
            settle(session, ask.id, answer)
            about_to("thank")
            keep(acknowledged, json.dumps([ask.id, answer["kind"]]))


def settle(session: Any, ask_id: str, answer: dict[str, Any]) -> None:
    """Tell a session what the rig answered."""
    if answer["kind"] == "lost":
        session.reject(ask_id, LOST)
    else:
        response = {name: answer["response"][name] for name in session.outputs}
        session.tell(ask_id, response, valid=answer["kind"] == "valid")


if __name__ == "__main__":
    {"rig": rig, "nursery": nursery}[sys.argv[1]](*sys.argv[2:])
