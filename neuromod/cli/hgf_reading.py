"""Tables of behaviour given on the command line: one row for each trial."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuromod.core.errors import did_you_mean, invalid

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Trials = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="Table with a row per trial: CSV, TSV, Parquet.",
    ),
]
# What the library calls a column, and the option that says which one it is.
NAMED = {
    "response": "responses",
    "subject": "subject",
    "session": "session",
    "time_steps": "time_steps",
}


def read_trials(
    file: Path | str,
    inputs: Sequence[str],
    columns: Mapping[str, str] | None = None,
    covariates: Iterable[str] = (),
) -> "pd.DataFrame":
    """Read a table of trials, its columns named as `neuromod.hgf.fit` reads them.

    Parameters
    ----------
    file
        CSV, TSV or Parquet, with a row for each trial and a header.
    inputs
        Names of the model's inputs.
    columns
        Which column is the ``outcome`` (of a model with one input), which holds the
        ``responses``, the ``subject``, the ``session`` and the ``time_steps``; those
        of these names if omitted, if there are any.
    covariates
        Names of further columns to keep.

    Raises
    ------
    InvalidInputError
        If a column is missing; the message names the option.
    DataFormatError
        If the file is no table.
    """
    import pandas as pd

    from neuromod.io.tables import read_table

    table = read_table(Path(file))
    given = dict(columns or {})
    sources = {name: (name, "outcome") for name in inputs}
    if "outcome" in given:
        if len(inputs) != 1:
            expected = "none: its columns are called as its inputs are"
            got = f"{given['outcome']!r} for a model of {len(inputs)} inputs"
            raise invalid("--outcome", got, expected)
        sources[inputs[0]] = given["outcome"], "outcome"
    for name, option in NAMED.items():
        if option in given or name in table:
            sources[name] = given.get(option, name), option
    sources |= {name: (name, "covariate") for name in covariates}
    return pd.DataFrame(
        {name: _column(table, *source) for name, source in sources.items()}
    )


def _column(table: "pd.DataFrame", name: str, option: str) -> Any:
    if name not in table:
        raise invalid(
            f"--{option.replace('_', '-')}",
            f"the column {name!r}, which the table does not have",
            "one of " + ", ".join(map(repr, table.columns)),
            did_you_mean(name, map(str, table.columns)),
        )
    return table[name]


def by_subject(table: "pd.DataFrame") -> dict[str | None, "pd.DataFrame"]:
    """Part a table by its subjects; of one without them the key is None."""
    if "subject" not in table:
        return {None: table}
    return {str(k): part for k, part in table.groupby("subject", sort=False)}


def describe(table: "pd.DataFrame", file: Path) -> str:
    """Say what was read."""
    n_subjects = len(by_subject(table))
    who = f" of {n_subjects} subjects" if n_subjects > 1 else ""
    return f"read {len(table)} trials{who}: {file}"


def choices(table: "pd.DataFrame", network: Any) -> "np.ndarray | None":
    """Return the responses that can be drawn beside the outcomes, if there are any."""
    import numpy as np

    from neuromod.hgf import BinaryInput

    if "response" not in table:
        return None
    values = np.asarray(table["response"], float)
    binary = any(isinstance(node, BinaryInput) for node in network.nodes)
    plain = bool((np.isin(values, (0, 1)) | np.isnan(values)).all())
    return values if plain or not binary else None
