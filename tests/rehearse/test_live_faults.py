"""A real dry-run through every fault of the exchange, and what it did: predict, trade, say so.

Then what FreqUI gets from that bot over REST, and how Ctrl-C ends it.
"""

import math
import re

import numpy as np
import pytest
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


LABELS = [f"&-t_{t}" for t in ("ma", "macd", "roc", "rsi", "bb", "cci", "obv", "atr", "stoch")]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> FaultyRun:
    """The run that all tests here look at."""
    return live_run(tmp_path_factory.mktemp("live-faults") / "work")


# --------------------------------------------------------------------------- what it showed


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
    """After the last fault a new candle has do_predict 1, and a score the strategy can trade.

    The few candles that the new pair was trained on may all have score 0: no scale, no T̂.
    """
    newest = run.frames[pair].iloc[-1]
    assert newest["date"].timestamp() > run.off["clock"]
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
    thresholds = run.frames[BTC][["long_above", "short_below", "exit_long_below"]].iloc[-1]
    assert thresholds.tolist() == [0.05, -0.05, 0.0]


@pytest.mark.slow
def test_everything_the_plot_shows_is_there(run: FaultyRun) -> None:
    """plot_config comes, and pair_candles has every column that it draws."""
    config = run.answers["plot_config"]
    assert set(config["subplots"]) >= {"Score", "Valid"}
    assert "T_hat" in config["subplots"]["Score"]
    assert "do_predict" in config["subplots"]["Valid"]
    drawn = {*config["main_plot"], *(name for plot in config["subplots"].values() for name in plot)}
    assert drawn <= set(run.frames[BTC])


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
