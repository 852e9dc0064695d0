"""What to deploy: the chosen policy with its numbers, whether early exit pays, and the lines that use it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from greenedge.reporting.blocks import Block
from greenedge.reporting.evaluation import present_evaluation
from greenedge.reporting.page.content import ReportedRun
from greenedge.reporting.static_family import policy_against_static, static_verdict
from greenedge.reporting.sweep import early_exit_verdict


def deploy_blocks(run: ReportedRun) -> list[Block]:
    """Sentences, and the table of the exits, as `eval` and `sweep` print them."""
    found = run.sweep
    _, table, *sentences = present_evaluation(run.summary, run.evaluation).blocks
    blocks: list[Block] = []
    if run.policy is None and run.summary.num_exits > 1:
        blocks.append("No policy has been chosen for this run; the numbers are those without early exit.")
    elif run.policy is not None:
        blocks.append(f"The chosen policy, in {run.policy_file}{_goal(run)}:")
    blocks += [*sentences, early_exit_verdict(found)]
    if found.static is not None:
        blocks.append(static_verdict(found.static))
    if found.policy is not None and found.policy.above_static is not None:
        blocks.append(f"the policy gives {policy_against_static(found.policy.above_static)}")
    if run.bench is not None:
        processor = run.bench.machine.processor or "a processor of unknown name"
        blocks.append(f"measured by greenedge bench on {processor}: {run.bench.advice}")
    elif run.summary.num_exits > 1:
        blocks.append("latency was not measured: greenedge bench does that, and the next report says it")
    return [*blocks, table]


def deploy_code(run: ReportedRun) -> list[tuple[str, str]]:
    """Command lines and Python lines, each with what it does."""
    weights = run.facts.weights
    quoted = shlex.quote(weights)
    code: list[tuple[str, str]] = []
    policy = run.policy_file
    if policy is None and run.summary.num_exits > 1:
        budget = run.sweep.advantage.largest.gflops
        line = f"greenedge tune --weights {quoted} --budget {budget:.3g}"
        code.append(("To choose a policy, here for the cost at which early exit gives most:", line))
    option = "" if policy is None else f" --policy {shlex.quote(policy)}"
    code.append(("On the command line:", f"greenedge predict --weights {quoted}{option} photo.jpg"))
    code.append(("In Python:", "\n".join(_python(weights, policy))))
    return code


def _python(weights: str, policy: str | None) -> Sequence[str]:
    engine = "greenedge.Engine(run)" if policy is None else f"greenedge.Engine(run, {policy!r})"
    return [
        "import greenedge",
        "",
        f"run = greenedge.load_checkpoint({weights!r})",
        f'predictions = {engine}.predict(["photo.jpg"])',
        "print([run.classes[each].name for each in predictions.predictions], predictions.exits)",
    ]


def _goal(run: ReportedRun) -> str:
    goal = None if run.policy is None else run.policy.chosen.get("goal")
    return f" ({goal})" if isinstance(goal, str) and goal else ""
