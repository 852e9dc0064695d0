"""Runtimes that graphs of an export run in, each an optional package behind one function."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import version
from typing import Any, Literal, get_args

import numpy as np

from greenedge.errors import InstallationError

Runtime = Literal["onnxruntime", "openvino"]
Graph = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]  # from named inputs to outputs in their order

RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)

# What to install for each.
EXTRAS: dict[Runtime, str] = {"onnxruntime": "onnx", "openvino": "openvino"}


def is_installed(runtime: Runtime) -> bool:
    """Whether its package is here."""
    return importlib.util.find_spec(runtime) is not None


def runtime_version(runtime: Runtime) -> str:
    """Of the package that is installed.

    Raises:
        InstallationError: it is not.
    """
    if not is_installed(runtime):
        raise InstallationError(f"{runtime} is not installed; pip install 'greenedge[{EXTRAS[runtime]}]'")
    return version(runtime)


def open_graph(content: bytes, runtime: Runtime, threads: int) -> Graph:
    """Makes an ONNX graph ready to run on the CPU.

    Args:
        content: of the .onnx file.
        runtime: that runs it.
        threads: that it may use.

    Raises:
        InstallationError: the runtime is not installed, or cannot run the graph.
    """
    runtime_version(runtime)  # or a sentence
    try:
        return _OPENERS[runtime](content, threads)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise InstallationError(f"{runtime} cannot run the graph ({reason})") from error


def _open_onnxruntime(content: bytes, threads: int) -> Graph:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Each segment has threads of its own, which would go on asking for work while the next segment needs the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, dict(inputs))


@cache
def _openvino_core() -> Any:
    """The one of this process: of several, the first to go leaves a stack behind that signals are then handled on."""
    import openvino

    return openvino.Core()


def _open_openvino(content: bytes, threads: int) -> Graph:
    core = _openvino_core()
    # Unless told, it computes in bf16 where the processor can.
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(content), "CPU", settings)
    outputs = list(compiled.outputs)

    def run(inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        found = compiled(dict(inputs))
        return [np.array(found[output]) for output in outputs]  # copies: the next run writes into the same memory

    return run


_OPENERS: dict[Runtime, Callable[[bytes, int], Graph]] = {
    "onnxruntime": _open_onnxruntime,
    "openvino": _open_openvino,
}
