"""Forecasting networks, one file each."""

from integrand.apps.timeseries.forecasting.models.forecaster import Forecast, Forecaster

__all__ = ["Forecast", "Forecaster"]
