"""Sequences of a machine that branches by chance: what a network should learn."""

import xarray as xr


def simulate_symbols(
    *,
    seed: int,
    n_trials: int = 10,
    n_steps: int = 24,
    chance: float = 0.3,
    noise: float = 0.0,
) -> xr.DataTree:
    """Simulate a cycle of three symbols whose second one is drawn.

    Parameters
    ----------
    seed
        Seed of everything drawn.
    n_trials, n_steps
        Sequences, and the steps of each; as many again are unseen.
    chance
        Of -0.8 after 0.8; else 0 comes. Then come 0.4, and 0.8 again.
    noise
        Standard deviation of what is added.

    Returns
    -------
    xarray.DataTree
        ``training`` and ``unseen`` hold the ``value`` (trial, time, channel); ``truth``
        the ``symbol`` (state), the ``transition_matrix`` (state, state_to), and the
        ``state_sequence`` (trial, time) of training.

    Examples
    --------
    >>> data = simulate_symbols(seed=0, n_trials=2, n_steps=6)
    >>> data["truth"]["symbol"].values.tolist()
    [0.8, -0.8, 0.0, 0.4]
    """
    # Inside, so that listing the data sets does not have to load jax.
    from neuromod.pvrnn import branching_cycle, simulate_machine

    source = branching_cycle(chance)
    both = simulate_machine(
        source, 2 * n_trials, n_steps, seed=seed, noise=noise, start=0
    )
    truth = {
        "symbol": ("state", source.symbols),
        "transition_matrix": (("state", "state_to"), source.transition_matrix),
        "state_sequence": (("trial", "time"), both["state"].values[:n_trials]),
    }
    values = both.drop_vars("state").rename("value")
    values = values.assign_coords(channel=["symbol"])
    tree = xr.DataTree.from_dict(
        {
            "training": values[:n_trials].to_dataset(),
            "unseen": values[n_trials:].to_dataset(),
            "truth": xr.Dataset(truth),
        }
    )
    tree.attrs = {
        "title": f"Simulated cycle with a branch: {n_trials} sequences",
        "source": f"neuromod.datasets.simulate_symbols(seed={seed}, ...)",
        "licence": "none needed: simulated",
        "citation": "none: simulated by neuromod",
    }
    return tree
