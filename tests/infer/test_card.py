"""The card travels inside the model and proves that nothing was altered."""

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from cellrot_infer.card import ModelCard, Thresholds, read_model, seal
from cellrot_infer.errors import ModelError
from cellrot_infer.types import StainColours

CARD = ModelCard(
    name="hnet-r0",
    encoder="hnet-r0",
    class_names=("lymphocyte", "monocyte", "Blast, früh"),
    pixel_size_um=0.1,
    thresholds=Thresholds(set_probability=0.05, coverage=0.95, novelty=3.5),
    metrics={"macro_f1": 0.9},
    certificate={"quarter_turn": 1e-6},
    data={"name": "PBC"},
    licence="CC BY 4.0",
    versions={"cellrot": "0.1.0"},
    created="2026-01-01T00:00:00+00:00",
    groupings={
        "two": {"mononuclear": ["lymphocyte", "monocyte"], "b": ["Blast, früh"]}
    },
    stain=StainColours((0.6, 0.8, 0.0), (0.0, 0.8, 0.6)),
    focus=0.45,
    largest_um2={"lymphocyte": 200.0},
)


def onnx_bytes() -> bytes:
    node = helper.make_node("Identity", ["x"], ["y"])
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in "xy"]
    model = helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:]))
    model.metadata_props.add(key="someone else's", value="kept")
    return bytes(model.SerializeToString())


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def altered(**values: object) -> str:
    return json.dumps(json.loads(CARD.to_json()) | values)


def test_a_sealed_model_gives_its_card_back(tmp_path: Path) -> None:
    sealed, card = seal(onnx_bytes(), CARD)

    _, read = read_model(write(tmp_path / "Größe m.onnx", sealed))

    assert read == card
    assert dataclasses.replace(read, sha256="") == CARD


def test_the_onnx_package_reads_what_we_wrote() -> None:
    sealed, card = seal(onnx_bytes(), CARD)

    model = onnx.load_from_string(sealed)

    onnx.checker.check_model(model)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    assert entries == {"cellrot": card.to_json(), "someone else's": "kept"}


def test_sealing_again_replaces_the_card() -> None:
    once, _ = seal(onnx_bytes(), CARD)

    assert seal(once, CARD)[0] == once


def test_one_flipped_bit_anywhere_is_noticed(tmp_path: Path) -> None:
    sealed, _ = seal(onnx_bytes(), CARD)

    for place in range(len(sealed)):
        flipped = sealed[:place] + bytes([sealed[place] ^ 4]) + sealed[place + 1 :]
        with pytest.raises(ModelError):
            read_model(write(tmp_path / "flipped.onnx", flipped))


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    sealed, _ = seal(onnx_bytes(), CARD)

    for length in range(len(sealed)):
        with pytest.raises(ModelError):
            read_model(write(tmp_path / "short.onnx", sealed[:length]))


def test_a_model_without_a_card_is_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "foreign.onnx", onnx_bytes())

    with pytest.raises(ModelError, match=r"foreign\.onnx: no model of cellrot"):
        read_model(path)


def test_a_huge_file_of_zeros_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "zeros.onnx"
    with path.open("wb") as file:
        file.truncate(2 * 2**30)

    with pytest.raises(ModelError, match="too large"):
        read_model(path)


def test_a_missing_model_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model file"):
        read_model(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="cannot be read"):
        read_model(tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"schema_version": 2}, "has schema 2, this cellrot reads 1"),
        ({"class_names": ["one"]}, "two or more different names"),
        ({"class_names": ["a", "a"]}, "two or more different names"),
        (
            {"class_names": ["blast", "Unknown"]},
            "has 'unknown', which names cells of no",
        ),
        ({"patch_side_px": 128}, "patch_side_px is 128, expected 256"),
        ({"pixel_size_um": -0.1}, "pixel_size_um is -0.1"),
        ({"pixel_size_um": True}, "pixel_size_um is True"),
        ({"thresholds": {}}, "thresholds is {}, expected coverage, novelty"),
        ({"metrics": []}, "metrics is [], expected an object"),
        ({"groupings": {"g": {"x": ["monocyte"]}}}, "does not hold every class once"),
        ({"golden": [1]}, "golden is no list of cells"),
        ({"name": None}, "name is None, expected text"),
        ({"stain": {"nuclei": [1, 0, 0]}}, "expected nuclei, red_cells"),
        ({"focus": 1.5}, "focus is 1.5, expected 0 to 1"),
        ({"largest_um2": {"blast": 3}}, "expected areas of its classes"),
        ({"largest_um2": {"monocyte": 0}}, "expected numbers above 0"),
        (
            {"stain": {"nuclei": [1, 0, 0], "red_cells": [1, 1, 0]}},
            "expected three numbers of length one each",
        ),
    ],
)
def test_a_faulty_card_says_what_is_wrong(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError) as caught:
        ModelCard.from_json(altered(**values))

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_keys_are_named() -> None:
    text = json.dumps({"schema_version": 1, "name": "x"})

    with pytest.raises(ModelError, match="lacks certificate, class_names, created"):
        ModelCard.from_json(text)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": NaN}', "[" * 100_000])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(ModelError):
        ModelCard.from_json(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner)
    ),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(list(json.loads(CARD.to_json()))), json_values))
def test_hostile_values_are_refused_or_make_a_card(values: dict[str, object]) -> None:
    with contextlib.suppress(ModelError):
        card = ModelCard.from_json(altered(**values))
        assert ModelCard.from_json(card.to_json()) == card


@given(st.binary(max_size=200))
def test_hostile_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ModelError):
        seal(b"\x00" + data, CARD)
