"""``neuromod switching select``: how many states a recording has, from the shell."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuromod.cli.output import Force, Out, require_writable, told
from neuromod.cli.reading import CHOOSING, Recording, gathering, read_data, reading
from neuromod.cli.switching_options import MODEL, arguments

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

FILES = ["selection.nc", "selection.csv", "selection.png"]
COLUMNS = {
    "log_likelihood_per_bin": ("nats/bin", ".4f"),
    "bits_per_spike": ("bits/spike", ".4f"),
    "difference": ("from best", ".4f"),
    "difference_standard_error": ("std. error", ".4f"),
    "stability": ("stability", ".2f"),
    "smallest_occupancy": ("rarest", ".1%"),
    "bic": ("BIC", ".0f"),
}


@gathering("settings", MODEL)
@gathering("which", CHOOSING)
@reading
def select(
    file: Recording,
    how: dict[str, Any],
    which: dict[str, Any],
    drives: dict[str, Path],
    settings: dict[str, Any],
    states: Annotated[
        str, typer.Option("--states", "-k", metavar="K,K,...", help="Numbers to try.")
    ] = "1,2,3,4",
    folds: Annotated[
        int, typer.Option(min=2, metavar="N", help="Parts left out in turn.")
    ] = 5,
    gap: Annotated[
        float,
        typer.Option(min=0, metavar="S", help="Dropped beside what is left out (s)."),
    ] = 5.0,
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Seed of the starting points.")
    ] = 0,
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Keeps finished fits, so that an interrupted selection goes on.",
        ),
    ] = None,
    out: Out = Path("selection"),
    force: Force = False,
) -> None:
    """Choose the number of states by the likelihood of what was left out."""
    from neuromod import switching as family

    numbers = _numbers(states)
    require_writable(out, FILES, force)
    found = family.select(
        **read_data(file, drives, **which, **how),
        n_states=numbers,
        seed=seed,
        n_folds=folds,
        gap=gap,
        store=store,
        **arguments(settings),
    )
    typer.echo(_told(found))
    out.mkdir(parents=True, exist_ok=True)
    told(*_write(found, out))


def _numbers(states: str) -> list[int]:
    from neuromod.core.errors import invalid

    try:
        return [int(part) for part in states.split(",")]
    except ValueError:
        expected = "whole numbers parted by commas"
        remedy = "For example: --states 1,2,3,4"
        raise invalid("--states", repr(states), expected, remedy) from None


def _means(selection: "xr.Dataset") -> "pd.DataFrame":
    """Return one row per number of states; held-out scores as means over folds."""
    table = selection.drop_vars(["n_train", "n_test"]).mean("fold").to_dataframe()
    return table.assign(chosen=table.index == selection.attrs["chosen"])


def _told(selection: "xr.Dataset") -> str:
    table, chosen = _means(selection), selection.attrs["chosen"]
    lines = ["states " + "".join(f"{title:>12}" for title, _ in COLUMNS.values())]
    for number, row in table.iterrows():
        cells = (f"{row[name]:>12{form}}" for name, (_, form) in COLUMNS.items())
        lines.append(f"{number:>5}{'*' if number == chosen else ' '} {''.join(cells)}")
    lines.append(
        f"chosen: {chosen}, the fewest states within one standard error of the best "
        f"over {selection.sizes['fold']} folds"
    )
    if chosen == table.index.max():
        lines.append("This is the most that were tried: try more.")
    return "\n".join(lines)


def _write(selection: "xr.Dataset", out: Path) -> list[Path]:
    from neuromod import switching as family
    from neuromod.core.atomic import write_atomically
    from neuromod.core.style import context, figure

    netcdf, csv, png = (out / name for name in FILES)
    write_atomically(netcdf, bytes(selection.to_netcdf()))
    table = _means(selection).to_csv(lineterminator="\n")
    write_atomically(csv, table.encode("utf-8"))
    with context():
        drawing, ax = figure(size=(4.2, 3.0))
        family.plot_selection(selection, ax=ax)
        drawing.savefig(png, dpi=300)
    return [netcdf, csv, png]
