"""An LSTM for freqtrade's FreqAI, with the tools to try, evaluate, tune and rehearse it."""

__version__ = "0.3.0"
