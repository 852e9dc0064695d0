"""The documentation builds, and its Python examples run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import greenedge
from greenedge import api
from tests.archives import extract
from tests.conftest import REPOSITORY, write_image

FORMER_RUN = REPOSITORY / "tests" / "compatibility" / "former-run.tar.xz"


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    pages = {path.parent.name: path.read_text() for path in (tmp_path / "site").glob("*/index.html")}
    assert "calibration_per_class" in pages["configs"]
    assert "collect_outputs" in pages["api"]
    assert "Adding" in pages["contributing"] or "A criterion" in pages["contributing"]


@pytest.mark.parametrize("document", ["README.md", "docs/speed.md"])
def test_python_examples_run_as_they_stand(document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")
    extract(FORMER_RUN, tmp_path)
    monkeypatch.chdir(tmp_path / "former-run")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("quickstart", "resnet18-light"):
        run = Path("runs") / name
        run.mkdir(parents=True)
        (run / "best.safetensors").symlink_to(Path("finished", "last.safetensors").resolve())
    write_image(Path("photo.jpg"), 3, size=(90, 60))
    (code,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / document).read_text(), flags=re.DOTALL)
    code = code.replace("(1.2, 0.9, 0.7)", "(1.2, 0.9)")  # of a network with one exit less
    exec(compile(code, document, "exec"), {})
    if document == "README.md":
        assert Path("sweep.png").stat().st_size > 10_000


def test_the_package_exports_what_the_api_lists() -> None:
    assert set(greenedge._API) == set(api.__all__)
    for name in api.__all__:
        assert getattr(greenedge, name) is getattr(api, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        greenedge.nothing  # noqa: B018


def test_the_site_lists_the_whole_api() -> None:
    listed = re.findall(r"^ +- (\w+)$", (REPOSITORY / "docs" / "api.md").read_text(), flags=re.MULTILINE)
    assert sorted(listed) == sorted(api.__all__)


def test_importing_greenedge_imports_no_torch() -> None:
    code = "import sys, greenedge; print([m for m in ('torch', 'numpy', 'greenedge.api') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
