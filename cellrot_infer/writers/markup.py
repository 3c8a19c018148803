"""Words and numbers as HTML: everything from outside passes through here."""

import math
from html import escape

from cellrot_infer.writers.text import shown


def text(value: str) -> str:
    """Return `value` as HTML text that nothing can break out of, nor turn around."""
    return f"<bdi>{escape(shown(value))}</bdi>"


def readable(label: str) -> str:
    """Return `label` as words, still to be escaped."""
    return shown(label).replace("_", " ")


def hash_text(digest: str) -> str:
    """Return a SHA-256 in type that fits it."""
    return f'<span class="hash">{escape(shown(digest))}</span>'


def percent_range(low: float, high: float) -> str:
    """Return two percentages in one decimal."""
    return f"{low:.1f} to {high:.1f}"


def ratio_text(value: float) -> str:
    """Return a ratio in two decimals; `no cells` where nothing was counted."""
    if math.isnan(value):
        return "no cells"
    return "&infin;" if math.isinf(value) else f"{value:.2f}"


def swatch(colour: str) -> str:
    """Return a small square of `colour`, which is CSS of our own."""
    return (
        '<svg class="swatch" viewBox="0 0 1 1" aria-hidden="true">'
        f'<rect width="1" height="1" fill="{colour}"/></svg>'
    )
