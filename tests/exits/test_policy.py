from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenedge.errors import ConfigError, UsageError
from greenedge.exits.confidence import CRITERIA
from greenedge.exits.policy import ExitPolicy, SavedPolicy, read_policy, shared_policy, write_policy

EXITS = ("layer1", "layer2", "fc")
WEIGHTS = "0123abcd"
SAVED = SavedPolicy(
    ExitPolicy("entropy", (0.5, 0.25), (1.5, 1.25, 0.75)), EXITS, WEIGHTS, {"budget_gflops": 0.5, "split": "val"}
)

finite = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(0, exclude_min=True, allow_infinity=False)


def saved_with(path: Path, **changes: Any) -> Path:
    """A sound policy's file, some of whose values are changed and its seal taken off; `...` removes one."""
    write_policy(path, SAVED)
    content = {**json.loads(path.read_text(encoding="utf-8")), "digest": ..., **changes}
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not ...}), encoding="utf-8")
    return path


def refusal(path: Path, exits: tuple[str, ...] = EXITS, weights: str = WEIGHTS) -> str:
    """The sentence, less the file's name, that it must start with."""
    with pytest.raises(UsageError) as caught:
        read_policy(path, exits, weights)
    sentence = str(caught.value)
    assert sentence.startswith(f"{path}: ")
    assert "\n" not in sentence
    return sentence.removeprefix(f"{path}: ")


@settings(max_examples=40)
@given(
    st.integers(0, 4).flatmap(
        lambda early: st.builds(
            ExitPolicy,
            st.sampled_from(sorted(CRITERIA)),
            st.tuples(*[finite] * early),
            st.none() | st.tuples(*[positive] * (early + 1)),
        )
    ),
    st.sampled_from(["", WEIGHTS]),
    st.dictionaries(st.text(), st.none() | st.text() | finite | st.lists(st.integers())),
)
def test_a_policy_comes_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, policy: ExitPolicy, weights: str, chosen: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip" / "policy.json"
    exits = tuple(f"block{index}" for index in range(len(policy.thresholds) + 1))
    saved = SavedPolicy(policy, exits, weights, chosen)
    write_policy(path, saved)
    assert read_policy(path, exits, WEIGHTS) == saved


def test_the_file_is_json_that_says_what_it_is(tmp_path: Path) -> None:
    write_policy(tmp_path / "policy.json", SAVED)
    content = json.loads((tmp_path / "policy.json").read_text(encoding="utf-8"))
    assert re.fullmatch("[0-9a-f]{64}", content.pop("digest"))
    assert content == {
        "format": "greenedge-policy/1",
        "criterion": "entropy",
        "thresholds": [0.5, 0.25],
        "temperatures": [1.5, 1.25, 0.75],
        "precision": None,
        "ensemble": None,
        "gain": None,
        "exits": ["layer1", "layer2", "fc"],
        "weights": WEIGHTS,
        "chosen": {"budget_gflops": 0.5, "split": "val"},
    }


def test_whole_numbers_are_numbers_too(tmp_path: Path) -> None:
    found = read_policy(saved_with(tmp_path / "p.json", thresholds=[1, 0], temperatures=None), EXITS, WEIGHTS)
    assert found.policy == ExitPolicy("entropy", (1.0, 0.0))
    assert all(type(threshold) is float for threshold in found.policy.thresholds)


def test_a_policy_for_any_weights_suits_these(tmp_path: Path) -> None:
    assert read_policy(saved_with(tmp_path / "p.json", weights=""), EXITS, WEIGHTS).weights == ""


def test_an_absent_policy_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "absent.json") == "no such policy; `greenedge tune` writes one"


@pytest.mark.parametrize("content", [b"", b"{", b"entropy < 0.5", b"\xff\xfe\x00", b'{"format": '])
def test_what_is_not_json_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "policy.json"
    path.write_bytes(content)
    found = refusal(path)
    assert re.fullmatch(r"is no policy, or is damaged: it is not (JSON \(.+\)|UTF-8 text); tune again", found)


@pytest.mark.parametrize("content", ["[]", "3", "null", '"greenedge-policy/1"', "{}", '{"thresholds": [0.5, 0.5]}'])
def test_other_json_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "policy.json"
    path.write_text(content, encoding="utf-8")
    assert re.fullmatch(r"is no policy, or is damaged: (expected a mapping, found|format: missing).+", refusal(path))


@pytest.mark.parametrize("other", ["greenedge-policy/2", "something else", None, ["greenedge-policy/1"]])
def test_another_format_is_refused(tmp_path: Path, other: object) -> None:
    found = refusal(saved_with(tmp_path / "p.json", format=other))
    assert found.startswith("is no policy, or is damaged: format: expected greenedge-policy/1, found")


@pytest.mark.parametrize("key", ["criterion", "thresholds", "temperatures", "exits", "weights", "chosen"])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    found = refusal(saved_with(tmp_path / "p.json", **{key: ...}))
    assert found == f"is no policy, or is damaged: {key}: missing; it has no default; tune again"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("thresholds", None),
        ("thresholds", 0.5),
        ("thresholds", ["much", "little"]),
        ("thresholds", [[0.5], [0.5]]),
        ("thresholds", "12"),
        ("thresholds", {"1": 0.5, "2": 0.5}),
        ("thresholds", [10**400, 1]),
        ("temperatures", 1.0),
        ("temperatures", "123"),
        ("exits", None),
        ("exits", [1, 2, 3]),
        ("exits", [["layer1"], ["layer2"], ["fc"]]),
        ("chosen", None),
        ("chosen", "by hand"),
    ],
)
def test_values_of_another_kind_are_refused(tmp_path: Path, key: str, value: object) -> None:
    assert refusal(saved_with(tmp_path / "p.json", **{key: value})).endswith("; tune again")


def test_exits_written_as_one_text_are_refused(tmp_path: Path) -> None:
    found = refusal(saved_with(tmp_path / "p.json", exits="abc"), exits=("a", "b", "c"))
    assert found == "is no policy, or is damaged: exits: expected a list, found 'abc'; tune again"


def test_a_changed_threshold_is_noticed_and_taken_where_the_seal_is_removed(tmp_path: Path) -> None:
    write_policy(tmp_path / "p.json", SAVED)
    changed = json.loads((tmp_path / "p.json").read_text()) | {"thresholds": [0.5, 0.26]}
    (tmp_path / "p.json").write_text(json.dumps(changed))
    assert 'was changed after it was written; without its "digest" line' in refusal(tmp_path / "p.json")
    (tmp_path / "p.json").write_text(json.dumps({k: v for k, v in changed.items() if k != "digest"}))
    assert read_policy(tmp_path / "p.json", EXITS, WEIGHTS).policy.thresholds == (0.5, 0.26)


def test_a_policy_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    path = saved_with(tmp_path / "p.json", precision=...)
    assert read_policy(path, EXITS, WEIGHTS) == SAVED


def test_a_policy_nested_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text('{"chosen": ' + "[" * 200_000 + "]" * 200_000 + "}")
    assert "nested too deeply" in refusal(path)


@pytest.mark.parametrize(
    ("thresholds", "count"), [((), 0), ((0.5,), 1), ((0.5, 0.5, 0.5), 3)], ids=["none", "too few", "too many"]
)
def test_a_wrong_number_of_thresholds_is_refused(tmp_path: Path, thresholds: tuple[float, ...], count: int) -> None:
    path = saved_with(tmp_path / "p.json", thresholds=thresholds, temperatures=None)
    assert refusal(path) == f"has {count} thresholds, the network has 2 early exits; tune again"


def test_a_policy_for_other_exits_is_refused(tmp_path: Path) -> None:
    write_policy(tmp_path / "p.json", SAVED)
    assert refusal(tmp_path / "p.json", exits=("layer1", "layer3", "fc")) == (
        "is for a network with exits after layer1, layer2, fc, not layer1, layer3, fc; tune again"
    )
    assert refusal(tmp_path / "p.json", exits=("layer2", "layer1", "fc")).startswith("is for a network with exits")


@pytest.mark.parametrize("weights", ["", "0123ABCD", "another"])
def test_a_policy_for_other_weights_is_refused(tmp_path: Path, weights: str) -> None:
    write_policy(tmp_path / "p.json", SAVED)
    expected = "was chosen for other weights of this network; tune again"
    assert refusal(tmp_path / "p.json", weights=weights) == expected


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("key", ["thresholds", "temperatures"])
def test_numbers_that_are_none_are_refused(tmp_path: Path, key: str, number: str) -> None:
    values = [1.0, "here"] if key == "thresholds" else [1.0, "here", 1.0]
    path = saved_with(tmp_path / "p.json", **{key: values})
    path.write_text(path.read_text(encoding="utf-8").replace('"here"', number), encoding="utf-8")
    assert re.fullmatch(
        r"is no policy, or is damaged: it holds .+, which is no finite number; tune again", refusal(path)
    )


@pytest.mark.parametrize("temperature", [0, 0.0, -1.5])
def test_a_temperature_that_is_not_above_zero_is_refused(tmp_path: Path, temperature: float) -> None:
    path = saved_with(tmp_path / "p.json", temperatures=[1.0, temperature, 1.0])
    assert refusal(path) == "temperatures must be finite numbers above 0"


@pytest.mark.parametrize("count", [0, 2, 4])
def test_a_wrong_number_of_temperatures_is_refused(tmp_path: Path, count: int) -> None:
    path = saved_with(tmp_path / "p.json", temperatures=[1.0] * count)
    assert refusal(path) == (
        f"{count} temperatures do not fit 2 thresholds; each exit, the final one included, needs one"
    )


@pytest.mark.parametrize("weights", [[0.5], [0.5, 0.5, 0.5], []])
def test_a_wrong_number_of_ensemble_weights_is_refused(tmp_path: Path, weights: list[float]) -> None:
    assert refusal(saved_with(tmp_path / "p.json", ensemble=weights)) == (
        f"{len(weights)} ensemble weights do not fit 2 thresholds; each exit but the first, the final one included, "
        "needs one"
    )


@pytest.mark.parametrize("weight", [1, -0.25, 1.5])
def test_an_ensemble_weight_out_of_range_is_refused(tmp_path: Path, weight: float) -> None:
    path = saved_with(tmp_path / "p.json", ensemble=[0.5, weight])
    assert refusal(path) == "ensemble weights must be numbers of at least 0 and below 1"


def test_a_policy_without_the_key_has_no_ensemble(tmp_path: Path) -> None:
    path = saved_with(tmp_path / "p.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["ensemble"]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert read_policy(path, EXITS, WEIGHTS).policy.ensemble is None


def test_an_unknown_criterion_is_refused_with_the_nearest(tmp_path: Path) -> None:
    path = saved_with(tmp_path / "p.json", criterion="entropie")
    assert refusal(path) == "criterion: there is no 'entropie'; did you mean 'entropy'?"


def test_a_policy_cannot_be_made_of_numbers_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="there is no 'luck'"):
        ExitPolicy("luck", (0.5,))
    for threshold in (math.nan, math.inf, -math.inf):
        with pytest.raises(UsageError, match=r"^thresholds must be finite numbers$"):
            ExitPolicy("entropy", (0.5, threshold))
    for temperature in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match=r"^temperatures must be finite numbers above 0$"):
            ExitPolicy("entropy", (0.5,), (1.0, temperature))
    for temperatures in ((), (1.0,), (1.0, 1.0, 1.0)):
        with pytest.raises(UsageError, match=rf"^{len(temperatures)} temperatures do not fit 1 thresholds"):
            ExitPolicy("entropy", (0.5,), temperatures)


def test_each_exit_has_its_temperature_and_without_any_all_have_one() -> None:
    assert [SAVED.policy.temperature(index) for index in range(3)] == [1.5, 1.25, 0.75]
    assert [ExitPolicy("margin", (0.5, 0.5)).temperature(index) for index in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("name", CRITERIA)
def test_a_shared_policy_repeats_its_threshold_and_without_one_nothing_leaves(name: str) -> None:
    policy = shared_policy(name, 0.5, 3, (1.0, 2.0, 3.0, 4.0))
    assert policy == ExitPolicy(name, (0.5, 0.5, 0.5), (1.0, 2.0, 3.0, 4.0))
    assert policy.get_criterion() is CRITERIA[name]
    assert shared_policy(name, None, 2) == ExitPolicy(name, (CRITERIA[name].never_exit_threshold,) * 2)
    assert shared_policy(name, 0.0, 2).thresholds == (0.0, 0.0)  # nought is a threshold, not its absence
    assert shared_policy(name, 0.5, 0).thresholds == ()


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (ExitPolicy("entropy", (1.26, 1.26)), "entropy threshold 1.26 (nats)"),
        (ExitPolicy("entropy", (1.23456, 0.9)), "entropy thresholds 1.235, 0.9 (nats)"),
        (ExitPolicy("entropy", (0.9, 1.2, 0.9)), "entropy thresholds 0.9, 1.2, 0.9 (nats)"),
        (ExitPolicy("max_probability", (0.75,)), "max_probability threshold 0.75 (probability)"),
        (ExitPolicy("entropy", ()), "no image exits early"),
        (ExitPolicy("entropy", (0.0, 0.0)), "no image exits early"),
        (ExitPolicy("margin", (1.0, 1.0), (2.0, 2.0, 2.0)), "no image exits early"),
        (ExitPolicy("margin", (1.0, 0.25)), "margin thresholds never, 0.25 (probability)"),
        (
            ExitPolicy("margin", (0.5, 0.25), (1.5, 2.0, 0.75)),
            "margin thresholds 0.5, 0.25 (probability), temperatures 1.5, 2, 0.75",
        ),
    ],
)
def test_str_of_a_policy_says_it_in_words(policy: ExitPolicy, text: str) -> None:
    assert str(policy) == text


@pytest.mark.parametrize("name", CRITERIA)
def test_uncertainty_limits_are_the_thresholds_turned_so_that_smaller_is_more_confident(name: str) -> None:
    policy = ExitPolicy(name, (0.5, 0.25))
    sign = 1 if CRITERIA[name].exit_if_below else -1
    assert policy.uncertainty_limits == (sign * 0.5, sign * 0.25)
    assert tuple(map(CRITERIA[name].threshold_of, policy.uncertainty_limits)) == policy.thresholds
