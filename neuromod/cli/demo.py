"""``neuromod demo``: every family at work on data whose truth is known.

Each family's simulated twin is made at small size, its demo section fits it and
compares what it found with the truth, and the sections become one page.
"""

import importlib
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuromod.cli.output import Force, Out, origin, require_writable, told

if TYPE_CHECKING:
    from neuromod.core.report import Section

# The families in the order of the page, with their simulated twins and their size.
SIMULATORS = {
    "switching": "simulate_switching",
    "hgf": "simulate_beliefs",
    "reactivation": "simulate_replay",
    "pvrnn": "simulate_symbols",
    "stimulation": "simulate_stimulation_maps",
}
TWINS: dict[str, dict[str, Any]] = {
    "switching": {"n_states": 3, "n_neurons": 12, "n_sessions": 8, "n_steps": 2000},
    "hgf": {"n_subjects": 24, "n_trials": 320},
    "reactivation": {"n_events": 40, "n_laps": 20},
    "pvrnn": {"n_trials": 10, "n_steps": 24},
    "stimulation": {"n_muscles": 2, "n_trials": 40},
}


def demo(
    out: Out = Path("demo"),
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Seed of everything drawn.")
    ] = 0,
    force: Force = False,
) -> None:
    """Run every family on simulated data and write a report of what came back."""
    from neuromod.cli.report import render
    from neuromod.core.provenance import start

    started = start()
    results = [path.name for path in out.glob("*.nc")]
    require_writable(out, ["report.html", *results], force)
    out.mkdir(parents=True, exist_ok=True)
    sections = []
    for number, family in enumerate(TWINS, start=1):
        typer.echo(f"[{number}/{len(TWINS)}] {family}: simulating, fitting ...")
        section = run(family, seed)
        sections.append(section)
        typer.echo(f"      {section.n_met} of {section.n_judged} numbers as expected")
        for name, result in section.results.items():
            told(result.save(out / f"{family}-{name}.nc"))
    made = origin(started, seed=seed)
    told(render(sections, out / "report.html", "neuromod demo", made))


def run(family: str, seed: int) -> "Section":
    """Run one family's section on its simulated twin, and time it."""
    from neuromod import datasets

    start = time.perf_counter()
    tree = getattr(datasets, SIMULATORS[family])(seed=seed, **TWINS[family])
    section = importlib.import_module(f"neuromod.{family}.demo").section
    return replace(section(tree, seed=seed), seconds=time.perf_counter() - start)
