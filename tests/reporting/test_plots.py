from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from greenedge.exits.sweep import Sweep
from greenedge.reporting import models_plot, sweep_plot, training_plot
from greenedge.reporting.figures import exit_name, new_figure, save_figure
from greenedge.reporting.models_plot import draw_models
from greenedge.reporting.sweep_plot import ReferenceMarks, draw_sweep
from greenedge.reporting.training_plot import draw_history

MARKS = ReferenceMarks(gflops=(0.25, 0.36, 0.34), accuracy=(0.4, 0.5, 0.61), plain_gflops=0.33)


def history(epochs: int, exits: int = 3, labels: str = "own") -> list[dict[str, Any]]:
    return [
        {
            "epoch": epoch,
            "loss": 10 / epoch,
            "split": "calibration",
            "accuracy": [0.1 * epoch + 0.01 * index for index in range(exits)],
            "train_accuracy": [0.12 * epoch + 0.01 * index for index in range(exits)],
            "train_labels": labels,
        }
        for epoch in range(1, epochs + 1)
    ]


def sweep(thresholds: list[float], accuracy: list[float], gflops: list[float]) -> Sweep:
    shares = np.tile([0.5, 0.25, 0.25], (len(thresholds), 1))
    return Sweep(np.array(thresholds), np.array(accuracy), shares, np.array(gflops))


CURVE = sweep([0, 0.5, 1, 2], [0.61, 0.63, 0.55, 0.4], [0.62, 0.5, 0.4, 0.25])
CHOSEN = sweep([0.5, 1.25], [0.63, 0.52], [0.5, 0.35])

DRAWINGS: list[Callable[[Path], None]] = [
    lambda path: draw_history(history(4), path),
    lambda path: draw_history(history(1, exits=1), path),
    lambda path: draw_history(history(2, exits=11), path),
    lambda path: draw_sweep(CURVE, CHOSEN, MARKS, "a network", path),
    lambda path: draw_sweep(CURVE, None, MARKS, "a network", path),
    lambda path: draw_models({"a": CURVE, "b": CHOSEN}, {"a": CHOSEN}, "two networks", "nats", path),
    lambda path: draw_models({"a": CURVE}, {}, "one network", "nats", path),
    lambda path: draw_sweep(sweep([0], [0.5], [0.3]), None, ReferenceMarks((0.3,), (0.5,), 0.3), "plain", path),
]


def legend(axes: Axes) -> list[str]:
    found = axes.get_legend()
    assert found is not None
    return [text.get_text() for text in found.get_texts()]


def points(axes: Axes, label: str) -> list[tuple[float, float]]:
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return [(float(x), round(float(y), 6)) for x, y in line.get_xydata()]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that would have been written."""
    figures: list[Figure] = []
    for module in (training_plot, sweep_plot, models_plot):
        monkeypatch.setattr(module, "save_figure", lambda figure, _: figures.append(figure))
    return figures


@pytest.mark.parametrize("draw", DRAWINGS)
def test_a_picture_is_a_png_with_something_in_it(tmp_path: Path, draw: Callable[[Path], None]) -> None:
    draw(tmp_path / "deep" / "picture.png")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["picture.png"]
    with Image.open(tmp_path / "deep" / "picture.png") as image:
        assert image.format == "PNG"
        colours = image.convert("RGB").getcolors(maxcolors=1 << 24)
    assert colours is not None
    assert len(colours) > 20
    background = max(count for count, _ in colours)
    assert 0.5 < background / sum(count for count, _ in colours) < 0.99


def test_a_training_is_drawn_in_percent_by_epoch(drawn: list[Figure]) -> None:
    draw_history(history(3), Path("unused.png"))
    loss, accuracy = drawn[0].axes
    assert (loss.get_xlabel(), accuracy.get_xlabel()) == ("epoch", "epoch")
    assert "loss" in loss.get_ylabel()
    assert accuracy.get_ylabel() == "accuracy (%)"
    assert [tuple(point) for point in loss.lines[0].get_xydata()] == [(1, 10), (2, 5), (3, 10 / 3)]
    assert points(accuracy, "exit 2, calibration") == [(1, 11), (2, 21), (3, 31)]
    assert points(accuracy, "final exit, training") == [(1, 14), (2, 26), (3, 38)]
    names = [f"{exit}, {split}" for exit in ("exit 1", "exit 2", "final exit") for split in ("calibration", "training")]
    assert legend(accuracy) == names


def test_mixed_labels_are_said_to_be_the_dominant_ones(drawn: list[Figure]) -> None:
    draw_history(history(2, exits=1, labels="dominant"), Path("unused.png"))
    assert legend(drawn[0].axes[1]) == ["final exit, calibration", "final exit, training, dominant labels"]


def test_epochs_are_whole_numbers(drawn: list[Figure]) -> None:
    draw_history(history(2), Path("unused.png"))
    for axes in drawn[0].axes:
        assert all(float(tick).is_integer() for tick in axes.get_xticks())


def test_a_sweep_is_drawn_in_percent_over_gflops(drawn: list[Figure]) -> None:
    draw_sweep(CURVE, CHOSEN, MARKS, "resnet50, val", Path("unused.png"))
    (axes,) = drawn[0].axes
    assert (axes.get_title(), axes.get_ylabel()) == ("resnet50, val", "accuracy (%)")
    assert "GFLOPs" in axes.get_xlabel()
    assert axes.get_xlim()[0] == 0
    assert points(axes, "early exit, any shared threshold") == [(0.62, 61), (0.5, 63), (0.4, 55), (0.25, 40)]
    assert points(axes, "early exit, thresholds asked for") == [(0.5, 63), (0.35, 52)]
    assert [(text.get_text(), text.xy) for text in axes.texts] == [("0.5", (0.5, 63)), ("1.25", (0.35, 52))]


def test_each_exit_alone_and_the_plain_network_are_marked(drawn: list[Figure]) -> None:
    draw_sweep(CURVE, None, MARKS, "", Path("unused.png"))
    (axes,) = drawn[0].axes
    plain = "plain network: final exit alone, no other head"
    assert legend(axes) == ["early exit, any shared threshold", "exit 1 alone", "exit 2 alone", plain]
    assert points(axes, "exit 1 alone") == [(0.25, 40)]
    assert points(axes, "exit 2 alone") == [(0.36, 50)]
    assert points(axes, plain) == [(0.33, 61)]
    assert not axes.texts


def test_the_last_exit_is_called_final() -> None:
    assert [exit_name(index, 3) for index in range(3)] == ["exit 1", "exit 2", "final exit"]
    assert exit_name(0, 1) == "final exit"


def test_several_networks_are_shown_against_the_threshold_and_against_each_other(drawn: list[Figure]) -> None:
    draw_models({"one": CURVE, "other": CHOSEN}, {"one": CHOSEN}, "title", "nats", Path("unused.png"))
    by_accuracy, by_energy, both = drawn[0].axes
    for axes, x, y in [
        (by_accuracy, "thresholds", "accuracy"),
        (by_energy, "thresholds", "gflops"),
        (both, "gflops", "accuracy"),
    ]:
        lines = axes.get_lines()
        assert lines[0].get_color() == lines[1].get_color() != lines[2].get_color()
        for line, what in zip(lines, (CURVE, CHOSEN, CHOSEN), strict=True):
            expected = [getattr(what, name) * (100 if name == "accuracy" else 1) for name in (x, y)]
            np.testing.assert_allclose(line.get_xydata(), np.column_stack(expected))
        assert "nats" in axes.get_xlabel() or "GFLOPs" in axes.get_xlabel()
    assert legend(both) == ["one", "other"]


def test_a_picture_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")

    def fill_the_disk(_: Figure, target: Path, **__: object) -> None:
        target.write_bytes(b"half a picture")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Figure, "savefig", fill_the_disk)
    for target in (path, tmp_path / "new.png"):
        with pytest.raises(OSError, match="No space left"):
            save_figure(new_figure(2, 2), target)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
