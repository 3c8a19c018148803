"""Who counts does not show in the reports: threads, workers, or one that was killed."""

import os
import pkgutil
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from cellrot_infer import cluster as clusters
from cellrot_infer.classify import Classifier
from cellrot_infer.cluster import Cluster, Engine, connected, count_there
from cellrot_infer.counting import Counted, Request, Task
from cellrot_infer.errors import DeviceError
from cellrot_infer.journal import Journal
from cellrot_infer.lineages import read_scheme
from cellrot_infer.resume import take_up
from cellrot_infer.run import Run
from cellrot_infer.scan import QUIET, Progress
from cellrot_infer.slides import find_slides
from cellrot_infer.types import Failure
from tests.infer.images import FIELD, FRAMES
from tests.infer.test_resume import at_one_time
from tests.infer.test_scan import saved

KINDS = "csv", "json", "html", "geojson", "overlay"
ANY_PORT = "127.0.0.1:0"
SMALL_PARTS = {  # let small images be in tiles, and few of these be a task
    "cellrot_infer.tiles.Grid.tiles.__defaults__": (2,),
    "cellrot_infer.tiletasks.TILES": 2,
    "cellrot_infer.images.IN_PARTS_PX": 300_000,
}


def small_parts() -> None:
    """Do in a worker what the fixture does here."""
    for place, value in SMALL_PARTS.items():
        owner, name = place.rsplit(".", 1)
        setattr(pkgutil.resolve_name(owner), name, value)


def request_into(folder: Path) -> Request:
    return Request(KINDS, folder, read_scheme())


def engine_of(model: Path) -> Engine:
    return Engine.of(Classifier.load(model, device="cpu"), str(model), "cpu")


def task_of(path: Path) -> Task:
    return Task(0, 0, path, path, {})


def test_a_worker_counts_as_this_process_does(tiny_model: Path, tmp_path: Path) -> None:
    found = count_there(task_of(FIELD), request_into(tmp_path), engine_of(tiny_model))

    assert isinstance(found, Counted)
    assert found.kept.record.name == FIELD.name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sha256": "ab" * 32}, "has model sha256 .*, expected abab"),
        ({"provider": "CUDAExecutionProvider"}, "has provider CPU.*, expected CUDA"),
        ({"versions": (("numpy", "1.0"),)}, "has numpy .*, expected 1.0"),
    ],
)
def test_a_worker_that_differs_is_refused(
    tiny_model: Path, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    engine = replace(engine_of(tiny_model), **change)  # type: ignore[arg-type]

    with pytest.raises(DeviceError, match=words):
        count_there(task_of(FIELD), request_into(tmp_path), engine)


def test_images_that_only_the_workers_lack_stop_the_run(
    tiny_model: Path, tmp_path: Path
) -> None:
    gone = task_of(tmp_path / "gone.png")

    assert count_there(gone, request_into(tmp_path), engine_of(tiny_model)) is None
    assert clusters._unseen(gone) == Failure(
        str(gone.path), f"{gone.path}: no such file"
    )
    with pytest.raises(DeviceError, match="the workers see no such file"):
        clusters._unseen(task_of(FIELD))


def test_dask_that_is_not_installed_is_asked_for(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    place = connected("local", engine_of(tiny_model), request_into(tmp_path), 1)

    with pytest.raises(DeviceError, match=r"pip install 'cellrot\[cluster\]'"):
        place.__enter__()


def test_a_scheduler_that_is_not_there_is_told(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(clusters, "PATIENCE_S", 0.5)
    engine, request = engine_of(tiny_model), request_into(tmp_path)

    for address in ("tcp://127.0.0.1:1", "no address"):
        place = connected(address, engine, request, 1)
        with pytest.raises(DeviceError, match=f"--scheduler {address}: no worker answ"):
            place.__enter__()


def counted(
    folder: Path,
    model: Path,
    cluster: Cluster | None = None,
    progress: Progress = QUIET,
) -> dict[str, bytes]:
    """Return the files of a run on two slides, one of them with a bad frame."""
    slides = find_slides([folder.parent / "a", folder.parent / "b"])
    request = request_into(folder)
    with Journal(folder) as journal:
        left = take_up(journal, request, slides, str(model))
        classifier = Classifier.load(model, device="cpu", threads=1)
        run = Run(classifier, request, journal, slides, progress, 2, cluster)
        assert len(list(run.count(left))) == 2
    files = (path for path in folder.iterdir() if "journal" not in path.name)
    return {path.name: path.read_bytes() for path in files}


class Killer:
    """Kills a worker as soon as one image is counted."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.killed = 0

    def expect(self, steps: int) -> None:
        pass

    def advance(self) -> None:
        if not self.killed:
            self.killed = next(iter(self.cluster.client.run(os.getpid).values()))
            os.kill(self.killed, getattr(signal, "SIGKILL", signal.SIGTERM))


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of two slides; every report is made at one time."""
    monkeypatch.setattr("cellrot_infer.run.provenance", at_one_time)
    fields = sorted((FRAMES / "pbc_fields").glob("*.jpg"))
    for slide in "ab":
        (tmp_path / slide).mkdir()
        for number, field in enumerate(2 * fields):
            shutil.copy(field, tmp_path / slide / f"{number}.jpg")
    (tmp_path / "b" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    saved(tmp_path / "b")
    for place, value in SMALL_PARTS.items():
        monkeypatch.setattr(place, value)
    return tmp_path


def test_a_run_whose_workers_are_all_gone_ends(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(clusters, "LONELY_S", 0.1)
    monkeypatch.setattr(clusters, "PATIENCE_S", 0.1)
    with (
        distributed.LocalCluster(
            n_workers=0, processes=False, dashboard_address=ANY_PORT
        ) as nobody,
        distributed.Client(nobody) as client,
    ):
        cluster = Cluster(client, engine_of(tiny_model), request_into(tmp_path))
        with pytest.raises(DeviceError, match=r"no worker is left; .* --resume"):
            list(cluster.count([task_of(FIELD)]))


def count_or_die(task: Task, request: Request, engine: Engine) -> object:
    """Count as a worker does, unless the image is one that ends it."""
    if task.path.stem == "deadly":
        os._exit(9)
    return count_there(task, request, engine)


@contextmanager
def workers_of_this_process(model: Path, request: Request) -> Iterator[Cluster]:
    distributed = pytest.importorskip("distributed")
    options = {
        "threads_per_worker": 1,
        "processes": False,
        "dashboard_address": ANY_PORT,
    }
    with (
        distributed.LocalCluster(n_workers=2, **options) as local,
        distributed.Client(local) as client,
    ):
        yield Cluster(client, engine_of(model), request)


@pytest.mark.slow
def test_tiles_are_tasks_and_the_files_are_those_of_threads(
    inputs: Path, tiny_model: Path
) -> None:
    for name in ("threads", "workers"):
        (inputs / name).mkdir()

    request = request_into(inputs / "workers")
    with workers_of_this_process(tiny_model, request) as cluster:
        by_workers = counted(inputs / "workers", tiny_model, cluster)
        tasks = cluster.client.run_on_scheduler(
            lambda dask_scheduler: set(dask_scheduler.task_prefixes)
        )

    assert "look_there" in tasks
    assert by_workers == counted(inputs / "threads", tiny_model)


def count_or_blame(task: Task, request: Request, engine: Engine) -> object:
    """Count, unless Dask says of the image that it ended every worker."""
    if task.path.stem == "deadly":
        distributed = pytest.importorskip("distributed")
        raise distributed.KilledWorker("deadly", SimpleNamespace(address="gone"), 3)
    return count_there(task, request, engine)


def test_an_image_that_dask_gives_up_is_one_line(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "count_there", count_or_blame)
    deadly, request = task_of(tmp_path / "deadly.jpg"), request_into(tmp_path)

    with workers_of_this_process(tiny_model, request) as cluster:
        found = {
            task.path: result
            for task, result in cluster.count([deadly, task_of(FIELD)])
        }

    reason = f"{deadly.path}: ended every worker that counted it; is there memory?"
    assert found[deadly.path] == Failure(str(deadly.path), reason)
    assert isinstance(found[FIELD], Counted)


@pytest.mark.slow
def test_an_image_that_ends_every_worker_is_named_and_the_rest_goes_on(
    inputs: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")  # before any setting: it brings its own
    dask = pytest.importorskip("dask")
    monkeypatch.setattr(clusters, "count_there", count_or_die)
    request = replace(request_into(inputs), pixel_size_um=0.1)
    deadly = Path(shutil.copy(FIELD, inputs / "deadly.jpg"))
    tasks = [Task(0, 0, deadly, deadly, {})]
    tasks += [replace(task_of(path), image=1) for path in (inputs / "a").iterdir()]

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        connected("local", engine_of(tiny_model), request, 1) as cluster,
    ):
        found = {task.path: result for task, result in cluster.count(tasks)}

    failure = found.pop(deadly)
    assert isinstance(failure, Failure)
    assert failure.reason.startswith(f"{deadly}: ended every worker that counted it")
    assert len(found) == len(tasks) - 1
    assert all(isinstance(result, Counted) for result in found.values())


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_another_try_and_nothing_else(
    inputs: Path, tiny_model: Path
) -> None:
    pytest.importorskip("distributed")
    for name in ("threads", "workers"):
        (inputs / name).mkdir()
    engine, request = engine_of(tiny_model), request_into(inputs / "workers")

    with connected("local", engine, request, 2) as cluster:
        cluster.client.register_worker_callbacks(small_parts)
        killer = Killer(cluster)
        by_workers = counted(inputs / "workers", tiny_model, cluster, killer)
        alive = set(cluster.client.run(os.getpid).values())
        loads = cluster.client.run(lambda: clusters._load.cache_info()[:2])
        tasks = cluster.client.run_on_scheduler(
            lambda dask_scheduler: set(dask_scheduler.task_prefixes)
        )

    assert killer.killed
    assert killer.killed not in alive
    assert "look_there" in tasks
    assert {loaded for _, loaded in loads.values()} <= {0, 1}
    assert any(found_loaded for found_loaded, _ in loads.values())
    assert by_workers == counted(inputs / "threads", tiny_model)
