"""The LSTM: parameters, windows, scaling, ridge regression, network, training, storage."""
