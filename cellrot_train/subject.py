"""What is evaluated: the folder of a run, or an ONNX file, by the name a user gives."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellrot_infer.classify import Classifier
from cellrot_infer.devices import DeviceName
from cellrot_infer.errors import DataError
from cellrot_infer.writers.text import file_stem
from cellrot_train.cells import Cells, labelled_cells
from cellrot_train.data import load_patch_set
from cellrot_train.processes import choose_device
from cellrot_train.readout import Model, model_of_file, model_of_run
from cellrot_train.run import load_run


@dataclass(frozen=True)
class Subject:
    """A model ready to be measured.

    `name` serves for files; `data` is the patch set that it learned from, empty where
    unknown; `about` says which model it is.
    """

    name: str
    model: Model
    class_names: tuple[str, ...]
    data: str
    about: Mapping[str, Any]

    def find_cells(
        self, data: Path | None, split: str
    ) -> tuple[Cells, tuple[str, ...]]:
        """Return the labelled cells of `split` of `data`, or of what it learned from.

        The second value holds a note for each unreadable image.
        """
        if data is None and not self.data:
            raise DataError(f"{self.name}: give the cells to measure it on with --data")
        patch_set = load_patch_set(data or Path(self.data), self.class_names)
        return labelled_cells(patch_set, split)


def open_subject(name_or_path: str, device: DeviceName = "auto") -> Subject:
    """Return the run in a folder, else the ONNX file or shipped model of that name.

    Raises DataError, ModelError or DeviceError where it cannot be used.
    """
    path = Path(name_or_path)
    return _run(path, device) if path.is_dir() else _file(name_or_path, device)


def _run(folder: Path, device: DeviceName) -> Subject:
    run = load_run(folder)
    chosen = choose_device(device)
    about = {
        "run": str(folder),
        "encoder": run.config.model,
        "objective": run.config.objective,
        "trained_on_sha256": run.data["sha256"],
        "versions": dict(run.versions),
        "device": str(chosen),
    }
    model = model_of_run(run, chosen)
    return Subject(
        folder.resolve().name, model, run.class_names, run.data["path"], about
    )


def _file(name_or_path: str, device: DeviceName) -> Subject:
    classifier = Classifier.load(name_or_path, device=device)
    card = classifier.card
    about = {
        "file": name_or_path,
        "name": card.name,
        "encoder": card.encoder,
        "sha256": classifier.sha256,
        "provider": classifier.provider,
    }
    model = model_of_file(classifier)
    return Subject(file_stem(card.name), model, card.class_names, "", about)
