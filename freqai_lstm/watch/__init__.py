"""Is a bot still good? Its predictions, drift and trades, beside what its backtest promised."""
