"""The report of an HGF that was fitted to a user's own table of behaviour."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from neuromod.core.report import Number, Picture, Section

if TYPE_CHECKING:
    from neuromod.core.result import Result


def section(fit: "Result", picture: Picture, code: str) -> Section:
    """Tell what a fit says about behaviour.

    Parameters
    ----------
    fit
        Result of `neuromod.hgf.fit`.
    picture
        The beliefs of a participant.
    code
        The lines that do the same in Python.
    """
    scores = fit.data["scores"].to_dataset()
    n_responses, nats = (
        float(scores[k].sum()) for k in ("n_responses", "log_likelihood")
    )
    n_subjects = fit.data["parameters"].sizes.get("subject", 1)
    who = "a participant" if n_subjects == 1 else f"{n_subjects} participants"
    told = fit.data.children.get("identifiability")
    return Section(
        title="Beliefs and learning",
        question=f"What did {who} believe, and how fast did they learn?",
        answer=(
            f"The fit gives each of {n_responses:.0f} responses a log probability of "
            f"{nats / n_responses:.3f} nats on average; it has seen them.\n\n"
            + ("" if told is None else told.attrs["report"].replace("\n", "\n\n"))
        ),
        pictures=[picture],
        numbers=_numbers(fit, int(n_responses), nats / n_responses),
        code=code,
    )


def _numbers(fit: "Result", n_responses: int, nats: float) -> list[Number]:
    numbers = [
        Number("Responses fitted", n_responses),
        Number("Log-likelihood of the fit", nats, unit="nats per response"),
    ]
    for name, values in fit.data["parameters"].data_vars.items():
        if values.ndim == 0:
            numbers.append(Number(str(name), float(values)))
            continue
        low, middle, high = values.quantile([0, 0.5, 1]).values.tolist()
        told = f"{middle:.4g} ({low:.4g} to {high:.4g})"
        numbers.append(Number(f"{name}: median and range of participants", told))
    return numbers


def code(
    result: str,
    file: Path,
    inputs: Sequence[str],
    columns: Mapping[str, str],
    covariates: Sequence[str],
) -> str:
    """Write the lines that do in Python what the command did."""
    given = f", {dict(columns)!r}" if columns or covariates else ""
    more = f", {list(covariates)!r}" if covariates else ""
    return (
        "import neuromod as nm\n"
        "from neuromod.cli.hgf_reading import by_subject, read_trials\n"
        "from neuromod.cli.hgf_results import beliefs_of\n\n"
        f"fit = nm.load({result!r})\n"
        f"trials = read_trials({str(file)!r}, {list(inputs)!r}{given}{more})\n"
        "for subject, own in by_subject(trials).items():\n"
        "    agent = nm.hgf.agent_of(fit, subject=subject)\n"
        "    beliefs = beliefs_of(agent, own)  # (trial, node)\n"
    )
