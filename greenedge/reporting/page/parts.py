"""The sections of a run below its sliders: latency, placement, calibration, confusions, images, training."""

from __future__ import annotations

import math

import numpy as np

from greenedge.reporting.blocks import Block, Table
from greenedge.reporting.diagnosis import calibration_blocks
from greenedge.reporting.names import exit_name, short_name
from greenedge.reporting.page.charts import Chart, Mark, Shape, draw
from greenedge.reporting.page.content import ReportedRun
from greenedge.reporting.page.kept import KeptBench, KeptPlacement
from greenedge.reporting.page.sections import Section

_CLASSES, _LETTERS, _PAIRS = 200, 40, 15
_DASHES = ("", " dash", " dots")
_SHAPES: tuple[Shape, ...] = ("square", "circle", "diamond")


def further_sections(run: ReportedRun) -> list[Section]:
    """Those that there is something to show in."""
    found = [_reliability(run), _confusion(run), _images(run), _training(run)]
    if run.placement is not None:
        found.insert(0, _placement(run.placement))
    if run.bench is not None:
        found.insert(0, _latency(run.bench))
    return [each for each in found if each is not None]


def _latency(bench: KeptBench) -> Section:
    rows = []
    for key, each in bench.latency.items():
        contender = bench.contenders.get(key)
        joules = bench.joules_an_image.get(key)
        times = [f"{1000 * seconds:.2f}" for seconds in (each.p50_seconds, each.p95_seconds, each.p99_seconds)]
        rows.append(
            [key if contender is None else contender.shown, *times, "" if joules is None else f"{1000 * joules:.1f}"]
        )
    headers = ["contender", "p50 (ms)", "p95 (ms)", "p99 (ms)", "J per 1,000 images"]
    return Section("latency", "How long does it take?", lead=[Table(headers, rows), bench.meter, bench.advice])


def _placement(found: KeptPlacement) -> Section:
    costs = [each.alone_gflops for each in found.blocks]
    accuracies = [100 * each.accuracy for each in found.blocks]
    chosen = [each for each in found.blocks if each.chosen]
    chart = Chart(
        "Accuracy of a classifier after each block",
        "GFLOPs of that exit alone",
        "accuracy (%)",
        [
            Mark("line", "c0", costs, accuracies),
            Mark("circle", "c0", costs, accuracies, "an exit after a block"),
            Mark(
                "square",
                "c1",
                [each.alone_gflops for each in chosen],
                [100 * each.accuracy for each in chosen],
                f"chosen: {', '.join(each.after for each in chosen)}",
            ),
            Mark("star", "c5", [found.plain_gflops], [100 * found.plain_accuracy], "backbone without exits"),
        ],
    )
    rows = [
        [each.after, f"{100 * each.accuracy:.2f}", f"{each.alone_gflops:.4f}", "*" if each.chosen else ""]
        for each in found.blocks
    ]
    sentence = (
        f"a linear classifier was fitted after each block by greenedge place and shown on {found.images} {found.split} "
        f"images; costs are those of a {found.head} head there"
    )
    table = Table(["after", "accuracy (%)", "exit alone (GFLOPs)", "chosen"], rows)
    return Section("placement", "Where do exits belong?", [draw(chart)], [sentence], [table])


def _reliability(run: ReportedRun) -> Section:
    found, exits = run.reliability, run.summary.num_exits
    marks = [Mark("line", "grey dash", [0, 100], [0, 100], "as accurate as confident")]
    rows = []
    for index in range(exits):
        some = found.images[index] > 0
        confidence, accuracy = 100 * found.confidence[index][some], 100 * found.accuracy[index][some]
        style, name = _style(index, exits), exit_name(index, exits)
        marks += [
            Mark("line", style, confidence, accuracy),
            Mark(_SHAPES[index % 3], style.split()[0], confidence, accuracy, name),
        ]
        rows += [
            [name, f"{sure:.1f}", f"{right:.1f}", int(images)]
            for sure, right, images in zip(confidence, accuracy, found.images[index][some], strict=True)
        ]
    chart = Chart("Accuracy over confidence", "confidence (%)", "accuracy (%)", marks, (0, 100), (0, 100))
    table = Table(["exit", "mean confidence (%)", "accuracy (%)", "images"], rows)
    lead = calibration_blocks(run.summary, run.diagnosis)
    if run.policy is not None and (run.policy.policy.temperatures or run.policy.policy.ensemble):
        lead.append("the figure shows what each exit goes by under the chosen policy, its temperature included")
    return Section("reliability", "Can the confidence be trusted?", [draw(chart)], lead, [table])


def _confusion(run: ReportedRun) -> Section:
    found, names = run.confusion, [short_name(each, _LETTERS) for each in run.facts.classes]
    exits = run.summary.exit_names
    pairs = found.most_confused(_PAIRS)
    rows = [[names[true], names[other], *found.counts[:, true, other].tolist()] for true, other in pairs]
    lead: list[Block] = ["The final exit confuses no classes."]
    if pairs:
        lead = [
            "The pairs of classes that the final exit confuses most, and at how many images each exit does:",
            Table(["true class", "predicted", *exits], rows),
        ]
    accuracies = found.class_accuracies()
    order = np.argsort(accuracies[-1], kind="stable")  # classes without images are NaN and come last
    shown = order[:_CLASSES].tolist()
    table = Table(
        ["class", "images", *(f"{name} (%)" for name in exits)],
        [
            [names[index], int(found.images[index]), *(_percent(each) for each in accuracies[:, index].tolist())]
            for index in shown
        ],
    )
    which = "every class" if len(shown) == len(names) else f"the {len(shown)} worst of the {len(names)} classes"
    behind: list[Block] = [f"The accuracy of each exit on {which}, the worst at the final exit first:", table]
    return Section("confusion", "Which classes are confused?", lead=lead, behind=behind)


def _images(run: ReportedRun) -> Section | None:
    if not run.galleries:
        return None
    lead = [f"Of the {run.summary.images} images of the split {run.summary.split}; each with its true class first."]
    title, moves = "Which images are easy, and which are hard?", run.summary.num_exits > 1
    return Section("images", title, lead=lead, galleries=run.galleries, moves=moves)


def _training(run: ReportedRun) -> Section | None:
    history = run.history
    if not history:
        return None
    epochs = [float(each.epoch) for each in history]
    exits, split = len(history[0].accuracy), history[0].split
    losses = [each.loss for each in history]
    loss = Chart(
        "Training loss",
        "epoch",
        "loss (nats)",
        [Mark("line", "c0", epochs, losses, "sum over the exits")],
        whole_x=True,
    )
    marks = []
    for index in range(exits):
        accuracies = [100 * each.accuracy[index] for each in history]
        style = _style(index, exits)
        name = f"{exit_name(index, exits)}, {split}"
        marks.append(Mark("line", style, epochs, accuracies, name))
        marks.append(Mark(_SHAPES[index % 3], style.split()[0], epochs, accuracies))
    accuracy = Chart(f"Accuracy on the {split} images", "epoch", "accuracy (%)", marks, whole_x=True)
    rows = [
        [each.epoch, f"{each.loss:.3f}", *(f"{100 * of_exit:.2f}" for of_exit in each.accuracy), f"{each.seconds:.0f}"]
        for each in history
    ]
    headers = ["epoch", "loss", *(f"{exit_name(index, exits)} (%)" for index in range(exits)), "seconds"]
    return Section("training", "How did the training go?", [draw(loss), draw(accuracy)], behind=[Table(headers, rows)])


def _style(index: int, exits: int) -> str:
    """A colour of an exit, and a dash that tells it from its neighbours without colour."""
    return "c0" if index == exits - 1 else f"c{1 + index % 4}{_DASHES[index % 3]}"


def _percent(share: float) -> str:
    return "" if math.isnan(share) else f"{100 * share:.1f}"
