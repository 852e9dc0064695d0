"""An exported folder's graphs, ready to run side by side: the segments, the whole, and the runner that is shipped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from greenedge.errors import DataError, InstallationError
from greenedge.inference.manifest import ExportedExit, Manifest

if TYPE_CHECKING:
    from greenedge.inference.onnx_runner import Runner

BATCH = 16  # images at a time, which bounds the memory

_Graph = Callable[..., list[np.ndarray]]  # of arrays, in the order of the graph's inputs


@dataclass(frozen=True, eq=False)
class LoadedExport:
    """An export's graphs, ready to run.

    Attributes:
        segments: (N, ...) to the features that are handed on, but for the last, and the logits.
        exits: what the manifest says of each.
        whole: images to the logits of each exit.
        runner: that is shipped with ONNX graphs; None with others.
        runtime: name and version.
    """

    segments: Sequence[_Graph]
    exits: Sequence[ExportedExit]
    whole: _Graph
    runner: Runner | None
    runtime: str

    def chained(self, images: np.ndarray) -> np.ndarray:
        """float32 (E, N, C): the segments in a row, whatever the policy; images float32 (N, 3, S, S), normalised."""
        return _in_batches(self._chain, images)

    def at_once(self, images: np.ndarray) -> np.ndarray:
        """float32 (E, N, C): the whole graph."""
        return _in_batches(lambda batch: np.stack(self.whole(batch)), images)

    def _chain(self, images: np.ndarray) -> np.ndarray:
        features, found = images, list[np.ndarray]()
        for segment, each in zip(self.segments, self.exits, strict=True):
            given = images if each.reads_images else features
            *handed_on, logits = segment(given, found[-1]) if each.reads_logits else segment(given)
            features = handed_on[0] if handed_on else features
            found.append(logits)
        return np.stack(found)


def load_export(folder: Path, manifest: Manifest) -> LoadedExport:
    """Loads the graphs of an export.

    Programs of `torch.export` may run code that is in them, so these must be one's own.

    Raises:
        DataError: the runner refuses the folder.
        InstallationError: what runs them is not installed, or cannot run them.
        OSError: a file cannot be read.
    """
    try:
        if manifest.kind == "torch":
            programs = [_torch_graph(folder / name) for name in (*manifest.graphs, manifest.network)]
            return LoadedExport(programs[:-1], manifest.exits, programs[-1], None, f"torch {torch.__version__}")

        import onnxruntime

        from greenedge.inference.onnx_runner import Runner

        runner = Runner(folder)
        content = (folder / manifest.network).read_bytes()
        sessions = [*runner.sessions, onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])]
        graphs = [_onnx_graph(session) for session in sessions]
        return LoadedExport(graphs[:-1], manifest.exits, graphs[-1], runner, f"onnxruntime {onnxruntime.__version__}")
    except ImportError as error:
        name = error.name or "onnxruntime"
        raise InstallationError(f"{folder}: {name} is not installed; pip install 'greenedge[onnx]'") from None
    except OSError:
        raise
    except ValueError as error:  # the runner's own, about the folder
        raise DataError(" ".join(str(error).split())) from None
    except Exception as error:  # runtimes raise many kinds of errors
        reason = " ".join(str(error).split())[:200]
        raise InstallationError(f"{folder}: its graphs cannot be loaded ({reason})") from error


def _in_batches(run: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray:
    found = [run(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
    return np.concatenate(found, axis=1)


def _onnx_graph(session: object) -> _Graph:
    names = [each.name for each in session.get_inputs()]  # type: ignore[attr-defined]
    return lambda *arrays: session.run(None, dict(zip(names, arrays, strict=True)))  # type: ignore[attr-defined]


def _torch_graph(path: Path) -> _Graph:
    program = torch.export.load(path).module()

    def run(*arrays: np.ndarray) -> list[np.ndarray]:
        with torch.no_grad():
            return [each.numpy() for each in program(*map(torch.from_numpy, arrays))]

    return run
