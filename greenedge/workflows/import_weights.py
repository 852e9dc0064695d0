"""`greenedge import-weights`: from a weight file of the paper's authors to a checkpoint."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from greenedge.config import config_to_text
from greenedge.config.describe import model_summary
from greenedge.data.prepared import open_prepared
from greenedge.errors import CheckpointError, UsageError
from greenedge.models.build import build_model
from greenedge.models.paper import PUBLISHED_CLASSES, translate_published
from greenedge.models.weights import read_state_dict
from greenedge.training.checkpoint import CheckpointInfo, load_into, save_checkpoint
from greenedge.training.configs import parse_config

_CONFIG = """\
data: {{path: {data}, image_size: {image_size}, calibration_per_class: 0}}
model:
  backbone: {backbone}
  exits: [{{after: layer1, head: paper}}, {{after: layer3, head: paper}}]
train: {{epochs: 1}}
sweep: {{criterion: entropy, thresholds: [0, 0.63, 1.26, 2, 2.63, 3.26, 3.9]}}
"""


def import_weights(weights: Path, data: Path, out: Path) -> list[str]:
    """Writes a checkpoint on which `eval` and `sweep` work.

    Args:
        weights: a state dict of `EarlyExitCustomNet64` or `EarlyExitCustomNet128`.
        data: a prepared data set, whose classes, in their order, are those of the logits.
        out: the checkpoint to write, a .safetensors file.

    Raises:
        GreenedgeError: the weights or the data set cannot be used; nothing is written.
    """
    if out.suffix != ".safetensors":
        raise UsageError(f"{out}: a checkpoint's name ends in .safetensors")
    if out.exists():
        raise UsageError(f"{out}: exists already; choose another --out, or remove it first")
    state = read_state_dict(weights)
    try:
        published = translate_published(state)
    except CheckpointError as error:
        raise CheckpointError(f"{weights}: {error}") from None
    prepared = open_prepared(data)
    classes, stored_size = prepared.classes, prepared.split("val").image_size
    text = _CONFIG.format(data="placeholder", image_size=published.image_size, backbone=published.backbone)
    config = parse_config(text, str(weights), [f"data.path={data}"])
    if len(classes) != PUBLISHED_CLASSES:
        raise CheckpointError(f"{weights}: has {PUBLISHED_CLASSES} classes, {data} has {len(classes)}")
    network = build_model(config, PUBLISHED_CLASSES)
    load_into(network, published.tensors, weights)
    save_checkpoint(out, network, CheckpointInfo(config_to_text(config), classes, 0, stored_size))
    network_name = f"{model_summary(config.model)} for {published.image_size} px"
    return [f"{out}: {network_name}; next: greenedge sweep --weights {quote(str(out))}"]
