"""Several processes of `greenedge train` on this machine, started, watched and started anew by torchrun's agent."""

from __future__ import annotations

import logging
import os
import signal
import sys
import uuid
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from greenedge.errors import TrainingError
from greenedge.training.interruption import STOP_SIGNALS

# A step, an evaluation in progress and the state must fit between a stop signal and the kill.
_SECONDS_TO_STOP = 300


def train_in_processes(arguments: Sequence[str], count: int, max_restarts: int) -> int:
    """Runs `greenedge train` with the arguments in several processes, as `torchrun --standalone` does.

    A signal to stop is handed on to them, and their state is saved. Where one of them is lost, all are started anew
    from the last saved state, at most `max_restarts` times.

    Args:
        arguments: of `greenedge train`.
        count: of processes, on this machine.
        max_restarts: how often they are started anew.

    Returns:
        the exit code: 0; that of the process that failed, which has said why; or 128 and the signal's number.

    Raises:
        TrainingError: a process was killed too often.
    """
    # The agent reports in its own words what is said here in a sentence.
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    # Unless the user says otherwise, the processes share the cores.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // count)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=max_restarts,
        signals_to_handle=",".join(each.name for each in STOP_SIGNALS),
        shutdown_timeout=_SECONDS_TO_STOP,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "greenedge", "train", *arguments)
    except SignalException as stopped:
        return 128 + stopped.sigval
    except ChildFailedError as failed:
        rank, failure = failed.get_first_failure()
        if failure.exitcode >= 0:
            return failure.exitcode
        name = signal.Signals(-failure.exitcode).name
        times = f", after {max_restarts} restarts" if max_restarts else ""
        raise TrainingError(
            f"process {rank} of {count} was killed by {name}{times}; continue with --resume (--max-restarts N goes on "
            "by itself)"
        ) from None
    return 0
