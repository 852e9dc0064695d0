"""Configs and label maps that come with greenedge are found by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenedge.config import shipped
from greenedge.config.shipped import (
    LABEL_MAPS,
    copy_shipped,
    describe_config,
    find_config,
    find_label_map,
    shipped_configs,
    shipped_folder,
)
from greenedge.errors import ConfigError, UsageError
from tests.conftest import REPOSITORY


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_checkout_has_its_configs_and_label_maps_in_its_root() -> None:
    assert shipped_folder() == REPOSITORY
    assert all((shipped_folder() / name).is_file() for name in LABEL_MAPS)
    assert shipped_configs()["paper/table1-plain"] == REPOSITORY / "configs" / "paper" / "table1-plain.yaml"


def test_an_installed_package_has_them_in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "greenedge" / "shipped" / "configs"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("")
    monkeypatch.setattr(shipped, "files", lambda _: tmp_path / "greenedge")
    assert shipped_configs() == {"mine": folder / "mine.yaml"}


def test_find_config_takes_a_name_or_a_path_and_prefers_the_path(elsewhere: Path) -> None:
    assert find_config(Path("quickstart")) == REPOSITORY / "configs" / "quickstart.yaml"
    (elsewhere / "quickstart").write_text("mine")
    assert find_config(Path("quickstart")) == Path("quickstart")


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ("quikstart", "did you mean 'quickstart'?"),
        ("configs/quickstart.yaml", "did you mean 'quickstart'?"),
        ("quickstart.yaml", "did you mean 'quickstart'?"),
        ("xyz", "`greenedge list configs` prints the names"),
    ],
)
def test_find_config_explains_an_unknown_name_in_one_sentence(elsewhere: Path, given: str, advice: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find_config(Path(given))
    words = "cannot be read: no such file, and no shipped config of that name"
    assert str(caught.value) == f"{given}: {words}; {advice}"


def test_copy_shipped_writes_beside_the_user_and_replaces_nothing(elsewhere: Path) -> None:
    source = REPOSITORY / "configs" / "paper" / "table1-plain.yaml"
    assert copy_shipped("paper/table1-plain", None) == Path("table1-plain.yaml")
    assert (elsewhere / "table1-plain.yaml").read_text() == source.read_text()
    with pytest.raises(UsageError, match=r"table1-plain\.yaml: exists already"):
        copy_shipped("paper/table1-plain", None)
    assert copy_shipped("quickstart", elsewhere / "a" / "b.yaml").is_file()
    with pytest.raises(ConfigError, match="there is no shipped config 'table1'"):
        copy_shipped("table1", None)


def test_find_label_map_falls_back_to_the_shipped_one_for_a_bare_name_only(elsewhere: Path) -> None:
    assert find_label_map(Path("labels_map.pkl")) == REPOSITORY / "labels_map.pkl"
    assert find_label_map(Path("maps/labels_map.pkl")) == Path("maps/labels_map.pkl")
    assert find_label_map(elsewhere / "labels_map.pkl") == elsewhere / "labels_map.pkl"
    assert find_label_map(Path("mine.pkl")) == Path("mine.pkl")
    (elsewhere / "labels_map.pkl").write_text("mine")
    assert find_label_map(Path("labels_map.pkl")) == Path("labels_map.pkl")


def test_describe_config_is_the_first_sentence_after_the_command() -> None:
    assert describe_config("# greenedge train\n# For 64 px. Takes\n# long.\ndata:\n# no more\n") == "For 64 px."
    assert describe_config("# greenedge train\n# One line\n# and another.\n\n") == "One line and another."
    assert describe_config("data: {}") == ""
