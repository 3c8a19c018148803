"""What a person sees of a training: a progress bar, or plain lines without one."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from cellrot_train.loop import Step


class Display(Protocol):
    """Hears what happens during a training."""

    def note(self, text: str) -> None:
        """Hear something worth a line."""

    def decoded(self, done: int, total: int) -> None:
        """Hear how many patches are read, of how many."""

    def started(self, steps: int, done: int, batch_size: int) -> None:
        """Hear how many steps there are, how many are done, and of how many patches."""

    def step(self, step: Step) -> None:
        """Hear of one step."""

    def epoch(self, row: Mapping[str, float]) -> None:
        """Hear of one epoch, a row of history.csv."""


class Silent:
    """Shows nothing."""

    def note(self, text: str) -> None: ...
    def decoded(self, done: int, total: int) -> None: ...
    def started(self, steps: int, done: int, batch_size: int) -> None: ...
    def step(self, step: Step) -> None: ...
    def epoch(self, row: Mapping[str, float]) -> None: ...


class Lines:
    """Notes and epochs as plain lines."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def note(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)

    def decoded(self, done: int, total: int) -> None: ...
    def started(self, steps: int, done: int, batch_size: int) -> None: ...
    def step(self, step: Step) -> None: ...

    def epoch(self, row: Mapping[str, float]) -> None:
        parts = (f"{name} {value:.4g}" for name, value in row.items())
        self.console.print("  ".join(parts), markup=False, soft_wrap=True)


class Bar(Lines):
    """The same above a bar with loss, cells a second and time left."""

    def __init__(self, console: Console, progress: Progress) -> None:
        super().__init__(console)
        self.progress = progress
        self.task = progress.add_task("reading patches", total=None, detail="")
        self.batch_size, self.begun, self.steps = 0, 0.0, 0

    def decoded(self, done: int, total: int) -> None:
        self.progress.update(self.task, completed=done, total=total)

    def started(self, steps: int, done: int, batch_size: int) -> None:
        self.batch_size, self.begun = batch_size, time.perf_counter()
        self.progress.reset(
            self.task, description="training", total=steps, completed=done
        )

    def step(self, step: Step) -> None:
        self.steps += 1
        speed = self.steps * self.batch_size / (time.perf_counter() - self.begun)
        detail = f"loss {step.loss:.4f}  {speed:.0f} cells/s"
        self.progress.update(self.task, completed=step.index + 1, detail=detail)


@contextmanager
def display() -> Iterator[Display]:
    """Give a bar on a terminal, plain lines elsewhere."""
    console = Console(highlight=False)
    if not console.is_terminal:
        yield Lines(console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bar(console, progress)
