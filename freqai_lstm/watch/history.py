"""What a bot has predicted, beside the labels that are known by now.

FreqAI keeps every live prediction in `historic_predictions.pkl`. A running bot has its newest
candles in memory only: they come from its REST API where that is on, else from the data folder.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pandas as pd
from freqtrade.exchange import timeframe_to_seconds
from freqtrade_client.ft_rest_client import FtRestClient

from freqai_lstm.evaluate.data import Predictions, beside_labels
from freqai_lstm.evaluate.setup import EvaluationFailed, Setup, load_candles, models_folder


History = dict[str, pd.DataFrame]


def read_history(models: Path) -> History:
    """FreqAI's saved predictions by pair; its backup where the file was cut off while written."""
    for name in ("historic_predictions.pkl", "historic_predictions.backup.pkl"):
        path = models / name
        if path.exists():
            try:
                history: History = pd.read_pickle(path)
            except (EOFError, pickle.UnpicklingError):
                continue
            return history
    return {}


def live_history(config: dict[str, Any]) -> History:
    """By pair the bot's predictions from its first valid one on, with `date`.

    :raises EvaluationFailed: it has predicted nothing.
    """
    saved, folder = {}, models_folder(config)
    for pair, frame in read_history(folder).items():
        dates = pd.to_datetime(frame["date_pred"], utc=True)
        frame = frame.drop(columns="date_pred").assign(date=dates).drop_duplicates("date")
        first = frame.loc[frame["do_predict"] == 1, "date"].min()
        if pd.notna(first):
            saved[pair] = frame[frame["date"] >= first]
    if not saved:
        raise EvaluationFailed(
            f"Expected predictions of a bot in {folder / 'historic_predictions.pkl'}, got none. "
            "Check --userdir and freqai.identifier; a bot saves them after its first pass. "
            "Predictions of a backtest are measured by `freqai-lstm evaluate`."
        )
    return saved


def live_predictions(setup: Setup, saved: History) -> tuple[Predictions, list[str]]:
    """Predictions beside labels, and notes on what is missing.

    A row's `realised` is NaN while its label is not known yet.

    :param saved: from `live_history`.
    :raises EvaluationFailed: they are predictions of something else, or candles are missing.
    """
    notes = []
    candles = {pair: newest_candles(setup, pair) for pair in saved}
    for pair, frame in saved.items():
        predicted = frame["date"].iloc[-1]
        there = candles[pair]["date"].iloc[-1]
        if there < predicted:
            notes.append(
                f"{pair}: candles end at {there:%Y-%m-%d %H:%M}, predictions at "
                f"{predicted:%Y-%m-%d %H:%M}. Run `freqtrade download-data --pairs {pair}`, or "
                "switch on the bot's REST API."
            )
    whole = {pair: {int(of["date"].iloc[0].timestamp()): of} for pair, of in saved.items()}
    found = beside_labels(setup, candles, whole, setup.folder / "historic_predictions.pkl")
    _only_known(found)
    return found, notes


def newest_candles(setup: Setup, pair: str) -> pd.DataFrame:
    """The stored candles of a pair, and newer ones from the bot's REST API where it is on.

    :raises EvaluationFailed: there are none; or a gap lies between the two.
    """
    stored = load_candles(setup, pair)
    api = setup.config.get("api_server", {})
    if not api.get("enabled", False):
        return stored
    served = _served(api, pair, setup.config["timeframe"])
    if served.empty:
        return stored
    step = pd.Timedelta(seconds=timeframe_to_seconds(setup.config["timeframe"]))
    if served["date"].iloc[0] > stored["date"].iloc[-1] + step:
        raise EvaluationFailed(
            f"{pair}: expected candles without a gap, got stored ones up to "
            f"{stored['date'].iloc[-1]:%Y-%m-%d %H:%M} and the bot's from "
            f"{served['date'].iloc[0]:%Y-%m-%d %H:%M} on. Run `freqtrade download-data "
            f"--pairs {pair}`."
        )
    both = pd.concat([stored, served[list(stored)]])
    return both.drop_duplicates("date", keep="first").sort_values("date", ignore_index=True)


def _served(api: dict[str, Any], pair: str, timeframe: str) -> pd.DataFrame:
    """Open, high, low, close and volume as the bot has them; empty where it does not run."""
    client = FtRestClient(
        f"http://{api['listen_ip_address']}:{api['listen_port']}",
        api.get("username"),
        api.get("password"),
    )
    answer = client.pair_candles(pair, timeframe, columns=[])
    if answer is None:
        return pd.DataFrame()
    if "data" not in answer:
        raise EvaluationFailed(
            f"The bot's REST API at port {api['listen_port']} gives no candles of {pair}: {answer}."
            " Check api_server.username and password."
        )
    frame = pd.DataFrame(answer["data"], columns=answer["columns"])
    return frame.assign(date=pd.to_datetime(frame["date"], utc=True).astype("datetime64[ms, UTC]"))


def _only_known(found: Predictions) -> None:
    """Take out labels that later candles can still change."""
    for target, ahead in found.look_ahead.items():
        for pair, candles in found.candles.items():
            here = (found.rows["target"] == target) & (found.rows["pair"] == pair)
            settled = candles.index[-1 - ahead] if ahead is not None else None
            if settled is None:
                found.rows.loc[here, "realised"] = float("nan")
            else:
                found.rows.loc[here & (found.rows["date"] > settled), "realised"] = float("nan")
