"""Is this workstation fit? Each check says what it found and how to repair it."""

import importlib
import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from cellrot_infer.errors import CellrotError

RUNTIMES = ("onnxruntime-gpu", "onnxruntime", "onnxruntime-directml")
OPENCVS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
_REPAIRS = {
    "cv2": "pip install --force-reinstall opencv-python; on Linux without a desktop "
    "also: apt-get install libgl1 libglib2.0-0",
    "onnxruntime": "pip install --force-reinstall onnxruntime-gpu; on Windows also the "
    "Visual C++ Redistributable, https://aka.ms/vs/17/release/vc_redist.x64.exe",
}


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, what was found, and the repair where it is wrong."""

    subject: str
    finding: str
    repair: str = ""


def examine(folder: Path) -> Iterator[Check]:
    """Yield one check after the other; `folder` is where reports would be written."""
    yield check_python()
    installed = installed_versions()
    yield check_single("ONNX Runtime", RUNTIMES, installed)
    yield check_single("OpenCV", OPENCVS, installed)
    imports = [check_import(module) for module in _REPAIRS]
    yield from imports
    yield check_writable(folder)
    if not any(check.repair for check in imports):
        yield check_device()
        yield from check_models()


def check_python() -> Check:
    """Return the versions of what runs."""
    cellrot, system = metadata.version("cellrot"), platform.platform()
    return Check("cellrot", f"{cellrot}, Python {platform.python_version()}, {system}")


def installed_versions() -> dict[str, str]:
    """Return name and version of each installed runtime and OpenCV."""
    found: dict[str, str] = {}
    for name in (*RUNTIMES, *OPENCVS):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def check_single(
    subject: str, wheels: Sequence[str], installed: Mapping[str, str]
) -> Check:
    """Check that one of `wheels` is installed, and only one.

    They share their files: the last one installed wins, and removing either of two
    leaves the other broken.
    """
    present = [name for name in wheels if name in installed]
    finding = " and ".join(f"{name} {installed[name]}" for name in present)
    if len(present) == 1:
        return Check(subject, finding)
    if not present:
        return Check(subject, "not installed", f"pip install {wheels[0]}")
    return Check(
        subject,
        f"{finding} overwrite each other",
        f"pip uninstall -y {' '.join(present)}; pip install {present[0]}",
    )


def check_import(module: str) -> Check:
    """Check that `module` loads, with the libraries that it needs."""
    try:
        loaded = importlib.import_module(module)
    except ImportError as error:
        return Check(module, f"does not load ({error})", _REPAIRS[module])
    return Check(module, f"{loaded.__version__} loads")


def check_writable(folder: Path) -> Check:
    """Check that reports can be written into `folder`."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return Check("folder", f"{folder.resolve()} can be written")
    except OSError as error:
        finding = f"{folder.resolve()} cannot be written ({error.strerror})"
        return Check("folder", finding, "choose another with --out")


def check_device() -> Check:
    """Return what would run a model; the CPU is no fault."""
    import onnxruntime as ort

    from cellrot_infer.devices import available_threads, driver_obstacle

    obstacle = driver_obstacle()
    what = f"CPU, since {obstacle}" if obstacle else "GPU, if its libraries load"
    providers = ", ".join(ort.get_available_providers())
    return Check(
        "device", f"{what}; {available_threads()} processors; built for {providers}"
    )


def check_models() -> Iterator[Check]:
    """Load each shipped model, verify its hash and try its golden cells."""
    from cellrot_infer.models import models_folder, shipped_models

    models = shipped_models()
    if not models:
        repair = "pip install --force-reinstall cellrot"
        yield Check("models", f"none in {models_folder()}", repair)
    yield from map(check_model, models)


def check_model(path: Path) -> Check:
    """Check that the model at `path` is whole and answers as it did at export."""
    from cellrot_infer.classify import Classifier
    from cellrot_infer.golden import TOLERANCE, golden_error

    subject = f"model {path.stem}"
    try:
        classifier = Classifier.load(path)
        error = golden_error(classifier)
    except CellrotError as fault:
        return Check(subject, str(fault), "copy the file again from where it came")
    cells = len(classifier.card.golden)
    finding = (
        f"{path.stat().st_size / 1e6:.1f} MB, sha256 {classifier.sha256[:12]}, "
        f"{cells} golden cells differ by {error:.1g}, {classifier.device}"
    )
    if error > TOLERANCE:
        repair = "reinstall onnxruntime; if it stays, do not use this model here"
        return Check(subject, finding, repair)
    return Check(subject, finding)
