"""Measurements that the documentation quotes: a folder each, its figures and its page beside it.

    python -m benchmarks.speed           seconds and memory: backtest, start, training, live
    python -m benchmarks.risk            RiskStrategy beside the same book with other volatilities
    python -m benchmarks.targets         thirteen targets of FreqAI users, on the same rows

`records` holds measurements that no command repeats.
"""
