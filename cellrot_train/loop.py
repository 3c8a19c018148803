"""The training loop: a generator of steps that knows about gradients only."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from cellrot_infer.errors import CellrotError
from cellrot_train.objectives import Batch


class DivergenceError(CellrotError):
    """The loss or its gradient is no number any more."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one optimiser step did: the terms of the loss, and the loss itself.

    `grad_norm` is the length of the gradient before clipping.
    """

    index: int
    grad_norm: float
    terms: dict[str, float]

    @property
    def loss(self) -> float:
        """What was minimised."""
        return self.terms["loss"]


def train(
    learner: nn.Module,
    optimizer: Optimizer,
    batches: Iterable[Batch],
    *,
    rate: Callable[[int], float],
    max_grad_norm: float,
    scaler: GradScaler | None = None,
) -> Iterator[Step]:
    """Minimise what `learner` makes of each batch; yield after every step.

    `rate` gives the learning rate of a step. The caller decides when to log,
    validate, save or stop. Raises DivergenceError, before the
    weights are touched, at the first loss or gradient that is no number. `scaler`
    is for fp16, whose gradients may overflow now and then: it leaves such steps out.
    """
    scaler = scaler or GradScaler(enabled=False)
    parameters = [
        entry for group in optimizer.param_groups for entry in group["params"]
    ]
    for batch in batches:
        learner.train()  # the caller may have validated since the last step
        terms = learner(batch)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(terms["loss"]).backward()
        scaler.unscale_(optimizer)
        grad_norm = nn.utils.clip_grad_norm_(parameters, max_grad_norm)
        # one transfer for all figures: each would make a GPU wait
        *values, norm = _mean(torch.stack([*terms.values(), grad_norm])).tolist()
        step = Step(batch.step, norm, dict(zip(terms, values, strict=True)))
        if not math.isfinite(step.loss if scaler.is_enabled() else step.loss + norm):
            raise DivergenceError(
                f"training diverged at step {step.index}: loss {step.loss:.4g}, "
                f"gradient {norm:.4g}; lower --learning-rate"
            )
        for group in optimizer.param_groups:
            group["lr"] = rate(batch.step)
        scaler.step(optimizer)
        scaler.update()
        yield step


def _mean(figures: Tensor) -> Tensor:
    """Return the mean of `figures` over all processes."""
    figures = figures.detach()
    if dist.is_initialized():
        dist.all_reduce(figures)
        figures /= dist.get_world_size()
    return figures


def cosine(peak: float, warmup: int, total: int) -> Callable[[int], float]:
    """Return the learning rate of each step: a linear rise, then half a cosine."""

    def rate(step: int) -> float:
        if step < warmup:
            return peak * (step + 1) / warmup
        done = (step - warmup) / max(1, total - warmup)
        return peak * (1 + math.cos(math.pi * done)) / 2

    return rate


def build_optimizer(
    learner: nn.Module, learning_rate: float, weight_decay: float
) -> Optimizer:
    """Return AdamW; biases and scales (one-dimensional) do not decay."""
    trained = [entry for entry in learner.parameters() if entry.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)


def build_scaler(precision: torch.dtype, device: torch.device) -> GradScaler:
    """Return what keeps small fp16 gradients from vanishing; idle elsewhere."""
    return GradScaler(device.type, enabled=precision == torch.float16)


@torch.no_grad()
def average(mean: nn.Module, learner: nn.Module, decay: float, step: int) -> None:
    """Move the weights of `mean` towards those of `learner`.

    The memory grows with the steps taken, so that the random start is forgotten.
    """
    weight = 1 - min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(_state(mean), _state(learner), weight)


def _state(module: nn.Module) -> list[Tensor]:
    tensors = module.state_dict().values()
    return [entry for entry in tensors if entry.is_floating_point()]
