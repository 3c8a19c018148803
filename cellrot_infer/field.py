"""A frame as all that judges it begins: small, its glass found, in optical density."""

from dataclasses import dataclass
from typing import Self

from cellrot_infer import stain
from cellrot_infer.regions import WORKING_PIXEL_UM
from cellrot_infer.types import RGB, Floats, Frame


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """A `frame`, and what is seen of it at the scale at which cells are sought.

    `pixels` are (H, W, 3) at `WORKING_PIXEL_UM`, `glass` is their empty glass, and
    `density` (H, W, 3) their optical density against it, as noisy as the camera is.
    """

    frame: Frame
    pixels: RGB
    glass: stain.Glass
    density: Floats

    @classmethod
    def of(cls, frame: Frame) -> Self:
        """Return what `frame` shows."""
        pixels = stain.shrink(frame.pixels, frame.pixel_size_um / WORKING_PIXEL_UM)
        glass = stain.find_glass(pixels)
        return cls(frame, pixels, glass, stain.optical_density(pixels, glass))
