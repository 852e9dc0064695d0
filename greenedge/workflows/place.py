"""`greenedge place`: where exits belong in a trained backbone, and a config that trains their heads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from greenedge.config import config_to_text
from greenedge.config.describe import model_summary
from greenedge.data.prepared import PreparedData, PreparedSplit
from greenedge.data.run_splits import open_named_split
from greenedge.data.splits import take_fraction
from greenedge.data.unseen import check_unseen
from greenedge.errors import UsageError
from greenedge.exits.placement import Placement, check_enough_images, place_exits
from greenedge.exits.placement_scores import PlacementGoal
from greenedge.files import write_text
from greenedge.reporting.blocks import CommandResult, with_sentence, write_result
from greenedge.reporting.placement import PlacementSummary, present_placement
from greenedge.training.candidates import candidate_network, heads_config
from greenedge.training.probing import probe_candidates
from greenedge.training.run_files import checkpoint_path
from greenedge.training.trained import TrainedModel, load_model, open_data

NAME = "place"
_KEPT = "place-features"


@dataclass(frozen=True)
class PlaceOptions:
    """How exits are placed.

    Attributes:
        goal: what they are placed for.
        images: training images that probes are fitted on, drawn evenly from the classes.
        head: a name in `EXIT_HEADS`, whose cost an exit has.
    """

    goal: PlacementGoal
    images: int = 15_000
    head: str = "pooled"


def place(weights: Path, data: Path | None, options: PlaceOptions, out: Path | None) -> CommandResult[Placement]:
    """Chooses the blocks that exits should come after; writes place.json, .csv, .png and .yaml.

    Args:
        weights: a run directory or a checkpoint; its own exits are left out.
        data: a prepared data set; None: the one trained on.
        options: the goal, and how it is looked for.
        out: folder for the results; None: the checkpoint's.

    Raises:
        GreenedgeError: the checkpoint, the data or the options cannot be used, or nothing keeps within the budget.
    """
    path = checkpoint_path(weights)
    model = load_model(path)
    if model.members:
        raise UsageError(f"{path}: is a cascade; place exits in one of the runs that it was made of")
    prepared = open_data(model, data)
    train, calibration = (_split(model, prepared, name, named=data is not None) for name in ("train", "calibration"))
    few = take_fraction(train, min(1.0, options.images / len(train)))
    network = candidate_network(model, options.head)

    folder = out or path.parent
    candidates = probe_candidates(model, network, few, calibration, folder / _KEPT)
    found = place_exits(candidates, options.goal)

    summary = PlacementSummary(
        model_summary(replace(model.config.model, exits=())),
        model.epoch,
        len(few),
        calibration.name,
        len(calibration),
        options.head,
    )
    result = write_result(present_placement(summary, found), folder, NAME)
    config = folder / f"{NAME}.yaml"
    text = config_to_text(heads_config(model, weights, prepared.path, found.names(found.chosen), options.head))
    write_text(config, f"# greenedge train --config {config} --out RUN\n{text}")
    return with_sentence(result, f"config that trains the heads: {config}; features are kept in {folder / _KEPT}")


def _split(model: TrainedModel, prepared: PreparedData, name: str, *, named: bool) -> PreparedSplit:
    """The images of that name, of which the network has seen those that it should have, and enough of them.

    Raises:
        UsageError: there are too few.
        DataError: they are not what their name says.
    """
    split = open_named_split(prepared, name, model.config.data)
    if name == "calibration":  # before the network runs over them
        check_enough_images(len(split), f"{prepared.path}: ")
    check_unseen(split, model.seen, model.path, prepared.path, named=named)
    return split
