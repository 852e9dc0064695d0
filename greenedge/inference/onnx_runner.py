"""Predicts images with what `greenedge export --format onnx` wrote; needs numpy and onnxruntime.

`python runner.py FOLDER IMAGES...` takes image files, where Pillow is installed, and .npy files of uint8 (N, 3, S, S),
or float32 normalised as manifest.json says (pixels in [0, 1], minus mean, over std). It prints for each image its
class, exit (from 1), confidence and file (not of a .npy), separated by tabs. It uses the other `runner_*.py`.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

try:
    import numpy as np
    import onnxruntime

    # By their place, as this file is a module of greenedge, a script, or is imported from the folder of an export.
    _paths = [Path(__file__).with_name(f"runner_{name}.py") for name in ("criteria", "files", "images")]
    _criteria, _files, _images = (SimpleNamespace(**runpy.run_path(str(path))) for path in _paths)
except (ImportError, OSError) as error:
    if __name__ != "__main__":
        raise
    sys.exit(f"error: {error}; the runner needs numpy, onnxruntime and the runner_*.py beside it")
_MANIFEST: dict[str, Any] = {"format": ["greenedge-export/2"], "kind": str, "precision": str, "image_size": int}
_MANIFEST |= {"exits": [{"after": str, "gflops": float, "file": str}], "classes": [{"id": str}], "leaves_below": {}}
_MANIFEST |= {"preprocessing": {"stored_size": int, "mean": [float], "std": [float]}}
_POLICY: dict[str, Any] = {"criterion": str, "thresholds": [float], "exits": [str]}
# Keys that may be there too; what any other would mean for an image is not known here.
_MORE_MANIFEST = {"network", "files", "versions", "weights", "trained", "quantization"}
_MORE_POLICY = {"format", "temperatures", "precision", "ensemble", "gain", "weights", "chosen"}


class Predictions(NamedTuple):
    """The predictions for N images, in their order."""

    predictions: np.ndarray  # int64 (N,), class indices
    exits: np.ndarray  # int64 (N,), counted from 0
    confidence: np.ndarray  # float32 (N,), the largest probability, after temperatures and ensemble
    gflops: np.ndarray  # float64 (N,), spent on each image, by the network, an ensemble and a learned criterion
    logits: np.ndarray  # float32 (N, C)


class Runner:
    """Runs an export folder's segments in a row, on images that have not exited; a ValueError says what is invalid."""

    def __init__(self, folder: str | Path) -> None:
        path = (folder := Path(folder)) / "manifest.json"
        self.manifest = manifest = _files.read_mapping(path, _MANIFEST, _MORE_MANIFEST)
        self.policy = policy = _files.read_mapping(folder / "policy.json", _POLICY, _MORE_POLICY)
        if manifest["kind"] != "onnx":
            raise ValueError(f"{folder}: is not an ONNX export of greenedge")
        exits, self.image_size, below = manifest["exits"], manifest["image_size"], manifest["leaves_below"]
        if not 0 < self.image_size <= 65536:
            raise ValueError(f"{path}: is invalid: image_size is out of range")
        if problem := _images.find_problem(manifest["preprocessing"]):
            raise ValueError(f"{path}: {problem}")
        if policy["exits"] != [each["after"] for each in exits] or len(policy["thresholds"]) != len(exits) - 1:
            raise ValueError(f"{folder}: policy.json is for a network with other exits")
        temperatures = [1.0] * len(exits) if policy.get("temperatures") is None else policy["temperatures"]
        weights = [0.0] * (len(exits) - 1) if policy.get("ensemble") is None else policy["ensemble"]
        fit = _files.fits([temperatures, weights], [[float]]) and len(temperatures) == len(weights) + 1 == len(exits)
        fit = fit and min(temperatures) > 0 and all(0 <= each < 1 for each in weights)
        if not fit or policy.get("precision") not in (None, manifest["precision"]):
            raise ValueError(f"{folder}: policy.json has temperatures, weights or a precision of no use here")
        if problem := _criteria.find_problem(policy, low := below.get(policy["criterion"])):
            raise ValueError(f"{folder}: {problem}")
        self.sign = 1 if low else -1  # of a score in an uncertainty, where smaller is more confident
        self.limits = [*(self.sign * threshold for threshold in policy["thresholds"]), np.inf]
        self.temperatures, self.weights = np.array(temperatures, "f"), [0.0, *weights]  # of the exits before
        own = _criteria.own_gflops(policy, len(manifest["classes"]))
        self.gflops = np.array([each["gflops"] for each in exits], dtype=np.float64) + own
        self.reads = [[each.get(key) is True for key in ("reads_images", "reads_logits")] for each in exits]
        content = (_files.read_listed(folder, each["file"], manifest.get("files")) for each in exits)
        self.sessions = [onnxruntime.InferenceSession(each, providers=["CPUExecutionProvider"]) for each in content]

    def read(self, *files: str | Path) -> np.ndarray:
        """Image files as `predict` takes them, float32 (N, 3, S, S); a ValueError names one that cannot be used."""
        size = self.manifest["preprocessing"]["stored_size"]
        return self.prepare(np.stack([_images.decode(Path(file), size) for file in files]))

    def prepare(self, stored: np.ndarray) -> np.ndarray:
        """uint8 (N, 3, T, T), as decoded, to normalised float32 (N, 3, S, S)."""
        return np.asarray(_images.prepare(stored, self.image_size, self.manifest["preprocessing"]))

    def predict(self, images: np.ndarray) -> Predictions:
        """Predicts uint8 or normalised float32 images (N, 3, S, S); anything else is a ValueError."""
        px = self.image_size
        if images.shape[1:] != (3, px, px) or images.size == 0 or images.dtype not in (np.float32, np.uint8):
            raise ValueError(f"images must be float32 or uint8 (N, 3, {px}, {px}), found {images.dtype} {images.shape}")
        images = self.prepare(images) if images.dtype == np.uint8 else images
        if not (finite := np.isfinite(images).all(axis=(1, 2, 3))).all():
            raise ValueError(f"image {finite.argmin()} holds pixels that are NaN or infinite; fix or leave it out")
        indices, parts, joined, state = np.arange(len(images)), [], np.zeros((1, 1), "f"), np.zeros((len(images), 0))
        features = logits = images
        for index, (session, limit, reads) in enumerate(zip(self.sessions, self.limits, self.reads, strict=True)):
            given = {"features": images if reads[0] else features} | ({"former_logits": logits} if reads[1] else {})
            *handed_on, logits = session.run(None, given)
            if logits.shape != (len(indices), len(self.manifest["classes"])) or not np.isfinite(logits).all():
                raise ValueError(f"exit {index + 1} gives logits that are not finite, or not one for each class")
            joined = (1 - self.weights[index]) * (logits / self.temperatures[index]) + self.weights[index] * joined
            scores, state = _criteria.score_exit(self.policy, index, joined, state)
            out = (self.sign * scores.astype(np.float64) < limit) | np.isinf(limit)
            parts.append((indices[out], np.full(out.sum(), index), logits[out], joined[out]))
            if out.all():
                break
            rows = (images, handed_on[0], logits, indices, joined, state)
            images, features, logits, indices, joined, state = (each[~out] for each in rows)
        indices, *columns = (np.concatenate(column) for column in zip(*parts, strict=True))
        exits, logits, joined = (column[indices.argsort()] for column in columns)
        confidence = np.exp(_criteria.log_softmax(joined).max(axis=1))
        return Predictions(joined.argmax(axis=1), exits, confidence, self.gflops[exits], logits)


def main(folder: str, paths: Sequence[Path]) -> int:
    """Prints a line for each image, and on standard error one for each file that cannot be used; 1 if there is any."""
    runner, failed = Runner(folder), []
    sys.stderr.write(_files.find_doubt(runner.manifest))
    size = runner.manifest["preprocessing"]["stored_size"]

    def say(sentence: str) -> None:
        failed.append(sentence)
        sys.stderr.write(f"error: {' '.join(sentence.split())[:300]}\n")

    for group in _images.grouped(paths):
        start = 0
        try:
            for start, files, images in _images.batches(group, size, say):  # noqa: B007
                found = runner.predict(runner.prepare(images) if files else images)
                for row, (index, exit_index, confidence) in enumerate(zip(*found[:3], strict=True)):
                    names = [runner.manifest["classes"][index]["id"], *map(str, files[row : row + 1])]
                    name, *file = (each if each.isprintable() else ascii(each) for each in names)
                    sys.stdout.write("\t".join([name, str(exit_index + 1), f"{confidence:.4f}", *file]) + "\n")
        except Exception as error:  # noqa: BLE001  # whatever it is, one line says it, and the other files are predicted
            where = f" (counted from image {start})" if start else ""
            say(f"{group[0]}: {str(error) or type(error).__name__}{where}")
    return int(bool(failed))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: python runner.py FOLDER IMAGES...")
    try:
        sys.exit(main(sys.argv[1], [Path(path) for path in sys.argv[2:]]))
    except Exception as error:  # noqa: BLE001  # of the folder
        sys.exit(f"error: {' '.join(str(error).split())[:300] or type(error).__name__}")
