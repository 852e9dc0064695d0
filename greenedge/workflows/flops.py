"""`greenedge flops`: what every exit of a config costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from greenedge.cost.flops import count_costs
from greenedge.cost.table import NetworkCost
from greenedge.data.prepared import MANIFEST, open_prepared
from greenedge.files import write_json
from greenedge.reporting.names import exit_name
from greenedge.reporting.tables import format_table, write_csv
from greenedge.workflows.build import build_model, complete_config
from greenedge.workflows.configs import read_config
from greenedge.workflows.report import Report
from greenedge.workflows.trained import model_summary

_DEFAULT_CLASSES = 200  # TinyImageNet's


def count_config(
    config_path: Path,
    overrides: Sequence[str],
    num_classes: int | None,
    out: Path | None,
    say: Callable[[str], None],
) -> Report:
    """Counts the network of a config; no data and no weights are needed.

    Args:
        config_path: the config.
        overrides: texts like `data.image_size=128`.
        num_classes: outputs; None: those of the config's data set where it exists, else 200.
        out: a folder for flops.json and flops.csv; None: write nothing.
        say: told what is assumed.

    Raises:
        GreenedgeError: the config cannot be used.
    """
    config = read_config(config_path, overrides)
    path = Path(config.data.path)
    if (path / MANIFEST).is_file():
        config = complete_config(config, say)
        num_classes = num_classes or len(open_prepared(path).classes)
    elif num_classes is None:
        num_classes = _DEFAULT_CLASSES
        say(f"note: {path} holds no prepared data set, so {num_classes} classes are assumed; --classes says otherwise")
    cost = count_costs(build_model(config, num_classes))
    heads = [*(exit.head.name for exit in config.model.exits), "final"]
    exits = [
        {"after": each.after, "head": head, **dataclasses.asdict(each)}
        for each, head in zip(cost.exits, heads, strict=True)
    ]
    result = {
        "exits": exits,
        "plain_gflops": cost.plain_gflops,
        "plain_parameters": cost.plain_parameters,
        "uncounted": cost.uncounted,
        "image_size": config.data.input_size,
        "classes": num_classes,
    }
    if out is not None:
        write_json(out / "flops.json", result)
        write_csv(out / "flops.csv", list(exits[0]), [list(each.values()) for each in exits])
    title = f"{model_summary(config.model)}; {config.data.input_size} px, {num_classes} classes"
    return Report(f"{title}\n{_table(cost, heads)}", result)


def _table(cost: NetworkCost, heads: Sequence[str]) -> str:
    rows: list[list[object]] = [
        [
            exit_name(index, len(heads)),
            each.after,
            head,
            f"{each.trunk_gflops:.4f}",
            f"{each.head_gflops:.4f}",
            f"{each.gflops:.4f}",
            f"{each.alone_gflops:.4f}",
            f"{each.parameters:,}",
        ]
        for index, (each, head) in enumerate(zip(cost.exits, heads, strict=True))
    ]
    plain = f"{cost.plain_gflops:.4f}"
    rows.append(["plain network", cost.exits[-1].after, "final", "", "", plain, plain, f"{cost.plain_parameters:,}"])
    headers = ["exit", "after", "head", "trunk", "own head", "GFLOPs", "alone", "parameters"]
    lines = [
        format_table(headers, rows),
        "GFLOPs of one image (fvcore; one multiply-add is 1). trunk: blocks since the exit before; GFLOPs and "
        "parameters: cumulative, all heads so far included; alone: without the earlier heads.",
    ]
    if cost.uncounted:
        names = ", ".join(f"{name.removeprefix('aten::')} ({count})" for name, count in cost.uncounted.items())
        lines.append(f"fvcore has no count for: {names}; they are not in the numbers.")
    return "\n".join(lines)
