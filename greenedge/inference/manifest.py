"""What an exported folder says of itself: `manifest.json`, which is written last and read strictly."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from greenedge.config.convert import Count, FieldError, NonNegative, Pattern, Positive
from greenedge.config.records import RecordError, convert_record, parse_json
from greenedge.data.layouts import ClassInfo
from greenedge.errors import DataError
from greenedge.files import SEAL, seal_of, write_json
from greenedge.inference.runner_images import COLOUR, PIXEL_RANGE, RESIZE

FORMAT: Final = "greenedge-export/2"
MANIFEST, POLICY = "manifest.json", "policy.json"
Kind = Literal["onnx", "torch"]
ExportPrecision = Literal["float32", "int8"]

_LARGEST_BYTES = 256_000_000
_FileName = Annotated[str, Pattern(r"[\w-][\w.-]*", "the name of a file in the folder")]
_Digest = Annotated[str, Pattern(r"[0-9a-f]{64}", "a SHA-256")]


@dataclass(frozen=True)
class Preprocessing:
    """How an image file becomes what the network reads.

    Attributes:
        stored_size: pixels per side that images are first scaled and cropped to, as `greenedge data prepare` does it.
        mean: of each channel, pixels in `pixel_range`; subtracted.
        std: likewise; divided by.
        pixel_range: of the pixels before they are normalised.
        colour: in words.
        resize: the steps, in order; what they may be is in `runner_images.py`, which does them.
    """

    stored_size: Count
    mean: tuple[float, float, float]
    std: tuple[Positive, Positive, Positive]
    pixel_range: tuple[float, float] = (PIXEL_RANGE[0], PIXEL_RANGE[1])
    colour: str = COLOUR
    resize: tuple[dict[str, Any], ...] = tuple(RESIZE)

    def __post_init__(self) -> None:
        """Refuses what nothing here could do."""
        known = {"pixel_range": tuple(PIXEL_RANGE), "colour": COLOUR, "resize": tuple(RESIZE)}
        for key, value in known.items():
            if getattr(self, key) != value:
                raise FieldError(key, "is not what this version of greenedge does to images")


@dataclass(frozen=True)
class ExportedExit:
    """An exit and the graph of the segment that ends there.

    Attributes:
        after: the name of the segment's last block.
        gflops: cost of one image that exits here, all heads before it included.
        file: of the graph.
        reads_images: the segment reads the images, in place of the features of the one before.
        reads_logits: the segment reads the logits of the exit before, too.
    """

    after: str
    gflops: NonNegative
    file: _FileName
    reads_images: bool = False
    reads_logits: bool = False


@dataclass(frozen=True)
class Manifest:
    """What an export is.

    Attributes:
        format: and version.
        kind: `onnx`, or `torch` for programs of `torch.export`.
        precision: that the graphs run in.
        image_size: pixels per side of what the network reads.
        preprocessing: from image files to that.
        classes: in the order of the logits.
        exits: first to last.
        network: the file of the whole graph.
        files: name -> SHA-256, of all that was written but this file and the policy, which may be replaced.
        leaves_below: criterion -> whether a score below the threshold exits.
        versions: of the packages that wrote it, and the ONNX opset.
        weights: SHA-256 of the checkpoint; empty where there was none.
        trained: the metadata of that checkpoint, as `training/checkpoint.py` reads and writes them.
        quantization: how the graphs were quantised; null where they were not.
    """

    format: Literal["greenedge-export/2"]
    kind: Kind
    precision: ExportPrecision
    image_size: Count
    preprocessing: Preprocessing
    classes: tuple[ClassInfo, ...]
    exits: tuple[ExportedExit, ...]
    network: _FileName
    files: dict[str, _Digest]
    leaves_below: dict[str, bool]
    versions: dict[str, str]
    weights: str = ""
    trained: dict[str, str] | None = None
    quantization: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Rules between fields."""
        if not self.classes:
            raise FieldError("classes", "there are none")
        if not self.exits:
            raise FieldError("exits", "there are none")
        odd = [name for name in self.files if Path(name).name != name or "\\" in name or name in (MANIFEST, POLICY)]
        if odd:
            raise FieldError("files", f"{odd[0]!r} is not the name of such a file in the folder")
        missing = [name for name in (*self.graphs, self.network) if name not in self.files]
        if missing:
            raise FieldError("files", f"{missing[0]} is not among them")

    @property
    def graphs(self) -> tuple[str, ...]:
        """The file of each segment, in order."""
        return tuple(each.file for each in self.exits)

    @property
    def exit_names(self) -> tuple[str, ...]:
        """The block that each exit comes after, as a policy names them."""
        return tuple(each.after for each in self.exits)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest with its seal, atomically; what is false by default is left out of the exits."""
    content = asdict(manifest)
    for each in content["exits"]:
        for key in ("reads_images", "reads_logits"):
            if not each[key]:
                del each[key]
    write_json(folder / MANIFEST, content, sealed=True)


def read_manifest(folder: Path, *, sealed: bool = False) -> Manifest:
    """Reads the manifest of an export.

    Args:
        folder: of the export.
        sealed: refuse a manifest from which somebody removed the seal, to change it.

    Raises:
        DataError: there is none, or it is of another version, was changed since it was written, or is invalid.
    """
    path = folder / MANIFEST
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{folder}: has no {MANIFEST}, so it is no export of greenedge") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None

    try:
        if len(content) > _LARGEST_BYTES:
            raise RecordError(f"is damaged: it is larger than {_LARGEST_BYTES / 1e6:g} MB")
        value = parse_json(content)
        found = value.get("format") if isinstance(value, dict) else None
        if found != FORMAT and str(found).startswith("greenedge-export/"):
            raise DataError(f"{folder}: was written by another version of greenedge ({found}); export again")
        if isinstance(value, dict):
            seal = value.pop(SEAL, None)
            if seal is not None and seal != seal_of(value):
                raise RecordError("was changed after it was written; export again")
            if seal is None and sealed:
                raise RecordError(f'has no "{SEAL}", so that a change would not be noticed; export again')
        manifest = convert_record(value, Manifest)
    except RecordError as error:
        raise DataError(f"{path}: {error}") from None
    return manifest


def needs_exact_sums(manifest: Manifest) -> bool:
    """Whether its graphs are right only where sums of 8-bit products do not overflow."""
    return manifest.quantization is not None and manifest.quantization.get("weight_bits") == 8


def is_export(folder: Path) -> bool:
    """Whether a folder holds an export, of this format or of whatever version."""
    try:
        manifest = parse_json((folder / MANIFEST).read_bytes())
    except (OSError, RecordError):
        return False
    return isinstance(manifest, dict) and str(manifest.get("format")).startswith("greenedge-export/")
