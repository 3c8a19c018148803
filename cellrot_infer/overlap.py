"""Writing the last frame while the next one is analysed."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def alongside(items: Iterable[T], work: Callable[[T], None]) -> Iterator[T]:
    """Yield `items`; `work` on each in a second thread while the next one is made.

    The work keeps the order of the items and is one item behind at most, so that memory
    does not grow. All of it is done when the last item was taken. What it raises is
    raised here, at the next item.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        pending: Future[None] | None = None
        for item in items:
            if pending:
                pending.result()
            pending = thread.submit(work, item)
            yield item
        if pending:
            pending.result()
