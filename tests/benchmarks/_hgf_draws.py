"""Our side of drawing from the posterior of a participant, beside that of pyhgf."""

import time
import warnings
from typing import Any

from neuromod import hgf
from neuromod.core import diagnostics as diagnostics  # loads numpyro, as the peer does
from neuromod.core.errors import ConvergenceWarning

PRIORS: dict[Any, Any] = {
    "x2.tonic_volatility": hgf.Normal(-3, 2),
    "x3.tonic_volatility": hgf.Normal(-6, 2),
    "response.inverse_temperature": hgf.LogNormal(0, 1),
}
NAMES = dict(zip(PRIORS, ("omega2", "omega3", "beta"), strict=True))


def sample(
    outcomes: Any, choices: Any, way: str, n_warmup: int, n_draws: int
) -> dict[str, Any]:
    """Draw by `neuromod.hgf.sample`, twice: the second run finds all compiled."""
    del way  # ours goes forwards
    runs = []
    for seed in (0, 1):
        wall, cpu = time.perf_counter(), time.process_time()
        with warnings.catch_warnings():
            # One chain is short, and says so.
            warnings.simplefilter("ignore", ConvergenceWarning)
            result = hgf.sample(
                hgf.binary_three_level(),
                outcomes,
                choices,
                response=hgf.responses.unit_square_sigmoid(),
                priors=PRIORS,
                n_chains=1,
                n_draws=n_draws,
                n_warmup=n_warmup,
                seed=seed,
                progress=False,
            )
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        runs.append({"cpu": cpu, "wall": wall})
    draws = result.data["posterior"].to_dataset()
    told = result.data["diagnostics"].to_dataset()
    stats = result.data["sample_stats"].to_dataset()
    return {
        "first_s": runs[0],
        "compiled_s": runs[1],
        "gradients": int(stats["n_steps"].sum()),
        "divergences": int(stats["diverging"].sum()),
        "posterior": {
            NAMES[name]: {
                "mean": float(draws[name].mean()),
                "sd": float(draws[name].std()),
                "effective_draws": float(told["ess_bulk"].sel(parameter=name)),
            }
            for name in PRIORS
        },
    }
