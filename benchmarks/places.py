"""Where the benchmarks find candles and leave what they make, and how they call freqtrade."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from freqai_lstm.plugins import MODEL_FILE, STRATEGY_FILE


ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "benchmarks"
CANDLES = ROOT.parent / "shared" / "candles"
PAIRS = ("BTC/USDT:USDT", "ETH/USDT:USDT", "SOL/USDT:USDT", "BNB/USDT:USDT")


def run_options(
    configs: Sequence[Path],
    userdir: Path,
    datadir: Path,
    timerange: str,
    *,
    strategy: str = "ScoreStrategy",
    strategy_path: Path | None = STRATEGY_FILE.parent,
    model: str = "LSTMRegressor",
    model_path: Path | None = MODEL_FILE.parent,
) -> list[str]:
    """Name everything that a freqtrade command with FreqAI has to be told.

    :param strategy_path: None where the user folder holds the strategy.
    :param model_path: None where the user folder holds the model.
    """
    options = [part for config in configs for part in ("-c", str(config))]
    options += ["--userdir", str(userdir), "--datadir", str(datadir), "--timerange", timerange]
    options += ["-s", strategy, "--freqaimodel", model]
    if strategy_path:
        options += ["--strategy-path", str(strategy_path)]
    if model_path:
        options += ["--freqaimodel-path", str(model_path)]
    return options
