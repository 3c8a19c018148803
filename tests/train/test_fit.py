"""One training from settings to a run folder, whatever happens on the way."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from cellrot_infer.errors import DataError, DeviceError, OutputError
from cellrot_train import checkpoint, training
from cellrot_train.classifier import Classifier
from cellrot_train.cli import app, main
from cellrot_train.config import Config, ConfigError
from cellrot_train.data import SPLITS, load_patch_set
from cellrot_train.discriminant import fit_discriminant
from cellrot_train.display import Silent
from cellrot_train.fit import SAMPLES as USED
from cellrot_train.fit import fit, fit_once, resume
from cellrot_train.intake import Intake
from cellrot_train.loop import Step
from cellrot_train.pixels import Pixels, load_patches
from cellrot_train.run import Run, load_run, newest_run
from cellrot_train.training import InterruptedRunError, Training
from tests.train.conftest import SAMPLES, MakeImage

L2 = training.L2


class Notes(Silent):
    """Keeps what is shown."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


class StopAt(Silent):
    """Presses Ctrl-C at a step."""

    def __init__(self, index: int) -> None:
        self.index = index

    def step(self, step: Step) -> None:
        if step.index == self.index:
            raise KeyboardInterrupt


def weights(run: Run, name: str = "last.pt") -> dict[str, Any]:
    return checkpoint.load(run.folder / name)


def same(one: Any, other: Any) -> bool:  # noqa: ANN401
    """Return whether nested values are equal, tensors bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    make_quick(monkeypatch)


def make_quick(patch: pytest.MonkeyPatch) -> None:
    """Spare all but `trained`, which is made before, the second that an end takes."""
    patch.setattr(Training, "_portray", lambda *_: None)
    patch.setattr(training, "L2", L2[1:2])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Run:
    config = Config(
        model="hnet-r2", data=str(SAMPLES), objective="supervised+0.1*reconstruction",
        side_px=32, width=6, embedding_size=8, batch_size=32, epochs=6, device="cpu",
        learning_rate=5e-3,
    )  # fmt: skip
    return fit(config, root=tmp_path_factory.mktemp("runs") / "Läufe 1", name="whole")


def test_a_run_folder_stands_alone(trained: Run) -> None:
    names = {entry.name for entry in trained.folder.iterdir()}

    assert trained.folder.name == "whole-hnet-r2"
    assert names >= {
        "config.json", "data.json", "versions.json", "history.csv", "metrics.json",
        "last.pt", "best.pt", "curves.png", "confusion.png", "reconstructions.png",
    }  # fmt: skip
    assert not [name for name in names if name.endswith(".part")]
    data = json.loads((trained.folder / "data.json").read_text(encoding="utf-8"))
    assert data["counts"] == {"train": 220, "val": 66, "test": 88}
    assert len(data["sha256"]) == 64
    history = (trained.folder / "history.csv").read_text(encoding="utf-8").splitlines()
    assert history[0].startswith("epoch,loss,val_macro_f1")
    assert len(history) == 7


def test_a_run_learns_real_cells(trained: Run, pixels: Pixels) -> None:
    loaded = load_run(trained.folder)
    history = weights(trained)["progress"]["history"]

    assert history[-1]["loss"] < 0.8 * history[0]["loss"]
    assert loaded.metrics["val_macro_f1"] >= max(row["val_macro_f1"] for row in history)
    assert loaded.metrics["val_macro_f1"] > 0.5  # guessing reaches 0.09


def test_a_loaded_run_is_ready_to_classify(trained: Run, cache: Path) -> None:
    run = load_run(trained.folder)
    patch_set = load_patch_set(SAMPLES)
    patches = load_patches(patch_set, "val", run.config.side_px, cache)

    with torch.no_grad():
        images = Intake(run.config.side_px)(patches)
        logits = run.classifier(run.encoder.encode(images).features)

    truth = torch.from_numpy(patch_set.labels[patch_set.indices("val")])
    hits = (logits.argmax(dim=1) == truth).float().mean().item()
    assert hits == pytest.approx(run.metrics["val_accuracy"])
    assert run.class_names == patch_set.class_names
    assert run.pixel_size_um == pytest.approx(0.1)


@pytest.mark.parametrize("objective", ["contrastive", "reconstruction"])
def test_without_labels_a_run_still_gets_a_classifier(
    tmp_path: Path, tiny: Config, objective: str
) -> None:
    config = replace(tiny, objective=objective, side_px=32, epochs=1)

    run = load_run(fit(config, root=tmp_path).folder)

    assert run.metrics["val_macro_f1"] > 0.4  # frozen features, fitted at the end
    assert run.classifier.weight.shape == (11, run.encoder.feature_size)


@pytest.mark.parametrize(
    ("per_class", "most", "helpers"), [(2, 20_000, 198), (2, 66, 50), (0, 20_000, 0)]
)
def test_of_few_labels_the_discriminant_comes_first_of_many_regression(
    tmp_path: Path,
    tiny: Config,
    monkeypatch: pytest.MonkeyPatch,
    per_class: int,
    most: int,
    helpers: int,
) -> None:
    fitted: list[tuple[Classifier, tuple[Tensor, Tensor, int, Tensor]]] = []

    def fitting(*arguments: Any) -> Classifier:  # noqa: ANN401
        fitted.append((fit_discriminant(*arguments), arguments))
        return fitted[-1][0]

    monkeypatch.setattr(training, "fit_discriminant", fitting)
    monkeypatch.setattr(training, "MOST_HELPERS", most)
    monkeypatch.setattr(training, "macro_f1", lambda _: 0.0)  # val knows nothing
    config = replace(
        tiny, objective="contrastive", epochs=1, labels_per_class=per_class
    )

    run = fit(config, root=tmp_path)

    [(discriminant, (_, _, _, unlabelled))] = fitted
    kept = weights(run, "best.pt")["learner"]["classifier.linear.weight"]
    assert same(kept, discriminant.linear.weight) is bool(helpers)
    assert len(unlabelled) == helpers


def test_without_a_refit_the_classifier_stays_as_it_was_trained(
    tmp_path: Path, tiny: Config
) -> None:
    config = replace(tiny, objective="contrastive", epochs=1)
    runs = [fit(replace(config, refit=refit), root=tmp_path) for refit in (True, False)]

    anew, stayed = (weights(run, "best.pt")["learner"] for run in runs)
    last = weights(runs[1])["mean"]
    assert same(stayed["classifier.linear.weight"], last["classifier.linear.weight"])
    assert not same(anew["classifier.linear.weight"], last["classifier.linear.weight"])


def test_a_set_without_labels_can_only_be_learned_from_without(
    tmp_path: Path, tiny: Config, make_image: MakeImage
) -> None:
    for number in range(8):
        make_image(tmp_path / "set" / f"{number}.png", seed=number)
    config = replace(tiny, data=str(tmp_path / "set"), epochs=1)

    with pytest.raises(DataError, match="no labels, which the objective supervised"):
        fit(config, root=tmp_path)
    run = load_run(
        fit(replace(config, objective="reconstruction"), root=tmp_path).folder
    )
    assert run.class_names == ()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Run:
    """Return a run of twice six steps that nobody stopped."""
    config = Config(
        model="hnet-r0", data=str(SAMPLES), objective="joint", augment="strong",
        side_px=32, width=4, embedding_size=8, batch_size=32, epochs=2, device="cpu",
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        make_quick(patch)
        return fit(config, root=tmp_path_factory.mktemp("runs"), name="whole")


def assert_same_run(cut: Run, uncut: Run) -> None:
    assert same(weights(cut), weights(uncut))
    assert same(weights(cut, "best.pt"), weights(uncut, "best.pt"))
    for name in ("history.csv", "metrics.json"):
        assert (cut.folder / name).read_bytes() == (uncut.folder / name).read_bytes()


@pytest.mark.parametrize("step", [2, 6, 7, 9, 12])
def test_a_run_stopped_at_any_step_ends_like_one_that_was_not(
    tmp_path: Path, whole: Run, step: int
) -> None:
    """Within an epoch, at its end, at a start, in the last step."""
    config = replace(whole.config, save_minutes=0.0)

    with pytest.raises(InterruptedRunError, match=f"stopped at step {step}; .* is kep"):
        fit(config, root=tmp_path, name="cut", show=StopAt(step - 1))

    assert_same_run(resume(next(tmp_path.glob("cut-*"))), whole)


class KilledError(BaseException):
    """Nothing in the product catches it."""


@pytest.mark.parametrize("file", [1, 3, 4])
def test_a_run_killed_between_two_files_ends_like_one_that_was_not(
    tmp_path: Path, whole: Run, monkeypatch: pytest.MonkeyPatch, file: int
) -> None:
    """After best.pt of the first epoch, last.pt of the second, best.pt at the end."""
    saved, names = checkpoint.save, list[str]()

    def save(path: Path, state: dict[str, Any]) -> None:
        saved(path, state)
        names.append(path.name)
        if len(names) == file:
            raise KilledError

    monkeypatch.setattr(checkpoint, "save", save)
    with pytest.raises(KilledError):
        fit(whole.config, root=tmp_path, name="cut")
    monkeypatch.setattr(checkpoint, "save", saved)

    assert_same_run(resume(next(tmp_path.glob("cut-*"))), whole)


def test_a_run_stopped_before_its_first_checkpoint_begins_again(
    tmp_path: Path, whole: Run
) -> None:
    with pytest.raises(InterruptedRunError, match="before the first checkpoint"):
        fit(whole.config, root=tmp_path, show=StopAt(0))

    assert_same_run(resume(next(tmp_path.iterdir())), whole)


@pytest.mark.parametrize("step", [0, 9])
def test_asking_once_more_finishes_a_run_and_trains_it_only_once(
    tmp_path: Path, whole: Run, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    config = replace(whole.config, save_minutes=0.0)
    with pytest.raises(InterruptedRunError):
        fit_once(config, root=tmp_path, name="once", show=StopAt(step))

    run = fit_once(config, root=tmp_path, name="once")

    assert_same_run(run, whole)
    monkeypatch.setattr(Training, "finish", None)  # a training would fail
    assert fit_once(config, root=tmp_path, name="once").folder == run.folder
    with pytest.raises(DataError, match="was trained with other epochs, seed; ask"):
        fit_once(replace(config, seed=1, epochs=9), root=tmp_path, name="once")


def test_the_seed_decides(tmp_path: Path, tiny: Config) -> None:
    one, two, other = (
        fit(replace(tiny, seed=seed), root=tmp_path, name=name)
        for seed, name in ((1, "one"), (1, "two"), (2, "other"))
    )

    assert same(weights(one), weights(two))
    assert not same(weights(one), weights(other))


@pytest.mark.parametrize(
    "setting",
    [{"layout": "channels-last"}, {"precision": "bf16"}, {"precision": "fp16"}],
    ids=str,
)
def test_layout_and_arithmetic_do_not_change_what_is_learned(
    tmp_path: Path, tiny: Config, setting: dict[str, Any]
) -> None:
    usual = fit(tiny, root=tmp_path, name="usual")
    other = fit(replace(tiny, **setting), root=tmp_path, name="other")

    first, second = (weights(run)["progress"]["history"][-1] for run in (usual, other))
    assert second["loss"] == pytest.approx(first["loss"], rel=0.05)


@pytest.mark.slow
def test_a_machine_that_cannot_compile_is_told_so(tmp_path: Path) -> None:
    nowhere = {"CXX": str(tmp_path / "no compiler"), "TORCHINDUCTOR_CACHE_DIR": "cache"}
    command = [sys.executable, "-m", "cellrot_train", "fit", *QUICK, "--compile"]
    environment = os.environ | nowhere | {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
    done = subprocess.run(
        [*command, "--data", str(SAMPLES), "--out", str(tmp_path)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert "torch cannot compile on this machine" in done.stderr.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("c++"), reason="torch needs a C++ compiler")
def test_a_compiled_network_learns_the_same(tmp_path: Path) -> None:
    losses = []
    for settings in ([], ["--compile"]):  # of its own: torch's warnings are not ours
        out = tmp_path / f"compiled {len(settings)}"
        command = [
            sys.executable,
            "-m",
            "cellrot_train",
            "fit",
            *QUICK,
            "--epochs",
            "1",
            *settings,
        ]
        command += ["--model", "hnet-r2", "--data", str(SAMPLES), "--out", str(out)]
        subprocess.run(command, check=True, capture_output=True)
        (run,) = out.iterdir()
        losses.append(weights(Run(run))["progress"]["history"][-1]["loss"])

    # AdamW makes full steps of faint gradients, and so of their rounding
    assert losses[1] == pytest.approx(losses[0], rel=0.01)


class Losses(Silent):
    """Keeps the loss of every step."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def step(self, step: Step) -> None:
        self.values.append(step.loss)


def test_an_epochs_loss_is_the_mean_of_its_steps(tmp_path: Path, tiny: Config) -> None:
    show = Losses()

    history = weights(fit(tiny, root=tmp_path, show=show))["progress"]["history"]

    first, second = show.values[:6], show.values[6:]
    assert history[0]["loss"] == pytest.approx(sum(first) / 6)
    assert history[1]["loss"] == pytest.approx(sum(second) / 6)


def test_another_patch_set_is_not_resumed(tmp_path: Path, tiny: Config) -> None:
    run = fit(tiny, root=tmp_path)
    (run.folder / "metrics.json").unlink()
    run.write_json("data.json", {**run.read_json("data.json"), "sha256": "0" * 64})

    with pytest.raises(DataError, match="have changed since the run began"):
        resume(run.folder)


def test_a_finished_run_is_left_alone(tmp_path: Path, tiny: Config) -> None:
    run, show = fit(tiny, root=tmp_path), Notes()
    before = (run.folder / "last.pt").stat().st_mtime_ns

    resume(run.folder, show=show)

    assert show.lines == [f"{run.folder}: is finished already"]
    assert (run.folder / "last.pt").stat().st_mtime_ns == before


def test_training_starts_from_another_runs_encoder(
    tmp_path: Path, tiny: Config
) -> None:
    first = fit(replace(tiny, objective="contrastive"), root=tmp_path, name="first")
    config = replace(tiny, init=str(first.folder), learning_rate=0.0, weight_decay=0.0)

    second = fit(config, root=tmp_path, name="second")

    one, two = (
        weights(first, "best.pt")["encoder"],
        weights(second, "best.pt")["encoder"],
    )
    assert all(torch.allclose(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "baseline"}, "with model hnet-r0, expected baseline; give --model"),
        ({"side_px": 64}, "with network_px 32, expected 64; give --side-px"),
        ({"width": 6}, "with width 4, expected 6; give --width"),
        ({"embedding_size": 9}, "with embedding_size 8, expected 9; give --embedding"),
    ],
)
def test_an_encoder_of_another_make_is_refused(
    tmp_path: Path, tiny: Config, change: dict[str, Any], message: str
) -> None:
    first = fit(replace(tiny, epochs=1), root=tmp_path)
    config = replace(tiny, init=str(first.folder), **change)

    with pytest.raises(ConfigError, match=message):
        fit(config, root=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_usual_width_may_be_named(tmp_path: Path, tiny: Config) -> None:
    first = fit(replace(tiny, width=0, epochs=1), root=tmp_path)
    config = replace(tiny, init=str(first.folder), width=31, epochs=1)

    assert fit(config, root=tmp_path).config.width == 31


def test_a_checkpoint_that_its_settings_do_not_fit_is_refused(
    tmp_path: Path, tiny: Config
) -> None:
    run = fit(replace(tiny, epochs=1), root=tmp_path)
    run.write_json("config.json", replace(tiny, width=6).to_dict())

    with pytest.raises(DataError, match=r"best\.pt: .* of another model or version"):
        load_run(run.folder)


def test_one_patch_alone_is_refused(tmp_path: Path, tiny: Config) -> None:
    sources = sorted(SAMPLES.rglob("*.webp"))[:3]
    rows = [f"{split}.webp,cell,{split}" for split in SPLITS]
    for split, source in zip(SPLITS, sources, strict=True):
        (tmp_path / f"{split}.webp").write_bytes(source.read_bytes())
    (tmp_path / "index.csv").write_text("\n".join(["path,label,split", *rows]))

    with pytest.raises(DataError, match="train on: 1, expected at least 2"):
        fit(replace(tiny, data=str(tmp_path)), root=tmp_path / "runs")


def test_what_is_no_run_is_refused(tmp_path: Path, tiny: Config) -> None:
    with pytest.raises(DataError, match="no run"):
        load_run(tmp_path)
    with pytest.raises(DataError, match="no trained run; train one with"):
        newest_run(tmp_path)
    with pytest.raises(InterruptedRunError):
        fit(tiny, root=tmp_path, show=StopAt(0))
    with pytest.raises(DataError, match=r"has no best\.pt yet"):
        load_run(next(tmp_path.iterdir()))


def test_the_newest_run_is_the_one_trained_last(tmp_path: Path, tiny: Config) -> None:
    for name in ("b", "a"):
        fit(replace(tiny, epochs=1), root=tmp_path, name=name)

    assert newest_run(tmp_path).name == "a-hnet-r0"


def test_runs_of_the_same_name_do_not_meet(tmp_path: Path, tiny: Config) -> None:
    config = replace(tiny, epochs=1)
    folders = {fit(config, root=tmp_path, name="x").folder.name for _ in range(2)}

    assert folders == {"x-hnet-r0", "x-2-hnet-r0"}


def test_few_labels_among_many_unlabelled_cells(
    tmp_path: Path, tiny: Config, make_image: MakeImage
) -> None:
    for number in range(10):
        make_image(tmp_path / "more" / f"{number}.png", side=256, seed=number)
    config = replace(
        tiny, objective="joint+consistency", labels_per_class=2, labelled_share=0.25,
        unlabelled=str(tmp_path / "more"), epochs=1,
    )  # fmt: skip

    run = fit(config, root=tmp_path)

    data = run.read_json("data.json")
    assert data["counts"]["train"] == 230
    assert data["labelled"] == 22 + 66 + 88


@pytest.mark.parametrize("device", ["cuda", "abacus", "meta"])
def test_a_device_that_does_not_work_is_refused(tiny: Config, device: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(DeviceError, match=device):
        fit(replace(tiny, device=device))


def test_deterministic_training_leaves_no_trace(tmp_path: Path, tiny: Config) -> None:
    fit(replace(tiny, deterministic=True, epochs=1), root=tmp_path)

    assert not torch.are_deterministic_algorithms_enabled()


QUICK = ("--model", "hnet-r0", "--side-px", "32", "--width", "4", "--device", "cpu")


def test_the_command_trains_on_the_samples_and_says_so(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["fit", *QUICK, "--epochs", "1", "--out", str(tmp_path / "my runs")]
    )

    assert result.exit_code == 0, result.output
    assert "no --data: training on the samples in" in result.output
    assert "epoch 1" in result.output
    assert newest_run(tmp_path / "my runs").name.endswith("-hnet-r0")


def test_every_setting_is_a_flag() -> None:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["fit", "--help"])

    for name in Config().to_dict():
        assert f"--{name.replace('_', '-')}" in result.output


def test_a_users_mistake_is_one_line_and_status_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = str(tmp_path / "gone")
    monkeypatch.setattr(sys, "argv", ["cellrot-train", "fit", "--data", gone])

    with pytest.raises(SystemExit) as caught:
        main()

    message = capsys.readouterr().err
    assert caught.value.code == 1
    assert message == f"error: {gone}: no such folder of patches\n"


def test_help_waits_for_no_torch() -> None:
    code = (
        "import sys, cellrot_train.cli; "
        "sys.exit(bool({'torch', 'cv2', 'numpy', 'sklearn'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def wait_for(path: Path) -> None:
    for _ in range(2400):  # two minutes, for a busy machine
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} did not appear")


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_keeps_the_last_checkpoint_and_says_so(tmp_path: Path) -> None:
    last = tmp_path / "x-hnet-r0" / "last.pt"
    quick = [sys.executable, "-m", "cellrot_train", "fit", *QUICK, "--epochs", "500"]
    places = ["--out", str(tmp_path), "--name", "x", "--save-minutes", "0"]
    process = subprocess.Popen([*quick, *places], text=True, stderr=subprocess.PIPE)
    try:
        wait_for(last)
        process.send_signal(signal.SIGINT)
        _, message = process.communicate(timeout=60)
    finally:
        process.kill()

    assert process.returncode == 130
    assert "last.pt is kept, go on with `cellrot-train fit --resume" in message
    assert checkpoint.load(last)["progress"]["done"] > 0


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    """A limit on the size of files refuses the write as a full disk does."""
    import resource

    kept = tmp_path / "last.pt"
    checkpoint.save(kept, {"done": 0})
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)

    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, usual[1]))
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            checkpoint.save(kept, {"weights": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)

    assert checkpoint.load(kept)["done"] == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]


def test_a_checkpoint_that_cannot_be_written_ends_the_run_in_plain_words(
    tmp_path: Path, tiny: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = checkpoint.save
    calls: list[Path] = []

    def full(path: Path, state: dict[str, Any]) -> None:
        calls.append(path)
        if len(calls) > 2:
            raise OutputError(f"{path}: cannot be written (No space left on device)")
        saved(path, state)

    monkeypatch.setattr(checkpoint, "save", full)
    with pytest.raises(OutputError, match=r"No space left.*last\.pt is kept, go on"):
        fit(tiny, root=tmp_path)


def test_a_device_whose_memory_is_full_is_told_what_helps(
    tmp_path: Path, tiny: Config
) -> None:
    class Fills(Silent):
        def step(self, step: Step) -> None:
            raise torch.OutOfMemoryError

    with pytest.raises(DeviceError, match=r"memory is full at step 1; .*--batch-size"):
        fit(tiny, root=tmp_path, show=Fills())


def test_the_samples_are_those_of_the_tests() -> None:
    assert USED.resolve() == SAMPLES.resolve()
    assert cv2.haveImageReader(str(next(USED.rglob("*.webp"))))
