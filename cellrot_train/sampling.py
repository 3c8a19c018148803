"""Which patches make up a step, read where they lie and augmented where they train.

Everything random about a step is a function of the run's seed and the step's number,
so that a resumed run goes on as if it had never stopped.
"""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, TypeVar, cast

import torch
from torch import Tensor

from cellrot_train.augment import STRENGTHS, Draw, augment, compared, draw
from cellrot_train.config import Config, ConfigError
from cellrot_train.objectives import (
    PROJECTING,
    UNLABELLED,
    Batch,
    parse_objective,
    views,
)

T = TypeVar("T")


class Share(NamedTuple):
    """Which part of each batch this process takes: number `rank` of `world`."""

    rank: int = 0
    world: int = 1


ALONE = Share()


class Plan:
    """The patches of every step: each is drawn as often in an epoch as its weight says.

    Weights (N,) are expected draws. A weight of 1.5 is drawn once or twice an epoch,
    never more: less chance than drawing each patch on its own.
    """

    def __init__(
        self, weights: Tensor, batch_size: int, seed: int, world: int = 1
    ) -> None:
        self._cumulated = weights.double().cumsum(0)
        self._seed = seed
        total = round(self._cumulated[-1].item())
        self.batch_size = min(batch_size, total) // world * world
        if not self.batch_size:
            raise ConfigError(
                f"{min(batch_size, total)} patches a step for {world} processes, "
                "expected at least one each"
            )
        self.steps_per_epoch = total // self.batch_size
        self._total = total
        self._order: tuple[int, Tensor] | None = None

    def rows(self, step: int) -> Tensor:
        """Return the positions of the patches of `step`, (batch_size,)."""
        epoch, within = divmod(step, self.steps_per_epoch)
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, self._shuffled(epoch)
        start = within * self.batch_size
        return self._order[1][start : start + self.batch_size]

    def _shuffled(self, epoch: int) -> Tensor:
        chance = generator(self._seed, epoch, "order")
        offset = torch.rand((), generator=chance, dtype=torch.float64)
        marks = torch.arange(self._total, dtype=torch.float64) + offset
        marks *= self._cumulated[-1] / self._total
        rows = torch.searchsorted(self._cumulated, marks, right=True)
        rows = rows.clamp(max=len(self._cumulated) - 1)
        return rows[torch.randperm(self._total, generator=chance)]


def generator(
    seed: int, number: int, use: str, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return the chance of one step or epoch, different for each use."""
    digest = hashlib.sha256(f"{seed} {number} {use}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little"))


def draws(labels: Tensor, train: Tensor, config: Config) -> Tensor:
    """Return how often each patch is drawn in an epoch, (N,), by label and settings.

    `labels` (N,), -1 where unknown; `train` are the rows that may be drawn at all.
    """
    weights = torch.zeros(len(labels), dtype=torch.float64)
    weights[train] = 1
    labelled = (weights > 0) & (labels != UNLABELLED)
    counts = torch.bincount(labels[labelled]).double().clamp(min=1)
    weights[labelled] = counts[labels[labelled]] ** -config.balance
    few, total = labelled.sum(), len(train)
    weights[labelled] *= few / weights[labelled].sum()
    if parse_objective(config.objective).keys() == {"supervised"}:
        return weights * labelled
    if config.labelled_share and 0 < few < total:
        others = (weights > 0) & ~labelled
        weights[labelled] *= config.labelled_share * total / few
        weights[others] *= (1 - config.labelled_share) * total / others.sum()
    return weights


def vary(patches: Tensor, config: Config, number: int) -> Tensor:
    """Return the bytes `patches` (N, 3, P, P) changed as training changes them.

    The chance is that of `number`, and none that a step of the training has.
    """
    chance = generator(config.seed, number, "vary")
    drawn = draw(len(patches), STRENGTHS[config.augment], config.rotate, chance)
    shape = (len(patches), 3, config.network_px, config.network_px)
    noise = torch.randn(shape, generator=chance)
    return augment(patches, drawn.to(patches.device), noise.to(patches.device))


@dataclass(frozen=True)
class Feed:
    """Makes the batch of any step from `images` (N, 3, S, S), uint8, and `labels`."""

    images: Tensor
    labels: Tensor
    plan: Plan
    config: Config
    device: torch.device
    share: Share = ALONE

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """Yield the batches of the steps from `start` to before `stop`."""
        read = (self._read(step) for step in range(start, stop))
        waiting = self.images.device != self.device or self.device.type == "cpu"
        ready = ahead(read) if waiting else read
        for step, (patches, labels) in enumerate(ready, start):
            yield self._make(step, patches, labels)

    def _read(self, step: int) -> tuple[Tensor, Tensor]:
        rows = self._part(self.plan.rows(step), 1)
        patches = self.images[rows.to(self.images.device)]
        if self.device.type == "cuda" and patches.device.type == "cpu":
            patches = patches.pin_memory()
        return patches, self.labels[rows]

    def _make(self, step: int, patches: Tensor, labels: Tensor) -> Batch:
        terms = parse_objective(self.config.objective)
        times, strength = views(terms), STRENGTHS[self.config.augment]
        if terms.keys() & PROJECTING:
            strength = compared(strength)
        chance = generator(self.config.seed, step, "augment")
        count = self.plan.batch_size * times
        drawn = draw(count, strength, self.config.rotate, chance)
        local = Draw(*(self._part(entry, times) for entry in drawn)).to(self.device)
        shape = (count, 3, self.config.network_px, self.config.network_px)
        fresh = generator(self.config.seed, step, "noise", self.device)
        noise = torch.randn(shape, generator=fresh, device=self.device)
        patches = patches.to(self.device, non_blocking=True).repeat(times, 1, 1, 1)
        labels = labels.to(self.device, non_blocking=True).repeat(times)
        images = augment(patches, local, self._part(noise, times))
        return Batch(step, images, labels, local.disc, local.angle_rad, local.chance)

    def _part(self, rows: Tensor, times: int) -> Tensor:
        """Return this process's share of each of the views in `rows`."""
        rank, world = self.share
        parts = [view.tensor_split(world)[rank] for view in rows.chunk(times)]
        return torch.cat(parts)


def ahead(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """Yield `items`, made by a thread up to `depth` items before they are asked for."""
    source, end = iter(items), object()
    with ThreadPoolExecutor(max_workers=1) as reader:
        ready = deque(reader.submit(next, source, end) for _ in range(depth))
        while (item := ready.popleft().result()) is not end:
            ready.append(reader.submit(next, source, end))
            yield cast("T", item)
