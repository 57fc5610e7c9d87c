"""The article's design as a user writes it with plain Keras, as a FreqAI model.

Three residual LSTM layers of 100 units, 100 epochs at most, batches of 32, learning rate 0.001,
dropout 0.3, robust scaling, a learning rate that steps down, early stopping. Windows are copied
into one array and handed to `model.fit` and `model.predict`. What the article leaves open is
chosen as in LSTMRegressor (patience 10 and 4, a window ends at the candle it is for).
"""

import os
from typing import Any

import numpy as np
import numpy.typing as npt
from datasieve.pipeline import Pipeline
from datasieve.transforms import SKLearnWrapper
from freqtrade.freqai.base_models.BaseRegressionModel import BaseRegressionModel
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from pandas import DataFrame
from sklearn.preprocessing import RobustScaler


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


class PlainKerasLSTM(BaseRegressionModel):
    """`model_training_parameters` may hold layers, units, epochs, batch_size."""

    def define_data_pipeline(self, threads: int = -1) -> Pipeline:
        return Pipeline([("scaler", SKLearnWrapper(RobustScaler()))], fitparams={})

    def fit(self, data_dictionary: dict[str, Any], dk: FreqaiDataKitchen, **kwargs: Any) -> Any:
        """Build, compile and fit a new model; called by BaseRegressionModel.train."""
        import keras

        p = {"layers": 3, "units": 100, "epochs": 100, "batch_size": 32}
        p |= self.model_training_parameters
        keras.utils.set_random_seed(1)
        x, y = self._windows(data_dictionary["train_features"], data_dictionary["train_labels"])
        held_out = self._windows(data_dictionary["test_features"], data_dictionary["test_labels"])
        window = keras.Input(x.shape[1:])
        stack = window
        for number in range(p["layers"]):
            last = number == p["layers"] - 1
            above = keras.layers.LSTM(p["units"], return_sequences=not last)(stack)
            above = keras.layers.Dropout(0.3)(above)
            if number:
                stack = keras.layers.Add()([stack[:, -1] if last else stack, above])
            else:
                stack = above
        model = keras.Model(window, keras.layers.Dense(y.shape[1])(stack))
        model.compile(keras.optimizers.Adam(0.001), loss="mse")
        model.fit(
            x,
            y,
            batch_size=p["batch_size"],
            epochs=p["epochs"],
            validation_data=held_out,
            callbacks=[
                keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=4, min_lr=1e-5),
                keras.callbacks.EarlyStopping(patience=10, restore_best_weights=True),
            ],
            verbose=0,
        )
        return model

    def _windows(self, rows: DataFrame, labels: DataFrame) -> tuple[npt.NDArray, npt.NDArray]:
        x, width = rows.to_numpy(), self.CONV_WIDTH
        windows = np.array([x[end - width : end] for end in range(width, len(x) + 1)])
        return windows, labels.to_numpy()[width - 1 :]

    def predict(
        self, unfiltered_df: DataFrame, dk: FreqaiDataKitchen, **kwargs: Any
    ) -> tuple[DataFrame, npt.NDArray[np.int_]]:
        """Predict every candle with a whole window; the others get do_predict 0."""
        dk.find_features(unfiltered_df)
        rows, _ = dk.filter_features(
            unfiltered_df, dk.training_features_list, training_filter=False
        )
        rows, outliers, _ = dk.feature_pipeline.transform(rows, outlier_check=True)
        windows, _ = self._windows(rows, rows)
        predicted = DataFrame(self.model.predict(windows, verbose=0), columns=dk.label_list)
        predicted, _, _ = dk.label_pipeline.inverse_transform(predicted)
        missing = self.CONV_WIDTH - 1
        nothing = DataFrame(0.0, index=range(missing), columns=predicted.columns)
        predicted = DataFrame(np.vstack([nothing, predicted]), columns=dk.label_list)
        dk.do_predict = np.asarray(outliers).copy()
        dk.do_predict[:missing] = 0
        dk.DI_values = np.zeros(len(predicted))
        return predicted, dk.do_predict
