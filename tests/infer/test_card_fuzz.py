"""Whatever stands in a card that is correctly sealed, nothing but a refusal follows."""

import contextlib
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellrot_infer import card as cards
from cellrot_infer.card import read_model
from cellrot_infer.classify import Classifier
from cellrot_infer.errors import ModelError
from cellrot_infer.golden import golden_error
from cellrot_infer.provenance import provenance
from cellrot_infer.verify import verify
from tests.conftest import tiny_card, tiny_onnx

GRAPH = tiny_onnx()
KEYS = st.sampled_from(sorted(json.loads(tiny_card().to_json())))
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
    | st.sampled_from([1e999, "\ud800", "", "=1", 10**400])
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["val", "patch", "probabilities"]), inner)
    ),
    max_leaves=6,
)


def sealed_by_another(text: str) -> bytes:
    """Return a model with the card `text`, sealed as far as that can be done."""
    with contextlib.suppress(ValueError, RecursionError, TypeError):
        fields = json.loads(text) | {"sha256": ""}
        canonical = json.dumps(fields, sort_keys=True, ensure_ascii=False)
        digest = hashlib.sha256(GRAPH + canonical.encode()).hexdigest()
        text = json.dumps(fields | {"sha256": digest})
    content = text.encode("utf-8", "surrogatepass")
    entry = cards._chunk(1, b"cellrot") + cards._chunk(2, content)
    return GRAPH + cards._chunk(14, entry)


def use(path: Path) -> None:
    """Do with a model all that reads its card."""
    classifier = Classifier.load(path, device="cpu")
    provenance(classifier)
    golden_error(classifier)
    list(verify(classifier))


@settings(max_examples=150)
@given(st.dictionaries(KEYS, values, max_size=3))
def test_any_value_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, object]
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "m.onnx"
    fields = json.loads(tiny_card().to_json()) | changes
    path.write_bytes(sealed_by_another(json.dumps(fields)))

    with contextlib.suppress(ModelError):
        use(path)


@pytest.mark.parametrize(
    "metrics",
    ['{"a": 1e999}', '{"a": "\\ud800"}', '{"a": ' + "[" * 500 + "]" * 500 + "}"],
)
def test_what_json_allows_and_we_cannot_seal_is_refused(
    tmp_path: Path, metrics: str
) -> None:
    text = tiny_card().to_json().replace('"metrics": {}', f'"metrics": {metrics}')
    path = tmp_path / "m.onnx"
    path.write_bytes(sealed_by_another(text))

    with contextlib.suppress(ModelError):
        read_model(path)


@pytest.mark.timeout(60)  # without a limit on fields it takes minutes
def test_millions_of_tiny_fields_are_refused_soon(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x08\x01" * 20_000_000)

    with pytest.raises(ModelError, match="no ONNX file"):
        read_model(path)
