"""Files as slide scanners write them, made of any picture: Aperio and DICOM."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEGBaseline8Bit,
    VLWholeSlideMicroscopyImageStorage,
    generate_uid,
)

from cellrot_infer.types import RGB

TILE_PX = 128


def halved(pixels: RGB) -> RGB:
    half = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return np.asarray(half, np.uint8)


def write_svs(path: Path, pixels: RGB, pixel_size_um: float) -> Path:
    """Write `pixels` as Aperio does, with a thumbnail and a copy half as large."""
    height, width = pixels.shape[:2]
    text = (
        f"Aperio Image Library v11.2.1\r\n{width}x{height} [0,0 {width}x{height}] "
        f"({TILE_PX}x{TILE_PX}) JPEG/RGB Q=90|AppMag = 100|MPP = {pixel_size_um}"
    )
    tiled: dict[str, Any] = {
        "tile": (TILE_PX, TILE_PX),
        "compression": "jpeg",
        "photometric": "rgb",
    }
    with tifffile.TiffWriter(path) as writer:
        options: dict[str, Any] = {**tiled, "metadata": None}
        writer.write(pixels, description=text, **options)
        writer.write(pixels[::8, ::8], photometric="rgb", metadata=None)
        writer.write(halved(pixels), description=text, **options)
    return path


def write_dicom(folder: Path, pixels: RGB, pixel_size_um: float) -> Path:
    """Write `pixels` and a copy half as large as a series; return its first file."""
    series = generate_uid()
    _write_level(folder / "level0.dcm", pixels, pixel_size_um, series)
    _write_level(folder / "level1.dcm", halved(pixels), 2 * pixel_size_um, series)
    return folder / "level0.dcm"


def _write_level(path: Path, pixels: RGB, pixel_size_um: float, series: str) -> None:
    """Write one level (PS3.3 A.32.8, VL Whole Slide Microscopy Image)."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    data.SOPClassUID = VLWholeSlideMicroscopyImageStorage
    data.SOPInstanceUID = generate_uid()
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.ImageType = ["DERIVED", "PRIMARY", "VOLUME", "NONE"]
    data.Modality, data.SeriesInstanceUID = "SM", series
    data.Rows = data.Columns = TILE_PX
    data.TotalPixelMatrixRows, data.TotalPixelMatrixColumns = pixels.shape[:2]
    data.SamplesPerPixel, data.PlanarConfiguration = 3, 0
    data.PhotometricInterpretation = "YBR_FULL_422"
    data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
    data.PixelRepresentation = 0
    data.DimensionOrganizationType = "TILED_FULL"
    spacing, shared, path_of_light = Dataset(), Dataset(), Dataset()
    spacing.PixelSpacing = [pixel_size_um / 1000] * 2
    shared.PixelMeasuresSequence = [spacing]
    data.SharedFunctionalGroupsSequence = [shared]
    path_of_light.OpticalPathIdentifier = "1"
    data.OpticalPathSequence = [path_of_light]
    tiles = _jpeg_tiles(pixels)
    data.NumberOfFrames = len(tiles)
    data.PixelData = encapsulate(tiles)
    data["PixelData"].is_undefined_length = True
    data.save_as(path, enforce_file_format=True)


def _jpeg_tiles(pixels: RGB) -> list[bytes]:
    down, across = -pixels.shape[0] % TILE_PX, -pixels.shape[1] % TILE_PX
    full = cv2.copyMakeBorder(pixels, 0, down, 0, across, cv2.BORDER_REPLICATE)
    bgr = full[..., ::-1]
    return [
        cv2.imencode(".jpg", bgr[y : y + TILE_PX, x : x + TILE_PX])[1].tobytes()
        for y in range(0, full.shape[0], TILE_PX)
        for x in range(0, full.shape[1], TILE_PX)
    ]
