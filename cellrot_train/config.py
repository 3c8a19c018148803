"""Everything that decides what a run learns: one frozen value, written into the run.

Standard library only, so that `cellrot-train fit --help` needs no torch.
"""

import dataclasses
import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from cellrot_infer.errors import CellrotError

MODELS = ("baseline", "stn", "hnet-r0", "hnet-r2")
OBJECTIVES = (
    "supervised",
    "consistency",
    "reconstruction",
    "masked",
    "contrastive",
    "variance",
    "orientation",
)
STRENGTHS = ("none", "mild", "strong", "foreign")
PRECISIONS = ("auto", "float32", "bf16", "fp16")
LAYOUTS = ("auto", "contiguous", "channels-last")
SIDES_PX = (32, 64, 128, 256)  # divisors of the patch
VIEWS_PX = (0, 48, 96, 192)  # three quarters of a side


class ConfigError(CellrotError):
    """A setting is unknown, of the wrong type or out of its range."""


def setting(
    default: Any,  # noqa: ANN401
    help: str,
    *,
    choices: tuple[object, ...] = (),
    at_least: float | None = None,
    at_most: float | None = None,
) -> Any:  # noqa: ANN401
    """Return a field of Config with what `--help` says of it and what it may be."""
    limits = {"choices": choices, "at_least": at_least, "at_most": at_most}
    return field(default=default, metadata={"help": help, **limits})


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings of a run. Paths are as the user gave them; 0 may mean `choose`."""

    model: str = setting("hnet-r2", "Encoder.", choices=MODELS)
    objective: str = setting(
        "supervised",
        "Sum of terms, such as supervised+0.5*reconstruction, of "
        f"{', '.join(OBJECTIVES)}; joint is supervised+contrastive.",
    )
    data: str = setting("", "Patch set: a folder of class folders or with index.csv.")
    unlabelled: str = setting("", "More patches, whose labels are not read.")
    init: str = setting("", "Run whose encoder is the start (default: random).")
    labels_per_class: int = setting(
        0, "Keep this many training labels a class, 0 for all.", at_least=0
    )
    labelled_share: float = setting(
        0.0,
        "Share of labelled cells in a batch, 0 for as they come.",
        at_least=0,
        at_most=1,
    )
    balance: float = setting(
        0.5,
        "Class balance of batches: 0 as they come, 1 all equal.",
        at_least=0,
        at_most=1,
    )
    pixel_size_um: float = setting(
        0.1, "Micrometres on the slide per pixel of the patches.", at_least=0.001
    )

    side_px: int = setting(
        64, "Side of the patch in the network's pixels.", choices=SIDES_PX
    )
    view_px: int = setting(
        0, "Side of its central part, which alone is seen, 0 for all.", choices=VIEWS_PX
    )
    width: int = setting(
        0, "Channels of the first stage, 0 for the usual.", at_least=0, at_most=1024
    )
    embedding_size: int = setting(
        64, "Length of the embedding.", at_least=2, at_most=4096
    )
    projection_size: int = setting(
        128, "Length of what the contrastive terms compare.", at_least=2, at_most=4096
    )

    augment: str = setting("mild", "Stain, light, optics.", choices=STRENGTHS)
    rotate: bool = setting(True, "Turn and mirror the training images at random.")

    epochs: int = setting(0, "Passes over the data, 0: 20 to 60 by size.", at_least=0)
    batch_size: int = setting(64, "Patches a step, of all processes.", at_least=2)
    learning_rate: float = setting(2e-3, "Highest learning rate.", at_least=0)
    weight_decay: float = setting(0.02, "Of AdamW.", at_least=0)
    warmup_epochs: float = setting(1.0, "Epochs of rising learning rate.", at_least=0)
    max_grad_norm: float = setting(1.0, "Longer gradients are clipped.", at_least=0)
    ema_decay: float = setting(
        0.998, "Memory of the averaged weights.", at_least=0, at_most=1
    )
    label_smoothing: float = setting(0.05, "Of cross-entropy.", at_least=0, at_most=1)
    temperature: float = setting(0.1, "Of the contrastive term.", at_least=0.001)

    seed: int = setting(0, "Of everything that is random.", at_least=0, at_most=1e9)
    device: str = setting("auto", "auto, cpu, cuda or cuda:1.")
    precision: str = setting(
        "auto",
        "Arithmetic of the network; auto is bf16 on CUDA, else float32. On a CPU "
        "with AMX the harmonic nets take 0.6 of the time with bf16.",
        choices=PRECISIONS,
    )
    layout: str = setting(
        "auto",
        "Order of values in memory; auto is channels-last on CUDA.",
        choices=LAYOUTS,
    )
    compile: bool = setting(False, "Compile the network (minutes once, then faster).")
    deterministic: bool = setting(False, "Refuse operations that vary between runs.")
    keep: str = setting(
        "best",
        "Which epoch becomes the model: best on val, or last.",
        choices=("best", "last"),
    )
    refit: bool = setting(
        True, "At the end fit the classifier anew, on the frozen features."
    )
    save_minutes: float = setting(5.0, "Longest time between checkpoints.", at_least=0)
    memory_gb: float = setting(
        0.0, "Patches beyond this stay on disk, 0: half of a GPU's memory.", at_least=0
    )

    def __post_init__(self) -> None:
        for entry in fields(self):
            object.__setattr__(
                self, entry.name, _checked(entry, getattr(self, entry.name))
            )

        if self.view_px > self.side_px:
            raise ConfigError(
                f"view_px is {self.view_px}, expected at most side_px, {self.side_px}"
            )

    @property
    def network_px(self) -> int:
        """Side of the image that the network sees."""
        return self.view_px or self.side_px

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str) -> Self:
        """Return the settings in `values`; `source` names them in a ConfigError."""
        known = [entry.name for entry in fields(cls)]
        for name in values.keys() - set(known):
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise ConfigError(f"{source}: unknown setting {name!r}; {hint}")
        try:
            return cls(**values)
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from None
        except (ValueError, OverflowError):  # no float holds it, no message shows it
            raise ConfigError(f"{source}: a number has too many digits") from None


def read_config(path: Path | None, flags: Mapping[str, Any]) -> Config:
    """Return the settings of the TOML file at `path`, overruled by `flags`."""
    source = "settings" if path is None else str(path)
    return Config.from_dict({**read_settings(path), **flags}, source)


def read_settings(path: Path | None) -> dict[str, Any]:
    """Return the settings that the TOML file at `path` names; of no file, none."""
    return {} if path is None else _read_toml(path)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:  # of TOML, UTF-8 or endless numbers
        raise ConfigError(f"{path}: no valid TOML ({error})") from None


def _checked(entry: dataclasses.Field, value: object) -> Any:  # noqa: ANN401
    """Return `value` as the type of its field; raise ConfigError where it cannot be."""
    kind = type(entry.default)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise ConfigError(f"{entry.name} is {value!r}, expected {kind.__name__}")
    limits = entry.metadata
    if limits["choices"] and value not in limits["choices"]:
        known = ", ".join(map(str, limits["choices"]))
        raise ConfigError(f"{entry.name} is {value!r}, expected one of {known}")
    low, high = limits["at_least"], limits["at_most"]
    if isinstance(value, (int, float)):
        if low is not None and not value >= low:
            raise ConfigError(f"{entry.name} is {value}, expected at least {low:g}")
        if high is not None and not value <= high:
            raise ConfigError(f"{entry.name} is {value}, expected at most {high:g}")
    return value
