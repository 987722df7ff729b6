"""The live page of a session: see it, and work it, from a browser on this computer."""

from neuromod.stimulation.page.server import Server as Server
from neuromod.stimulation.page.server import serve as serve

__all__ = ["Server", "serve"]
