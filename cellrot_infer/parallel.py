"""Work on many items at once, by threads: OpenCV and ONNX Runtime leave Python free."""

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2  # items begun beyond those in work, so that no thread waits for the next
POLL_S = 0.5  # on Windows, Ctrl-C is heard only when a wait ends


def completed(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    stop: Callable[[], None] = lambda: None,
) -> Generator[tuple[Item, Result], None, None]:
    """Yield each item with the result of `work`, as soon as it is done.

    Items are taken a few at a time, so that memory does not grow with their number.
    What is in work when the caller stops is dropped when it ends, which `stop` hastens.
    """
    running: dict[Future[Result], Item] = {}
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            running[pool.submit(work, item)] = item
            while len(running) >= workers + AHEAD:
                yield from _done(running)
        while running:
            yield from _done(running)
    finally:
        stop()
        pool.shutdown(cancel_futures=True)


def _done(running: dict[Future[Result], Item]) -> Iterator[tuple[Item, Result]]:
    """Take what is done out of `running`; waits a little where nothing is."""
    done, _ = wait(running, timeout=POLL_S, return_when=FIRST_COMPLETED)
    for future in [each for each in running if each in done]:  # as they were begun
        yield running.pop(future), future.result()
