"""The options of `neuromod switching` that say what is fitted, and how."""

from collections.abc import Mapping
from typing import Any

from neuromod.cli.reading import option

PANEL = "How the model is fitted"
MODEL = {
    "basis": option(
        str,
        "NAME",
        "Filters of the couplings: exponential (default), raised_cosine, b_spline, "
        "lags or none.",
        panel=PANEL,
    ),
    "self_basis": option(
        str,
        "NAME",
        "The same for a neuron's own past, apart from couplings; none by default.",
        panel=PANEL,
    ),
    "observation": option(
        str,
        "NAME",
        "What a bin holds: poisson (default), bernoulli, negative_binomial, gaussian "
        "or categorical.",
        panel=PANEL,
    ),
    "link": option(
        str,
        "NAME",
        "softplus (default of counts), exp, sigmoid (of bernoulli), identity (of "
        "gaussian) or softmax (of categorical).",
        panel=PANEL,
    ),
    "prior": option(
        str,
        "NAME",
        "one_hot (default), gaussian, lasso, ridge or none.",
        panel=PANEL,
    ),
    "types": option(
        str,
        "NAME",
        "What has one kind under the one-hot prior: each edge (default) in each "
        "state, an edge shared by all states, or each source.",
        panel=PANEL,
    ),
    "restarts": option(
        int, "N", "Starting points; the best end is kept; 4.", panel=PANEL, min=1
    ),
    "max_iterations": option(
        int, "N", "Most iterations of each; 200.", panel=PANEL, min=1
    ),
    "tolerance": option(
        float, "X", "Least gain per iteration (nats/bin); 1e-6.", panel=PANEL
    ),
    "precision": option(str, "NAME", "float64 (default) or float32.", panel=PANEL),
}


def arguments(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the options that were given into arguments of `neuromod.switching.fit`."""
    found = dict(settings)
    for name in ("basis", "self_basis"):
        if name in found:
            found[name] = _basis(name, found[name])
    if "restarts" in found:
        found["n_restarts"] = found.pop("restarts")
    if "types" in found:
        found["prior"] = _one_hot(found.get("prior", "one_hot"), found.pop("types"))
    return found


def _basis(option: str, name: str) -> str | None:
    from neuromod.core.errors import choice
    from neuromod.switching.basis import BASES

    known = [*BASES, "none"]
    found = choice(f"--{option.replace('_', '-')}", name, known)
    return None if found == "none" else found


def _one_hot(prior: str, types: str) -> Any:
    from neuromod import switching
    from neuromod.core.errors import choice, invalid
    from neuromod.switching.one_hot import KINDS

    if prior != "one_hot":
        expected = "no types: only the one-hot prior knows kinds of connections"
        remedy = "Leave --types out, or say --prior one_hot."
        raise invalid("--types", f"{types!r} beside --prior {prior}", expected, remedy)
    return switching.OneHot(types=choice("--types", types, KINDS))
