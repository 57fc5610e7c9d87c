"""What is a volatility forecast worth to a book that targets risk?

    python -m benchmarks.risk

RiskStrategy (`user_data/strategies/RiskStrategy.py`) is backtested on 2023 and 2024, walk-forward
with the real `freqtrade backtesting`, beside books that differ in one thing: where the volatility
comes from. PLAN.md was committed before the run; judge.md is what came out. The books are kept in
build/benchmarks/risk, so the command can be stopped and begun again; remove that folder after a
change of the model or of the candles.
"""
