"""Stimulation in the demo: which electrode moves this muscle most?"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from neuromod.core.report import Number, Picture, Section
from neuromod.core.style import PALETTE, context
from neuromod.stimulation.drive import run
from neuromod.stimulation.limits import Limits
from neuromod.stimulation.plot import plot_session
from neuromod.stimulation.presets import preset
from neuromod.stimulation.replay import Replayed, replay
from neuromod.stimulation.rig import ReplayRig
from neuromod.stimulation.rule import Rule
from neuromod.stimulation.session import Session
from neuromod.stimulation.simulate import recorded_world, simulate
from neuromod.stimulation.space import Space

CODE = """\
import neuromod as nm

s = nm.stimulation
maps = nm.datasets.simulate_stimulation_maps(seed=0, n_muscles=2, n_trials=40)["maps"]
electrodes, muscles = maps["electrode"].values.tolist(), maps["output"].values.tolist()
space = s.Space(
    {"electrode": electrodes},
    dict(zip(electrodes, maps["position"].values.tolist())),
    fixed={"amplitude": 60.0, "pulse_width": 200.0, "frequency": 300.0},
)
limits = s.Limits(
    amplitude=100.0, charge_per_phase=20.0, imbalance=0.0, frequency=330.0,
    n_pulses=20, interval=0.0, per_hour=5000, per_electrode_per_hour=500, ramp=100.0,
)
rig = s.ReplayRig(maps["response"].values, electrodes, muscles, seed=0)
with s.Session.open(
    "session.db", space, limits, seed=0, outputs=muscles, n_planned=60
) as session:
    s.run(session, rig, 60)
    s.plot_session(session)
    print(session.best())
print(s.replay("session.db"))
world = s.recorded_world(maps["response"].values[:, 0])
at = maps["position"].values
for rule in (s.Rule(), s.preset("bonizzato_primate")):
    print(s.simulate(world, at, rule, 60, seed=0, n_sessions=40).mean())
"""
STUDY = "a study of the published rule at this size"
N_TRIALS, N_SESSIONS = 60, 40
RULES = {"neuromod": Rule(), "published rule": preset("bonizzato_primate")}
FIXED = {"amplitude": 60.0, "pulse_width": 200.0, "frequency": 300.0}
LIMITS = Limits(
    amplitude=100.0,
    charge_per_phase=20.0,
    imbalance=0.0,
    frequency=330.0,
    n_pulses=20,
    interval=0.0,
    per_hour=5000,
    per_electrode_per_hour=500,
    ramp=100.0,
)


def section(tree: xr.DataTree, *, seed: int) -> Section:
    """Run a session on simulated maps, and simulate more of it and of a published rule.

    Parameters
    ----------
    tree
        Maps with single trials, as `neuromod.datasets.simulate_stimulation_maps`
        makes them.
    seed
        Seed of the search and of the trials.

    Returns
    -------
    Section
        Its part of the report.
    """
    maps = tree["maps"].to_dataset()
    electrodes, muscles = maps["electrode"].values.tolist(), maps["output"].values
    places = dict(zip(electrodes, maps["position"].values.tolist(), strict=True))
    space = Space({"electrode": electrodes}, places, fixed=FIXED)
    rig = ReplayRig(maps["response"].values, electrodes, muscles.tolist(), seed=seed)
    with tempfile.TemporaryDirectory() as folder, context():
        path = Path(folder) / "session.db"
        given = {"seed": seed, "outputs": muscles.tolist(), "n_planned": N_TRIALS}
        with Session.open(path, space, LIMITS, **given) as session:
            run(session, rig, N_TRIALS)
            best, result = session.best()["electrode"], session.result()
            drawn = plot_session(session)[0].figure
        again = replay(path)
    mean = maps["mean"].isel(output=0)
    share = float(mean.sel(electrode=best) / mean.max())
    runs = _simulated(maps, seed)
    with context():
        curves = _plot(runs, float(mean.mean() / mean.max()))
    ours, theirs = (runs[name]["exploitation"].mean().item() for name in RULES)
    return Section(
        title="Stimulation: the best site in a few dozen trials",
        question=(
            f"Below an array of {len(electrodes)} electrodes lies motor cortex. Which "
            "one moves this muscle most, if every trial is noisy and there are fewer "
            "trials than electrodes?"
        ),
        answer=(
            f"After {N_TRIALS} trials electrode {best} is believed best; it has "
            f"{share:.0%} of the largest mean response. Over {N_SESSIONS} simulated "
            f"sessions the average stimulus has {ours:.0%} of the largest response, "
            f"and {theirs:.0%} by the published rule.\n\n"
            f"Replayed, its journal chooses {again.n_asks - len(again.other)} "
            f"of {again.n_asks} stimuli as it did."
        ),
        pictures=[
            Picture(
                drawn,
                "What the session believes: expected response, uncertainty, trials of "
                "each site (the ring is the best one), and the course of the session.",
                "Three maps of an array, and responses over trials.",
            ),
            Picture(
                curves,
                f"The site believed best, and the site stimulated, over "
                f"{N_SESSIONS} simulated sessions of two rules.",
                "Two panels with rising curves of two rules over trials.",
            ),
        ],
        numbers=_numbers(share, ours, theirs, again),
        code=CODE,
        results={"session": result},
    )


def _simulated(maps: xr.Dataset, seed: int) -> dict[str, xr.Dataset]:
    world = recorded_world(maps["response"].isel(output=0).values)
    at = maps["position"].values
    return {
        name: simulate(world, at, rule, N_TRIALS, seed=seed, n_sessions=N_SESSIONS)
        for name, rule in RULES.items()
    }


def _plot(runs: dict[str, xr.Dataset], chance: float) -> Figure:
    titles = {"exploration": "Site believed best", "exploitation": "Site stimulated"}
    figure, axes = plt.subplots(1, 2, figsize=(6.8, 2.6), sharey=True)
    for ax, (score, title) in zip(axes, titles.items(), strict=True):
        for (name, found), colour in zip(runs.items(), PALETTE, strict=False):
            mean = found[score].mean("session")
            error = found[score].std("session", ddof=1) / np.sqrt(N_SESSIONS)
            ax.plot(found["query"], mean, color=colour, label=name)
            band = mean - 2 * error, mean + 2 * error
            ax.fill_between(found["query"], *band, color=colour, alpha=0.2, lw=0)
        ax.axhline(chance, color="0.5", lw=0.8, ls="--", label="a site at random")
        ax.set(title=title, xlabel="Trial", ylim=(0, 1))
    axes[0].set_ylabel("Share of the largest response")
    axes[1].legend(loc="lower right")
    return figure


def _numbers(share: float, ours: float, theirs: float, again: Replayed) -> list[Number]:
    same = again.n_asks - len(again.other)
    return [
        Number(
            f"Mean response of the site found in {N_TRIALS} trials",
            round(share, 3),
            "at least 0.8 of the largest",
            "the simulation",
            met=share >= 0.8,
        ),
        Number(
            "Response to the average stimulus",
            round(ours, 3),
            f"above that of the published rule, {theirs:.3f}",
            STUDY,
            "of the largest",
            met=ours > theirs,
        ),
        Number(
            "Stimuli that a replay of the journal chooses again",
            same,
            f"all {again.n_asks}",
            "the journal",
            met=same == again.n_asks == N_TRIALS,
        ),
    ]
