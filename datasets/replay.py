"""A simulated recording in which it is known what is replay: the twin of a real one."""

import xarray as xr


def simulate_replay(
    *,
    seed: int,
    n_events: int = 40,
    replay: float = 0.5,
    n_neurons: int = 40,
    n_laps: int = 20,
) -> xr.DataTree:
    """Simulate place cells of an animal that runs on a track and replays at rest.

    Parameters
    ----------
    seed
        Seed of everything drawn.
    n_events
        Number of population bursts at rest.
    replay
        Share of them that are replays; in the others neurons fire in no order.
    n_neurons
        Number of place cells.
    n_laps
        Number of runs from one end to the other.

    Returns
    -------
    xarray.DataTree
        ``recording`` holds ``spikes`` (time, neuron) in bins of 5 ms, with ``block``
        along time ("run", "rest"); ``behaviour`` the ``position`` (time, space) in cm;
        ``truth`` the ``start``, ``stop``, ``is_replay`` and ``velocity`` of events,
        and the ``centre`` and ``peak_rate`` of every place field. See
        `neuromod.reactivation.replay.simulate_recording`, which has further options.

    Raises
    ------
    InvalidInputError
        If a number is out of its range.

    Examples
    --------
    >>> data = simulate_replay(seed=0, n_events=4, n_laps=2)
    >>> int(data["truth"]["is_replay"].sum())
    2
    """
    # Inside, so that listing the data sets does not have to load jax.
    from neuromod.reactivation.replay import simulate_recording

    tree = simulate_recording(
        seed=seed,
        n_events=n_events,
        replay=replay,
        n_neurons=n_neurons,
        n_laps=n_laps,
    )
    tree.attrs = {
        "title": f"Simulated track: {n_neurons} place cells, {n_events} events at rest",
        "source": f"neuromod.datasets.simulate_replay(seed={seed}, ...)",
        "licence": "none needed: simulated",
        "citation": "none: simulated by neuromod",
    }
    return tree
