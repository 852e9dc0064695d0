"""Every kind of file that greenedge reads: a sound one, the function that reads it, and what may come out."""

from __future__ import annotations

import hashlib
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from PIL import Image

from greenedge.data.decode import decode_image
from greenedge.data.label_maps import build_label_maps, read_labels_map, read_reverse_map, write_label_map
from greenedge.data.layouts import ClassInfo
from greenedge.data.prepare import PrepareOptions, prepare
from greenedge.data.prepared import check_images, image_paths, open_prepared
from greenedge.data.seen import seen_images
from greenedge.errors import GreenedgeError
from greenedge.exits.outputs import ExitOutputs, ExpectedOutputs, load_outputs, save_outputs
from greenedge.exits.policy import ExitPolicy, SavedPolicy, read_policy, write_policy
from greenedge.models.weights import read_state_dict
from greenedge.training.checkpoint import CheckpointInfo, read_checkpoint, save_checkpoint
from greenedge.training.configs import read_config
from greenedge.training.history import read_history
from greenedge.training.state import new_state, read_state, save_state
from greenedge.workflows.labels import build_labels
from tests.conftest import REPOSITORY, write_image, write_official_layout
from tests.fuzz.mutations import BYTES, JSON, Mutation
from tests.training.helpers import tiny_network


@dataclass(frozen=True)
class Target:
    """One kind of file.

    Attributes:
        path: of a sound file, whose content is changed.
        read: reads it, and whatever it belongs to, and gives what it holds.
        mutations: that suit it.
        guarded: whether a change in place is noticed: then what is read is what was read from the sound file.
    """

    path: Path
    read: Callable[[Path], Any]
    mutations: tuple[Mutation, ...] = BYTES
    guarded: bool = False


TARGETS = (
    *(f"prepared {name}" for name in ("manifest.json", "val-paths.json", "val-labels.npy", "val-images.npy")),
    *("prepared val-digests.npy", "source wnids.txt", "source words.txt", "source val/val_annotations.txt"),
    *(
        "source zip",
        "source shard",
        "image jpeg",
        "image png",
        "image bmp",
        "image webp",
        "image ppm",
        "image tiff",
        "image gif",
    ),
    *("image png of 16 bits", "labels map", "reverse labels map"),
    *(f"pickled data set, protocol {protocol}" for protocol in (0, 2, 4, 5)),
    *("weights .pth", "weights .pth of torch 1.5", "weights .safetensors", "checkpoint", "training state"),
    *("kept outputs", "policy", "history", "config", "class list"),
)


def make_targets(base: Path) -> dict[str, Target]:
    """Writes sound files below `base`, each in a folder of its own."""
    return {
        **_prepared(base / "prepared"),
        **_sources(base / "sources"),
        **_images(base / "images"),
        **_pickles(base / "pickles"),
        **_weights(base / "weights"),
        **_results(base / "results"),
        **_texts(base / "texts"),
    }


def _prepared(base: Path) -> dict[str, Target]:
    source = write_official_layout(base / "source")
    prepare([source], base / "data", PrepareOptions(size=8))

    def read(path: Path) -> Any:
        check_images(path.parent)
        data = open_prepared(path.parent)
        return data.classes, data.image_size, [(n, s.labels.tolist(), image_paths(s)) for n, s in data.splits.items()]

    names = {"manifest.json": JSON, "val-paths.json": JSON}
    files = [*names, *(f"val-{what}.npy" for what in ("labels", "images", "digests"))]
    return {
        f"prepared {name}": Target(base / "data" / name, read, names.get(name, BYTES), guarded=True) for name in files
    }


def _prepare_and_remove(source: Path) -> Any:
    out = source.parent / "out"
    try:
        prepare([source], out, PrepareOptions(size=8))
        data = open_prepared(out)
        return {name: split.labels.tolist() for name, split in data.splits.items()}
    finally:
        left = [path for path in source.parent.iterdir() if path.name.startswith(".out")]
        shutil.rmtree(out, ignore_errors=True)
        assert not left, f"half a data set is left: {left}"


def _sources(base: Path) -> dict[str, Target]:
    base.mkdir(parents=True)
    tree = write_official_layout(base / "tree" / "official")
    small = base / "zipped" / "set.zip"
    small.parent.mkdir()
    with zipfile.ZipFile(small, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(tree.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(tree))
    texts = {name: tree / name for name in ("wnids.txt", "words.txt", "val/val_annotations.txt")}
    found = {f"source {n}": Target(path, lambda _: _prepare_and_remove(tree)) for n, path in texts.items()}
    shard = base / "sharded" / "train-0.tar"
    shard.parent.mkdir()
    with tarfile.open(shard, "w") as archive:
        for path in sorted(tree.glob("train/*/images/*")):
            archive.add(path, path.name)
            (shard.parent / "label").write_text(path.name[:3])
            archive.add(shard.parent / "label", f"{path.stem}.cls")
    (shard.parent / "label").unlink()
    archives = {"source zip": small, "source shard": shard}
    return {**found, **{name: Target(path, _prepare_and_remove) for name, path in archives.items()}}


def _images(base: Path) -> dict[str, Target]:
    found = {}
    for name in ("jpeg", "png", "bmp", "webp", "ppm", "tiff", "gif"):
        path = base / f"image.{name}"
        write_image(path, 5, size=(40, 24))
        found[f"image {name}"] = Target(path, _decode)
    grey = base / "grey16.png"
    Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100).save(grey)
    return {**found, "image png of 16 bits": Target(grey, _decode)}


def _decode(path: Path) -> Any:
    pixels = decode_image(path.read_bytes(), str(path), 16)
    assert (pixels.shape, pixels.dtype) == ((3, 16, 16), np.uint8)
    return pixels.tobytes()


def _pickles(base: Path) -> dict[str, Target]:
    base.mkdir(parents=True)
    labels_map, reverse_map = build_label_maps(["cat", "dog", "owl"])
    write_label_map(base / "labels_map.pkl", labels_map)
    write_label_map(base / "reverse.pkl", reverse_map)
    random = np.random.default_rng(0)
    found = {
        "labels map": Target(base / "labels_map.pkl", read_labels_map),
        "reverse labels map": Target(base / "reverse.pkl", read_reverse_map),
    }
    for protocol in (0, 2, 4, 5):
        folder = base / f"protocol-{protocol}"
        folder.mkdir()
        images = [random.integers(0, 256, (9, 7, 3), dtype=np.uint8) for _ in range(4)]
        content = {"images": images, "labels": [0, 1, np.int64(0), 1]}
        (folder / "train.pkl").write_bytes(pickle.dumps(content, protocol))
        found[f"pickled data set, protocol {protocol}"] = Target(folder / "train.pkl", _prepare_and_remove)
    return found


def _weights(base: Path) -> dict[str, Target]:
    base.mkdir(parents=True)
    network = tiny_network()
    state = dict(network.state_dict())
    torch.save(state, base / "new.pth")
    torch.save(state, base / "old.pth", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(state, base / "plain.safetensors")
    classes = (ClassInfo("n01", "goldfish"), ClassInfo("n02", "bullfrog"))
    split = open_prepared(base.parent / "prepared" / "data").split("train")
    text = (REPOSITORY / "configs" / "quickstart.yaml").read_text()
    save_checkpoint(base / "best.safetensors", network, CheckpointInfo(text, classes, 3, 64, seen_images(split, split)))

    state_path = base / "last.state.pt"
    save_state(state_path, new_state(network, torch.optim.SGD(network.parameters(), 0.1, 0.9), 0.9, "data"))
    return {
        "weights .pth": Target(base / "new.pth", _state_dict),
        "weights .pth of torch 1.5": Target(base / "old.pth", _state_dict),
        "weights .safetensors": Target(base / "plain.safetensors", _state_dict),
        "checkpoint": Target(base / "best.safetensors", _checkpoint, JSON, guarded=True),
        "training state": Target(state_path, lambda path: _digest(read_state(path)), guarded=True),
    }


def _state_dict(path: Path) -> Any:
    state = read_state_dict(path)
    assert all(torch.isfinite(tensor).all() for tensor in state.values()), "tensors that are not finite"
    return _digest(state)


def _checkpoint(path: Path) -> Any:
    checkpoint = read_checkpoint(path)
    info = asdict(checkpoint.info)
    return (
        repr({**info, "seen": None}),
        checkpoint.info.seen and checkpoint.info.seen.trained.tolist(),
        _digest(checkpoint.tensors),
    )


def _digest(content: Any) -> str:
    if isinstance(content, torch.Tensor):
        return hashlib.sha256(content.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()
    if isinstance(content, dict):
        return repr({key: _digest(value) for key, value in content.items()})
    if isinstance(content, list | tuple):
        return repr([_digest(value) for value in content])
    return repr(content)


def _results(base: Path) -> dict[str, Target]:
    base.mkdir(parents=True)
    random = np.random.default_rng(0)
    outputs = ExitOutputs(
        random.normal(size=(3, 10, 4)).astype(np.float32), random.integers(0, 4, 10), np.array([0.5, 1, 2])
    )
    expected = ExpectedOutputs(outputs.labels, outputs.gflops, 4)
    save_outputs(base / "outputs.npz", outputs, "source")
    exits = ("layer1", "layer2", "fc")
    write_policy(base / "policy.json", SavedPolicy(ExitPolicy("entropy", (0.5, 1.0)), exits, "abc", {"goal": "x"}))
    sound = '{{"epoch": {n}, "loss": 1.5, "train_accuracy": [0.1, 0.2], "train_labels": "true", "learning_rate": 0.1, '
    sound += '"seconds": 2.5, "images_per_second": 9.5, "split": "val", "accuracy": [0.1, 0.2]}}\n'
    (base / "history.jsonl").write_text("".join(sound.format(n=n) for n in (1, 2, 3)))

    def read_outputs(path: Path) -> Any:
        try:
            found = load_outputs(path, "source", expected)
        except ValueError as error:
            raise GreenedgeError(str(error)) from None  # the caller says it and runs the network again
        return None if found is None else found.logits.tobytes()

    return {
        "kept outputs": Target(base / "outputs.npz", read_outputs, guarded=True),
        "policy": Target(base / "policy.json", lambda path: read_policy(path, exits, "abc"), JSON, guarded=True),
        "history": Target(base / "history.jsonl", _history, JSON),
    }


def _history(path: Path) -> Any:
    records = read_history(path)
    assert [record.epoch for record in records] == list(range(1, len(records) + 1))
    return records


def _texts(base: Path) -> dict[str, Target]:
    base.mkdir(parents=True)
    shutil.copy(REPOSITORY / "configs" / "quickstart.yaml", base / "config.yaml")
    (base / "classes.txt").write_text("cat\ndog\nowl\n10\n")

    def build(path: Path) -> Any:
        try:
            return build_labels(path, path.parent / "maps")
        finally:
            shutil.rmtree(path.parent / "maps", ignore_errors=True)

    return {
        "config": Target(base / "config.yaml", lambda path: repr(read_config(path))),
        "class list": Target(base / "classes.txt", build),
    }
