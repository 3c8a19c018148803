"""What the tags of a TIFF file say; an EXIF block is a small TIFF file too.

Classic and BigTIFF, either byte order. Sources: TIFF 6.0, the BigTIFF proposal, and
OME-TIFF and ImageJ, which write the pixel size into the description.
"""

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from mmap import mmap

from cellrot_infer.errors import FrameError

Numbers = tuple[float, ...]
Content = bytes | mmap  # of a file that need not be read as a whole

_FORMS = {1: "B", 2: "s", 3: "H", 4: "I", 5: "I", 7: "s", 13: "I", 16: "Q"}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 13: 4, 16: 8}
_RATIONAL = 5  # two numbers, one over the other
_SUBFILE_TYPE, _WIDTH, _HEIGHT, _DESCRIPTION, _ORIENTATION = 254, 256, 257, 270, 274
_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES = 273, 279, 324, 325
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
_RESOLUTION_UNIT_UM = {2.0: 25_400.0, 3.0: 10_000.0}  # inch, centimetre

_TAGS = frozenset((254, 256, 257, 270, 273, 274, 279, 282, 283, 296, 324, 325))

_UNITS_UM = {
    **dict.fromkeys(("um", "\u00b5m", "\u03bcm", r"\u00b5m", "micron", "microns"), 1.0),
    **{"nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "inch": 25_400.0},
}


@dataclass(frozen=True, slots=True)
class Directory:
    """The tags that describe one image of a TIFF file, and where the next one is."""

    numbers: Mapping[int, Numbers]
    texts: Mapping[int, bytes]
    next_offset: int

    def number(self, tag: int, default: float) -> float:
        """Return the first number of `tag`."""
        return self.numbers.get(tag, (default,))[0]

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height."""
        return int(self.number(_WIDTH, 0)), int(self.number(_HEIGHT, 0))

    @property
    def orientation(self) -> int:
        """How the stored image is turned, 1 (upright) to 8."""
        return int(self.number(_ORIENTATION, 1))

    @property
    def is_preview(self) -> bool:
        """Whether this is a smaller copy of another image of the file."""
        return bool(int(self.number(_SUBFILE_TYPE, 0)) & 1)

    @property
    def data_end(self) -> float:
        """Return where the last strip or tile ends in the file."""
        ends = [0.0]
        for offsets, lengths in (
            (_STRIP_OFFSETS, _STRIP_BYTES),
            (_TILE_OFFSETS, _TILE_BYTES),
        ):
            pairs = zip(
                self.numbers.get(offsets, ()),
                self.numbers.get(lengths, ()),
                strict=False,
            )
            ends += [offset + length for offset, length in pairs]
        return max(ends)

    @property
    def pixel_size_um(self) -> float | None:
        """Micrometres per pixel, None where the tags do not say or x and y differ."""
        description = self.texts.get(_DESCRIPTION, b"").decode("utf-8", "replace")
        sizes = _ome_sizes_um(description) or self._resolution_um(description)
        if len(sizes) < 2 or abs(sizes[0] - sizes[1]) > 0.01 * sizes[0]:
            return None
        return sizes[0]

    def _resolution_um(self, description: str) -> Numbers:
        unit_um = _RESOLUTION_UNIT_UM.get(self.number(_RESOLUTION_UNIT, 2))
        if description.startswith("ImageJ="):
            named = re.search(r"^unit=(\S+)", description, re.MULTILINE)
            unit_um = _UNITS_UM.get(named[1].lower()) if named else None
        along = self.number(_X_RESOLUTION, 0), self.number(_Y_RESOLUTION, 0)
        if unit_um is None or min(along) <= 0:
            return ()
        return unit_um / along[0], unit_um / along[1]


def directories(data: Content) -> Iterator[Directory]:
    """Yield the directories of the TIFF file `data`; damaged ones may form a ring."""
    reader = _Reader.of(data)
    start = reader.word_at(8 if reader.big else 4)
    while start:
        found = reader.directory(start)
        yield found
        start = found.next_offset


@dataclass(frozen=True, slots=True)
class _Reader:
    data: Content
    order: str
    big: bool

    @classmethod
    def of(cls, data: Content) -> "_Reader":
        order = ">" if data[:2] == b"MM" else "<"
        (version,) = struct.unpack_from(f"{order}H", data, 2)
        return cls(data, order, version == 43)

    def number_at(self, offset: int, form: str) -> int:
        if offset > len(self.data):  # an offset may also be too large for struct
            raise FrameError("cut off: it points beyond its end")
        number: int
        (number,) = struct.unpack_from(self.order + form, self.data, offset)
        return number

    def word_at(self, offset: int) -> int:
        return self.number_at(offset, "Q" if self.big else "I")

    def directory(self, start: int) -> Directory:
        count = self.number_at(start, "Q" if self.big else "H")
        first, step = (start + 8, 20) if self.big else (start + 2, 12)
        end = first + count * step
        following = self.word_at(end)  # also proves that all entries are there
        numbers: dict[int, Numbers] = {}
        texts: dict[int, bytes] = {}
        seen: set[int] = set()
        for at in range(first, end, step):
            tag, kind = self.number_at(at, "H"), self.number_at(at + 2, "H")
            if tag not in _TAGS or kind not in _FORMS or tag in seen:
                continue
            seen.add(tag)
            content = self._content(at, _SIZES[kind])
            if _FORMS[kind] == "s":
                texts[tag] = content
            elif content:
                numbers[tag] = self._numbers(content, kind)
        return Directory(numbers, texts, following)

    def _content(self, at: int, size: int) -> bytes:
        """Return the bytes of the values; a few stand in the entry itself."""
        size *= self.word_at(at + 4)
        start = at + (12 if self.big else 8)
        if size > (8 if self.big else 4):
            start = self.word_at(start)
        if start + size > len(self.data):
            raise FrameError("cut off: values of its tags are missing")
        return self.data[start : start + size]

    def _numbers(self, content: bytes, kind: int) -> Numbers:
        form = _FORMS[kind]
        count = len(content) // struct.calcsize(self.order + form)
        values = struct.unpack(f"{self.order}{count}{form}", content)
        return _quotients(values) if kind == _RATIONAL else values


def _quotients(values: tuple[int, ...]) -> Numbers:
    pairs = zip(values[::2], values[1::2], strict=True)
    return tuple(above / below if below else 0.0 for above, below in pairs)


def _ome_sizes_um(description: str) -> Numbers:
    """Return the physical size of a pixel along x and y, empty where OME has none."""
    # a full XML parser would have to be guarded against entity bombs
    sizes = []
    for axis in "XY":
        size = re.search(rf'PhysicalSize{axis}="([0-9.eE+-]{{1,40}})"', description)
        unit = re.search(rf'PhysicalSize{axis}Unit="([^"]{{1,20}})"', description)
        unit_um = _UNITS_UM.get(unit[1] if unit else "um")
        if size is None or unit_um is None:
            return ()
        try:
            sizes.append(float(size[1]) * unit_um)
        except ValueError:
            return ()
    return tuple(sizes)
