from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from greenedge.data.prepared import open_prepared
from greenedge.data.splits import carve_calibration
from greenedge.errors import CheckpointError
from greenedge.inference.collect import collect_logits
from tests.training.helpers import TRANSFORM, tiny_network


@pytest.mark.parametrize("batch_size", [1, 4, 15, 250])
def test_the_logits_are_those_of_a_plain_loop_over_the_images(prepared: Path, batch_size: int) -> None:
    split = open_prepared(prepared).split("val")
    network = tiny_network(dropout=0.5)
    logits = collect_logits(network, split, TRANSFORM, batch_size)
    assert logits.dtype == np.float32
    assert logits.shape == (2, 15, 3)
    network.eval()
    for index in range(15):
        image = TRANSFORM(torch.from_numpy(split.images[index : index + 1].copy()))
        with torch.no_grad():
            for exit_index, expected in enumerate(network(image)):
                np.testing.assert_allclose(logits[exit_index, index], expected[0].numpy(), rtol=1e-4, atol=1e-5)


def test_a_split_of_some_rows_is_read_in_its_own_order(prepared: Path) -> None:
    whole = open_prepared(prepared).split("train")
    train, calibration = carve_calibration(whole, 4)
    network = tiny_network()
    everything = collect_logits(network, whole, TRANSFORM)
    for part in (train, calibration):
        np.testing.assert_allclose(
            collect_logits(network, part, TRANSFORM), everything[:, part.rows], rtol=1e-4, atol=1e-5
        )
    assert len(calibration) == 12


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_as_it_was(prepared: Path, training: bool) -> None:
    network = tiny_network().train(training)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    collect_logits(network, open_prepared(prepared).split("val"), TRANSFORM)
    assert all(module.training is training for module in network.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_the_mode_is_put_back_after_a_failure_too(prepared: Path) -> None:
    class Failing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 1)

        def forward(self, images: Tensor) -> list[Tensor]:
            assert not self.training
            raise ArithmeticError

    network = Failing().train()
    with pytest.raises(ArithmeticError):
        collect_logits(network, open_prepared(prepared).split("val"), TRANSFORM)
    assert network.training


def test_with_autocast_the_logits_are_near_and_still_float32(prepared: Path) -> None:
    split = open_prepared(prepared).split("val")
    exact = collect_logits(tiny_network(), split, TRANSFORM)
    near = collect_logits(tiny_network(), split, TRANSFORM, autocast=torch.bfloat16)
    assert near.dtype == np.float32
    assert 0 < np.abs(near - exact).max() < 0.05


@pytest.mark.parametrize("exit_index", [0, 1])
def test_logits_that_are_no_numbers_end_in_one_error_that_names_the_exit(prepared: Path, exit_index: int) -> None:
    network = tiny_network()
    with torch.no_grad():
        network.logit_layers()[exit_index].bias[2] = float("nan")
    with pytest.raises(CheckpointError, match=f"^exit {exit_index + 1} gives logits that are not finite"):
        collect_logits(network, open_prepared(prepared).split("val"), TRANSFORM)
