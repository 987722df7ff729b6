"""The page as a web application, and who may use it.

Anything else that runs on the computer, and any other page in the browser, can send
requests to a local address. So every request must carry the token, in its cookie or,
the first time, in its address; it must be addressed to this host and port, or a name
that was made to lead here would do (DNS rebinding); and what changes something must
also come from a form of our own, which its origin and a second token show.
"""

import hmac
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from neuromod.core.errors import NeuromodError
from neuromod.stimulation.page import view
from neuromod.stimulation.page.desk import Desk
from neuromod.stimulation.page.painter import FIGURES, Painter
from neuromod.stimulation.settings import Settings

MOST_BYTES = 16_384  # of a request
MOST_FIELDS = 100
CONFLICT, FORBIDDEN, TOO_LARGE, UNAVAILABLE = 409, 403, 413, 503
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; "
    "style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # With "no-referrer" a browser would not tell where a form came from either.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
Endpoint = Callable[[Request], Awaitable[Response]]


class Guard:
    """Lets nobody in who has no token, or was sent by another page.

    Parameters
    ----------
    application
        What is behind it.
    token
        That is asked for.
    port
        Of this server.
    """

    def __init__(self, application: ASGIApp, token: str, port: int) -> None:
        self._application, self._token, self._port = application, token, port
        self._hosts = (f"127.0.0.1:{port}", f"localhost:{port}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let it through."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(k.lower().encode(), v.encode()) for k, v in HEADERS.items()]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        refused = self._refusal(Request(scope))
        await (refused or self._application)(scope, receive, send_with_headers)

    def _refusal(self, request: Request) -> Response | None:
        hosts = request.headers.getlist("host")
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return _refused(FORBIDDEN, "This is not the address of the page.")
        changes = request.method not in ("GET", "HEAD")
        if changes and request.headers.getlist("origin") != [f"http://{hosts[0]}"]:
            return _refused(FORBIDDEN, "Only the page itself may change anything.")
        if self._is_token(request.cookies.get(_cookie_name(self._port), "")):
            return None
        given = request.query_params.get("token", "")
        if request.method != "GET" or request.url.path != "/" or not given:
            told = "Open the address that was printed: it holds a token."
            return _refused(401, told)
        if not self._is_token(given):
            return _refused(401, "The token in the address is of another session.")
        answer = HTMLResponse(view.entry())
        answer.set_cookie(
            _cookie_name(self._port), given, httponly=True, samesite="strict"
        )
        return answer

    def _is_token(self, given: str) -> bool:
        return same(given, self._token)


def same(given: str, token: str) -> bool:
    """Return whether a token is the right one, in a time that tells nothing."""
    return hmac.compare_digest(given.encode(), token.encode())


def application(desk: Desk, painter: Painter, token: str, port: int) -> ASGIApp:
    """Return the page of a session as an ASGI application.

    Parameters
    ----------
    desk
        The session.
    painter
        Of the figures.
    token
        Without which nobody gets in.
    port
        Of this server.
    """
    pages = _Pages(desk, painter, token)
    routes = [
        Route("/", pages.show, methods=["GET"]),
        Route("/", pages.act, methods=["POST"]),
        Route("/state", pages.state, methods=["GET"]),
        Route("/figure/{name}.svg", pages.figure, methods=["GET"]),
        Route("/page.css", _style, methods=["GET"]),
        Route("/page.js", _script, methods=["GET"]),
    ]
    return Guard(Starlette(routes=routes), token, port)


class _Pages:
    """The pages of a session."""

    def __init__(self, desk: Desk, painter: Painter, token: str) -> None:
        self._desk, self._painter, self._token = desk, painter, token

    async def show(self, request: Request) -> Response:
        return await run_in_threadpool(self._page, request, 200)

    async def act(self, request: Request) -> Response:
        said = await _said(request)
        if said is None:
            return _refused(TOO_LARGE, "That is too much for a form.")
        if not same(said.get("token", ""), self._token):
            return _refused(FORBIDDEN, "Only a form of the page may change anything.")
        return await run_in_threadpool(self._act, request, said)

    def _act(self, request: Request, said: dict[str, str]) -> Response:
        try:
            self._desk.act(said)
        except NeuromodError as error:
            return self._page(request, CONFLICT, str(error), said)
        return RedirectResponse("/", 303)

    async def state(self, request: Request) -> Response:
        return await run_in_threadpool(self._state, request)

    def _state(self, request: Request) -> Response:
        try:
            now = self._desk.snapshot()
        except NeuromodError as error:
            return _refused(UNAVAILABLE, str(error))
        told = {
            "version": now.version,
            "wait": min(self._desk.wait(), 1e9),
            "regions": {},
            "figures": {},
        }
        if request.query_params.get("version") != now.version:
            output = self._output(request)
            told["regions"] = view.regions(now, self._token, {})
            told["figures"] = view.sources(now, output)
        return JSONResponse(told)

    async def figure(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in FIGURES:
            return _refused(404, "There is no such figure.")
        return await run_in_threadpool(self._figure, request, name)

    def _figure(self, request: Request, name: str) -> Response:
        try:
            now = self._desk.snapshot()
            drawn = self._painter.draw(now, name, self._output(request))
        except NeuromodError as error:
            return _refused(UNAVAILABLE, str(error))
        return Response(drawn, media_type="image/svg+xml")

    def _page(
        self,
        request: Request,
        status: int,
        error: str = "",
        said: dict[str, str] | None = None,
    ) -> Response:
        try:
            now = self._desk.snapshot()
        except NeuromodError as broken:
            return _refused(UNAVAILABLE, str(broken))
        page = view.document(
            now,
            token=self._token,
            wait=self._desk.wait(),
            output=self._output(request),
            error=error,
            said=said,
        )
        return HTMLResponse(page, status)

    def _output(self, request: Request) -> str:
        settings: Settings = self._desk.session.settings
        asked = request.query_params.get("output", "")
        return asked if asked in settings.outputs else settings.aim.target


async def _said(request: Request) -> dict[str, str] | None:
    """Return the fields of a form; None if it is too large."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            return None
    try:
        fields = parse_qsl(
            body.decode(), strict_parsing=True, max_num_fields=MOST_FIELDS
        )
    except ValueError:
        return {}
    return dict(fields)


def _cookie_name(port: int) -> str:
    # Browsers keep cookies apart by host, not by port.
    return f"neuromod-{port}"


def _refused(status: int, told: str) -> Response:
    return HTMLResponse(view.plain_page("Not this way", told), status)


async def _style(request: Request) -> Response:
    base = files("neuromod.stimulation") / "session.css"
    more = files("neuromod.stimulation.page") / "page.css"
    return Response(base.read_text() + more.read_text(), media_type="text/css")


async def _script(request: Request) -> Response:
    script: Any = files("neuromod.stimulation.page") / "page.js"
    return Response(script.read_text(), media_type="text/javascript")
