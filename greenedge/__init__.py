"""greenedge: image classifiers that stop early when they are confident, and what each unit of energy buys.

The Python API is `greenedge.api`, whose names are here as well and are imported when they are first used.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from greenedge.api import *  # noqa: F403

# What `greenedge.api` exports; a test compares the two.
_API = (
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
)


def __getattr__(name: str) -> Any:
    if name not in _API:
        raise AttributeError(f"module 'greenedge' has no attribute {name!r}")
    from greenedge import api

    value = getattr(api, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_API})
