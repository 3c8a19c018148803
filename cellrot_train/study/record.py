"""What a study has found so far: study.json, from which its page and figures come."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from cellrot_infer.errors import DataError
from cellrot_infer.files import write_text
from cellrot_train.evaluation import RotationCurves, to_plain
from cellrot_train.metrics import Estimate
from cellrot_train.protocol import Protocol
from cellrot_train.study.plan import Entry, Plan

FILE = "study.json"
SCHEMA = 1
DIGITS = 5


@dataclass(frozen=True)
class Painting:
    """Reconstructions of the test cells.

    `error` is the mean squared error inside the disc, where the input has variance 1.
    `asymmetry` is the share of the variance that is not in rings, of the
    reconstructions and of the `cells`: 0 is a target, seen from any angle alike.
    """

    error: float
    asymmetry: float
    cells: float


@dataclass(frozen=True)
class Final:
    """What an entry reaches on the test cells, measured once.

    `probes` by read-out; `angle_error_deg` is the median of what the predicted angle
    misses a turn by; `places` are x and y of some cells' vectors on a plane.
    """

    probes: Mapping[str, Protocol]
    rotation: RotationCurves | None = None
    painting: Painting | None = None
    angle_error_deg: Estimate | None = None
    places: tuple[tuple[float, float], ...] = ()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return what `values` say, as `to_plain` gives them."""
        rotation, painting = values["rotation"], values["painting"]
        angle = values["angle_error_deg"]
        return cls(
            probes=_probes(values["probes"]),
            rotation=rotation and RotationCurves.from_dict(rotation),
            painting=painting and Painting(**painting),
            angle_error_deg=angle and Estimate(*angle),
            places=tuple((x, y) for x, y in values["places"]),
        )


@dataclass(frozen=True)
class Record:
    """What was measured of one entry: on the validation cells, and at the end.

    `run` is the folder of its training, empty where it has none; `seconds` is what the
    training took, on whatever else the machine had to do.
    """

    entry: Entry
    run: str
    seconds: float
    val: Mapping[str, Protocol]
    final: Final | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return what `values` say, as `to_plain` gives them."""
        final = values["final"]
        return cls(
            entry=Entry(**values["entry"]),
            run=values["run"],
            seconds=values["seconds"],
            val=_probes(values["val"]),
            final=final and Final.from_dict(final),
        )


@dataclass(frozen=True)
class Study:
    """A plan, and what is known of its entries.

    `about` says of the data and the machine what the page tells; `labels` are those of
    the cells whose `places` are kept.
    """

    plan: Plan
    about: Mapping[str, Any]
    records: Mapping[str, Record] = field(default_factory=dict)
    labels: tuple[int, ...] = ()

    @property
    def has_seen_test(self) -> bool:
        """Whether any figure of the test cells is known."""
        return any(record.final is not None for record in self.records.values())

    def with_record(self, record: Record) -> "Study":
        """Return the study with `record` for its entry.

        Raises ValueError where that would replace figures of the test cells.
        """
        known = self.records.get(record.entry.key)
        if known is not None and known.final is not None:
            raise ValueError(f"{record.entry.key} has been tested already")
        return replace(self, records={**self.records, record.entry.key: record})

    def of(self, *entries: Entry) -> Iterator[Record]:
        """Yield the records of the entries that have one."""
        for entry in entries:
            if entry.key in self.records:
                yield self.records[entry.key]

    def write(self, folder: Path) -> None:
        """Write study.json into `folder`, complete or not at all."""
        values = {"schema": SCHEMA, **_rounded(to_plain(self))}
        text = json.dumps(values, ensure_ascii=False, allow_nan=False, indent=0)
        write_text(folder / FILE, text + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return the study in `folder`, None where there is none.

        Raises DataError where its file is damaged or of another version.
        """
        path = folder / FILE
        if not path.exists():
            return None
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values["schema"] != SCHEMA:
                raise DataError(
                    f"{path}: a study of schema {values['schema']}, this version reads "
                    f"{SCHEMA}; name another folder with --out"
                )
            return cls._from_dict(values)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}: cannot be read ({type(error).__name__}: {error}); restore "
                "it, or name another folder with --out"
            ) from None

    @classmethod
    def _from_dict(cls, values: Mapping[str, Any]) -> Self:
        found = values["records"].items()
        return cls(
            plan=Plan.from_dict(values["plan"]),
            about=values["about"],
            records={key: Record.from_dict(record) for key, record in found},
            labels=tuple(values["labels"]),
        )


def open_study(folder: Path, plan: Plan, about: Mapping[str, Any]) -> Study:
    """Return the study in `folder`, or a new one.

    Until test cells are read, a study may grow: models, objectives and seeds. What it
    has trained with may not change, and after the test nothing may: figures of the
    test cells must not choose what is compared. Raises DataError on either.
    """
    known = Study.read(folder)
    if known is None:
        return Study(plan, about)
    changed = known.plan.differences(plan)
    growing = {"models", "objectives", "seeds", "rival_seeds"}
    allowed = set() if known.has_seen_test else growing
    if refused := [name for name in changed if name not in allowed]:
        reason = "has read its test cells" if known.has_seen_test else "has begun"
        raise DataError(
            f"{folder}: this study {reason} with other {', '.join(refused)}; "
            "repeat its command, or name another folder with --out"
        )
    return replace(known, plan=plan, about={**known.about, **about})


def _probes(values: Mapping[str, Any]) -> dict[str, Protocol]:
    return {name: Protocol.from_dict(found) for name, found in values.items()}


def _rounded(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_rounded(entry) for entry in value]
    return round(value, DIGITS) if isinstance(value, float) else value
