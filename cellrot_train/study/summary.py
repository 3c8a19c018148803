"""Figures of a study over its seeds: means, differences, and what val would choose."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from cellrot_train.metrics import Estimate, Scores, interval
from cellrot_train.probe import Reader
from cellrot_train.protocol import ORIGINAL, TURNED, Protocol, Row, View
from cellrot_train.readout import EMBEDDING, FEATURES, WHITENED
from cellrot_train.study.plan import Entry
from cellrot_train.study.record import Final, Record, Study

DRAWS = 2000
LOGISTIC: Reader = "logistic regression"
NEAREST: Reader = "k-NN"
READOUTS = {
    EMBEDDING: "the code",
    FEATURES: "pooled features of all layers",
    WHITENED: "pooled features, whitened",
}


class Question(NamedTuple):
    """Which figure of a protocol is meant: of all classes, or of the merged ones."""

    reader: Reader = LOGISTIC
    labels: int = 0
    view: View = ORIGINAL
    merged: bool = False


def find_row(protocol: Protocol, question: Question) -> Row | None:
    """Return the row that answers `question`, None where it could not be asked."""
    schemes = list(dict.fromkeys(row.scheme for row in protocol.rows))
    if question.merged and len(schemes) < 2:
        return None
    scheme = schemes[1] if question.merged else schemes[0]
    try:
        return protocol.row(scheme, question.reader, question.labels, question.view)
    except KeyError:
        return None


def lines(study: Study, objective: str) -> list[Entry]:
    """Return the entries of `objective`, once for all seeds; first what is trained."""
    entries = study.plan.entries()
    return [e for e in entries if e.objective == objective and e.seed == 0]


def records_of(study: Study, entry: Entry) -> list[Record]:
    """Return what is known of `entry`, a record for each seed."""
    seeds = range(max(study.plan.seeds, study.plan.rival_seeds))
    return list(study.of(*(replace(entry, seed=seed) for seed in seeds)))


def finals_of(study: Study, entry: Entry) -> list[Final]:
    """Return the test figures of `entry`, one for each seed."""
    records = records_of(study, entry)
    return [record.final for record in records if record.final is not None]


def rows_of(
    study: Study, entry: Entry, readout: str, question: Question
) -> dict[int, Row]:
    """Return the test row of each seed; nothing where a tested seed has none."""
    finals = {
        record.entry.seed: record.final
        for record in records_of(study, entry)
        if record.final is not None
    }
    found = {
        seed: find_row(final.probes[readout], question)
        for seed, final in finals.items()
        if readout in final.probes
    }
    rows = {seed: row for seed, row in found.items() if row is not None}
    return rows if len(rows) == len(finals) else {}


def macro_f1(
    study: Study, entry: Entry, readout: str, question: Question
) -> Estimate | None:
    """Return the macro-F1 over seeds and folds (or draws), None where unknown."""
    rows = rows_of(study, entry, readout, question)
    return over_seeds([row.values for row in rows.values()]) if rows else None


def score(
    study: Study, entry: Entry, readout: str, question: Question, name: str
) -> float | None:
    """Return the mean of another score over seeds, None where unknown."""
    rows = rows_of(study, entry, readout, question)
    values = [row.scores[name].value for row in rows.values()]
    return float(np.mean(values)) if values else None


def flips(study: Study, entry: Entry, readout: str) -> float | None:
    """Return the share of cells whose class a random turn changes, over seeds."""
    rows = rows_of(study, entry, readout, Question(view=TURNED))
    values = [row.flips.value for row in rows.values() if row.flips is not None]
    return float(np.mean(values)) if values else None


def difference(
    study: Study, one: Entry, other: Entry, readout: str, question: Question
) -> Estimate | None:
    """Return by how much the macro-F1 of `one` is higher, paired by seed and fold.

    Over the seeds that both have.
    """
    first, second = (rows_of(study, entry, readout, question) for entry in (one, other))
    apart = [
        np.subtract(first[seed].values, second[seed].values)
        for seed in sorted(first.keys() & second.keys())
    ]
    return over_seeds(np.array(apart)) if apart else None


def over_seeds(values: Sequence[Sequence[float]] | Scores) -> Estimate:
    """Return the mean of values (seeds, folds) with its 95 % interval.

    Seeds are drawn, then folds of each: with one seed, over folds alone.
    """
    table = np.asarray(values, dtype=float)
    seeds, folds = table.shape
    chance = np.random.default_rng(0)
    seed = chance.integers(seeds, size=(DRAWS, seeds, 1))
    fold = chance.integers(folds, size=(DRAWS, seeds, folds))
    return interval(table.mean(), table[seed, fold].mean(axis=(1, 2)))


def val_merit(study: Study, entry: Entry, readout: str) -> float:
    """Return what a choice goes by: the mean macro-F1 of both readers on val alone."""
    found = [
        row.scores["macro_f1"].value
        for record in records_of(study, entry)
        for reader in (LOGISTIC, NEAREST)
        if readout in record.val
        and (row := find_row(record.val[readout], Question(reader))) is not None
    ]
    return float(np.mean(found)) if found else -np.inf


def best_on_val(study: Study, entries: Iterable[Entry], readout: str) -> Entry | None:
    """Return the entry that the validation cells choose, None of none."""
    known = list(_known(study, entries))
    return max(known, key=lambda entry: val_merit(study, entry, readout), default=None)


def _known(study: Study, entries: Iterable[Entry]) -> Iterator[Entry]:
    return (entry for entry in entries if records_of(study, entry))
