"""Where models are: by path, or by name in the folder of shipped ones."""

import os
from pathlib import Path

from cellrot_infer.errors import ModelError

DEFAULT_MODEL = "hnet-r2"
FOLDER_VARIABLE = "CELLROT_MODELS"


def models_folder() -> Path:
    """Return the folder of models: the one named by CELLROT_MODELS, or the shipped."""
    if named := os.environ.get(FOLDER_VARIABLE):
        return Path(named)
    package = Path(__file__).parent
    packaged = package / "models"
    return packaged if packaged.is_dir() else package.parent / "models"


def shipped_models() -> list[Path]:
    """Return the model files in the models folder, by name."""
    return sorted(models_folder().glob("*.onnx"))


def find_model(name_or_path: str | Path) -> Path:
    """Return the file of the model that is named; raise ModelError where none is."""
    path = Path(name_or_path)
    if path.suffix.lower() == ".onnx" or len(path.parts) != 1:
        return path
    found = models_folder() / f"{path.name}.onnx"
    if not found.is_file():
        known = ", ".join(model.stem for model in shipped_models()) or "none"
        raise ModelError(
            f"no model named {str(name_or_path)!r} in {models_folder()} "
            f"(there: {known}); give a name or the path of an .onnx file"
        )
    return found
