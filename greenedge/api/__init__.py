"""The Python API: `import greenedge` and call these.

    import greenedge

    run = greenedge.load_checkpoint("runs/quickstart")
    outputs = greenedge.collect_outputs(run, greenedge.load_data(run, split="val"))
    greenedge.plot_sweep(greenedge.sweep(outputs)).savefig("sweep.png")

    calibration = greenedge.collect_outputs(run, greenedge.load_data(run, split="calibration"))
    policy = greenedge.tune(calibration, budget_gflops=0.1).policy
    greenedge.Engine(run, policy).predict(["photo.jpg"])

Everything is lazily imported by `greenedge` itself, so that `import greenedge` takes milliseconds and no torch.
"""

from greenedge.api.curves import collect_outputs, evaluate, report, sweep, tune
from greenedge.api.data import PreparedLoader, load_data
from greenedge.api.engine import Engine
from greenedge.api.networks import (
    count_flops,
    create_model,
    list_blocks,
    list_criteria,
    list_heads,
    list_models,
    load_checkpoint,
    train,
)
from greenedge.cost.table import ExitCost, NetworkCost
from greenedge.errors import GreenedgeError
from greenedge.exits.evaluation import PolicyEvaluation
from greenedge.exits.goal import Goal
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.policy import ExitPolicy
from greenedge.exits.policy_choice import TuneResult
from greenedge.exits.sweep import OperatingPoint, Sweep
from greenedge.exits.sweep_result import SweepResult
from greenedge.inference import Predictions
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.reporting.sweep_plot import plot_sweep
from greenedge.training.plugins import load_plugins
from greenedge.training.trained import TrainedModel
from greenedge.workflows.train import TrainOutcome

__all__ = [
    "Engine",
    "ExitCost",
    "ExitOutputs",
    "ExitPolicy",
    "Goal",
    "GreenedgeError",
    "MultiExitNetwork",
    "NetworkCost",
    "OperatingPoint",
    "PolicyEvaluation",
    "Predictions",
    "PreparedLoader",
    "Sweep",
    "SweepResult",
    "TrainOutcome",
    "TrainedModel",
    "TuneResult",
    "collect_outputs",
    "count_flops",
    "create_model",
    "evaluate",
    "list_blocks",
    "list_criteria",
    "list_heads",
    "list_models",
    "load_checkpoint",
    "load_data",
    "load_plugins",
    "plot_sweep",
    "report",
    "sweep",
    "train",
    "tune",
]
