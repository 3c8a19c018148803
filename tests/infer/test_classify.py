"""A model is verified before it is believed, and the device is what it says."""

import gc
import hashlib
import re
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellrot_infer import card as cards
from cellrot_infer import devices
from cellrot_infer.classify import CPU_BATCH, Classifier
from cellrot_infer.errors import DeviceError, ModelError
from cellrot_infer.models import find_model
from cellrot_infer.types import Patches
from tests.conftest import CLASS_NAMES, tiny_card, tiny_onnx, write_model


@cache
def random_patches(count: int) -> Patches:
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (count, 1, 1, 3))
    noise = rng.integers(-20, 20, (count, 256, 256, 3))
    patches: Patches = np.clip(colours + noise, 0, 255).astype(np.uint8)
    return patches


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return Classifier.load(write_model(tmp_path_factory.mktemp("model")), device="cpu")


@settings(max_examples=12)
@given(st.integers(1, 70))
def test_a_cell_s_prediction_does_not_depend_on_its_batch(
    classifier: Classifier, count: int
) -> None:
    patches = random_patches(70)
    alone = [classifier.classify(patches[i : i + 1]) for i in (0, count - 1)]

    together = classifier.classify(patches[:count])

    assert together.probabilities.shape == (count, len(CLASS_NAMES))
    for row, single in zip((0, count - 1), alone, strict=True):
        difference = np.abs(together.probabilities[row] - single.probabilities[0])
        assert difference.max() < 1e-5  # other sums, other rounding


def test_no_patches_give_no_predictions(classifier: Classifier) -> None:
    predictions = classifier.classify(random_patches(0))

    assert predictions.probabilities.shape == (0, len(CLASS_NAMES))
    assert predictions.embeddings.shape == (0, 3)
    assert predictions.novelty.shape == (0,)
    assert predictions.orientation_rad is None


@pytest.mark.parametrize(
    "patches",
    [np.zeros((2, 128, 128, 3), np.uint8), np.zeros((2, 256, 256, 3), np.float32)],
)
def test_patches_of_another_make_are_a_mistake(
    classifier: Classifier, patches: Patches
) -> None:
    with pytest.raises(ValueError, match=r"expected uint8 \(N, 256, 256, 3\), got"):
        classifier.classify(patches)


def test_few_batch_sizes_occur(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    run = classifier._session.run

    def counted(names: list[str], feed: dict[str, Patches]) -> object:
        sizes.append(len(feed["patches"]))
        return run(names, feed)

    monkeypatch.setattr(classifier, "_session", SimpleNamespace(run=counted))
    for count in range(40):
        classifier.classify(random_patches(70)[:count])

    assert set(sizes) == {1, 2, 4, 8, 16}


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (
            "bfc_arena.cc:360 Failed to allocate memory for requested buffer",
            MemoryError,
        ),
        ("CUDA failure 2: out of memory", MemoryError),
        ("CUDA failure 999: unknown error", DeviceError),
    ],
)
def test_what_the_runtime_meets_is_told(
    classifier: Classifier,
    monkeypatch: pytest.MonkeyPatch,
    said: str,
    kind: type[Exception],
) -> None:
    def failing(*_: object) -> None:
        raise ort.capi.onnxruntime_pybind11_state.Fail(said)

    monkeypatch.setattr(classifier, "_session", SimpleNamespace(run=failing))

    with pytest.raises(kind, match=re.escape(said)):
        classifier.classify(random_patches(1))


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as refused:
        Classifier.load(path, device="cpu")
    message = str(refused.value)
    assert str(path) in message or "model tiny" in message
    assert "\n" not in message
    return message


def test_another_input_is_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path, tiny_onnx(input_name="image"))

    assert "its input is [('image', 'tensor(uint8)')], expected" in refusal(path)


def test_a_missing_output_is_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path, tiny_onnx(drop="novelty"))

    assert "its output 'novelty' is missing, expected float32" in refusal(path)


def test_a_wrong_number_of_classes_is_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path, tiny_onnx(classes=4))

    assert "gives 4 probabilities, but its card has 3 classes" in refusal(path)


def test_a_model_that_answers_with_no_numbers_is_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path, tiny_onnx(spoil=float("nan")))

    assert "probabilities holds no numbers" in refusal(path)


def test_a_flipped_byte_is_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path)
    model = bytearray(path.read_bytes())
    model[len(model) // 3] ^= 1
    path.write_bytes(model)

    refusal(path)


def test_a_sealed_file_that_the_runtime_cannot_load_is_refused(tmp_path: Path) -> None:
    graph = tiny_onnx().replace(b"Softmax", b"Sofamax")

    assert "cannot load it" in refusal(write_model(tmp_path, graph))


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "zeros.onnx"
    with path.open("wb") as file:
        file.truncate(2 * 2**30)  # sparse: no disk is used

    assert "too large" in refusal(path)


def test_a_file_of_zeros_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "zeros.onnx"
    path.write_bytes(bytes(cards.MAX_MODEL_BYTES // 64))

    assert "no ONNX file" in refusal(path)


def test_an_unknown_name_is_refused_and_the_known_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path)
    monkeypatch.setenv("CELLROT_MODELS", str(tmp_path))

    assert find_model("tiny") == tmp_path / "tiny.onnx"
    with pytest.raises(ModelError, match=r"no model named 'hnet'.*there: tiny"):
        Classifier.load("hnet")


def test_the_hash_is_that_of_the_file(tiny_model: Path) -> None:
    expected = hashlib.sha256(tiny_model.read_bytes()).hexdigest()

    assert Classifier.load(tiny_model, device="cpu").sha256 == expected


def test_the_model_that_was_loaded_is_used_to_the_end(tiny_model: Path) -> None:
    classifier = Classifier.load(tiny_model, device="cpu")
    before = classifier.classify(random_patches(3)).probabilities
    tiny_model.write_bytes(b"another model is copied over it")

    assert np.array_equal(classifier.classify(random_patches(3)).probabilities, before)


def test_the_cpu_is_taken_when_asked(classifier: Classifier) -> None:
    assert classifier.provider == "CPUExecutionProvider"
    assert classifier.device == "CPU, as asked"


def test_cuda_without_a_driver_is_an_error(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "driver_obstacle", lambda: "there is no NVIDIA driver")

    with pytest.raises(DeviceError, match="--device cuda: there is no NVIDIA driver"):
        Classifier.load(tiny_model, device="cuda")


def test_auto_says_why_it_takes_the_cpu(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "driver_obstacle", lambda: "there is no NVIDIA driver")

    classifier = Classifier.load(tiny_model, device="auto")

    assert classifier.device == "CPU, since there is no NVIDIA driver"
    assert classifier.provider == "CPUExecutionProvider"


def test_cuda_libraries_that_do_not_load_are_told_in_one_line_without_noise(
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if devices.CUDA not in ort.get_available_providers():
        pytest.skip("this onnxruntime was built without CUDA")
    monkeypatch.setattr(devices, "driver_obstacle", lambda: "")
    monkeypatch.setattr(devices, "_CUDA_OPTIONS", {"device_id": "63"})  # not there

    classifier = Classifier.load(tiny_model, device="auto")
    with pytest.raises(DeviceError, match="the CUDA libraries do not load"):
        Classifier.load(tiny_model, device="cuda")

    assert classifier.provider == "CPUExecutionProvider"
    assert "the CUDA libraries do not load" in classifier.device
    assert "\n" not in classifier.device
    assert capfd.readouterr() == ("", "")


def test_classifying_takes_no_memory_that_it_keeps(classifier: Classifier) -> None:
    resource = pytest.importorskip("resource", reason="peak memory is POSIX")
    patches = random_patches(64)
    classifier.classify(patches)
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    for _ in range(20):
        classifier.classify(patches)

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # kB


def test_a_card_that_names_no_class_twice_is_needed(tmp_path: Path) -> None:
    card = tiny_card(class_names=("a", "a", "b"))

    assert "expected two or more different names" in refusal(
        write_model(tmp_path, card=card)
    )


def test_a_model_that_is_loaded_has_run_a_full_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    whole = Classifier._run

    def counted(self: Classifier, patches: Patches) -> list[np.ndarray]:
        sizes.append(len(patches))
        return whole(self, patches)

    monkeypatch.setattr(Classifier, "_run", counted)
    Classifier.load(write_model(tmp_path), device="cpu")

    assert sizes == [CPU_BATCH]
