"""How rows of unequal lengths are split into passes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from policies.text.engine.memory_plan import PASS_TOKENS, passes


@given(st.lists(st.integers(1, 3000), max_size=60).map(sorted), st.sampled_from([0.0, 0.2]))
def test_passes_cover_all_rows_within_their_bounds(lengths: list[int], padding: float) -> None:
    parts = passes(lengths, padding)
    assert [row for part in parts for row in lengths[part]] == lengths
    for part in parts:
        rows = lengths[part]
        assert len(rows) == 1 or len(rows) * rows[-1] <= PASS_TOKENS
        assert rows[0] >= rows[-1] * (1 - padding)


def test_rows_that_fit_together_pass_together() -> None:
    assert passes([10, 11, 12]) == [slice(0, 3)]
    assert passes([10, 11, 12], padding=0.0) == [slice(0, 1), slice(1, 2), slice(2, 3)]
    assert passes([10, 10, 40]) == [slice(0, 2), slice(2, 3)]
    assert passes([PASS_TOKENS] * 2) == [slice(0, 1), slice(1, 2)]
    assert passes([]) == []
