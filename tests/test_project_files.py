"""What the files around the package say of it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml

from greenedge import __version__
from tests.conftest import REPOSITORY

SCRIPTS = [path for path in sorted((REPOSITORY / "scripts").iterdir()) if path.is_file() and path.name != "environment"]


def test_citation_names_this_version_and_license() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    assert citation["license"] == "MIT"
    assert citation["authors"] == [{"name": "The greenedge authors"}]


def test_changelog_has_a_section_for_this_version() -> None:
    sections = re.split(r"^## ", (REPOSITORY / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1:]
    assert any(__version__ in section for section in sections[:2])
    for section in sections:
        kinds = re.findall(r"^### (.*)$", section, flags=re.MULTILINE)
        assert kinds == [
            kind for kind in ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security") if kind in kinds
        ]


def test_ci_and_the_hook_call_the_scripts_that_people_call() -> None:
    workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "ci.yml").read_text())
    (job,) = workflow["jobs"].values()
    assert "3.11" in job["strategy"]["matrix"]["python-version"]
    assert [step["run"].split()[0] for step in job["steps"] if "run" in step] == ["scripts/test"]

    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())
    (repository,) = hooks["repos"]
    assert repository["repo"] == "local"  # nothing is fetched
    assert [hook["entry"] for hook in repository["hooks"]] == ["scripts/check --fix"]
    assert "scripts/test" in (REPOSITORY / ".ci" / "run").read_text()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_can_be_run(path: Path) -> None:
    assert os.access(path, os.X_OK)
    assert path.read_text().startswith("#!/usr/bin/env bash\n")
