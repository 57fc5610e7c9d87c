"""The benchmarks' figures as Markdown, and machine and versions beside them."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.saved_run import LOSS


FORMS = ("FreqAI", "plain")
SIDES = ("search", "held out")
HORIZONS = (1, 6, 24)  # candles


def epochs_report(figures: dict[str, Any]) -> str:
    """What `benchmarks.hyperopt_epochs` measured, as Markdown."""
    epochs, workers = figures["epochs"], figures["workers"]
    rows = []
    for form in FORMS:
        row = {"form": form}
        for name, key in (("s per epoch", "wall_seconds"), ("CPU s per epoch", "cpu_seconds")):
            low, high = epochs[key][form]["quartiles"]
            row[name] = f"{epochs[key][form]['median']:.3f} ({low:.3f} to {high:.3f})"
        size = figures["frames"][form]
        row["frame"] = f"{size['rows']} rows, {size['columns']} columns"
        rows.append(row)
    held = [
        {
            "form": form,
            "workers": workers[form]["workers"],
            "resident": f"{workers[form]['resident_mib']} MiB",
            "of it its own": f"{workers[form]['unique_mib']} MiB",
            "workers with TensorFlow": workers[form]["workers_with_tensorflow"],
            "whole command": f"{workers[form]['seconds']:.0f} s",
        }
        for form in FORMS
    ]
    wall, cpu = epochs["wall_seconds"], epochs["cpu_seconds"]
    by_round = ", ".join(f"{value:.2f}" for value in wall["ratio_by_round"])
    cpu_by_round = ", ".join(f"{value:.2f}" for value in cpu["ratio_by_round"])
    trades = epochs["trades"]
    return f"""# What FreqAI costs per hyperopt epoch

`python -m benchmarks.hyperopt_epochs`

{environment_line(figures["environment"])} Market: {figures["market"]}; {len(figures["pairs"])} \
pairs, {figures["timerange"]}.

{figures["sets"]} sets of weights and thresholds, each evaluated {figures["rounds"]} times in both \
forms by freqtrade's own evaluator, in turns: `ScoreStrategy` with its predictions saved by an \
earlier backtest, and the same strategy with FreqAI off, reading the same columns from a file. \
Trades, profit and loss of each set agreed in both forms ({trades["lowest"]} to {trades["most"]} \
trades, median {trades["median"]:.0f}). Medians (quartiles):

{markdown_table(rows)}

Ratio of the medians: **{wall["ratio"]:.2f}** (by round: {by_round}); of CPU seconds \
{cpu["ratio"]:.2f} (by round: {cpu_by_round}). Median of the ratios of single pairs of epochs: \
{wall["ratio_of_pairs"]:.2f}, of CPU seconds {cpu["ratio_of_pairs"]:.2f}. The aim is \
{figures["aim"]} at most. The load average of the machine was {figures["load_average"]} on \
{figures["environment"]["cores"]} cores: what is above the cores is other work, which stretches \
seconds and hardly touches CPU seconds.

FreqAI's frames are longer because they keep the training days before the first prediction, and \
wider by the means of the labels.

## Workers

`freqtrade hyperopt --spaces buy sell -e {workers["epochs"]} -j 2 --random-state 1`, once in each \
form; the epochs agreed in trades, profit and loss. Highest values of one worker:

{markdown_table(held)}
"""


def search_report(figures: dict[str, Any]) -> str:
    """What `benchmarks.search` found, as Markdown."""
    days = figures["timeranges"]
    rows, pair_rows = [], []
    for kind, name in (("defaults", "defaults (the article's weights)"), ("searched", "searched")):
        for side in SIDES:
            result = figures[kind][side]
            rows.append(
                {
                    "parameters": name,
                    "range": f"{side} {days[side]}",
                    "trades": result["trades"],
                    "per pair and day": f"{result['trades_per_pair_and_day']:.2f}",
                    "long / short": f"{result['long']} / {result['short']}",
                    "profit": f"{result['profit']:+.2f} %",
                    "of it long / short": (
                        f"{result['profit_long']:+.2f} / {result['profit_short']:+.2f} %"
                    ),
                    "Sharpe": f"{result['sharpe']:.2f}",
                    "max drawdown": f"{result['drawdown']:.2f} %",
                    "win rate": f"{result['win_rate']:.0f} %",
                    "fees": f"{result['fees']:.2f} %",
                    "funding": f"{result['funding']:+.2f} %",
                    "p": f"{result['p_value']:.2f}",
                }
            )
            pair_rows.append(
                {
                    "parameters": kind,
                    "range": side,
                    **{
                        pair.split("/")[0]: (
                            f"{values['trades']} ({values['trades_per_day']:.2f}), "
                            f"{values['profit']:+.2f} %"
                        )
                        for pair, values in result["pairs"].items()
                    },
                }
            )
    names = list(figures["default_parameters"])
    parameters = [
        {
            "parameters": kind,
            **{name: figures[f"{kind}_parameters"][name] for name in names},
        }
        for kind in ("default", "searched")
    ]
    grid: dict[float, dict[str, str]] = {}
    for row in figures["thresholds"]:
        cell = f"{row['trades_per_pair_and_day']:.2f}, {row['profit']:+.1f} %"
        line = grid.setdefault(row["threshold_buy"], {"buy \\ sell": f"{row['threshold_buy']:g}"})
        line[f"{row['threshold_sell']:g}"] = cell
    correlations = figures["forward_correlation"]
    forward = [
        {
            "pair": pair.split("/")[0],
            **{
                f"{side}, {ahead} h": f"{correlations[side][pair][str(ahead)]:+.3f}"
                for side in SIDES
                for ahead in HORIZONS
            },
        }
        for pair in correlations["search"]
    ]
    epochs = figures["all_epochs"]
    market = {side: figures["defaults"][side]["market_change"] for side in SIDES}
    profit = {
        (kind, side): figures[kind][side]["profit"]
        for kind in ("defaults", "searched")
        for side in SIDES
    }
    return f"""# Weights and thresholds: a search and a test on what it has not seen

`python -m benchmarks.search`

{environment_line(figures["environment"])} {figures["market"]}, BTC, ETH, SOL and BNB, long and \
short, `config.example.json` with windows of 30 days: one walk-forward run over both ranges, every \
prediction out of sample. Fees 0.05 % a side (Binance's taker fee; freqtrade's backtest takes the \
higher one) and funding are in all figures; the stake is 1000 of 10000 USDT, at most four trades.

**Nothing here promises a profit.** T describes the candle it stands at and is nearly uncorrelated \
with what the price does next (last table), so a model that predicts T well predicts no return. \
The search below finds parameters that did well on the range it was given; the held-out rows say \
what that was worth afterwards.

`freqtrade hyperopt --spaces buy sell --hyperopt-loss {LOSS} -e {figures["epochs"]} -j 2 \
--random-state {figures["random_state"]}` on {days["search"]} \
({figures["seconds_of_search"]} s); its best epoch was reproduced by a backtest to the cent. The \
ranges meet on a border of FreqAI's windows, else it would train anew.

{markdown_table(rows)}

On the range it was given, the search made {profit["searched", "search"]:+.2f} % where the \
defaults made {profit["defaults", "search"]:+.2f} %; on the held-out range \
{profit["searched", "held out"]:+.2f} % where the defaults made \
{profit["defaults", "held out"]:+.2f} %.

Profit, fees and funding in percent of the starting balance; Sharpe as freqtrade's backtest \
reports it (closed trades); p is freqtrade's p-value of the mean profit being zero. The market \
(mean of the four pairs) changed by {market["search"]:+.1f} % and {market["held out"]:+.1f} %.

Trades (a day) and profit by pair:

{markdown_table(pair_rows)}

{markdown_table(parameters)}

Weights count divided by their sum; thresholds are in units of the label scale.

## What the whole search says

Over all {figures["epochs"]} epochs the rank correlation of the Sharpe ratio on the search range \
with that on the held-out range is {epochs["rank_correlation"]:+.2f} (1: the same order, 0: none). \
Profit of the median epoch: {epochs["search"]["median_profit"]:+.2f} % and \
{epochs["held out"]["median_profit"]:+.2f} %; of the best on each: \
{epochs["search"]["best_profit"]:+.2f} % and {epochs["held out"]["best_profit"]:+.2f} %; epochs \
with a gain: {100 * epochs["search"]["share_with_gain"]:.0f} % and \
{100 * epochs["held out"]["share_with_gain"]:.0f} %.

## The thresholds alone

The article's weights, search range only. Trades per pair and day, and profit, for `threshold_buy` \
(rows) and `threshold_sell` (columns):

{markdown_table(list(grid.values()))}

## The predicted score and the next returns

Correlation of T̂ (the article's weights) with the return of the next 1, 6 and 24 hours:

{markdown_table(forward)}
"""


def environment() -> dict[str, Any]:
    """Machine and versions, for the reader of the figures."""
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:  # not Linux
        lines = []
    cpu = next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), cpu)
    packages = ("freqtrade", "tensorflow", "keras", "optuna", "pandas", "numpy")
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "system": platform.system(),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def environment_line(found: dict[str, Any]) -> str:
    """One sentence of `environment()`."""
    versions = ", ".join(
        f"{name} {found[name]}" for name in ("freqtrade", "tensorflow", "optuna", "pandas")
    )
    return (
        f"{found['system']}, {found['cores']} cores ({found['cpu']}), Python {found['python']}, "
        f"{versions}; {found['date']}."
    )


def markdown_table(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table; the keys of the first row are its head."""
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([str(row[key]) for key in head] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(output: Path, name: str, figures: dict[str, Any], text: str) -> None:
    """Write NAME.json and NAME.md into `output`."""
    output.mkdir(parents=True, exist_ok=True)
    data = json.dumps(figures, indent=2, ensure_ascii=False) + "\n"
    (output / f"{name}.json").write_text(data, encoding="utf-8")
    (output / f"{name}.md").write_text(text, encoding="utf-8")
