"""Loggers: where a team looks at trainings, besides the files of the run directory.

Each takes the run that it logs; options follow `*`. Their libraries are imported only where they are used.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from greenedge.config import RunConfig, config_to_text
from greenedge.config.load import plain_value
from greenedge.training.history import HistoryRecord, epoch_values


@dataclass(frozen=True)
class LoggedRun:
    """The run that a logger logs.

    Attributes:
        out: the run directory.
        folder: for the logger's own files; it exists.
        id: tells this run from all others, and stays when the run is resumed.
        config: of the run.
    """

    out: Path
    folder: Path
    id: str
    config: RunConfig


class Logger(Protocol):
    """Takes the epochs of a run, in order; those of a resumed run come again from the first."""

    def record(self, record: HistoryRecord) -> None:
        """Adds an epoch; one that the log has already is not added twice."""

    def close(self) -> None:
        """Writes what is not written yet."""


def tensorboard(run: LoggedRun) -> Logger:
    """Writes TensorBoard's event files into the folder `logs` of the run directory."""
    return _TensorBoard(run)


def wandb(
    run: LoggedRun,
    *,
    project: str = "greenedge",
    entity: str | None = None,
    mode: Literal["online", "offline"] | None = None,
) -> Logger:
    """Sends the run to Weights & Biases, or with `mode: offline` keeps it for `wandb sync`.

    Args:
        run: that is logged.
        project: of the run.
        entity: user or team; null: the user's default.
        mode: null: what the variable WANDB_MODE says, else online.
    """
    return _WeightsAndBiases(run, project, entity, mode)


def mlflow(run: LoggedRun, *, experiment: str = "greenedge", tracking_uri: str | None = None) -> Logger:
    """Adds the run to an experiment of MLflow.

    Args:
        run: that is logged.
        experiment: made where there is none of the name.
        tracking_uri: a server or a folder; null: what MLFLOW_TRACKING_URI says, else `mlruns` beside the run directory.
    """
    return _MLflow(run, experiment, tracking_uri)


# Each is named like its extra and like the module that it needs.
LOGGERS: dict[str, Callable[..., Logger]] = {"mlflow": mlflow, "tensorboard": tensorboard, "wandb": wandb}


class _TensorBoard:
    def __init__(self, run: LoggedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # Readers drop all steps of earlier event files from this one on: a resumed run is written anew.
        self._writer: Any = SummaryWriter(run.folder, purge_step=0)
        text = "".join(f"    {line}\n" for line in config_to_text(run.config).splitlines())  # as code, in Markdown
        self._writer.add_text("config", text, 0)

    def record(self, record: HistoryRecord) -> None:
        for name, value in epoch_values(record).items():
            self._writer.add_scalar(name, value, record.epoch)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _WeightsAndBiases:
    def __init__(self, run: LoggedRun, project: str, entity: str | None, mode: Any) -> None:
        import wandb

        settings = wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True)
        self._run: Any = wandb.init(
            project=project,
            entity=entity,
            mode=mode,
            id=run.id,
            name=run.out.resolve().name,
            resume="allow",
            dir=run.folder,
            config=plain_value(run.config),
            settings=settings,
        )
        self._first = self._run.starting_step  # above the last step that the server has

    def record(self, record: HistoryRecord) -> None:
        if record.epoch >= self._first:
            self._run.log({"epoch": record.epoch, **epoch_values(record)}, step=record.epoch, commit=True)

    def close(self) -> None:
        self._run.finish()


class _MLflow:
    def __init__(self, run: LoggedRun, experiment: str, tracking_uri: str | None) -> None:
        uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or str(run.out.resolve().parent / "mlruns")
        if "://" not in uri:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # else MLflow asks for a data base
        from mlflow import MlflowClient
        from mlflow.entities import Metric

        self._metric, self._client = Metric, MlflowClient(uri)
        found = self._client.get_experiment_by_name(experiment)
        place = found.experiment_id if found else self._client.create_experiment(experiment)
        runs = self._client.search_runs([place], f"tags.greenedge_run = '{run.id}'")
        self._id, self._done = self._continued(runs[0].info.run_id) if runs else self._new(place, run)

    def _new(self, experiment: str, run: LoggedRun) -> tuple[str, set[int]]:
        from mlflow.entities import Param

        made = self._client.create_run(experiment, run_name=run.out.resolve().name, tags={"greenedge_run": run.id})
        keys = [Param(key, str(value)[:6000]) for key, value in _flat(plain_value(run.config)).items()]
        for first in range(0, len(keys), 100):  # MLflow's limits for one batch
            self._client.log_batch(made.info.run_id, params=keys[first : first + 100])
        return made.info.run_id, set()

    def _continued(self, run_id: str) -> tuple[str, set[int]]:
        self._client.update_run(run_id, status="RUNNING")
        return run_id, {each.step for each in self._client.get_metric_history(run_id, "loss")}

    def record(self, record: HistoryRecord) -> None:
        if record.epoch in self._done:
            return
        now = int(1000 * time.time())
        metrics = [self._metric(name, value, now, record.epoch) for name, value in epoch_values(record).items()]
        self._client.log_batch(self._id, metrics=metrics)

    def close(self) -> None:
        self._client.set_terminated(self._id)


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted keys and their values; lists stay whole."""
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    return {
        key: each for name, child in value.items() for key, each in _flat(child, f"{prefix}.{name}".strip(".")).items()
    }
