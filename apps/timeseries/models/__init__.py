"""Forecasting networks, one file each."""

from integrand.apps.timeseries.models.forecaster import Forecast, Forecaster

__all__ = ["Forecast", "Forecaster"]
