"""Real dry-runs: killed and started again, from a backtest's models, through an exchange's faults.

The three run at the same time, because a bot mostly waits for candles. Then what FreqUI gets from
the last one over REST, and how Ctrl-C ends it.
"""

import io
import json
import math
import re
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
from conftest import hide_tensorflow
from faulty_run import (
    ADA,
    BNB,
    BTC,
    EXPECTED_ERRORS,
    FAULT_OF,
    NAMED_BY,
    OUTDATED,
    PAIRS,
    SIGINT_IN_COMMIT,
    SOL,
    XRP,
    FaultyRun,
    live_run,
)
from independent import assert_figures
from rich.console import Console

from freqai_lstm.log import LogSummary
from freqai_lstm.model.storage import read_model
from freqai_lstm.rehearse.bot import Bot
from freqai_lstm.rehearse.rehearsal import Rehearsal
from freqai_lstm.rehearse.summary import read_trades
from freqai_lstm.watch.command import watch
from freqai_lstm.watch.history import read_history


LABELS = [f"&-t_{t}" for t in ("ma", "macd", "roc", "rsi", "bb", "cci", "obv", "atr", "stoch")]


# What the killed run told, as a pipe would get it.
CONSOLE = Console(file=io.StringIO(), log_path=False, width=200)


class Patient(Rehearsal):
    """Each life goes on until there is enough to look at, however busy the machine is."""

    hiding: Mapping[str, str] = MappingProxyType({})  # variables of each life

    def _wait_for_moment(self, bot: Bot) -> None:
        self.wait(bot, predicted=1, trained=1, closed=0)
        super()._wait_for_moment(bot)

    def bot(self, env: Mapping[str, str] | None = None) -> Bot:
        bot = super().bot({**(env or {}), **self.hiding})
        if len(self.bots) == 2:
            interrupt = bot.interrupt

            def when_enough(timeout: float = 300) -> float:
                # Three labels are to be measured; that of the last candle is not known yet.
                self.wait(bot, predicted=4, trained=2, closed=1)
                return interrupt(timeout)

            bot.interrupt = when_enough  # type: ignore[method-assign]
        return bot

    def wait(self, bot: Bot, *, predicted: int, trained: int, closed: int) -> None:
        """Let it run until each pair was predicted and trained so often, and trades were closed.

        Both lives count, but one prediction is this bot's. Models of a backtest are not trained
        anew. It waits five minutes at the most: the tests say what there is not.
        """

        def enough() -> bool:
            history = read_history(self.models)
            for pair in self.pairs:
                frame = history.get(pair, pd.DataFrame({"do_predict": [], "date_pred": []}))
                valid = frame.loc[frame["do_predict"] == 1, "date_pred"]
                if len(valid) < predicted or valid.iloc[-1].timestamp() + 60 < bot.started:
                    return False
            if self.from_backtest:
                return True
            logs = [LogSummary.read(life.output()) for life in self.bots]
            trainings = [pair for log in logs for pair, _ in log.trained]
            often = all(trainings.count(pair) >= trained for pair in self.pairs)
            return often and read_trades(self.database)["closed"] >= closed

        deadline = time.monotonic() + 300
        while not enough() and time.monotonic() < deadline:
            bot.watch(2)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Future]:
    """All three, done.

    `killed` trains anew each minute, and gets kill -9 during a training; `served` is trained by a
    backtest, runs without TensorFlow and is killed half way; `faulty` meets every fault of the
    exchange.
    """
    anew = {"minimal_roi": {"1": -1}, "freqai": {"live_retrain_hours": 0.015}}
    killed = Patient(
        tmp_path_factory.mktemp("killed") / "work",
        minutes=4.25,
        pairs=2,
        kill="training",
        overrides=anew,
        console=CONSOLE,
    )
    workdir = tmp_path_factory.mktemp("served") / "work"
    quick = {"freqai": {"model_training_parameters": {"epochs": 2}}}
    served = Patient(
        workdir, minutes=2.5, pairs=2, kill="between", from_backtest=True, overrides=quick
    )
    served.hiding = hide_tensorflow(tmp_path_factory.mktemp("hiding"))
    with ThreadPoolExecutor() as threads:
        return {
            "faulty": threads.submit(live_run, tmp_path_factory.mktemp("faulty") / "work"),
            "killed": threads.submit(lambda: (killed, killed.run())),
            "served": threads.submit(lambda: (served, served.run())),
        }


@pytest.fixture(scope="module")
def rehearsal(runs: dict[str, Future]) -> tuple[Rehearsal, dict[str, Any]]:
    """The run that is killed during a training, and its summary."""
    return runs["killed"].result()


@pytest.fixture(scope="module")
def served(runs: dict[str, Future]) -> tuple[Rehearsal, dict[str, Any]]:
    """The run with a backtest's models, and its summary."""
    return runs["served"].result()


@pytest.fixture(scope="module")
def run(runs: dict[str, Future]) -> FaultyRun:
    """The run through the faults."""
    return runs["faulty"].result()


# ------------------------------------------------------------------------ killed in a training


@pytest.mark.slow
def test_nothing_went_wrong(rehearsal: tuple[Rehearsal, dict]) -> None:
    """No failed training, no ERROR, no traceback, no missed candle; SIGINT ends the bot."""
    _, summary = rehearsal
    assert summary["problems"] == []
    assert len(summary["stop_seconds"]) == 1


@pytest.mark.slow
def test_every_candle_is_predicted(rehearsal: tuple[Rehearsal, dict]) -> None:
    """Both pairs have a prediction for every candle after their first, in both lives."""
    run, summary = rehearsal
    assert summary["candles_missed"] == 0
    assert {(row["pair"], row["killed"]) for row in summary["candles"]} == {
        (pair, killed) for pair in run.pairs for killed in (True, False)
    }
    assert all(row["predicted"] >= 1 for row in summary["candles"] if not row["killed"])


@pytest.mark.slow
def test_restart_goes_on_where_it_was(rehearsal: tuple[Rehearsal, dict]) -> None:
    """The saved models serve at once, are not trained before their time, and history is kept."""
    run, summary = rehearsal
    assert summary["history_kept"]
    assert summary["trainings_too_early"] == []
    assert "No model ready" in run.bots[0].output()
    assert "No model ready" not in run.bots[1].output()
    # The first candle that closes after the start is predicted.
    assert all(row["before_first"] <= 1 for row in summary["candles"] if not row["killed"])


@pytest.mark.slow
def test_it_trains_and_trades(rehearsal: tuple[Rehearsal, dict]) -> None:
    """Both pairs were trained more than once; trades were opened, and closed."""
    _, summary = rehearsal
    assert summary["trainings"] >= 4
    assert summary["trainings_failed"] == 0
    assert summary["trades"]["all"] >= 1
    assert summary["trades"]["closed"] >= 1


@pytest.mark.slow
def test_live_equals_backtest(rehearsal: tuple[Rehearsal, dict]) -> None:
    """Within 1e-5 label standard deviations, also a model's first candles and after the restart."""
    _, summary = rehearsal
    predicted = summary["candles_predicted"]
    # A restart also predicts the candle that closed before it.
    assert summary["parity"]["candles"] >= predicted > 0
    assert summary["parity"]["models"] >= 2
    assert summary["parity"]["worst_difference"] <= 1e-5
    assert summary["parity"]["older_model_in_force"] == 0


@pytest.mark.slow
def test_summary_is_written(rehearsal: tuple[Rehearsal, dict]) -> None:
    """The figures are in summary.json, with the memory of each life."""
    run, summary = rehearsal
    stored = json.loads((run.workdir / "summary.json").read_text())
    assert stored["candles_predicted"] == summary["candles_predicted"]
    assert len(stored["memory"]) == 2
    assert all(life["peak"] >= life["end"] > 0 for life in stored["memory"])


@pytest.mark.slow
def test_watch_measures_what_the_bot_left(rehearsal: tuple[Rehearsal, dict]) -> None:
    """Its figures equal an independent calculation, after kill -9 and restart; trades are read."""
    run, summary = rehearsal
    output = run.workdir / "watch.json"
    with pytest.raises(typer.Exit):
        watch(
            config=run.configs,
            userdir=run.userdir,
            datadir=run.workdir / "served",
            db_url=f"sqlite:///{run.database}",
            log=run.bots[-1].log,
            json_file=output,
        )
    report = json.loads(output.read_text())
    assert report["trades"]["all"] == summary["trades"]["all"]
    assert report["health"]["log"]["failed_trainings"] == []
    for pair, history in read_history(run.models).items():
        coin = pair.split("/")[0]
        folder = run.workdir / "served" / "futures"
        candles = pd.read_feather(folder / f"{coin}_USDT_USDT-1m-futures.feather")
        assert assert_figures(report, "all", pair, history, candles, 1) >= 3


@pytest.mark.slow
def test_it_tells_what_happens(rehearsal: tuple[Rehearsal, dict]) -> None:
    """Trainings, first predictions, minutes, kill -9, the end and warnings are told in order."""
    run, summary = rehearsal
    assert isinstance(CONSOLE.file, io.StringIO)
    told = CONSOLE.file.getvalue()
    order = ["2 pairs", "Trained BTC", "Killed", "First prediction", "Stopped"]
    places = [told.index(order[0])]
    for word in order[1:]:
        places.append(told.index(word, places[-1]))
    assert all(f"Trained {pair}" in told for pair in run.pairs)
    assert "Warning: No model ready" in told
    assert "Minute 1 of 4.25" in told
    assert summary["first_prediction_seconds"][-1] > 0


# ------------------------------------------------------------------- from backtest to live


@pytest.mark.slow
def test_backtest_models_serve_from_the_first_candle(served: tuple[Rehearsal, dict]) -> None:
    """No training, no "no model ready"; the candle before the start is predicted already.

    The models have a network, and the bot has no TensorFlow.
    """
    run, summary = served
    assert summary["problems"] == []
    assert summary["trainings"] == 0
    assert list((run.models / "networks").glob("*.keras"))
    lives = [LogSummary.read(life.output()) for life in run.bots]
    history = read_history(run.models)
    for pair in run.pairs:
        predicted = history[pair].loc[history[pair]["do_predict"] == 1, "date_pred"]
        first_close = predicted.iloc[0].timestamp() + 60
        # The first pass took the newest candle there was, or its download did.
        assert lives[0].passes[0][0] - first_close < 120
        assert first_close <= run.bots[0].started + 60


@pytest.mark.slow
def test_kill_loses_no_prediction(served: tuple[Rehearsal, dict]) -> None:
    """Without any training to save it, the history is on disk after each pass."""
    _, summary = served
    assert summary["history_kept"]
    assert summary["candles_lost_by_kill"] == 0
    assert summary["parity"]["candles"] >= summary["candles_predicted"] > 0
    assert summary["parity"]["worst_difference"] <= 1e-5


@pytest.mark.slow
def test_served_labels_were_relative(served: tuple[Rehearsal, dict]) -> None:
    """What was compared above had been multiplied by a size, in the backtest and live."""
    run, _ = served
    stored = list(run.models.glob("sub-train-*/*_model.npz"))
    assert stored
    for file in stored:
        assert read_model(file).model.space.scale_feature == "%-label_scale"


# ------------------------------------------------------------------- through every fault


@pytest.mark.slow
def test_bot_never_crashed(run: FaultyRun) -> None:
    """It ran until SIGINT; no ERROR and no traceback but those that name one of two faults."""
    unexplained = [
        text
        for _, text in run.records
        if re.search(r" - (ERROR|CRITICAL) - |Traceback", text)
        and not re.search(EXPECTED_ERRORS, text)
    ]
    assert unexplained == []
    # freqtrade's own exit code after SIGINT.
    assert run.returncode == 130


@pytest.mark.slow
@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair != XRP])
def test_pair_predicts_again(run: FaultyRun, pair: str) -> None:
    """A candle that closed after the last fault has do_predict 1, and a score that can be traded.

    The few candles that the new pair was trained on may all have score 0: no scale, no T̂.
    """
    newest = run.frames[pair].iloc[-1]
    assert newest["date"].timestamp() + 60 > run.off["clock"]
    assert newest["do_predict"] == 1
    assert math.isfinite(newest["T_hat"]) or pair == ADA


@pytest.mark.slow
def test_no_prediction_while_a_price_of_zero_bends_averages(run: FaultyRun) -> None:
    """For 100 candles after a price of 0 the score's longest average is wrong: no prediction."""
    assert (run.history[XRP].loc[run.on["zero"] :, "do_predict"] == 0).all()
    assert not (run.trades.loc[run.trades["opened"] > run.off["zero"], "pair"] == XRP).any()


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS)
def test_pair_is_trained_again(run: FaultyRun, pair: str) -> None:
    """After its fault each pair is trained and saved again, one that was delisted meanwhile too."""
    assert run.said(rf"{pair}: .*\btrained\b.* windows", run.off[FAULT_OF.get(pair, "error")])


@pytest.mark.slow
@pytest.mark.parametrize("pair", [SOL, XRP])
def test_impossible_candles_are_not_predicted(run: FaultyRun, pair: str) -> None:
    """A candle without trades, or at price 0, is seen by the bot and has do_predict 0."""
    kind = FAULT_OF[pair]
    first = math.ceil(run.on[kind] / 60) * 60
    last = math.ceil(run.off[kind] / 60) * 60 - 60
    rows = run.history[pair].loc[first:last]
    assert len(rows) >= 1
    assert (rows["do_predict"] == 0).all()
    # What the bot could see while nobody could know better: before the fault it did predict.
    assert run.history[pair].loc[first - 60, "do_predict"] == 1


@pytest.mark.slow
def test_every_candle_has_one_row(run: FaultyRun) -> None:
    """Gaps, an outage and a clock that steps back leave no candle twice, none out of order."""
    for pair, history in run.history.items():
        steps = np.diff(history.index.to_numpy())
        assert (steps == 60).all(), pair


@pytest.mark.slow
def test_no_signal_without_a_prediction(run: FaultyRun) -> None:
    """In what FreqUI shows, only candles with do_predict 1 enter or leave, and some do enter."""
    signals = ["enter_long", "enter_short", "exit_long", "exit_short"]
    for pair, frame in run.frames.items():
        silent = frame.loc[frame["do_predict"] != 1, [*signals, "T_hat"]]
        assert len(silent) > 0, pair
        assert (silent[signals].fillna(0) == 0).all(axis=None), pair
        assert silent["T_hat"].isna().all(), pair
    entered = [frame[signals[:2]].fillna(0).any(axis=None) for frame in run.frames.values()]
    assert sum(entered) >= 4


@pytest.mark.slow
def test_no_trade_on_a_made_up_prediction(run: FaultyRun) -> None:
    """Each trade was opened on a predicted candle that freqtrade did not call outdated."""
    assert len(run.trades) >= 4
    for pair, opened in run.trades[["pair", "opened"]].itertuples(index=False):
        history = run.history[pair]
        # FreqAI fills what it did not predict with zeros, the labels' deviation too.
        seen = history[history["&-t_ma_std"] > 0]
        # While the exchange's clock is ahead, a candle is there before its time.
        early = 60 if run.on["clock"] <= opened <= run.off["clock"] + 60 else 0
        seen = seen[seen.index + 60 <= opened + early]
        assert seen["do_predict"].iloc[-1] == 1, (pair, opened)
        assert opened - seen.index[-1] <= OUTDATED + 1, (pair, opened)


@pytest.mark.slow
def test_no_trade_while_it_could_not_be(run: FaultyRun) -> None:
    """No entry on the delisted pair, none while all answers were errors."""
    opened = run.trades["opened"]
    delisted = opened.between(run.on["delisted"], run.off["delisted"])
    assert not (delisted & (run.trades["pair"] == BNB)).any()
    # An order on its way when the exchange went away may still be noted a moment later.
    assert not opened.between(run.on["error"] + 2, run.off["error"]).any()


@pytest.mark.slow
@pytest.mark.parametrize("fault", NAMED_BY)
def test_log_names_pair_and_cause(run: FaultyRun, fault: str) -> None:
    """One line of the log says which pair it is and what is the matter."""
    assert run.said(NAMED_BY[fault], run.on.get(fault, 0.0))


# ------------------------------------------------------------------- REST, and the end of it


@pytest.mark.slow
def test_candles_carry_the_predicted_score(run: FaultyRun) -> None:
    """pair_candles shows T̂ beside T, the thresholds, do_predict and the nine labels."""
    for pair in PAIRS:
        frame = run.frames[pair]
        assert {"T_hat", "T", "do_predict", *LABELS, "enter_long", "exit_long"} <= set(frame)
        valid = frame[frame["do_predict"] == 1]
        assert len(valid) > 0
        # Where all labels of a training were equal, a score has no scale.
        assert valid["T_hat"].notna().all() or pair == ADA
    lines = ["asinh_long_above", "asinh_short_below", "asinh_exit_long_below"]
    thresholds = np.sinh(run.frames[BTC][lines].iloc[-1])
    assert thresholds.tolist() == pytest.approx([0.05, -0.05, 0.0])


@pytest.mark.slow
def test_everything_the_plot_shows_is_there(run: FaultyRun) -> None:
    """pair_candles has every column that plot_config draws, and areas where models begin."""
    config = run.answers["plot_config"]
    assert {"asinh_T_hat", "do_predict_not_1"} <= set(config["subplots"]["Score"])
    drawn = {*config["main_plot"], *(name for plot in config["subplots"].values() for name in plot)}
    assert drawn <= set(run.frames[BTC])
    trained = [area for area in run.areas[BTC] if area["label"] in ("model", "network")]
    assert trained
    first = run.frames[BTC]["date"].iloc[0]
    assert all(pd.Timestamp(area["start"]) >= first for area in trained)


@pytest.mark.slow
def test_status_and_login(run: FaultyRun) -> None:
    """Open trades are those of the bot; name and password give a token; others get nothing."""
    assert run.answers["ping"] == {"status": "pong"}
    assert all(trade["pair"] in PAIRS for trade in run.answers["status"])
    assert all(trade["is_open"] for trade in run.answers["status"])
    assert run.answers["status by token"] == 200
    assert run.answers["status without password"] == 401


@pytest.mark.slow
def test_password_is_nowhere(run: FaultyRun) -> None:
    """The password given by the environment is neither in the log nor in a configuration."""
    assert not run.said(re.escape(run.password))
    configs = [path.read_text(encoding="utf-8") for path in run.rehearsal.configs]
    assert run.password not in "".join(configs)


@pytest.mark.slow
def test_interrupt_ends_the_bot(run: FaultyRun) -> None:
    """SIGINT ends it with freqtrade's exit code for that, nothing breaks, the history is saved."""
    assert run.returncode == 130
    (ending,) = (when for when, text in run.records if "worker found ... calling exit" in text)
    assert [
        text
        for text in run.said(r"Traceback| - (ERROR|CRITICAL) - ", ending)
        if not re.search(SIGINT_IN_COMMIT, text)
    ] == []
    assert run.said("Stopping FreqAI", ending)
    assert run.said("SIGINT received, aborting", ending)
    for pair in set(PAIRS) - {XRP}:
        shown = run.frames[pair].iloc[-1]
        assert run.history[pair].loc[shown["date"].timestamp(), "do_predict"] == 1
