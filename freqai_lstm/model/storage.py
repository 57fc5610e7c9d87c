"""What a training leaves behind, on disk and in memory."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle
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

from freqai_lstm.model.compiled import CompiledNetwork
from freqai_lstm.model.pool import NetworkPool
from freqai_lstm.model.windows import Floats, Inputs, Rows


HISTORY = "history"  # the last training candles, which the first windows after them begin in


@dataclass
class TrainedLSTM:
    """Hold the weights of one training, and the network that knows what to do with them.

    FreqAI keeps one per pair and hands it back as `self.model`.
    """

    network: CompiledNetwork
    weights: Floats  # (numbers,), see CompiledNetwork
    features: list[str]  # input columns, as they leave the feature pipeline
    report: dict[str, Any] = field(default_factory=dict)  # of Training.run
    tb_logger: Any = None  # FreqAI's get_init_model sets it

    def predict(self, inputs: Inputs, ends: Rows) -> Floats:
        """Predict the windows that end at `ends`; return (windows, labels)."""
        return self.network.predict(self.weights, inputs, ends)


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


def _beside(path: Path, kind: str) -> Path:
    return path.with_name(path.name.partition("_model.")[0] + f"_{kind}")


def write_model(path: Path, model: TrainedLSTM, dk: FreqaiDataKitchen, encoder: Any) -> SavedModel:
    """Write a model and all that belongs to it; the model file is put in place last.

    File names and contents are FreqAI's, plus `…_history.feather`.

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
        with model.network.lock:
            model.network.set_weights(model.weights)
            if path.suffix == ".keras":
                model.network.model.save(archive)
            else:
                with archive.open("wb") as binary:
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
    keras = pool.start()
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged:
            raise zipfile.BadZipFile(f"checksum of {damaged} is wrong")
        loaded = keras.saving.load_model(path, compile=False)
    else:
        with path.open("rb") as binary:
            loaded = cloudpickle.load(binary)
    network = pool.network_of(loaded)
    model = TrainedLSTM(
        network,
        network.vector(loaded),
        list(metadata["network_features"]),
        metadata["training_report"],
    )
    return SavedModel(path, model, metadata, pipelines[0], pipelines[1], history)
