"""Which patches make up a step: balanced, reproducible, the same for many processes."""

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import pytest
import torch

from cellrot_train.config import Config, ConfigError
from cellrot_train.objectives import UNLABELLED
from cellrot_train.pixels import Pixels
from cellrot_train.sampling import Feed, Plan, Share, ahead, draws, vary

LABELS = torch.tensor([0] * 60 + [1] * 20 + [2] * 4)
ALL = torch.arange(len(LABELS))


def epoch(plan: Plan, number: int) -> list[int]:
    steps = range(number * plan.steps_per_epoch, (number + 1) * plan.steps_per_epoch)
    return [row for step in steps for row in plan.rows(step).tolist()]


def test_equal_weights_draw_every_patch_once_an_epoch() -> None:
    plan = Plan(torch.ones(40), batch_size=8, seed=0)

    assert sorted(epoch(plan, 0)) == sorted(epoch(plan, 1)) == list(range(40))
    assert epoch(plan, 0) != epoch(plan, 1)


def test_a_step_does_not_depend_on_those_before() -> None:
    forward = Plan(torch.ones(40), 8, seed=0)
    expected = [forward.rows(step).tolist() for step in range(12)]

    backward = Plan(torch.ones(40), 8, seed=0)
    assert [backward.rows(step).tolist() for step in reversed(range(12))] == expected[
        ::-1
    ]


@pytest.mark.parametrize(("balance", "rare"), [(0.0, 4), (1.0, 28)])
def test_balance_draws_rare_classes_more_often(balance: float, rare: int) -> None:
    weights = draws(LABELS, ALL, Config(balance=balance))

    drawn = Counter(LABELS[epoch(Plan(weights, 4, seed=0), 0)].tolist())

    assert drawn.total() == 84
    assert abs(drawn[2] - rare) <= 1


def test_the_validation_split_is_never_drawn() -> None:
    train = ALL[::2]

    weights = draws(LABELS, train, Config(objective="reconstruction"))

    assert set(epoch(Plan(weights, 4, seed=0), 0)) <= set(train.tolist())


def test_labels_alone_need_no_unlabelled_patches() -> None:
    labels = LABELS.clone()
    labels[::2] = UNLABELLED

    supervised = draws(labels, ALL, Config(objective="supervised"))
    joint = draws(labels, ALL, Config(objective="joint"))

    assert supervised[::2].sum() == 0
    assert (joint[::2] == 1).all()


def test_few_labels_make_up_the_share_that_is_asked_for() -> None:
    labels = torch.where(ALL % 10 == 0, LABELS, UNLABELLED)

    weights = draws(labels, ALL, Config(objective="joint", labelled_share=0.25))

    assert weights.sum().item() == pytest.approx(84)
    assert weights[labels >= 0].sum().item() == pytest.approx(21)


def test_more_processes_than_patches_are_refused() -> None:
    with pytest.raises(ConfigError, match="2 patches a step for 3 processes"):
        Plan(torch.ones(10), batch_size=2, seed=0, world=3)


def feed(pixels: Pixels, config: Config, share: Share) -> Feed:
    labels = torch.from_numpy(pixels.patch_set.labels)
    plan = Plan(torch.ones(len(labels)), 32, 0, share.world)
    return Feed(pixels.images, labels, plan, config, torch.device("cpu"), share)


@pytest.mark.parametrize("objective", ["reconstruction", "contrastive"])
def test_two_processes_see_the_batch_of_one(
    pixels: Pixels, tiny: Config, objective: str
) -> None:
    config = replace(tiny, objective=objective, augment="strong")
    whole = next(feed(pixels, config, Share()).batches(5, 6))

    parts = [next(feed(pixels, config, Share(r, 2)).batches(5, 6)) for r in (0, 1)]

    views = 2 if objective == "contrastive" else 1
    halves = [part.images.chunk(views) for part in parts]
    joined = torch.cat([half for view in zip(*halves, strict=True) for half in view])
    assert torch.allclose(joined, whole.images, atol=1e-3)


@pytest.mark.parametrize("augment", ["mild", "strong"])
def test_compared_views_lose_more_of_the_cell_than_others(
    pixels: Pixels, tiny: Config, augment: str
) -> None:
    def least_radius(objective: str) -> float:
        config = replace(tiny, objective=objective, augment=augment)
        batches = feed(pixels, config, Share()).batches(0, 4)
        return min(batch.disc[:, 2].min().item() for batch in batches)

    for objective in ("contrastive", "variance", "contrastive+orientation"):
        assert 0.55 <= least_radius(objective) < 0.65
    for objective in ("reconstruction", "masked", "supervised", "consistency"):
        assert least_radius(objective) >= 0.85


def test_reading_ahead_keeps_order_and_passes_faults_on() -> None:
    def faulty() -> Iterator[int]:
        yield from range(5)
        raise OSError("disk gone")

    reader = ahead(faulty())

    assert list(islice(reader, 5)) == [0, 1, 2, 3, 4]
    with pytest.raises(OSError, match="disk gone"):
        next(reader)


def test_reading_ahead_really_runs_ahead_and_stops_with_its_reader() -> None:
    made = [threading.Event() for _ in range(5)]

    def items() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    reader = ahead(items(), depth=2)
    assert next(reader) == 0
    assert made[2].wait(timeout=10)
    assert not made[4].is_set()
    reader.close()  # type: ignore[attr-defined]
    assert not made[4].is_set()


def test_varied_cells_are_the_same_for_the_same_number_alone(pixels: Pixels) -> None:
    config, patches = (
        Config(side_px=64, view_px=48, augment="strong"),
        pixels.images[:8],
    )

    first, again, other = (vary(patches, config, number) for number in (3, 3, 4))

    assert first.shape == (8, 3, 48, 48)
    assert torch.equal(first, again)
    assert (first - other).abs().mean() > 1
