"""The four encoders, each an auto-encoder of a patch."""

from collections.abc import Callable
from typing import NamedTuple

from cellrot_train.encoders.base import AutoEncoder, Encoding
from cellrot_train.encoders.baseline import baseline
from cellrot_train.encoders.hnet import hnet_r0, hnet_r2
from cellrot_train.encoders.stn import stn

__all__ = ["ENCODER_NAMES", "AutoEncoder", "Encoding", "build_encoder"]


class _Kind(NamedTuple):
    build: Callable[[int, int, int], AutoEncoder]  # width, side_px, embedding_size
    width: int  # all four have about 0.15 M parameters at 64 px
    narrow: int  # about as many parameters as the others below FULL_WIDTH_PX


_KINDS = {
    "baseline": _Kind(baseline, 16, 16),
    "stn": _Kind(stn, 16, 16),
    "hnet-r0": _Kind(hnet_r0, 32, 31),
    "hnet-r2": _Kind(hnet_r2, 8, 7),
}
ENCODER_NAMES = tuple(_KINDS)
FULL_WIDTH_PX = 64


def build_encoder(
    name: str, *, side_px: int = 64, width: int | None = None, embedding_size: int = 64
) -> AutoEncoder:
    """Return the encoder `name`, one of ENCODER_NAMES, with fresh weights.

    Without `width` (channels, or fields, of the map of half size) the four have the
    same number of parameters within 10 %. `side_px` is that of its images.
    """
    if name not in _KINDS:
        raise ValueError(f"encoder must be one of {ENCODER_NAMES}, got {name!r}")
    kind = _KINDS[name]
    usual = kind.width if side_px >= FULL_WIDTH_PX else kind.narrow
    return kind.build(width or usual, side_px, embedding_size)
