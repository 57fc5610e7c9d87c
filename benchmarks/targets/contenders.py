"""Who takes the exam: a name, a FreqAI model and the part of the configuration that is its own."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.targets.setup import BUILD, HERE, ROOT, Exam, base_config, merged
from freqai_lstm.plugins import MODEL_FILE


PREVIOUS_COMMIT = "6e96368"


@dataclass(frozen=True)
class Contender:
    """One model of the exam.

    :param name: on the command line, in files and in the figures' JSON.
    :param title: in tables and the picture.
    :param model: the class of the FreqAI model, or one of `baselines.BASELINES`.
    :param folder: of the model's file; freqtrade's own need none.
    :param release: a commit, whose package and model file it is.
    :param train_days: trained on; those of the exam for 0.
    :param inputs: whether its features also have what our model reads of the candles.
    :param freqai: laid over the `freqai` block of `setup.base_config`.
    :param seed: the model training parameter that takes the seed; "" where there is none.
    :param seeds: how many seeds are run where nothing else is said.
    :param every: it takes one of so many windows, where all would take hours.
    :param together: learns all labels at once; else it is run once per label.
    :param blind: first candles of each window that it cannot predict, though it does not say so.
    :param needs: a package that must be installed.
    :param networks_of: a contender whose shared networks it takes over where they are there.
    :param ours: a model of this project, now or before.
    """

    name: str
    title: str
    model: str
    folder: Path = HERE / "models"
    release: str = ""
    train_days: int = 0
    inputs: bool = False
    freqai: Mapping[str, Any] = field(default_factory=dict)
    seed: str = ""
    seeds: int = 1
    every: int = 1
    together: bool = True
    blind: int = 0
    needs: str = ""
    networks_of: str = ""
    ours: bool = False

    def configs(self, exam: Exam, seed: int) -> dict[str, dict[str, Any]]:
        """The configuration of every backtest that this contender takes, by a name for each."""
        own: dict[str, Any] = {"identifier": f"{self.name}-s{seed}", **self.freqai}
        if self.train_days:
            own["train_period_days"] = self.train_days
        if self.seed:
            own = merged(own, {"model_training_parameters": {self.seed: seed}})
        more = {"freqai": own} | ({"our_inputs": True} if self.inputs else {})
        groups = {"all": exam.labels} if self.together else {o.name: (o,) for o in exam.labels}
        return {group: merged(base_config(exam, labels), more) for group, labels in groups.items()}

    def missing(self) -> str:
        """Why it cannot run here; empty when it can."""
        if self.needs and find_spec(self.needs) is None:
            return f"the package {self.needs} is not installed"
        return ""

    def places(self) -> tuple[Path, Path]:
        """Return (folder of the package `freqai_lstm`, folder of the model's file).

        :raises subprocess.CalledProcessError: this is no clone that holds the commit `release`.
        """
        if not self.release:
            return ROOT, self.folder
        source = BUILD / "releases" / self.release
        if not source.is_dir():
            archive = subprocess.run(
                ["git", "archive", self.release, "freqai_lstm", "user_data"],
                cwd=ROOT,
                check=True,
                capture_output=True,
            )
            source.mkdir(parents=True)
            subprocess.run(["tar", "x"], cwd=source, input=archive.stdout, check=True)
        return source, source / "user_data" / "freqaimodels"


def _lstm(name: str, title: str, model: str = "LSTMRegressor", **more: Any) -> Contender:
    settings = {"keras": True, "model_save_type": "keras", **more.pop("freqai", {})}
    more.setdefault("folder", MODEL_FILE.parent)
    return Contender(name, title, model, freqai=settings, seed="seed", ours=True, **more)


def _trees(name: str, title: str, quiet: int, careful: Mapping[str, Any]) -> list[Contender]:
    """FreqAI's trees as it gives them, and with our inputs; on the exam's days and on two years.

    With our inputs they have few small steps, each on a part of rows and features, and no rows held
    back that nothing is chosen on: as FreqAI gives them they overfit these labels badly, and of
    five set-ups that were tried on an earlier `choose` this was the best.
    """
    usual: dict[str, Any] = {"n_jobs": 1, "verbosity": quiet}
    small = {"n_estimators": 200, "learning_rate": 0.02, "subsample": 0.7, "colsample_bytree": 0.5}
    own = {
        "data_split_parameters": {"test_size": 0},
        "model_training_parameters": {**usual, **small, **careful},
    }
    model, plain = f"{title}RegressorMultiTarget", {"model_training_parameters": usual}
    found = []
    for more, days, end in (("", 0, ""), ("-730", 730, ", two years")):
        found += [
            Contender(
                f"{name}{more}",
                f"{title}{end}",
                model,
                train_days=days,
                freqai=plain,
                every=3,
            ),
            Contender(
                f"{name}-inputs{more}",
                f"{title}, regularised, with our inputs{end}",
                model,
                train_days=days,
                inputs=True,
                freqai=own,
                seed="random_state",
                every=3,
            ),
        ]
    return found


_TEN_EPOCHS = {"model_training_parameters": {"trainer_kwargs": {"n_epochs": 10}}}

CONTENDERS: dict[str, Contender] = {
    contender.name: contender
    for contender in (
        Contender("flat", "flat (training mean)", "flat"),
        Contender("persistence", "persistence", "persistence"),
        Contender("har", "HAR (Corsi 2009)", "har"),
        Contender("ridge-own-60", "own ridge, 60 days", "own ridge", train_days=60),
        Contender("ridge-own-150", "own ridge, 150 days", "own ridge", train_days=150),
        Contender("ridge-own-730", "own ridge, two years", "own ridge", train_days=730),
        *_trees(
            "lightgbm",
            "LightGBM",
            -1,
            {"num_leaves": 15, "min_child_samples": 50, "subsample_freq": 1},
        ),
        *_trees("xgboost", "XGBoost", 0, {"max_depth": 4, "min_child_weight": 50}),
        Contender(
            "mlp",
            "PyTorch MLP",
            "PyTorchMLPRegressor",
            freqai=_TEN_EPOCHS,
            every=12,
            together=False,
            needs="torch",
        ),
        Contender(
            "transformer",
            "PyTorch transformer",
            "PyTorchTransformerRegressor",
            freqai=_TEN_EPOCHS,
            every=12,
            blind=24,  # fills the first conv_width candles of a window with 0 and do_predict 1
            needs="torch",
        ),
        _lstm("previous", "previous release", release=PREVIOUS_COMMIT, every=3),
        _lstm(
            "previous-730",
            "previous release, two years",
            release=PREVIOUS_COMMIT,
            train_days=730,
            every=3,
        ),
        _lstm(
            "lstm-regression",
            "LSTMRegressor without the network",
            freqai={"model_training_parameters": {"history_days": 0}},
        ),
        _lstm(
            "lstm-network",
            "LSTMRegressor, the network alone",
            model="NetworkAlone",
            folder=HERE / "models",
            networks_of="lstm",
        ),
        _lstm("lstm", "LSTMRegressor", seeds=3),
    )
}
REFERENCE = "lstm"  # is compared with each of the others
