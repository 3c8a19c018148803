"""Names that came from outside, made safe to show and to name files with."""

import hashlib
import re

# Control characters, line ends, halves of surrogate pairs, and the marks that turn the
# direction of what follows: they can hide the true name of a file.
_UNSHOWABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_UNFIT_FOR_FILES = re.compile(r"[^\w.\- ]")
MAX_STEM = 80


def shown(text: str) -> str:
    """Return `text` with every character that does not show replaced by U+FFFD."""
    return _UNSHOWABLE.sub("\ufffd", text)


def file_stem(name: str) -> str:
    """Return a name for files that Windows and Linux take, different for every `name`.

    An ordinary name stays as it is. What had to be changed gets a piece of its hash, so
    that two names never meet in one file.
    """
    stem = _UNFIT_FOR_FILES.sub("_", shown(name))[:MAX_STEM].strip(" .")
    if _is_reserved(stem):
        stem = f"_{stem}"
    if stem == name:
        return stem
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{stem}_{digest[:8]}"


def _is_reserved(stem: str) -> bool:
    device = stem.split(".")[0].upper()  # devices of Windows, whatever follows the dot
    return bool(re.fullmatch(r"|CON|PRN|AUX|NUL|(COM|LPT)[0-9]", device))
