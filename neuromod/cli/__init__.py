"""The command line. Showing help imports no model, no data and no figure library."""

from neuromod.cli.app import main as main

__all__ = ["main"]
