"""Which processor runs a model: what was asked for, what really runs, and why."""

import contextlib
import ctypes
import io
import os
import sys
from typing import Literal

import onnxruntime as ort

from cellrot_infer.errors import DeviceError, ModelError

DeviceName = Literal["auto", "cpu", "cuda"]
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_FATAL = 4  # of ONNX Runtime's severities; everything below is told by us, in one line
# TF32 would round to 10 bits and break the invariance that the card certifies.
_CUDA_OPTIONS = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}

_LOAD_ERRORS = tuple(
    getattr(ort.capi.onnxruntime_pybind11_state, name)
    for name in (
        "Fail",
        "InvalidArgument",
        "InvalidGraph",
        "InvalidProtobuf",
        "NotImplemented",
        "RuntimeException",
    )
)


RUN_ERRORS = tuple(
    getattr(ort.capi.onnxruntime_pybind11_state, name)
    for name in ("EPFail", "Fail", "RuntimeException")
)


def open_session(
    model: bytes, device: DeviceName, threads: int, source: str
) -> tuple[ort.InferenceSession, str]:
    """Return a session of `model` and one line on what runs it and why.

    Raises DeviceError where `cuda` is asked for and cannot be had, and ModelError,
    naming `source`, where ONNX Runtime cannot load the model.
    """
    ort.set_default_logger_severity(_FATAL)
    ort.disable_telemetry_events()  # on Windows it would tell of each session
    if device == "cpu":
        return _session(model, [CPU], threads, source), "CPU, as asked"
    obstacle = driver_obstacle()
    if not obstacle:
        complaint = _preload_cuda()
        session = _session(model, [(CUDA, _CUDA_OPTIONS), CPU], threads, source)
        if session.get_providers()[0] == CUDA:
            return session, "GPU, through CUDA"
        obstacle = (
            f"the CUDA libraries do not load{complaint}; "
            "pip install 'cellrot[cuda]' brings them"
        )
    if device == "cuda":
        raise DeviceError(f"--device cuda: {obstacle}; --device cpu works")
    return _session(model, [CPU], threads, source), f"CPU, since {obstacle}"


def driver_obstacle() -> str:
    """Return why CUDA cannot work here, empty where nothing speaks against it yet."""
    if CUDA not in ort.get_available_providers():
        return "this onnxruntime was built without CUDA"
    try:
        # A session asked for CUDA takes long to find out what this says at once.
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "there is no NVIDIA driver"
    return ""


def _preload_cuda() -> str:
    """Load CUDA and cuDNN as pip installs them; return the first complaint, if any."""
    if not hasattr(ort, "preload_dlls"):
        return ""
    with contextlib.redirect_stdout(io.StringIO()) as said:  # stdout is for data
        ort.preload_dlls()
    complaints = said.getvalue().splitlines()
    return f" ({complaints[0]:.160})" if complaints else ""


def available_threads() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _session(
    model: bytes, providers: list[object], threads: int, source: str
) -> ort.InferenceSession:
    options = ort.SessionOptions()
    # A plan a size of batch is no faster once made, but makes the first frame slow.
    options.enable_mem_pattern = False
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = threads or available_threads()
    # Without this, eight-bit products overflow on processors that lack VNNI.
    options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        return ort.InferenceSession(model, options, providers=providers)
    except _LOAD_ERRORS as error:
        reason = str(error).rsplit(" : ", 1)[-1].splitlines()[0]
        raise ModelError(
            f"{source}: ONNX Runtime {ort.__version__} cannot load it ({reason:.120})"
        ) from None
