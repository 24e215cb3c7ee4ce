"""Fields governed by partial differential equations: stepped, or solved at once, by what was learned from solutions."""

from integrand.apps.application import Task

_MODELS_IN = "integrand.apps.physics.surrogate.models"
SURROGATES = {
    "fno": ("fno:FNOSurrogate", "FNO: convolutions learned in Fourier space, asked on any grid (default)"),
    "factorized_fno": ("fno:FactorizedFNOSurrogate", "factorized FNO: convolutions along one axis at a time"),
    "unet": ("unet:UNetSurrogate", "U-Net: convolutions on finer and coarser grids"),
    "deeponet": ("deeponet:DeepONetSurrogate", "DeepONet: a learned basis, its coefficients from fixed sensors"),
    "graph_operator": ("graph_operator:GraphOperatorSurrogate", "graph operator: messages between near points"),
    "neural_pde": ("neural_pde:NeuralPDESurrogate", "neural PDE: a learned local equation, solved in time"),
    "semilinear_pde": (
        "semilinear_pde:SemilinearSurrogate",
        "semilinear PDE: a learned equation, its linear part solved exactly; periodic",
    ),
}
"""Surrogate networks: file and class, and a line on each."""

TASK = Task(
    name="surrogate",
    summary="the next state of a field, or a steady solution, learned from solutions of a PDE",
    module="integrand.apps.physics.surrogate.module:SurrogateModule",
    data="integrand.apps.physics.surrogate.data:SurrogateData",
    models={name: f"{_MODELS_IN}.{path}" for name, (path, _) in SURROGATES.items()},
    model_summaries={name: summary for name, (_, summary) in SURROGATES.items()},
    datasets=(
        "burgers",
        "burgers_etd",
        "pdebench_burgers",
        "kuramoto_sivashinsky",
        "korteweg_de_vries",
        "advection",
        "heat",
        "wave",
        "solitons",
        "darcy",
        "darcy_neuralop",
        "navier_stokes",
        "kolmogorov_flow",
        "decaying_turbulence",
        "advection_2d",
        "heat_2d",
        "wave_2d",
    ),
    default_recipe="burgers",
    evaluate="integrand.apps.physics.surrogate.evaluation:evaluate",
    figures="integrand.apps.physics.surrogate.figures:draw",
    predict="integrand.apps.physics.surrogate.prediction:predict",
    reads="an .h5 file of solutions, or an .npy or .h5 file of initial states",
    writes="an .npy or .h5 file of states and a figure",
    product="solutions",
)
