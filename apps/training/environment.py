"""What a run was made with: versions, device, data, command line."""

import platform
from importlib import metadata
from typing import Any

import torch

PACKAGES = ("torch", "torchdiffeq", "torchsde", "lightning", "numpy", "scipy", "pandas")


def describe_environment(
    *, device: torch.device, seed: int, command: list[str], data: dict[str, Any]
) -> dict[str, Any]:
    """Return plain values that let a reader repeat the run; nothing about the user or the machine's name."""
    import integrand

    accelerator = "CPU" if device.type == "cpu" else torch.get_device_module(device).get_device_name(device)
    return {
        "integrand": integrand.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        # Torch's own word names its build, too: "2.13.0+cu130".
        "packages": {name: metadata.version(name) for name in PACKAGES} | {"torch": torch.__version__},
        "device": accelerator,
        "threads": torch.get_num_threads(),
        "seed": seed,
        "command": command,
        **data,
    }
