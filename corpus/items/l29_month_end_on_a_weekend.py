"""Positions change on the last calendar day of each month, at the last known close."""

import numpy as np
import pandas as pd

ITEM = {
    "leak": "L29",
    "kind": "fills",
    "reach": None,
    "why": "months that end on a weekend are traded on a day without a session",
}


def fills(panel):
    close = pd.DataFrame(panel.fields["close"], pd.DatetimeIndex(panel.sessions), panel.symbols)
    monthly = close.ffill().resample("ME").last().iloc[2:-1]
    change = np.sign(monthly.pct_change()).stack().dropna()
    dates, symbols = (change.index.get_level_values(k) for k in (0, 1))
    made = {"date": dates, "symbol": symbols, "side": np.where(change > 0, "sell", "buy"), "shares": 100}
    price = monthly.stack().loc[change.index].to_numpy()
    return pd.DataFrame(made | {"price": price, "decided": dates - pd.Timedelta(days=5)})
