"""How often a map is halved."""


def halvings(side_px: int, least: int) -> int:
    """Return how often `side_px` can be halved without falling below `least` pixels.

    Raises ValueError where the map on the way would be odd: the centres of an odd
    map's halves lie off its own centre, and quarter turns would no longer be exact.
    """
    count = 0
    while side_px >> (count + 1) >= least:
        count += 1
    if side_px % (1 << count) or side_px < 2 * least:
        raise ValueError(f"side_px must be a multiple of {1 << count}, got {side_px}")
    return count
