"""``neuromod info``: versions and devices, for bug reports."""

import json
from typing import Annotated

import typer


def info(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of a table.")
    ] = False,
) -> None:
    """Print versions, devices and settings, for bug reports."""
    import neuromod

    found = neuromod.info()
    typer.echo(json.dumps(found.to_dict(), indent=2) if as_json else found)
