"""Find, classify and count the cells of microscope frames, without torch.

from cellrot_infer import Classifier, analyze, read_frame

report = analyze([read_frame(Path("frame.png"))], Classifier.load())
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cellrot_infer.classify import Classifier
    from cellrot_infer.frames import read_frame
    from cellrot_infer.largeimage import open_large
    from cellrot_infer.pipeline import analyze
    from cellrot_infer.segment import segment

__all__ = ["Classifier", "analyze", "open_large", "read_frame", "segment"]

_HOMES = {
    "Classifier": "cellrot_infer.classify",
    "analyze": "cellrot_infer.pipeline",
    "open_large": "cellrot_infer.largeimage",
    "read_frame": "cellrot_infer.frames",
    "segment": "cellrot_infer.segment",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Import on first use: the command line answers before OpenCV is loaded."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


class _Package(ModuleType):
    def __setattr__(self, name: str, value: object) -> None:
        # The import system binds every submodule here; `segment` is the function.
        if name in _HOMES and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
