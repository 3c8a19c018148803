"""The model card: what an ONNX file says of itself, sealed inside the file.

The card is JSON in the model's metadata under the key `cellrot`. Its `sha256` covers
the card and every other byte of the file, so that a file proves on its own that
nothing in it was altered. The few lines of protobuf that this takes are here because
inference has no `onnx` package, and because a card can be read (and a bad file
refused) without giving a single byte to ONNX Runtime.
"""

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import chain
from pathlib import Path
from typing import Any, Self

from cellrot_infer.errors import ModelError
from cellrot_infer.types import PATCH_SIDE_PX, UNDECIDED, StainColours

SCHEMA_VERSION = 1
METADATA_KEY = "cellrot"
MAX_MODEL_BYTES = 256 * 2**20  # a shipped model has 4 MB; more is not one of ours
OPTIONAL = {"groupings", "golden", "precision", "stain", "focus", "largest_um2"}
MAX_FIELDS = 10_000  # of a message; a model of ours has some dozens
# Protobuf's text `location`: the key by which a tensor names a file that holds it. The
# hash of the card would not cover that file, and the name may lead anywhere.
_ELSEWHERE = re.compile(rb"(?:\x08|\x88\x80*\x00)location")
_METADATA_FIELD = 14  # ModelProto.metadata_props, a repeated StringStringEntryProto


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What turns numbers into a decision.

    A class belongs to the conformal set when its probability is at least
    `set_probability`, which holds the true class with probability `coverage`. A cell
    with a novelty above `novelty` is unlike the training cells.
    """

    set_probability: float
    coverage: float
    novelty: float


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What the file expects, gives, was trained on and was measured to do.

    `groupings` maps the name of a coarser scheme (`lineage`, `8 classes`) to its
    groups, each a list of class names. `golden` holds a few real cells: a lossless
    image in base64 (`patch`) and the `probabilities` that the file gave for it.
    `precision` is that of the convolutions: float32, fp16 or int8. `stain` and `focus`
    are the colours and the sharpness of the fields that the model learned from, None
    and 0 where they are not known; `largest_um2` is the area that no cell of a class
    exceeds, for classes with a limit.
    """

    name: str
    encoder: str
    class_names: tuple[str, ...]
    pixel_size_um: float
    thresholds: Thresholds
    metrics: Mapping[str, Any]
    certificate: Mapping[str, Any]
    data: Mapping[str, Any]
    licence: str
    versions: Mapping[str, str]
    created: str
    groupings: Mapping[str, Mapping[str, list[str]]] = field(default_factory=dict)
    golden: Sequence[Mapping[str, Any]] = ()
    precision: str = "float32"
    stain: StainColours | None = None
    focus: float = 0.0
    largest_um2: Mapping[str, float] = field(default_factory=dict)
    patch_side_px: int = PATCH_SIDE_PX
    schema_version: int = SCHEMA_VERSION
    sha256: str = ""

    def to_json(self) -> str:
        """Return the card as canonical JSON: the same card, the same text."""
        return _canonical(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str, source: str = "model card") -> Self:
        """Return the card in `text`; `source` names it in a ModelError."""
        values = _parse(text, source)
        version = values.get("schema_version")
        if version != SCHEMA_VERSION:
            raise ModelError(
                f"{source}: the card has schema {version!r:.40}, this cellrot reads "
                f"{SCHEMA_VERSION}; update cellrot or export the model again"
            )
        required = {entry.name for entry in fields(cls)} - OPTIONAL
        if missing := sorted(required - values.keys()):
            raise ModelError(
                f"{source}: the card lacks {', '.join(missing)}; "
                "write the file again with `cellrot-train export`"
            )
        return cls._checked(values, source)

    @classmethod
    def _checked(cls, values: dict[str, Any], source: str) -> Self:
        known = {entry.name for entry in fields(cls)}
        if fault := next(_faults(values), None):
            raise ModelError(f"{source}: in the card, {fault}")
        values["class_names"] = tuple(values["class_names"])
        values["thresholds"] = Thresholds(**values["thresholds"])
        values["golden"] = tuple(values.get("golden", ()))
        if colours := values.get("stain"):
            values["stain"] = StainColours(**{k: tuple(v) for k, v in colours.items()})
        return cls(**{key: values[key] for key in known & values.keys()})


def seal(model: bytes, card: ModelCard) -> tuple[bytes, ModelCard]:
    """Return the ONNX bytes `model` with `card` inside, and the card with its hash."""
    graph, _ = _split(model, "model")
    digest = _digest(graph, card.to_json(), "model")
    sealed = dataclasses.replace(card, sha256=digest)
    entry = _chunk(1, METADATA_KEY.encode()) + _chunk(2, sealed.to_json().encode())
    return graph + _chunk(_METADATA_FIELD, entry), sealed


def read_model(path: Path) -> tuple[bytes, ModelCard]:
    """Return the bytes of the ONNX file at `path` and its card, both verified.

    Raises ModelError where the file is missing, too large, no ONNX file, has no valid
    card, or was altered after it was written.
    """
    try:
        size = path.stat().st_size
        if size > MAX_MODEL_BYTES:
            raise ModelError(f"{path}: {size} bytes is too large for a cellrot model")
        model = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{path}: no such model file") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    graph, text = _split(model, str(path))
    if text is None:
        raise ModelError(
            f"{path}: no model of cellrot (its metadata has no card); "
            "write one with `cellrot-train export`"
        )
    if _ELSEWHERE.search(graph):
        raise ModelError(
            f"{path}: names another file that would hold its weights; a model of "
            "cellrot is one file, written with `cellrot-train export`"
        )
    card = ModelCard.from_json(text, str(path))
    if card.sha256 != _digest(graph, text, str(path)):
        raise ModelError(
            f"{path}: altered since it was written (its hash differs); "
            "copy it again from where it came"
        )
    return model, card


def _digest(graph: bytes, text: str, source: str) -> str:
    # over what was read, not over the card made of it: unknown keys count too
    values = json.loads(text) | {"sha256": ""}
    try:
        return hashlib.sha256(graph + _canonical(values).encode()).hexdigest()
    except (ValueError, RecursionError) as error:  # an infinity, half a character
        raise ModelError(f"{source}: the card cannot be sealed ({error})") from None


def _canonical(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, ensure_ascii=False, allow_nan=False)


def _parse(text: str, source: str) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no number")

    try:
        values = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{source}: the card is no valid JSON ({error})") from None
    if not isinstance(values, dict):
        raise ModelError(f"{source}: the card is no JSON object")
    return values


_KINDS = {
    **dict.fromkeys(("name", "encoder", "licence", "created", "sha256"), (str, "text")),
    **dict.fromkeys(
        ("metrics", "certificate", "data", "versions"), (dict, "an object")
    ),
}


def _faults(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the card's values, in plain words."""
    for key, (kind, expected) in _KINDS.items():
        if not isinstance(values[key], kind):
            yield f"{key} is {values[key]!r:.40}, expected {expected}"
    if not isinstance(values.get("precision", ""), str):
        yield f"precision is {values['precision']!r:.40}, expected text"
    golden = values.get("golden", [])
    if not isinstance(golden, list) or not all(isinstance(g, dict) for g in golden):
        yield "golden is no list of cells"
    names = values["class_names"]
    yield from _name_faults(names)
    if values["patch_side_px"] != PATCH_SIDE_PX:
        yield f"patch_side_px is {values['patch_side_px']!r:.40}, expected 256"
    if not _is_number(values["pixel_size_um"]) or not 0 < values["pixel_size_um"] < 10:
        yield f"pixel_size_um is {values['pixel_size_um']!r:.40}, expected 0 to 10 um"
    yield from _threshold_faults(values["thresholds"])
    yield from _grouping_faults(values.get("groupings", {}), names)
    yield from _stain_faults(values.get("stain"), values.get("focus", 0.0))
    yield from _largest_faults(values.get("largest_um2", {}), names)


def _name_faults(names: Any) -> Iterator[str]:  # noqa: ANN401
    if not _is_names(names) or len(names) < 2 or len(set(names)) < len(names):
        yield f"class_names is {names!r:.80}, expected two or more different names"
    elif taken := sorted({*UNDECIDED} & {*map(str.casefold, names)}):
        yield f"class_names has {taken[0]!r}, which names cells of no class"


def _threshold_faults(thresholds: object) -> Iterator[str]:
    expected = sorted(entry.name for entry in fields(Thresholds))
    if not isinstance(thresholds, dict) or sorted(thresholds) != expected:
        yield f"thresholds is {thresholds!r:.80}, expected {', '.join(expected)}"
    elif not all(_is_number(value) for value in thresholds.values()):
        yield f"thresholds is {thresholds!r:.80}, expected numbers"


def _grouping_faults(groupings: object, class_names: list[str]) -> Iterator[str]:
    if not isinstance(groupings, dict):
        yield f"groupings is {groupings!r:.40}, expected an object"
        return
    for name, groups in groupings.items():
        if not isinstance(groups, dict) or not all(map(_is_names, groups.values())):
            yield f"grouping {name!r:.40} is no object of lists of classes"
        elif sorted(chain(*groups.values())) != sorted(class_names):
            yield f"grouping {name!r:.40} does not hold every class once"


def _stain_faults(colours: object, focus: object) -> Iterator[str]:
    expected = sorted(entry.name for entry in fields(StainColours))
    if not _is_number(focus) or not 0 <= focus < 1:  # type: ignore[operator]
        yield f"focus is {focus!r:.40}, expected 0 to 1"
    if colours is None:
        return
    if not isinstance(colours, dict) or sorted(colours) != expected:
        yield f"stain is {colours!r:.80}, expected {', '.join(expected)}"
    elif not all(map(_is_direction, colours.values())):
        yield f"stain is {colours!r:.80}, expected three numbers of length one each"


def _largest_faults(areas: object, class_names: list[str]) -> Iterator[str]:
    if not isinstance(areas, dict) or not areas.keys() <= set(class_names):
        yield f"largest_um2 is {areas!r:.80}, expected areas of its classes"
    elif not all(_is_number(area) and area > 0 for area in areas.values()):
        yield f"largest_um2 is {areas!r:.80}, expected numbers above 0"


def _is_direction(value: object) -> bool:
    if (
        not isinstance(value, list)
        or len(value) != 3
        or not all(map(_is_number, value))
    ):
        return False
    return math.isclose(math.hypot(*value), 1, abs_tol=1e-3)


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_number(value: object) -> bool:
    # bool is an int to Python, and JSON's 1e999 is an infinity
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < math.inf


def _split(model: bytes, source: str) -> tuple[bytes, str | None]:
    """Return `model` without its card, and the text of the card if it has one."""
    kept: list[bytes] = []
    card, end = None, 0
    while end < len(model):
        start = end
        number, content, end = _next_field(model, start, source)
        text = _card_text(content, source) if number == _METADATA_FIELD else None
        if len(kept) > MAX_FIELDS:
            raise ModelError(f"{source}: no ONNX file, or a damaged one")
        if text is None:
            kept.append(model[start:end])
        elif card is None:
            card = text
        else:
            raise ModelError(f"{source}: has two cards")
    return b"".join(kept), card


def _card_text(entry: bytes, source: str) -> str | None:
    parts: dict[int, bytes] = {}
    end = 0
    while end < len(entry):
        number, content, end = _next_field(entry, end, source)
        if number in parts:
            raise ModelError(f"{source}: no ONNX file, or a damaged one")
        parts[number] = content
    if parts.get(1) != METADATA_KEY.encode():
        return None
    try:
        return parts.get(2, b"").decode()
    except UnicodeDecodeError:
        raise ModelError(f"{source}: the card is no UTF-8 text") from None


def _next_field(data: bytes, start: int, source: str) -> tuple[int, bytes, int]:
    """Return number, content and end of the protobuf field at `start`."""
    tag, begin = _varint(data, start, source)
    number, wire_type = tag >> 3, tag & 7
    if wire_type == 0:
        end = _varint(data, begin, source)[1]
    elif wire_type == 2:
        length, begin = _varint(data, begin, source)
        end = begin + length
    else:
        end = begin + {1: 8, 5: 4}.get(wire_type, len(data))
    if number == 0 or end > len(data):
        raise ModelError(f"{source}: no ONNX file, or a damaged one")
    return number, data[begin:end], end


def _varint(data: bytes, start: int, source: str) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(data[start : start + 10]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, start + index + 1
    raise ModelError(f"{source}: no ONNX file, or a damaged one")


def _chunk(number: int, content: bytes) -> bytes:
    """Return `content` as a length-delimited protobuf field."""
    length, encoded = len(content), bytearray([number << 3 | 2])
    while length > 0x7F:
        encoded.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes(encoded) + bytes([length]) + content
