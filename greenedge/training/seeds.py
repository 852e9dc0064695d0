"""Seeds: a separate one for each purpose and position of a run, so that no random state has to be kept."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, purpose: str, *position: int) -> int:
    """Derives a seed in [0, 2^63) from the run's.

    Args:
        seed: of the run.
        purpose: such as `order` or `augment`.
        position: such as the epoch and the step.
    """
    text = f"{seed} {purpose} {position}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
