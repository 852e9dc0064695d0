"""What to deploy on a machine, by the timings that were made on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from greenedge.cost.benchmark import Timing, Timings
from greenedge.inference.contenders import Contender

# No smaller difference is spoken of, however little the rounds differ: there may have been one round alone.
_LEAST_DIFFERENCE = 0.02
_NAMED = 3  # of those that do not differ


@dataclass(frozen=True)
class Fastest:
    """The contenders that nothing beats clearly at one batch size.

    Attributes:
        batch: images per batch.
        keys: of the contenders, the fastest first; several where their rounds overlap.
        images_per_second: of the first.
        over_plain: its time over that of the backbone as trained.
        early_exit_pays: whether all of them exit early; None where some do and some do not, or nothing that exits early
            was timed.
    """

    batch: int
    keys: tuple[str, ...]
    images_per_second: float
    over_plain: float
    early_exit_pays: bool | None


def find_fastest(timings: Timings, batch: int, contenders: Mapping[str, Contender], plain: str) -> Fastest:
    """Compares all contenders at one batch size.

    Args:
        timings: of all contenders.
        batch: images per batch, one of those timed.
        contenders: key -> contender.
        plain: the key of the backbone as trained.
    """
    timed = timings.batches[batch]
    order = sorted(timed, key=lambda key: timed[key].median_s)
    keys = tuple(key for key in order if _overlap(timed[order[0]], timed[key]))

    early = {contenders[key].early_exit for key in keys}
    any_early = any(contenders[key].early_exit for key in timed)
    return Fastest(
        batch=batch,
        keys=keys,
        images_per_second=timed[order[0]].images_per_second,
        over_plain=timings.ratio(batch, order[0], plain),
        early_exit_pays=early.pop() if any_early and len(early) == 1 else None,
    )


def advise(timings: Timings, contenders: Mapping[str, Contender], plain: str, *, exits_early: bool) -> str:
    """One sentence on what to deploy for single images and for the largest batches that were timed.

    Args:
        timings: of all contenders.
        contenders: key -> contender.
        plain: the key of the backbone as trained.
        exits_early: whether any image did; without, nothing is said of early exit.
    """
    if not exits_early:
        contenders = {key: each for key, each in contenders.items() if not each.early_exit}
        kept = {size: _only(timed, contenders) for size, timed in timings.batches.items()}
        timings = replace(timings, batches=kept)
    sizes = sorted({size for size in timings.batches if size == 1} | {timings.largest_batch})
    parts = [_part(find_fastest(timings, size, contenders, plain), contenders, plain, exits_early) for size in sizes]
    return f"by time alone, deploy here {'; '.join(parts)}"


def _only(timed: Mapping[str, Timing], contenders: Mapping[str, Contender]) -> dict[str, Timing]:
    return {key: each for key, each in timed.items() if key in contenders}


def _overlap(fastest: Timing, other: Timing) -> bool:
    """Whether the middle halves of the rounds of both touch, or the medians are as good as equal."""
    slow_end = fastest.median_s * max(1 + fastest.spread / 2, 1 + _LEAST_DIFFERENCE)
    return other.median_s * (1 - other.spread / 2) <= slow_end


def _part(found: Fastest, contenders: Mapping[str, Contender], plain: str, exits_early: bool) -> str:
    if found.batch == 1:
        purpose, speed = "for single images", f"{1000 / found.images_per_second:.2f} ms per image"
    else:
        purpose, speed = f"for batches of {found.batch}", f"{found.images_per_second:.0f} images/s"

    named = [_spoken(contenders[key], exits_early) for key in found.keys[:_NAMED]]
    if len(found.keys) > _NAMED:
        named.append(f"{len(found.keys) - _NAMED} more")
    names = " or ".join(filter(None, [", ".join(named[:-1]), named[-1]]))
    text = f"{purpose} {names} ({speed}, {found.over_plain:.2f} of the time of the {contenders[plain].shown}"
    text += "; no clear difference between them)" if len(found.keys) > 1 else ")"
    return f"{text}, so that early exit does not pay there" if found.early_exit_pays is False else text


def _spoken(contender: Contender, exits_early: bool) -> str:
    if contender.runs == "backbone":
        return f"the {contender.shown}"
    if not exits_early:
        return contender.name
    return f"{contender.name} {'with' if contender.early_exit else 'without'} early exit"
