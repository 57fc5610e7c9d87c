"""A bot's trades: what was expected of them, what came, and what the fills cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from freqtrade.data.btanalysis import load_trades_from_db
from freqtrade.exchange import timeframe_to_seconds

from freqai_lstm.evaluate.data import Predictions, newest
from freqai_lstm.evaluate.metrics import NAN
from freqai_lstm.evaluate.scores import TARGET
from freqai_lstm.evaluate.setup import Setup
from freqai_lstm.evaluate.trades import BASIS_POINT, find_result


DRAWS, SEED = 2_000, 1
FEWEST = 20  # trades of the backtest to draw from


def database(setup: Setup, given: str | None) -> str:
    """The database of the bot: the given one, the configuration's, or freqtrade's own name."""
    name = "tradesv3.dryrun.sqlite" if setup.config.get("dry_run", True) else "tradesv3.sqlite"
    return given or str(setup.config.get("db_url") or f"sqlite:///{name}")


def live_trades(
    setup: Setup, live: Predictions, url: str, promised: Setup | None
) -> dict[str, Any]:
    """Figures of the trades in a database.

    :return: all, closed; profit, the mean of the closed trades; expected, what as many trades of
        the backtest make in nine of ten draws (low, high), or null; entry_cost and exit_cost, by
        how many basis points fills were worse than the open of their candle; labels: at the
        entries the mean prediction and what came, in standard deviations of the training labels.
        Without a database: all is 0.
    """
    path = Path(url.removeprefix("sqlite:///"))
    none = url.startswith("sqlite:///") and not path.is_file()
    trades = pd.DataFrame() if none else load_trades_from_db(url)
    if trades.empty:
        return {"all": 0, "closed": 0, "database": url, "labels": {}}
    step = timeframe_to_seconds(setup.config["timeframe"])
    closed = trades[~trades["is_open"].astype(bool)]
    profit = closed["profit_ratio"].to_numpy("float64")
    return {
        "all": len(trades),
        "closed": len(closed),
        "database": url,
        "profit": float(profit.mean()) if len(profit) else NAN,
        "expected": _expected(promised, len(profit)),
        "entry_cost": _cost(live, trades, "open", step),
        "exit_cost": _cost(live, closed, "close", step),
        "labels": _at_entries(live, trades, step),
    }


def _cost(live: Predictions, trades: pd.DataFrame, fill: str, step: int) -> float:
    """Mean basis points by which fills were worse than the open of the candle they lie in.

    :param fill: open or close.
    """
    dates = pd.to_datetime(trades[f"{fill}_date"], utc=True).dt.floor(f"{step}s")
    opens = np.array(
        [
            live.candles[pair]["open"].get(date, NAN) if pair in live.candles else NAN
            for pair, date in zip(trades["pair"], dates, strict=True)
        ],
        dtype="float64",
    )
    bought = trades["is_short"].astype(bool).to_numpy() == (fill == "close")
    worse = (trades[f"{fill}_rate"].to_numpy("float64") / opens - 1) * np.where(bought, 1, -1)
    known = worse[np.isfinite(worse)]
    return float(known.mean() / BASIS_POINT) if len(known) else NAN


def _at_entries(live: Predictions, trades: pd.DataFrame, step: int) -> dict[str, dict[str, float]]:
    signal = pd.to_datetime(trades["open_date"], utc=True).dt.floor(f"{step}s")
    entries = pd.DataFrame(
        {"pair": trades["pair"], "date": signal - pd.Timedelta(seconds=step)}
    ).astype({"date": live.rows["date"].dtype})
    rows = newest(live.rows[live.rows["valid"]]).merge(entries, on=["pair", "date"])
    rows = rows[rows["scale"] > 0].dropna(subset=["realised"])
    scaled = rows[["model", "realised"]].div(rows["scale"], axis=0).groupby(rows["target"])
    return {
        str(target): {
            "entries": len(of),
            "predicted": of["model"].mean(),
            "came": of["realised"].mean(),
        }
        for target, of in scaled
        if target != TARGET
    }


def _expected(promised: Setup | None, count: int) -> dict[str, float] | None:
    if promised is None or count == 0:
        return None
    config = promised.config
    result = find_result(
        Path(config["user_data_dir"]),
        config["strategy"],
        str(config["freqai"]["identifier"]),
        pd.Timestamp.min.tz_localize("UTC"),
        pd.Timestamp.max.tz_localize("UTC"),
    )
    if result is None or len(result.trades) < FEWEST:
        return None
    ratios = result.trades["profit_ratio"].to_numpy("float64")
    drawn = np.random.default_rng(SEED).choice(ratios, (DRAWS, count)).mean(axis=1)
    low, high = np.quantile(drawn, [0.05, 0.95])
    return {"mean": float(ratios.mean()), "low": float(low), "high": float(high)}
