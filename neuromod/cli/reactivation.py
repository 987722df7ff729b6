"""``neuromod reactivation``: networks that learn where they are, and their sleep.

The commands are named after the verbs of `neuromod.reactivation`, and go on from each
other's files: ``train`` writes the network that ``sleep`` and ``measure`` read.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from neuromod.cli.output import Force, Out, command_line, require_writable, told
from neuromod.cli.reactivation_options import (
    ASLEEP,
    PATHS,
    RECIPE,
    task_of,
)
from neuromod.cli.reading import Network, gathering, network_of

FRAME_RATE = 20.0  # of films, per second
TRAINED = ["network.nc", "loss.png"]
SLEPT = ["sleep.nc", "trajectories.png", "occupancy.png"]
MEASURED = ["measures.nc", "measures.csv", "controls.png", "displacement.png"]

Seed = Annotated[
    int, typer.Option(min=0, metavar="N", help="Seed of everything drawn.")
]
Trials = Annotated[int, typer.Option(min=1, metavar="N", help="Trials (networks).")]
BurnIn = Annotated[
    float, typer.Option(min=0.0, metavar="S", help="Seconds before the first record.")
]
NoiseScale = Annotated[
    float,
    typer.Option(min=0.0, metavar="X", help="Noise asleep relative to awake."),
]

app = typer.Typer(
    no_args_is_help=True,
    help="Networks that replay in their sleep (offline reactivation).",
)


@app.command()
@gathering("paths", PATHS)
@gathering("recipe", RECIPE)
def train(
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK",
            help="demo, head_direction_small, spatial_navigation, ...; or a file of "
            "positions (NWB, .npz, .mat, CSV).",
        ),
    ],
    recipe: dict[str, Any],
    paths: dict[str, Any],
    seed: Seed = 0,
    seeds: Annotated[
        int, typer.Option(min=1, metavar="N", help="Networks, of this seed and next.")
    ] = 1,
    out: Out = Path("network"),
    force: Force = False,
) -> None:
    """Train networks on a task. Interrupted, the same command goes on."""
    from neuromod import reactivation

    require_writable(out, TRAINED, force)
    made = task_of(task, paths)
    reactivation.untrained(made, seed, **recipe)  # what is wrong is said before
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "training.checkpoint"
    network = reactivation.train(
        made,
        seed=seed if seeds == 1 else list(range(seed, seed + seeds)),
        checkpoint=checkpoint,
        **recipe,
    )
    saved, png = (out / name for name in TRAINED)
    network.save(saved)
    figure: Any = reactivation.plot_loss(network).figure
    figure.savefig(png, dpi=300)
    for left in out.glob(f"{checkpoint.name}*"):
        left.unlink()
    typer.echo(network.summary())
    told(saved, png)


@app.command()
@gathering("how", ASLEEP)
def sleep(
    network: Network,
    how: dict[str, Any],
    duration: Annotated[
        float, typer.Option(metavar="S", help="Seconds that are recorded.")
    ] = 10.0,
    burn_in: BurnIn = 2.0,
    noise_scale: NoiseScale = 2**0.5,
    trials: Trials = 200,
    film: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Film of a night: sleep.gif or sleep.mp4."),
    ] = None,
    seed: Seed = 0,
    out: Out = Path("sleep"),
    force: Force = False,
) -> None:
    """Let a network sleep: where it believes to be."""
    from neuromod import reactivation
    from neuromod.core.atomic import write_atomically
    from neuromod.reactivation.animation import writer_of

    if film:
        writer_of(Path(film), FRAME_RATE)
    require_writable(out, SLEPT + ([film] if film else []), force)
    one = network_of(network)
    night = {"duration": duration, "burn_in": burn_in, "noise_scale": noise_scale}
    asleep = reactivation.sleep(one, seed=seed, n_trials=trials, **night, **how)
    awake = reactivation.wake(one, seed=seed, n_trials=trials)
    out.mkdir(parents=True, exist_ok=True)
    netcdf, trajectories, occupancy = (out / name for name in SLEPT)
    write_atomically(netcdf, bytes(asleep.to_netcdf()))
    axes = reactivation.plot_trajectories(one, awake, asleep)
    axes[0].figure.savefig(trajectories, dpi=300)
    axes = reactivation.plot_occupancy(one, awake=awake, asleep=asleep)
    axes[0].figure.savefig(occupancy, dpi=300)
    told(netcdf, trajectories, occupancy)
    if film:
        shown = reactivation.sleep(
            one, seed=seed, n_trials=1, outputs=True, **night, **how
        )
        told(reactivation.animate(one, shown, out / film, frame_rate=FRAME_RATE))


@app.command()
def measure(
    network: Network,
    duration: Annotated[
        float, typer.Option(metavar="S", help="Seconds of every night.")
    ] = 8.0,
    burn_in: BurnIn = 2.0,
    noise_scale: NoiseScale = 2**0.5,
    trials: Trials = 200,
    noiseless: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            help="The same networks trained without noise; else they are trained here.",
        ),
    ] = None,
    seed: Seed = 0,
    out: Out = Path("measures"),
    force: Force = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the table as JSON, and nothing else.")
    ] = False,
) -> None:
    """Measure networks awake and asleep beside all controls: do they replay?"""
    import neuromod as nm
    from neuromod import reactivation
    from neuromod.cli.reactivation_section import section, table, table_told
    from neuromod.cli.report import render
    from neuromod.core.atomic import write_atomically

    require_writable(out, [*MEASURED, "report.html"], force)
    trained = nm.load(network)
    measured = reactivation.measure(
        trained,
        seed=seed,
        noiseless=None if noiseless is None else nm.load(noiseless),
        duration=duration,
        burn_in=burn_in,
        noise_scale=noise_scale,
        n_trials=trials,
        progress=not as_json,
    )
    rows = table(measured)
    typer.echo(
        rows.to_json(orient="records", indent=2) if as_json else table_told(measured)
    )
    out.mkdir(parents=True, exist_ok=True)
    netcdf, csv, controls, displacement = (out / name for name in MEASURED)
    write_atomically(netcdf, bytes(measured.to_netcdf()))
    write_atomically(csv, rows.to_csv(index=False, lineterminator="\n").encode())
    part = section(measured, network, seed)
    part.pictures[0].figure.savefig(controls, dpi=300)
    part.pictures[1].figure.savefig(displacement, dpi=300)
    made = {"command": command_line(), "network": network, **trained.provenance}
    page = out / "report.html"
    render([part], page, f"Sleep of {network.name}", made)
    if not as_json:
        told(netcdf, csv, controls, displacement, page)
