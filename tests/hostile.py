"""Real files changed at random: what a damaged disk or an attacker would hand over."""

import json
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

from hypothesis import strategies as st

Cases = st.SearchStrategy[bytes]

# Numbers at the edges of what formats and their readers count with.
EDGES = tuple(
    struct.pack(form, number)
    for form in (">H", "<H", ">I", "<I", ">Q", "<Q")
    for number in (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**63)
    if number < 256 ** struct.calcsize(form)
)
# What text readers, spreadsheets, pages and file systems may take for something else.
WORDS = (
    b"\x00", b"\r", b"\n", b'"', b"'", b",", b";", b"\\", b"=1+1", b"[", b"]", b"{",
    b"}", b"\xef\xbb\xbf", b"\xff", b"\xed\xa0\x80", "\u202e".encode(),
    "\u00b2".encode(),
    b"1e999", b"-1", b"NaN", b"0" * 5000, b"9" * 5000, b"\\ud800", b"inf",
    b"../../etc/passwd", b"/etc/passwd", b"C:\\Windows\\win.ini", b"\\\\host\\share\\a",
    b"file:///etc/passwd", b"CON", b"a" * 200_000, b"[" * 3000, b'{"a":' * 3000,
)  # fmt: skip


def changed(seeds: Sequence[bytes], words: Sequence[bytes] = WORDS) -> Cases:
    """Return one of `seeds` after one to four changes, often near its start.

    The changes follow from one drawn number, which is many times as fast as to draw
    each of them.
    """
    numbers = st.binary(min_size=8, max_size=8)
    return numbers.map(lambda number: _changed(Random(number), seeds, words))


def _changed(random: Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    content = bytearray(random.choice(seeds))
    for _ in range(random.randint(1, 4)):
        reach = min(random.choice([64, 512, len(content)]), len(content))
        random.choice(_CHANGES)(random, content, random.randrange(reach + 1), words)
    return bytes(content)


def _one_byte(random: Random, content: bytearray, at: int, _: Sequence[bytes]) -> None:
    content[at : at + 1] = random.randbytes(1)


def _number(random: Random, content: bytearray, at: int, _: Sequence[bytes]) -> None:
    edge = random.choice(EDGES)
    content[at : at + len(edge)] = edge


def _word(random: Random, content: bytearray, at: int, words: Sequence[bytes]) -> None:
    content[at : at + random.choice([0, 1, 8])] = random.choice(words)


def _loss(random: Random, content: bytearray, at: int, _: Sequence[bytes]) -> None:
    del content[at : at + random.choice([1, 2, 4, 16, 256, len(content)])]


def _echo(random: Random, content: bytearray, at: int, _: Sequence[bytes]) -> None:
    start = random.randint(0, len(content))
    content[at:at] = content[start : start + random.choice([1, 4, 12, 64, 1024])]


_CHANGES: tuple[Callable[..., None], ...] = (_one_byte, _number, _word, _loss, _echo)


def with_checksums(png: bytes) -> bytes:
    """Return the PNG with each chunk's checksum put right, so that it is read on."""
    content, at = bytearray(png), 8
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        end = at + 8 + length
        if end + 4 > len(content):
            break
        struct.pack_into(">I", content, end, zlib.crc32(content[at + 4 : end]))
        at = end + 4
    return bytes(content)


numbers = st.integers() | st.floats() | st.sampled_from([1e999, 10**400, -1, 2**63, 0])
texts = st.sampled_from(
    ["", "\ud800", "=1", "\x00", "../x", "/etc/passwd", "1", "a" * 10_000]
) | st.text(max_size=6)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def grafted(draw: st.DrawFn, seed: str) -> str:
    """Return the JSON object `seed` with up to three of its parts exchanged or lost.

    Half of what is put in is of the kind that was there, so that it is read on.
    """
    tree = json.loads(seed)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(tree))
        if not places:
            break
        inside, key = draw(st.sampled_from(places))
        if draw(st.integers(0, 9)):
            inside[key] = draw(values | _of_one_kind(inside[key]))
        else:
            del inside[key]
    return json.dumps(tree)


def _of_one_kind(value: object) -> st.SearchStrategy[Any]:
    if isinstance(value, str):
        return texts
    return numbers if isinstance(value, (int, float)) else values


def _places(tree: object) -> Iterator[tuple[Any, Any]]:
    """Yield each container in `tree` with each of its keys or indices."""
    if not isinstance(tree, (dict, list)):
        return
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        yield tree, key
        yield from _places(value)
