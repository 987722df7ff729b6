"""Reactivation in the demo: does a network replay in its sleep?"""

import time
import warnings

import xarray as xr
from scipy import stats

from neuromod.core.report import Number, Picture, Section
from neuromod.core.result import Result
from neuromod.core.style import context
from neuromod.reactivation import replay
from neuromod.reactivation.controls import measure
from neuromod.reactivation.measures import MisleadingWarning
from neuromod.reactivation.plot import plot_trajectories
from neuromod.reactivation.plot_controls import plot_controls
from neuromod.reactivation.sleep import sleep
from neuromod.reactivation.train import train
from neuromod.reactivation.wake import wake

CODE = """\
import neuromod as nm

network = nm.reactivation.train("demo", seed=0, n_steps=500)
awake = nm.reactivation.wake(network, seed=1)
asleep = nm.reactivation.sleep(network, duration=8.0, burn_in=2.0, seed=1)
nm.reactivation.plot_trajectories(network, awake, asleep)
measured = nm.reactivation.measure(network, seed=1, n_trials=100)
nm.reactivation.plot_controls(measured)

twin = nm.datasets.simulate_replay(seed=0, n_events=40, n_laps=20)
found = nm.reactivation.replay.analyse(
    twin["recording"]["spikes"],
    twin["behaviour"]["position"],
    5.0,
    min_speed=5.0,
    seed=0,
)
print(found["events"]["p_value"])
"""
SHOWN = ("cosine", "kl_histogram", "step_length", "within_trajectory_variance")
STUDY = "a study of the published equations at this size"
LEVEL = 0.05
# A quarter of the preset's training, and half the nights: enough to tell.
N_STEPS, N_TRIALS = 500, 100


def section(tree: xr.DataTree, *, seed: int) -> Section:
    """Train a network, let it sleep, and look for replay in a simulated recording.

    Parameters
    ----------
    tree
        A recording with its truth, as `neuromod.datasets.simulate_replay` makes it.
    seed
        Seed of the network, its trials and its nights, and of the shuffles.

    Returns
    -------
    Section
        Its part of the report.
    """
    started = time.process_time()
    network = train("demo", seed=seed, n_steps=N_STEPS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MisleadingWarning)
        measured = measure(network, seed=seed, n_trials=N_TRIALS)
    numbers = [*_of_network(measured), *_of_recording(tree, seed)]
    with context():
        pictures = _pictures(network, measured, seed)
    one = measured.isel(seed=0)
    near, far = (
        float(one["kl_histogram"].sel(condition=name))
        for name in ("asleep", "untrained")
    )
    return Section(
        title="Reactivation: networks that replay in their sleep",
        question=(
            "A noisy network learns to keep track of where it is from its steps alone. "
            "Without input, driven by its own noise, does it go where it used to go "
            "awake? And would the same be seen in a recording?"
        ),
        answer=(
            "Asleep, the network goes from place to place, always near the code of one "
            f"(cosine {float(one['cosine'].sel(condition='asleep')):.2f}), and visits "
            f"them nearly as often as awake ({near:.2f} nats apart). Its controls do "
            f"not: untrained it is {far:.2f} nats away and far from any code, and what "
            "learned without noise stands still.\n\n"
            "In a simulated recording of place cells, replays are told from bursts in "
            "no order by shuffling which cell is which."
        ),
        pictures=pictures,
        numbers=numbers,
        code=CODE,
        results={"network": network},
        seconds=time.process_time() - started,
    )


def _of_network(measured: xr.Dataset) -> list[Number]:
    one = measured.isel(seed=0)

    def of(name: str, condition: str) -> float:
        return round(float(one[name].sel(condition=condition)), 3)

    cosine, near = of("cosine", "asleep"), of("kl_histogram", "asleep")
    numbers = [
        Number(
            "Cosine of outputs asleep with the code of a place",
            cosine,
            "more than 0.95",
            STUDY,
            met=cosine > 0.95,
        ),
        Number(
            "Divergence of places asleep from places awake",
            near,
            "less than 0.5",
            STUDY,
            "nats",
            met=near < 0.5,
        ),
    ]
    for condition in ("untrained", "noiseless"):
        far = of("kl_histogram", condition)
        numbers.append(
            Number(
                f"The same of the control: {condition}",
                far,
                "more than 1.2",
                STUDY,
                "nats",
                met=far > 1.2,
            )
        )
    return numbers


def _of_recording(tree: xr.DataTree, seed: int) -> list[Number]:
    """Say how many events are found, of those that are replays and of the others."""
    truth = tree["truth"].to_dataset()
    recording, behaviour = (
        tree[name].to_dataset() for name in ("recording", "behaviour")
    )
    found = replay.analyse(
        recording["spikes"],
        behaviour["position"],
        5.0,
        min_speed=5.0,
        seed=seed,
        events=truth[["start", "stop"]],
        shuffles="cell_identity",
        n_shuffles=199,
    )
    p_value = found["events"]["p_value"].sel(statistic="line").squeeze("shuffle")
    told, is_replay = p_value.values < LEVEL, truth["is_replay"].values
    n_false = int(told[~is_replay].sum())
    most = int(stats.binom.ppf(0.99, (~is_replay).sum(), LEVEL))
    share = float(told[is_replay].mean())
    return [
        Number(
            "Simulated replays found (p < 0.05, cells shuffled)",
            f"{int(told[is_replay].sum())} of {int(is_replay.sum())}",
            "more than half",
            "ground truth",
            met=share > 0.5,
        ),
        Number(
            "Bursts in no order taken for replays",
            f"{n_false} of {int((~is_replay).sum())}",
            f"at most {most}",
            "99 % of chance at 0.05",
            met=n_false <= most,
        ),
    ]


def _pictures(network: Result, measured: xr.Dataset, seed: int) -> list[Picture]:
    awake = wake(network, seed=seed, n_trials=4)
    asleep = sleep(network, 4.0, burn_in=2.0, seed=seed, n_trials=4)
    paths = plot_trajectories(network, awake, asleep)
    controls = plot_controls(measured, measures=SHOWN)
    return [
        Picture(
            paths[0].figure,
            "Where the network says it is: awake, beside where it truly was (dashed), "
            "and asleep, without any input. Dots are place cells.",
            "Two squares with winding paths; those asleep stay among those awake.",
        ),
        Picture(
            controls[0].figure,
            "The trained network awake and asleep, and what should not look like it: "
            "no single measure tells all controls apart.",
            "A panel for each of four measures, with a dot for each condition.",
        ),
    ]
