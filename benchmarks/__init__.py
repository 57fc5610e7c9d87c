"""Measurements that the documentation quotes: a folder each, its figures and its page beside it.

    python -m benchmarks.speed           seconds and memory: backtest, start, training, live
    python -m benchmarks.range           RangeStrategy beside the same rules with ATR
    python -m benchmarks.targets         thirteen targets of FreqAI users, on the same rows

`records` holds measurements that no command repeats.
"""
