"""RiskStrategy with a volatility from a file, and with a constant stake."""

from pathlib import Path
from typing import Any

import pandas as pd
from pandas import DataFrame

from benchmarks.risk.forecasts import RISK


class GivenVolatility(RISK.RiskStrategy):  # type: ignore[misc, name-defined]
    """The same book; `risk_volatility` of the configuration is the folder of the forecasts."""

    def forecast(self, dataframe: DataFrame, metadata: dict[str, Any]) -> DataFrame:
        """Add the two columns of RiskStrategy.forecast."""
        file = Path(self.config["risk_volatility"]) / f"{metadata['pair'].split('/')[0]}.feather"
        told = pd.read_feather(file).set_index("date").reindex(dataframe["date"])
        return dataframe.assign(
            volatility=told["volatility"].to_numpy(),
            volatility_upper=told["volatility_upper"].to_numpy(),
        )


class ConstantStake(GivenVolatility):
    """Every position has the share `risk_share` of the wallet; correlations are not looked at."""

    def share(self, pair: str, book: dict[str, int]) -> float:
        """The same share for all."""
        return float(self.config["risk_share"])
