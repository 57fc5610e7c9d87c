"""What a training leaves behind, on disk and in memory."""

from __future__ import annotations

import contextlib
import logging
import os
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
import numpy as np
import pandas as pd
import rapidjson
from datasieve.pipeline import Pipeline
from freqtrade.freqai.data_drawer import (
    FEATURE_PIPELINE,
    LABEL_PIPELINE,
    METADATA,
    METADATA_NUMBER_MODE,
    TRAINDF,
)
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from numpy.typing import NDArray

from freqai_lstm.model.compiled import CompiledNetwork
from freqai_lstm.model.features import columns_of, own_names
from freqai_lstm.model.interval import Calibration
from freqai_lstm.model.part import network_inputs
from freqai_lstm.model.pool import NetworkPool
from freqai_lstm.model.windows import Floats, Inputs, Rows


logger = logging.getLogger(__name__)

ARRAYS = ("kernel", "bias", "shares", "lowest", "highest")  # of a TrainedLSTM, in `…_ridge.npz`
HISTORY = "history"  # the last training candles, which the first windows after them begin in


class Prediction(NamedTuple):
    """Hold what a model says of windows, each of shape (windows, labels), in scaled labels."""

    mean: Floats  # of the ensemble's members
    spread: Floats  # standard deviation over the members


@dataclass
class TrainedLSTM:
    """Hold a pair's ridge regression and network, with all that turns them into predictions.

    FreqAI keeps one per pair and hands it back as `self.model`. `features` names the columns that
    leave the feature pipeline, with the calendar; `network_features` those that the network reads,
    `columns` says where they are among `features` (-1: zeros).
    """

    network: CompiledNetwork
    weights: Floats  # (members, numbers), see CompiledNetwork
    features: list[str]
    network_features: list[str]
    kernel: Floats  # (features, labels), of the ridge regression
    bias: Floats  # (labels,)
    shares: Floats  # (labels,), of the network
    lowest: Floats  # (features,), seen in training; features beyond count as these
    highest: Floats
    calibration: Calibration  # of the intervals, in the labels' own unit
    report: dict[str, Any] = field(default_factory=dict)
    tb_logger: Any = None  # FreqAI's get_init_model sets it

    @property
    def columns(self) -> NDArray[np.intp]:
        """Where each of the network's features is among `features`, shape (network features,)."""
        return columns_of(self.network_features, self.features)

    def weights_for(self, network: CompiledNetwork, names: list[str], pair: str) -> Floats | None:
        """Return the weights that a network can go on from (continual learning), None for none.

        :param names: of the network's features, of a pooled one without the pair's name.
        """
        shape = (network.parameters.ensemble, len(network.weights()))
        then = self.network_features
        if names in (then, own_names(then, pair)) and self.weights.shape == shape:
            logger.info(f"{pair}: continual learning, starting from the last model.")
            return self.weights
        logger.warning(
            f"{pair}: continual learning cannot start from the last model, its features or layers "
            f"differ ({len(then)} features then, {len(names)} now): starting from fresh weights."
        )
        return None

    def predict(self, inputs: Inputs, ends: Rows) -> Prediction:
        """Predict the windows that end at `ends`."""
        # A linear model goes on for ever beyond what it has seen, a new price record for example.
        features = np.clip(np.asarray(inputs.features), self.lowest, self.highest)
        inputs = Inputs(features, inputs.candles)
        # In 64 bits, so that one row gives what it gives among many.
        mean = features[ends].astype(float) @ self.kernel + self.bias  # (windows, labels)
        spread = np.zeros_like(mean)
        if self.shares.any():
            seen = network_inputs(inputs, self.columns)
            members = [self.network.predict(weights, seen, ends) for weights in self.weights]
            mean = mean + self.shares * np.mean(members, axis=0)
            spread = self.shares * np.std(members, axis=0)
        return Prediction(mean, spread)


@dataclass(frozen=True)
class SavedModel:
    """Hold a pair's model with all that belongs to it, as one training left it at `path`."""

    path: Path
    model: TrainedLSTM
    metadata: dict[str, Any]
    feature_pipeline: Pipeline
    label_pipeline: Pipeline
    history: pd.DataFrame

    def hand_over(self, dk: FreqaiDataKitchen) -> TrainedLSTM:
        """Give FreqAI's kitchen what it needs to predict with this model; return the model."""
        dk.data = self.metadata
        dk.feature_pipeline, dk.label_pipeline = self.feature_pipeline, self.label_pipeline
        dk.training_features_list = self.metadata["training_features_list"]
        dk.label_list = self.metadata["label_list"]
        dk.data_dictionary[HISTORY] = self.history
        return self.model


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; put it in place of `path` only once it is complete."""
    temporary = path.with_name(f"~{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def model_path(dk: FreqaiDataKitchen, save_type: str) -> Path:
    """Return where FreqAI looks for the model of the kitchen's training window."""
    suffix = "keras" if save_type == "keras" else "joblib"
    return Path(dk.data_path) / f"{dk.model_filename}_model.{suffix}"


def _member(path: Path, number: int) -> str:
    return f"member_{number}{path.suffix}"


def _beside(path: Path, kind: str) -> Path:
    return path.with_name(path.name.partition("_model.")[0] + f"_{kind}")


def write_model(path: Path, model: TrainedLSTM, dk: FreqaiDataKitchen, encoder: Any) -> SavedModel:
    """Write a model and all that belongs to it; the model file is put in place last.

    File names and contents are FreqAI's, plus `…_history.feather`, `…_ridge.npz` and an archive
    for each further member of an ensemble.

    :param encoder: FreqAI's JSON encoder of NumPy numbers.
    :raises OSError: nothing of the sub-train folder has changed then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    saved = SavedModel(
        path, model, dk.data, dk.feature_pipeline, dk.label_pipeline, dk.data_dictionary[HISTORY]
    )
    with contextlib.ExitStack() as complete:

        def place(kind: str) -> Path:
            return complete.enter_context(replacing(_beside(path, kind)))

        # What is entered first is moved to its place last.
        archive = complete.enter_context(replacing(path))
        with place(f"{METADATA}.json").open("w") as file:
            rapidjson.dump(dk.data, file, default=encoder, number_mode=METADATA_NUMBER_MODE)
        for kind, content in (
            (FEATURE_PIPELINE, saved.feature_pipeline),
            (LABEL_PIPELINE, saved.label_pipeline),
            (TRAINDF, dk.data_dictionary["train_features"]),
            ("trained_dates_df", dk.data_dictionary["train_dates"]),
        ):
            with place(f"{kind}.pkl").open("wb") as binary:
                cloudpickle.dump(content, binary)
        saved.history.to_feather(place(f"{HISTORY}.feather"))
        with place("ridge.npz").open("wb") as binary:
            arrays = {name: getattr(model, name) for name in ARRAYS}
            np.savez(binary, **arrays, **asdict(model.calibration))
        with model.network.lock:
            for number, weights in enumerate(model.weights, start=1):
                model.network.set_weights(weights)
                target = archive if number == 1 else place(_member(path, number))
                if path.suffix == ".keras":
                    model.network.model.save(target)
                else:
                    with target.open("wb") as binary:
                        cloudpickle.dump(model.network.model, binary)
    return saved


def read_model(path: Path, pool: NetworkPool) -> SavedModel:
    """Read a model and all that belongs to it.

    Archives open in Keras' safe mode; pipelines and joblib models are pickles, as FreqAI's are.

    :raises Exception: whatever damaged bytes raise while they are read.
    """
    with _beside(path, f"{METADATA}.json").open() as file:
        metadata = rapidjson.load(file, number_mode=METADATA_NUMBER_MODE)
    pipelines = []
    for kind in (FEATURE_PIPELINE, LABEL_PIPELINE):
        with _beside(path, f"{kind}.pkl").open("rb") as binary:
            pipelines.append(cloudpickle.load(binary))
    history = pd.read_feather(_beside(path, f"{HISTORY}.feather"))
    with np.load(_beside(path, "ridge.npz")) as file:
        arrays = {name: file[name] for name in ARRAYS}
        calibration = Calibration(file["errors"], file["missed"])
    first = _read_network(path, pool)
    network, members = pool.network_of(first), [first]
    for number in range(2, metadata["members"] + 1):
        members.append(_read_network(_beside(path, _member(path, number)), pool))
    model = TrainedLSTM(
        network,
        np.stack([network.vector(member) for member in members]),
        list(metadata["features"]),
        list(metadata["network_features"]),
        **arrays,
        calibration=calibration,
        report=metadata["training_report"],
    )
    return SavedModel(path, model, metadata, pipelines[0], pipelines[1], history)


def _read_network(path: Path, pool: NetworkPool) -> Any:
    keras = pool.start()
    if path.suffix != ".keras":
        with path.open("rb") as binary:
            return cloudpickle.load(binary)
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged:
        raise zipfile.BadZipFile(f"checksum of {damaged} is wrong")
    return keras.saving.load_model(path, compile=False)
