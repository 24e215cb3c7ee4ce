"""Time series: probabilistic forecasts from irregular, partly observed histories."""
