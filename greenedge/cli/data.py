"""`greenedge data prepare | check | download | synth`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenedge.cli.options import Json
from greenedge.cli.output import say, show_json, show_result
from greenedge.errors import UsageError

Out = Annotated[Path, typer.Option(help="The folder to make.")]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Get images ready for training.")


@app.command()
def prepare(
    sources: Annotated[
        list[Path],
        typer.Argument(help="Folders, zip or tar files, tables, shards or pickles, which together hold one data set."),
    ],
    context: typer.Context,
    out: Annotated[Path | None, typer.Option(help="The folder to make. Needed without --check.")] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Pixels per side. Default: 64; of originals 224.")] = None,
    classes: Annotated[int | None, typer.Option(min=1, help="Keep the first N classes.")] = None,
    per_class: Annotated[
        int | None, typer.Option(min=1, help="Keep the first N training images of each class.")
    ] = None,
    labels_map: Annotated[
        Path | None, typer.Option(help="For pickles: a pickled dict from their labels to class indices.")
    ] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be decoded.")] = False,
    val_fraction: Annotated[
        float | None, typer.Option(help="Without a validation split: the share of each class. Default: 0.1.")
    ] = None,
    split_seed: Annotated[int, typer.Option(min=0, help="Of the choice of these images.")] = 0,
    store: Annotated[str, typer.Option(help="arrays, or originals: files, decoded when read.")] = "arrays",
    check: Annotated[bool, typer.Option("--check", help="Only decode all, and name every bad file.")] = False,
    as_json: Json = False,
) -> None:
    """Decode images once into arrays, or keep them.

    Reads TinyImageNet's layout (train/WNID/images/*, val/images/* with val_annotations.txt), any tree with one
    folder per class (train/CLASS/* and val/CLASS/*, or CLASS/*), both also in zip and tar files, tables of
    path,label[,split], Parquet files, WebDataset shards, and pickles train*.pkl and val*.pkl of a dict with "images"
    and "labels"; nothing in a pickle is run. --json prints the manifest, or what --check found.
    """
    from greenedge.data.originals import DEFAULT_SIZES, parse_store
    from greenedge.data.prepare import PrepareOptions
    from greenedge.data.problems import ProblemsError
    from greenedge.errors import DataError
    from greenedge.workflows.data import check_source_images, prepare_data

    kept = parse_store(store)
    size = size or DEFAULT_SIZES[kept]
    options = PrepareOptions(size, classes, per_class, labels_map, skip_bad, val_fraction, split_seed, kept)
    if check:
        if skip_bad:
            raise UsageError("--check leaves nothing out; give it without --skip-bad")
        show_result(check_source_images(sources, options), as_json=as_json)
        return
    if out is None:
        context.fail("Missing option '--out'.")
    try:
        lines, manifest = prepare_data(sources, out, options)
    except ProblemsError as error:
        for line in error.lines:
            say(line)
        raise DataError(error.short) from None
    for line in lines:
        say(line)
    if as_json:
        show_json(manifest)


@app.command("check")
def check_prepared(folder: Annotated[Path, typer.Argument(help="A prepared data set.")]) -> None:
    """Compare every image with what was prepared."""
    from greenedge.workflows.data import check_data

    for line in check_data(folder):
        say(line)


@app.command()
def download(
    out: Out,
    url: Annotated[str | None, typer.Option(help="Another address of the archive.")] = None,
    mirror: Annotated[
        list[str] | None, typer.Option(help="An address to try if the others fail; may be repeated.")
    ] = None,
    md5: Annotated[str | None, typer.Option(help="The MD5 of that archive.")] = None,
) -> None:
    """Fetch TinyImageNet's archive (237 MB).

    An interrupted download is continued, and the archive is checked.
    """
    from greenedge.data.download import OFFICIAL_MD5, OFFICIAL_URL
    from greenedge.workflows.data import download_data

    for line in download_data(out, [url or OFFICIAL_URL, *(mirror or ())], md5 or OFFICIAL_MD5):
        say(line)


@app.command()
def synth(
    out: Out,
    classes: Annotated[int, typer.Option(help="2 to 10.")] = 10,
    per_class: Annotated[int, typer.Option(help="Training images per class.")] = 400,
    val_per_class: Annotated[int, typer.Option(help="Validation images per class.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Of all randomness.")] = 0,
) -> None:
    """Generate images for a first run.

    Of graded difficulty, in TinyImageNet's layout.
    """
    from greenedge.data.synth import SynthOptions
    from greenedge.workflows.data import synthesize_data

    for line in synthesize_data(out, SynthOptions(classes, per_class, val_per_class, seed)):
        say(line)
