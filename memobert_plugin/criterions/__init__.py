"""Losses and the counts their metrics are made of."""
