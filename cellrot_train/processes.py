"""Where a training runs: device, arithmetic, and the processes that share it."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from cellrot_infer.errors import DeviceError
from cellrot_train.config import Config, ConfigError
from cellrot_train.sampling import ALONE, Share

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # of mallopt, in malloc.h


def choose_device(name: str) -> torch.device:
    """Return the device of that name; `auto` is CUDA where it works, else the CPU.

    Of several processes on one machine, each takes the CUDA device of its number.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"device is {name!r}, expected auto, cpu or cuda") from None
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f"device is {name!r}, expected auto, cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError(f"device {name}: no CUDA device works here; try --device cpu")
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return device


def arithmetic(precision: str, device: torch.device) -> torch.dtype:
    """Return the type that the network computes in."""
    if precision == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    names = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    return names[precision]


def memory_format(layout: str, device: torch.device) -> torch.memory_format:
    """Return the order of values in memory that convolutions work on."""
    last = layout == "channels-last" or (layout == "auto" and device.type == "cuda")
    return torch.channels_last if last else torch.contiguous_format


def check_compiler(device: torch.device) -> None:
    """Raise DeviceError where torch cannot compile for `device`.

    It compiles at the first call, for which a CPU takes a C++ compiler.
    """
    try:
        torch.compile(torch.neg)(torch.zeros(2, device=device))
    except RuntimeError as error:
        reason = str(error).splitlines()[0].rstrip(": ")
        raise DeviceError(
            f"--compile: torch cannot compile on this machine ({reason}); install a "
            "C++ compiler, or leave the option out"
        ) from None


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, where glibc gives it back.

    Every step asks for the same large blocks, and pages that come fresh from the system
    are filled with zeros first: a tenth of a training step on a CPU, without use.
    """
    if sys.platform != "linux":
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:  # another C library has none, and needs none
        set_option(_MMAP_MAX, 0)
        set_option(_TRIM_THRESHOLD, 2**31 - 1)
        set_option(_TOP_PAD, 2**26)


@contextmanager
def joined(device: torch.device) -> Iterator[Share]:
    """Join the processes that torchrun started, if it did; give this one's share."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1 or dist.is_initialized():
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Share(dist.get_rank(), world)
    finally:
        dist.destroy_process_group()


@contextmanager
def in_turn(share: Share) -> Iterator[None]:
    """Let the first process do the work below before the others."""
    if share.rank:
        dist.barrier()
    yield
    if share.world > 1 and not share.rank:
        dist.barrier()


@contextmanager
def reproducible(config: Config) -> Iterator[None]:
    """Refuse what varies between runs while the work below lasts, where asked to."""
    before = torch.are_deterministic_algorithms_enabled()
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as error:
        if not config.deterministic or "deterministic" not in str(error):
            raise
        reason = str(error).splitlines()[0]
        raise ConfigError(f"deterministic: not possible here: {reason}") from None
    finally:
        torch.use_deterministic_algorithms(before)
