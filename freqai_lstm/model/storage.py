"""What trainings leave on disk: a pair's model, and the shared networks.

Everything written here is opened without pickle: arrays, JSON and Keras archives. The pipeline of
the features is a pickle, as FreqAI writes it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import logging
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import rapidjson
from datasieve.pipeline import Pipeline
from freqtrade.freqai.data_drawer import FEATURE_PIPELINE, METADATA, METADATA_NUMBER_MODE
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen

from freqai_lstm.model.forward import Forward
from freqai_lstm.model.hybrid import PairModel
from freqai_lstm.model.interval import ErrorSizes
from freqai_lstm.model.labels import LabelSpace
from freqai_lstm.model.shared_network import PairScales, SharedNetwork


logger = logging.getLogger(__name__)

HISTORY = "history"  # the last training candles, which the first windows after them begin in
NETWORKS = "networks"  # folder of the shared networks, in that of the identifier
IN_ARCHIVE = "freqai_lstm.npz"  # member of a Keras archive: weights and scales, as NumPy reads them
ARRAYS = (
    *("column_scale", "lowest", "highest", "kernel", "bias", "exact_kernel", "exact_bias"),
    *("exact", "network_factors", "levels"),
)
WEIGHTS = ("weights", "earlier")  # of the network, and of the one before it
SCALES = ("levels", "columns", "features")
NETWORK = ("conv_width", "features", "in_windows")


class Damaged(Exception):
    """A file of a saved model is not what was written: cut off, changed, or missing."""


@dataclass(frozen=True)
class SavedModel:
    """Hold a pair's model with all that belongs to it, as one training left it at `path`."""

    path: Path
    model: PairModel
    metadata: dict[str, Any]
    feature_pipeline: Pipeline
    history: pd.DataFrame

    def hand_over(self, dk: FreqaiDataKitchen) -> PairModel:
        """Give FreqAI's kitchen what it needs to predict with this model; return the model."""
        dk.data = self.metadata
        dk.feature_pipeline = self.feature_pipeline
        dk.training_features_list = self.metadata["training_features_list"]
        dk.label_list = self.metadata["label_list"]
        dk.data_dictionary[HISTORY] = self.history
        return self.model


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; put it in place of `path` only once it is on the disk."""
    temporary = path.with_name(f"~{path.name}")
    try:
        yield temporary
        # Without it a power cut can leave an empty file under the new name.
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk: without it a power cut can bring back the old file."""
    if os.name == "nt":  # Windows opens no folders
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def model_path(dk: FreqaiDataKitchen) -> Path:
    """Return where the model of the kitchen's training window is."""
    return Path(dk.data_path) / f"{dk.model_filename}_model.npz"


def _beside(path: Path, kind: str) -> Path:
    return path.with_name(path.name.partition("_model.")[0] + f"_{kind}")


def write_model(path: Path, model: PairModel, dk: FreqaiDataKitchen, encoder: Any) -> SavedModel:
    """Write a model and all that belongs to it; the model file is put in place last.

    The model holds its network's weights, so that a folder can be copied alone. File names are
    FreqAI's, without those of which nothing is read again.

    :param encoder: FreqAI's JSON encoder of NumPy numbers.
    :raises OSError: nothing of the sub-train folder has changed then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sync_folder(path.parent.parent)
    history = dk.data_dictionary[HISTORY]
    with contextlib.ExitStack() as complete:
        # What is entered first is moved to its place last.
        archive = complete.enter_context(replacing(path))
        kinds = (f"{METADATA}.json", f"{FEATURE_PIPELINE}.pkl", f"{HISTORY}.feather")
        parts = {kind: complete.enter_context(replacing(_beside(path, kind))) for kind in kinds}
        with parts[f"{METADATA}.json"].open("w") as file:
            rapidjson.dump(dk.data, file, default=encoder, number_mode=METADATA_NUMBER_MODE)
        parts[f"{FEATURE_PIPELINE}.pkl"].write_bytes(cloudpickle.dumps(dk.feature_pipeline))
        history.to_feather(parts[f"{HISTORY}.feather"])
        arrays = {name: getattr(model, name) for name in ARRAYS}
        arrays |= {f"sizes.{f.name}": getattr(model.sizes, f.name) for f in fields(ErrorSizes)}
        notes: dict[str, Any] = {
            "space": asdict(model.space),
            "features": model.features,
            "report": model.report,
            "digests": {kind: _digest(part) for kind, part in parts.items()},
        }
        if model.network is not None:
            _add_network(arrays, notes, model.network)
        if model.scales is not None:
            notes["scales"] = _add_scales(arrays, "own", model.scales)
        _write_arrays(archive, arrays, notes)
    return SavedModel(path, model, dk.data, dk.feature_pipeline, history)


def read_model(path: Path) -> SavedModel:
    """Read a model and all that belongs to it.

    :raises Damaged: a file is not what was written.
    """
    _check_zip(path)
    arrays, notes = _read_arrays(path)
    for kind, digest in notes.get("digests", {}).items():
        part = _beside(path, kind)
        if not part.is_file() or _digest(part) != digest:
            raise Damaged(f"{part.name} is {'changed' if part.is_file() else 'missing'}")
    noted = _beside(path, f"{METADATA}.json").read_text()
    metadata = rapidjson.loads(noted, number_mode=METADATA_NUMBER_MODE)
    pipeline = cloudpickle.loads(_beside(path, f"{FEATURE_PIPELINE}.pkl").read_bytes())
    history = pd.read_feather(_beside(path, f"{HISTORY}.feather"))
    with _whole():
        model = PairModel(
            space=LabelSpace(**notes["space"]),
            features=notes["features"],
            **{name: arrays[name] for name in ARRAYS},
            sizes=ErrorSizes(*(arrays[f"sizes.{f.name}"] for f in fields(ErrorSizes))),
            network=_network(arrays, notes["network"]) if "network" in notes else None,
            scales=_scales(arrays, "own", notes["scales"]) if "scales" in notes else None,
            report=notes["report"],
        )
    return SavedModel(path, model, metadata, pipeline, history)


def network_path(folder: Path, border: int) -> Path:
    """Return where the shared network of a border is, in the folder of the identifier."""
    return folder / NETWORKS / f"network_{border}.keras"


def write_network(
    path: Path, network: SharedNetwork, keras_model: Any, record: Mapping[str, Any]
) -> None:
    """Write a shared network as a Keras archive that NumPy can read too.

    :param record: what it learned from, see `record.py`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sync_folder(path.parent.parent)
    with replacing(path) as temporary:
        keras_model.save(temporary)
        arrays: dict[str, Any] = {}
        notes: dict[str, Any] = {"record": record}
        _add_network(arrays, notes, network)
        notes["scales"] = {
            pair: _add_scales(arrays, pair, scales) for pair, scales in network.scales.items()
        }
        buffer = io.BytesIO()
        _write_arrays(buffer, arrays, notes)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(IN_ARCHIVE, buffer.getvalue())


def read_network(path: Path) -> tuple[SharedNetwork, dict[str, Any]]:
    """Read a shared network without TensorFlow: (network, record).

    :raises Damaged: the file is not what was written.
    """
    _check_zip(path)
    with zipfile.ZipFile(path) as archive:
        if IN_ARCHIVE not in archive.namelist():
            raise Damaged(f"{IN_ARCHIVE} is missing")
        arrays, notes = _read_arrays(io.BytesIO(archive.read(IN_ARCHIVE)))
    with _whole():
        scales = {pair: _scales(arrays, pair, space) for pair, space in notes["scales"].items()}
        return _network(arrays, notes["network"], scales), notes["record"]


def set_aside(path: Path, damage: BaseException) -> None:
    """Move a file that cannot be read out of the way, with an ERROR line."""
    aside = path.with_name(f"{path.name}.damaged")
    if path.is_file():
        os.replace(path, aside)
    logger.error(
        f"The saved model {path} cannot be read ({type(damage).__name__}: {damage}). "
        f"It is set aside as {aside.name} and will be trained anew."
    )


def _add_network(arrays: dict[str, Any], notes: dict[str, Any], network: SharedNetwork) -> None:
    for kind, forward in zip(WEIGHTS[: len(network.forwards)], network.forwards, strict=True):
        arrays |= {f"{kind}.{name}": values for name, values in forward.weights.items()}
    report = {key: value for key, value in network.report.items() if key != "curves"}
    kept = {name: getattr(network, name) for name in NETWORK}
    notes["network"] = kept | {"borders": network.borders, "report": report}


def _network(
    arrays: Mapping[str, Any], notes: dict[str, Any], scales: Mapping[str, PairScales] | None = None
) -> SharedNetwork:
    weights: list[dict[str, Any]] = [
        {
            name.removeprefix(f"{kind}."): values
            for name, values in arrays.items()
            if name.startswith(f"{kind}.")
        }
        for kind in WEIGHTS
    ]
    return SharedNetwork(
        # Before revision 14 the newest's alone was noted.
        borders=tuple(notes.get("borders") or [notes["border"]]),
        forwards=tuple(Forward(some) for some in weights if some),
        scales=scales or {},
        **{name: notes[name] for name in (*NETWORK, "report")},
    )


def _add_scales(arrays: dict[str, Any], pair: str, scales: PairScales) -> dict[str, Any]:
    """Add a pair's scales to the arrays, and return its label space for the notes."""
    arrays |= {f"scales.{pair}.{name}": getattr(scales, name) for name in SCALES}
    return asdict(scales.labels)


def _scales(arrays: Mapping[str, Any], pair: str, space: dict[str, Any]) -> PairScales:
    found = {name: arrays[f"scales.{pair}.{name}"] for name in SCALES}
    return PairScales(**found, labels=LabelSpace(**space))


def _write_arrays(
    target: Path | io.BytesIO, arrays: Mapping[str, Any], notes: dict[str, Any]
) -> None:
    text = np.frombuffer(json.dumps(notes).encode(), dtype=np.uint8)
    # A name with a slash would become a folder inside of the archive.
    safe = {name.replace("/", "|"): values for name, values in arrays.items()}
    np.savez(target, notes=text, **safe)


@contextlib.contextmanager
def _whole() -> Iterator[None]:
    """Call what a broken archive raises by its name; no memory or no permission is not that."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        struct.error,
        RuntimeError,
        KeyError,
    ) as error:
        raise Damaged(f"{type(error).__name__}: {error}") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # a place beyond the file's ends, which a wrong table names
            raise
        raise Damaged(str(error)) from error


def _check_zip(path: Path) -> None:
    with _whole(), zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged:
        raise Damaged(f"checksum of {damaged} is wrong")


def _read_arrays(source: Path | io.BytesIO) -> tuple[dict[str, Any], dict[str, Any]]:
    with _whole(), np.load(source, allow_pickle=False) as file:
        arrays = {name.replace("|", "/"): file[name] for name in file.files if name != "notes"}
        return arrays, json.loads(file["notes"].tobytes().decode())
