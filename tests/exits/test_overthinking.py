from __future__ import annotations

import numpy as np
from hypothesis import given

from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.overthinking import find_overthinking
from tests.exits.helpers import random_outputs, small_outputs


def probability(logits: np.ndarray, answer: int) -> float:
    powers = np.exp(logits.astype(np.float64) - logits.max())
    return float(powers[answer] / powers.sum())


@given(small_outputs)
def test_the_lost_images_are_those_of_a_loop_over_images_the_surest_first(outputs: ExitOutputs) -> None:
    first_right = {}
    for image, label in enumerate(outputs.labels.tolist()):
        answers = [int(outputs.logits[e, image].argmax()) for e in range(outputs.num_exits)]
        if label in answers[:-1] and answers[-1] != label:
            first_right[image] = (answers.index(label), label, answers[-1])
    found = find_overthinking(outputs)
    assert sorted(found.images.tolist()) == sorted(first_right)
    columns = (found.images, found.exits, found.early, found.final)
    for image, exit_index, early, final in zip(*(column.tolist() for column in columns), strict=True):
        assert (exit_index, early, final) == first_right[image]
    sureness = np.array([probability(outputs.logits[e, i], y) for i, (e, y, _) in first_right.items()])
    by_image = dict(zip(first_right, sureness, strict=True))
    assert all(np.diff([by_image[image] for image in found.images.tolist()]) <= 1e-6)
    for label in range(outputs.logits.shape[2]):
        lost_labels = [outputs.labels[image] for image in first_right]
        assert found.by_class[label] == lost_labels.count(label)
        assert found.class_sizes[label] == outputs.labels.tolist().count(label)


def test_overthinking_by_hand() -> None:
    zero, one, sure_one, two = [1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 5.0, 0, 0], [0, 0, 1.0, 0]
    logits = np.array(
        [
            # Right throughout, lost after both, lost after exit 1, right at the end only, never right.
            [one, one, two, zero, zero],
            [one, one, sure_one, zero, two],
            [one, zero, one, one, two],
        ],
        dtype=np.float32,
    )
    labels = np.array([1, 1, 1, 1, 3])
    found = find_overthinking(ExitOutputs(logits, labels, np.array([1.0, 2.0, 3.0])))
    assert found.images.tolist() == [1]
    assert (found.exits.tolist(), found.early.tolist(), found.final.tolist()) == ([0], [1], [0])

    logits[2, 2] = two
    logits[0, 4] = [0, 0, 0, 9.0]
    found = find_overthinking(ExitOutputs(logits, labels, np.array([1.0, 2.0, 3.0])))
    # By the probability at the first right exit: 9 against 5 against 1.
    assert found.images.tolist() == [4, 2, 1]
    assert found.exits.tolist() == [0, 1, 0]
    assert found.early.tolist() == [3, 1, 1]
    assert found.final.tolist() == [2, 2, 0]
    assert found.by_class.tolist() == [0, 2, 0, 1]
    assert found.class_sizes.tolist() == [0, 4, 0, 1]


def test_a_network_without_early_exits_loses_nothing() -> None:
    found = find_overthinking(random_outputs(0, 1, 30, 4))
    assert [len(each) for each in (found.images, found.exits, found.early, found.final)] == [0, 0, 0, 0]
    assert found.by_class.tolist() == [0, 0, 0, 0]
    assert found.class_sizes.sum() == 30
