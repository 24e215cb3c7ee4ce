"""Time series: probabilistic forecasts from irregular, partly observed histories."""

from integrand.apps.application import Application, Task

APPLICATION = Application(
    name="timeseries",
    summary="probabilistic forecasts from irregular, partly observed histories",
    package="integrand.apps.timeseries",
    tasks=(
        Task(
            name="forecasting",
            summary="what comes next, as a distribution, at any time within the horizon",
            module="integrand.apps.timeseries.forecasting.module:ForecastingModule",
            data="integrand.apps.timeseries.forecasting.data:ForecastingData",
            models={
                "ssm_ode": "integrand.apps.timeseries.forecasting.models.ssm_ode:SSMODE",
                "latent_ode": "integrand.apps.timeseries.forecasting.models.latent_ode:LatentODEForecaster",
                "ode_rnn": "integrand.apps.timeseries.forecasting.models.ode_rnn:ODERNNForecaster",
            },
            model_summaries={
                "ssm_ode": "diagonal state-space encoder, ODE decoder (default)",
                "latent_ode": "variational latent ODE",
                "ode_rnn": "ODE-RNN: an ODE between observations, a GRU jump at them",
            },
            datasets=("nyc_weather", "etth1"),
            default_recipe="weather",
            evaluate="integrand.apps.timeseries.forecasting.evaluation:evaluate",
            figures="integrand.apps.timeseries.forecasting.figures:draw",
            predict="integrand.apps.timeseries.forecasting.prediction:predict",
            reads="a CSV in wide or long form",
            writes="a CSV of forecasts and a figure",
            product="forecasts",
        ),
    ),
)
