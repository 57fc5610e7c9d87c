"""Measurements that the documentation quotes: a folder each, its figures and its page beside it.

    python -m benchmarks.speed           seconds and memory: backtest, start, training, live
    python -m benchmarks.skill           skill out of sample, by horizon and seed
    python -m benchmarks.search          weights and thresholds, searched and then held out
    python -m benchmarks.hyperopt        what FreqAI costs per hyperopt epoch
    python -m benchmarks.range           RangeStrategy beside the same rules with ATR
    python -m benchmarks.article         the article's "63 % accuracy"
    python -m benchmarks.targets         ten targets of FreqAI users, every model on the same rows

`records` holds measurements that no command repeats.
"""
