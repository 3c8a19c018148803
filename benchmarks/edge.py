"""What the exported files cost on one thread of a workstation.

    python -m benchmarks.edge [--resident] [--out benchmarks/results/edge.json]

Speeds are ratios of processor time on one thread: the files take turns in one run and
the fastest of many rounds counts, so that other work on the machine hardly matters.
`shipped` are the files in models/. The others see patches of one size and have random
weights, which do not change their speed. The network part begins behind the
pre-processing, which is the same for all of them. A plain CNN has the channels of the
harmonic net in ordinary convolutions, with a ReLU and nothing else. Memory, the time to
start and that of the first frame are those of the default model that is shipped.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper

from benchmarks import targets
from benchmarks.rivals import plain_cnn, resnet18
from cellrot_infer.card import read_model
from cellrot_infer.files import make_folder, write_text
from cellrot_infer.models import DEFAULT_MODEL, shipped_models
from cellrot_train.data import load_patch_set
from cellrot_train.deployed import Deployed
from cellrot_train.encoders import build_encoder
from cellrot_train.encoders.hnet import HarmonicEncoder
from cellrot_train.export import OPSET, to_onnx
from cellrot_train.layers.harmonic import HarmonicConv2d
from cellrot_train.novelty import Novelty
from cellrot_train.pixels import decode_patches
from cellrot_train.quantise import quantise
from cellrot_train.separate import separate
from tests.train.eight_bits import overflows

RESULT = Path(__file__).parent / "results" / "edge.json"
SAMPLES = Path(__file__).parents[1] / "tests" / "data" / "patches"
SIDE_PX, VIEW_PX = 64, 48  # of the shipped models but hnet-r2
BATCH, ROUNDS = 16, 20
HARMONIC = ("hnet-r0", "hnet-r2")
NETS = (*HARMONIC, "baseline")
# a child process reports on itself, in MiB: resident now, and the most it ever was
MEMORY = """
import re, sys
from pathlib import Path
import numpy as np
from cellrot_infer import Classifier
def resident(key):
    status = Path("/proc/self/status").read_text()
    return int(re.search(key + r":\\s+(\\d+)", status)[1]) / 1024
classifier = Classifier.load(sys.argv[1], device="cpu", threads=1)
patches = np.random.default_rng(0).integers(0, 256, (64, 256, 256, 3), np.uint8)
for batch in range(157):
    classifier.classify(patches)
    if batch == 7:
        print(resident("VmRSS"))
print(resident("VmRSS"), resident("VmHWM"))
"""
FIRST = """
import sys, time
import numpy as np
from cellrot_infer import Classifier
classifier = Classifier.load(sys.argv[1], device="cpu", threads=1)
patches = np.random.default_rng(0).integers(0, 256, (23, 256, 256, 3), np.uint8)
for frame in range(10):
    begin = time.process_time()
    classifier.classify(patches)
    print(time.process_time() - begin)
"""
START = """
import time
begin = time.process_time()
import sys
from cellrot_infer import Classifier
Classifier.load(sys.argv[1], device="cpu", threads=1)
print(time.process_time() - begin)
"""


def main() -> None:
    """Measure, print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument(
        "--resident", action="store_true", help="only memory and start; keep the speeds"
    )
    options = parser.parse_args()
    out: Path = options.out
    known = json.loads(out.read_text("utf-8")) if options.resident else speeds()
    found: dict[str, Any] = {**known, **residence()}
    print(targets.table(targets.speeds(found, DEFAULT_MODEL)))
    print(targets.table(targets.residence(found)))
    make_folder(out.parent)
    write_text(out, json.dumps(found, indent=2) + "\n")


def residence() -> dict[str, Any]:
    """Return memory, time to start and that of the first frame of the default model."""
    keys = ("after 500 cells", "after 10 000 cells", "peak")
    resident = dict(zip(keys, map(float, child(MEMORY)), strict=True))
    start_s = min(float(child(START)[0]) for _ in range(5))
    frames = [[*map(float, child(FIRST))] for _ in range(5)]
    first = statistics.median(frame_s[0] / frame_s[-1] for frame_s in frames)
    return {
        "resident_mib": resident,
        "start_s": start_s,
        "first_frame_over_tenth": first,
    }


def speeds() -> dict[str, Any]:
    """Return cells a second of all files, and the ratios that matter."""
    patches = decode_patches(load_patch_set(SAMPLES), range(0, 374, 22), 256)
    dense = {name: to_onnx(network(name)) for name in NETS}
    whole = {name: separate(model) for name, model in dense.items()}
    whole |= {f"{name} int8": quantise(dense[name], patches) for name in NETS}
    parts = {f"{name}, network part": behind(model) for name, model in whole.items()}
    parts["pre-processing"] = before(whole["hnet-r0"])
    rivals = {"ResNet-18 at 224 px": as_onnx(resnet18(), 224)}
    for name in HARMONIC:
        rival = plain_cnn(channels_of(name))
        rivals[f"plain CNN as {name}"] = as_onnx(rival, VIEW_PX)
    shipped = {f"shipped {path.stem}": read_model(path)[0] for path in shipped_models()}
    rate = measure({**whole, **parts, **rivals, **shipped}, patches[:BATCH])
    bits = "no VNNI" if overflows() else "VNNI"
    machine = (
        f"{platform.machine()}, {bits}, ONNX Runtime {ort.__version__}, one thread"
    )
    return {"machine": machine, "cells_per_s": rate, "ratios": ratios(rate)}


def ratios(rate: Mapping[str, float]) -> dict[str, float]:
    """Return what is compared, from cells a second."""
    found = {}
    for name in NETS:
        part = f"{name}, network part"
        if name in HARMONIC:
            plain = rate[f"plain CNN as {name}"]
            found[f"{name} over a plain CNN, network part"] = rate[part] / plain
        small = rate[f"{name} int8, network part"] / rate[part]
        found[f"{name}, int8 over float, network part"] = small
        found[f"{name}, int8 over float"] = rate[f"{name} int8"] / rate[name]
        for kind in (name, f"{name} int8"):
            share = rate[kind] / rate["pre-processing"]
            found[f"{kind}, share of pre-processing"] = share
    for name in rate:
        if name.startswith("shipped"):
            found[f"{name} over ResNet-18"] = rate[name] / rate["ResNet-18 at 224 px"]
    return {name: round(value, 3) for name, value in found.items()}


def network(name: str) -> Deployed:
    """Return an encoder of usual width and its readout, with random weights."""
    torch.manual_seed(0)
    encoder = build_encoder(name, side_px=VIEW_PX)
    size, classes = encoder.feature_size, 11
    novelty = Novelty(torch.eye(size), torch.zeros(classes, size))
    head = torch.nn.Linear(size, classes)
    return Deployed(
        encoder, head, novelty, torch.zeros(size), (SIDE_PX, VIEW_PX)
    ).eval()


def channels_of(name: str) -> list[int]:
    """Return the channels of the convolutions over pixels of a harmonic encoder."""
    encoder = build_encoder(name, side_px=VIEW_PX)
    assert isinstance(encoder, HarmonicEncoder)
    convolutions = (m for m in encoder.modules() if isinstance(m, HarmonicConv2d))
    return [convolution.outputs.channels for convolution in convolutions]


def as_onnx(net: torch.nn.Module, side_px: int) -> bytes:
    """Return an ordinary network as ONNX, for images (N, 3, S, S)."""
    program = torch.onnx.export(
        net.eval(),
        (torch.zeros(2, 3, side_px, side_px),),
        dynamo=True,
        opset_version=OPSET,
        input_names=["images"],
        dynamic_shapes=({0: torch.export.Dim("N", min=1)},),
        verbose=False,
    )
    assert program is not None
    return program.model_proto.SerializeToString()


def behind(model: bytes) -> bytes:
    """Return the part of `model` behind the pre-processing; rounding is part of it."""
    proto = onnx.load_from_string(model)
    start = images_of(proto)
    del proto.graph.input[:]
    shape = ("N", 3, VIEW_PX, VIEW_PX)
    kind = helper.make_tensor_value_info(start, TensorProto.FLOAT, shape)
    proto.graph.input.append(kind)
    return needed(proto, [output.name for output in proto.graph.output])


def before(model: bytes) -> bytes:
    """Return the part of `model` before its first convolution."""
    proto = onnx.load_from_string(model)
    start = images_of(proto)
    del proto.graph.output[:]
    kind = helper.make_tensor_value_info(start, TensorProto.FLOAT, None)
    proto.graph.output.append(kind)
    return needed(proto, [start])


def images_of(model: onnx.ModelProto) -> str:
    """Return the tensor of images, which the last division of the intake gives."""
    nodes = list(model.graph.node)
    starts = {"Conv", "QuantizeLinear"}
    first = next(k for k, node in enumerate(nodes) if node.op_type in starts)
    return next(n.output[0] for n in reversed(nodes[:first]) if n.op_type == "Div")


def needed(model: onnx.ModelProto, outputs: Sequence[str]) -> bytes:
    """Return `model` with the nodes alone that lead from its inputs to `outputs`."""
    given = {entry.name for entry in model.graph.input}
    wanted, kept = set(outputs) - given, []
    for node in reversed(model.graph.node):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(node.input) - given
    del model.graph.node[:]
    model.graph.node.extend(reversed(kept))
    return model.SerializeToString()


def measure(models: Mapping[str, bytes], patches: np.ndarray) -> dict[str, float]:
    """Return cells a second of each model, which take turns."""
    sessions = {name: open_one_thread(model) for name, model in models.items()}
    feeds = {name: feed_of(session, patches) for name, session in sessions.items()}
    best = dict.fromkeys(sessions, float("inf"))
    for _ in range(ROUNDS):
        for name, session in sessions.items():
            begin = time.thread_time()
            session.run(None, feeds[name])
            best[name] = min(best[name], time.thread_time() - begin)
    return {name: round(BATCH / seconds, 1) for name, seconds in best.items()}


def open_one_thread(model: bytes) -> ort.InferenceSession:
    """Return a session that works in the calling thread alone."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def feed_of(session: ort.InferenceSession, patches: np.ndarray) -> dict[str, Any]:
    """Return patches, or noise where the input is an image that is prepared already."""
    entry = session.get_inputs()[0]
    if entry.name == "patches":
        return {"patches": patches}
    noise = np.random.default_rng(0).normal(size=(BATCH, *entry.shape[1:]))
    return {entry.name: noise.astype(np.float32)}


def child(program: str) -> list[str]:
    """Return the lines that a Python program prints about the default model."""
    command = [sys.executable, "-c", program, DEFAULT_MODEL]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.split()


if __name__ == "__main__":
    main()
