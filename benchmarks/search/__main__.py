"""Search weights and thresholds on one part of the year, test what was found on the rest.

    python -m benchmarks.search

`freqtrade hyperopt` searches on the first windows of a walk-forward run; its best epoch and the
strategy's defaults are then backtested on these and on the windows after them. Nothing is chosen
by the second part. Two more looks, by freqtrade's own evaluator of epochs: every epoch of the
search on the held-out part (does doing well there tell anything about doing well here?), and the
thresholds alone, with the article's weights, on the search part (how often does it trade?).
Writes `search.json` and `search.md` beside this file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import joblib
import pandas as pd
import typer
from freqtrade.optimize.hyperopt.hyperopt_optimizer import HyperOptimizer

from benchmarks.places import BUILD, CANDLES
from benchmarks.reports import environment, render, write
from benchmarks.saved_run import (
    LOSS,
    BenchmarkFailed,
    SavedRun,
    failures_in_words,
    open_saved_run,
)
from freqai_lstm.freqtrade_run import FreqtradeRun, load_newest_backtest


HERE = Path(__file__).resolve().parent
SIDES = ("search", "held out")
HORIZONS = (1, 6, 24)  # candles
THRESHOLDS_BUY = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5)
THRESHOLDS_SELL = (0.0, -0.1, -0.3, -0.6, -1.0)


def main(
    epochs: Annotated[int, typer.Option(help="of the search")] = 150,
    random_state: Annotated[int, typer.Option()] = 1,
    datadir: Annotated[Path, typer.Option(help="candles of 2024")] = CANDLES,
) -> None:
    """Search, test, and write the report."""
    with failures_in_words(), open_saved_run(BUILD / "saved-run", datadir) as saved:
        figures = search_and_test(saved, epochs, random_state)
        text = as_markdown(figures)
        write(HERE, "search", figures, text)
        print(text)


def search_and_test(saved: SavedRun, epochs: int, random_state: int) -> dict[str, Any]:
    """Everything that is reported.

    :raises BenchmarkFailed: the best epoch was not reproduced, or something was trained anew.
    """
    days = dict(zip(SIDES, (saved.periods.search, saved.periods.held_out), strict=True))
    defaults = {side: backtest(saved, days[side]) for side in SIDES}
    print(f"Searching {days['search']}, {epochs} epochs …")
    run = saved.hyperopt(days["search"], epochs, "--random-state", str(random_state))
    _nothing_trained(run)
    found = saved.saved_epochs()
    best = min(found, key=lambda epoch: epoch["loss"])
    searched = {side: backtest(saved, days[side]) for side in SIDES}
    saved.parameters.unlink()
    profits = best["results_metrics"]["profit_total_abs"], searched["search"]["profit_abs"]
    if abs(profits[0] - profits[1]) >= 0.005:
        raise BenchmarkFailed(
            f"Expected the best epoch's profit {profits[0]:.3f} from a backtest with its "
            f"parameters, got {profits[1]:.3f}."
        )
    evaluators = {side: saved.evaluator(days[side]) for side in SIDES}
    print("Every epoch on the held-out part, and the thresholds alone …")
    chosen = default_parameters(evaluators["search"])
    return {
        "environment": environment(),
        "timeranges": days,
        "epochs": epochs,
        "random_state": random_state,
        "seconds_of_search": round(run.seconds),
        "default_parameters": chosen,
        # The search draws multiples of 0.01, with the noise of floating point.
        "searched_parameters": {k: round(value, 2) for k, value in best["params_dict"].items()},
        "defaults": defaults,
        "searched": searched,
        "all_epochs": compare_epochs(found, evaluators["held out"]),
        "thresholds": scan_thresholds(evaluators["search"], chosen),
        "forward_correlation": {
            side: forward_correlation(evaluators[side], chosen) for side in SIDES
        },
    }


def backtest(saved: SavedRun, days: str) -> dict[str, Any]:
    """`freqtrade backtesting` with the exported parameters where they are, else the defaults."""
    _nothing_trained(saved.backtest(days))
    statistics, _ = load_newest_backtest(saved.userdir, "ScoreStrategy")
    return summary(statistics)


def _nothing_trained(run: FreqtradeRun) -> None:
    """Both sides must come from the same saved predictions.

    :raises BenchmarkFailed: a model was trained.
    """
    if "Starting training" in run.output:
        raise BenchmarkFailed(
            "Expected only saved predictions, but models were trained: remove "
            f"{BUILD / 'saved-run'} and begin anew."
        )


def summary(statistics: dict[str, Any]) -> dict[str, Any]:
    """What is reported of a backtest; profits in percent of the starting balance, after costs.

    `fees` and `funding` are in percent of the starting balance too: fees are paid, funding is
    received where it is above zero.
    """
    days = days_of(statistics)
    trades = statistics["trades"]
    fees = sum(
        trade["amount"]
        * (trade["open_rate"] * trade["fee_open"] + trade["close_rate"] * trade["fee_close"])
        for trade in trades
    )
    funding = sum(trade["funding_fees"] for trade in trades)
    balance = statistics["starting_balance"]
    by_pair = {row["key"]: row for row in statistics["results_per_pair"]}
    return {
        "from": statistics["backtest_start"],
        "to": statistics["backtest_end"],
        "trades": statistics["total_trades"],
        "trades_per_pair_and_day": round(pace(statistics), 3),
        "long": statistics["trade_count_long"],
        "short": statistics["trade_count_short"],
        "profit": round(100 * statistics["profit_total"], 2),
        "profit_long": round(100 * statistics["profit_total_long"], 2),
        "profit_short": round(100 * statistics["profit_total_short"], 2),
        "profit_abs": statistics["profit_total_abs"],
        "fees": round(100 * fees / balance, 2),
        "funding": round(100 * funding / balance, 2),
        "sharpe": round(statistics["sharpe"], 2),
        "drawdown": round(100 * statistics["max_drawdown_account"], 2),
        "win_rate": round(100 * statistics["winrate"], 1),
        "p_value": statistics["p_value"],
        "market_change": round(100 * statistics["market_change"], 1),
        "pairs": {
            pair: {
                "trades": by_pair[pair]["trades"],
                "trades_per_day": round(by_pair[pair]["trades"] / days, 3),
                "profit": round(100 * by_pair[pair]["profit_total"], 2),
                "win_rate": round(100 * by_pair[pair]["winrate"], 1),
            }
            for pair in statistics["pairlist"]
        },
    }


def days_of(statistics: dict[str, Any]) -> float:
    """Length of a backtest, without the start-up before its first candle."""
    return (statistics["backtest_end_ts"] - statistics["backtest_start_ts"]) / 86_400_000


def pace(statistics: dict[str, Any]) -> float:
    """Trades per pair and day."""
    return statistics["total_trades"] / len(statistics["pairlist"]) / days_of(statistics)


def default_parameters(evaluator: HyperOptimizer) -> dict[str, float]:
    """Weights and thresholds of the strategy as it is; ask before any epoch is evaluated."""
    parameters = evaluator.backtesting.strategy.enumerate_parameters()
    return {name: parameter.value for name, parameter in parameters if parameter.in_space}


def compare_epochs(found: list[dict[str, Any]], held_out: HyperOptimizer) -> dict[str, Any]:
    """Every epoch of the search on the held-out part: does success there come back here?

    :return: median and best profit (percent) on both sides, the share of epochs that gained, and
        Spearman's rank correlation of the losses (minus the daily Sharpe ratio).
    """
    before = [epoch["results_metrics"] for epoch in found]
    after = [held_out.generate_optimizer(dict(epoch["params_dict"])) for epoch in found]
    frame = pd.DataFrame(
        {
            "search": [100 * metrics["profit_total"] for metrics in before],
            "held out": [100 * epoch["results_metrics"]["profit_total"] for epoch in after],
            "search loss": [epoch["loss"] for epoch in found],
            "held out loss": [epoch["loss"] for epoch in after],
        }
    )
    ranks = frame["search loss"].corr(frame["held out loss"], method="spearman")
    return {
        "rank_correlation": round(float(ranks), 2),
        **{
            side: {
                "median_profit": round(float(frame[side].median()), 2),
                "best_profit": round(float(frame[side].max()), 2),
                "share_with_gain": round(float((frame[side] > 0).mean()), 2),
            }
            for side in SIDES
        },
    }


def scan_thresholds(
    evaluator: HyperOptimizer, defaults: dict[str, float]
) -> list[dict[str, float]]:
    """Pace and profit of the thresholds alone, everything else at its default."""
    rows = []
    for buy in THRESHOLDS_BUY:
        for sell in THRESHOLDS_SELL:
            values = {**defaults, "threshold_buy": buy, "threshold_sell": sell}
            statistics = evaluator.generate_optimizer(values)["results_metrics"]
            rows.append(
                {
                    "threshold_buy": buy,
                    "threshold_sell": sell,
                    "trades_per_pair_and_day": round(pace(statistics), 3),
                    "profit": round(100 * statistics["profit_total"], 2),
                    "sharpe": round(statistics["sharpe"], 2),
                    "drawdown": round(100 * statistics["max_drawdown_account"], 2),
                    "win_rate": round(100 * statistics["winrate"], 1),
                }
            )
    return rows


def forward_correlation(
    evaluator: HyperOptimizer, defaults: dict[str, float]
) -> dict[str, dict[str, float]]:
    """Correlation of the predicted score with the return of the next candles, by pair."""
    strategy = evaluator.backtesting.strategy
    for name, parameter in strategy.enumerate_parameters():
        if name in defaults:
            parameter.value = defaults[name]
    found = {}
    for pair, frame in joblib.load(evaluator.data_pickle_file).items():
        scored = strategy.advise_entry(frame, {"pair": pair})
        close = scored["close"]
        found[pair] = {
            str(ahead): round(float(scored["T_hat"].corr(close.shift(-ahead) / close - 1)), 3)
            for ahead in HORIZONS
        }
    return found


def as_markdown(figures: dict[str, Any]) -> str:
    """The text of `search.md`."""
    results = [
        (kind, side, figures[kind][side]) for kind in ("defaults", "searched") for side in SIDES
    ]
    names = list(figures["default_parameters"])
    grid: dict[float, dict[str, str]] = {}
    for row in figures["thresholds"]:
        buy, sell = row["threshold_buy"], row["threshold_sell"]
        cell = f"{row['trades_per_pair_and_day']:.2f}, {row['profit']:+.1f} %"
        grid.setdefault(buy, {"buy \\ sell": f"{buy:g}"})[f"{sell:g}"] = cell
    correlations = figures["forward_correlation"]
    return render(
        HERE / "search.md.j2",
        loss=LOSS,
        results=[
            {"parameters": kind, "range": f"{side} {figures['timeranges'][side]}"} | _shown(result)
            for kind, side, result in results
        ],
        by_pair=[
            {"parameters": kind, "range": side}
            | {
                pair.split("/")[0]: (
                    f"{values['trades']} ({values['trades_per_day']:.2f}), "
                    f"{values['profit']:+.2f} %"
                )
                for pair, values in result["pairs"].items()
            }
            for kind, side, result in results
        ],
        parameters=[
            {"parameters": kind, **{name: figures[f"{kind}_parameters"][name] for name in names}}
            for kind in ("default", "searched")
        ],
        grid=list(grid.values()),
        forward=[
            {
                "pair": pair.split("/")[0],
                **{
                    f"{side}, {ahead} h": f"{correlations[side][pair][str(ahead)]:+.3f}"
                    for side in SIDES
                    for ahead in HORIZONS
                },
            }
            for pair in correlations["search"]
        ],
        **figures,
    )


def _shown(result: dict[str, Any]) -> dict[str, Any]:
    return {
        "trades": result["trades"],
        "per pair and day": f"{result['trades_per_pair_and_day']:.2f}",
        "long / short": f"{result['long']} / {result['short']}",
        "profit": f"{result['profit']:+.2f} %",
        "of it long / short": f"{result['profit_long']:+.2f} / {result['profit_short']:+.2f} %",
        "Sharpe": f"{result['sharpe']:.2f}",
        "max drawdown": f"{result['drawdown']:.2f} %",
        "win rate": f"{result['win_rate']:.0f} %",
        "fees": f"{result['fees']:.2f} %",
        "funding": f"{result['funding']:+.2f} %",
        "p": f"{result['p_value']:.2f}",
    }


if __name__ == "__main__":
    typer.run(main)
