"""The options of `neuromod hgf`: which model, and which columns it reads."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from neuromod.cli.reading import option
from neuromod.core.errors import InvalidInputError, choice, invalid

if TYPE_CHECKING:
    from neuromod.core.result import Result
    from neuromod.hgf import Agent
    from neuromod.hgf.parameters import Space

BUILDERS = (
    "binary_two_level",
    "binary_three_level",
    "continuous_two_level",
    "continuous_three_level",
)
RESPONSES = (
    "unit_square_sigmoid",
    "softmax",
    "softmax_choice",
    "gaussian_threshold",
    "conditioned_hallucination",
    "gaussian_report",
    "beta_report",
    "log_reaction_time",
    "response_speed",
    "bayes_optimal",
    "squared_error",
)
PRIORS = {"normal": "Normal", "lognormal": "LogNormal", "logitnormal": "LogitNormal"}

BELIEFS, BEHAVIOUR, TABLE = "What is believed", "How it shows", "Columns of the table"
MODEL = {
    "model": option(
        str,
        "NAME",
        "binary_three_level (default), binary_two_level, continuous_two_level, "
        "continuous_three_level, or a saved result (.nc).",
        panel=BELIEFS,
    ),
    "set": option(
        list[str],
        "NAME=X",
        "Value of a parameter, as in x2.tonic_volatility=-3; may be repeated.",
        panel=BELIEFS,
    ),
    "update": option(
        str,
        "NAME",
        "ehgf (default), ehgf_swap, standard or unbounded.",
        panel=BELIEFS,
    ),
    "approximation": option(
        str, "NAME", "mean_field (default) or relaxed.", panel=BELIEFS
    ),
}
SHOWING = {
    "response_model": option(
        str,
        "NAME",
        "unit_square_sigmoid (default; of continuous models gaussian_report), "
        "softmax, bayes_optimal and others.",
        panel=BEHAVIOUR,
    ),
    "prior": option(
        list[str],
        "NAME=P",
        "Frees a parameter: 'x2.tonic_volatility=normal(-3,2)', lognormal or "
        "logitnormal; may be repeated. By default all volatilities and all of the "
        "response model are free.",
        panel=BEHAVIOUR,
    ),
    "covariate": option(
        list[str],
        "COLUMN",
        "What else the response model reads; may be repeated.",
        panel=BEHAVIOUR,
    ),
}
COLUMNS = {
    "outcome": option(
        str,
        "COLUMN",
        "What happened; else the name of the model's input: outcome, or value.",
        panel=TABLE,
    ),
    "responses": option(str, "COLUMN", "What was done; else response.", panel=TABLE),
    "subject": option(str, "COLUMN", "Who it was; else subject.", panel=TABLE),
    "session": option(
        str, "COLUMN", "Where beliefs begin anew; else session.", panel=TABLE
    ),
    "time_steps": option(
        str,
        "COLUMN",
        "Time since the trial before; else time_steps.",
        panel=TABLE,
    ),
}


def listed(given: Any) -> list[str]:
    """Return what an option was given as a list, however often it was."""
    if given is None:
        return []
    return [given] if isinstance(given, str) else list(given)


def agent(settings: Mapping[str, Any], subject: str | None = None) -> "Agent":
    """Make the agent that the options describe.

    Parameters
    ----------
    settings
        Options in `MODEL` and `SHOWING`.
    subject
        Whose, of a saved fit of many; its unfitted model if None.

    Raises
    ------
    InvalidInputError
        If an option names what there is not; the message names the option.
    """
    from neuromod import hgf

    made = settings.get("model", "binary_three_level")
    wanted = {k: settings[k] for k in ("update", "approximation") if k in settings}
    if made.endswith(".nc"):
        _refuse_beside_a_file(wanted)
        found = _saved(made, subject)
    else:
        network = getattr(hgf, choice("--model", made, BUILDERS))(**wanted)
        usual = RESPONSES[0] if _is_binary(network) else "gaussian_report"
        found = hgf.Agent(network, getattr(hgf.responses, usual)())
    if "response_model" in settings:
        name = choice("--response-model", settings["response_model"], RESPONSES)
        found = hgf.Agent(found.network, getattr(hgf.responses, name)())
    return _set(found, listed(settings.get("set")))


def priors(settings: Mapping[str, Any], of: "Agent") -> dict[str, Any] | None:
    """Return the priors that were given, checked; None if none was."""
    from neuromod import hgf

    found: dict[str, Any] = {}
    for text in listed(settings.get("prior")):
        name, written = _parted("--prior", text, "x2.tonic_volatility=normal(-3,2)")
        told = re.fullmatch(r"(\w+)\(([^,]+),([^,]+)\)", written)
        if told is None or told[1].lower() not in PRIORS:
            raise invalid(
                "--prior",
                repr(text),
                "normal, lognormal or logitnormal of a mean and a deviation",
                "For example: --prior 'x2.tonic_volatility=normal(-3,2)'",
            )
        prior = getattr(hgf, PRIORS[told[1].lower()])
        mean, sd = (_number("--prior", part) for part in told.groups()[1:])
        found = _added(found, name, prior(mean, sd), "--prior")
    if found:
        _space(of, found, "--prior")
    return found or None


def _is_binary(network: Any) -> bool:
    from neuromod.hgf import BinaryInput

    return any(isinstance(node, BinaryInput) for node in network.nodes)


def _refuse_beside_a_file(wanted: Mapping[str, Any]) -> None:
    for name, value in wanted.items():
        raise invalid(
            f"--{name}", f"{value!r} beside a saved model", "none: the file has its own"
        )


def _saved(path: str, subject: str | None) -> "Agent":
    import neuromod
    from neuromod import hgf

    result = neuromod.load(path)
    if not isinstance(result.model, hgf.Agent):
        got = f"a {type(result.model).__name__} in {path!r}"
        raise invalid("--model", got, "what neuromod hgf fit or group saved")
    if subject is None or not has_subjects(result):
        return result.model
    return hgf.agent_of(result, subject=subject)


def has_subjects(result: "Result") -> bool:
    """Tell whether a result of the family is one of several participants."""
    return "subject" in result.data["parameters"].dims


def _set(found: "Agent", given: Iterable[str]) -> "Agent":
    from neuromod.hgf.parameters import places, put

    values: dict[str, float] = {}
    for text in given:
        name, written = _parted("--set", text, "x2.tonic_volatility=-3")
        values = _added(values, name, _number("--set", written), "--set")
    if not values:
        return found
    domains = places(found)
    known = {name: domains[choice("--set", name, domains)] for name in values}
    free = _space(found, {n: domain(0, 1) for n, domain in known.items()}, "--set")
    for name, domain in known.items():
        _require_inside(name, values[name], domain.scale)
    return put(found, free, list(values.values()))


def _require_inside(name: str, value: float, scale: str) -> None:
    if scale == "log" and value <= 0:
        raise invalid("--set", f"{name}={value:g}", "a number above 0")
    if scale == "logit" and not 0 <= value <= 1:
        raise invalid("--set", f"{name}={value:g}", "a number from 0 to 1")


def _space(of: "Agent", found: Mapping[Any, Any], named: str) -> "Space":
    """Check the names of parameters; errors tell of the option."""
    from neuromod.hgf.parameters import space

    try:
        return space(of, found)
    except InvalidInputError as error:
        raise InvalidInputError(str(error).replace("priors", named, 1)) from None


def _parted(named: str, text: str, example: str) -> Sequence[str]:
    name, equals, value = text.partition("=")
    if not (name.strip() and equals and value.strip()):
        raise invalid(named, repr(text), f"a name and its value, such as {example}")
    return name.strip(), value.strip()


def _added(found: dict[str, Any], name: str, value: Any, named: str) -> dict[str, Any]:
    if name in found:
        raise invalid(named, f"{name!r} twice", "each parameter once")
    return {**found, name: value}


def _number(named: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise invalid(named, repr(text), "a number") from None
