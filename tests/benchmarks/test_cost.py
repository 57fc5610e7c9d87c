"""What a user pays: cases are measured or extrapolated, and the page says which."""

import pytest

from benchmarks.cost.__main__ import as_markdown, cases, fit
from benchmarks.reports import environment


def test_line_meets_figures_that_are_one() -> None:
    """Figures on a straight line give its base and its slope back."""
    rows = (1000, 20_000, 300_000)
    made = [
        {"rows": n, "prepare": 0.1 + n / 1e5, "epoch": 0.2 + n / 5e4, "peak_mb": 700 + n / 500}
        for n in rows
    ]
    lines = fit(made)
    assert lines["peak_mb"] == pytest.approx((700, 1 / 500))
    assert lines["epoch"] == pytest.approx((0.2, 1 / 5e4))


def test_small_cases_run_and_large_ones_are_extrapolated() -> None:
    """A case with few rows trains in a process of its own; one with many is put on the line."""
    found = cases(pairs=(1, 2), days=(3,), most_rows=150)
    assert [case["measured"] for case in found] == [True, True, False, False]
    assert all(case["epoch"] > 0 and case["peak_mb"] > 100 for case in found[:2])
    text = as_markdown({"environment": environment(), "cases": found})
    assert text.count("extrapolated |") == 2
    assert "| 2 | 5m | 3 | 1,728 |" in text
