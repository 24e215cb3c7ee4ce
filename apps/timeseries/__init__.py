"""Time series: forecasts and classes of irregular, partly observed series."""

from integrand.apps.application import Application, Task

_CLASSIFIERS_IN = "integrand.apps.timeseries.classification.models"
CLASSIFIERS = {
    "s5": ("sequence_classifiers:S5Classifier", "S5: diagonal state spaces, exact over any gap (default)"),
    "s4d": ("sequence_classifiers:S4DClassifier", "S4D: a state space for each channel"),
    "lru": ("sequence_classifiers:LRUClassifier", "LRU: linear recurrences on a ring of decays"),
    "linoss": ("sequence_classifiers:LinOSSClassifier", "LinOSS: forced harmonic oscillators"),
    "mamba": ("sequence_classifiers:MambaClassifier", "Mamba: state spaces that choose what they remember"),
    "cfc": ("sequence_classifiers:CfCClassifier", "CfC: liquid networks in closed form"),
    "ltc": ("sequence_classifiers:LTCClassifier", "LTC: liquid time constants"),
    "lem": ("sequence_classifiers:LEMClassifier", "LEM: units that learn their own time steps"),
    "ode_rnn": ("sequence_classifiers:ODERNNClassifier", "ODE-RNN: an ODE between elements, a GRU jump at them"),
    "neural_cde": ("controlled_classifiers:NeuralCDEClassifier", "neural CDE: a state driven by the path of the data"),
    "neural_rde": ("controlled_classifiers:NeuralRDEClassifier", "neural RDE: driven by log-signatures of windows"),
    "log_ncde": ("controlled_classifiers:LogNCDEClassifier", "Log-NCDE: driven through Lie brackets of the field"),
}
"""Classifying networks: file and class, and a line on each."""

_FORECASTERS_IN = "integrand.apps.timeseries.forecasting.models"
FORECASTERS = {
    "ssm_ode": ("ssm_ode:SSMODE", "diagonal state-space encoder, ODE decoder (default)"),
    "latent_ode": ("latent_ode:LatentODEForecaster", "variational latent ODE"),
    "ode_rnn": ("ode_rnn:ODERNNForecaster", "ODE-RNN: an ODE between observations, a GRU jump at them"),
    "s5": ("sequence_forecasters:S5Forecaster", "S5: linear modes that go on past the origin"),
    "s4d": ("sequence_forecasters:S4DForecaster", "S4D: such modes for each channel of a layer"),
    "lru": ("sequence_forecasters:LRUForecaster", "LRU: such modes on a ring of decays"),
    "linoss": ("sequence_forecasters:LinOSSForecaster", "LinOSS: oscillators that swing on"),
    "mamba": ("sequence_forecasters:MambaForecaster", "Mamba: modes whose speed the query chooses"),
    "cfc": ("sequence_forecasters:CfCForecaster", "CfC: a closed form of the time to the query"),
    "ltc": ("sequence_forecasters:LTCForecaster", "LTC: liquid time constants that run on"),
    "dlinear": ("dlinear:DLinear", "DLinear: trend and remainder through linear maps, to compare with"),
}
"""Forecasting networks: file and class, and a line on each."""

APPLICATION = Application(
    name="timeseries",
    summary="forecasts and classes of irregular, partly observed series",
    package="integrand.apps.timeseries",
    tasks=(
        Task(
            name="forecasting",
            summary="what comes next, as a distribution, at any time within the horizon",
            module="integrand.apps.timeseries.forecasting.module:ForecastingModule",
            data="integrand.apps.timeseries.forecasting.data:ForecastingData",
            models={name: f"{_FORECASTERS_IN}.{path}" for name, (path, _) in FORECASTERS.items()},
            model_summaries={name: summary for name, (_, summary) in FORECASTERS.items()},
            datasets=("nyc_weather", "etth1"),
            default_recipe="weather",
            evaluate="integrand.apps.timeseries.forecasting.evaluation:evaluate",
            figures="integrand.apps.timeseries.forecasting.figures:draw",
            predict="integrand.apps.timeseries.forecasting.prediction:predict",
            reads="a CSV in wide or long form",
            writes="a CSV of forecasts and a figure",
            product="forecasts",
        ),
        Task(
            name="classification",
            summary="which class a series belongs to, with its probability",
            module="integrand.apps.timeseries.classification.module:ClassificationModule",
            data="integrand.apps.timeseries.classification.data:ClassificationData",
            models={name: f"{_CLASSIFIERS_IN}.{path}" for name, (path, _) in CLASSIFIERS.items()},
            model_summaries={name: summary for name, (_, summary) in CLASSIFIERS.items()},
            datasets=("japanese_vowels", "basic_motions", "gun_point", "arrow_head", "physionet2012"),
            default_recipe="japanese_vowels",
            evaluate="integrand.apps.timeseries.classification.evaluation:evaluate",
            figures="integrand.apps.timeseries.classification.figures:draw",
            predict="integrand.apps.timeseries.classification.prediction:predict",
            reads="a .ts file or a CSV with a column that tells series apart",
            writes="a CSV of probabilities and a figure",
            product="predictions",
        ),
    ),
)
