"""Networks that solve a differential equation by its residual, and find its parameters from observations."""

from integrand.apps.application import Task

_MODELS_IN = "integrand.apps.physics.informed.models"
MODELS = {
    "mlp": ("mlp:InformedMLP", "multilayer perceptron of the coordinates (default)"),
    "fourier": ("fourier:InformedFourier", "the same of random Fourier features, for fine details"),
}
"""Networks: file and class, and a line on each."""

TASK = Task(
    name="informed",
    summary="the solution of an equation, or its parameters from noisy observations, by a network's residual",
    module="integrand.apps.physics.informed.module:InformedModule",
    data="integrand.apps.physics.informed.data:InformedData",
    models={name: f"{_MODELS_IN}.{path}" for name, (path, _) in MODELS.items()},
    model_summaries={name: summary for name, (_, summary) in MODELS.items()},
    datasets=("burgers_shock", "heat_rod", "vibrating_string", "helmholtz", "oscillator"),
    default_recipe="burgers_informed",
    evaluate="integrand.apps.physics.informed.evaluation:evaluate",
    figures="integrand.apps.physics.informed.figures:draw",
    predict="integrand.apps.physics.informed.prediction:predict",
    reads="a CSV or .npy file of points",
    writes="a CSV of the solution and a figure",
    product="solutions",
)
