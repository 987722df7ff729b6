"""What training has led to, as results with named dimensions."""

from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from neuromod.core import models
from neuromod.core.errors import invalid
from neuromod.core.provenance import Start, provenance
from neuromod.core.result import Result
from neuromod.pvrnn.data import Trials
from neuromod.pvrnn.latents import Adaptive
from neuromod.pvrnn.model import PVRNN
from neuromod.pvrnn.objective import Constants, Objective
from neuromod.pvrnn.trainee import Trainee


class Lanes(NamedTuple):
    """What is trained side by side: every objective with every seed.

    Parameters
    ----------
    trials
        The data of all lanes.
    objectives, seeds
        Of which all pairs are trained, seed by seed of one objective after another.
    named
        Whether results have the axis seed.
    """

    trials: Trials
    objectives: list[Objective]
    seeds: list[int]
    named: bool

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Number of the objective, and seed, of every lane."""
        return [(k, s) for k in range(len(self.objectives)) for s in self.seeds]


def result_of(
    lanes: Lanes,
    chosen: int,
    trainees: list[Trainee],
    history: dict[str, np.ndarray],
    config: dict[str, Any],
    started: Start,
) -> Result:
    """Return what was trained with one of the objectives.

    Parameters
    ----------
    lanes, chosen
        What was trained, and the number of the objective.
    trainees
        Of every lane.
    history
        Arrays (lane, step, ...).
    config, started
        Settings, and the clocks at the start.
    """
    rows = [i for i, (which, _) in enumerate(lanes.pairs) if which == chosen]
    mine = [trainees[i] for i in rows]
    found = {name: values[rows] for name, values in history.items()}
    if not lanes.named:
        found = {name: values[0] for name, values in found.items()}
    arrays = [adaptive_arrays(trainee.adaptive) for trainee in mine]
    latent = {
        name: np.stack([a[name] for a in arrays]) if lanes.named else arrays[0][name]
        for name in arrays[0]
    }
    tree = _tree(lanes, mine[0].network, found, latent)
    networks = [trainee.network for trainee in mine]
    model = models.stack(networks) if lanes.named else networks[0]
    about = provenance(
        seed=lanes.seeds if lanes.named else lanes.seeds[0],
        precision=config["precision"],
        started=started,
        inputs={"data": lanes.trials.values},
    )
    told = as_numbers(lanes.objectives[chosen])
    return Result(model, tree, config | {"objective": told}, about)


def adaptive_arrays(adaptive: Adaptive) -> dict[str, np.ndarray]:
    """Return adaptive vectors, trial first, and potentials of a trial's own."""
    found = {
        f"adaptive_{name}": np.swapaxes(np.asarray(getattr(adaptive, name)), 0, 1)
        for name in ("mean", "log_deviation")
    }
    if adaptive.initial is not None:
        own = [np.asarray(u) for u in adaptive.initial if u is not None]
        found["initial_potential"] = np.concatenate(own, axis=-1)
    return found


def _tree(
    lanes: Lanes,
    network: PVRNN,
    history: dict[str, np.ndarray],
    latent: dict[str, np.ndarray],
) -> xr.DataTree:
    seed = ("seed",) if lanes.named else ()
    labels = {"seed": lanes.seeds} if lanes.named else {}
    layers = np.array([layer.name for layer in network.layers])
    heads = np.array([head.name for head in network.heads])
    told = {
        "loss": ((*seed, "step"), history["loss"], {"long_name": "free energy"}),
        "reconstruction": ((*seed, "step", "head"), history["reconstruction"]),
        "divergence": ((*seed, "step", "layer"), history["divergence"]),
    }
    of_history = xr.Dataset(told, labels | {"layer": layers, "head": heads})
    n_steps = lanes.trials.valid.sum(axis=0)
    coords = labels | {
        "trial": lanes.trials.labels,
        "channel": lanes.trials.channels,
        "n_steps": ("trial", n_steps),
        "time": lanes.trials.time,
    }
    of_latents = latent_dataset(network, latent, coords)
    tree = xr.DataTree.from_dict({"/history": of_history, "/latent": of_latents})
    if not lanes.named:  # of many networks, numbers would not be those of the one taken
        tree.attrs = _scores(of_history, int(n_steps.sum()))
    return tree


def latent_dataset(
    network: PVRNN, arrays: dict[str, np.ndarray], coords: dict[str, Any]
) -> xr.Dataset:
    """Return adaptive vectors, and potentials of a trial's own, with names.

    Parameters
    ----------
    network
        Whose latents they are.
    arrays
        ``adaptive_mean`` and ``adaptive_log_deviation`` (trial, time, latent), and
        ``initial_potential`` (trial, unit), if any; of several networks, seed first.
    coords
        Labels of trial, time and channel, of seed if there are several, and ``n_steps``
        of each trial.
    """
    seed = ("seed",) if "seed" in coords else ()
    dims = {"initial_potential": ("trial", "unit")}
    told = {
        name: ((*seed, *dims.get(name, ("trial", "time", "latent"))), values)
        for name, values in arrays.items()
    }
    layers = np.array([layer.name for layer in network.layers])[network.latent_layers]
    about = {"long_name": "layer of the latent"}
    return xr.Dataset(told, coords | {"layer_of_latent": ("latent", layers, about)})


def _scores(history: xr.Dataset, n_steps: int) -> dict[str, float]:
    """Return the parts of the loss, per step of a trial, over the last updates."""
    last = history.isel(step=slice(-100, None)).mean("step") / n_steps
    found = {"free_energy": float(last["loss"])}
    for name, dim in (("reconstruction", "head"), ("divergence", "layer")):
        for part in last[name]:
            found[f"{name}_{part[dim].item()}"] = float(part)
    return found


def objective_of(result: Result) -> Objective:
    """Return what a network was trained to descend.

    Parameters
    ----------
    result
        Of `neuromod.pvrnn.train`.
    """
    told = result.config.get("objective")
    if not isinstance(told, dict):
        raise invalid("result", "no objective", "a Result of pvrnn.train")
    constants = Constants(**told["constants"])
    return Objective(**{n: told[n] for n in NUMBERS}, constants=constants)


NUMBERS = (
    "meta_prior",
    "first_meta_prior",
    "schedule",
    "head_weight",
    "initial_penalty",
)


def as_numbers(objective: Objective) -> dict[str, Any]:
    """Return an objective as plain values."""

    def plain(value: Any) -> Any:
        return None if value is None else np.asarray(value).tolist()

    told = {name: plain(getattr(objective, name)) for name in NUMBERS}
    return told | {"constants": objective.constants._asdict()}
