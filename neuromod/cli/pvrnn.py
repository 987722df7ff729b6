"""``neuromod pvrnn``: variational predictive-coding networks of a recording.

The commands are named after the verbs of `neuromod.pvrnn`, and go on from each other's
files: ``train`` writes the network that ``generate`` and ``regress`` read.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from neuromod.cli.output import Force, Out, command_line, require_writable, told
from neuromod.cli.pvrnn_options import (
    READING,
    RECIPE,
    TRAINING,
    Data,
    recipe_of,
    trials_of,
)
from neuromod.cli.reading import Network, gathering, network_of

TRAINED = ["network.nc", "free_energy.png", "reconstruction.png", "latents.png"]
GENERATED = ["generated.nc", "generated.csv", "generated.png"]
REGRESSED = ["regression.nc", "errors.csv", "regression.png", "report.html"]

Seed = Annotated[
    int, typer.Option(min=0, metavar="N", help="Seed of everything drawn.")
]

app = typer.Typer(
    no_args_is_help=True,
    help="Variational predictive-coding networks (PV-RNN) and error regression.",
)


@app.command()
@gathering("how", READING)
@gathering("recipe", RECIPE)
@gathering("settings", TRAINING)
def train(
    data: Data,
    how: dict[str, Any],
    recipe: dict[str, Any],
    settings: dict[str, Any],
    seed: Seed = 0,
    seeds: Annotated[
        int, typer.Option(min=1, metavar="N", help="Networks, of this seed and next.")
    ] = 1,
    out: Out = Path("network"),
    force: Force = False,
) -> None:
    """Train networks on the trials of a file. Interrupted, the same command goes on."""
    from neuromod import pvrnn
    from neuromod.pvrnn.data import read

    require_writable(out, TRAINED, force)
    trials = trials_of(data, how)
    known = read(trials)
    given = recipe_of(recipe, len(known.channels))
    n_trials = len(known.labels)
    typer.echo(
        f"read {n_trials} trial{'s' if n_trials > 1 else ''} of up to "
        f"{len(known.time)} steps, {len(known.channels)} channels: {data}"
    )
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "training.checkpoint"
    network = pvrnn.train(
        trials,
        seed=seed if seeds == 1 else list(range(seed, seed + seeds)),
        checkpoint=checkpoint,
        **given,
        **settings,
    )
    saved, loss, reconstruction, latents = (out / name for name in TRAINED)
    network.save(saved)
    one = network if seeds == 1 else network.sel(seed=seed)
    shown = pvrnn.reconstruct(one, seed=seed)
    figure: Any = pvrnn.plot_loss(network).figure
    figure.savefig(loss, dpi=300)
    recorded = pvrnn.recorded(trials)
    axes = pvrnn.plot_reconstruction(shown, recorded)
    axes[0].figure.savefig(reconstruction, dpi=300)
    pvrnn.plot_latents(shown)[0].figure.savefig(latents, dpi=300)
    for left in out.glob(f"{checkpoint.name}*"):
        left.unlink()
    typer.echo(network.summary())
    told(saved, loss, reconstruction, latents)


@app.command()
def generate(
    network: Network,
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="Steps.")] = 200,
    trials: Annotated[int, typer.Option(min=1, metavar="N", help="Trials.")] = 10,
    seed: Seed = 0,
    out: Out = Path("generated"),
    force: Force = False,
) -> None:
    """Let a network make up trials from its prior."""
    from neuromod import pvrnn
    from neuromod.core.atomic import write_atomically

    require_writable(out, GENERATED, force)
    made = pvrnn.generate(network_of(network), steps, seed=seed, n_trials=trials)
    out.mkdir(parents=True, exist_ok=True)
    netcdf, csv, png = (out / name for name in GENERATED)
    write_atomically(netcdf, bytes(made.to_netcdf()))
    table = made["channel_value"].to_series().unstack("channel").reset_index()
    write_atomically(csv, table.to_csv(index=False, lineterminator="\n").encode())
    pvrnn.plot_reconstruction(made)[0].figure.savefig(png, dpi=300)
    told(netcdf, csv, png)


@app.command()
@gathering("how", READING)
def regress(
    network: Network,
    data: Data,
    how: dict[str, Any],
    window: Annotated[
        int, typer.Option(min=1, metavar="N", help="Steps that are explained.")
    ] = 10,
    iterations: Annotated[
        int, typer.Option(min=1, metavar="N", help="Updates at every step.")
    ] = 50,
    predicted: Annotated[
        int, typer.Option(min=1, metavar="N", help="Steps that are predicted.")
    ] = 5,
    draws: Annotated[
        int, typer.Option(min=0, metavar="N", help="Runs whose mean is predicted.")
    ] = 16,
    learning_rate: Annotated[float, typer.Option(metavar="X", help="Of Adam.")] = 0.09,
    meta_prior: Annotated[
        float | None,
        typer.Option(metavar="W", help="w of all layers; that of training."),
    ] = None,
    seed: Seed = 0,
    out: Out = Path("regression"),
    force: Force = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the table as JSON, and nothing else.")
    ] = False,
) -> None:
    """Follow a recording step by step: explain the last steps, predict the next."""
    from neuromod import pvrnn
    from neuromod.cli.pvrnn_section import section
    from neuromod.cli.report import render
    from neuromod.cli.tables import aligned
    from neuromod.core.atomic import write_atomically

    require_writable(out, REGRESSED, force)
    trained = network_of(network)
    trials = pvrnn.recorded(trials_of(data, how, is_trained=True))
    objective = pvrnn.objective_of(trained)
    if meta_prior is not None:
        objective = objective.with_meta_prior(meta_prior, objective.first_meta_prior)
    regression = pvrnn.ErrorRegression(
        trained.model,
        objective,
        seed=seed,
        window=window,
        n_iterations=iterations,
        learning_rate=learning_rate,
        n_predicted=predicted,
        n_draws=draws,
    )
    followed = pvrnn.follow(regression, trials, progress=not as_json)
    made_up = pvrnn.generate(trained, trials.sizes["time"], seed=seed, n_trials=200)
    prior_only = made_up["channel_value"].mean("trial")
    error = pvrnn.prediction_error(followed, {"prior_only": prior_only})
    rows = error.mean("trial").to_dataframe().reset_index()
    typer.echo(rows.to_json(orient="records", indent=2) if as_json else aligned(rows))
    out.mkdir(parents=True, exist_ok=True)
    netcdf, csv, png, page = (out / name for name in REGRESSED)
    write_atomically(netcdf, bytes(followed.to_netcdf()))
    write_atomically(csv, rows.to_csv(index=False, lineterminator="\n").encode())
    part = section(followed, rows, network, data)
    part.pictures[0].figure.savefig(png, dpi=300)
    made = {"command": command_line(), "network": network, **trained.provenance}
    render([part], page, f"Error regression along {data.name}", made)
    if not as_json:
        told(netcdf, csv, png, page)
