"""The server of a page: a thread beside the code that owns the session.

Three things that could go wrong with a page on a laboratory computer shape this module.
Somebody else on the network opens it: it listens on 127.0.0.1 alone. Another program
or page on the same computer does: see `routes`. And the page and the user's own code
call the session at the same time: the code calls `Server.session` instead.
"""

import os
import re
import secrets
import socket
import threading
from typing import Any

from neuromod.core.errors import InvalidInputError, SessionError, invalid
from neuromod.stimulation.page.desk import Desk
from neuromod.stimulation.page.painter import Painter
from neuromod.stimulation.rig import Rig
from neuromod.stimulation.session import Session

HOST = "127.0.0.1"
TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}")
PATIENCE = 3  # s, that a request may take when the server is closed


class Server:
    """A page that is being served, until it is closed.

    Parameters
    ----------
    desk
        The session.
    listening
        The socket.
    token
        Without which nobody gets in.
    """

    def __init__(self, desk: Desk, listening: socket.socket, token: str) -> None:
        uvicorn, application = _live()
        self._desk, self._listening, self._painter = desk, listening, Painter()
        self.port: int = listening.getsockname()[1]
        self._token = token
        config = uvicorn.Config(
            application(desk, self._painter, token, self.port),
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=PATIENCE,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run,
            kwargs={"sockets": [listening]},
            name="page of a session",
            daemon=True,
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """The address to open, with the token."""
        return f"http://{HOST}:{self.port}/?token={self._token}"

    @property
    def session(self) -> Session:
        """The session, one call of which is made at a time: for your own code."""
        return self._desk.session

    def wait(self) -> None:
        """Wait until it is closed."""
        self._thread.join()

    def close(self) -> None:
        """End it; a trial that a rig is at is waited for."""
        self._server.should_exit = True
        self._painter.close()  # or its answers would be waited for
        self._thread.join()
        self._listening.close()
        self._desk.close()

    def __enter__(self) -> "Server":
        """Return the server itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.close()


def serve(
    session: Session | str | os.PathLike[str],
    *,
    host: str = HOST,
    port: int = 0,
    token: str | None = None,
    rig: Rig | None = None,
) -> Server:
    """Serve the page of a session on this computer, from a thread of its own.

    Parameters
    ----------
    session
        A session that is open in this process; or the path of one that another process
        owns, which can then only be looked at. While the page is there, your own code
        calls `Server.session`, so that only one call is made at a time.

    Other Parameters
    ----------------
    host
        127.0.0.1; nothing else is accepted.
    port
        A port that is free; any if it is 0.
    token
        Without which nobody gets in; drawn at random if omitted.
    rig
        What does trials at the press of a button; without one, the page says what is
        to be sent, and is told what came of it.

    Returns
    -------
    Server
        With the address to open as ``url``. Close it before the session.

    Raises
    ------
    InvalidInputError
        If the host is another one, the token too short, or what serves pages is not
        installed.
    SessionError
        If the port is taken.

    Examples
    --------
    >>> serve("rat7.db", host="0.0.0.0")
    Traceback (most recent call last):
    ...
    neuromod.core.errors.InvalidInputError: host: got '0.0.0.0', expected '127.0.0.1'...
    """
    if host != HOST:
        remedy = "From elsewhere, forward the port: ssh -L."
        raise invalid("host", repr(host), f"{HOST!r}", remedy)
    if token is not None and not TOKEN.fullmatch(token):
        expected = "16 to 128 letters, digits, '-' or '_'"
        raise invalid("token", f"{len(token)} characters", expected)
    _live()
    desk = Desk(session, rig)
    return Server(desk, _listen(port), token or secrets.token_urlsafe(32))


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except (OSError, OverflowError) as error:
        raise SessionError(
            f"port {port} cannot be used ({error}): choose another one, or 0 for any"
        ) from error


def _live() -> tuple[Any, Any]:
    """Return what serves pages, and the page."""
    try:
        import uvicorn

        from neuromod.stimulation.page.routes import application
    except ImportError as error:
        raise InvalidInputError(
            f"The page needs {error.name}, which is not installed: "
            "pip install 'neuromod[live]'."
        ) from error
    return uvicorn, application
