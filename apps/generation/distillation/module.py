"""The Lightning module of distillation: a flow map that learns where a teacher's solutions go."""

from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from integrand.apps.application import load
from integrand.apps.generation.models.denoising_network import DenoisingNetwork
from integrand.apps.generation.module import GenerationModule, Jumping
from integrand.apps.generation.sampling import JUMPS, drawn_labels, guided
from integrand.apps.generation.task import GenerationTask
from integrand.apps.training.checkpoints import StoredRun, build_module
from integrand.apps.training.run_folder import RunFolder
from integrand.core.diffusion.flow_map import FlowMap, flow_map_loss, solution_states, spread
from integrand.core.diffusion.probability_flow import ProbabilityFlow
from integrand.core.diffusion.samplers.noise import initial_noise
from integrand.core.diffusion.schedule import step_times
from integrand.core.errors import InputError

HELD = 512
"""Solutions held out of training, by which its length is chosen."""
FIRST_SEED = 1 << 32
"""Seed of the first solution learned from: apart from all that are drawn to be scored."""
SOLVED = 512
"""Solutions found at a time."""


class Solutions(NamedTuple):
    """States of a teacher's solutions.

    Attributes:
        states: (N, M + 1, *shape), in the network's units.
        labels: (N,) classes that were told.
    """

    states: Tensor
    labels: Tensor


class DistilledModule(GenerationModule):
    """A flow map of a trained model, see ``FlowMap``: the same network, without dropout, told where a step is to end.

    The teacher's probability flow is solved from many draws of noise, once, in M steps, and the states after all steps
    are kept. Each batch then takes two states of each of some solutions, at random, and learns the way from the earlier
    to the later. It starts from the teacher's weights, with which a step is one of ``ddim``. No data are learned from:
    those of the data module are for validation and scores alone.

        loss = E |G(x_t, t, s) - G*|^2 / (c_out(t)^2 dims),      t > s of the M + 1 times, uniform

    Validation tells ``miss``, the mean square of what ``sampler_steps`` jumps end with less the end of the solution, of
    solutions that were not learned from.

    Args:
        teacher: folder of the run that is learned from.
        knots: M, the teacher's steps. The student makes any number up to it.
        trajectories: solutions learned from; they are kept on the device, (M + 1) states each.
        guidance: classifier-free scale of the teacher's solutions, after which the student needs no guidance.
        sampler_steps: jumps, unless asked otherwise.
        learning_rate, weight_decay, warmup_steps, ema_decay: see ``BaseModule``.
        described: what a checkpoint tells of the network and its process; the teacher's when None.

    Source: Boffi, Albergo and Vanden-Eijnden (2025), Flow map matching with stochastic interpolants: a mathematical
    framework for consistency models; Luhman and Luhman (2021), Knowledge distillation in iterative generative models
    for improved sampling speed, of the whole way alone.
    """

    monitor: ClassVar[str] = "validation/miss"
    validated: ClassVar[tuple[str, ...]] = ("miss", "loss")

    def __init__(
        self,
        *,
        teacher: Path | None = None,
        knots: int = 16,
        trajectories: int = 8192,
        guidance: float = 1.0,
        sampler_steps: int = 4,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.0,
        warmup_steps: int = 50,
        ema_decay: float = 0.995,
        described: dict[str, Any] | None = None,
    ) -> None:
        stored = None if teacher is None else _stored(teacher)
        said = described or (stored.checkpoint["integrand"] if stored is not None else None)
        if said is None:
            raise InputError("model.teacher is missing: integrand distill RUN names it, and all that goes with it.")
        for name, value, held, must in (
            ("knots", knots, knots >= 2, "be at least 2"),
            ("trajectories", trajectories, trajectories >= 1, "be at least 1"),
            ("sampler_steps", sampler_steps, 1 <= sampler_steps <= knots, f"lie between 1 and knots, {knots}"),
        ):
            if not held:
                raise InputError(f"model.{name}={value} is out of range: it must {must}.")
        super().__init__(
            _network(said),
            **{name: said[name] for name in ("process", "process_options", "base", "label_dropout")},
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            warmup_steps=warmup_steps,
            ema_decay=ema_decay,
        )
        self.network.jumps = True
        self.teacher, self.knots, self.trajectories, self.guidance = teacher, knots, trajectories, guidance
        self.sampler, self.sampler_steps = JUMPS, sampler_steps
        self._stored = stored
        self._taught_by: list[GenerationModule] = []  # in a list: its parameters are none of this module's
        self._solutions: Solutions | None = None

    @property
    def flow(self) -> ProbabilityFlow:
        """Refused: a flow map tells where solutions end, not their velocity.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"a distilled run knows neither likelihood nor velocity: ask its teacher, {self.teacher or 'another run'}."
        )

    @property
    def jumping(self) -> Jumping:
        """The flow map, and the times between which it was learned."""
        denoiser = self.built_denoiser
        learned = FlowMap(self.process, lambda t, s, x, labels: denoiser(t, x, labels, s))
        return Jumping(learned, step_times(self.process, self.knots))

    def build(self, data: Any) -> None:
        """Build the network for the data and give it the teacher's weights.

        Raises:
            InputError: the data are not such as the teacher learned, or the teacher cannot be guided.
        """
        super().build(data)
        if self._stored is None or self._taught_by:
            return
        taught = _built(self._stored)
        if taught.network.built_for != self.network.built_for:
            raise InputError(
                f"the data {data.dataset!r} are not those of {self.teacher}: integrand distill RUN takes the run's own."
            )
        missing, _ = self.built_denoiser.load_state_dict(taught.built_denoiser.state_dict(), strict=False)
        assert all(".until." in name for name in missing), missing
        guided(taught, taught.flow, self.guidance)  # refuses early
        self._taught_by = [taught.requires_grad_(False)]

    def on_fit_start(self) -> None:
        """Solve what is learned from."""
        super().on_fit_start()
        if not self._taught_by:
            raise InputError("model.teacher is missing: a flow map is learned from a run, integrand distill RUN.")
        self.print(f"solving {self.trajectories + HELD:,} trajectories of {self.teacher} in {self.knots} steps")
        self._solutions = self._solve(self._taught_by[0].to(self.device), self.trajectories + HELD)

    def on_fit_end(self) -> None:
        """Let go of what was learned from."""
        super().on_fit_end()
        self._solutions, self._taught_by = None, []

    def loss(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Average the error of jumps between two states of as many solutions as the batch has samples."""
        states, labels = self._learned_from
        count, device = len(batch.values), states.device
        row = HELD + torch.randint(self.trajectories, (count,), device=device)
        begin = torch.randint(self.knots, (count,), device=device)
        # A whole number from begin + 1 to M; a draw that rounds up to 1 would name one too many.
        end = begin + 1 + (torch.rand(count, device=device) * (self.knots - begin)).long()
        error = self._error_between(row, begin, end.clamp(max=self.knots), labels)
        return error.mean(), {"error": error.detach().mean()}

    def scores(self, batch: Any) -> tuple[dict[str, Tensor], Tensor | None]:
        """Return the miss and the loss of as many solutions held out as the batch has samples, (B,)."""
        states, labels = self._learned_from
        row = torch.arange(len(batch.values), device=states.device) % HELD
        learned, times = self.jumping
        ends = learned.follow(states[row, 0], spread(times, self.sampler_steps), args=labels[row])
        begin = row % self.knots
        error = self._error_between(row, begin, torch.full_like(begin, self.knots), labels)
        return {"miss": (ends - states[row, -1]).square().flatten(1).mean(1), "loss": error}, None

    def describe(self) -> dict[str, Any]:
        """Return network, task, process, times and teacher."""
        teacher = None if self.teacher is None else str(self.teacher)
        return {**super().describe(), "knots": self.knots, "teacher": teacher, "guidance": self.guidance}

    @classmethod
    def from_checkpoint(cls, checkpoint: dict[str, Any]) -> Self:
        """Build the module that a checkpoint describes, ready to be asked; its teacher need not be there any more."""
        said = checkpoint["integrand"]
        module = cls(described=said, knots=said["knots"], sampler_steps=said["sampler_steps"])
        module.teacher, module.guidance = said["teacher"] and Path(said["teacher"]), said["guidance"]
        module.build_networks(GenerationTask(**said["task"]))
        module.load_state_dict(checkpoint["state_dict"])
        return module.eval()

    @property
    def _learned_from(self) -> Solutions:
        if self._solutions is None:
            raise InputError("the solutions are there while training alone: call Trainer.fit.")
        return self._solutions

    def _error_between(self, row: Tensor, begin: Tensor, end: Tensor, labels: Tensor) -> Tensor:
        states, (learned, times) = self._learned_from.states, self.jumping
        times = times.to(row.device, torch.float32)
        return flow_map_loss(learned, times[begin], times[end], states[row, begin], states[row, end], labels[row])

    @torch.no_grad()
    def _solve(self, teacher: GenerationModule, count: int) -> Solutions:
        """Solve the teacher's flow from noise, a seed each."""
        task, times = teacher.eval().network.built_for, self.jumping.times
        field = guided(teacher, teacher.flow, self.guidance)
        seeds = FIRST_SEED + torch.arange(count)
        labels = drawn_labels(task.class_shares, seeds).to(self.device)
        parts = []
        for own, asked in zip(seeds.split(SOLVED), labels.split(SOLVED), strict=True):
            x = initial_noise(own, task.shape, self.process.prior_scale(), device=self.device)
            parts.append(solution_states(field, x, times, args=asked))
        return Solutions(torch.cat(parts), labels)


def _network(said: dict[str, Any]) -> DenoisingNetwork:
    """Make a network apart from any other ``__init__``, whose arguments Lightning would take for its own.

    It drops nothing: solutions can be had as many as it takes, and each has one answer.
    """
    options = dict(said["options"])
    if "dropout" in options:
        options["dropout"] = 0.0
    return load(said["network"])(**options)


def taught_by(module: DistilledModule) -> GenerationModule:
    """Return the teacher of a module, from its run, on the device of the module.

    Raises:
        InputError: the run is not there any more.
    """
    if module.teacher is None or not module.teacher.is_dir():
        raise InputError(
            f"the teacher {module.teacher} is not there: evaluate compares with it, so put it back or distil anew."
        )
    return _built(_stored(module.teacher)).requires_grad_(False).to(module.device)


def _built(stored: StoredRun) -> GenerationModule:
    version = stored.checkpoint["integrand"].get("version")
    return build_module(load(stored.task.module), stored.checkpoint, stored.path, version=version)


def _stored(teacher: Path) -> StoredRun:
    """Read the best checkpoint of a run that may be a teacher."""
    stored = StoredRun.of(RunFolder.open(teacher), "best")
    kind = load(stored.task.module)
    if kind is not GenerationModule:
        raise InputError(f"{teacher} is a run of {stored.task.name}, which is not distilled: name a diffusion or flow.")
    return stored
