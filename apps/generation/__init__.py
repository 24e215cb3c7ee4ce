"""Generation: diffusions and flows that learn a distribution from its samples, and draw more."""

from integrand.apps.application import Application, Task

_NETWORKS_IN = "integrand.apps.generation.models"
_DISTILLATION_IN = "integrand.apps.generation.distillation"
_TABULAR_IN = "integrand.apps.generation.tabular"
_LATENTS_IN = "integrand.apps.generation.latents"
NETWORKS = {
    "mlp": ("mlp:MLPDenoiser", "residual perceptron of flattened samples"),
    "unet": ("unet:UNetDenoiser", "U-Net, channels last"),
    "ssm": ("ssm:SSMDenoiser", "S5 layers along a series and against it"),
    "dit": ("transformer:DiTDenoiser", "diffusion transformer: attention between patches"),
}
"""Denoising networks: file and class, and a line on each."""
_TASK = {
    "module": "integrand.apps.generation.module:GenerationModule",
    "data": "integrand.apps.generation.data:GenerationData",
    "evaluate": "integrand.apps.generation.evaluation:evaluate",
    "figures": "integrand.apps.generation.figures:draw_figures",
    "sample": "integrand.apps.generation.writing:write_samples",
    "likelihood": "integrand.apps.generation.writing:write_likelihood",
    "analyze": "integrand.apps.generation.analysis:subject",
}


def _models(*names: str) -> dict[str, dict[str, str]]:
    return {
        "models": {name: f"{_NETWORKS_IN}.{NETWORKS[name][0]}" for name in names},
        "model_summaries": {name: NETWORKS[name][1] for name in names},
    }


APPLICATION = Application(
    name="generation",
    summary="diffusions and flows that learn a distribution from its samples, and draw more",
    package="integrand.apps.generation",
    tasks=(
        Task(
            name="images",
            summary="images, or whatever is laid out as images are, of classes or without",
            datasets=("digits", "fashion_mnist", "cifar10"),
            default_recipe="digits",
            reads="a folder of images or a file of arrays",
            writes="a grid of pictures, and an array",
            product="samples",
            inpaint="integrand.apps.generation.inpainting:inpaint",
            **_models("mlp", "unet", "dit"),  # pyright: ignore[reportArgumentType]
            **_TASK,  # pyright: ignore[reportArgumentType]
        ),
        Task(
            name="densities",
            summary="points of the plane or of any space, where densities in closed form tell how right a model is",
            datasets=(
                "ring",
                "eight_gaussians",
                "moons",
                "smeared_moons",
                "checkerboard",
                "pinwheel",
                "swiss_roll",
                "rings",
                "two_spirals",
            ),
            default_recipe="moons",
            reads="a file of arrays (N, D)",
            writes="a table, an array and a picture",
            product="samples",
            **_models("mlp"),  # pyright: ignore[reportArgumentType]
            **_TASK,  # pyright: ignore[reportArgumentType]
        ),
        Task(
            name="signals",
            summary="series at regular times, of one channel or several, of classes or without",
            datasets=("ringdowns",),
            default_recipe="ringdowns",
            reads="a file of arrays (N, C, L)",
            writes="an array and pictures",
            product="samples",
            inpaint="integrand.apps.generation.inpainting:inpaint",
            **_models("ssm", "unet", "dit", "mlp"),  # pyright: ignore[reportArgumentType]
            **_TASK,  # pyright: ignore[reportArgumentType]
        ),
        Task(
            name="latents",
            summary="images or series by way of latents, which an autoencoder of your own makes of them",
            module=f"{_LATENTS_IN}.module:LatentModule",
            data=f"{_LATENTS_IN}.data:LatentData",
            evaluate=f"{_LATENTS_IN}.evaluation:evaluate",
            figures=f"{_LATENTS_IN}.figures:draw_figures",
            sample=_TASK["sample"],
            likelihood=f"{_LATENTS_IN}.writing:write_latent_likelihood",
            inpaint=f"{_LATENTS_IN}.writing:refuse_to_inpaint",
            datasets=("digits", "fashion_mnist", "cifar10", "ringdowns"),
            default_recipe="latents",
            reads="a folder of images or a file of arrays",
            writes="a grid of pictures, and an array",
            product="samples",
            **_models("mlp", "unet", "dit", "ssm"),  # pyright: ignore[reportArgumentType]
        ),
        Task(
            name="distillation",
            summary="a trained model's flow map, which draws in few evaluations",
            command="integrand distill RUN",
            module=f"{_DISTILLATION_IN}.module:DistilledModule",
            data=_TASK["data"],
            evaluate=f"{_DISTILLATION_IN}.evaluation:evaluate",
            figures=_TASK["figures"],
            sample=_TASK["sample"],
            datasets=(),
            default_recipe="few_steps",
            reads="what its teacher reads",
            writes="a grid of pictures, and an array",
            product="samples",
            **_models("mlp", "unet", "ssm", "dit"),  # pyright: ignore[reportArgumentType]
        ),
        Task(
            name="tabular",
            summary="tables of mixed types, and synthetic rows that learners can be trained on",
            module=f"{_TABULAR_IN}.module:TableModule",
            data=f"{_TABULAR_IN}.data:TableData",
            evaluate=f"{_TABULAR_IN}.evaluation:evaluate",
            figures=f"{_TABULAR_IN}.figures:draw_figures",
            sample=f"{_TABULAR_IN}.writing:write_table",
            likelihood=f"{_TABULAR_IN}.writing:write_row_likelihood",
            datasets=("breast_cancer", "diabetes", "diamonds"),
            default_recipe="breast_cancer",
            reads="a table such as the one of training",
            writes="a table",
            product="rows",
            **_models("mlp"),  # pyright: ignore[reportArgumentType]
        ),
    ),
)
