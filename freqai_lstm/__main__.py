"""`python -m freqai_lstm`: the same as the command `freqai-lstm`."""

from freqai_lstm.cli import app


app(prog_name="freqai-lstm")
