"""Save what models are given, so that a variant can be tried in seconds, without freqtrade around.

    python -m benchmarks.targets dump choose

writes PAIR_WINDOW.train.feather and PAIR_WINDOW.predict.feather into build/targets/dumps/RANGE:
date, candles, features and labels of the training rows and of the rows to predict. In the latter
the labels of a window's last candles, which FreqAI leaves empty, are filled in from later candles
of the range, so that predictions can be scored on them.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmarks.targets.labels import LABELS, add_labels
from benchmarks.targets.run import backtest
from benchmarks.targets.setup import BUILD, HERE, Exam, base_config, merged


def dump_inputs(exam: Exam, build: Path = BUILD) -> list[Path]:
    """Run freqtrade once with `models/DumpInputs.py`; returns the files."""
    folder = build / "dumps" / exam.name
    folder.mkdir(parents=True, exist_ok=True)
    own = {"freqai": {"identifier": "dump", "dump_folder": str(folder)}}
    config = merged(base_config(exam), own)
    backtest(exam, config, "DumpInputs", HERE / "models", build / "runs" / exam.name / "dump")
    columns = [label.column for label in LABELS.values()]
    for pair in exam.pairs:
        known = add_labels(exam.candles(pair)).set_index("date")[columns]
        for file in folder.glob(f"{pair.replace('/', '_').replace(':', '_')}_*.predict.feather"):
            frame = pd.read_feather(file)
            frame[columns] = known.reindex(frame["date"]).to_numpy()
            frame.to_feather(file)
    return sorted(folder.glob("*.feather"))
