"""A training from command to report."""

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from lightning import LightningDataModule
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from integrand.apps.application import Application, Task, load
from integrand.apps.training.callbacks import BestCheckpoint, LastCheckpoint, ProgressLines, Stopped
from integrand.apps.training.checkpoints import AtomicCheckpointIO, read_checkpoint
from integrand.apps.training.conclusion import conclude
from integrand.apps.training.environment import describe_environment
from integrand.apps.training.files import write_atomically
from integrand.apps.training.metrics_log import MetricsLog
from integrand.apps.training.options import SuiteCLI, command_line, config_file, parse_options
from integrand.apps.training.quiet import quiet
from integrand.apps.training.request import TrainRequest
from integrand.apps.training.run_folder import RunFolder
from integrand.core.errors import InputError

NEEDED = 50_000_000
"""Bytes that must be free when a training starts: checkpoints, figures and report of a small model, with room."""
_RUN = "INTEGRAND_RUN"
"""Environment variable by which the first process tells the others of a training their run folder."""


class Trained(NamedTuple):
    """How a training ended: its folder, and the exit code."""

    run: RunFolder
    code: int


def train(app: Application, request: TrainRequest) -> Trained:
    """Train as asked, evaluate on the test part, write figures and report.

    Raises:
        InputError: options, data or folder are not right; before training starts wherever that can be told.
    """
    began = time.monotonic()
    quiet()
    cli = parse_options(app, request)
    task = cli.task
    run = _run_folder(app, request)
    log = MetricsLog(run.metrics)
    if request.resume is None:
        log.rows = []
    try:
        run.require_space(NEEDED)
        cli.start(**_forced(run, task, request, log))
        module, data, trainer = cli.model, cli.datamodule, cli.trainer
        if request.seeds is not None and trainer.world_size > 1:
            raise InputError("--seeds trains in one process: add --trainer.devices 1, or start each --seed by itself.")
        data.trainer = trainer  # as in ``fit``: what data make of themselves is made on its device
        data.setup()
        module.build(data)
        _write_start(cli, app, run, request, data)
    except BaseException:
        run.discard()
        raise
    _notify(f"run folder {run.path}")
    for notice in data.notices:
        _notify(f"note: {notice}")

    last = run.checkpoints / "last.ckpt"
    if request.resume is not None:
        run.require_data(data.dataset, data.split.hash)
        read_checkpoint(last, app=app.name)
    started = time.monotonic()
    try:
        trainer.fit(module, data, ckpt_path=last if request.resume is not None else None, weights_only=True)
    except Stopped as stop:
        _notify(f"{stop}; its state is saved. Go on with: integrand train {app.name} --resume {run.path}")
        return Trained(run, 128 + stop.signal)
    except RuntimeError as error:
        if request.resume is None or "loading state_dict" not in str(error):
            raise
        raise InputError(
            f"{last} does not fit {run.config}, which was changed since the run began: restore it, or train anew."
        ) from error
    if not trainer.is_global_zero:
        return Trained(run, 0)
    if not last.is_file():
        run.config.unlink()
        run.discard()
        raise InputError("the training made no step: ask for at least one of --trainer.max_epochs and max_steps.")
    seconds = {"preparation": started - began, "training": time.monotonic() - started}
    best = run.checkpoints / "best.ckpt"
    if not best.is_file():  # the training ended before its first validation
        _notify("note: validation never ran, so there is no best checkpoint: the last one is scored")
        shutil.copyfile(last, best)
    best = read_checkpoint(best, app=app.name)
    trained = load(task.module).from_checkpoint(best).to(trainer.strategy.root_device)
    conclude(task, run, trained, data, seed=cli.config.get("seed_everything") or 0, notify=_notify, seconds=seconds)
    _notify(f"done in {time.monotonic() - began:.0f} s: {run.report}")
    return Trained(run, 0)


def _forced(run: RunFolder, task: Task, request: TrainRequest, log: MetricsLog) -> dict[str, Any]:
    """Trainer arguments that make a training a run."""
    callbacks = [
        BestCheckpoint(
            run.checkpoints, filename="best", monitor=load(task.module).monitor, enable_version_counter=False
        ),
        LastCheckpoint(run.checkpoints / "last.ckpt", every=request.save_every, metrics=log),
        RichProgressBar() if sys.stderr.isatty() else ProgressLines(_notify),
    ]
    return {
        "callbacks": callbacks,
        "logger": [log],
        "plugins": [AtomicCheckpointIO()],
        "default_root_dir": str(run.path),
        "enable_model_summary": False,
        "enable_progress_bar": sys.stderr.isatty(),
        "use_distributed_sampler": False,
        "num_sanity_val_steps": 0,
    }


def _run_folder(app: Application, request: TrainRequest) -> RunFolder:
    """Open the run resumed, or the one the first process made, or make one."""
    if request.resume is not None:
        return RunFolder.open(request.resume)
    if os.environ.get("LOCAL_RANK", "0") != "0" and _RUN in os.environ:
        return RunFolder(Path(os.environ[_RUN]))
    run = RunFolder.create(request.runs, app.name, config_file(app, request).stem)
    os.environ[_RUN] = str(run.path)
    return run


@rank_zero_only
def _write_start(
    cli: SuiteCLI, app: Application, run: RunFolder, request: TrainRequest, data: LightningDataModule
) -> None:
    """Record what is about to be done: options and environment."""
    if request.resume is not None:
        return
    write_atomically(run.config, cli.parser.dump(cli.config, skip_unset=False))
    seed = cli.config.get("seed_everything") or 0
    environment = describe_environment(
        device=cli.trainer.strategy.root_device,
        seed=seed,
        command=command_line(),
        data={
            "app": app.name,
            "task": cli.task.name,
            "recipe": run.path.parent.name,
            "model": model_name(cli.task, cli.model),
            "dataset": data.dataset,  # pyright: ignore[reportAttributeAccessIssue]
            "split_hash": data.split.hash,  # pyright: ignore[reportAttributeAccessIssue]
            "data_checksum": data.checksum,  # pyright: ignore[reportAttributeAccessIssue]
            "processes": cli.trainer.world_size,
        },
    )
    run.write("environment.json", environment)


def model_name(task: Task, module: Any) -> str:
    """Return the name under which the task lists a module's network, or its class name."""
    kind = type(module.network)
    path = f"{kind.__module__}:{kind.__qualname__}"
    return next((name for name, known in task.models.items() if known == path), kind.__name__)


@rank_zero_only
def _notify(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
