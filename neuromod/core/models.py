"""Models taken apart into arrays and plain values, and built again.

A model is an Equinox module whose fields are arrays, further modules, and plain
values, so it is fully described by the name of its class, its plain values, and its
arrays under the names of their fields. Building it again calls the class with those
fields, ``cls(**fields)``: whatever the class checks, it checks again.

A name in a file never imports anything by itself. It is looked up in `MODEL_CLASSES`,
the list of neuromod's own classes, and in the classes that the user passes in; code
never travels in a file.

A *stack* is one model per random seed in one module, each array with a leading seed
axis, as ``equinox.filter_vmap`` makes it. It is built again seed by seed, since a
class checks the fields of one model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from importlib import import_module
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from neuromod.core import plain
from neuromod.core.errors import DataFormatError, InvalidInputError, invalid

MODEL_CLASSES: dict[str, str] = {
    "Affine": "neuromod.pvrnn.layers:Affine",
    "Agent": "neuromod.hgf.agent:Agent",
    "AttractorField": "neuromod.reactivation.field:AttractorField",
    "BayesOptimal": "neuromod.hgf.responses.perception:BayesOptimal",
    "BernoulliBandit": "neuromod.hgf.acting:BernoulliBandit",
    "BetaReport": "neuromod.hgf.responses.continuous:BetaReport",
    "BinaryInput": "neuromod.hgf.nodes:BinaryInput",
    "ConditionedHallucination": (
        "neuromod.hgf.responses.choices:ConditionedHallucination"
    ),
    "Connection": "neuromod.pvrnn.layers:Connection",
    "Constant": "neuromod.hgf.nodes:Constant",
    "ContinuousInput": "neuromod.hgf.nodes:ContinuousInput",
    "ContinuousState": "neuromod.hgf.nodes:ContinuousState",
    "DeepNetwork": "neuromod.hgf.deep:DeepNetwork",
    "Edge": "neuromod.hgf.nodes:Edge",
    "Encoder": "neuromod.pvrnn.encoder:Encoder",
    "GRU": "neuromod.kernels.gates:GRU",
    "GRUNetwork": "neuromod.reactivation.network:GRUNetwork",
    "GaussianNetwork": "neuromod.pvrnn.vrnn:GaussianNetwork",
    "GaussianHead": "neuromod.pvrnn.heads:GaussianHead",
    "GaussianReport": "neuromod.hgf.responses.continuous:GaussianReport",
    "GaussianThreshold": "neuromod.hgf.responses.choices:GaussianThreshold",
    "HeadDirection": "neuromod.reactivation.tasks.head_direction:HeadDirection",
    "HeadDirectionCode": "neuromod.reactivation.codes:HeadDirectionCode",
    "HeadDirectionWalk": "neuromod.reactivation.motion_walk:HeadDirectionWalk",
    "HiddenMarkov": "neuromod.hgf.ideal:HiddenMarkov",
    "Joint": "neuromod.hgf.responses.columns:Joint",
    "Kalman": "neuromod.hgf.ideal:Kalman",
    "LatentLayer": "neuromod.pvrnn.layers:LatentLayer",
    "LatentMap": "neuromod.pvrnn.layers:LatentMap",
    "Layer": "neuromod.reactivation.network:Layer",
    "LinearTrack": "neuromod.reactivation.tasks.tracks:LinearTrack",
    "LogReactionTime": "neuromod.hgf.responses.continuous:LogReactionTime",
    "Navigator": "neuromod.reactivation.navigator:Navigator",
    "Network": "neuromod.hgf.network:Network",
    "NormalLearner": "neuromod.hgf.exponential_family:NormalLearner",
    "OrnsteinUhlenbeck": "neuromod.reactivation.motion_ou:OrnsteinUhlenbeck",
    "PVRNN": "neuromod.pvrnn.model:PVRNN",
    "PearceHall": "neuromod.hgf.baselines:PearceHall",
    "PlaceCode": "neuromod.reactivation.codes:PlaceCode",
    "Predictive": "neuromod.reactivation.tasks.predictive:Predictive",
    "RandomWalk": "neuromod.reactivation.motion_walk:RandomWalk",
    "Recorded": "neuromod.reactivation.tasks.recorded:Recorded",
    "Recording": "neuromod.reactivation.motion_recorded:Recording",
    "RescorlaWagner": "neuromod.hgf.baselines:RescorlaWagner",
    "RescorlaWagnerDual": "neuromod.hgf.baselines:RescorlaWagnerDual",
    "ResponseSpeed": "neuromod.hgf.responses.continuous:ResponseSpeed",
    "RolloutCode": "neuromod.reactivation.tasks.predictive:RolloutCode",
    "Softmax": "neuromod.hgf.responses.choices:Softmax",
    "SoftmaxChoice": "neuromod.hgf.responses.options:SoftmaxChoice",
    "SoftmaxHead": "neuromod.pvrnn.heads:SoftmaxHead",
    "SpatialNavigation": "neuromod.reactivation.tasks.spatial:SpatialNavigation",
    "SquaredError": "neuromod.hgf.responses.perception:SquaredError",
    "SuttonK1": "neuromod.hgf.baselines:SuttonK1",
    "SwitchingGLM": "neuromod.switching.model:SwitchingGLM",
    "TMaze": "neuromod.reactivation.tasks.tracks:TMaze",
    "TanhHead": "neuromod.pvrnn.heads:TanhHead",
    "Tour": "neuromod.reactivation.motion_tour:Tour",
    "Triangle": "neuromod.reactivation.tasks.tracks:Triangle",
    "VRNN": "neuromod.pvrnn.vrnn:VRNN",
    "UnitSquareSigmoid": "neuromod.hgf.responses.choices:UnitSquareSigmoid",
    "VanillaNetwork": "neuromod.reactivation.network:VanillaNetwork",
    "VolatileState": "neuromod.hgf.nodes:VolatileState",
}
"""Every class of neuromod that can be in a file: its name, and where it is."""


MAX_SEEDS = 10_000


def take_apart(model: Any, n_seeds: int | None = None) -> tuple[Any, xr.Dataset]:
    """Return the packed description of a model, and its arrays.

    Parameters
    ----------
    model
        An Equinox module, or None.
    n_seeds
        The length of the leading seed axis of a stack; None for a single model.

    Raises
    ------
    InvalidInputError
        If a field can be stored neither as an array nor as a plain value, or the
        class does not make the same model of its fields again.
    """
    root, leaves, classes = _pack(model)
    packed = {"seeds": n_seeds, "root": root}
    dataset = xr.Dataset({name: _variable(name, v) for name, v in leaves.items()})
    try:
        again, leaves_again, _ = _pack(rebuild(packed, dataset, classes))
        same = again == root and _same_bits(leaves, leaves_again)
    except DataFormatError as error:
        raise _not_its_fields(model, str(error)) from error
    if not same:
        raise _not_its_fields(model, "its class makes another model of its fields")
    return packed, dataset


def rebuild(packed: Any, dataset: xr.Dataset, classes: Mapping[str, type]) -> Any:
    """Build a model from what `take_apart` made of it.

    Parameters
    ----------
    packed
        The packed description.
    dataset
        The arrays.
    classes
        Classes of the user by their names, besides `MODEL_CLASSES`.

    Raises
    ------
    DataFormatError
        If a class is not known, or refuses the fields.
    """
    leaves = {str(name): v.values for name, v in dataset.variables.items()}
    seeds = packed["seeds"]
    # A class may convert its fields; that must not halve their precision either.
    with jax.enable_x64(True):
        if seeds is None:
            return _build(packed["root"], leaves, classes)
        if seeds > MAX_SEEDS or any(len(v) != seeds for v in leaves.values()):
            raise DataFormatError(f"the arrays of the model do not have {seeds} seeds")
        # A number of each seed stays an array without dimensions, not a NumPy scalar.
        each = [{k: np.asarray(v[i]) for k, v in leaves.items()} for i in range(seeds)]
        return stack([_build(packed["root"], one, classes) for one in each])


def stack(models: Sequence[Any]) -> Any:
    """Join models of one kind, one per seed, along a new leading axis."""
    parts = [eqx.partition(model, is_leaf_array) for model in models]
    joined = jax.tree.map(
        lambda *leaves: replace_values(leaves[0], np.stack(leaves)),
        *(arrays for arrays, _ in parts),
    )
    return eqx.combine(joined, parts[0][1])


def select(stacked: Any, index: int) -> Any:
    """Return one model of a stack."""
    arrays, others = eqx.partition(stacked, is_leaf_array)
    one = jax.tree.map(lambda v: replace_values(v, np.asarray(v)[index]), arrays)
    return eqx.combine(one, others)


def replace_values(leaf: Any, values: np.ndarray) -> Any:
    """Return values as the kind of array, NumPy's or JAX's, that a leaf is."""
    if not isinstance(leaf, jax.Array):
        return np.asarray(values)
    # Without it JAX would halve the precision of a model fitted in float64.
    with jax.enable_x64(True):
        return jnp.asarray(values)


def is_leaf_array(value: Any) -> bool:
    """Tell whether a leaf of a model is an array."""
    return isinstance(value, jax.Array | np.ndarray)


def _pack(model: Any) -> tuple[Any, dict[str, np.ndarray], dict[str, type]]:
    """Return the packed description, the arrays by name, and the classes by name."""
    leaves: dict[str, np.ndarray] = {}
    classes: dict[str, type] = {}

    def special(value: Any, where: str) -> Any:
        if isinstance(value, eqx.Module):
            name = _class_name(type(value), where, classes)
            names = [field.name for field in fields(value) if field.init]
            packed = {
                n: plain.pack(getattr(value, n), f"{where}.{n}", special) for n in names
            }
            return {"$model": {"class": name, "fields": packed}}
        if is_leaf_array(value):
            name = where.removeprefix("model.")
            leaves[name] = _values(value, where)
            return {"$leaf": [name, "jax" if isinstance(value, jax.Array) else "numpy"]}
        return None

    return plain.pack(model, "model", special), leaves, classes


def _values(array: Any, where: str) -> np.ndarray:
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        raise invalid(
            where, "a random key", "numbers", "Store jax.random.key_data(key)."
        )
    return np.asarray(array)


def _variable(name: str, values: np.ndarray) -> xr.Variable:
    return xr.Variable([f"{name}:{axis}" for axis in range(values.ndim)], values)


def _class_name(cls: type, where: str, classes: dict[str, type]) -> str:
    name, home = cls.__name__, f"{cls.__module__}:{cls.__qualname__}"
    ours = home.startswith("neuromod.")
    if MODEL_CLASSES.get(name, "" if ours else home) != home:
        remedy = "List it there." if ours else "Give your class another name."
        raise invalid(
            where,
            f"a model of the class {home}",
            "a class of neuromod that is listed in core.models.MODEL_CLASSES, "
            "or one of yours with a name that is not",
            remedy,
        )
    if classes.setdefault(name, cls) is not cls:
        raise invalid(
            where, f"two classes named {name!r}", "one", "Give one another name."
        )
    return name


def _build(root: Any, leaves: Mapping[str, np.ndarray], classes: Mapping[str, type]):
    def leaf(content: Any) -> Any:
        name, kind = content
        return jnp.asarray(leaves[name]) if kind == "jax" else leaves[name]

    def model(content: Any) -> Any:
        cls = _find_class(content["class"], classes)
        values = {k: plain.unpack(v, tags) for k, v in content["fields"].items()}
        try:
            return cls(**values)
        except Exception as error:
            raise DataFormatError(
                f"{cls.__name__} refuses its fields: {error!s:.300}"
            ) from error

    tags = {"$leaf": leaf, "$model": model}
    return plain.unpack(root, tags)


def _not_its_fields(model: Any, why: str) -> InvalidInputError:
    return invalid(
        "model",
        f"{type(model).__name__} ({why})",
        "a module that is built again by its class from its fields: cls(**fields)",
        "Let the class take its fields as they are, and compute them beforehand.",
    )


def _find_class(name: str, classes: Mapping[str, type]) -> type:
    if name in classes:
        return classes[name]
    if name not in MODEL_CLASSES:
        raise DataFormatError(
            f"the file holds a model of the class {name!r:.80}, which is none of "
            "neuromod's. If it is one of your own, pass it: "
            f"neuromod.load(path, classes={{{name!r:.80}: {name!s:.80}}})."
        )
    module, attribute = MODEL_CLASSES[name].split(":")
    return getattr(import_module(module), attribute)


def _same_bits(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in ((one[name], other[name]) for name in one)
    )
