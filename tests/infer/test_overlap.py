"""Writing keeps up with the analysis, in order, and its errors are not lost."""

import threading
from collections.abc import Iterator

import pytest

from cellrot_infer.overlap import alongside


def test_each_item_is_worked_on_in_order_and_none_is_left() -> None:
    worked: list[int] = []

    assert list(alongside(range(20), worked.append)) == list(range(20))

    assert worked == list(range(20))


def test_work_goes_on_while_the_next_item_is_made() -> None:
    begun, made = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield 1
        assert begun.wait(timeout=20)  # the work on 1 has begun and cannot end yet
        made.set()
        yield 2

    def work(item: int) -> None:
        if item == 1:
            begun.set()
            assert made.wait(timeout=20)

    assert list(alongside(items(), work)) == [1, 2]


def test_what_the_work_raises_is_raised_at_the_next_item() -> None:
    taken = []

    def work(item: int) -> None:
        if item == 2:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        taken.extend(alongside(range(9), work))
    with pytest.raises(OSError, match="disk full"):
        list(alongside([2], work))  # also when it was the last one


def test_work_is_one_item_behind_at_most() -> None:
    worked: list[int] = []

    for item in alongside(range(5), worked.append):
        assert worked[:item] == list(range(item))
        assert len(worked) <= item + 1
