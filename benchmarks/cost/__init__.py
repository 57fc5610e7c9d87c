"""What a user pays: seconds and memory by pairs, timeframe and days."""
