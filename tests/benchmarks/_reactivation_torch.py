"""The peer of the reactivation benchmark: the same networks and tasks in PyTorch.

Written as its documentation teaches it: all inputs are projected and all noise drawn
before the loop, all outputs made by one product after it, states stacked, products and
sums fused (``addmm``, ``lerp``), both gates of the GRU in one product. The module
needs numpy and torch alone.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import mse_loss

PI = math.pi
TIME_STEP, TURN, SPEED = 0.02, 11.52, 0.26 * PI  # s, rad/s, m/s
HALF, BORDER, SLOW = 1.1, 0.03, 0.25  # m, m, -
PLACE_WIDTH, HEAD_SPREAD = 0.2, PI / 6  # m, rad


class Vanilla(torch.nn.Module):
    """h <- h + leak (relu(W h + W_in x) - h) + noise."""

    def __init__(self, n_inputs: int, n_units: int, n_cells: int, leak: float, noise):
        super().__init__()
        self.encoder = _linear(n_cells, n_units)
        self.input = _linear(n_inputs, n_units)
        self.recurrent = _linear(n_units, n_units)
        self.output = _linear(n_units, n_cells)
        self.leak, self.noise = float(leak), float(noise)

    def forward(self, x: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        """Return outputs (time, trial, cell)."""
        h = self.encoder(code)
        drive = self.input(x).unbind(0)
        noise = torch.empty(x.shape[0], h.shape[0], h.shape[1])
        pushes = noise.normal_(0.0, self.noise).unbind(0)
        weight = self.recurrent.weight.t()
        states = []
        for t in range(x.shape[0]):
            active = torch.relu(torch.addmm(drive[t], h, weight))
            h = torch.lerp(h, active, self.leak) + pushes[t]
            states.append(h)
        return self.output(torch.stack(states))


class Gated(torch.nn.Module):
    """h <- h + leak (1 - z) (tanh(W_h x + U_h (r h)) - h) + noise."""

    def __init__(self, n_inputs: int, n_units: int, n_cells: int, leak: float, noise):
        super().__init__()
        self.encoder = _linear(n_cells, n_units)
        self.input = _linear(n_inputs, 3 * n_units)
        self.gates = _linear(n_units, 2 * n_units)
        self.candidate = _linear(n_units, n_units)
        self.output = _linear(n_units, n_cells)
        self.leak, self.noise = float(leak), float(noise)

    def forward(self, x: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        """Return outputs (time, trial, cell)."""
        h = self.encoder(code)
        n = h.shape[1]
        drive = self.input(x)
        of_gates, of_candidate = drive[..., : 2 * n].unbind(0), drive[..., 2 * n :]
        of_candidate = of_candidate.unbind(0)
        noise = torch.empty(x.shape[0], h.shape[0], n)
        pushes = noise.normal_(0.0, self.noise).unbind(0)
        gates, candidate = self.gates.weight.t(), self.candidate.weight.t()
        states = []
        for t in range(x.shape[0]):
            both = torch.sigmoid(torch.addmm(of_gates[t], h, gates))
            z, r = both[:, :n], both[:, n:]
            towards = torch.tanh(torch.addmm(of_candidate[t], r * h, candidate)) - h
            h = h + self.leak * (1 - z) * towards + pushes[t]
            states.append(h)
        return self.output(torch.stack(states))


def _linear(n_in: int, n_out: int) -> torch.nn.Linear:
    return torch.nn.Linear(n_in, n_out, bias=False)


class HeadDirection:
    """Batches of random turns, and the cells that tell the heading."""

    def __init__(self, n_cells: int) -> None:
        preferred = torch.linspace(-PI, PI, n_cells + 1)[:-1]
        both = torch.stack([torch.cos(preferred), torch.sin(preferred)])
        # cos(a - b) = cos a cos b + sin a sin b: one product, one exponential.
        self.weights = both / HEAD_SPREAD**2

    def code(self, heading: torch.Tensor) -> torch.Tensor:
        """Return the activity of all cells."""
        both = torch.stack([torch.cos(heading), torch.sin(heading)], -1)
        return (both @ self.weights).sub_(1 / HEAD_SPREAD**2).exp_()

    def draw(self, n_trials: int, n_steps: int) -> tuple[torch.Tensor, ...]:
        """Return inputs (time, trial, 1), the first code and the targets."""
        first = 2 * PI * torch.rand(n_trials)
        steps = torch.empty(n_steps, n_trials).normal_(0, TURN * TIME_STEP)
        heading = first + torch.cumsum(steps, 0)
        return steps[..., None], self.code(first), self.code(heading)


class Place:
    """Batches of the published walk in a box, and the cells that tell the place."""

    def __init__(self, n_cells: int) -> None:
        centres = HALF * (2 * torch.rand(n_cells, 2) - 1)
        # |x - c|^2 = |x|^2 - 2 x c + |c|^2, whose first term a softmax does not see.
        self.weights = centres.t() / PLACE_WIDTH**2
        self.offset = -(centres**2).sum(1) / (2 * PLACE_WIDTH**2)

    def code(self, place: torch.Tensor) -> torch.Tensor:
        """Return the activity of all cells."""
        return torch.softmax((place @ self.weights).add_(self.offset), -1)

    def draw(self, n_trials: int, n_steps: int) -> tuple[torch.Tensor, ...]:
        """Return inputs (time, trial, 2), the first code and the targets."""
        x, y = (HALF * (2 * torch.rand(n_trials) - 1) for _ in range(2))
        heading = 2 * PI * torch.rand(n_trials)
        turn = torch.empty(n_steps + 1, n_trials).normal_(0, TURN * TIME_STEP)
        uniform = torch.rand(n_steps + 1, n_trials).clamp_min_(2.0**-24)
        length = SPEED * TIME_STEP * torch.sqrt(-2 * torch.log(uniform))
        places = []
        for t in range(n_steps + 1):
            gap_x, gap_y = HALF - x.abs(), HALF - y.abs()
            normal = torch.where(
                gap_x <= gap_y,
                torch.where(x > 0, 0.0, PI),
                torch.where(y > 0, PI / 2, -PI / 2),
            )
            facing = torch.remainder(heading - normal + PI, 2 * PI) - PI
            away = facing.abs()
            slows = (torch.minimum(gap_x, gap_y) < BORDER) & (away < PI / 2)
            step = torch.where(slows, SLOW * length[t], length[t])
            x, y = x + step * torch.cos(heading), y + step * torch.sin(heading)
            along = torch.where(slows, torch.sign(facing) * (PI / 2 - away), 0.0)
            heading = heading + turn[t] + along
            places.append(torch.stack([x, y], -1))
        path = torch.stack(places)
        return path[1:] - path[:-1], self.code(path[0]), self.code(path[1:])


def prepare(
    shape: Any, what: str, way: str, n_steps: int, folder: Path
) -> Callable[[], object]:
    """Return a function that does a work.

    Parameters
    ----------
    shape
        Of `tests.benchmarks.reactivation.SHAPES`.
    what
        "training", "batch", "asleep" or "agreement".
    way
        "eager", "script" or "trace".
    n_steps
        Steps of training that one call does.
    folder
        Where agreement is looked up and told.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    make = Gated if shape.kind == "gru" else Vanilla
    sizes = shape.n_inputs, shape.n_units, shape.n_cells
    network = make(*sizes, shape.leak, shape.noise)
    task = (HeadDirection if shape.n_inputs == 1 else Place)(shape.n_cells)

    def draw():
        return task.draw(shape.n_trials, shape.n_steps)

    if what == "batch":
        return draw
    if what == "agreement":
        return lambda: _compare(shape, make(*sizes, shape.leak, 0.0), folder)
    if what == "asleep":
        network.noise *= 2**0.5
        code, silence = draw()[1], torch.zeros(200, shape.n_trials, shape.n_inputs)
        run = _in_way(network, way, (silence, code))
        return torch.no_grad()(lambda: run(silence, code))
    run = _in_way(network, way, draw()[:2])
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)

    def train():
        for _ in range(n_steps):
            inputs, code, targets = draw()
            optimiser.zero_grad(set_to_none=True)
            mse_loss(run(inputs, code), targets).backward()
            optimiser.step()

    return train


def _in_way(network: torch.nn.Module, way: str, example: tuple) -> Any:
    if way == "trace":
        return torch.jit.trace(network, example, check_trace=False)
    return torch.jit.script(network) if way == "script" else network


def _compare(shape: Any, network: torch.nn.Module, folder: Path) -> None:
    """Find the error and its gradient from stored weights and trials."""
    given = dict(np.load(folder / f"{shape.name}.npz"))
    tensors = {k: torch.from_numpy(np.array(v)) for k, v in given.items()}
    for name, parameter in network.named_parameters():
        parameter.data = tensors[name.removesuffix(".weight")]
    outputs = network(tensors["inputs"], tensors["code"])
    error = mse_loss(outputs, tensors["targets"])
    error.backward()
    apart = [abs(error.item() / float(given["error"]) - 1)]
    for name, parameter in network.named_parameters():
        slope = given["slope_" + name.removesuffix(".weight")]
        assert parameter.grad is not None
        apart.append(np.abs(parameter.grad.numpy() - slope).max() / np.abs(slope).max())
    np.save(folder / f"{shape.name} apart.npy", max(apart))
