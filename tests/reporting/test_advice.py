from __future__ import annotations

import pytest

from greenedge.cost.benchmark import Timing, Timings
from greenedge.inference.contenders import BACKBONE, CONTENDERS, PLAIN
from greenedge.reporting.advice import advise, find_fastest

TABLE = {each.key: each for each in CONTENDERS}
WITHOUT, ENGINE = "engine, none leaves", "engine, policy"
ONNX_WITHOUT, ONNX = "onnxruntime float32, none leaves", "onnxruntime float32, policy"


def timings(batches: dict[int, dict[str, float]], spread: float = 0.04) -> Timings:
    """From batch -> key -> median seconds per batch."""
    return Timings(
        {},
        {
            size: {key: Timing(seconds, size / seconds, spread) for key, seconds in each.items()}
            for size, each in batches.items()
        },
    )


def test_find_fastest_is_the_one_with_the_least_time() -> None:
    found = find_fastest(
        timings({64: {PLAIN.key: 0.8, BACKBONE.key: 0.4, WITHOUT: 0.3, ENGINE: 0.2}}), 64, TABLE, PLAIN.key
    )
    assert found.keys == (ENGINE,)
    assert found.images_per_second == pytest.approx(320)
    assert found.over_plain == pytest.approx(0.25)
    assert found.early_exit_pays is True


@pytest.mark.parametrize(
    ("seconds", "spread", "keys"),
    [
        (1.03, 0.04, (ENGINE, ONNX)),  # 0.98 to 1.02, and 1.0094 to 1.0506
        (1.05, 0.04, (ENGINE,)),  # from 1.029
        (1.05, 0.06, (ENGINE, ONNX)),  # to 1.03, and from 1.0185
        (1.09, 0.1, (ENGINE, ONNX)),  # to 1.05, and from 1.0355
        (1.03, 0.0, (ENGINE,)),
        (1.015, 0.0, (ENGINE, ONNX)),  # one round tells nothing of so little
        (0.97, 0.04, (ONNX, ENGINE)),
    ],
)
def test_find_fastest_names_all_whose_rounds_overlap(seconds: float, spread: float, keys: tuple[str, ...]) -> None:
    given = timings({8: {PLAIN.key: 2.0, WITHOUT: 1.5, ENGINE: 1.0, ONNX: seconds}}, spread)
    assert find_fastest(given, 8, TABLE, PLAIN.key).keys == keys


@pytest.mark.parametrize(
    ("seconds", "pays"),
    [
        ({ENGINE: 1.0, WITHOUT: 2.0}, True),
        ({ENGINE: 2.0, WITHOUT: 1.0}, False),
        ({ENGINE: 2.0, WITHOUT: 3.0, BACKBONE.key: 1.0}, False),
        ({ENGINE: 1.0, WITHOUT: 1.01}, None),
        ({ENGINE: 1.0, ONNX: 1.01, WITHOUT: 2.0}, True),
        ({WITHOUT: 1.0}, None),  # nothing that exits early was timed
    ],
)
def test_find_fastest_says_whether_early_exit_pays(seconds: dict[str, float], pays: bool | None) -> None:
    assert find_fastest(timings({1: {PLAIN.key: 4.0, **seconds}}), 1, TABLE, PLAIN.key).early_exit_pays is pays


def test_advise_tells_single_images_from_batches() -> None:
    sentence = advise(
        timings(
            {
                1: {PLAIN.key: 0.020, WITHOUT: 0.012, ENGINE: 0.008, ONNX_WITHOUT: 0.005, ONNX: 0.006},
                8: {PLAIN.key: 0.1, WITHOUT: 0.01, ENGINE: 0.09, ONNX_WITHOUT: 0.09, ONNX: 0.08},
                64: {PLAIN.key: 0.64, WITHOUT: 0.5, ENGINE: 0.161, ONNX_WITHOUT: 0.4, ONNX: 0.16},
            }
        ),
        TABLE,
        PLAIN.key,
        exits_early=True,
    )
    assert sentence == (
        "by time alone, deploy here for single images onnxruntime float32 without early exit (5.00 ms per image, "
        "0.25 of the time of the backbone, as trained), so that early exit does not pay there; for batches of 64 "
        "onnxruntime float32 with early exit or engine with early exit (400 images/s, 0.25 of the time of the "
        "backbone, as trained; no clear difference between them)"
    )


def test_advise_speaks_of_what_was_timed() -> None:
    only_single = advise(
        timings({1: {PLAIN.key: 0.01, WITHOUT: 0.02, ENGINE: 0.02}}), TABLE, PLAIN.key, exits_early=True
    )
    assert only_single == (
        "by time alone, deploy here for single images the backbone, as trained (10.00 ms per image, 1.00 of the time "
        "of the backbone, as trained), so that early exit does not pay there"
    )
    batches_alone = timings({8: {PLAIN.key: 0.1, WITHOUT: 0.2, ENGINE: 0.3}})
    assert "single images" not in advise(batches_alone, TABLE, PLAIN.key, exits_early=True)


def test_advise_counts_those_that_it_does_not_name() -> None:
    same = dict.fromkeys(list(TABLE)[2:7], 0.5)
    sentence = advise(timings({8: {PLAIN.key: 1.0, **same}}), TABLE, PLAIN.key, exits_early=True)
    assert "engine without early exit, engine with early exit, pytorch float32 without early exit or 2 more" in sentence
    assert "does not pay" not in sentence


def test_advise_says_nothing_of_early_exit_where_no_image_exits_early() -> None:
    given = timings({8: {PLAIN.key: 1.0, WITHOUT: 0.5, ENGINE: 0.4, ONNX_WITHOUT: 0.2, ONNX: 0.3}})
    sentence = advise(given, TABLE, PLAIN.key, exits_early=False)
    assert sentence == (
        "by time alone, deploy here for batches of 8 onnxruntime float32 (40 images/s, 0.20 of the time of the "
        "backbone, as trained)"
    )
