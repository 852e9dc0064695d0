from __future__ import annotations

import numpy as np
from hypothesis import given

from greenedge.exits.confusion import count_confusions
from greenedge.exits.outputs import ExitOutputs
from tests.exits.helpers import small_outputs


@given(small_outputs)
def test_count_confusions_counts_as_a_loop_does(outputs: ExitOutputs) -> None:
    exits, _, classes = outputs.logits.shape
    counts = np.zeros((exits, classes, classes), dtype=int)
    for exit_index in range(exits):
        for logits, label in zip(outputs.logits[exit_index], outputs.labels, strict=True):
            counts[exit_index, label, logits.argmax()] += 1
    found = count_confusions(outputs)
    assert np.array_equal(found.counts, counts)

    images = np.bincount(outputs.labels, minlength=classes)
    accuracies = found.class_accuracies()
    assert np.array_equal(np.isnan(accuracies), np.tile(images == 0, (exits, 1)))
    np.testing.assert_allclose(np.nansum(accuracies * images, axis=1) / images.sum(), outputs.exit_accuracies())


def test_most_confused_are_the_final_exits_most_frequent_wrong_pairs() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    final = np.array([0, 1, 1, 1, 2, 0, 0, 0])
    early = np.full(8, 2)
    outputs = ExitOutputs(np.stack([np.eye(3)[early], np.eye(3)[final]]), labels, np.array([1.0, 2.0]))
    found = count_confusions(outputs)
    assert found.most_confused() == [(2, 0), (0, 1), (1, 2)]
    assert found.most_confused(top=1) == [(2, 0)]
