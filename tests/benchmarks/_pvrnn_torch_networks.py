"""The networks of the peer of the PV-RNN benchmark: one training written four ways.

`StepByStep` is the straightforward one, as the public PyTorch codes are written: a
module for each layer, and in a Python loop over time everything of a step. `Hoisted`
draws latents and makes priors, divergences, outputs and what enters layers for all
steps at once; only the leaky recurrence is left in its loops, of which there are two,
since both senses share one. `Compiled` is that with ``torch.compile`` of 50 steps of
the loop at a time (TorchScript of the loop was as fast as none). `Adjoint` has a
hand-written derivative of the loop instead: the error goes back without autograd, and
the gradient of the recurrent weights is one product over all steps. `Toy` is the small
network whose posterior depends on its activity, hoisted as far as that allows.
"""

from functools import cache
from typing import Any

import numpy as np
import torch

LAYERS = ("sense_0_0", "sense_1_0", "association_0")
SIZES = (1, 1, 3, 1)  # latents of the layers, and of the executive one
FACTORS = (1.0, 1.0, 1 / 3, 1.0)
CHANNELS = (3, 2)
META_PRIOR, OFFSET = 0.005, 1e-6
TOY_META_PRIOR, TOY_OFFSET = 0.03, 1e-7
PIECE = 50

Given = dict[str, torch.Tensor]


class Layer(torch.nn.Module):
    """Units and latents of one level."""

    def __init__(self, given: Given, name: str) -> None:
        super().__init__()

        def linear(part):
            weight = given[f"{name}/{part}"]
            made = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
            made.weight.data = weight.clone()
            return made

        self.recurrent, self.latent, self.above = map(
            linear, ("recurrent", "latent", "above")
        )
        self.prior_mean, self.prior_log = map(
            linear, ("prior_mean", "prior_log_deviation")
        )
        self.register_buffer("bias", given[f"{name}/bias"])
        self.register_buffer("rate", 1 / given[f"{name}/time_constant"])

    def forward(self, u, d, z, above):
        """Return potentials and activities after a step."""
        towards = self.recurrent(d) + self.latent(z) + self.above(above) + self.bias
        u = (1 - self.rate) * u + self.rate * towards
        return u, torch.tanh(u)

    def prior(self, d):
        """Return mean and deviation after activities of the step before."""
        return torch.tanh(self.prior_mean(d)), torch.exp(self.prior_log(d))


class Network(torch.nn.Module):
    """What both ways train: two senses, an association and an executive layer."""

    def __init__(self, given: Given) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(Layer(given, name) for name in LAYERS)
        self.heads = torch.nn.ModuleList()
        for name in LAYERS[:2]:
            weight = given[f"{name}/head"]
            head = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
            head.weight.data = weight.clone()
            self.heads.append(head)
        self.mean = torch.nn.Parameter(given["adaptive_mean"].clone())
        self.log = torch.nn.Parameter(given["adaptive_log_deviation"].clone())


def divergence(mean, deviation, prior_mean, prior_deviation):
    """Return the divergence (nats) of every latent."""
    logs = torch.log(prior_deviation + OFFSET) - torch.log(deviation + OFFSET)
    squares = deviation**2 + (mean - prior_mean) ** 2
    return logs + squares / (2 * (prior_deviation**2 + OFFSET)) - 0.5


class StepByStep(Network):
    """Everything of a step within the loop over time."""

    def forward(self, data, noise=None):
        """Return the loss."""
        n_steps, n_trials = data.shape[:2]
        means = [part.unbind(0) for part in self.mean.split(SIZES, -1)]
        logs = [part.unbind(0) for part in self.log.split(SIZES, -1)]
        u = [data.new_zeros(n_trials, len(layer.bias)) for layer in self.layers]
        d, targets = list(u), data.split(CHANNELS, -1)
        error = data.new_zeros(())
        complexity = data.new_zeros(())
        for t in range(n_steps):
            z = []
            eps = None if noise is None else noise[t].split(SIZES, -1)
            for i, layer in enumerate((*self.layers, None)):
                # The executive layer has the same distribution at all steps.
                mean = torch.tanh(means[i][t if layer else 0])
                deviation = torch.exp(logs[i][t if layer else 0])
                if t == 0:
                    prior = torch.zeros_like(mean), torch.ones_like(mean)
                elif layer is not None:
                    prior = layer.prior(d[i])
                if t == 0 or layer is not None:
                    kl = divergence(mean, deviation, *prior)
                    complexity = complexity + FACTORS[i] * kl.sum()
                drawn = torch.randn_like(mean) if eps is None else eps[i]
                z.append(mean + deviation * drawn)
            u[2], d[2] = self.layers[2](u[2], d[2], z[2], z[3])
            for i in range(2):
                u[i], d[i] = self.layers[i](u[i], d[i], z[i], d[2])
                told = torch.tanh(self.heads[i](d[i]))
                squares = (told - targets[i][t]) ** 2
                error = error + squares.sum() / CHANNELS[i]
        return error + META_PRIOR * complexity


def recur(drive, weight, keep, first):
    """Run u <- keep u + drive + d weight, d = tanh(u); return d (time, trial, unit)."""
    u, d, found = first, torch.tanh(first), []
    for given in drive.unbind(0):
        u = torch.addcmul(torch.addmm(given, d, weight), u, keep)
        d = torch.tanh(u)
        found.append(d)
    return torch.stack(found)


class AdjointLoop(torch.autograd.Function):
    """The same as `recur`, with its derivative written by hand."""

    @staticmethod
    def forward(ctx, drive, weight, keep, first):
        """Run the loop without autograd."""
        found = torch.empty_like(drive)
        u, d = first.clone(), torch.tanh(first)
        for given, place in zip(drive.unbind(0), found.unbind(0), strict=True):
            u.mul_(keep).add_(given).addmm_(d, weight)
            d = torch.tanh(u, out=place)
        ctx.save_for_backward(found, weight, keep, first)
        return found

    @staticmethod
    def backward(ctx, error):
        """Carry the error back, then make the gradient of the weights at once."""
        found, weight, keep, first = ctx.saved_tensors
        slope, pushed, back = 1 - found**2, torch.empty_like(found), weight.t()
        push, seen, kept = (torch.zeros_like(first) for _ in range(3))
        rows = [reversed(part.unbind(0)) for part in (error, slope, pushed)]
        for one, slant, place in zip(*rows, strict=True):
            torch.mul(push, keep, out=kept)
            push = torch.addcmul(kept, seen.add_(one), slant, out=place)
            torch.mm(push, back, out=seen)
        past = torch.cat([torch.tanh(first)[None], found[:-1]]).flatten(0, 1)
        return pushed, past.t() @ pushed.flatten(0, 1), None, None


class Hoisted(Network):
    """Only the recurrence is left in the loops over time."""

    loop: Any = staticmethod(recur)

    def forward(self, data, noise=None, first=None, valid=None):
        """Return the loss."""
        return self.evaluate(data, noise, first)[0]

    def evaluate(self, data, noise=None, first=None):
        """Return the loss, and activities of association and of both senses.

        ``first`` are their potentials before a window that goes on; None where trials
        start.
        """
        n_steps, n_trials = data.shape[:2]
        # The executive layer has the same distribution at all steps.
        mean, log = (
            torch.cat([a[..., :5], a[:1, :, 5:].expand(n_steps, -1, -1)], -1)
            for a in (self.mean, self.log)
        )
        mean, deviation = torch.tanh(mean), torch.exp(log)
        noise = torch.randn_like(mean) if noise is None else noise
        z = torch.addcmul(mean, deviation, noise)
        one, two, top = self.layers
        before = first or [data.new_zeros(n_trials, n) for n in (15, 30)]
        weight = torch.cat([top.latent.weight, top.above.weight], 1)
        upper = self._run(z[..., 2:], weight, top.recurrent.weight, [top], before[0])
        weight = torch.block_diag(one.latent.weight, two.latent.weight)
        above = torch.cat([one.above.weight, two.above.weight])
        lower = self._run(
            torch.cat([z[..., :2], upper], -1),
            torch.cat([weight, above], 1),
            torch.block_diag(one.recurrent.weight, two.recurrent.weight),
            [one, two],
            before[1],
        )
        heads = torch.block_diag(*(head.weight for head in self.heads))
        squares = (torch.tanh(lower @ heads.t()) - data) ** 2
        divisor = data.new_tensor([1 / n for n in CHANNELS for _ in range(n)])
        error = squares.sum((0, 1)) @ divisor
        past = torch.cat([lower, upper], -1)
        past = torch.cat([torch.tanh(torch.cat(before[::-1], -1))[None], past[:-1]])
        prior_mean, prior_deviation = (
            past @ torch.block_diag(*weights).t()
            for weights in (
                [layer.prior_mean.weight for layer in self.layers],
                [layer.prior_log.weight for layer in self.layers],
            )
        )
        prior = [torch.tanh(prior_mean), torch.exp(prior_deviation)]
        if first is None:
            prior = [
                torch.cat([torch.full_like(part[:1], value), part[1:]])
                for part, value in zip(prior, (0.0, 1.0), strict=True)
            ]
        kl = divergence(mean[..., :5], deviation[..., :5], *prior).sum((0, 1))
        factors = data.new_tensor(np.repeat(FACTORS[:3], SIZES[:3]))
        complexity = kl @ factors
        if first is None:
            standard = torch.zeros_like(mean[0, :, 5:])
            top_kl = divergence(
                mean[0, :, 5:], deviation[0, :, 5:], standard, 1.0 + standard
            )
            complexity = complexity + top_kl.sum()
        return error + META_PRIOR * complexity, upper, lower

    def _run(self, inputs, weight, recurrent, layers, first):
        rate = torch.cat([layer.rate for layer in layers])
        bias = torch.cat([layer.bias for layer in layers])
        drive = torch.nn.functional.linear(inputs, weight * rate[:, None], bias * rate)
        return self.loop(drive, (recurrent * rate[:, None]).t(), 1 - rate, first)


def _piece(drive, weight, keep, u):
    """Run some steps, to be compiled; return activities, and the last potentials."""
    d, found = torch.tanh(u), []
    for given in drive.unbind(0):
        u = torch.addcmul(torch.addmm(given, d, weight), u, keep)
        d = torch.tanh(u)
        found.append(d)
    return torch.stack(found), u


@cache
def _compiled():
    torch._dynamo.config.recompile_limit = 64
    return torch.compile(_piece, dynamic=False)


class Compiled(Hoisted):
    """With the loop in compiled pieces of `PIECE` steps, which are unrolled."""

    @staticmethod
    def loop(drive, weight, keep, first):
        """Run the pieces one after another."""
        found, u = [], first
        for part in drive.split(PIECE):
            rows, u = _compiled()(part, weight, keep, u)
            found.append(rows)
        return torch.cat(found)


class Adjoint(Hoisted):
    """With the derivative of the loop written by hand."""

    loop = staticmethod(AdjointLoop.apply)


WAYS = {
    "step by step": StepByStep,
    "hoisted": Hoisted,
    "hoisted, compiled": Compiled,
    "hoisted, adjoint": Adjoint,
}


class Toy(torch.nn.Module):
    """One layer whose posterior depends on its activity; the rest is hoisted."""

    def __init__(self, given: Given) -> None:
        super().__init__()
        parts = {k: v for k, v in given.items() if k.startswith("toy/weight/")}
        self.weights = torch.nn.ParameterDict(
            {k.removeprefix("toy/weight/"): v.clone() for k, v in parts.items()}
        )
        self.mean = torch.nn.Parameter(given["toy/adaptive_mean"].clone())
        self.log = torch.nn.Parameter(given["toy/adaptive_log_deviation"].clone())
        self.register_buffer("rate", 1 / given["toy/time_constant"])

    def forward(self, data, noise=None):
        """Return the loss."""
        w, rate = self.weights, self.rate
        n_units = len(rate)
        noise = torch.randn_like(self.mean) if noise is None else noise
        # One product in the loop for what the activity gives to units and latents.
        enters = torch.cat(
            [w.recurrent * rate[:, None], w.posterior_mean, w.posterior_log_deviation]
        ).t()
        biases = torch.cat(
            [w.bias * rate, w.posterior_mean_bias, w.posterior_log_deviation_bias]
        )
        drive = torch.cat(
            [torch.zeros(*self.mean.shape[:2], n_units).to(data), self.mean, self.log],
            -1,
        )
        drive = (drive + biases).unbind(0)
        latent = (w.latent * rate[:, None]).t()
        keep, u = 1 - rate, data.new_zeros(data.shape[1], n_units)
        d, found, drawn = u, [], []
        for given, eps in zip(drive, noise.unbind(0), strict=True):
            towards, mean, log = torch.addmm(given, d, enters).split(
                (n_units, 1, 1), -1
            )
            drawn.append((mean, log))
            z = torch.addcmul(torch.tanh(mean), torch.exp(log), eps)
            u = torch.addcmul(torch.addmm(towards, z, latent), u, keep)
            d = torch.tanh(u)
            found.append(d)
        whole = torch.stack(found)
        mean, log = map(torch.stack, zip(*drawn, strict=True))
        past = whole[:-1]
        prior = [
            torch.cat([first, values])
            for first, values in (
                (
                    torch.zeros_like(mean[:1]),
                    torch.tanh(past @ w.prior_mean.t() + w.prior_mean_bias),
                ),
                (
                    torch.ones_like(mean[:1]),
                    torch.exp(
                        past @ w.prior_log_deviation.t() + w.prior_log_deviation_bias
                    ),
                ),
            )
        ]
        wide, deviation = prior[1] + TOY_OFFSET, torch.exp(log) + TOY_OFFSET
        squares = deviation**2 + (torch.tanh(mean) - prior[0]) ** 2
        kl = torch.log(wide / deviation) + squares / (2 * wide**2) - 0.5
        told = torch.tanh(whole @ w.head.t() + w.head_bias)
        return ((told - data) ** 2).sum() + TOY_META_PRIOR * kl.sum()
