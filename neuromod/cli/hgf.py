"""``neuromod hgf``: beliefs of participants and how fast they learn, from the shell.

Every command reads a table of behaviour with one row for each trial, and a model by its
name or out of a saved result. The commands are named after the verbs of `neuromod.hgf`;
``group`` is `neuromod.hgf.sample`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuromod.cli.hgf_options import COLUMNS, MODEL, SHOWING, agent, listed, priors
from neuromod.cli.hgf_reading import Trials, by_subject, describe, read_trials
from neuromod.cli.output import Force, Out, command_line, require_writable, told
from neuromod.cli.reading import gathering

if TYPE_CHECKING:
    import pandas as pd

BELIEFS = ["beliefs.nc", "beliefs.csv", "trajectories.png"]
FITTED = ["result.nc", "parameters.csv", "trajectories.png", "report.html"]
DRAWN = ["result.nc", "summary.csv", "posterior.png", "group.png"]
RECOVERED = ["recovery.nc", "recovery.csv", "recovery.png"]

Seed = Annotated[
    int, typer.Option(min=0, metavar="N", help="Seed of everything drawn.")
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the table as JSON, and nothing else.")
]

app = typer.Typer(
    no_args_is_help=True,
    help="Beliefs and learning from behaviour (Hierarchical Gaussian Filter).",
)


@app.command("filter")
@gathering("columns", COLUMNS)
@gathering("settings", MODEL)
def run_filter(
    file: Trials,
    settings: dict[str, Any],
    columns: dict[str, str],
    out: Out = Path("beliefs"),
    force: Force = False,
) -> None:
    """Run a model over outcomes: what it believes on every trial."""
    from neuromod.cli.hgf_results import beliefs_of, draw_beliefs, flat, joined
    from neuromod.core.atomic import write_atomically

    require_writable(out, BELIEFS, force)
    inputs = _inputs(agent(settings))
    table = read_trials(file, inputs, columns)
    typer.echo(describe(table, file))
    parts = by_subject(table)
    agents = {subject: agent(settings, subject) for subject in parts}
    beliefs = {k: beliefs_of(agents[k], part) for k, part in parts.items()}
    out.mkdir(parents=True, exist_ok=True)
    netcdf, csv, png = (out / name for name in BELIEFS)
    write_atomically(netcdf, bytes(joined(beliefs).to_netcdf()))
    _write_csv(flat(beliefs, parts), csv)
    subject = next(iter(parts))
    picture = draw_beliefs(agents[subject], beliefs[subject], parts[subject], subject)
    picture.figure.savefig(png, dpi=300)
    told(netcdf, csv, png)


@app.command()
@gathering("columns", COLUMNS)
@gathering("showing", SHOWING)
@gathering("settings", MODEL)
def fit(
    file: Trials,
    settings: dict[str, Any],
    showing: dict[str, Any],
    columns: dict[str, str],
    method: Annotated[
        str, typer.Option(metavar="NAME", help="map, or maximum_likelihood.")
    ] = "map",
    restarts: Annotated[
        int, typer.Option(min=1, metavar="N", help="Starting points.")
    ] = 8,
    seed: Seed = 0,
    out: Out = Path("fits"),
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Fit each participant: result, parameters, trajectories, report."""
    from neuromod import hgf
    from neuromod.cli.hgf_results import draw_first, estimates, fit_told
    from neuromod.cli.hgf_section import code, section
    from neuromod.cli.report import render

    require_writable(out, FITTED, force)
    model, table, how = _arguments(file, settings, showing, columns, as_json)
    result = hgf.fit(
        model.network,
        table,
        method=method,
        n_restarts=restarts,
        seed=seed,
        response=model.response,
        **how,
    )
    rows = estimates(result)
    _say(rows, as_json, fit_told(result))
    out.mkdir(parents=True, exist_ok=True)
    saved, csv, png, page = (out / name for name in FITTED)
    result.save(saved)
    _write_csv(rows, csv)
    picture = draw_first(result, table)
    picture.figure.savefig(png, dpi=300)
    lines = code(saved.name, file, _inputs(model), columns, how.get("covariates", []))
    part = section(result, picture, lines)
    made = {"command": command_line(), "behaviour": file, **result.provenance}
    render([part], page, f"Beliefs behind {file.name}", made)
    if not as_json:
        told(saved, csv, png, page)


@app.command()
@gathering("columns", COLUMNS)
@gathering("showing", SHOWING)
@gathering("settings", MODEL)
def group(
    file: Trials,
    settings: dict[str, Any],
    showing: dict[str, Any],
    columns: dict[str, str],
    draws: Annotated[
        int, typer.Option(min=1, metavar="N", help="Draws that each chain keeps.")
    ] = 1000,
    warmup: Annotated[
        int, typer.Option(min=1, metavar="N", help="Draws before, which adapt.")
    ] = 1000,
    chains: Annotated[int, typer.Option(min=1, metavar="N", help="Chains.")] = 4,
    seed: Seed = 0,
    out: Out = Path("group"),
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Draw all participants and their group from the posterior (NUTS)."""
    from neuromod import hgf
    from neuromod.cli.hgf_results import draw_posterior, drawn, drawn_told

    require_writable(out, DRAWN, force)
    model, table, how = _arguments(file, settings, showing, columns, as_json)
    result = hgf.sample(
        model.network,
        table,
        response=model.response,
        n_draws=draws,
        n_warmup=warmup,
        n_chains=chains,
        seed=seed,
        progress=not as_json,
        **how,
    )
    rows = drawn(result)
    _say(rows, as_json, drawn_told(result, rows))
    out.mkdir(parents=True, exist_ok=True)
    saved, csv, *_ = (out / name for name in DRAWN)
    result.save(saved)
    _write_csv(rows, csv)
    paths = [saved, csv]
    for name, figure in draw_posterior(result).items():
        paths.append(out / name)
        figure.savefig(paths[-1], dpi=300)
    if not as_json:
        told(*paths)


@app.command()
@gathering("columns", COLUMNS)
@gathering("showing", SHOWING)
@gathering("settings", MODEL)
def recover(
    file: Trials,
    settings: dict[str, Any],
    showing: dict[str, Any],
    columns: dict[str, str],
    simulated: Annotated[
        int, typer.Option(min=3, metavar="N", help="Participants to simulate.")
    ] = 100,
    restarts: Annotated[
        int, typer.Option(min=1, metavar="N", help="Starting points of each fit.")
    ] = 4,
    seed: Seed = 0,
    out: Out = Path("recovery"),
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Simulate participants on these outcomes, fit them, and compare."""
    from neuromod import hgf
    from neuromod.cli.hgf_results import draw_recovery, recovery_rows
    from neuromod.cli.tables import aligned
    from neuromod.core.atomic import write_atomically

    require_writable(out, RECOVERED, force)
    model, table, how = _arguments(file, settings, showing, columns, as_json)
    found = hgf.recover(
        model.network,
        table,
        response=model.response,
        n_subjects=simulated,
        n_restarts=restarts,
        seed=seed,
        **how,
    )
    rows = recovery_rows(found)
    _say(rows, as_json, aligned(rows))
    out.mkdir(parents=True, exist_ok=True)
    netcdf, csv, png = (out / name for name in RECOVERED)
    write_atomically(netcdf, bytes(found.to_netcdf()))
    _write_csv(rows, csv)
    draw_recovery(found).savefig(png, dpi=300)
    if not as_json:
        told(netcdf, csv, png)


def _arguments(
    file: Path,
    settings: dict[str, Any],
    showing: dict[str, Any],
    columns: dict[str, str],
    quiet: bool,
) -> tuple[Any, "pd.DataFrame", dict[str, Any]]:
    """Return the agent, the table and what else the verbs take."""
    model = agent({**settings, **showing})
    given = priors(showing, model)
    covariates = listed(showing.get("covariate"))
    table = read_trials(file, _inputs(model), columns, covariates)
    if not quiet:
        typer.echo(describe(table, file))
    how = {"priors": given}
    return model, table, how | ({"covariates": covariates} if covariates else {})


def _inputs(model: Any) -> list[str]:
    return list(model.network.inputs)


def _say(rows: "pd.DataFrame", as_json: bool, text: str) -> None:
    typer.echo(rows.to_json(orient="records", indent=2) if as_json else text)


def _write_csv(rows: "pd.DataFrame", path: Path) -> None:
    from neuromod.core.atomic import write_atomically

    text = rows.to_csv(index=False, lineterminator="\n")
    write_atomically(path, text.encode("utf-8"))
