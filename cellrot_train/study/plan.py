"""What a study compares: every entry by name, all trained with one budget."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from cellrot_infer.errors import DataError
from cellrot_train.config import MODELS, Config, ConfigError
from cellrot_train.encoders.base import AutoEncoder
from cellrot_train.objectives import RECONSTRUCTING, parse_objective
from cellrot_train.run import new_encoder

FEW = "semi-supervised"  # the objective of few labels among many cells
OBJECTIVE = {FEW: "supervised+contrastive"}
LABELS_PER_CLASS = 20
LABELLED_SHARE = 0.25  # of a batch, so that few labels are not lost in it
HARMONIC = ("hnet-r0", "hnet-r2")
HANDMADE = ("colour histogram and radial profile", "PCA of pixels")
RING = "outer ring alone"  # tells how much the acquisition gives away
AVERAGED_TURNS = 8
WHITENING_CELLS = 2000  # of training, whose labels are not read
MAX_SIZE_RATIO = 1.1  # of parameters, between the largest and the smallest encoder
DECIDED = {  # what the plan says of a training, and a file of settings must not
    "model", "objective", "data", "unlabelled", "init", "seed", "epochs", "side_px",
    "view_px", "rotate", "labels_per_class", "labelled_share", "balance", "refit",
    "device",
}  # fmt: skip


@dataclass(frozen=True)
class Budget:
    """How much a study spends, where its user does not say otherwise."""

    seeds: int
    epochs: int
    side_px: int
    objectives: tuple[str, ...]


BUDGETS = {
    "small": Budget(1, 6, 64, ("reconstruction", "contrastive")),
    "full": Budget(
        5,
        60,
        128,
        (
            "reconstruction",
            "masked",
            "contrastive",
            "variance",
            "reconstruction+contrastive",
            FEW,
            "supervised",
        ),
    ),
}


@dataclass(frozen=True)
class Entry:
    """One line of the comparison.

    `objective` is empty where nothing is trained: random weights, or features made by
    hand. `turned`: trained on images turned and mirrored at random. `averaged`: read
    as the mean over 8 turned copies of each image.
    """

    model: str
    objective: str = ""
    turned: bool = False
    averaged: bool = False
    seed: int = 0

    @property
    def title(self) -> str:
        """What it is called beside others of its objective."""
        words = [f"random {self.model}" if self.random else self.model]
        words += ["trained turned"] if self.turned else []
        words += [f"mean of {AVERAGED_TURNS} turns"] if self.averaged else []
        return ", ".join(words)

    @property
    def key(self) -> str:
        """Its name in study.json."""
        return " | ".join((self.title, self.objective or "untrained", str(self.seed)))

    @property
    def random(self) -> bool:
        """Whether it is an encoder that has learned nothing."""
        return self.model in MODELS and not self.objective

    @property
    def reconstructs(self) -> bool:
        """Whether its decoder has learned something."""
        return bool(self.objective and objective_terms(self.objective) & RECONSTRUCTING)


@dataclass(frozen=True)
class Plan:
    """What is compared on the patch set `data`, whose fingerprint is `sha256`.

    `settings` are those of every training that the plan does not decide itself.
    `rival_seeds`, where they are more than `seeds`, are those of the harmonic nets and
    of their rival, the baseline trained turned, where nothing is painted and no label
    is read: one question is asked of these alone, and more seeds make it sharper.
    """

    data: str
    models: tuple[str, ...]
    objectives: tuple[str, ...]
    seeds: int
    epochs: int
    side_px: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""
    rival_seeds: int = 0

    def __post_init__(self) -> None:
        for name in self.models:
            if name not in MODELS:
                known = ", ".join(MODELS)
                raise ConfigError(f"models has {name!r}, expected some of {known}")
        for name in self.objectives:
            objective_terms(name)
        if taken := sorted(self.settings.keys() & DECIDED):
            raise ConfigError(f"{taken[0]} is decided by the study, not by a file")
        Config.from_dict(self.settings, "settings of the study")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the plan that `values` say."""
        lists = {name: tuple(values[name]) for name in ("models", "objectives")}
        return cls(**{**values, **lists})

    def entries(self) -> tuple[Entry, ...]:
        """Return all that is compared; the trainings come first."""
        trained = list(self._trained())
        means = [
            Entry(e.model, e.objective, e.turned, averaged=True, seed=e.seed)
            for e in trained
            if e.model == "baseline" and e.seed < self.seeds
        ]
        untrained = [
            Entry(model, seed=seed)
            for seed in range(self.seeds)
            for model in self.models
        ]
        made = [Entry(name) for name in (*HANDMADE, RING)]
        return (*trained, *means, *untrained, *made)

    def _trained(self) -> Iterator[Entry]:
        for seed in range(self.seeds):
            for objective in self.objectives:
                for model in self.models:
                    yield Entry(model, objective, seed=seed)
                    if model == "baseline":
                        yield Entry(model, objective, turned=True, seed=seed)
        for seed in range(self.seeds, self.rival_seeds):
            for objective in filter(is_rivalry, self.objectives):
                yield from self._rivals(objective, seed)

    def _rivals(self, objective: str, seed: int) -> Iterator[Entry]:
        for model in self.models:
            if model == "baseline":
                yield Entry(model, objective, turned=True, seed=seed)
            elif model in HARMONIC:
                yield Entry(model, objective, seed=seed)

    def config(self, entry: Entry, device: str = "auto") -> Config:
        """Return the settings of the training that `entry` needs."""
        objective = OBJECTIVE.get(entry.objective, entry.objective)
        if entry.model == "stn" and objective:
            objective += "+orientation"
        labels = entry.objective and "supervised" in parse_objective(objective)
        few = entry.objective == FEW
        return Config(
            **self.settings,
            model=entry.model,
            objective=objective or "reconstruction",
            data=self.data,
            epochs=self.epochs,
            side_px=self.side_px,
            rotate=entry.turned,
            balance=0.5 if labels else 0.0,  # a balanced batch would tell of labels
            labels_per_class=LABELS_PER_CLASS if few else 0,
            labelled_share=LABELLED_SHARE if few else 0.0,
            refit=False,  # no classifier of a training is read
            seed=entry.seed,
            device=device,
        )

    def steps(self, train_cells: int) -> int:
        """Return the optimiser steps of every training."""
        batch_size = self.settings.get("batch_size", Config().batch_size)
        return int(self.epochs * (train_cells // min(batch_size, train_cells)))

    def sizes(self) -> dict[str, dict[str, int]]:
        """Return the parameters of each model: of all of it, and of its encoder.

        Raises ConfigError where models differ by more than a tenth.
        """
        found = {}
        for model in self.models:
            encoder = new_encoder(self.config(Entry(model)))
            found[model] = {
                "all": count_parameters(encoder),
                "encoder": count_parameters(encoder, but="decoder"),
            }
        by_size = sorted(found, key=lambda name: found[name]["all"])
        smallest, largest = by_size[0], by_size[-1]
        high, low = found[largest]["all"], found[smallest]["all"]
        if high > MAX_SIZE_RATIO * low:
            raise ConfigError(
                f"{largest} has {high} parameters and {smallest} {low}, expected a "
                "difference of at most a tenth; leave `width` to the models"
            )
        return found

    def differences(self, other: "Plan") -> list[str]:
        """Return the names of what `other` says differently."""
        names = [entry.name for entry in fields(self)]
        return [name for name in names if getattr(self, name) != getattr(other, name)]


def regime(objective: str) -> str:
    """Return whether `objective` uses no labels, few, or all."""
    if objective == FEW:
        return FEW
    labels = "supervised" in objective_terms(objective)
    return "supervised" if labels else "purely unsupervised"


def is_rivalry(objective: str) -> bool:
    """Return whether `rival_seeds` are for `objective`."""
    paints = objective_terms(objective) & RECONSTRUCTING
    return regime(objective) == "purely unsupervised" and not paints


def objective_terms(objective: str) -> set[str]:
    """Return the terms of `objective`; raise ConfigError where it has none."""
    return set(parse_objective(OBJECTIVE.get(objective, objective)))


def count_parameters(encoder: AutoEncoder, *, but: str = "") -> int:
    """Return how many parameters there are, but those of the part of that name."""
    return sum(
        parameter.numel()
        for name, parameter in encoder.named_parameters()
        if not but or but not in name.split(".")
    )


def refuse_unlabelled(class_names: tuple[str, ...], data: str) -> None:
    """Raise DataError where there are no labels to judge anything by."""
    if not class_names:
        raise DataError(f"{data}: has no labels, which a comparison is judged by")
