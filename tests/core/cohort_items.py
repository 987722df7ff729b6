"""Functions for workers, which import them by name; they leave traces in files."""

import os
import signal
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from neuromod.core.result import Result


class Job(NamedTuple):
    """An item: a number, and a folder in which its runs leave a line."""

    number: int
    traces: str


def jobs(folder: Path, count: int) -> dict[str, Job]:
    return {f"item{n}": Job(n, str(folder)) for n in range(count)}


def runs(folder: Path) -> list[int]:
    """Return the number of every item that was started, in sorted order."""
    return sorted(int(path.name.split("-")[0]) for path in folder.glob("*-*"))


def leave_trace(job: Job) -> None:
    (Path(job.traces) / f"{job.number}-{time.time_ns()}-{os.getpid()}").touch()


def square(job: Job, offset: float = 0.0, seconds: float = 0.0) -> float:
    leave_trace(job)
    time.sleep(seconds)
    return float(job.number**2) + offset


def process_id(item: Any) -> int:
    return os.getpid()


def fail_on_odd(job: Job) -> float:
    leave_trace(job)
    if job.number % 2:
        raise ValueError(f"{job.number} is odd")
    return float(job.number)


def fail_unless_mended(job: Job) -> float:
    leave_trace(job)
    if job.number == 1 and not (Path(job.traces) / "mended").exists():
        raise OSError("the disk is away")
    return float(job.number)


def kill_worker_on_two(job: Job) -> float:
    leave_trace(job)
    if job.number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.1)
    return float(job.number)


def kill_worker_once(job: Job) -> float:
    leave_trace(job)
    if job.number == 2 and runs(Path(job.traces)).count(2) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return float(job.number)


def leave_python(job: Job) -> None:
    raise SystemExit(f"{job.number} says goodbye")


def fit(job: Job) -> "Result":
    import xarray as xr

    from neuromod.core.result import Result

    parameters = xr.Dataset({"rate": ("neuron", [float(job.number)])})
    tree = xr.DataTree.from_dict({"parameters": parameters})
    return Result(None, tree, {"number": job.number}, {"seed": 0})


@cache
def own_model_class() -> type:
    import equinox as eqx
    import jax

    class OwnModel(eqx.Module):
        rate: jax.Array

    return OwnModel


def fit_own_model(rate: float) -> "Result":
    import jax.numpy as jnp
    import xarray as xr

    from neuromod.core.result import Result

    return Result(own_model_class()(jnp.asarray(rate)), xr.DataTree(), {}, {})


def many_kinds(item: int) -> dict[str, Any]:
    import numpy as np
    import xarray as xr

    time = ("time", [0.0, 0.5], {"units": "s"})
    array = xr.DataArray(np.eye(2), {"time": time}, ("time", "neuron"), "spikes")
    return {
        "number": item,
        "text": "naïve",
        "nothing": None,
        "pair": (np.float32(1.5), [True, float("inf")]),
        "array": np.arange(3, dtype=np.int16),
        "scalar array": np.array(2.0),
        "labels": np.array(["a", "bcd"]),
        "labelled": array,
        "unnamed": array.rename(None),
        "dataset": array.to_dataset().assign_attrs(site="CA1"),
        "tree": xr.DataTree.from_dict(
            {"/": array.to_dataset(), "/deep/er": array.to_dataset()}
        ),
    }


def an_object(item: Any) -> object:
    return object()


def a_lambda(item: Any) -> Any:
    return lambda: item


def option(item: Any) -> list[Any]:
    from neuromod import _xla

    return [_xla.state(), _xla.value()]
