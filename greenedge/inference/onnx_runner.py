"""Answers images with what `greenedge export --format onnx` wrote; needs numpy and onnxruntime alone.

`python runner.py FOLDER IMAGES.npy` reads float32 (N, 3, S, S), normalised as manifest.json says (pixels in [0, 1],
less mean, over std), and prints a line for each image: class, exit (from 1) and confidence, parted by tabs.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime


@dataclass(frozen=True)
class Answers:
    """What the network said of N images, in their order."""

    predictions: np.ndarray  # int64 (N,), class indices
    exits: np.ndarray  # int64 (N,), counted from 0
    confidence: np.ndarray  # float32 (N,), the largest probability, temperatures applied
    gflops: np.ndarray  # float64 (N,), spent on each image
    logits: np.ndarray  # float32 (N, C)


class Runner:
    """Runs the segments of an export folder one after the other; only images that have not left go on to the next."""

    def __init__(self, folder: str | Path) -> None:
        folder, cpu = Path(folder), ["CPUExecutionProvider"]
        texts = [(folder / name).read_text(encoding="utf-8") for name in ("manifest.json", "policy.json")]
        self.manifest, self.policy = map(json.loads, texts)
        if (self.manifest.get("format"), self.manifest.get("kind")) != ("greenedge-export/1", "onnx"):
            raise ValueError(f"{folder}: is no export of greenedge in ONNX")
        exits, thresholds = self.manifest["exits"], self.policy["thresholds"]
        if self.policy["exits"] != [each["after"] for each in exits] or len(thresholds) != len(exits) - 1:
            raise ValueError(f"{folder}: policy.json is for a network with other exits")
        self.sign = 1 if self.manifest["leaves_below"][self.policy["criterion"]] else -1  # turned: smaller is surer
        self.limits = [*(self.sign * threshold for threshold in thresholds), np.inf]
        self.temperatures = np.array(self.policy["temperatures"] or [1] * len(exits), dtype=np.float32)
        self.gflops = np.array([each["gflops"] for each in exits])
        self.sessions = [onnxruntime.InferenceSession(folder / each["file"], providers=cpu) for each in exits]

    def answer(self, images: np.ndarray) -> Answers:
        """Answers normalised images, float32 (N, 3, S, S); anything else is a ValueError."""
        side = self.manifest["image_size"]
        if images.shape[1:] != (3, side, side) or images.size == 0 or images.dtype != np.float32:
            raise ValueError(f"images must be float32 (N, 3, {side}, {side}), found {images.dtype} {images.shape}")
        if not (finite := np.isfinite(images).all(axis=(1, 2, 3))).all():
            raise ValueError(f"image {finite.argmin()} holds pixels that are NaN or infinite; mend or leave it out")
        features, waiting, memory, parts = images, np.arange(len(images)), None, []
        for index, (session, limit) in enumerate(zip(self.sessions, self.limits, strict=True)):
            *handed_on, logits = session.run(None, {"features": features})
            scores, memory = _scores(self.policy["criterion"], logits / self.temperatures[index], memory)
            leaves = (self.sign * scores.astype(np.float64) < limit) | np.isinf(limit)
            parts.append((waiting[leaves], np.full(leaves.sum(), index), logits[leaves]))
            if leaves.all():
                break
            features, waiting = handed_on[0][~leaves], waiting[~leaves]
            memory = None if memory is None else memory[:, ~leaves]
        places, *columns = (np.concatenate(column) for column in zip(*parts, strict=True))
        exits, logits = (column[places.argsort()] for column in columns)
        confidence = np.exp(_log_softmax(logits / self.temperatures[exits, None]).max(axis=1))
        return Answers(logits.argmax(axis=1), exits, confidence, self.gflops[exits], logits)


def _scores(criterion: str, logits: np.ndarray, memory: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """How sure each image is, and, for patience, its answer and how many exits in a row gave it, int64 (2, N)."""
    if criterion == "patience":
        answer = logits.argmax(axis=1)
        run = np.ones_like(answer) if memory is None else np.where(answer == memory[0], memory[1] + 1, 1)
        return run, np.stack([answer, run])
    p = np.exp(log_p := _log_softmax(logits))
    if criterion in ("entropy", "normalised_entropy"):
        entropy = -(p * log_p).sum(axis=1)
        return (entropy if criterion == "entropy" else entropy / np.float32(np.log(p.shape[1]))), None
    second, first = np.sort(p, axis=1)[:, -2:].T
    return (first if criterion == "max_probability" else first - second), None


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


if __name__ == "__main__":
    start = 0 if len(sys.argv) == 3 else sys.exit("usage: python runner.py FOLDER IMAGES.npy")
    try:
        runner, images = Runner(sys.argv[1]), np.atleast_1d(np.load(sys.argv[2], mmap_mode="r"))
        for start in range(0, max(len(images), 1), 64):
            found = runner.answer(images[start : start + 64])
            for index, exit_index, sure in zip(found.predictions, found.exits, found.confidence, strict=True):
                sys.stdout.write(f"{runner.manifest['classes'][index]['id']}\t{exit_index + 1}\t{sure:.4f}\n")
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"error: {error}" + (f" (counted from image {start})" if start else ""))
