"""The processes that train one network together, and what they tell each other."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from greenedge.errors import GreenedgeError, UsageError

# Attribute of `Processes` -> what torchrun sets.
_VARIABLES = {
    "rank": "RANK",
    "count": "WORLD_SIZE",
    "local_rank": "LOCAL_RANK",
    "restarts": "TORCHELASTIC_RESTART_COUNT",
}

_log = logging.getLogger("greenedge")


class ProcessLostError(GreenedgeError):
    """Another process of the training has ended; whatever ended it says why."""


@dataclass(frozen=True)
class Processes:
    """The processes of one training, seen from one of them. Every method is called by all of them, in the same order.

    Attributes:
        rank: this process's number, from 0; the first one writes all files and speaks.
        count: how many there are.
        local_rank: this process's number among those on its machine.
        restarts: how often all of them were started anew since one was lost.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    restarts: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files and speaks."""
        return self.rank == 0

    def sum_(self, tensor: Tensor) -> None:
        """Puts the sum over all processes in place of a tensor; each process then holds the same bits.

        Raises:
            ProcessLostError: another process has ended.
        """
        if self.count > 1:
            _exchange(lambda: torch.distributed.all_reduce(tensor))

    def gather(self, tensor: Tensor) -> Tensor:
        """Stacks the tensors of all processes, which have one shape and type: (count, ...).

        Raises:
            ProcessLostError: another process has ended.
        """
        gathered = [torch.empty_like(tensor) for _ in range(self.count)]
        if self.count == 1:
            return tensor.unsqueeze(0)
        _exchange(lambda: torch.distributed.all_gather(gathered, tensor))
        return torch.stack(gathered)

    def any(self, flag: bool) -> bool:
        """Tells whether the flag is set in one of the processes at least.

        Raises:
            ProcessLostError: another process has ended.
        """
        if self.count == 1:
            return flag
        raised = torch.tensor(int(flag))
        self.sum_(raised)
        return bool(raised)

    def first_says(self, question: Callable[[], bool]) -> bool:
        """Asks the first process alone, whose answer all get; where it fails, the others are told that it is lost.

        Raises:
            ProcessLostError: another process has ended.
        """
        return self.any(question() if self.is_first else False)


ALONE = Processes()


@contextmanager
def joined_processes() -> Iterator[Processes]:
    """Joins the processes that torchrun, or whoever sets its variables, has started; without them there is one process.

    Processes on CPUs speak over gloo, those on GPUs over NCCL. All but the first are silent unless they fail.

    Raises:
        UsageError: the variables are incomplete, or the processes cannot find each other.
    """
    processes = _from_environment()
    if processes.count == 1:
        yield processes
        return

    silence = _Silence()
    if not processes.is_first:
        _log.addFilter(silence)
    _join(processes)
    try:
        yield processes
    finally:
        torch.distributed.destroy_process_group()
        _log.removeFilter(silence)


def _from_environment() -> Processes:
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return ALONE
    numbers = {key: os.environ.get(name, "0") for key, name in _VARIABLES.items()}
    for key, text in numbers.items():
        if not text.isdecimal():
            raise UsageError(f"the variable {_VARIABLES[key]} is {text!r}, not a number; start with torchrun")
    processes = Processes(**{key: int(text) for key, text in numbers.items()})
    if processes.rank >= processes.count:
        raise UsageError(
            f"the variable RANK is {processes.rank} and WORLD_SIZE {processes.count}; ranks count from 0: start with "
            "torchrun, or unset both"
        )
    return processes


def _join(processes: Processes) -> None:
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        store, rank, count = next(rendezvous("env://"))
        # The agent's store outlives lost processes, whose addresses must not be read by those that follow them.
        store = PrefixStore(f"start {processes.restarts}", store)
        torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=count)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        address = f"{os.environ.get('MASTER_ADDR', '?')}:{os.environ.get('MASTER_PORT', '?')}"
        in_use = "EADDRINUSE" in reason or "address already in use" in reason.lower()
        raise UsageError(
            f"{address} is in use by another program; give torchrun another --master-port"
            if in_use
            else f"the processes cannot find each other at {address} ({reason}); start them with torchrun"
        ) from None


def _exchange(collective: Callable[[], object]) -> None:
    try:
        collective()
    except RuntimeError:
        raise ProcessLostError("another process of this training has ended") from None


class _Silence(logging.Filter):
    """Lets nothing through."""

    def filter(self, _record: logging.LogRecord) -> bool:
        """Refuses a record."""
        return False
