"""What the harmonic layers cost and keep, beside ordinary ones of equal channels.

    python -m benchmarks.layers [--rounds 20] [--batch-size 64] [--out ...]

Speed is a ratio to a plain CNN that has the same channels and poolings, where ordinary
convolutions and ReLU take the place of the harmonic ones; and to a bare one, which has
the simplest poolings and no masks either. In every round each net works once, and the
figure is the median of the rounds' ratios: of wall time, and of processor time, which
other work on the machine disturbs less. escnn stands beside it where it is installed.

`spread` is how far the embedding moves when the image turns, over the distance between
different images: 0 is invariant, 1 is as different as another image. Images are drawn
by formula at every angle, at random weights.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor, nn

from benchmarks.drawing import drawn_images
from benchmarks.escnn_net import EMBEDDING_SIZE, escnn_net, has_escnn, ordinary_net
from benchmarks.peers import Features, bare, conjugated, ordinary
from cellrot_infer.certificate import spread
from cellrot_infer.files import make_folder, write_text
from cellrot_train.encoders import build_encoder
from cellrot_train.layers.basis import harmonic_basis
from cellrot_train.layers.folding import folded

RESULT = Path(__file__).parent / "results" / "layers.json"
SIDE_PX = 64
ANGLES_DEG = tuple(range(9, 360, 18))  # no quarter turn among them
IMAGES = 16  # that are turned
SEEDS = 5
R2_FIELDS = (8, 16, 16, 16)  # of each order and each convolution, as in hnet-r2
R0_FIELDS = (32, 64, 64, 64)  # as in hnet-r0

Build = Callable[[], nn.Module]
Row = dict[str, float | int | bool | str | None]


class Rival(NamedTuple):
    """A net, and the plain ones that it is measured against."""

    name: str
    build: Build
    plain: dict[str, Build]


def rivals() -> list[Rival]:
    """Return all nets that can be measured here."""
    nets = [
        Rival("hnet-r2", partial(encoder, "hnet-r2"), plain("hnet-r2")),
        Rival("hnet-r0", partial(encoder, "hnet-r0"), plain("hnet-r0")),
        Rival("conjugate maps", conjugate_encoder, plain("hnet-r2")),
    ]
    if not has_escnn():
        print("escnn is left out: it is not installed, see benchmarks/escnn_net.py")
        return nets
    nets.append(Rival("escnn r=2", partial(escnn_net, 3, R2_FIELDS), plain_of_escnn(3)))
    nets.append(Rival("escnn r=0", partial(escnn_net, 1, R0_FIELDS), plain_of_escnn(1)))
    return nets


def main() -> None:
    """Measure, print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    about = {
        "torch": str(torch.__version__),
        "side_px": SIDE_PX,
        "batch_size": options.batch_size,
        "rounds": options.rounds,
        "seeds": SEEDS,
    }
    make_folder(options.out.parent)
    rows: list[Row] = []
    for rival in rivals():
        print(f"measuring {rival.name}", flush=True)
        row = figures(rival, options.batch_size, options.rounds)
        rows.append({"net": rival.name, **row})
        write_text(options.out, json.dumps({**about, "rows": rows}, indent=2) + "\n")
    for name in rows[0]:
        print(f"{name:40s}", *(f"{_short(row.get(name)):>24s}" for row in rows))


def figures(rival: Rival, batch_size: int, rounds: int) -> Row:
    """Return all figures of one net."""
    images = drawn_images(batch_size, SIDE_PX, 0.0)
    row: Row = {"parameters": sum(p.numel() for p in _ready(rival.build).parameters())}
    row["construction_s"] = construction_s(rival.build)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for name, work in (("training", training), ("eval", inference)):
            others = {kind: work(build, images) for kind, build in rival.plain.items()}
            found = ratios(work(rival.build, images), others, rounds)
            row |= {f"{name}, {threads} threads, x {key}": found[key] for key in found}
    return {**row, **invariance(rival.build), **tools(rival.build, images[:4])}


def encoder(name: str) -> nn.Module:
    """Return what the encoder gives a classifier, at random weights."""
    return Features(build_encoder(name, side_px=SIDE_PX, embedding_size=EMBEDDING_SIZE))


def plain(name: str) -> dict[str, Build]:
    """Return the plain CNNs of the same channels as an encoder."""
    return {
        "plain": lambda: ordinary(encoder(name)),
        "bare": lambda: bare(encoder(name)),
    }


def plain_of_escnn(orders: int) -> dict[str, Build]:
    """Return the plain CNN of the same channels as a net of escnn."""
    fields = R0_FIELDS if orders == 1 else [5 * count for count in R2_FIELDS]
    return {"plain": partial(ordinary_net, fields)}


def conjugate_encoder() -> nn.Module:
    """Return hnet-r2 with the conjugate maps, which the usual one leaves out."""
    return conjugated(encoder("hnet-r2"))


def construction_s(build: Build) -> float:
    """Return the median time to make the net, as if nothing had been made before."""
    times = []
    for _ in range(5):
        harmonic_basis.cache_clear()
        start = time.perf_counter()
        build()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def training(build: Build, images: Tensor) -> Callable[[], None]:
    """Return what does one training step."""
    net = _ready(build).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        net(images).square().mean().backward()
        optimizer.step()

    return step


def inference(build: Build, images: Tensor) -> Callable[[], None]:
    """Return what does one pass of the net."""
    net = _ready(build).eval()

    def step() -> None:
        with torch.inference_mode():
            net(images)

    return step


def deployed(net: nn.Module) -> nn.Module:
    """Return the net for use: ours with its kernels folded."""
    return folded(net) if isinstance(net, Features) else net.eval()


def ratios(
    ours: Callable[[], None], others: dict[str, Callable[[], None]], rounds: int
) -> dict[str, float]:
    """Return the median ratios of wall time, and of processor time, to each other."""
    for work in (ours, *others.values()):
        work()  # the first call allocates
    times = [
        (seconds(ours), {name: seconds(work) for name, work in others.items()})
        for _ in range(rounds)
    ]
    return {
        f"{name}{suffix}": statistics.median(
            mine[clock] / theirs[name][clock] for mine, theirs in times
        )
        for name in others
        for clock, suffix in enumerate(("", " (processor)"))
    }


def seconds(work: Callable[[], None]) -> tuple[float, float]:
    """Return how long `work` takes, on the wall and on the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


@torch.inference_mode()
def invariance(build: Build, seeds: int = SEEDS) -> dict[str, float]:
    """Return what turning the image does to the embedding, over several seeds."""
    upright = drawn_images(IMAGES, SIDE_PX, 0.0)
    turned = [drawn_images(IMAGES, SIDE_PX, np.deg2rad(a)) for a in ANGLES_DEG]
    spreads, quarters = [], []
    for seed in range(seeds):
        net = _ready(build, seed).eval()
        before = embedding(net, upright)
        spreads.append(
            statistics.mean(spread(embedding(net, one), before) for one in turned)
        )
        for turns in (1, 2, 3):
            after = embedding(net, upright.rot90(turns, (2, 3)))
            quarters.append(np.linalg.norm(after - before) / np.linalg.norm(before))
    return {
        "spread_mean": statistics.mean(spreads),
        "spread_worst_seed": max(spreads),
        "quarter_turn_worst": float(max(quarters)),
    }


def embedding(net: nn.Module, images: Tensor) -> np.ndarray:
    """Return the embeddings (N, 64) of `images`."""
    columns: np.ndarray = net(images)[:, -EMBEDDING_SIZE:].numpy()
    return columns


def tools(build: Build, images: Tensor) -> Row:
    """Return whether the compiler and the exporter take the net, and with what error.

    The error is that of their output, relative to the net's own; None is a failure.
    """
    net = deployed(_ready(build))
    with torch.inference_mode():
        expected = net(images)
    row: Row = {"compile_error": None, "onnx_error": None, "onnx_nodes": None}
    try:
        compiled = torch.compile(_ready(build).train(), fullgraph=True)(images)
        compiled.square().mean().backward()
        row["compile_error"] = _distance(compiled.detach(), expected)
    except Exception as error:  # of another library; its kind is the result
        row["compile_failure"] = type(error).__name__
    try:
        row["onnx_nodes"], found = through_onnx(net, images)
        row["onnx_error"] = _distance(found, expected)
    except Exception as error:
        row["onnx_failure"] = type(error).__name__
    return row


def through_onnx(net: nn.Module, images: Tensor) -> tuple[int, Tensor]:
    """Return the operators of the exported graph, and what ONNX Runtime makes of it."""
    program = torch.onnx.export(net, (images,), dynamo=True, verbose=False)
    assert program is not None
    content = program.model_proto.SerializeToString()
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    (found,) = session.run(None, {name: images.numpy()})
    return len(program.model.graph), torch.from_numpy(found)


def _ready(build: Build, seed: int = 0) -> nn.Module:
    """Return the net of that seed; the first pass makes layers that wait for a size."""
    torch.manual_seed(seed)
    net = build()
    with torch.inference_mode(False), torch.no_grad():
        net(drawn_images(2, SIDE_PX, 0.0))
    return net


def _distance(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


def _short(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
