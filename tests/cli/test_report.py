from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import greenedge
from greenedge.data.prepare import prepare
from tests.cli.conftest import Cli
from tests.cli.helpers import with_other_answers
from tests.conftest import write_image


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the finished run directory, which the test may damage."""
    return Path(shutil.copytree(trained, tmp_path / "copied"))


def test_report_of_a_run_is_a_page_and_says_what_it_says(cli: Cli, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "page.html"
    result = cli("report", run, "--out", out, "--title", "A <title>")
    assert result.code == 0, result.err
    page = out.read_text()
    assert '<h1 dir="auto">A &lt;title&gt;</h1>' in page
    assert "No policy has been chosen for this run" in result.out
    assert result.out.splitlines()[-1] == f"written: {out}, {len(page.encode()) / 1e6:.2f} MB"
    assert page.count("data:image/jpeg") > 10
    assert "How did the training go?" in page
    assert (run / "outputs-val.npz").is_file()

    again = cli("report", run, "--out", tmp_path / "again.html", "--title", "A <title>", "--json")
    assert (tmp_path / "again.html").read_text() == page
    printed = json.loads(again.out)
    assert printed["report"] == str(tmp_path / "again.html")
    assert printed["runs"][0]["sweep"]["split"] == "val"

    smaller = cli("report", run, "--out", out, "--no-images")
    assert smaller.code == 0
    assert "data:image/jpeg" not in out.read_text()


def test_report_shows_the_chosen_policy_and_what_bench_left(
    cli: Cli, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for module in ("greenedge.cost.benchmark", "greenedge.inference.benchmark"):  # nothing here needs exact times
        monkeypatch.setattr(f"{module}.IMAGES_PER_TURN", 4)
    weights, out = run / "best.safetensors", tmp_path / "page.html"
    assert cli("tune", "--weights", weights, "--min-accuracy", "0.01").code == 0
    short = ["--batches", "1", "--rounds", "1", "--only", "engine"]
    bench = cli("bench", "--weights", weights, "--policy", run / "policy.json", *short)
    assert bench.code == 0, bench.err
    result = cli("report", run, "--out", out, "--json")
    assert result.code == 0, result.err
    (printed,) = json.loads(result.out)["runs"]
    evaluated = json.loads(cli("eval", "--weights", weights, "--policy", run / "policy.json", "--json").out)
    assert printed["evaluation"] == evaluated
    page = out.read_text()
    assert f"{run / 'policy.json'}" in page
    measured = json.loads((run / "bench.json").read_text())
    assert "expected ms per image" in page
    seconds = measured["latency"]["engine, none leaves"]["p50_seconds"]
    whole = printed["sliders"]["shared"]["points"][0]
    assert whole[-1] == pytest.approx(1000 * seconds, abs=0.01)
    assert measured["advice"] in page


def test_report_comes_after_other_commands_where_it_is_asked_for(cli: Cli, run: Path, tmp_path: Path) -> None:
    weights, out = run / "best.safetensors", tmp_path / "page.html"
    tuned = cli("tune", "--weights", weights, "--min-accuracy", "0.01", "--report", out, "--json")
    assert tuned.code == 0, tuned.err
    json.loads(tuned.raw)  # the page is told of on standard error
    assert f"written: {out}" in tuned.err
    assert "The chosen policy, in" in out.read_text()

    swept = cli("sweep", "--weights", weights, "--report", tmp_path)
    assert (swept.code, swept.sentence) == (
        2,
        f"{tmp_path}: is a folder; give --report the name of a file, such as {tmp_path / 'report.html'}",
    )
    assert not (run / "sweep.json").exists()
    trained = cli("train", "--config", run / "config.yaml", "--processes", "2", "--report", out)
    assert trained.code == 2
    assert trained.sentence.startswith("--report is for a training in one process")
    assert greenedge.report(run, tmp_path / "api.html").read_text() == out.read_text()


def test_report_of_two_runs_sets_them_side_by_side(cli: Cli, run: Path, tmp_path: Path) -> None:
    other = with_other_answers(run / "best.safetensors", tmp_path / "other" / "best.safetensors").parent
    out = tmp_path / "page.html"
    result = cli("report", run, other, "--out", out)
    assert result.code == 0, result.err
    assert "copied minus other, final accuracy:" in result.out
    compared = cli("compare", run, other, "--out", tmp_path / "compared", "--json")
    printed = json.loads(cli("report", run, other, "--out", out, "--json").out)
    assert printed["comparison"] == json.loads(compared.out)
    page = out.read_text()
    assert "The runs side by side" in page
    assert page.count("data-sliders>") == 2


def test_report_refuses_runs_of_unlike_classes(cli: Cli, run: Path, tmp_path: Path) -> None:
    for name in ("n01", "n02", "n77"):
        for split in ("train", "val"):
            for index in range(4):
                write_image(tmp_path / "source" / split / name / f"{index}.png", index)
    prepare([tmp_path / "source"], tmp_path / "data")
    config = run / "config.yaml"
    sets = ["--set", f"data.path={tmp_path / 'data'}", "--set", "train.epochs=1"]
    assert cli("train", "--config", config, *sets, "--out", tmp_path / "unlike").code == 0
    out = tmp_path / "page.html"
    result = cli("report", run, tmp_path / "unlike", "--out", out)
    assert result.code == 1
    assert result.sentence == (
        f"{tmp_path / 'unlike'}: has 3 classes that are not the 3 of {run}; a page sets runs of the same classes side "
        "by side, so write one page for each"
    )
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [("bench.json", "{"), ("place.json", '{"blocks": 3}'), ("environment.json", "[1]"), ("policy.json", "{")],
)
def test_report_names_a_broken_file_of_the_run(cli: Cli, run: Path, tmp_path: Path, name: str, content: str) -> None:
    (run / name).write_text(content)
    out = tmp_path / "page.html"
    out.write_text("an earlier page")
    result = cli("report", run, "--out", out)
    assert result.code in (1, 2)
    assert result.sentence.startswith(f"{run / name}: ")
    assert out.read_text() == "an earlier page"


def test_report_names_a_broken_line_of_the_history(cli: Cli, run: Path, tmp_path: Path) -> None:
    with (run / "history.jsonl").open("a") as file:
        file.write("{\n")
    result = cli("report", run, "--out", tmp_path / "page.html")
    assert result.code == 1
    assert result.sentence.startswith(f"{run / 'history.jsonl'}: line 3 is damaged")


def test_report_says_what_is_missing_or_in_the_way(cli: Cli, run: Path, tmp_path: Path) -> None:
    folder = cli("report", run, "--out", tmp_path)
    assert (folder.code, folder.sentence) == (
        2,
        f"{tmp_path}: is a folder; give --out the name of a file, such as {tmp_path / 'report.html'}",
    )
    (tmp_path / "file").write_text("")
    below = cli("report", run, "--out", tmp_path / "file" / "page.html")
    assert below.code == 1
    assert below.sentence.startswith(f"{tmp_path / 'file' / 'page.html'}: cannot be written")
    missing = cli("report", tmp_path / "none", "--out", tmp_path / "page.html")
    assert missing.code == 1
    assert missing.sentence.startswith(f"{tmp_path / 'none'}: ")

    for path in run.glob("outputs-*.npz"):
        path.unlink()
    gone = cli("report", run, "--data", tmp_path / "nowhere", "--out", tmp_path / "page.html")
    assert gone.code == 1
    assert str(tmp_path / "nowhere") in gone.sentence
    assert not (tmp_path / "page.html").exists()
