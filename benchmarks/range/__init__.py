"""Does a forecast of the range make the risk of trades steadier than ATR does?

    python -m benchmarks.range choose
    python -m benchmarks.range judge

RangeStrategy and RangeStrategyATR (`user_data/strategies/RangeStrategy.py`) differ in one thing:
what they take for the range of the next candles. Both are backtested walk-forward with the real
`freqtrade backtesting`, in futures and in spot, on the candles of ../shared/candles. `choose` is
the range on which the strategy's numbers were chosen; `judge` comes after it, and its figures must
not lead to another choice. FreqAI keeps what it has trained in build/benchmarks/range: remove that
folder after a change of the model.
"""
