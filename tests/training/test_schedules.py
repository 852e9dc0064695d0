from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    StepLR,
)

from greenedge.training.schedules import constant, cosine, multistep, one_cycle, plateau, step

progresses = st.floats(0, 1, exclude_max=True)
rates = st.floats(1e-6, 10)
fractions = st.floats(0, 0.99)


def torchs_rates(scheduler: LRScheduler, steps: int) -> list[float]:
    rates = []
    for _ in range(steps):
        rates.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        if len(rates) < steps:
            scheduler.step()
    return rates


def optimizer(lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


@pytest.mark.parametrize(("warmup", "start", "end"), [(0.3, 25.0, 1e4), (0.1, 10.0, 100.0), (0.5, 1.0, 1.0)])
@pytest.mark.parametrize("total", [11, 101])
def test_one_cycle_equals_torchs(total: int, warmup: float, start: float, end: float) -> None:
    # torch ends the rise at step pct_start * total - 1, of total - 1 in all.
    pct_start = (warmup * (total - 1) + 1) / total
    scheduler = OneCycleLR(
        optimizer(0.1),
        max_lr=0.4,
        total_steps=total,
        pct_start=pct_start,
        div_factor=start,
        final_div_factor=end,
        cycle_momentum=False,
    )
    ours = [one_cycle(k / (total - 1), 0.1, max_lr=0.4, warmup=warmup, start=start, end=end) for k in range(total)]
    assert ours == pytest.approx(torchs_rates(scheduler, total), rel=1e-9)


def test_one_cycle_peaks_at_the_optimizers_rate_by_default() -> None:
    assert one_cycle(0.3, 0.02) == pytest.approx(0.02)
    assert one_cycle(0.0, 0.02) == pytest.approx(0.02 / 25)
    assert one_cycle(1.0, 0.02) == pytest.approx(0.02 / 25 / 1e4)


@pytest.mark.parametrize(("epochs", "every"), [(30, 9), (10, 3), (7, 1), (49, 7)])
def test_step_equals_torchs(epochs: int, every: int) -> None:
    scheduler = StepLR(optimizer(0.3), every, 0.2)
    ours = [step(epoch / epochs, 0.3, every=every / epochs, factor=0.2) for epoch in range(epochs)]
    assert ours == pytest.approx(torchs_rates(scheduler, epochs), rel=1e-9)


@pytest.mark.parametrize(("epochs", "milestones"), [(30, [9, 21]), (90, [30, 60, 80]), (5, [0, 4]), (3, [])])
def test_multistep_equals_torchs(epochs: int, milestones: list[int]) -> None:
    scheduler = MultiStepLR(optimizer(0.3), milestones, 0.2)
    fractions = tuple(each / epochs for each in milestones)
    ours = [multistep(epoch / epochs, 0.3, milestones=fractions, factor=0.2) for epoch in range(epochs)]
    assert ours == pytest.approx(torchs_rates(scheduler, epochs), rel=1e-9)


@given(
    accuracies=st.lists(st.integers(0, 8).map(lambda n: n / 8), max_size=30),
    patience=st.integers(0, 3),
    min_delta=st.sampled_from([0.0, 0.125, 0.3]),
    cooldown=st.integers(0, 3),
    final=st.sampled_from([0.0, 0.3]),
)
def test_plateau_equals_torchs(
    accuracies: list[float], patience: int, min_delta: float, cooldown: int, final: float
) -> None:
    by_torch = optimizer(0.4)
    scheduler = ReduceLROnPlateau(
        by_torch,
        mode="max",
        factor=0.5,
        patience=patience,
        threshold=min_delta,
        threshold_mode="abs",
        cooldown=cooldown,
        min_lr=0.4 * final,
        eps=0,
    )
    for done, accuracy in enumerate(accuracies, start=1):
        scheduler.step(accuracy)
        options = {"patience": patience, "min_delta": min_delta, "cooldown": cooldown, "final": final}
        ours = plateau(0.5, 0.4, accuracies[:done], factor=0.5, **options)  # type: ignore[arg-type]
        assert ours == pytest.approx(by_torch.param_groups[0]["lr"], rel=1e-12)
    assert plateau(0.0, 0.4) == 0.4


@pytest.mark.parametrize("final", [0.0, 0.1])
def test_cosine_equals_torchs(final: float) -> None:
    scheduler = CosineAnnealingLR(optimizer(0.3), T_max=50, eta_min=0.3 * final)
    ours = [cosine(k / 50, 0.3, final=final) for k in range(50)]
    assert ours == pytest.approx(torchs_rates(scheduler, 50), rel=1e-9)


def test_cosine_warms_up_linearly_from_zero_and_then_falls() -> None:
    assert [cosine(p, 0.4, warmup=0.2) for p in (0, 0.05, 0.1, 0.2)] == pytest.approx([0, 0.1, 0.2, 0.4])
    assert cosine(0.6, 0.4, warmup=0.2) == pytest.approx(0.2)  # half way down
    assert cosine(1.0, 0.4, warmup=0.2, final=0.25) == pytest.approx(0.1)


@given(progress=progresses, lr=rates)
def test_constant_is_constant(progress: float, lr: float) -> None:
    assert constant(progress, lr) == lr


@given(progress=progresses, lr=rates, warmup=fractions, final=fractions)
def test_cosine_is_between_zero_and_its_peak(progress: float, lr: float, warmup: float, final: float) -> None:
    rate = cosine(progress, lr, warmup=warmup, final=final)
    assert 0 <= rate <= lr * (1 + 1e-12)
    if progress >= warmup:
        assert rate >= lr * final * (1 - 1e-12)


@given(
    progress=progresses,
    lr=rates,
    max_lr=st.none() | rates,
    warmup=fractions,
    start=st.floats(1, 1e3),
    end=st.floats(1, 1e6),
)
def test_one_cycle_is_between_its_last_rate_and_its_peak(
    progress: float, lr: float, max_lr: float | None, warmup: float, start: float, end: float
) -> None:
    rate = one_cycle(progress, lr, max_lr=max_lr, warmup=warmup, start=start, end=end)
    peak = lr if max_lr is None else max_lr
    assert rate <= peak * (1 + 1e-12)
    assert rate >= peak / (start * end) - 1e-12 * peak
    assert rate > 0


@given(one=progresses, other=progresses, warmup=fractions)
def test_schedules_rise_before_the_peak_and_fall_after_it(one: float, other: float, warmup: float) -> None:
    earlier, later = sorted((one, other))
    for schedule in (cosine, one_cycle):
        first, second = schedule(earlier, 1.0, warmup=warmup), schedule(later, 1.0, warmup=warmup)
        if later <= warmup:
            assert first <= second + 1e-12
        if earlier >= warmup:
            assert first >= second - 1e-12
