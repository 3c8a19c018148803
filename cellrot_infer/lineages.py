"""Classes into lineages and ratios, as the laboratory's TOML file groups them."""

import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from cellrot_infer.card import ModelCard
from cellrot_infer.differential import Share, accepted_counts, denominator, share_of
from cellrot_infer.errors import ReportError
from cellrot_infer.intervals import wilson
from cellrot_infer.types import Lineage, RatioRule, Report, Scheme

KEYS = {"excluded", "lineages", "ratios", "precision_points"}
OTHER = "other"  # what is in no lineage
DEFAULT = Path(__file__).with_name("lineages.toml")


@dataclass(frozen=True, slots=True)
class Ratio:
    """Cells `above` for each cell `below`, with a 95 % interval.

    `value` and `ci_high` are infinite where nothing is below; `value` is NaN where
    there is nothing at all.
    """

    name: str
    above: int
    below: int
    value: float
    ci_low: float
    ci_high: float


def read_scheme(path: Path = DEFAULT) -> Scheme:
    """Return the scheme in the TOML file `path`; ReportError says what is wrong."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        return _scheme(values)
    except OSError as error:
        raise ReportError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ReportError(f"{path}: is no UTF-8 text; save it as UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ReportError(f"{path}: no valid TOML ({error})") from None
    except ValueError as error:
        raise ReportError(f"{path}: {error}; see the comments in {DEFAULT}") from None


def grouped(scheme: Scheme, card: ModelCard, grouping: str) -> Scheme:
    """Return `scheme` with the groups that the model's card calls `grouping`.

    The first word of a name is enough. Raises ReportError where the card has none.
    """
    names = [name for name in card.groupings if grouping in (name, name.split()[0])]
    if not names:
        known = ", ".join(map(repr, card.groupings)) or "none"
        raise ReportError(
            f"the model {card.name} has no grouping {grouping!r}; it has {known}"
        )
    groups = card.groupings[names[0]].items()
    return replace(scheme, lineages=tuple(Lineage(n, tuple(c)) for n, c in groups))


def lineage_shares(report: Report) -> tuple[Share, ...]:
    """Return a row a lineage that has cells; percentages are of all cells counted."""
    total = denominator(report)
    counts = lineage_counts(accepted_counts(report), report.scheme)
    return tuple(share_of(name, count, total) for name, count in counts.items())


def lineage_counts(counts: Mapping[str, int], scheme: Scheme) -> dict[str, int]:
    """Return the cells of each lineage that has any, in the order of the scheme."""
    found: Counter[str] = Counter()
    for label, count in counts.items():
        if label not in scheme.excluded:
            found[lineage_of(label, scheme)] += count
    order = (*(lineage.name for lineage in scheme.lineages), OTHER)
    return {name: found[name] for name in order if found[name]}


def lineage_of(label: str, scheme: Scheme) -> str:
    """Return the lineage of the class `label`, `other` where it has none."""
    hits = (entry.name for entry in scheme.lineages if label in entry.classes)
    return next(hits, OTHER)


def count_ratios(
    counts: Mapping[str, int], known: Sequence[str], scheme: Scheme
) -> tuple[Ratio, ...]:
    """Return the ratios of `scheme` of which each side has a class in `known`.

    `counts` are accepted cells by class, `known` the classes that could be found.
    """
    return tuple(
        _ratio(rule, counts)
        for rule in scheme.ratios
        if {*known} & {*rule.above} and {*known} & {*rule.below}
    )


def _ratio(rule: RatioRule, counts: Mapping[str, int]) -> Ratio:
    above = sum(counts.get(label, 0) for label in rule.above)
    below = sum(counts.get(label, 0) for label in rule.below)
    low, high = wilson(above, above + below)  # a ratio is the odds of a share
    return Ratio(
        rule.name,
        above,
        below,
        _odds(above / (above + below)) if above + below else float("nan"),
        _odds(low),
        _odds(high),
    )


def _odds(share: float) -> float:
    return share / (1 - share) if share < 1 else float("inf")


def _scheme(values: dict[str, Any]) -> Scheme:
    if strange := min(values.keys() - KEYS, default=None):
        raise ValueError(f"{strange!r} is unknown")
    tables = {key: values.get(key, {}) for key in ("lineages", "ratios")}
    for key, table in tables.items():
        if not isinstance(table, dict):
            raise ValueError(f"{key!r} is {table!r:.40}, expected a table")
    lineages = {
        name: _names(classes, f"lineage {name!r}")
        for name, classes in tables["lineages"].items()
    }
    _check_once(chain(*lineages.values()))
    if OTHER in lineages:
        raise ValueError(f"{OTHER!r} is what is in no lineage; give it another name")
    return Scheme(
        _names(values.get("excluded", []), "'excluded'"),
        tuple(Lineage(name, classes) for name, classes in lineages.items()),
        tuple(_rule(name, rule, lineages) for name, rule in tables["ratios"].items()),
        _points(values.get("precision_points", Scheme().precision_points)),
    )


def _points(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"'precision_points' is {value!r:.40}, expected a number")
    if not 0 < value < 100:
        raise ValueError(f"'precision_points' is {value}, expected between 0 and 100")
    return float(value)


def _rule(
    name: str, rule: object, lineages: Mapping[str, tuple[str, ...]]
) -> RatioRule:
    if not isinstance(rule, dict) or rule.keys() != {"above", "below"}:
        raise ValueError(f"ratio {name!r} needs 'above' and 'below' and nothing else")
    classes = {*chain(*lineages.values())}
    sides = []
    for side in ("above", "below"):
        names = _names(rule[side], f"{side!r} of ratio {name!r}")
        if strange := next((n for n in names if n not in {*lineages, *classes}), None):
            raise ValueError(f"ratio {name!r} names {strange!r}, which no lineage has")
        sides.append(tuple(chain(*(lineages.get(n, (n,)) for n in names))))
    return RatioRule(name, *sides)


def _names(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(n, str) for n in value):
        raise ValueError(f"{where} is {value!r:.40}, expected a list of names")
    return tuple(value)


def _check_once(classes: chain[str]) -> None:
    twice = [name for name, count in Counter(classes).items() if count > 1]
    if twice:
        raise ValueError(f"{twice[0]!r} is in two lineages")
