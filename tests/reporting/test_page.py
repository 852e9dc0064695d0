"""The page as a text: what a parser makes of it, with no browser."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from greenedge.errors import DataError
from greenedge.exits.calibration import expected_calibration_error, top_confidence
from greenedge.exits.examples import pick_examples
from greenedge.exits.policy import ExitPolicy
from greenedge.reporting.page.charts import Chart, Mark, draw
from greenedge.reporting.page.kept import KeptPlacement, read_kept
from greenedge.reporting.page.present import build_page, present_report
from greenedge.reporting.page.render import render_page, script_json
from greenedge.reporting.page.thumbnails import MOST_BYTES, galleries
from tests.reporting.page_runs import made_up_run, random_outputs

HOSTILE = ("</script><script>alert(1)</script>", "\"quoted\" & 'single'", "קוף ירוק", "a\u202eb", "<!--")


class Parsed(HTMLParser):
    """Tags with their attributes, and the text of scripts, styles and everything else."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {"script": [], "style": [], "": []}
        self.inside = ""
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.inside = tag
            self.texts[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.texts[self.inside][-1] += data
        else:
            self.texts[""].append(data)


@pytest.fixture(scope="module")
def content() -> str:
    outputs = random_outputs(3, 60, len(HOSTILE))
    policy = ExitPolicy("entropy", (0.7, 0.9), (1.5, 1.2, 1.0))
    return render_page(build_page([made_up_run(outputs, HOSTILE, "<b>run</b>", policy)], None, None))


def test_page_asks_for_nothing(content: str) -> None:
    assert not re.findall(r"(?:https?:)?//[a-z]", content.replace("// ", ""))
    for tag, attributes in Parsed(content).tags:
        assert tag not in ("iframe", "object", "embed", "base", "form")
        for name in ("src", "href", "action", "srcset", "data"):
            address = attributes.get(name)
            assert address is None or address.startswith(("data:", "#")), (tag, address)
        assert not any(name.startswith("on") or name == "style" for name in attributes), attributes


def test_page_allows_its_own_style_and_script_alone(content: str) -> None:
    parsed = Parsed(content)
    (policy,) = [each["content"] for tag, each in parsed.tags if each.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for text in (parsed.texts["style"][0], parsed.texts["script"][-1]):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_page_shows_names_as_text(content: str) -> None:
    parsed = Parsed(content)
    assert len(parsed.texts["script"]) == 2
    assert not any(tag == "b" for tag, _ in parsed.tags)
    shown = "".join(parsed.texts[""])
    for name in HOSTILE:
        assert name.replace("\u202e", "\\u202e") in shown
    assert "<b>run</b>" in shown
    assert "\u202e" not in content


def test_page_keeps_at_most_2000_operating_points(content: str) -> None:
    data = json.loads(Parsed(content).texts["script"][0])
    shared, grid = data["shared"], data["grid"]
    assert len(shared["points"]) + len(grid["points"]) <= 2000
    assert len(shared["points"]) == len(shared["thresholds"])
    assert len(grid["points"]) == np.prod([len(each) for each in grid["thresholds"]])
    assert [grid["thresholds"][exit][place] for exit, place in enumerate(grid["start"])] == [0.7, 0.9]


def test_script_json_cannot_end_its_tag() -> None:
    value = {"name": "</script><!-- & \u2028", "numbers": [0.1, 1e-300]}
    text = script_json(value)
    assert not set("<>&") & set(text)
    assert json.loads(text) == value


def test_page_of_many_images_is_small_and_the_same_each_time() -> None:
    run = made_up_run(random_outputs(4, 3000, 50))
    content = render_page(build_page([run], None, "a title"))
    assert len(content.encode()) < 1_000_000
    assert len(run.slider.shared) == 1000 < len(run.sweep.curve)
    assert content == render_page(build_page([run], None, "a title"))
    assert "<title>a title</title>" in content


def test_page_of_a_network_without_exits_has_no_slider() -> None:
    run = made_up_run(random_outputs(1, 40, 3))
    content = render_page(build_page([run], None, None))
    assert "data-sliders>" not in content
    assert "there is no early exit, so there is nothing to choose" in content


def test_galleries_keep_within_their_room() -> None:
    outputs = random_outputs(3, 60, 4)
    whole = made_up_run(outputs)
    sizes = [len(image.source) for each in whole.galleries for image in each.images]
    assert sum(sizes) < MOST_BYTES
    assert max(len(each.images) for each in whole.galleries) == 12
    assert {each.title.partition(":")[0] for each in whole.galleries} >= {"Easiest", "Right early and wrong late"}


def test_galleries_stop_where_the_next_image_would_not_fit() -> None:
    outputs = random_outputs(3, 60, 4)
    examples = pick_examples(outputs, 12)
    images = {place: np.full((3, 96, 64), place, dtype=np.uint8) for place in range(60)}
    names = [f"class {index}" for index in range(4)]
    for room in (0, 900, 5000):
        found = galleries(examples, images, names, 3, room)
        shown = [image for each in found for image in each.images]
        assert sum(len(each.source) for each in shown) <= room
        assert (room >= 5000) == (len(shown) > 3)
    (first, *_) = galleries(examples, images, names, 3)
    assert first.images[0].side == 96
    pixels = np.array(Image.open(io.BytesIO(base64.b64decode(first.images[0].source.partition(",")[2]))))
    assert pixels.shape == (96, 64, 3)
    assert abs(int(pixels.mean()) - examples.easiest[0].image) <= 2


def test_report_prints_what_the_page_shows() -> None:
    run = made_up_run(random_outputs(3, 60, 4))
    result = present_report([run], None, Path("report.html"), 1234)
    page = Parsed(render_page(build_page([run], None, None)))
    assert isinstance(result.json, dict)
    (printed,) = result.json["runs"]
    assert json.loads(json.dumps(printed["sliders"])) == json.loads(page.texts["script"][0])
    shown = " ".join("".join(page.texts[""]).split())
    for part in printed["sections"].values():
        for table in part:
            for row in table["rows"]:
                assert all(str(cell) in shown for cell in row)
    assert "written: report.html, 0.00 MB" in result.text


@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e-3, 1e3)), min_size=1, max_size=20),
    st.booleans(),
)
def test_draw_keeps_every_point_within_the_axes(points: list[tuple[float, float]], whole: bool) -> None:
    x, y = ([point[axis] for point in points] for axis in (0, 1))
    drawn = draw(Chart("t", "x", "y", [Mark("line", "c0", x, y)], whole_x=whole))
    for value in x:
        assert drawn.left - 0.1 <= drawn.x.at(value) <= drawn.right + 0.1
    for value in y:
        assert drawn.top - 0.1 <= drawn.y.at(value) <= drawn.bottom + 0.1
    for tick, scale in [*((each, drawn.x) for each in drawn.x_ticks), *((each, drawn.y) for each in drawn.y_ticks)]:
        assert scale.at(float(tick.text)) == pytest.approx(tick.place, abs=0.2)
    assert len({each.text for each in drawn.x_ticks}) == len(drawn.x_ticks)


def test_reliability_has_the_gaps_of_the_calibration_error() -> None:
    outputs = random_outputs(3, 500, 4)
    found = made_up_run(outputs).reliability
    for index, right in enumerate(outputs.correct()):
        bins = np.ceil(top_confidence(outputs.logits[index]).astype(float) * 15).astype(int) - 1
        assert found.images[index].tolist() == [(bins == each).sum() for each in range(15)]
        gaps = np.nan_to_num(np.abs(found.confidence[index] - found.accuracy[index]))
        error = float((gaps * found.images[index]).sum() / 500)
        assert error == pytest.approx(expected_calibration_error(top_confidence(outputs.logits[index]), right))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "expected a mapping"),
        ('{"split": "val"}', "images"),
        (
            '{"split": "val", "images": "many", "head": "h", "plain_gflops": 1, "plain_accuracy": 1, "blocks": []}',
            "many",
        ),
        ('{"split": "val", "images": NaN}', "NaN"),
    ],
)
def test_read_kept_names_what_is_broken(content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "place.json"
    path.write_text(content)
    with pytest.raises(DataError, match=re.escape(str(path))) as caught:
        read_kept(path, KeptPlacement)
    assert said in str(caught.value)
    assert "run the command that wrote it again, or remove it" in str(caught.value)


def test_read_kept_takes_what_a_page_shows(tmp_path: Path) -> None:
    block: dict[str, Any] = {"after": "layer1", "accuracy": 0.5, "alone_gflops": 1.5, "chosen": True, "searched": True}
    kept = {"split": "val", "images": 3, "head": "h", "plain_gflops": 2.5, "plain_accuracy": 1.0, "more": {"x": [1]}}
    path = tmp_path / "place.json"
    path.write_text(json.dumps({**kept, "blocks": [block]}))
    found = read_kept(path, KeptPlacement)
    assert found is not None
    assert (found.images, found.blocks[0].alone_gflops, found.blocks[0].chosen) == (3, 1.5, True)
    assert read_kept(tmp_path / "none.json", KeptPlacement) is None
