r"""Networks that were built elsewhere: from pyhgf, and from a TAPAS configuration.

`from_pyhgf` reads the nodes and edges of a network of pyhgf 0.3, live or as plain
dictionaries, without that package. `from_tapas` reads the perceptual configuration of
an HGF of the MATLAB toolbox, and returns the network at its prior means and the priors
of what it leaves free.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from neuromod.core.errors import choice, invalid
from neuromod.hgf import couplings, nodes
from neuromod.hgf.network import CLIP, LARGEST_PRECISION, Network
from neuromod.hgf.priors import LogNormal, Normal, Prior

PYHGF_UPDATES = {"standard": "standard", "eHGF": "ehgf", "unbounded": "unbounded"}
CONSTANT, BINARY, CONTINUOUS = 0, 1, 2  # node_type of pyhgf

TAPAS_MODELS = {
    "hgf": ("standard", False),
    "ehgf": ("ehgf", False),
    "hgf_binary": ("standard", True),
    "ehgf_binary": ("ehgf", True),
}
FIRST_INPUTS = 20
# Where a coupling function is told from others.
PROBES = (-1.7, -0.3, 0.4, 2.1)


def from_pyhgf(network: Any, names: Mapping[int, str] | None = None) -> Network:
    """Return the network that a pyhgf network is.

    Parameters
    ----------
    network
        A network of pyhgf 0.3, or a mapping with what is read of one: ``attributes``
        and ``edges``, and if they are not pyhgf's defaults ``volatility_updates``,
        ``mean_field_updates``, ``max_posterior_precision`` and
        ``precision_clipping_value``.
    names
        Of the nodes by their numbers; ``x0``, ``x1``, ... where there is none.

    Returns
    -------
    Network
        With ``compatibility="pyhgf"``, so that it gives pyhgf's numbers. The inputs
        are the nodes without children, in the order of their numbers.

    Raises
    ------
    InvalidInputError
        If something is missing, or a node, an update or a coupling function is of a
        kind that a `Network` does not have.

    Examples
    --------
    >>> binary = (1, (1,), None, None, None, (None,))
    >>> state = (2, None, None, (0,), None, (None,))
    >>> attributes = {
    ...     0: {},
    ...     1: {
    ...         "mean": 0.0,
    ...         "precision": 1.0,
    ...         "tonic_volatility": -3.0,
    ...         "value_coupling_children": (1.0,),
    ...     },
    ... }
    >>> described = {"attributes": attributes, "edges": (binary, state)}
    >>> from_pyhgf(described, names={0: "outcome"}).names
    ('outcome', 'x1')
    """
    attributes, edges = (_read(network, key) for key in ("attributes", "edges"))
    called = {i: (names or {}).get(i, f"x{i}") for i in range(len(edges))}
    made = [_node(called[i], attributes[i], edges[i]) for i in called]
    joined = []
    for i in called:
        joined += _value_edges(i, attributes[i], edges[i], called, made)
        joined += _volatility_edges(i, attributes[i], edges[i], called, made)
    update = _read(network, "volatility_updates", "unbounded")
    mean_field = _read(network, "mean_field_updates", False)
    return Network(
        made,
        joined,
        update=PYHGF_UPDATES[choice("volatility_updates", update, PYHGF_UPDATES)],
        approximation="mean_field" if mean_field else "relaxed",
        largest_precision=_read(network, "max_posterior_precision", LARGEST_PRECISION),
        clip=_read(network, "precision_clipping_value", CLIP),
        compatibility="pyhgf",
    )


_REQUIRED = object()


def _read(network: Any, key: str, default: Any = _REQUIRED) -> Any:
    """Return an entry of a mapping, or an attribute of anything else."""
    if isinstance(network, Mapping):
        value = network.get(key, default)
    else:
        value = getattr(network, key, default)
    if value is _REQUIRED:
        raise invalid(
            "network",
            f"a {type(network).__name__} without {key!r}",
            "a network of pyhgf, or a mapping with its attributes and edges",
        )
    return value


def _node(name: str, own: Mapping[str, Any], edge: Any) -> Any:
    kind, _, _, value_children, volatility_children, *_ = edge
    if kind == CONSTANT:
        return nodes.Constant(name)
    if kind == BINARY:
        return nodes.BinaryInput(name)
    if kind != CONTINUOUS:
        raise invalid(
            "network",
            f"node {name!r} of type {kind}",
            f"{CONSTANT} (constant), {BINARY} (binary) or {CONTINUOUS} (continuous)",
            "Categorical and exponential-family nodes: see hgf.categorical, hgf.learn.",
        )
    if not (value_children or volatility_children):
        return nodes.ContinuousInput(name, precision=float(own["precision"]))
    drift = float(own.get("tonic_drift", 0.0))
    kept = float(own.get("autoconnection_strength", 1.0))
    return nodes.ContinuousState(
        name,
        mean=float(own["mean"]),
        precision=float(own["precision"]),
        tonic_volatility=float(own["tonic_volatility"]),
        tonic_drift=drift if drift else None,
        autoconnection=None if kept == 1 else kept,
    )


def _value_edges(i, own, edge, called, made) -> list[nodes.Edge]:
    """Return the edges by which a node moves the means of its children."""
    children, functions = edge[3] or (), edge[5] or ()
    strengths = _strengths(own, "value_coupling_children", children)
    found = []
    for k, (child, strength) in enumerate(zip(children, strengths, strict=True)):
        make = {
            nodes.BinaryInput: nodes.probability,
            nodes.ContinuousInput: nodes.observation,
            nodes.ContinuousState: nodes.drift,
        }[type(made[child])]
        function = functions[k] if k < len(functions) else None
        coupling = _coupling(function, called[i])
        found.append(make(called[i], called[child], strength, coupling))
    return found


def _volatility_edges(i, own, edge, called, made) -> list[nodes.Edge]:
    """Return the edges by which a node sets the variances of its children."""
    children = edge[4] or ()
    strengths = _strengths(own, "volatility_coupling_children", children)
    found = []
    for child, strength in zip(children, strengths, strict=True):
        observed = isinstance(made[child], nodes.ContinuousInput)
        make = nodes.noise if observed else nodes.volatility
        found.append(make(called[i], called[child], strength))
    return found


def _strengths(own: Mapping[str, Any], key: str, children: Any) -> list[float]:
    given = own.get(key)
    values = [] if given is None else [float(x) for x in np.ravel(np.asarray(given))]
    if len(values) != len(children):
        raise invalid(
            key, f"{len(values)} strengths", f"{len(children)}, one per child"
        )
    return values


def _coupling(function: Callable | None, name: str) -> str:
    """Return the name of a function, told by its values."""
    if function is None:
        return "linear"
    points = [jnp.asarray(x) for x in PROBES]
    values = [float(function(x)) for x in points]
    for known in couplings.COUPLINGS:
        same = [float(couplings.value(known, x)) for x in points]
        if np.allclose(values, same, rtol=1e-5, atol=1e-6):
            return known
    raise invalid(
        "network",
        f"a coupling function of {name!r} with the values {np.round(values, 4)}",
        "one of " + ", ".join(map(repr, couplings.COUPLINGS)),
    )


def from_tapas(
    config: Mapping[str, Any], inputs: Any = None
) -> tuple[Network, dict[str, Prior]]:
    """Return the network and the priors of a configuration of the toolbox.

    Every quantity has a normal prior on the scale on which it is estimated, with a
    mean and a variance; it is fixed where the variance is 0.

    Means of states are ``mu_0``, their precisions one over the exponential of
    ``logsa_0``, tonic drifts ``rho``, tonic volatilities ``om``; ``logka`` is the log
    of the strength of the edge from the level above, ``logpiu`` that of the precision
    of a continuous input.

    Parameters
    ----------
    config
        ``model`` ("hgf", "ehgf", "hgf_binary" or "ehgf_binary"), ``n_levels``, and
        either ``priormus`` and ``priorsas``, or each field with ``mu`` and ``sa``
        behind its name, such as ``ommu`` and ``omsa``: one number per level, NaN for
        none.
    inputs : (trial,)
        The data, where the configuration has placeholders for the first input and for
        the variance of the first twenty.

    Returns
    -------
    network
        With all parameters at their prior means. Of two things it does otherwise
        than the toolbox: missing trials age the beliefs, and the intervals between
        trials matter at the second level of a binary network too.
    priors
        Of the free parameters, by name.

    Raises
    ------
    InvalidInputError
        If the model is another one, a field is missing or has another length, or
        there are placeholders but no data.

    Examples
    --------
    >>> levels = {"mu_0": [np.nan, 0, 1], "logsa_0": [np.nan, -2, 0]}
    >>> levels |= {"rho": [np.nan, 0, 0], "logka": [0, 0], "om": [np.nan, -3, 2]}
    >>> config = {f"{name}mu": mean for name, mean in levels.items()}
    >>> config |= {f"{name}sa": np.zeros(len(levels[name])) for name in levels}
    >>> config |= {"model": "ehgf_binary", "n_levels": 3, "omsa": [np.nan, 4, 4]}
    >>> network, priors = from_tapas(config)
    >>> priors
    {'x2.tonic_volatility': Normal(-3, 2), 'x3.tonic_volatility': Normal(2, 2)}
    """
    model = str(np.squeeze(np.asarray(_field(config, "model"))))
    model = model.removeprefix("tapas_").removesuffix("_config")
    update, binary = TAPAS_MODELS[choice("model", model, TAPAS_MODELS)]
    n_levels = int(np.squeeze(np.asarray(_field(config, "n_levels"))))
    if n_levels < 2 + binary:
        raise invalid("n_levels", n_levels, f"{2 + binary} or more for {model!r}")
    sizes = _sizes(n_levels, binary)
    mean = _levels(config, "mu", sizes, inputs)
    variance = _levels(config, "sa", sizes, inputs)
    return (
        _tower(mean, variance, n_levels, binary, update),
        _priors(mean, variance, n_levels, binary),
    )


def _field(config: Mapping[str, Any], name: str) -> Any:
    if name not in config:
        raise invalid("config", f"no field {name!r}", "a configuration of the toolbox")
    return config[name]


def _sizes(n_levels: int, binary: bool) -> dict[str, int]:
    """Return how many numbers each quantity has, in the order of the toolbox."""
    names = ("mu_0", "logsa_0", "rho", "logka", "om")
    sizes = {name: n_levels - (name == "logka") for name in names}
    return sizes if binary else sizes | {"logpiu": 1}


def _levels(config, kind, sizes, inputs) -> dict[str, np.ndarray]:
    """Return the prior means ("mu") or variances ("sa") of each quantity."""
    joint = f"prior{kind}s"
    if joint in config:
        whole = np.ravel(np.asarray(config[joint], float))
        if len(whole) != sum(sizes.values()):
            raise invalid(joint, f"{len(whole)} numbers", f"{sum(sizes.values())}")
        parts = np.split(whole, np.cumsum(list(sizes.values()))[:-1])
        found = dict(zip(sizes, parts, strict=True))
    else:
        found = {
            name: np.ravel(np.asarray(_field(config, name + kind), float))
            for name in sizes
        }
    for name, size in sizes.items():
        if len(found[name]) != size:
            raise invalid(name + kind, f"{len(found[name])} numbers", f"{size}")
    return {name: _fill(values, inputs) for name, values in found.items()}


def _fill(values: np.ndarray, inputs: Any) -> np.ndarray:
    """Put in what placeholders stand for; the negative of one is that of its value."""
    placed = np.isin(abs(values), (99991, 99992, 99993, 99994))
    if not placed.any():
        return values
    if inputs is None:
        raise invalid(
            "inputs",
            None,
            "the data, for which the configuration has placeholders",
            "Pass the inputs that the model is to be fitted to.",
        )
    data = np.ravel(np.asarray(inputs, float))
    variance = np.nanvar(data[:FIRST_INPUTS], ddof=1)
    meant = {
        99991: data[0],
        99992: variance,
        99993: np.log(variance),
        99994: np.log(variance) - 2,
    }
    return np.array([np.sign(x) * meant.get(abs(x), abs(x)) for x in values])


def _tower(mean, variance, n_levels, binary, update) -> Network:
    """Return the network at the prior means."""
    drifts = (mean["rho"] != 0) | (variance["rho"] > 0)
    first = 1 if binary else 0
    states = [
        nodes.ContinuousState(
            f"x{k + 1}",
            mean=mean["mu_0"][k],
            precision=np.exp(-mean["logsa_0"][k]),
            tonic_volatility=mean["om"][k],
            tonic_drift=mean["rho"][k] if drifts[k] else None,
        )
        for k in range(first, n_levels)
    ]
    strengths = np.exp(mean["logka"])
    edges = [
        nodes.volatility(f"x{k + 2}", f"x{k + 1}", strengths[k])
        for k in range(first, n_levels - 1)
    ]
    if binary:
        below = nodes.probability("x2", "outcome", strengths[0])
        return Network(
            [nodes.BinaryInput("outcome"), *states], [below, *edges], update=update
        )
    seen = nodes.ContinuousInput("value", precision=np.exp(mean["logpiu"][0]))
    below = nodes.observation("x1", "value")
    return Network([seen, *states], [below, *edges], update=update)


def _priors(mean, variance, n_levels, binary) -> dict[str, Prior]:
    """Return the priors of what is free: what has a variance above 0."""
    first = 1 if binary else 0
    found: dict[str, Prior] = {}

    def add(place: str, name: str, k: int, kind: type[Prior], sign: int = 1) -> None:
        if variance[name][k] > 0:
            sd = float(np.sqrt(variance[name][k]))
            found[place] = kind(sign * mean[name][k], sd)

    for k in range(first, n_levels):
        state = f"x{k + 1}"
        add(f"{state}.mean", "mu_0", k, Normal)
        add(f"{state}.precision", "logsa_0", k, LogNormal, -1)
        add(f"{state}.tonic_drift", "rho", k, Normal)
        add(f"{state}.tonic_volatility", "om", k, Normal)
    if binary:
        add("x2->outcome.probability", "logka", 0, LogNormal)
    for k in range(first, n_levels - 1):
        add(f"x{k + 2}->x{k + 1}.volatility", "logka", k, LogNormal)
    if not binary:
        add("value.precision", "logpiu", 0, LogNormal)
    return found
