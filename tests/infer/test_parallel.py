"""Work goes on side by side, a few items at a time, and stops when it is told to."""

import threading
from collections.abc import Iterator

import pytest

from cellrot_infer.parallel import AHEAD, completed


def test_every_item_comes_back_with_its_own_result() -> None:
    assert sorted(completed(lambda x: x * x, range(50), 3)) == [
        (x, x * x) for x in range(50)
    ]


def test_workers_work_at_the_same_time() -> None:
    together = threading.Barrier(3)

    done = list(completed(lambda _: together.wait(timeout=20), range(3), 3))

    assert len(done) == 3


def test_a_slow_item_holds_up_no_other() -> None:
    others_done = threading.Event()

    def work(item: int) -> None:
        if item == 0:
            assert others_done.wait(timeout=20)

    order = []
    for item, _ in completed(work, range(10), 2):
        order.append(item)
        if len(order) == 9:
            others_done.set()

    assert order[-1] == 0


def test_items_are_taken_a_few_at_a_time() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(40):
            taken.append(item)
            yield item

    for count, _ in enumerate(completed(lambda x: x, items(), 2), start=1):
        assert len(taken) <= count + 2 + AHEAD


def test_what_the_work_raises_is_raised_and_ends_it() -> None:
    worked: list[int] = []

    def work(item: int) -> None:
        worked.append(item)
        raise OSError("no such device")

    with pytest.raises(OSError, match="no such device"):
        list(completed(work, range(100), 1))

    assert len(worked) <= 1 + AHEAD
    assert not [t for t in threading.enumerate() if "ThreadPool" in t.name]


def test_nothing_is_begun_after_the_caller_stops() -> None:
    worked: list[int] = []
    results = completed(worked.append, range(100), 1)

    next(results)
    results.close()

    assert len(worked) <= 1 + AHEAD
    assert not [t for t in threading.enumerate() if "ThreadPool" in t.name]
