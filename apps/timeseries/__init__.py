"""Time series: forecasts, classes and imputations of irregular, partly observed series."""

from integrand.apps.application import Application, Task

_FORECASTERS_IN = "integrand.apps.timeseries.forecasting.models"
FORECASTERS = {
    "ssm_ode": ("ssm_ode:SSMODE", "diagonal state-space encoder, ODE decoder (default)"),
    "latent_ode": ("latent_ode:LatentODEForecaster", "variational latent ODE"),
    "latent_sde": ("latent_sde:LatentSDEForecaster", "variational latent SDE: sample paths, mixed"),
    "ode_rnn": ("ode_rnn:ODERNNForecaster", "ODE-RNN: an ODE between observations, a GRU jump at them"),
    "gru_ode_bayes": ("gru_ode_bayes:GRUODEBayesForecaster", "GRU-ODE-Bayes: a filter that foresees what it will see"),
    "neural_cde": ("controlled_forecasters:NeuralCDEForecaster", "neural CDE: a state driven by the path of the data"),
    "neural_rde": ("controlled_forecasters:NeuralRDEForecaster", "neural RDE: driven by log-signatures of windows"),
    "log_ncde": ("controlled_forecasters:LogNCDEForecaster", "Log-NCDE: driven through Lie brackets of the field"),
    "s5": ("sequence_forecasters:S5Forecaster", "S5: linear modes that go on past the origin"),
    "s4d": ("sequence_forecasters:S4DForecaster", "S4D: such modes for each channel of a layer"),
    "lru": ("sequence_forecasters:LRUForecaster", "LRU: such modes on a ring of decays"),
    "linoss": ("sequence_forecasters:LinOSSForecaster", "LinOSS: oscillators that swing on"),
    "mamba": ("sequence_forecasters:MambaForecaster", "Mamba: modes whose speed the query chooses"),
    "cfc": ("sequence_forecasters:CfCForecaster", "CfC: a closed form of the time to the query"),
    "ltc": ("sequence_forecasters:LTCForecaster", "LTC: liquid time constants that run on"),
    "dlinear": ("dlinear:DLinear", "DLinear: trend and remainder through linear maps (a peer)"),
    "gru_d": ("gru_d:GRUDForecaster", "GRU-D: a GRU whose inputs and memory decay (a peer)"),
    "mtan": ("mtan:MTANForecaster", "mTAN: attention by learned similarities of times (a peer)"),
}
"""Forecasting networks: file and class, and a line on each."""

_CLASSIFIERS_IN = "integrand.apps.series.classification.models"
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
    "gru_d": ("gru_d:GRUDClassifier", "GRU-D: a GRU whose inputs and memory decay (a peer)"),
    "mtan": ("mtan:MTANClassifier", "mTAN: attention at reference times, read by a GRU (a peer)"),
}
"""Classifying networks: file and class, and a line on each."""

_IMPUTERS_IN = "integrand.apps.timeseries.imputation.models"
IMPUTERS = {
    "s5": ("sequence_imputers:S5Imputer", "S5 forwards and backwards: states carried exactly over any gap (default)"),
    "linoss": ("sequence_imputers:LinOSSImputer", "LinOSS forwards and backwards: forced harmonic oscillators"),
    "mamba": ("sequence_imputers:MambaImputer", "Mamba forwards and backwards: states that choose what they remember"),
    "cfc": ("sequence_imputers:CfCImputer", "CfC forwards and backwards: liquid networks in closed form"),
    "ltc": ("sequence_imputers:LTCImputer", "LTC forwards and backwards: liquid time constants"),
    "latent_ode": ("latent_ode:LatentODEImputer", "variational latent ODE: all that is known goes through its start"),
    "gru_d": ("peers:GRUDImputer", "GRU-D in both directions, to compare with"),
    "mtan": ("peers:MTANImputer", "attention between times, to compare with"),
}
"""Imputing networks: file and class, and a line on each."""

APPLICATION = Application(
    name="timeseries",
    summary="forecasts, classes and imputations of irregular, partly observed series",
    package="integrand.apps.timeseries",
    tasks=(
        Task(
            name="forecasting",
            summary="what comes next, as a distribution, at any time within the horizon",
            module="integrand.apps.timeseries.forecasting.module:ForecastingModule",
            data="integrand.apps.timeseries.forecasting.data:ForecastingData",
            models={name: f"{_FORECASTERS_IN}.{path}" for name, (path, _) in FORECASTERS.items()},
            model_summaries={name: summary for name, (_, summary) in FORECASTERS.items()},
            datasets=(
                "nyc_weather",
                "etth1",
                "physionet2012",
                "co2",
                "el_nino",
                "sunspots",
                "periodic",
                "spirals",
                "damped_oscillators",
                "ornstein_uhlenbeck",
                "brusselator",
            ),
            default_recipe="weather",
            evaluate="integrand.apps.timeseries.forecasting.evaluation:evaluate",
            figures="integrand.apps.timeseries.forecasting.figures:draw",
            analyze="integrand.apps.timeseries.analysis:subject",
            predict="integrand.apps.timeseries.forecasting.prediction:predict",
            reads="a CSV in wide or long form",
            writes="a CSV of forecasts and a figure",
            product="forecasts",
            stream="integrand.apps.timeseries.forecasting.streaming:stream",
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
            stream="integrand.apps.timeseries.classification.streaming:stream",
        ),
        Task(
            name="imputation",
            summary="what stood where nothing was observed, as a distribution; and which values do not fit the rest",
            module="integrand.apps.timeseries.imputation.module:ImputationModule",
            data="integrand.apps.timeseries.imputation.data:ImputationData",
            models={name: f"{_IMPUTERS_IN}.{path}" for name, (path, _) in IMPUTERS.items()},
            model_summaries={name: summary for name, (_, summary) in IMPUTERS.items()},
            datasets=("nyc_weather", "physionet2012", "etth1", "co2", "el_nino"),
            default_recipe="weather_imputation",
            evaluate="integrand.apps.timeseries.imputation.evaluation:evaluate",
            figures="integrand.apps.timeseries.imputation.figures:draw",
            analyze="integrand.apps.timeseries.analysis:subject",
            predict="integrand.apps.timeseries.imputation.prediction:predict",
            reads="a CSV in wide or long form",
            writes="a CSV with every gap filled, and a figure",
            product="imputations",
        ),
    ),
)
