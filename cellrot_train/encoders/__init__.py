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


_KINDS = {
    "baseline": _Kind(baseline, 16),
    "stn": _Kind(stn, 16),
    "hnet-r0": _Kind(hnet_r0, 32),
    "hnet-r2": _Kind(hnet_r2, 8),
}
ENCODER_NAMES = tuple(_KINDS)


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
    return kind.build(width or kind.width, side_px, embedding_size)
