from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from greenedge.exits.sweep import Sweep
from greenedge.reporting import (
    band_plot,
    frontier_plot,
    models_plot,
    overthinking_plot,
    sweep_plot,
    training_plot,
)
from greenedge.reporting.band_plot import Band, draw_bands
from greenedge.reporting.figures import new_figure, save_figure
from greenedge.reporting.frontier_plot import ChosenPoint, draw_frontiers
from greenedge.reporting.models_plot import draw_models
from greenedge.reporting.names import exit_name
from greenedge.reporting.overthinking_plot import Example, draw_examples
from greenedge.reporting.sweep_plot import ReferenceMarks, draw_sweep
from greenedge.reporting.training_plot import draw_history

MARKS = ReferenceMarks(gflops=(0.25, 0.36, 0.34), accuracy=(0.4, 0.5, 0.61), plain_gflops=0.33, oracle=(0.3, 0.75))


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
FRONTS = {
    "per-exit, val": (np.array([0.25, 0.4, 0.6]), np.array([0.4, 0.6, 0.62])),
    "shared, val": (np.array([0.25, 0.5]), np.array([0.4, 0.61])),
}
RINGS = [ChosenPoint("shared, val", 0.5, 0.61), ChosenPoint("per-exit, val", 0.4, 0.6)]


def band(name: str, costs: int = 3) -> Band:
    gflops = np.linspace(0.25, 0.5, costs)
    return Band(name, gflops, 0.2 + gflops, gflops, 0.19 + gflops, 0.21 + gflops, (0.48, 0.66))


def example(seed: int, size: int = 64) -> Example:
    pixels = np.random.default_rng(seed).integers(0, 256, (3, size, size), dtype=np.uint8)
    return Example(pixels, "goldfish, Carassius auratus", "a name of very many letters, rightly", seed + 1)


DRAWINGS: list[Callable[[Path], None]] = [
    lambda path: draw_history(history(4), path),
    lambda path: draw_history(history(1, exits=1), path),
    lambda path: draw_history(history(2, exits=11), path),
    lambda path: draw_sweep(CURVE, CHOSEN, MARKS, "a network", path),
    lambda path: draw_sweep(CURVE, None, MARKS, "a network", path),
    lambda path: draw_models({"a": CURVE, "b": CHOSEN}, {"a": CHOSEN}, "two networks", "nats", path),
    lambda path: draw_models({"a": CURVE}, {}, "one network", "nats", path),
    lambda path: draw_sweep(
        sweep([0], [0.5], [0.3]), None, ReferenceMarks((0.3,), (0.5,), 0.3, (0.3, 0.5)), "plain", path
    ),
    lambda path: draw_frontiers(FRONTS, RINGS, "two fronts", path),
    lambda path: draw_frontiers({"one": (np.array([0.3]), np.array([0.5]))}, [], "a single point", path),
    lambda path: draw_bands([band("a"), band("b", 10)], "two bands", path),
    lambda path: draw_bands([band(str(number), number + 1) for number in range(9)], "more bands than colours", path),
    lambda path: draw_bands([band("no band known", 0)], "nothing", path),
]


def legend(axes: Axes) -> list[str]:
    beside = cast(Figure, axes.figure).legends  # below the axes, where it hides nothing
    found = beside[0] if beside else axes.get_legend()
    assert found is not None
    return [text.get_text() for text in found.get_texts()]


def points(axes: Axes, label: str) -> list[tuple[float, float]]:
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return [(float(x), round(float(y), 6)) for x, y in line.get_xydata()]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that would have been written."""
    figures: list[Figure] = []
    for module in (training_plot, sweep_plot, models_plot, frontier_plot, band_plot, overthinking_plot):
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
    assert legend(axes) == [
        "early exit, any shared threshold",
        "exit 1 alone",
        "exit 2 alone",
        plain,
        "fixed exits, by lot",
        "oracle: the first right exit",
    ]
    assert points(axes, "exit 1 alone") == [(0.25, 40)]
    assert points(axes, "exit 2 alone") == [(0.36, 50)]
    assert points(axes, plain) == [(0.33, 61)]
    assert not axes.texts


def test_an_oracle_and_fixed_exits_by_lot_are_drawn(drawn: list[Figure]) -> None:
    draw_sweep(CURVE, None, MARKS, "", Path("unused.png"))
    (axes,) = drawn[0].axes
    assert points(axes, "oracle: the first right exit") == [(0.3, 75)]
    mix = points(axes, "fixed exits, by lot")
    assert (mix[0], mix[-1]) == ((0.25, 40), (0.62, 61))
    for cost, accuracy in mix:  # exit 2 alone is dearer and worse than the final exit alone
        expected = 40 + 21 * min(1, (cost - 0.25) / 0.09)
        assert accuracy == pytest.approx(expected, abs=1e-4)


def test_fronts_are_drawn_in_percent_and_what_was_chosen_in_their_colours(drawn: list[Figure]) -> None:
    draw_frontiers(FRONTS, RINGS, "resnet18", Path("unused.png"))
    (axes,) = drawn[0].axes
    assert (axes.get_title(), axes.get_ylabel()) == ("resnet18", "accuracy (%)")
    assert "GFLOPs" in axes.get_xlabel()
    assert legend(axes) == ["per-exit, val", "shared, val", "chosen"]
    assert points(axes, "per-exit, val") == [(0.25, 40), (0.4, 60), (0.6, 62)]
    assert points(axes, "shared, val") == [(0.25, 40), (0.5, 61)]
    per_exit, shared, first_ring, second_ring = axes.lines[:4]
    assert [tuple(point) for point in first_ring.get_xydata()] == [(0.5, 61)]
    assert [tuple(point) for point in second_ring.get_xydata()] == [(0.4, 60)]
    assert first_ring.get_color() == shared.get_color() != per_exit.get_color() == second_ring.get_color()
    assert first_ring.get_fillstyle() == "none"


def test_bands_are_drawn_in_percent_each_in_the_colour_of_its_curve(drawn: list[Figure]) -> None:
    draw_bands([band("one"), band("other")], "val, 15 images", Path("unused.png"))
    (axes,) = drawn[0].axes
    assert (axes.get_title(), axes.get_ylabel()) == ("val, 15 images", "accuracy (%)")
    assert "GFLOPs" in axes.get_xlabel()
    assert legend(axes) == ["one", "other", "plain network", "95 % of resamples: best within the cost"]
    assert points(axes, "one") == [(0.25, 45), (0.375, 57.5), (0.5, 70)]
    one, first_star, other, second_star = axes.lines[:4]
    assert [tuple(point) for point in first_star.get_xydata()] == [(0.48, 66)]
    assert one.get_color() == first_star.get_color() != other.get_color() == second_star.get_color()
    area = axes.collections[0]
    assert to_hex(area.get_facecolor()[0]).upper() == one.get_color()
    assert 0 < area.get_facecolor()[0][3] < 0.5  # what lies behind shows
    corners = {(round(float(x), 6), round(float(y), 6)) for x, y in area.get_paths()[0].vertices}
    assert {(0.25, 44), (0.25, 46), (0.375, 56.5), (0.375, 58.5), (0.5, 69), (0.5, 71)} <= corners


@pytest.mark.parametrize("count", [1, 6, 8])
def test_lost_images_are_shown_with_both_answers_in_rows_of_six(drawn: list[Figure], count: int) -> None:
    examples = [example(seed) for seed in range(count)]
    draw_examples(examples, Path("unused.png"))
    shown = [axes for axes in drawn[0].axes if axes.images]
    assert len(shown) == count
    assert len(drawn[0].axes) == {1: 1, 6: 6, 8: 12}[count]
    for index, (axes, each) in enumerate(zip(shown, examples, strict=True)):
        np.testing.assert_array_equal(axes.images[0].get_array(), each.image.transpose(1, 2, 0))
        first, second = axes.get_title(loc="left").splitlines()
        assert first == f"exit {index + 1}: goldfish"
        assert second.startswith("final: a name of very many l")
        assert second.endswith("…")
    assert not any(axes.axison for axes in drawn[0].axes)


def test_lost_images_become_a_png(tmp_path: Path) -> None:
    draw_examples([example(seed) for seed in range(7)], tmp_path / "deep" / "lost.png")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["lost.png"]
    with Image.open(tmp_path / "deep" / "lost.png") as image:
        assert image.format == "PNG"
        assert image.width > 2 * image.height


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
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["one", "other"]  # beside all three


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
