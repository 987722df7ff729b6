import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from neuromod import datasets

SMALL = {"n_states": 3, "n_neurons": 4, "n_sessions": 2, "n_steps": 50}
CONTENT = bytes(range(256)) * 1024  # 256 KiB


class Server(ThreadingHTTPServer):
    """A file server that remembers what it was asked."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[str] = []
        self.released = threading.Event()
        self.content = CONTENT

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT whole, cut short, or so slowly that it never ends."""

    def do_GET(self):
        server = self.server
        assert isinstance(server, Server)
        server.requests.append(self.path)
        self.send_response(404 if self.path == "/missing" else 200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if self.path == "/short":
            self.wfile.write(CONTENT[:1000])
        elif self.path == "/drip":
            self.wfile.write(CONTENT[: len(CONTENT) // 2])
            self.wfile.flush()
            if server.released.wait(60):
                self.wfile.write(CONTENT[len(CONTENT) // 2 :])
        elif self.path != "/missing":
            self.wfile.write(server.content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    """Give a file server on this machine."""
    httpd = Server()
    thread = threading.Thread(
        target=httpd.serve_forever, kwargs={"poll_interval": 0.05}
    )
    thread.start()
    yield httpd
    httpd.released.set()
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.fixture(scope="session")
def small():
    """Simulate once: compiling a simulator takes seconds."""
    return datasets.simulate_switching(seed=1, **SMALL)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Keep every test away from the user's own cache and data."""
    monkeypatch.setenv("NEUROMOD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("NEUROMOD_DATA", raising=False)
    return tmp_path / "cache" / "datasets"


@pytest.fixture
def offline(monkeypatch):
    """Fail on any attempt to reach a network."""
    import socket

    def refuse(*args, **kwargs):
        raise AssertionError(f"the network was touched: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
