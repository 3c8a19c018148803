"""The loop lowers the loss, and stops at the step that goes wrong."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch import Tensor, nn

from cellrot_train.config import Config
from cellrot_train.loop import (
    DivergenceError,
    average,
    build_optimizer,
    build_scaler,
    cosine,
    train,
)
from cellrot_train.objectives import Batch, Learner
from cellrot_train.pixels import Pixels
from cellrot_train.run import new_encoder
from cellrot_train.sampling import Feed, Plan


class Slope(nn.Module):
    """A loss that falls along one weight."""

    def __init__(self, gradient: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 2))
        self.gradient = gradient

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": self.gradient * self.weight.sum()}


def batches(count: int) -> Iterator[Batch]:
    for step in range(count):
        yield Batch(step, *(torch.zeros(1) for _ in range(5)))


def constant(step: int) -> float:
    return 0.1


def test_nothing_runs_until_it_is_asked_for() -> None:
    slope = Slope()
    steps = train(
        slope,
        build_optimizer(slope, 0.1, 0),
        batches(9),
        rate=constant,
        max_grad_norm=1,
    )

    assert (slope.weight == 1).all()
    assert [step.index for step in islice(steps, 3)] == [0, 1, 2]
    assert (slope.weight < 0.8).all()


def test_long_gradients_are_clipped_and_reported() -> None:
    slope = Slope(gradient=100.0)
    optimizer = torch.optim.SGD(slope.parameters(), lr=1)

    step = next(
        train(slope, optimizer, batches(1), rate=lambda _: 1.0, max_grad_norm=0.5)
    )

    assert step.grad_norm == pytest.approx(200)
    assert (slope.weight - 1).norm().item() == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_divergence_stops_at_its_step_and_spares_the_weights(bad: float) -> None:
    slope = Slope()
    steps = train(
        slope,
        build_optimizer(slope, 0.1, 0),
        batches(9),
        rate=constant,
        max_grad_norm=1,
    )
    next(steps)
    before = slope.weight.detach().clone()
    slope.gradient = bad

    with pytest.raises(DivergenceError, match="diverged at step 1"):
        next(steps)
    assert torch.equal(slope.weight, before)


def test_the_rate_rises_to_its_peak_and_falls_to_nothing() -> None:
    rate = cosine(2.0, warmup=10, total=110)

    rates = [rate(step) for step in range(110)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[10] == rates[9] == 2
    assert rates[60] == pytest.approx(1, abs=0.01)
    assert 0 < rates[-1] < 0.001
    assert cosine(2.0, 0, 5)(0) == 2


def test_biases_do_not_decay() -> None:
    optimizer = build_optimizer(nn.Linear(3, 2), 0.1, 0.5)

    decays = {
        p.ndim: g["weight_decay"] for g in optimizer.param_groups for p in g["params"]
    }
    assert decays == {2: 0.5, 1: 0.0}


def test_the_average_forgets_its_start_and_then_remembers_long() -> None:
    mean, learner = nn.Linear(1, 1), nn.Linear(1, 1)
    nn.init.zeros_(mean.weight)
    nn.init.ones_(learner.weight)

    average(mean, learner, 0.99, step=0)
    assert mean.weight.item() == pytest.approx(0.9)
    average(mean, nn.Linear(1, 1), 0.99, step=10**6)
    assert mean.weight.item() == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("kind", ["cpu", "cuda"])  # what each does, here on a CPU
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16])
def test_a_real_encoder_learns_in_every_arithmetic(
    pixels: Pixels, tiny: Config, precision: torch.dtype, kind: str
) -> None:
    torch.manual_seed(0)
    config = replace(tiny, objective="reconstruction", augment="none", rotate=False)
    learner = Learner(new_encoder(config), 11, config)
    learner.compute_in(precision, torch.device(kind))
    device = torch.device("cpu")
    labels = torch.from_numpy(pixels.patch_set.labels)
    plan = Plan(torch.ones(len(labels)), 64, 0)
    feed = Feed(pixels.images, labels, plan, config, device)

    steps = train(
        learner,
        build_optimizer(learner, 0.01, 0),
        feed.batches(0, 30),
        rate=lambda _: 0.01,
        max_grad_norm=1,
        scaler=build_scaler(precision, device),
    )
    losses = [step.terms["reconstruction"] for step in steps]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
