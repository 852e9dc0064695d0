"""Processes that train together, started here without torchrun."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from greenedge.device.processes import ALONE, joined_processes
from greenedge.errors import UsageError
from tests.conftest import REPOSITORY

_PROGRAM = """
import torch
from greenedge.device.processes import joined_processes

with joined_processes() as processes:
    total = torch.tensor([1.0, 10.0]) * (processes.rank + 1)
    processes.sum_(total)
    gathered = processes.gather(torch.tensor([processes.rank]))
    one_says = processes.any(processes.rank == processes.count - 1)
    first_says = processes.first_says(lambda: processes.is_first)
    print(total.tolist(), gathered.flatten().tolist(), one_says, processes.any(False), first_says)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def variables(rank: int, count: int, port: int) -> dict[str, str]:
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_PORT": port}
    return {key: str(number) for key, number in numbers.items()} | {"MASTER_ADDR": "127.0.0.1"}


def test_processes_sum_gather_and_ask() -> None:
    port = free_port()
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env=os.environ | variables(rank, 3, port),
        )
        for rank in range(3)
    ]
    for process in started:
        out, _ = process.communicate(timeout=120)
        assert out == "[6.0, 60.0] [0, 1, 2] True False True\n"
        assert process.returncode == 0


def test_without_variables_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")  # as some cluster managers set it for a job that starts one process
    with joined_processes() as processes:
        assert processes == ALONE
        assert processes.is_first


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two', not a number"),
        ({"RANK": "-1"}, "RANK is '-1', not a number"),
        ({"RANK": "2"}, "RANK is 2 and WORLD_SIZE 2; ranks count from 0"),
        ({"MASTER_PORT": "none"}, "cannot find each other at 127.0.0.1:none"),
    ],
)
def test_variables_that_say_nothing_are_refused(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], sentence: str
) -> None:
    for name, text in (variables(0, 2, 1) | changes).items():
        monkeypatch.setenv(name, text)
    with pytest.raises(UsageError, match=sentence), joined_processes():
        pass


def test_a_port_in_use_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for name, text in variables(0, 2, port).items():
            monkeypatch.setenv(name, text)
        with pytest.raises(UsageError, match=f"127.0.0.1:{port} is in use by another program"), joined_processes():
            pass
