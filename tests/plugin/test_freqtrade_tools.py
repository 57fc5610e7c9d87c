"""End to end: freqtrade's own tools on the two plugins, as docs/tools.md reports them."""

import ast
import json
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import cloudpickle
import pandas as pd
import pytest
from conftest import ROOT
from freqtrade.configuration import Configuration
from freqtrade.enums import RunMode
from freqtrade.optimize.backtesting import Backtesting
from frequi import webserver
from pandas import DataFrame
from workshop import Workshop, open_workshop

from freqai_lstm.freqtrade_run import FreqtradeRun, run_freqtrade


pytestmark = pytest.mark.slow

TIMERANGE = "20240522-20240601"  # one window
PLUGINS = ["--freqaimodel", "LSTMRegressor", "-s", "ScoreStrategy"]
BTC = "BTC/USDT:USDT"
# What depends on the newest prediction, which FreqAI leaves out on the last candle of a time range.
PREDICTED = re.compile(
    r"&-t_\w+|do_predict(_not_1)?|(asinh_)?T(_hat(_lower|_upper)?)?|(enter|exit)_(tag|long|short)"
    r"|lstm_(r2|coverage|network_hours|model_hours)"
)

# Both analyses train anew for each of many backtests.
FEW = {
    "train_period_days": 20,
    "feature_parameters": {"include_timeframes": ["1h"], "include_corr_pairlist": []},
}

Tool = Callable[..., FreqtradeRun]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A workshop with a finished backtest of two pairs, signals exported."""
    with open_workshop(tmp_path_factory.mktemp("tools")) as opened:
        opened.run(
            "--timerange",
            TIMERANGE,
            "--export",
            "signals",
            identifier="tools",
            model_training_parameters={"units": 16, "epochs": 8},
        )
        yield opened


def configurations(workshop: Workshop) -> list[str]:
    """The configuration files of the finished backtest."""
    return [
        str(ROOT / "config.example.json"),
        str(workshop.folder / "endpoints.json"),
        str(workshop.folder / "second.json"),
    ]


def identifier(workshop: Workshop, name: str, **freqai: Any) -> str:
    """A configuration with an identifier of its own: both analyses delete all models of theirs."""
    file = workshop.folder / f"{name}.json"
    file.write_text(json.dumps({"freqai": {"identifier": name, **freqai}}))
    return str(file)


@pytest.fixture(scope="module")
def tool(workshop: Workshop) -> Tool:
    """Run one of freqtrade's commands in the workshop; it has to end without any error."""

    def run(command: str, *options: str) -> FreqtradeRun:
        args = [command, *(part for path in configurations(workshop) for part in ("-c", path))]
        args += ["--userdir", str(workshop.userdir), *options]
        return run_freqtrade(args, cwd=workshop.folder, timeout=300)

    return run


def test_configuration_and_pairs(tool: Tool) -> None:
    """show-config and test-pairlist take the example configuration."""
    shown = tool("show-config").output
    assert '"model_save_type": "keras"' in shown
    assert "['BTC/USDT:USDT', 'ETH/USDT:USDT']" in tool("test-pairlist").output


def test_plots(tool: Tool, workshop: Workshop) -> None:
    """plot-dataframe draws what plot_config names, plot-profit the trades of the backtest."""
    options = [*PLUGINS, "--datadir", str(workshop.datadir), "--timerange", TIMERANGE]
    tool("plot-dataframe", *options, "-p", BTC)
    tool("plot-profit", *options, "--trade-source", "file")
    plots = workshop.userdir / "plot"
    page = (plots / "freqtrade-plot-BTC_USDT_USDT-1h.html").read_text(encoding="utf-8")
    score = ("asinh_T_hat", "asinh_T", "asinh_long_above", "asinh_short_below")
    for name in (*score, "do_predict_not_1", "sma_100", "bb_upper"):
        assert f'"name":"{name}"' in page, name
    assert (plots / "freqtrade-profit-plot.html").stat().st_size > 0


def test_backtesting_analysis(tool: Tool) -> None:
    """backtesting-analysis groups the trades by the tags the strategy gives."""
    output = tool("backtesting-analysis", "--analysis-groups", "0", "2").output
    assert "enter_long_score" in output
    assert "Group 2" in output


def test_strategy_updater_finds_nothing_to_update(tool: Tool, workshop: Workshop) -> None:
    """strategy-updater changes the looks of the strategy and not what it does."""
    strategy = workshop.userdir / "strategies/ScoreStrategy.py"
    original = strategy.read_text(encoding="utf-8")
    try:
        tool("strategy-updater", "--strategy-list", "ScoreStrategy")
        updated = strategy.read_text(encoding="utf-8")
    finally:
        strategy.write_text(original, encoding="utf-8")
    assert ast.unparse(ast.parse(updated)) == ast.unparse(ast.parse(original))


def frames(workshop: Workshop, timerange: str, *more: str) -> dict[str, DataFrame]:
    """The strategy's frame of each pair, with signals, made as freqtrade's backtest does."""
    args = {
        "config": [*configurations(workshop), *more],
        "user_data_dir": str(workshop.userdir),
        "datadir": str(workshop.datadir),
        "strategy": "ScoreStrategy",
        "freqaimodel": "LSTMRegressor",
        "timerange": timerange,
        "export": "none",
    }
    backtesting = Backtesting(Configuration(args, RunMode.BACKTEST).get_config())
    strategy = backtesting.strategylist[0]
    backtesting._set_strategy(strategy)
    data, _ = backtesting.load_bt_data()
    populated = strategy.advise_all_indicators(data)
    return {
        pair: strategy.ft_advise_signals(frame, {"pair": pair}).set_index("date")
        for pair, frame in populated.items()
    }


def test_nothing_looks_ahead(workshop: Workshop) -> None:
    """Candles cut off after a moment change no column of an earlier one, but by rounding."""
    full = frames(workshop, TIMERANGE)
    start, stop = datetime(2024, 5, 22, tzinfo=UTC), datetime(2024, 5, 26, 7, tzinfo=UTC)
    # With the same models, in a folder of their own: saved predictions are replaced.
    shutil.copytree(workshop.models("tools"), workshop.models("cut"))
    timerange = f"{start.timestamp():.0f}-{stop.timestamp():.0f}"
    cut = frames(workshop, timerange, identifier(workshop, "cut"))
    assert set(cut) == set(full)
    for pair, frame in cut.items():
        # FreqAI predicts no candle at the very end of a time range; before it nothing may differ.
        assert frame["do_predict"].iloc[-2:].tolist() == [1, 0], pair
        # Other columns are left over from making features, which saved predictions spare.
        assert {"T_hat", "T", "&-t_ma", "enter_long", "sma_100"} <= set(full[pair].columns)
        before, expected = frame[full[pair].columns].iloc[:-1], full[pair].loc[frame.index[:-1]]
        pd.testing.assert_frame_equal(before, expected, rtol=1e-6, atol=1e-6, obj=pair)


def test_lookahead_analysis(tool: Tool, workshop: Workshop) -> None:
    """lookahead-analysis finds no biased signal, and names only columns made of predictions."""
    table = workshop.folder / "lookahead.csv"
    options = [*PLUGINS, "--datadir", str(workshop.datadir), "--timerange", TIMERANGE]
    options += ["-c", identifier(workshop, "lookahead", **FEW), "-p", BTC]
    # The table holds strategies with more signals than the minimum.
    amounts = ["--minimum-trade-amount", "1", "--targeted-trade-amount", "2"]
    tool(
        "lookahead-analysis", *options, *amounts, "--lookahead-analysis-exportfilename", str(table)
    )
    row = pd.read_csv(table).iloc[0]
    assert row["total_signals"] == 2
    assert (row["biased_entry_signals"], row["biased_exit_signals"]) == (0, 0)
    named = [name.strip() for name in str(row["biased_indicators"]).split(",")]
    assert [name for name in named if not PREDICTED.fullmatch(name)] == []


def test_recursive_analysis(tool: Tool, workshop: Workshop) -> None:
    """recursive-analysis: 200 start-up candles are enough for every indicator that is plotted."""
    options = [*PLUGINS, "--datadir", str(workshop.datadir), "--timerange", TIMERANGE]
    options += ["-c", identifier(workshop, "recursive", **FEW)]
    output = tool("recursive-analysis", *options, "--startup-candle", "399", "-p", BTC).output
    for name in ("bb_upper", "bb_lower", "sma_100"):
        for row in re.findall(rf"│\s+{name} │(.*)│", output):
            assert {cell.strip().lstrip("-") for cell in row.split("│")} <= {"0.000%", ""}, row
    assert re.search(r"│\s+&-t_ma_mean │", output)


def test_live_predictions_are_replayed(tool: Tool, workshop: Workshop) -> None:
    """--freqai-backtest-live-models makes the trades that the same predictions made before."""
    before = workshop.trades()
    folder = workshop.models("tools")
    history = {}
    for coin in ("BTC", "ETH"):
        predicted = workshop.predictions("tools", coin)
        closes = pd.read_feather(workshop.datadir / f"futures/{coin}_USDT_USDT-1h-futures.feather")
        history[f"{coin}/USDT:USDT"] = predicted.merge(closes, on="date", how="left").assign(
            date_pred=predicted["date"], close_price=lambda rows: rows["close"], DI_values=0.0
        )[[*predicted.columns.drop("date"), "date_pred", "close_price"]]
    with (folder / "historic_predictions.pkl").open("wb") as file:
        cloudpickle.dump(history, file)
    born = int(datetime(2024, 5, 22, tzinfo=UTC).timestamp())
    (folder / "global_metadata.json").write_text(json.dumps({"start_dry_live_date": born}))
    options = [*PLUGINS, "--datadir", str(workshop.datadir), "--freqai-backtest-live-models"]
    run = tool("backtesting", *options, "--cache", "none")
    assert "Starting training" not in run.output
    assert len(before) > 2
    pd.testing.assert_frame_equal(workshop.trades(), before)


@pytest.fixture
def ask(workshop: Workshop) -> Iterator[Callable[..., Any]]:
    """Ask `freqtrade webserver`."""
    arguments = [part for path in configurations(workshop) for part in ("-c", path)]
    arguments += ["--userdir", str(workshop.userdir), "--datadir", str(workshop.datadir)]
    with webserver(workshop.folder, arguments) as asked:
        yield asked


def test_webserver(ask: Callable[..., Any], workshop: Workshop) -> None:
    """webserver gives FreqUI the model, the plot configuration and the frame with predictions."""
    assert ask("ping") == {"status": "pong"}
    with pytest.raises(urllib.error.HTTPError, match="401"):
        ask("strategies", password="bWU6d3Jvbmc=")
    assert "LSTMRegressor" in ask("freqaimodels")["freqaimodels"]
    assert "Score" in ask("plot_config?strategy=ScoreStrategy")["subplots"]
    asked = {"pair": BTC, "timeframe": "1h", "timerange": TIMERANGE, "strategy": "ScoreStrategy"}
    query = urllib.parse.urlencode(asked | {"freqaimodel": "LSTMRegressor"})
    answer = ask(f"pair_history?{query}")
    assert answer["length"] == 240
    assert {"T_hat", "T", "do_predict", "asinh_long_above", "&-t_ma"} <= set(answer["columns"])
    t_hat = [row[answer["columns"].index("T_hat")] for row in answer["data"]]
    assert len({value for value in t_hat if value is not None}) > 200
    assert " - ERROR - " not in (workshop.folder / "webserver.log").read_text()
