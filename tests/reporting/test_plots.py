from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, cast

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from greenedge.exits.baselines import Advantage, FoundAdvantage
from greenedge.exits.bootstrap import Estimate, Interval
from greenedge.exits.goal import Goal
from greenedge.exits.network_comparison import Band, ComparedNetwork, Comparison
from greenedge.exits.policy import ExitPolicy, shared_policy
from greenedge.exits.policy_choice import Curve, PolicyCandidate, TuneResult
from greenedge.exits.sweep import OperatingPoint, Sweep
from greenedge.exits.sweep_result import SweepResult
from greenedge.reporting.compare_plot import plot_comparison
from greenedge.reporting.figures import new_figure, save_figure
from greenedge.reporting.names import exit_name
from greenedge.reporting.overthinking_plot import Example, plot_examples
from greenedge.reporting.sweep_plot import plot_sweep
from greenedge.reporting.threshold_plot import plot_thresholds
from greenedge.reporting.training_plot import plot_history
from greenedge.reporting.tune_plot import plot_tuning
from greenedge.training.history import HistoryRecord

NOTHING = Interval(0.0, 0.0)


def history(epochs: int, exits: int = 3, labels: Literal["true", "dominant"] = "true") -> list[HistoryRecord]:
    return [
        HistoryRecord(
            epoch=epoch,
            loss=10 / epoch,
            train_accuracy=tuple(0.12 * epoch + 0.01 * index for index in range(exits)),
            train_labels=labels,
            learning_rate=0.1,
            seconds=2.0,
            images_per_second=50.0,
            split="calibration",
            accuracy=tuple(0.1 * epoch + 0.01 * index for index in range(exits)),
        )
        for epoch in range(1, epochs + 1)
    ]


def sweep(thresholds: list[float], accuracy: list[float], gflops: list[float]) -> Sweep:
    shares = np.tile([0.5, 0.25, 0.25], (len(thresholds), 1))
    return Sweep(np.array(thresholds), np.array(accuracy), shares, np.array(gflops))


CURVE = sweep([0, 0.5, 1, 2], [0.61, 0.63, 0.55, 0.4], [0.62, 0.5, 0.4, 0.25])
CHOSEN = sweep([0.5, 1.25], [0.63, 0.52], [0.5, 0.35])


def swept(
    curve: Sweep = CURVE,
    chosen: Sweep | None = None,
    accuracies: tuple[float, ...] = (0.4, 0.5, 0.61),
    costs: tuple[float, ...] = (0.25, 0.36, 0.34),
    oracle: tuple[float, float] = (0.3, 0.75),
) -> SweepResult:
    return SweepResult(
        rule=shared_policy("entropy", None, 2),
        points=curve if chosen is None else chosen,
        curve=curve,
        area=Estimate(0.0, NOTHING),
        dominated_area=Estimate(0.0, NOTHING),
        reference_gflops=1.0,
        advantage=FoundAdvantage(Advantage(0.0, 0.3), None),
        oracle=OperatingPoint((), oracle[1], (1.0,), oracle[0]),
        exit_accuracies=accuracies,
        standalone_gflops=costs,
        num_classes=10,
    )


def candidate(curve: Curve, chosen: tuple[float, float]) -> PolicyCandidate:
    point = OperatingPoint((0.5, 0.5), chosen[1], (0.5, 0.25, 0.25), chosen[0])
    return PolicyCandidate(ExitPolicy("entropy", (0.5, 0.5)), point, point, curve, curve)


TUNED = TuneResult(
    goal=Goal(budget_gflops=0.5),
    kind="per-exit",
    candidates={
        "per-exit": candidate(Curve(np.array([0.25, 0.4, 0.6]), np.array([0.4, 0.6, 0.62])), (0.4, 0.6)),
        "shared": candidate(Curve(np.array([0.25, 0.5]), np.array([0.4, 0.61])), (0.5, 0.61)),
    },
    unreached={},
    difference=None,
)


def compared(count: int, costs: int = 3) -> Comparison:
    gflops = np.linspace(0.25, 0.5, costs)
    network = ComparedNetwork(
        accuracy=Estimate(0.66, NOTHING),
        gflops=0.5,
        area=Estimate(0.0, NOTHING),
        dominated_area=Estimate(0.0, NOTHING),
        advantage=FoundAdvantage(Advantage(0.0, 0.3), None),
        band=Band(gflops, 0.2 + gflops, gflops, 0.19 + gflops, 0.21 + gflops),
    )
    return Comparison((network,) * count, (), 0.5)


def example(seed: int, size: int = 64) -> Example:
    pixels = np.random.default_rng(seed).integers(0, 256, (3, size, size), dtype=np.uint8)
    return Example(pixels, "goldfish, Carassius auratus", "a name of very many letters, rightly", seed + 1)


FIGURES: list[Callable[[], Figure]] = [
    lambda: plot_history(history(4)),
    lambda: plot_history(history(1, exits=1)),
    lambda: plot_history(history(2, exits=11)),
    lambda: plot_sweep(swept(chosen=CHOSEN), "a network"),
    lambda: plot_sweep(swept(), "a network"),
    lambda: plot_thresholds({"a": CURVE, "b": CHOSEN}, {"a": CHOSEN}, "two networks", "nats"),
    lambda: plot_thresholds({"a": CURVE}, {}, "one network", "nats"),
    lambda: plot_sweep(swept(sweep([0], [0.5], [0.3]), None, (0.5,), (0.3,), (0.3, 0.5)), "no early exit"),
    lambda: plot_tuning(TUNED, "calibration", "val", "two frontiers"),
    lambda: plot_tuning(TUNED, "val", "val", "chosen on the images shown"),
    lambda: plot_comparison(compared(2), ["a", "b"], [0.48, 0.48], "two bands"),
    lambda: plot_comparison(compared(9), [str(n) for n in range(9)], [0.48] * 9, "more bands than colours"),
    lambda: plot_comparison(compared(1, 0), ["no band known"], [0.48], "nothing"),
]


def legend(axes: Axes) -> list[str]:
    beside = cast(Figure, axes.figure).legends  # below the axes, where it hides nothing
    found = beside[0] if beside else axes.get_legend()
    assert found is not None
    return [text.get_text() for text in found.get_texts()]


def points(axes: Axes, label: str) -> list[tuple[float, float]]:
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return [(float(x), round(float(y), 6)) for x, y in line.get_xydata()]


@pytest.mark.parametrize("figure", FIGURES)
def test_save_figure_writes_a_png_with_something_in_it(tmp_path: Path, figure: Callable[[], Figure]) -> None:
    save_figure(figure(), tmp_path / "deep" / "picture.png")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["picture.png"]
    with Image.open(tmp_path / "deep" / "picture.png") as image:
        assert image.format == "PNG"
        colours = image.convert("RGB").getcolors(maxcolors=1 << 24)
    assert colours is not None
    assert len(colours) > 20
    background = max(count for count, _ in colours)
    assert 0.5 < background / sum(count for count, _ in colours) < 0.99


LONG = "timm/tf_efficientnet_lite0 with exits after " + "blocks.5.0 (pooled), " * 6 + "head\nval, 10000 images"


@pytest.mark.parametrize(
    "figure",
    [
        lambda: plot_sweep(swept(), LONG),
        lambda: plot_tuning(TUNED, "calibration", "val", LONG),
        lambda: plot_comparison(compared(1), ["a"], [0.48], LONG),
    ],
)
def test_wrapped_title_stays_inside_the_figure(figure: Callable[[], Figure]) -> None:
    drawn = figure()
    drawn.canvas.draw()
    title = drawn.axes[0].title.get_window_extent()
    assert title.x0 >= 0
    assert title.x1 <= drawn.bbox.x1
    assert drawn.axes[0].get_title().endswith("\nval, 10000 images")


def test_plot_history_is_in_percent_by_epoch() -> None:
    figure = plot_history(history(3))
    loss, accuracy = figure.axes
    assert (loss.get_xlabel(), accuracy.get_xlabel()) == ("epoch", "epoch")
    assert "loss" in loss.get_ylabel()
    assert accuracy.get_ylabel() == "accuracy (%)"
    assert [tuple(point) for point in loss.lines[0].get_xydata()] == [(1, 10), (2, 5), (3, 10 / 3)]
    assert points(accuracy, "exit 2, calibration") == [(1, 11), (2, 21), (3, 31)]
    assert points(accuracy, "final exit, training") == [(1, 14), (2, 26), (3, 38)]
    names = [f"{exit}, {split}" for exit in ("exit 1", "exit 2", "final exit") for split in ("calibration", "training")]
    assert legend(accuracy) == names


def test_plot_history_names_dominant_labels() -> None:
    figure = plot_history(history(2, exits=1, labels="dominant"))
    assert legend(figure.axes[1]) == ["final exit, calibration", "final exit, training, dominant labels"]


def test_plot_history_has_whole_epochs() -> None:
    figure = plot_history(history(2))
    for axes in figure.axes:
        assert all(float(tick).is_integer() for tick in axes.get_xticks())


def test_plot_sweep_is_in_percent_over_gflops() -> None:
    figure = plot_sweep(swept(chosen=CHOSEN), "resnet50, val")
    (axes,) = figure.axes
    assert (axes.get_title(), axes.get_ylabel()) == ("resnet50, val", "accuracy (%)")
    assert "GFLOPs" in axes.get_xlabel()
    assert axes.get_xlim()[0] == 0
    assert points(axes, "early exit, any shared threshold") == [(0.62, 61), (0.5, 63), (0.4, 55), (0.25, 40)]
    assert points(axes, "early exit, thresholds asked for") == [(0.5, 63), (0.35, 52)]
    assert [(text.get_text(), text.xy) for text in axes.texts] == [("0.5", (0.5, 63)), ("1.25", (0.35, 52))]


def test_plot_sweep_marks_each_exit_alone_and_the_backbone() -> None:
    figure = plot_sweep(swept())
    (axes,) = figure.axes
    plain = "backbone without exits"
    assert legend(axes) == [
        "early exit, any shared threshold",
        "exit 1 alone",
        "exit 2 alone",
        plain,
        "random mix of fixed exits",
        "oracle: first correct exit",
    ]
    assert points(axes, "exit 1 alone") == [(0.25, 40)]
    assert points(axes, "exit 2 alone") == [(0.36, 50)]
    assert points(axes, plain) == [(0.34, 61)]
    assert not axes.texts


def test_plot_sweep_shows_the_oracle_and_a_random_mix_of_fixed_exits() -> None:
    figure = plot_sweep(swept())
    (axes,) = figure.axes
    assert points(axes, "oracle: first correct exit") == [(0.3, 75)]
    mix = points(axes, "random mix of fixed exits")
    assert (mix[0], mix[-1]) == ((0.25, 40), (0.62, 61))
    for cost, accuracy in mix:  # exit 2 alone is dearer and worse than the final exit alone
        expected = 40 + 21 * min(1, (cost - 0.25) / 0.09)
        assert accuracy == pytest.approx(expected, abs=1e-4)


def test_plot_tuning_is_in_percent_with_the_choice_in_its_colour() -> None:
    figure = plot_tuning(TUNED, "val", "val", "resnet18")
    (axes,) = figure.axes
    assert (axes.get_title(), axes.get_ylabel()) == ("resnet18", "accuracy (%)")
    assert "GFLOPs" in axes.get_xlabel()
    assert legend(axes) == ["per-exit, val", "shared, val", "chosen"]
    assert points(axes, "per-exit, val") == [(0.25, 40), (0.4, 60), (0.6, 62)]
    assert points(axes, "shared, val") == [(0.25, 40), (0.5, 61)]
    per_exit, first_ring, shared, second_ring = axes.lines[:4]
    assert [tuple(point) for point in first_ring.get_xydata()] == [(0.4, 60)]
    assert [tuple(point) for point in second_ring.get_xydata()] == [(0.5, 61)]
    assert first_ring.get_color() == per_exit.get_color() != shared.get_color() == second_ring.get_color()
    assert first_ring.get_fillstyle() == "none"


def test_plot_comparison_has_bands_in_the_colours_of_their_curves() -> None:
    figure = plot_comparison(compared(2), ["one", "other"], [0.48, 0.48], "val, 15 images")
    (axes,) = figure.axes
    assert (axes.get_title(), axes.get_ylabel()) == ("val, 15 images", "accuracy (%)")
    assert "GFLOPs" in axes.get_xlabel()
    assert legend(axes) == ["one", "other", "backbone without exits", "95 % of resamples: best within the cost"]
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
def test_plot_examples_shows_both_predictions_in_rows_of_six(count: int) -> None:
    examples = [example(seed) for seed in range(count)]
    figure = plot_examples(examples)
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == count
    assert len(figure.axes) == {1: 1, 6: 6, 8: 12}[count]
    for index, (axes, each) in enumerate(zip(shown, examples, strict=True)):
        np.testing.assert_array_equal(axes.images[0].get_array(), each.image.transpose(1, 2, 0))
        first, second = axes.get_title(loc="left").splitlines()
        assert first == f"exit {index + 1}: goldfish"
        assert second.startswith("final: a name of very many l")
        assert second.endswith("…")
    assert not any(axes.axison for axes in figure.axes)


def test_plot_examples_becomes_a_png(tmp_path: Path) -> None:
    save_figure(plot_examples([example(seed) for seed in range(7)]), tmp_path / "deep" / "lost.png")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["lost.png"]
    with Image.open(tmp_path / "deep" / "lost.png") as image:
        assert image.format == "PNG"
        assert image.width > 2 * image.height


def test_exit_name_calls_the_last_exit_final() -> None:
    assert [exit_name(index, 3) for index in range(3)] == ["exit 1", "exit 2", "final exit"]
    assert exit_name(0, 1) == "final exit"


def test_plot_thresholds_has_three_views_of_each_network() -> None:
    figure = plot_thresholds({"one": CURVE, "other": CHOSEN}, {"one": CHOSEN}, "title", "nats")
    by_accuracy, by_energy, both = figure.axes
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
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "other"]  # beside all three


def test_save_figure_leaves_the_old_one_where_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
