"""Time series: probabilistic forecasts from irregular, partly observed histories."""

from integrand.apps.application import Application

APPLICATION = Application(
    name="timeseries",
    summary="probabilistic forecasts from irregular, partly observed histories",
    module="integrand.apps.timeseries.module:TimeSeriesModule",
    data="integrand.apps.timeseries.data:TimeSeriesData",
    models={
        "ssm_ode": "integrand.apps.timeseries.models.ssm_ode:SSMODE",
        "latent_ode": "integrand.apps.timeseries.models.latent_ode:LatentODEForecaster",
        "ode_rnn": "integrand.apps.timeseries.models.ode_rnn:ODERNNForecaster",
    },
    model_summaries={
        "ssm_ode": "diagonal state-space encoder, ODE decoder (default)",
        "latent_ode": "variational latent ODE",
        "ode_rnn": "ODE-RNN: an ODE between observations, a GRU jump at them",
    },
    datasets=("nyc_weather", "etth1"),
    default_recipe="weather",
    evaluate="integrand.apps.timeseries.evaluation:evaluate",
    figures="integrand.apps.timeseries.figures:draw",
    predict="integrand.apps.timeseries.prediction:predict",
    reads="a CSV in wide or long form",
    writes="a CSV of forecasts and a figure",
)
