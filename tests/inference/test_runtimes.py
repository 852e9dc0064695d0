"""The runtimes that run exports, beside what else happens in a process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

# OpenVINO's CPU plugin gives the thread a stack for signals and takes it away again, in the wrong order where there
# were two of them: after that any signal, a Ctrl-C for one, killed the process without a word.
_PROGRAM = """
import gc, os, signal, sys
import onnx
from onnx import TensorProto, helper
from greenedge.inference.runtimes import open_graph

values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "y")]
graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "negative", values[:1], values[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)

graphs = [open_graph(model.SerializeToString(), sys.argv[1], threads=1) for _ in range(2)]
while graphs:
    graphs.pop(0)
    gc.collect()
signal.signal(signal.SIGINT, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGINT)
"""


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_signals_are_handled_after_graphs_are_gone(runtime: str) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip(runtime)
    program = [sys.executable, "-X", "faulthandler", "-c", _PROGRAM, runtime]
    result = subprocess.run(program, capture_output=True, text=True, cwd=REPOSITORY, timeout=120, check=False)
    assert (result.returncode, result.stdout) == (0, "handled\n"), result.stderr
