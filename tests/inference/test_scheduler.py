from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from greenedge.inference.scheduler import chunk_sizes


@given(count=st.integers(0, 300), size=st.sampled_from([1, 4, 16, 64]))
def test_waiting_images_are_parted_without_loss(count: int, size: int) -> None:
    assert chunk_sizes(count, size, None, flush=False) == [size] * (count // size)
    parts = chunk_sizes(count, size, None, flush=True)
    assert sum(parts) == count
    assert all(1 <= each <= 1.5 * size for each in parts)
    assert not parts or max(parts) - min(parts) <= 1
    sums = chunk_sizes(count, size, (1, 4, 16, 64), flush=True)
    assert sum(sums) == count
    assert set(sums) <= {each for each in (1, 4, 16, 64) if each <= size}
