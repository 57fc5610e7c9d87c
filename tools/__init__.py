"""Development tools: a generated market, a loopback exchange, a runner for freqtrade, the demo."""
