"""Predicts images with what `greenedge export --format onnx` wrote; needs numpy, onnxruntime and `runner_criteria.py`.

`python runner.py FOLDER IMAGES.npy` reads uint8 (N, 3, S, S), or float32 normalised as manifest.json says (pixels in
[0, 1], minus mean, over std), and prints for each image its class, exit (from 1) and confidence, separated by tabs.
"""

from __future__ import annotations

import hashlib
import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import onnxruntime

# By its place, as this file is a module of greenedge, a script, or is imported from the folder of an export.
_criteria = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("runner_criteria.py"))))
_MANIFEST: dict[str, Any] = {"format": str, "exits": [{"after": str, "gflops": float, "file": str}]}
_MANIFEST |= {"classes": [{"id": str}], "leaves_below": {}, "image_size": int, "mean": [float], "std": [float]}
_POLICY: dict[str, Any] = {"criterion": str, "thresholds": [float], "exits": [str]}
# Keys that may be there too; what any other would mean for an image is not known here.
_MORE_MANIFEST = {"kind", "stored_size", "network", "files", "versions"}
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
        self.manifest = manifest = _read((folder := Path(folder)) / "manifest.json", _MANIFEST, _MORE_MANIFEST)
        self.policy = policy = _read(folder / "policy.json", _POLICY, _MORE_POLICY)
        if (manifest["format"], manifest.get("kind")) != ("greenedge-export/1", "onnx"):
            raise ValueError(f"{folder}: is not an ONNX export of greenedge")
        exits, px, mean, std, below = map(manifest.__getitem__, ("exits", "image_size", "mean", "std", "leaves_below"))
        if not 0 < px <= 65536 or not len(mean) == len(std) == 3 or min(std) <= 0:
            raise ValueError(f"{folder / 'manifest.json'}: is invalid: image_size, mean or std is out of range")
        if policy["exits"] != [each["after"] for each in exits] or len(policy["thresholds"]) != len(exits) - 1:
            raise ValueError(f"{folder}: policy.json is for a network with other exits")
        temperatures = [1.0] * len(exits) if policy.get("temperatures") is None else policy["temperatures"]
        weights = [0.0] * (len(exits) - 1) if policy.get("ensemble") is None else policy["ensemble"]
        fit = _fits([temperatures, weights], [[float]]) and len(temperatures) == len(weights) + 1 == len(exits)
        fit = fit and min(temperatures) > 0 and all(0 <= each < 1 for each in weights)
        if not fit or policy.get("precision") not in (None, "float32"):
            raise ValueError(f"{folder}: policy.json has temperatures, weights or a precision of no use here")
        if problem := _criteria.find_problem(policy, low := below.get(policy["criterion"])):
            raise ValueError(f"{folder}: {problem}")
        self.sign = 1 if low else -1  # of a score in an uncertainty, where smaller is more confident
        self.limits = [*(self.sign * threshold for threshold in policy["thresholds"]), np.inf]
        self.temperatures, self.weights = np.array(temperatures, "f"), [0.0, *weights]  # of the exits before
        own = _criteria.own_gflops(policy, len(manifest["classes"]))
        self.gflops = np.array([each["gflops"] for each in exits], dtype=np.float64) + own
        self.reads = [[each.get(key) is True for key in ("reads_images", "reads_logits")] for each in exits]
        self.sessions = [_session(folder, each["file"], manifest.get("files")) for each in exits]

    def predict(self, images: np.ndarray) -> Predictions:
        """Predicts uint8 or normalised float32 images (N, 3, S, S); anything else is a ValueError."""
        px = self.manifest["image_size"]
        if images.shape[1:] != (3, px, px) or images.size == 0 or images.dtype not in (np.float32, np.uint8):
            raise ValueError(f"images must be float32 or uint8 (N, 3, {px}, {px}), found {images.dtype} {images.shape}")
        mean, std = (np.float32(self.manifest[key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
        images = images * (1 / (std * 255)) - mean / std if images.dtype == np.uint8 else images
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


def _read(path: Path, pattern: dict[str, Any], more: set[str]) -> dict[str, Any]:
    """A JSON file's mapping, with the values of `pattern` checked, and no keys but those and `more`."""
    try:
        value: dict[str, Any] = json.loads(path.read_bytes())
        seal, found = value.pop("digest", None), hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{path}: is invalid: not JSON of one mapping, or nested too deeply") from None
    if seal not in (None, found):
        raise ValueError(f'{path}: was changed after it was written; without its "digest" line it is taken as it is')
    if wrong := [key for key, each in pattern.items() if not _fits(value.get(key), each)]:
        raise ValueError(f"{path}: is invalid: {wrong[0]!r} is missing or of another type")
    if unknown := sorted(value.keys() - pattern.keys() - more):
        raise ValueError(
            f"{path}: has {unknown[0]!r}, which this runner does not know; export again to have a newer one"
        )
    return value


def _session(folder: Path, name: str, digests: Any) -> onnxruntime.InferenceSession:
    path = folder / name
    if Path(name).name != name or "\\" in name or path.resolve().parent != folder.resolve():
        raise ValueError(f"{folder / 'manifest.json'}: names {name!r}, which is not a file of this folder")
    content = path.read_bytes()
    if isinstance(digests, dict) and digests.get(name) != hashlib.sha256(content).hexdigest():
        raise ValueError(f"{path}: is not the file that was exported with manifest.json; export again")
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


def _fits(value: Any, pattern: Any) -> bool:
    if isinstance(pattern, list):
        return isinstance(value, list) and all(_fits(each, pattern[0]) for each in value)
    if isinstance(pattern, dict):
        return isinstance(value, dict) and all(_fits(value.get(key), each) for key, each in pattern.items())
    return type(value) in (int, float) and abs(value) < 1e300 if pattern is float else type(value) is pattern


if __name__ == "__main__":
    start = 0 if len(sys.argv) == 3 else sys.exit("usage: python runner.py FOLDER IMAGES.npy")
    try:
        runner, path = Runner(sys.argv[1]), Path(sys.argv[2])
        if np.fromfile(path, np.uint8, 6).tobytes() != b"\x93NUMPY":
            raise ValueError(f"{path}: give a .npy file, as numpy.save writes it, of the images' pixels")
        images = np.atleast_1d(np.load(path, mmap_mode="r"))
        for start in range(0, max(len(images), 1), 64):
            found = runner.predict(images[start : start + 64])
            for index, exit_index, confidence in zip(*found[:3], strict=True):
                name = runner.manifest["classes"][index]["id"]
                sys.stdout.write(f"{name if name.isprintable() else ascii(name)}\t{exit_index + 1}\t{confidence:.4f}\n")
    except Exception as error:  # noqa: BLE001  # whatever it is, one line says it
        where = f" (counted from image {start})" if start else ""
        sys.exit(f"error: {' '.join(str(error).split())[:300] or type(error).__name__}{where}")
