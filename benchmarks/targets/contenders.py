"""Who takes the exam: a name, a FreqAI model and the part of the configuration that is its own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.targets.setup import BUILD, HERE, ROOT, Exam, base_config, merged
from freqai_lstm.plugins import MODEL_FILE


PREVIOUS_COMMIT = "2775fcc"
OWN_MODELS = HERE / "models"


@dataclass(frozen=True)
class Contender:
    """One model of the exam.

    :param name: on the command line, in files and in the figures' JSON.
    :param title: in tables and the picture.
    :param model: the class of the FreqAI model; "" for one of `baselines.BASELINES`.
    :param folder: returns the folder of the model's file; freqtrade's own need none.
    :param freqai: laid over the `freqai` block of `setup.base_config`.
    :param seed: the model training parameter that takes the seed; "" where there is none.
    :param random: whether two runs differ, by seed or without one; others run once.
    :param together: learns all labels at once; else it is run once per label.
    :param blind: first candles of each window that it cannot predict, though it does not say so.
    :param needs: a package that must be installed.
    :param ours: a model of this project, now or before; compared with the best of the others.
    """

    name: str
    title: str
    model: str = ""
    folder: Callable[[], Path] = lambda: OWN_MODELS
    freqai: Mapping[str, Any] = field(default_factory=dict)
    seed: str = ""
    random: bool = False
    together: bool = True
    blind: int = 0
    needs: str = ""
    ours: bool = False

    def configs(self, exam: Exam, seed: int) -> dict[str, dict[str, Any]]:
        """The configuration of every backtest that this contender takes, by a name for each."""
        groups: dict[str, Sequence[str]] = (
            {"all": exam.labels} if self.together else {name: (name,) for name in exam.labels}
        )
        own: dict[str, Any] = {"identifier": f"{self.name}-s{seed}", **self.freqai}
        if self.seed:
            own = merged(own, {"model_training_parameters": {self.seed: seed}})
        return {
            group: merged(base_config(exam, labels), {"freqai": own})
            for group, labels in groups.items()
        }

    def missing(self) -> str:
        """Why it cannot run here; empty when it can."""
        if self.needs and find_spec(self.needs) is None:
            return f"the package {self.needs} is not installed"
        return ""


def previous_release() -> Path:
    """Write the model file of `PREVIOUS_COMMIT` into the build folder; returns the folder.

    :raises subprocess.CalledProcessError: this is no clone that holds the commit.
    """
    folder = BUILD / "previous"
    folder.mkdir(parents=True, exist_ok=True)
    source = f"{PREVIOUS_COMMIT}:user_data/freqaimodels/LSTMRegressor.py"
    text = subprocess.run(["git", "show", source], cwd=ROOT, check=True, capture_output=True)
    (folder / "LSTMRegressor.py").write_bytes(text.stdout)
    return folder


_KERAS = {"keras": True, "model_save_type": "keras"}
# Defaults overfit these labels badly. Few small steps, each on a part of rows and features, and no
# rows held back that nothing is chosen on, were the better set-up of five tried on `choose`.
_CAREFUL = {
    "n_jobs": 1,
    "n_estimators": 200,
    "learning_rate": 0.02,
    "subsample": 0.7,
    "colsample_bytree": 0.5,
}
_NO_TEST_ROWS = {"data_split_parameters": {"test_size": 0}}

CONTENDERS: dict[str, Contender] = {
    contender.name: contender
    for contender in (
        Contender("flat", "flat (training mean)"),
        Contender("persistence", "persistence"),
        Contender("har", "HAR (Corsi 2009)"),
        Contender("ridge", "ridge", "RidgePerLabel"),
        Contender(
            "lightgbm",
            "LightGBM",
            "LightGBMRegressorMultiTarget",
            freqai={"model_training_parameters": {"n_jobs": 1, "verbosity": -1}},
        ),
        Contender(
            "lightgbm-careful",
            "LightGBM, regularised",
            "LightGBMRegressorMultiTarget",
            freqai={
                **_NO_TEST_ROWS,
                "model_training_parameters": {
                    **_CAREFUL,
                    "num_leaves": 15,
                    "min_child_samples": 50,
                    "subsample_freq": 1,
                    "verbosity": -1,
                },
            },
            seed="random_state",
            random=True,
        ),
        Contender(
            "xgboost",
            "XGBoost",
            "XGBoostRegressorMultiTarget",
            freqai={"model_training_parameters": {"n_jobs": 1, "verbosity": 0}},
        ),
        Contender(
            "xgboost-careful",
            "XGBoost, regularised",
            "XGBoostRegressorMultiTarget",
            freqai={
                **_NO_TEST_ROWS,
                "model_training_parameters": {
                    **_CAREFUL,
                    "max_depth": 4,
                    "min_child_weight": 50,
                    "verbosity": 0,
                },
            },
            seed="random_state",
            random=True,
        ),
        Contender(
            "mlp",
            "PyTorch MLP",
            "PyTorchMLPRegressor",
            freqai={"model_training_parameters": {"trainer_kwargs": {"n_epochs": 10}}},
            random=True,
            together=False,
            needs="torch",
        ),
        Contender(
            "transformer",
            "PyTorch transformer",
            "PyTorchTransformerRegressor",
            freqai={"model_training_parameters": {"trainer_kwargs": {"n_epochs": 10}}},
            random=True,
            blind=24,  # fills the first conv_width candles of a window with 0 and do_predict 1
            needs="torch",
        ),
        Contender(
            "previous",
            f"previous release ({PREVIOUS_COMMIT})",
            "LSTMRegressor",
            previous_release,
            freqai=_KERAS,
            seed="seed",
            random=True,
            ours=True,
        ),
        Contender(
            "lstm",
            "LSTMRegressor",
            "LSTMRegressor",
            lambda: MODEL_FILE.parent,
            freqai=_KERAS,
            seed="seed",
            random=True,
            ours=True,
        ),
        Contender(
            "lstm-single",
            "LSTMRegressor, a network per pair",
            "LSTMRegressor",
            lambda: MODEL_FILE.parent,
            freqai={**_KERAS, "model_training_parameters": {"pooled": False}},
            seed="seed",
            random=True,
            ours=True,
        ),
        Contender(
            "lstm-ensemble",
            "LSTMRegressor, ensemble of 3",
            "LSTMRegressor",
            lambda: MODEL_FILE.parent,
            freqai={**_KERAS, "model_training_parameters": {"ensemble": 3}},
            seed="seed",
            random=True,
            ours=True,
        ),
    )
}
