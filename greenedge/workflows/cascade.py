"""`greenedge cascade`: one network of several trained ones, as a checkpoint that every command takes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from greenedge.cost.flops import count_costs
from greenedge.data.folders import check_replaceable
from greenedge.device.precision import RunPrecision
from greenedge.errors import DataError
from greenedge.reporting.blocks import CommandResult
from greenedge.reporting.cascade import present_cascade
from greenedge.training.cascade import (
    Member,
    build_from_members,
    cascade_info,
    check_members,
    check_order,
    join_members,
    read_member,
)
from greenedge.training.checkpoint import save_checkpoint
from greenedge.training.run_files import BEST
from greenedge.training.trained import TrainedModel, load_model, open_data
from greenedge.workflows.outputs import PassOptions, keep_outputs, kept_outputs, open_images

_log = logging.getLogger("greenedge")
_PRECISIONS: tuple[RunPrecision, ...] = ("float32", "bf16")


def cascade(runs: Sequence[str], data: Path | None, out: Path) -> CommandResult[TrainedModel]:
    """Makes one network out of several trained ones; writes best.safetensors.

    Where all members' outputs on a split are kept, so are those of the cascade, which then need not run to be swept.

    Args:
        runs: members as `training/cascade.py` reads them, from the cheapest to the dearest.
        data: the prepared data set that they were trained on; None: where the last member's config says.
        out: the new run directory.

    Raises:
        UsageError: the runs do not make a cascade, or the folder holds something else.
        CheckpointError: a run cannot be used, or does not fit the others.
    """
    target = out / BEST
    check_replaceable(out, "cascade", _is_cascade)
    members = [read_member(run) for run in runs]
    check_members(members)
    if data is not None:
        open_data(members[-1].model, data)
    made = build_from_members(members)
    cost = count_costs(made)
    check_order(members, cost)
    save_checkpoint(target, made, cascade_info(members, cost))
    model = load_model(target)
    joined = [split for split in ("calibration", "val") if _keep_joined(model, members, data, split)]
    return present_cascade(model, joined)


def _is_cascade(folder: Path) -> bool:
    return (folder / BEST).is_file() and bool(load_model(folder / BEST).members)


def _keep_joined(model: TrainedModel, members: Sequence[Member], data: Path | None, name: str) -> bool:
    """Keeps the cascade's outputs on a split where those of all members are kept; tells whether it could."""
    if not all(member.is_as_trained for member in members):
        return False
    try:
        split = open_images(model, PassOptions(data, name))
    except DataError as error:
        _log.info("%s", error)
        return False
    found = False
    for precision in _PRECISIONS:
        outputs = [kept_outputs(each.model, split, precision, each.model.path.parent) for each in members]
        known = [each for each in outputs if each is not None]
        if len(known) == len(members):
            gflops = [each.gflops for each in model.cost.exits]
            keep_outputs(join_members(known, members, gflops), model, split, precision, model.path.parent)
            found = True
    return found
