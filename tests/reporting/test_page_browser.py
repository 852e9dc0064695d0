"""The page in a real browser: Debian's Chromium, headless; skipped where it, its driver or selenium is absent."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from greenedge.exits.confidence import find_criterion
from greenedge.exits.policy import ExitPolicy
from greenedge.exits.sweep import score_outputs
from tests.archives import extract
from tests.cli.conftest import Cli, cli
from tests.conftest import REPOSITORY
from tests.reporting.page_runs import made_up_run, random_outputs, write_page

__all__ = ["cli"]  # a fixture

FORMER_RUN = REPOSITORY / "tests" / "compatibility" / "former-run.tar.xz"
HOSTILE = (
    '<script>window.hacked = "yes"</script>',
    "\"quoted\" & 'single'",
    "קוף ירוק",
    "<img src=x onerror=alert(1)>",
)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
Browser = Any


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    from selenium.webdriver.chrome.service import Service

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium or chromedriver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    yield started
    started.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run of three exits with a policy, and of one without."""
    chosen = ExitPolicy("entropy", (0.7, 0.9), (1.5, 1.2, 1.0))
    outputs = random_outputs(3, 120, len(HOSTILE))
    runs = [made_up_run(outputs, HOSTILE, '"><script>window.hacked = 1</script>', chosen), made_up_run(outputs)]
    return write_page(tmp_path_factory.mktemp("page") / "report.html", *runs)


def opened(browser: Browser, page: Path, width: int = 1280, scheme: str = "light") -> Browser:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())
    return browser


def find_all(browser: Browser, selector: str) -> list[Any]:
    found: list[Any] = browser.find_elements("css selector", selector)
    return found


def shown(browser: Browser) -> dict[str, str]:
    """The numbers below the first run's sliders."""
    part = find_all(browser, "[data-sliders]")[0]
    names = part.find_elements("css selector", ".numbers dt")
    values = part.find_elements("css selector", ".numbers dd")
    return {name.text: value.text for name, value in zip(names, values, strict=True)}


def move(browser: Browser, slider: Any, place: int) -> None:
    script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
    browser.execute_script(script, slider, place)


def written_policy(browser: Browser) -> dict[str, Any]:
    policy: dict[str, Any] = json.loads(find_all(browser, "textarea")[0].get_property("value"))
    return policy


def test_sliders_show_the_numbers_of_sweep_and_write_a_policy_that_eval_takes(
    browser: Browser, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("timm")
    extract(FORMER_RUN, tmp_path)
    monkeypatch.chdir(tmp_path / "former-run")
    weights = Path("finished", "last.safetensors")
    assert cli("sweep", "--weights", weights, "--policy", "finished/policy.json", "--thresholds", "all").code == 0
    points = {each["thresholds"][0]: each for each in json.loads(Path("finished", "sweep.json").read_text())["points"]}
    assert cli("report", weights, "--out", "page.html").code == 0

    opened(browser, Path("page.html").resolve())
    (slider,) = find_all(browser, "[data-shared]")
    places = int(slider.get_attribute("max"))
    tried = {round(places * each / 9) for each in range(10)}
    assert len(tried) == 10
    for place in tried:
        move(browser, slider, place)
        thresholds = written_policy(browser)["thresholds"]
        assert len(set(thresholds)) == 1
        point = points[thresholds[0]]
        assert list(shown(browser).values()) == [
            f"{100 * point['accuracy']:.2f}",
            f"{point['gflops']:.4f}",
            *(f"{100 * each:.1f}" for each in point["exit_shares"]),
        ]

    for place in (3, 17):
        move(browser, find_all(browser, "[data-exit='0']")[0], place)
        move(browser, find_all(browser, "[data-exit='1']")[0], 2 * place - 5)
        Path("mine.json").write_text(json.dumps(written_policy(browser)))
        evaluated = cli("eval", "--weights", weights, "--policy", "mine.json", "--json")
        assert evaluated.code == 0, evaluated.err
        found = json.loads(evaluated.out)
        numbers = shown(browser)
        assert numbers["accuracy (%)"] == f"{100 * found['accuracy']:.2f}"
        assert numbers["GFLOPs per image"] == f"{found['gflops']:.4f}"
        rates = [f"{100 * each:.1f}" for each in found["exit_shares"]]
        assert [numbers["exit 1 rate (%)"], numbers["exit 2 rate (%)"], numbers["final exit rate (%)"]] == rates


def test_images_say_what_becomes_of_them_at_the_sliders(browser: Browser, tmp_path: Path) -> None:
    outputs = random_outputs(3, 120, 5)
    run = made_up_run(outputs)
    opened(browser, write_page(tmp_path / "images.html", run))
    data = json.loads(browser.execute_script("return document.querySelector('[data-sliders] script').textContent"))
    predictions = outputs.logits.argmax(axis=2)
    scores = score_outputs(outputs, find_criterion("entropy"))
    counts = set()
    for place in (0, 40, len(data["shared"]["points"]) - 1):
        move(browser, find_all(browser, "[data-shared]")[0], place)
        threshold = data["shared"]["thresholds"][place]
        differing = 0
        for each in find_all(browser, "[data-image]"):
            image = int(each.get_attribute("data-image"))
            left = [index for index in range(2) if scores.uncertainty[index, image] < threshold]
            exit_index = left[0] if left else 2
            answer, label = int(predictions[exit_index, image]), int(outputs.labels[image])
            words = f"now {('exit 1', 'exit 2', 'final exit')[exit_index]}: class {answer} "
            now = each.find_element("css selector", "[data-now]")
            assert now.text == words + ("(right)" if answer == label else "(wrong)")
            differs = answer != predictions[2, image]
            assert ("differs" in each.get_attribute("class")) == differs
            differing += differs
        (said,) = find_all(browser, "[data-differing]")
        assert said.text == f"{differing} of these {len(find_all(browser, '[data-image]'))} pictures"
        counts.add(differing)
    assert 0 in counts
    assert len(counts) > 1


def test_sliders_move_by_keyboard_and_are_told_to_those_who_cannot_see(browser: Browser, page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    opened(browser, page)
    slider = find_all(browser, "[data-shared]")[0]
    slider.send_keys(Keys.HOME)
    assert shown(browser)["final exit rate (%)"] == "100.0"
    live = find_all(browser, "output[aria-live=polite]")[0]
    assert "one threshold for all exits: never (nats)" in live.text
    assert slider.get_attribute("aria-valuetext") == "threshold never nats"
    marker = find_all(browser, ".marker circle")[0]
    before = (marker.get_attribute("cx"), live.text, slider.get_attribute("aria-valuetext"))
    for _ in range(30):
        slider.send_keys(Keys.ARROW_RIGHT)
    after = (marker.get_attribute("cx"), live.text, slider.get_attribute("aria-valuetext"))
    assert all(old != new for old, new in zip(before, after, strict=True))
    assert float(after[0]) < float(before[0])
    slider.send_keys(Keys.END)
    assert shown(browser)["exit 1 rate (%)"] == "100.0"


def test_page_starts_at_the_chosen_policy(browser: Browser, page: Path) -> None:
    opened(browser, page)
    policy = written_policy(browser)
    assert (policy["thresholds"], policy["temperatures"]) == ([0.7, 0.9], [1.5, 1.2, 1.0])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 768, 1280])
def test_page_fits_its_window_in_silence(browser: Browser, page: Path, width: int, scheme: str) -> None:
    browser.get_log("browser")
    browser.get_log("performance")
    opened(browser, page, width, scheme)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    assert browser.get_log("browser") == []
    requests = [json.loads(each["message"])["message"] for each in browser.get_log("performance")]
    asked = [each["params"]["request"]["url"] for each in requests if each["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]


def test_page_shows_hostile_names_as_text(browser: Browser, page: Path) -> None:
    opened(browser, page)
    assert browser.execute_script("return window.hacked") is None
    assert len(find_all(browser, "img[src='x']")) == 0
    text = browser.execute_script("return document.body.textContent")
    for name in (*HOSTILE, '"><script>window.hacked = 1</script>'):
        assert name in text
    cells = [each for each in find_all(browser, "td") if each.get_property("textContent") == HOSTILE[2]]
    assert cells
    assert browser.execute_script("return getComputedStyle(arguments[0]).direction", cells[0]) == "rtl"


def test_page_names_everything_that_is_read_out(browser: Browser, page: Path) -> None:
    opened(browser, page)
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", "").strip())
        for node in nodes
        if not node.get("ignored") and "role" in node
    ]
    by_role: dict[str, list[str]] = {}
    for role, name in named:
        by_role.setdefault(role, []).append(name)
    for role in ("slider", "image", "button", "textbox", "heading", "table", "link", "article"):
        assert all(by_role.get(role, [""])) or role == "table", (role, by_role.get(role))
    assert len(by_role["slider"]) == 6
    levels = [int(each.tag_name[1]) for each in find_all(browser, "h1, h2, h3, h4")]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    ids = browser.execute_script("return [...document.querySelectorAll('[id]')].map((each) => each.id)")
    assert len(ids) == len(set(ids))
    labels = browser.execute_script(
        "return [...document.querySelectorAll('[aria-labelledby]')]"
        ".flatMap((each) => each.getAttribute('aria-labelledby').split(' '))"
    )
    assert set(labels) <= set(ids)


def test_page_without_scripts_shows_some_points(browser: Browser, page: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        opened(browser, page)
        static = find_all(browser, "noscript table tbody tr")
        assert len(static) > 10
        assert static[0].find_elements("css selector", "td")[0].text == "never"
        assert not any(each.is_displayed() for each in find_all(browser, ".sliders, .marker"))
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
