"""Forecasting: what comes next, as a distribution, from an irregular, partly observed past."""
