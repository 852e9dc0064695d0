"""`greenedge list` prints what the tables hold."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from greenedge.config import Component, resolve_component
from greenedge.models.backbones import BACKBONES, build_backbone, find_family
from greenedge.training.configs import COMPONENT_TABLES, build_schema
from tests.cli.conftest import Cli
from tests.conftest import REPOSITORY

COMPONENTS = ["heads", "augmentations", "loggers", "losses", "objectives", "optimizers", "schedules"]


@pytest.mark.parametrize("table", COMPONENTS)
def test_list_names_every_component_with_its_options_and_defaults(cli: Cli, table: str) -> None:
    rows = json.loads(cli("list", table, "--json").out)
    text = cli("list", table).out
    assert [row["name"] for row in rows] == list(COMPONENT_TABLES[table])
    for row in rows:
        assert f"{row['name']}: {row['description']}\n" in text
        assert row["description"].endswith(".")
        resolved = resolve_component(Component(row["name"]), COMPONENT_TABLES[table])
        assert {option["name"]: option["default"] for option in row["options"]} == json.loads(
            json.dumps(resolved.options)  # tuples are lists there
        )
        for option in row["options"]:
            assert f"    {option['name']} " in text
            assert option["type"]
            assert option["schema"]
            assert not option["required"]


def test_list_says_ranges_and_defaults_in_words(cli: Cli) -> None:
    text = cli("list", "schedules").out
    assert "    max_lr  number above 0, or null; default null; the highest rate.\n" in text
    assert "    end     number at least 1; default 10000; how many times smaller " in text


def test_list_backbones_names_all_of_them_and_timms(cli: Cli) -> None:
    rows = json.loads(cli("list", "backbones", "--json").out)
    assert [row["name"] for row in rows] == [*BACKBONES, "timm/NAME"]
    printed = cli("list", "backbones").out
    assert all(f"    {name}\n" in printed for name in BACKBONES)


@pytest.mark.parametrize("table", ["backbones", "configs"])
def test_list_answers_without_torch(table: str) -> None:
    script = (
        "import sys; from greenedge.cli.main import app; app(['list', sys.argv[1]], standalone_mode=False);"
        "print(sorted({'torch', 'torchvision'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, table], capture_output=True, text=True, cwd=REPOSITORY, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("backbone", ["resnet18", "vgg11_bn", "efficientnet_b0"])
def test_list_blocks_are_those_of_the_network(cli: Cli, backbone: str) -> None:
    rows = json.loads(cli("list", "blocks", backbone, "--image-size", "128", "--json").out)
    network = build_backbone(backbone, 10)
    blocks = find_family(backbone).blocks(network)
    assert [row["name"] for row in rows] == [name for name, _ in blocks]
    assert [row["parameters"] for row in rows] == [sum(p.numel() for p in block.parameters()) for _, block in blocks]


def test_list_blocks_gives_shapes_for_size_and_stem(cli: Cli) -> None:
    published = json.loads(cli("list", "blocks", "resnet18", "--json").out)
    small = json.loads(cli("list", "blocks", "resnet18", "--stem", "small", "--json").out)
    assert published[1] == {"name": "layer1.0", "channels": 64, "height": 16, "width": 16, "parameters": 73984}
    assert (small[1]["height"], small[-1]["height"]) == (64, 8)
    assert "layer1.0        64  16 x 16      73,984" in cli("list", "blocks", "resnet18").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["resnet81"], "there is no 'resnet81'; did you mean 'resnet18'?"),
        (["vgg11", "--stem", "small"], "has no small stem"),
        (["alexnet", "--image-size", "16"], "images of 16 px are too small for alexnet, at block features."),
    ],
)
def test_list_blocks_refuses_what_has_none(cli: Cli, arguments: list[str], words: str) -> None:
    result = cli("list", "blocks", *arguments)
    assert (result.code, result.out) == (2, "")
    assert words in result.sentence


def test_list_criteria_says_which_side_exits(cli: Cli) -> None:
    rows = {row["name"]: row for row in json.loads(cli("list", "criteria", "--json").out)}
    assert list(rows) == [*COMPONENT_TABLES["criteria"], "gain"]
    assert rows["gain"]["description"].endswith("Learned by `greenedge tune`, alone with --criterion gain.")
    assert (rows["entropy"]["exits"], rows["margin"]["exits"], rows["entropy"]["unit"]) == ("below", "above", "nats")


def test_list_configs_names_every_shipped_one(cli: Cli) -> None:
    rows = json.loads(cli("list", "configs", "--json").out)
    paths = (REPOSITORY / "configs").rglob("*.yaml")
    names = {path.relative_to(REPOSITORY / "configs").with_suffix("").as_posix() for path in paths}
    assert {row["name"] for row in rows} == names
    assert all(row["description"] for row in rows)


def test_the_schemas_choices_are_those_listed() -> None:
    assert set(COMPONENTS) < set(build_schema()["$defs"])
