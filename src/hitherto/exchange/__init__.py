"""The market: one step, the account, the simulation."""
