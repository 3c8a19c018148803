"""A run on a Dask cluster: every image is a task, each worker loads the model once.

A large image is many tasks: its tiles go to all workers, and what is found in them from
worker to worker. Workers read the images by the paths that the run has and answer with
what is kept of them; the run alone writes. A worker that is lost costs its tasks
another try. Needs the extra `cluster`, which is imported where a cluster is asked for.
"""

import logging
import platform
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass, replace
from functools import cache, partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import cv2

from cellrot_infer.classify import Classifier
from cellrot_infer.counting import Counted, Request, Task, count_image
from cellrot_infer.devices import DeviceName
from cellrot_infer.errors import DeviceError, FrameError
from cellrot_infer.images import read_file
from cellrot_infer.models import find_model
from cellrot_infer.provenance import Pairs, versions
from cellrot_infer.scan import Looked
from cellrot_infer.tiletasks import (
    Planned,
    is_in_tiles,
    look_at,
    plan_image,
    put_together,
)
from cellrot_infer.types import Failure

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster

LOCAL = "local"  # instead of an address: a cluster on this machine
PATIENCE_S = 30  # for the scheduler and its first worker to answer
LONELY_S = 300  # without a result until one asks whether there are workers at all
AHEAD = 4  # images given to a thread beyond the one in work, so that it never waits
# A terminal sends Ctrl-C to the workers, too; the run alone says when they end.
_DEAF = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Engine:
    """What each worker has to have, so that it does not matter which of them counts."""

    model: str
    device: DeviceName
    sha256: str
    provider: str
    versions: Pairs

    @classmethod
    def of(cls, classifier: Classifier, model: str, device: DeviceName) -> "Engine":
        """Return what `classifier` is, which was loaded by the name or path `model`."""
        is_path = find_model(model) == Path(model)
        name = str(Path(model).absolute()) if is_path else model
        return cls(name, device, classifier.sha256, classifier.provider, versions())


@dataclass(frozen=True, slots=True)
class Cluster:
    """Workers that count images, wherever they are."""

    client: "Client"
    engine: Engine
    request: Request

    def count(
        self, tasks: Iterable[Task]
    ) -> Generator[tuple[Task, Counted | Failure], None, None]:
        """Yield each task with its result, as soon as it is done.

        Raises DeviceError where a worker differs from this machine, sees other files,
        or the scheduler is lost. What is in work when the caller stops is dropped.
        """
        accused: list[Task] = []
        yield from self._round(tasks, accused)
        for task in accused:  # alone: what shared a worker with it is not to blame
            guilty: list[Task] = []
            yield from self._round([task], guilty)
            yield from ((each, _deadly(each)) for each in guilty)

    def _round(
        self, tasks: Iterable[Task], accused: list[Task]
    ) -> Generator[tuple[Task, Counted | Failure], None, None]:
        """Yield tasks with results; `accused` are those whose workers kept dying."""
        running: dict[Future[Any], Task] = {}
        try:
            for task in tasks:
                running[self._begin(task)] = task
                while len(running) >= self._room():
                    yield from self._next(running, accused)
            while running:
                yield from self._next(running, accused)
        finally:
            self.client.cancel(list(running))

    def map(
        self, work: Callable[[Path], Result], paths: Iterable[Path]
    ) -> Iterator[Result | None]:
        """Yield the results of `work` in the order of `paths`, before all counting.

        None stands for what ended every worker; counting it will say so.
        """
        from distributed import KilledWorker, wait

        here = [path.absolute() for path in paths]
        futures = self.client.map(work, here, pure=False, priority=1)
        wait(futures)
        for path, done in zip(here, futures, strict=True):
            future = done
            if isinstance(future.exception(), KilledWorker):  # once more, alone
                future = self.client.submit(work, path, pure=False)
            deadly = isinstance(future.exception(), KilledWorker)
            yield None if deadly else future.result()

    def _begin(self, task: Task) -> "Future[Any]":
        # what is the current folder here is another one there
        there = replace(task, path=task.path.absolute())
        return self.client.submit(
            count_there, there, self.request, self.engine, pure=False
        )

    def _next(
        self, running: dict["Future[Any]", Task], accused: list[Task]
    ) -> Iterator[tuple[Task, Counted | Failure]]:
        """Yield what is done next, if that is all of an image."""
        from distributed import KilledWorker

        future = self._done(running)
        task = running.pop(future)
        try:
            found = _result(future, task)
        except KilledWorker:
            accused.append(task)
            return
        if isinstance(found, Planned):
            running[self._in_tiles(future, found)] = task
        else:
            yield task, found

    def _done(self, running: Iterable["Future[Any]"]) -> "Future[Any]":
        """Return the first that is done; raise DeviceError where nobody is at work."""
        from distributed import wait

        while True:
            try:
                done = wait(list(running), LONELY_S, return_when="FIRST_COMPLETED").done
                return next(future for future in running if future in done)
            except TimeoutError:
                self._check_workers()

    def _check_workers(self) -> None:
        try:
            self.client.wait_for_workers(1, timeout=PATIENCE_S)
        except TimeoutError:
            raise DeviceError(
                "no worker is left; start some with `dask worker` and go on with "
                "--resume"
            ) from None

    def _in_tiles(self, planned: "Future[Any]", plan: Planned) -> "Future[Any]":
        """Give out the tiles of an image; return what puts them together.

        They come before other images, so that few are in work at a time.
        """
        give = partial(self.client.submit, pure=False, priority=1)
        parts = [give(look_there, planned, first, self.engine) for first in plan.parts]
        last: Future[Any] = give(finish_there, planned, parts, self.engine)
        return last

    def _room(self) -> int:
        """Return how many images to have given out; workers may come and go."""
        threads: int = sum(self.client.nthreads().values())
        return (1 + AHEAD) * max(1, threads)


@contextmanager
def connected(
    scheduler: str, engine: Engine, request: Request, workers: int
) -> Iterator[Cluster]:
    """Give the cluster at the address `scheduler`.

    `local` starts one of `workers` processes on this machine and ends it afterwards.
    Raises DeviceError where Dask is not installed or no worker answers.
    """
    try:
        from distributed import CancelledError, Client
        from distributed.comm.core import CommClosedError
    except ModuleNotFoundError:
        raise DeviceError("--scheduler: pip install 'cellrot[cluster]' first") from None
    with ExitStack() as stack:
        # what matters of all that Dask logs, the errors below tell
        stack.callback(logging.disable, logging.root.manager.disable)
        logging.disable(logging.CRITICAL)
        try:
            place: Any = scheduler
            if scheduler == LOCAL:
                place = stack.enter_context(_local(workers))
            client = stack.enter_context(Client(place, timeout=PATIENCE_S))
            client.wait_for_workers(1, timeout=PATIENCE_S)
        except (OSError, RuntimeError, ValueError) as error:
            raise DeviceError(
                f"--scheduler {scheduler}: no worker answers ({error}); start them "
                "with `dask scheduler` and `dask worker ADDRESS`"
            ) from None
        try:
            yield Cluster(client, engine, request)
        except (CancelledError, CommClosedError):
            raise DeviceError(
                "the scheduler was lost; start it again and go on with --resume"
            ) from None


@contextmanager
def _local(workers: int) -> Iterator["LocalCluster"]:
    """Give a cluster of processes on this machine."""
    from distributed import LocalCluster

    # a worker would run the script that began here once more, if that has no guard
    main = vars(sys.modules["__main__"])
    script = main.pop("__file__", None)
    try:
        with LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",  # any free port: another may have 8787
            silence_logs=logging.CRITICAL,
            preload=[_DEAF],
        ) as cluster:
            yield cluster
    finally:
        if script is not None:
            main["__file__"] = script


def count_there(
    task: Task, request: Request, engine: Engine
) -> Counted | Planned | Failure | None:
    """Return what `count_image` does, on a worker; None where it sees no such file.

    Of a large image, return how to look at its tiles. Raises DeviceError where the
    worker is not what `engine` says.
    """
    classifier = _classifier(engine)
    if not task.path.is_file():
        return None
    work = plan_image if is_in_tiles(task, request) else count_image
    return work(task, request, classifier)


def look_there(
    planned: Planned | Failure, first: int, engine: Engine
) -> list[Looked] | Failure:
    """Return what `look_at` does, on a worker."""
    return look_at(planned, first, _classifier(engine))


def finish_there(
    planned: Planned | Failure, parts: list[list[Looked] | Failure], engine: Engine
) -> Counted | Failure:
    """Return what `put_together` does, on a worker."""
    return put_together(planned, parts, _classifier(engine))


def _result(future: "Future[Any]", task: Task) -> Counted | Planned | Failure:
    found: Counted | Planned | Failure | None = future.result()
    if isinstance(found, Failure):
        there, here = str(task.path.absolute()), str(task.path)
        return Failure(*(text.replace(there, here) for text in astuple(found)))
    return _unseen(task) if found is None else found


def _deadly(task: Task) -> Failure:
    reason = f"{task.path}: ended every worker that counted it; is there memory?"
    return Failure(str(task.path), reason)


def _unseen(task: Task) -> Failure:
    """Return why `task` has no file; DeviceError where only the workers lack it."""
    try:
        read_file(task.path)
    except FrameError as error:
        return Failure(str(task.path), str(error))
    raise DeviceError(
        f"{task.path.absolute()}: the workers see no such file; images must lie on a "
        "share that has the same path everywhere"
    )


def _classifier(engine: Engine) -> Classifier:
    """Return the model of this worker; the first of its threads loads it."""
    with _LOADING:
        return _load(engine)


_LOADING = Lock()


@cache
def _load(engine: Engine) -> Classifier:
    cv2.setNumThreads(1)  # images go side by side
    classifier = Classifier.load(engine.model, device=engine.device, threads=1)
    here = Engine.of(classifier, engine.model, engine.device)
    expected, found = _parts(engine), _parts(here)
    for name in expected | found:
        if expected.get(name) != found.get(name):
            raise DeviceError(
                f"the worker on {platform.node()} has {name} {found.get(name)}, "
                f"expected {expected.get(name)}; the result must not depend on who "
                "counts: install the same everywhere"
            )
    return classifier


def _parts(engine: Engine) -> dict[str, str]:
    own = {"model sha256": engine.sha256, "provider": engine.provider}
    return own | dict(engine.versions)
