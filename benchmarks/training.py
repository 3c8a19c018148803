"""How fast training is: what the loop costs on top of the network's own step.

    python -m benchmarks.training [--data ../shared/data/pbc] [--device cuda] ...

Every round times one step of the real loop (read, augment, step, average) and one step
of the network alone on a batch that lies ready; the overhead is the median of their
ratios, so that other work on the machine meets both. An epoch is the median step times
its steps; figures in seconds hold for the machine that is named beside them.
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

import torch

from cellrot_infer.files import make_folder, write_text
from cellrot_train.config import MODELS, Config
from cellrot_train.data import load_patch_set
from cellrot_train.loop import average, cosine, train
from cellrot_train.objectives import Batch
from cellrot_train.pixels import Pixels, load_pixels
from cellrot_train.processes import choose_device
from cellrot_train.run import Run
from cellrot_train.sampling import ALONE
from cellrot_train.training import Training

RESULT = Path(__file__).parent / "results" / "training.json"


def main() -> None:
    """Measure, print the table and write it as JSON."""
    options = _options()
    if not options.data.is_dir():
        sys.exit(f"skipped: no patches in {options.data}; name them with --data")
    pixels = load_pixels(load_patch_set(options.data), options.side_px)
    device = choose_device(options.device)
    rows = [
        measure(pixels.on(device), _config(options, model), device, options.rounds)
        for model in options.models
    ]
    result = {"machine": machine(device), "rows": rows}
    make_folder(options.out.parent)
    write_text(options.out, json.dumps(result, indent=2) + "\n")
    print(f"{result['machine']}, objective {options.objective}, {options.side_px} px")
    print("model       patches/s  s/epoch  loop/net  feed/net  validation s")
    for row in rows:
        print(
            f"{row['model']:10s} {row['patches_per_s']:10.0f} {row['epoch_s']:8.1f} "
            f"{row['loop_over_net']:9.2f} {row['feed_over_net']:9.2f} "
            f"{row['validation_s']:13.1f}"
        )


def measure(
    pixels: Pixels, config: Config, device: torch.device, rounds: int
) -> dict[str, str | int | float]:
    """Return the figures of one model."""
    with tempfile.TemporaryDirectory() as folder:
        training = Training(Run(Path(folder)), config, pixels, device, ALONE)
        training.start()
        steps, feed = loop(training), training.feed.batches(0, 10**9)
        ready = next(feed)
        for work in (lambda: next(steps), lambda: net(training, ready)):
            work()  # the first step allocates
        times = [
            (
                seconds(lambda: next(steps), device),
                seconds(lambda: net(training, ready), device),
                seconds(lambda: next(feed), device),
            )
            for _ in range(rounds)
        ]
        validation_s = seconds(lambda: training.validation.row(training.mean), device)
    step_s = statistics.median(whole for whole, _, _ in times)
    plan = training.plan
    return {
        "model": config.model,
        "parameters": sum(p.numel() for p in training.learner.encoder.parameters()),
        "batch_size": plan.batch_size,
        "patches_per_s": plan.batch_size / step_s,
        "epoch_s": plan.steps_per_epoch * step_s,
        "loop_over_net": statistics.median(whole / net for whole, net, _ in times),
        "feed_over_net": statistics.median(feed / net for _, net, feed in times),
        "validation_s": validation_s,
    }


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


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return how long `work` takes, including what it leaves to the device."""
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def machine(device: torch.device) -> str:
    """Return the device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()}, {torch.get_num_threads()} of {os.cpu_count()} cores"


def _config(options: argparse.Namespace, model: str) -> Config:
    config = Config(objective=options.objective, side_px=options.side_px)
    return replace(
        config, model=model, batch_size=options.batch_size, compile=options.compile
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
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULT)
    return parser.parse_args()


if __name__ == "__main__":
    main()
