"""End to end: the unmodified `freqtrade backtesting` with both plugins, on a generated market."""

import shutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas import Series
from workshop import END, PAIRS, START, Workshop, open_workshop

from freqai_lstm.doctor.symptoms import read_records
from freqai_lstm.exchange.server import LoopbackExchange
from freqai_lstm.freqtrade_run import FreqtradeRun, log_records
from freqai_lstm.market import generate_market
from freqai_lstm.model.quality import COLUMNS
from freqai_lstm.plugins import EXAMPLE_CONFIG, STRATEGY_FILE, load_plugin
from freqai_lstm.rehearse.parity import BacktestPath


pytestmark = pytest.mark.slow

COINS = ("BTC", "ETH")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """One workshop for all tests of this file."""
    with open_workshop(tmp_path_factory.mktemp("workshop")) as opened:
        yield opened


@pytest.fixture(scope="module")
def first(workshop: Workshop) -> FreqtradeRun:
    """The first backtest: everything is trained."""
    return workshop.run(identifier="first")


@pytest.fixture(scope="module")
def score() -> ModuleType:
    return load_plugin(STRATEGY_FILE)


def test_backtest_trains_every_window_and_trades(first: FreqtradeRun, workshop: Workshop) -> None:
    """Two pairs and two windows: four trainings, one summary line each, none failed, and trades."""
    assert first.ok
    assert first.output.count("Starting training") == 4
    assert first.output.count("a straight line explains all of it") == 4
    assert "Training the shared network" not in first.output, "T of the same candle is linear"
    assert not workshop.trades().empty
    assert set(workshop.trades()["is_short"]) == {True, False}


@pytest.mark.parametrize("coin", COINS)
def test_predictions_follow_the_score_out_of_sample(
    first: FreqtradeRun, workshop: Workshop, score: ModuleType, coin: str
) -> None:
    """Every candle is predicted, also the first of each window, and T̂ correlates with T."""
    predicted = workshop.predictions("first", coin)
    assert len(predicted) == 20 * 24
    assert (predicted["do_predict"] == 1).all()
    candles = pd.read_feather(workshop.datadir / f"futures/{coin}_USDT_USDT-1h-futures.feather")
    actual = score.score(candles).set_axis(pd.to_datetime(candles["date"], utc=True))
    actual = actual.reindex(pd.to_datetime(predicted["date"], utc=True)).to_numpy()
    t_hat = score.weigh(predicted, score.ARTICLE_WEIGHTS).to_numpy()
    assert np.std(t_hat) > 0
    assert np.corrcoef(actual, t_hat)[0, 1] >= 0.7


def test_second_run_loads_whole_models_and_trains_a_damaged_one_anew(
    first: FreqtradeRun, workshop: Workshop
) -> None:
    """Saved models predict and trade the same; a truncated one costs one ERROR and one training.

    Trained anew with the same seed, it predicts the same too.
    """
    trades = workshop.trades()
    shutil.copytree(workshop.models("first"), workshop.models("again"))
    shutil.rmtree(workshop.models("again") / "backtesting_predictions")
    archive = sorted(workshop.models("again").glob("sub-train-BTC_*/*_model.npz"))[0]
    archive.write_bytes(archive.read_bytes()[:2000])
    run = workshop.run(identifier="again", check=False)
    assert run.returncode == 0
    assert [str(archive) in error for error in run.errors] == [True]
    assert run.output.count("Starting training") == 1
    assert run.output.count("Found model at") == 3
    assert archive.is_file()
    assert archive.with_name(f"{archive.name}.damaged").is_file()
    for coin in COINS:
        pd.testing.assert_frame_equal(
            workshop.predictions("again", coin), workshop.predictions("first", coin)
        )
    pd.testing.assert_frame_equal(workshop.trades(), trades)


def test_spot_uses_the_same_file_and_never_goes_short(workshop: Workshop) -> None:
    """In spot mode the unchanged strategy trades long only, with DI, SVM, noise and PCA on."""
    pairs = [pair.split(":")[0] for pair in PAIRS]
    generate_market(workshop.datadir, pairs, start=START, end=END, trading_mode="spot")
    with LoopbackExchange(workshop.datadir, trading_mode="spot") as exchange:
        Workshop(workshop.folder, exchange, workshop.datadir).run(
            identifier="spot",
            root={
                "trading_mode": "spot",
                "margin_mode": "",
                "exchange": {"pair_whitelist": pairs},
            },
            feature_parameters={
                "include_corr_pairlist": pairs[:1],
                "DI_threshold": 3,
                "use_SVM_to_remove_outliers": True,
                "principal_component_analysis": True,
                "noise_standard_deviation": 0.01,
                "weight_factor": 0.9,
            },
        )
    trades = workshop.trades()
    assert not trades.empty
    assert not trades["is_short"].any()
    assert "DI_values" in workshop.predictions("spot", "BTC")


@pytest.mark.parametrize(
    ("freqai", "named"),
    [
        (
            {"model_training_parameters": {"unit": 10}},
            ["freqai.model_training_parameters", "'unit'", "'units'"],
        ),
        (
            {"feature_parameters": {"include_corr_pairlist": ["XRP/USDT:USDT"]}},
            ["include_corr_pairlist", "XRP/USDT:USDT", "download-data"],
        ),
    ],
)
def test_refused_settings_stop_the_command_before_any_training(
    workshop: Workshop, freqai: dict[str, Any], named: list[str]
) -> None:
    """A wrong setting ends the command with one clear ERROR, not 0, and nothing trained."""
    run = workshop.run(identifier="refused", check=False, **freqai)
    assert run.returncode != 0
    assert len(run.errors) == 1
    for part in named:
        assert part in run.errors[0]
    assert "Starting training" not in run.output
    assert not list(workshop.models("refused").glob("sub-train-*/*_model.*"))


@pytest.fixture(scope="module")
def delisted(workshop: Workshop) -> Workshop:
    """A backtest, one candle ahead, of a market in which ETH is delisted in the second window."""
    market = Workshop(workshop.folder, workshop.exchange, workshop.folder / "delisted")
    shutil.copytree(workshop.datadir, market.datadir)
    for path in market.datadir.glob("futures/ETH_*"):
        frame = pd.read_feather(path)
        dates = pd.to_datetime(frame["date"], utc=True)
        frame[dates < pd.Timestamp("2024-05-20", tz="UTC")].to_feather(path)
    market.run(
        identifier="delisted",
        feature_parameters={"label_period_candles": 1},
        model_training_parameters={"units": 8, "epochs": 1},
    )
    return market


def test_a_pair_that_is_delisted_in_the_range(delisted: Workshop) -> None:
    """Its windows without candles are left out, the other pair's are predicted, nothing fails."""
    assert len(delisted.predictions("delisted", "BTC")) == 20 * 24
    assert 0 < len(delisted.predictions("delisted", "ETH")) <= 8 * 24


def test_a_window_begins_with_its_past(delisted: Workshop) -> None:
    """Its first predictions know the candles before it, as predictions of the whole frame do."""
    configs = [EXAMPLE_CONFIG, *(delisted.folder / f"{n}.json" for n in ("endpoints", "second"))]
    found = delisted.predictions("delisted", "BTC").set_index("date").head(48)  # with all labels
    path = BacktestPath(configs, delisted.userdir, delisted.datadir, PAIRS[0], Series(found.index))
    (model,) = delisted.models("delisted").glob("sub-train-BTC_1715472000/*_model.npz")
    expected = path.predict(model.stem.removesuffix("_model")).loc[found.index]
    assert (found["do_predict"] == 1).all()
    labels = [column for column in found if column.startswith("&-t_") and column.count("_") == 1]
    assert len(labels) == 9
    np.testing.assert_allclose(found[labels], expected[labels], rtol=1e-4, atol=1e-5)


def causes(run: FreqtradeRun) -> set[str]:
    """What `freqai-lstm doctor` reads in the command's log."""
    records = [" ".join(record.split()) for record in log_records(run.output)]
    return {finding.symptom.cause for finding in read_records(records, 3600) if finding.wrong}


def test_the_alarm_in_a_backtest(workshop: Workshop) -> None:
    """With limits that anything exceeds it stops, says when, and silences what it predicted."""
    run = workshop.run(identifier="alarm", watch={"warn": 1e-4, "stop": 1e-3})
    assert "alarm good -> stop" in run.output
    found = workshop.predictions("alarm", "BTC")
    assert set(COLUMNS) <= set(found)
    assert found["lstm_coverage"].dropna().between(0, 1).all()
    stopped = found[found["lstm_coverage"].notna()]
    assert len(stopped) > 100
    assert (stopped["do_predict"] == 0).all()
    assert np.isfinite(stopped[[name for name in found if name.endswith("_lower")]]).all(axis=None)


WORDS = """
from ScoreStrategy import ScoreStrategy as Base


class Words(Base):
    def set_freqai_targets(self, dataframe, metadata, **kwargs):
        dataframe = super().set_freqai_targets(dataframe, metadata, **kwargs)
        dataframe["&-word"] = "up"
        return dataframe
"""


def test_what_no_training_can_work_with_ends_the_backtest(workshop: Workshop) -> None:
    """The first training says why, once, and the exit code is not 0."""
    (workshop.userdir / "strategies" / "Words.py").write_text(WORDS)
    run = workshop.run("-s", "Words", identifier="unusable", check=False)
    assert run.returncode != 0
    assert len(run.errors) == 1
    assert "&-word" in run.errors[0]
    assert "its training fails" in causes(run)
    assert run.output.count("Starting training") == 1


def test_failed_trainings_are_counted_and_named_at_the_end(workshop: Workshop) -> None:
    """A backtest in which trainings failed goes on, and its last error names each of them."""
    svm = {"shuffle": False, "nu": 1.0}  # every row is an outlier
    run = workshop.run(
        identifier="failed",
        check=False,
        feature_parameters={"use_SVM_to_remove_outliers": True, "svm_params": svm},
    )
    failed = run.output.count("raised exception")
    assert failed == 4
    last = run.errors[-1]
    assert f"{failed} trainings failed" in last
    assert {"a training failed", "a window's training failed"} <= causes(run)
    for folder in workshop.models("failed").glob("sub-train-*"):
        if not list(folder.glob("*_model.npz")):
            assert folder.name.removeprefix("sub-train-") in last
