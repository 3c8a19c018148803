"""How fast training is: an epoch of each encoder, and what the loop costs around it.

    python -m benchmarks.training [--data DIR] [--precision bf16] [--device cuda] ...

Every round times, for each encoder, one step of the real loop (read, augment, step,
average), one of the network alone on a batch that lies ready, and one reading. Figures
are medians of the rounds' ratios, so that other work on the machine meets both sides:
of the loop to the network, and of an encoder to the plain one (`baseline`). An epoch is
the median step times its steps. On the wall it holds for a free machine; in processor
time, which is that of all cores together, other work disturbs it less.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from cellrot_infer.files import make_folder, write_text
from cellrot_train.config import MODELS, PRECISIONS, Config
from cellrot_train.data import load_patch_set
from cellrot_train.loop import average, cosine, train
from cellrot_train.objectives import Batch
from cellrot_train.pixels import Pixels, load_pixels
from cellrot_train.processes import choose_device, keep_freed_memory
from cellrot_train.run import Run
from cellrot_train.sampling import ALONE
from cellrot_train.training import Training

PLAIN = "baseline"
RESULT = Path(__file__).parent / "results" / "training.json"


class Trial(NamedTuple):
    """A training that is under way, and the works that are timed of it."""

    training: Training
    works: dict[str, Callable[[], object]]


class Seconds(NamedTuple):
    """How long something took, on the wall and of all cores together."""

    wall: float
    processor: float


def main() -> None:
    """Measure, print the table and write it as JSON."""
    options = _options()
    if not options.data.is_dir():
        sys.exit(f"skipped: no patches in {options.data}; name them with --data")
    pixels = load_pixels(load_patch_set(options.data), options.side_px)
    device = choose_device(options.device)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        trials = {
            model: begin(
                Path(folder), pixels.on(device), _config(options, model), device
            )
            for model in options.models
        }
        times = measure(trials, options.rounds, device)
    rows = [
        {"model": model, **figures(trial, times[model], times.get(PLAIN))}
        for model, trial in trials.items()
    ]
    result = {
        "machine": machine(device),
        "objective": options.objective,
        "precision": options.precision,
        "side_px": options.side_px,
        "rounds": options.rounds,
    }
    make_folder(options.out.parent)
    write_text(options.out, json.dumps({**result, "rows": rows}, indent=2) + "\n")
    print(f"{result['machine']}, objective {options.objective}, {options.side_px} px")
    print(
        "model       patches/s  s/epoch  processor s/epoch  x plain  loop/net  feed/net"
    )
    for row in rows:
        print(
            f"{row['model']:10s} {row['patches_per_s']:10.0f} {row['epoch_s']:8.1f} "
            f"{row['epoch_processor_s']:18.1f} {row['step_over_plain'] or 0:8.2f} "
            f"{row['loop_over_net']:9.2f} {row['feed_over_net']:9.2f}"
        )


def begin(folder: Path, pixels: Pixels, config: Config, device: torch.device) -> Trial:
    """Return a training of which each work has been done once: the first allocates."""
    training = Training(Run(folder), config, pixels, device, ALONE)
    training.start()
    steps, feed = loop(training), training.feed.batches(0, 10**9)
    ready = next(feed)
    works: dict[str, Callable[[], object]] = {
        "loop": lambda: next(steps),
        "net": lambda: net(training, ready),
        "feed": lambda: next(feed),
    }
    for work in works.values():
        work()
    return Trial(training, works)


def measure(
    trials: dict[str, Trial], rounds: int, device: torch.device
) -> dict[str, list[dict[str, Seconds]]]:
    """Return for each model the times of its works in each round."""
    times: dict[str, list[dict[str, Seconds]]] = {model: [] for model in trials}
    for _ in range(rounds):
        for model, trial in trials.items():
            found = {name: seconds(work, device) for name, work in trial.works.items()}
            times[model].append(found)
    return times


def figures(
    trial: Trial,
    times: list[dict[str, Seconds]],
    plain: list[dict[str, Seconds]] | None,
) -> dict[str, float | None]:
    """Return the figures of one model; `plain` are the times of the plain one."""
    plan, encoder = trial.training.plan, trial.training.learner.encoder
    step = Seconds(
        *map(statistics.median, zip(*(t["loop"] for t in times), strict=True))
    )
    return {
        "parameters": sum(p.numel() for p in encoder.parameters()),
        "batch_size": plan.batch_size,
        "patches_per_s": plan.batch_size / step.wall,
        "epoch_s": plan.steps_per_epoch * step.wall,
        "epoch_processor_s": plan.steps_per_epoch * step.processor,
        "step_over_plain": None if plain is None else _ratio(times, plain, "loop"),
        "loop_over_net": _ratio(times, times, "loop", "net"),
        "feed_over_net": _ratio(times, times, "feed", "net"),
    }


def _ratio(
    ours: list[dict[str, Seconds]],
    others: list[dict[str, Seconds]],
    work: str,
    other: str = "loop",
) -> float:
    """Return the median ratio; a GPU's time is on the wall, not on the processor."""
    clock = int(not torch.cuda.is_available())
    pairs = zip(ours, others, strict=True)
    return statistics.median(a[work][clock] / b[other][clock] for a, b in pairs)


def loop(training: Training) -> Iterator[object]:
    """Yield after every step of the real loop."""
    config, average_of = training.config, training.mean
    batches = training.feed.batches(0, 10**9)
    rate = cosine(config.learning_rate, 100, 10**9)
    for step in train(
        training.learner,
        training.optimizer,
        batches,
        rate=rate,
        max_grad_norm=config.max_grad_norm,
        scaler=training.scaler,
    ):
        average(average_of, training.learner, config.ema_decay, step.index)
        yield step


def net(training: Training, batch: Batch) -> None:
    """Do one step of the network on a batch that lies ready."""
    training.learner.train()
    training.optimizer.zero_grad(set_to_none=True)
    training.learner(batch)["loss"].backward()
    training.optimizer.step()


def seconds(work: Callable[[], object], device: torch.device) -> Seconds:
    """Return how long `work` takes, including what it leaves to the device."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return Seconds(time.perf_counter() - wall, time.process_time() - processor)


def machine(device: torch.device) -> str:
    """Return the device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()}, {torch.get_num_threads()} of {os.cpu_count()} cores"


def _config(options: argparse.Namespace, model: str) -> Config:
    config = Config(objective=options.objective, side_px=options.side_px)
    return replace(
        config,
        model=model,
        batch_size=options.batch_size,
        precision=options.precision,
        compile=options.compile,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/pbc"))
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--objective", default="reconstruction")
    parser.add_argument("--side-px", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=Config().batch_size)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", choices=PRECISIONS)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULT)
    return parser.parse_args()


if __name__ == "__main__":
    main()
