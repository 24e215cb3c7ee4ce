"""What a conversion leaves: the converted network for torch and for us, the numbers, and a picture."""

import hashlib
import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim
from torch.utils import _pytree as pytree

import integrand
from integrand.apps.conversion.conversion import Conversion
from integrand.apps.conversion.figures import draw_refinement
from integrand.apps.conversion.request import Request
from integrand.apps.training.files import require_folder, write_atomically, write_json
from integrand.core.analysis.exported_graph import ExportedGraph, shape_of
from integrand.core.errors import InputError, first_line

PROGRAM, WEIGHTS, REPORT, PICTURE = "model.pt2", "model.safetensors", "conversion.json", "refinement.png"
FORMAT = 1
"""Version of the layout of the report."""


def write_conversion(done: Conversion, graph: ExportedGraph, request: Request) -> list[Path]:
    """Write the files of a conversion and return them.

    ``model.pt2`` runs by torch alone, at the steps that were asked for; ``model.safetensors`` holds the weights for a
    ``ConvertedODE`` of the same network; ``conversion.json`` the numbers, and ``refinement.png`` shows them.

    Raises:
        InputError: the folder cannot be written; the converted network cannot be exported.
    """
    from safetensors.torch import save

    require_folder(request.output)
    program = _exported(done, graph)
    request.output.mkdir(parents=True, exist_ok=True)
    write_atomically(request.output / PROGRAM, program)
    write_atomically(request.output / WEIGHTS, save(_tensors(done)))
    write_json(request.output / REPORT, _described(done, request))
    draw_refinement(done, request.output / PICTURE)
    return [request.output / name for name in (PROGRAM, WEIGHTS, REPORT, PICTURE)]


def table(done: Conversion) -> list[tuple[str, ...]]:
    """Return the conversion's table as cells of text, its heading first."""
    scored = done.score_name is not None
    lines = [
        ("network", "steps a block", "evaluations", "change of outputs", *([done.score_name or ""] if scored else []))
    ]
    for row in done.rows:
        score = (
            [] if row.score is None else [f"{row.score:.4f}" if done.score_name == "accuracy" else f"{row.score:.4g}"]
        )
        lines.append((row.name, str(row.steps), str(row.evaluations), percent(row.change), *score))
    return lines


def conclusions(done: Conversion) -> list[str]:
    """Return in plain words what the numbers say of the network as a differential equation."""
    first, last = done.finer[0], done.finer[-1]
    where = "the inputs that it was exported with" if done.measured is None else f"{done.measured} samples"
    told = [
        f"At its own steps the converted network gives the same to the last bit over {where}."
        if not done.difference
        else f"At its own steps the converted network differs by {done.difference:.1e} at most, where outputs reach "
        f"{done.largest:.3g}, over {where}.",
        f"Twice as many steps change the outputs by {percent(first.apart)}, {last.steps} times as many by "
        f"{percent(last.change)}.",
    ]
    if math.isnan(first.order):
        told.append("Finer steps change nothing: one step a block solves the equation exactly.")
    elif first.order > 0.5:
        told.append(
            f"The changes fall at order {first.order:.2f}, where 1 is expected: the outputs settle, and the network is "
            "a coarse solution of its equation."
        )
    else:
        told.append(
            f"The changes fall at order {first.order:.2f} at first, where 1 is expected: a step a block does not "
            "resolve the equation, and the network is a map of its own rather than a solution."
        )
    shares = [share for each in done.moved for share in each]
    told.append(
        f"A block moves its state by {percent(median(shares))} of its size (median; most {percent(max(shares))})."
    )
    return told


def _exported(done: Conversion, graph: ExportedGraph) -> bytes:
    """Export the converted network with the sizes left free that were free before; it is read again and compared."""
    spec: Any = graph.program.call_spec
    args, kwargs = pytree.tree_unflatten(list(done.example), spec.in_spec)
    free = [
        {at: Dim.AUTO for at, size in enumerate(shape) if not size.isdigit()} if shape else None
        for shape in map(shape_of, graph.inputs)
    ]
    positional, named = pytree.tree_unflatten(free, spec.in_spec)
    shapes = {**({"args": positional} if args else {}), **({"kwargs": named} if kwargs else {})}
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.export.export(done.model, args, kwargs, dynamic_shapes=shapes)
            torch.export.save(program, buffer)
    except Exception as error:  # torch raises errors of many kinds
        raise InputError(f"the converted network cannot be exported ({first_line(error)}).") from error
    return buffer.getvalue()


def _tensors(done: Conversion) -> dict[str, Tensor]:
    """Return the weights by name, each tensor once."""
    found: dict[int, str] = {}
    tensors = {}
    for name, tensor in done.model.state_dict(keep_vars=True).items():
        if found.setdefault(id(tensor), name) == name:
            tensors[name] = tensor.detach().contiguous()
    return tensors


def _described(done: Conversion, request: Request) -> dict[str, Any]:
    content = request.program.read_bytes()
    return {
        "format": FORMAT,
        "integrand": integrand.__version__,
        "source": request.program.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "method": request.method,
        "steps": request.steps,
        "weights": request.weights,
        "stacks": [
            {
                "kind": chain.kind,
                "blocks": chain.blocks,
                "statement": chain.statement,
                "scale": chain.scale,
                "memory": chain.rule.memory,
                "shared_weights": chain.shared,
                "parameters_of_a_block": chain.parameters,
                "places": list(chain.places),
                "moved": moved,
            }
            for chain, moved in zip(done.chains, done.moved, strict=True)
        ],
        "largest_difference": done.difference,
        "largest_output": done.largest,
        "score": done.score_name,
        "samples": done.measured,
        "rows": [_plain(row._asdict()) for row in done.rows],
        "refinement": [_plain(each._asdict()) for each in done.finer],
        "fine_tuning": None
        if not done.losses
        else {
            "epochs": request.epochs,
            "learning_rate": request.learning_rate,
            "batch_size": request.batch_size,
            "held_out": request.held_out,
            "seed": request.seed,
            "losses": done.losses,
        },
        "conclusions": conclusions(done),
    }


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with None for what is no number, as JSON has it."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()
    }


def percent(share: float) -> str:
    """Return a share as a percentage of two digits.

    Example:
        >>> percent(0.00123), percent(1.234)
        ('0.12 %', '123 %')
    """
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def compact(names: Sequence[str]) -> str:
    """Return names of operations in one line, repeated ones with how often.

    Example:
        >>> compact(["linear", "relu", "linear", "linear"])
        'linear, relu, 2 linear'
    """
    told: list[tuple[str, int]] = []
    for name in names:
        if told and told[-1][0] == name:
            told[-1] = (name, told[-1][1] + 1)
        else:
            told.append((name, 1))
    return ", ".join(name if count == 1 else f"{count} {name}" for name, count in told)
