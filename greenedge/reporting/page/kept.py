"""What a page takes from the result files of other commands, checked as it is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from greenedge.config.convert import Count, NonNegative, Positive, Probability
from greenedge.config.records import RecordError, convert_record, parse_json
from greenedge.errors import DataError
from greenedge.exits.policy import SavedPolicy
from greenedge.training.history import HistoryRecord

T = TypeVar("T")

_LARGEST_BYTES = 64_000_000


@dataclass(frozen=True)
class KeptLatency:
    """Seconds of single images."""

    p50_seconds: Positive
    p95_seconds: Positive
    p99_seconds: Positive


@dataclass(frozen=True)
class KeptContender:
    """What was timed.

    Attributes:
        name: of the runtime.
        shown: in tables.
        runs: `backbone`, or what runs the network with its exits.
        early_exit: whether images exit early.
    """

    name: str
    shown: str
    runs: str
    early_exit: bool


@dataclass(frozen=True)
class KeptMachine:
    """Where it was timed."""

    processor: str | None


@dataclass(frozen=True)
class KeptBench:
    """What `greenedge bench` measured, as far as a page shows it.

    Attributes:
        lead: name of the contender that early exit is judged by.
        precision: that it ran in.
        full_gflops: of an image that runs everything, heads included.
        latency: contender -> seconds of single images.
        contenders: key -> contender.
        joules_an_image: contender -> joules; None: not measured.
        meter: what was metered, or why nothing was.
        machine: where.
        advice: what to deploy there.
    """

    lead: str
    precision: str
    full_gflops: Positive
    latency: dict[str, KeptLatency]
    contenders: dict[str, KeptContender]
    joules_an_image: dict[str, NonNegative | None]
    meter: str
    machine: KeptMachine
    advice: str

    @property
    def without_early_exit(self) -> str | None:
        """The key of what runs all exits of every image; None: it was not timed."""
        keys = [
            key
            for key, each in self.contenders.items()
            if each.name == self.lead and not each.early_exit and each.runs != "backbone" and key in self.latency
        ]
        return keys[0] if keys else None

    def milliseconds_per_gflop(self) -> float | None:
        """Median of single images that run everything."""
        key = self.without_early_exit
        return None if key is None else 1000 * self.latency[key].p50_seconds / self.full_gflops

    def joules_per_gflop(self) -> float | None:
        """Of images that run everything."""
        joules = self.joules_an_image.get(self.without_early_exit or "")
        return None if joules is None else joules / self.full_gflops


@dataclass(frozen=True)
class KeptBlock:
    """A block that an exit could follow."""

    after: str
    accuracy: Probability
    alone_gflops: NonNegative
    chosen: bool


@dataclass(frozen=True)
class KeptPlacement:
    """What `greenedge place` found, as far as a page shows it.

    Attributes:
        split: the images that blocks were compared on.
        images: how many.
        head: of the exits.
        plain_gflops: of the backbone without exits.
        plain_accuracy: likewise.
        blocks: all that were probed.
    """

    split: str
    images: Count
    head: str
    plain_gflops: NonNegative
    plain_accuracy: Probability
    blocks: tuple[KeptBlock, ...]


@dataclass(frozen=True)
class KeptFiles:
    """What other commands left beside the weights of a run.

    Attributes:
        criterion: of the config.
        policy: that was chosen; None: none was.
        policy_file: where it is, or would be, as a user would name it.
        history: of the epochs; empty where it was not kept.
        environment: versions and the machine of the training; empty likewise.
        bench: None where it did not run.
        placement: likewise.
    """

    criterion: str
    policy: SavedPolicy | None = None
    policy_file: str = "policy.json"
    history: tuple[HistoryRecord, ...] = ()
    environment: Mapping[str, str | int] = field(default_factory=dict)
    bench: KeptBench | None = None
    placement: KeptPlacement | None = None


def read_kept(path: Path, kind: type[T]) -> T | None:
    """Reads what a page shows of the JSON file of a command; None where there is no file.

    Raises:
        DataError: it is not such a file.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    try:
        if len(content) > _LARGEST_BYTES:
            raise RecordError(f"is damaged: it is larger than {_LARGEST_BYTES / 1e6:g} MB")
        found: T = convert_record(_known(parse_json(content), kind), kind)
    except RecordError as error:
        raise DataError(f"{path}: {error}; run the command that wrote it again, or remove it") from None
    return found


def _known(value: Any, kind: Any) -> Any:
    """The keys of a mapping that a page shows, in the mappings and lists below it too."""
    if isinstance(value, Mapping) and dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        return {key: _known(each, hints[key]) for key, each in value.items() if key in hints}
    arguments = getattr(kind, "__args__", ())
    if isinstance(value, Mapping) and arguments:
        return {key: _known(each, arguments[-1]) for key, each in value.items()}
    if isinstance(value, list) and arguments:
        return [_known(each, arguments[0]) for each in value]
    return value
