"""Images too large for one piece: stitched frames and the files of slide scanners."""

from dataclasses import dataclass
from pathlib import Path

from cellrot_infer.errors import FrameError
from cellrot_infer.frames import (
    MODEL_PIXEL_SIZE_UM,
    agreed_size,
    check_usable,
    doubts,
    told_size,
    unknown_size,
)
from cellrot_infer.images import (
    SLIDE_SUFFIXES,
    check_readable,
    file_sha256,
    tiff_header,
)
from cellrot_infer.metadata import credible
from cellrot_infer.raster import MemoryRaster, Raster, downsample, glance
from cellrot_infer.scale import estimate_pixel_size
from cellrot_infer.tiffraster import TiffRaster
from cellrot_infer.types import RGB, Box, Frame, PixelSize
from cellrot_infer.wholeslide import WholeSlide

MOST_PIXELS_A_BYTE = 5000  # blank tiles compress to a five-thousandth, images never
PROBES = 8  # a side; so many parts are looked at for red cells
PROBE_SIDE_PX = 512
BEST_PROBES = 15


@dataclass(frozen=True, slots=True, eq=False)
class LargeImage:
    """An image that is analysed in tiles; `level` is the one in which cells are sought.

    `pixel_size` is that of level 0, in which cells are given.
    """

    name: str
    raster: Raster
    pixel_size: PixelSize
    level: int = 0
    sha256: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the level in which cells are sought."""
        return self.raster.sizes_px[self.level]

    @property
    def downsample(self) -> float:
        """How many pixels of level 0 one of the level is wide."""
        return downsample(self.raster, self.level)

    @property
    def level_pixel_um(self) -> float:
        """Micrometres on the slide per pixel of the level."""
        return self.pixel_size.um * self.downsample

    def read(self, box: Box) -> RGB:
        """Return the pixels in `box`, in pixels of the level."""
        return self.raster.read(box, self.level)

    def close(self) -> None:
        """Let go of the file; what is still to be read of it cannot be."""
        self.raster.close()

    def glance(self, box: Box, factor: float) -> RGB:
        """Return what is in `box`, `factor` times smaller."""
        return glance(self.raster, box, self.level, factor)


def open_large(
    path: Path,
    *,
    level: int = 0,
    pixel_size_um: float | None = None,
    fallback_um: float = MODEL_PIXEL_SIZE_UM,
) -> LargeImage:
    """Open the image at `path` to be read in parts; close it in the end.

    The pixel size, of level 0, is found as `read_frame` finds that of a frame. Raises
    FrameError where the file cannot be read, is damaged, or has no such level.
    """
    check_readable(path)
    raster = _raster(path)
    try:
        _check_level(raster, level, path)
        size, warnings = told_size(credible(raster.pixel_size_um), pixel_size_um)
        size = size or _judged_size(raster)
        if size is None:
            size, warnings = unknown_size(fallback_um)
        warnings += doubts(size)
        image = LargeImage(path.name, raster, size, level, file_sha256(path), warnings)
        check_usable(PixelSize(image.level_pixel_um, size.source), path)
    except FrameError:
        raster.close()
        raise
    return image


def reopen(
    path: Path, level: int, size: PixelSize, sha256: str, warnings: tuple[str, ...]
) -> LargeImage:
    """Open an image of which `open_large` told the rest before; close it in the end."""
    return LargeImage(path.name, _raster(path), size, level, sha256, warnings)


def in_tiles(frame: Frame) -> LargeImage:
    """Return `frame` as an image that is analysed in tiles."""
    return LargeImage(
        frame.name,
        MemoryRaster(frame.pixels),
        frame.pixel_size,
        sha256=frame.sha256,
        warnings=frame.warnings,
    )


def _raster(path: Path) -> Raster:
    if path.suffix.lower() in SLIDE_SUFFIXES:
        return WholeSlide(path)
    metadata = tiff_header(path)
    if metadata is None:
        raise FrameError(
            f"{path}: has level 0 only; more are in TIFF and in files of slide scanners"
        )
    size = path.stat().st_size
    if metadata.width_px * metadata.height_px > MOST_PIXELS_A_BYTE * size:
        raise FrameError(
            f"{path}: claims {metadata.width_px} x {metadata.height_px} pixels in "
            f"{size} bytes, which no image does"
        )
    return TiffRaster(path, metadata.pixel_size_um)


def _check_level(raster: Raster, level: int, path: Path) -> None:
    last = len(raster.sizes_px) - 1
    if level > last:
        has = f"levels 0 to {last}" if last else "level 0 only"
        raise FrameError(f"{path}: has {has}, --level {level} was asked for")


def _judged_size(raster: Raster) -> PixelSize | None:
    """Return the pixel size by the red cells of the parts that show most."""
    width, height = raster.sizes_px[0]
    side = min(PROBE_SIDE_PX, width, height)
    xs, ys = (
        sorted({(length - side) * k // (PROBES - 1) for k in range(PROBES)})
        for length in (width, height)
    )
    probes = [Box(x, y, side, side) for y in ys for x in xs]
    shown = {box: float(glance(raster, box, 0, 8.0).std()) for box in probes}
    fullest = sorted(probes, key=lambda box: -shown[box])[:BEST_PROBES]
    sizes = (estimate_pixel_size(raster.read(box)) for box in fullest)
    found = [size for size in sizes if size]
    return agreed_size(found) if found else None
