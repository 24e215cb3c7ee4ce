"""``integrand export RUN``: a run's averaged weights and their description, for others to load."""

from pathlib import Path

from integrand.apps.commands.parsing import CommandParser
from integrand.apps.commands.run_module import add_checkpoint

FORMATS = ("safetensors",)


def run(arguments: list[str]) -> int:
    """Write the files and print where they are."""
    parser = CommandParser(
        "integrand export",
        description="Write a run's averaged weights and a description of its model, which names no path of this "
        "machine; integrand.apps.training.exported.load_exported makes the module again.",
        examples=(
            "integrand export runs/timeseries/weather/1",
            "integrand export runs/generation/digits/1 --format safetensors --output digits",
        ),
    )
    parser.add_argument("run", metavar="RUN", help="folder of a run")
    parser.add_argument(
        "--format", choices=FORMATS, default=FORMATS[0], help="safetensors: model.safetensors and model.json (default)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("exported"), metavar="DIR", help="the folder to write (exported)"
    )
    add_checkpoint(parser)
    given = parser.parse_args(arguments)

    from integrand.apps.training.exported import export_safetensors
    from integrand.apps.training.run_folder import RunFolder

    weights, config = export_safetensors(RunFolder.open(given.run), given.output, checkpoint=given.checkpoint)
    print(f"weights:     {weights}")
    print(f"description: {config}")
    return 0
