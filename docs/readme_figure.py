"""Make the figure at the top of README.md, on a simulated twin:

    .venv/bin/python docs/readme_figure.py docs/_static/switching.png

Above, the spikes of a population on a ground coloured by the state that the fit finds,
under a ribbon with the true state; below, the couplings that it finds in two states
beside the true ones.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import neuromod as nm
from neuromod.core.style import DIVERGING, context, state_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

N_STATES, SECONDS = 3, 8.0


def main(path: Path) -> None:
    twin: Any = nm.datasets.simulate_switching(
        seed=0, n_states=N_STATES, n_sessions=20, n_steps=2000
    )
    spikes = twin["recording"]["spikes"]
    fit = nm.switching.fit(spikes, n_states=N_STATES, link="sigmoid", seed=0)
    draw(fit, spikes, twin["truth"], path)
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


def draw(fit: nm.Result, spikes: Any, truth: Any, path: Path) -> None:
    import matplotlib.pyplot as plt

    found = nm.switching.decode(fit, spikes)
    true_state = nm.switching.match_states(found, truth["state_sequence"])
    with context():
        canvas = plt.figure(figsize=(9.0, 4.8), layout="constrained")
        rows = canvas.add_gridspec(3, 4, height_ratios=(0.06, 1, 0.9))
        above = canvas.add_subplot(rows[0, :])
        ribbon(above, truth, true_state)
        raster = canvas.add_subplot(rows[1, :])
        nm.switching.plot_states(fit, spikes, stop=SECONDS, ax=raster)
        raster.get_legend().remove()
        raster.set_yticks((0, 10, 19), ("0", "10", "19"))
        raster.set(title="Spikes, and the state that was found")
        for state in (0, 1):
            fitted = canvas.add_subplot(rows[2, 2 * state])
            true = canvas.add_subplot(rows[2, 2 * state + 1])
            couplings(fitted, fit.data["parameters"]["weight"].sel(state=state))
            couplings(true, truth["weight"].sel(state=true_state[state]))
            fitted.set(title=f"Couplings in state {state}: fitted", ylabel="Neuron")
            true.set(title="true")
        canvas.savefig(path, dpi=120)


def ribbon(ax: "Axes", truth: Any, true_state: dict[int, int]) -> None:
    """Draw the true states of the first session, coloured like the fitted ones."""
    from matplotlib.colors import ListedColormap

    fitted_state = {true: fitted for fitted, true in true_state.items()}
    n_bins = int((truth["state_sequence"]["time"].values < SECONDS).argmin())
    states = [fitted_state[int(s)] for s in truth["state_sequence"].values[:n_bins]]
    ax.imshow(
        np.array(states)[None],
        aspect="auto",
        interpolation="nearest",
        cmap=ListedColormap(state_colours(N_STATES)),
        extent=(0, SECONDS, 0, 1),
    )
    ax.set(xticks=[], yticks=[], title="True state")


def couplings(ax: "Axes", weight: Any) -> None:
    """Draw who excites (red) and inhibits (blue) whom."""
    values = weight.sum("basis").transpose("neuron", "source_neuron").values
    ax.imshow(values, cmap=DIVERGING, vmin=-1.4, vmax=1.4, interpolation="nearest")
    ax.set(xticks=(0, 10, 19), yticks=(0, 10, 19), xlabel="Source neuron")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
