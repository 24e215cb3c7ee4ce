"""Whether a trained model's answers are those of its equation or of the steps it is solved with."""

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from integrand.core.analysis.finding import Finding, Verdict
from integrand.core.analysis.in_float64 import in_float64
from integrand.core.analysis.relative_change import relative_change
from integrand.core.analysis.solved_finely import solved_finely
from integrand.core.errors import InputError
from integrand.core.numerics.solved_by import SolverRecord, solved_by
from integrand.core.numerics.stepping.walk import SolveError

FIXED = ("euler", "midpoint", "rk4")
TOLERANCES = (1e-3, 1e-4, 1e-5, 1e-6)
REFINEMENTS = (2, 4, 8)
REFERENCES = ((1e-9, 32), (1e-7, 16))
"""Tolerance of dopri8, and how often steps are divided where it does not apply: the reference, and a coarser one that
tells how good the reference is."""


class _Answer(NamedTuple):
    """What a model answered when solved in one way; NaN stands for a score that is not asked for."""

    solver: str
    states: Tensor | None
    evaluations: float
    score: float


def solver_audit(
    module: nn.Module,
    ask: Callable[[nn.Module], Tensor],
    *,
    score: Callable[[Tensor], float] | None = None,
    better: Literal["lower", "higher"] = "lower",
    sound: float = 0.01,
    flawed: float = 0.05,
    seed: int = 0,
) -> Finding:
    """Solve the equations in a trained model again, more finely and by other methods, and say whether it answers alike.

    A network trained through a coarse solver can learn to use its errors: Euler's steps take x to -x on a line, which
    no flow can do, for solutions of an equation do not cross. Such a network is a stack of layers; what it says of its
    field, of rates, or of times between its steps means nothing.

    The answer as the model gives it is compared with a reference in double precision: ``dopri8`` at tolerance 1e-9 for
    ordinary and controlled equations, the model's own method with steps 32 times shorter for semilinear and stochastic
    ones, the latter on the same noise, and where ``dopri8`` cannot go on. The table has also the model's method with
    steps 2, 4 and 8 times shorter, Euler, midpoint and RK4 at the model's step, and ``dopri5`` at four tolerances.

    A change in predictions is the root mean square over all of them as a share of their spread (``relative_change``),
    in the score, relative to the greater of the two. Below 1 % it is less than what a training run with another seed
    would change, and than figures are given to; above 5 % it is of the size that is reported as progress.

    Args:
        module: the model, in evaluation mode. It is not changed.
        ask: gives predictions (B, ...) of a module: this one, or its copy in double precision, to which it must cast
            its inputs. It must answer the same when asked again.
        score: of predictions, such as their error against targets.
        better: whether a lower or a higher score is better.
        sound: change below which answer and score are those of the equation.
        flawed: change above which they are those of the steps.
        seed: of the noise of stochastic equations that draw it afresh.

    Returns:
        A ``Finding`` with a row for each way of solving; ``"told"`` where the model solves no equation by our solvers.

    Raises:
        InputError: answers differ from one time to the next, or are not in the precision of the module asked.

    Example:
        >>> from integrand.core.fields import MLP
        >>> from integrand.core.models import NeuralODE
        >>> _ = torch.manual_seed(0)
        >>> model, x = NeuralODE(MLP(2, (8,)), method="rk4", step_size=0.1), torch.randn(16, 2)
        >>> def ask(module):
        ...     return module(x.to(next(module.parameters())), [0.0, 1.0]).states[:, -1]
        >>> solver_audit(model, ask).verdict
        'sound'

    Source: Ott, Katiyar, Hennig and Tiemann (2021), ResNet after all: neural ODEs and their numerical solution;
    Queiruga, Erichson, Taylor and Mahoney (2020), Continuous-in-depth neural networks.
    """
    if better not in ("lower", "higher"):
        raise InputError(f"better={better!r} must be 'lower' or 'higher': say which scores are good.")
    if not 0 < sound <= flawed:
        raise InputError(f"sound={sound!r} and flawed={flawed!r} must be positive, the first not above the second.")
    with torch.no_grad():
        used, record = _answer("as the model is used", module, ask, score, seed)
        if not record.calls:
            return Finding(
                instrument="solver audit",
                verdict="told",
                statement="This model solves no differential equation when it is asked, so no step can shape its "
                "answers.",
            )
        again, _ = _answer("", module, ask, None, seed)
        if used.states is None or again.states is None or relative_change(again.states, used.states) > 0:
            raise InputError("ask gives two different answers: put the module in evaluation mode and fix its seeds.")
        double = in_float64(module)
        reference, coarser = (_reference(double, ask, score, seed, *how) for how in REFERENCES)
        answers = [used, *_others(double, ask, score, seed, record)]
    if reference.states is None:
        return _without_reference(used, answers)
    if reference.states.dtype not in (torch.float64, torch.complex128):
        raise InputError(
            f"the copy in double precision answered in {reference.states.dtype}: let ask cast its inputs, by "
            "x.to(next(module.parameters()).dtype)."
        )
    return _finding(reference, coarser, answers, record, better, sound, flawed)


def _answer(
    name: str, module: nn.Module, ask: Callable[[nn.Module], Tensor], score: Callable[[Tensor], float] | None, seed: int
) -> tuple[_Answer, SolverRecord]:
    with solved_by(seed=seed) as record:
        states = ask(module)
    mark = math.nan if score is None else float(score(states))
    return _Answer(name, states, record.evaluations, mark), record


def _reference(
    module: nn.Module,
    ask: Callable[[nn.Module], Tensor],
    score: Callable[[Tensor], float] | None,
    seed: int,
    tolerance: float,
    refine: int,
) -> _Answer:
    for block in (solved_finely(tolerance, refine), solved_by(refine=refine)):
        try:
            with block:
                found = _answer("reference", module, ask, score, seed)[0]
        except (SolveError, InputError):  # too stiff for an explicit method, or of a kind that takes its own alone
            continue
        if found.states is not None and bool(torch.isfinite(found.states).all()):
            return found
    return _Answer("reference", None, math.nan, math.nan)


def _others(
    module: nn.Module,
    ask: Callable[[nn.Module], Tensor],
    score: Callable[[Tensor], float] | None,
    seed: int,
    record: SolverRecord,
) -> Iterator[_Answer]:
    """Yield the answers in double precision: as the model is used, in shorter steps, and by other methods."""
    ways: list[tuple[str, dict[str, Any]]] = [("the same in double precision", {})]
    ways += [(f"the same, steps {refine} times shorter", {"refine": refine}) for refine in REFINEMENTS]
    if any(call.kind in ("ordinary", "controlled") for call in record.calls):
        chosen = {"kinds": ("ordinary", "controlled"), "gradient": "direct"}
        steps = [abs(call.end - call.start) / max(call.steps, 1) for call in record.calls if call.adaptive]
        step = {"step_size": min(steps)} if steps else {}
        ways += [(f"{method} at the model's step", {**chosen, **step, "method": method}) for method in FIXED]
        ways += [
            (
                f"dopri5, tolerance {each:g}",
                {**chosen, "method": "dopri5", "step_size": None, "rtol": each, "atol": each},
            )
            for each in TOLERANCES
        ]
    for name, options in ways:
        # Steps of each sample's own are for methods that choose them.
        shared: dict[str, Any] = {"stepping": "shared"} if options.get("method") in FIXED else {}
        try:
            with solved_by(kinds=("ordinary",), **shared), solved_by(**options):
                yield _answer(name, module, ask, score, seed)[0]
        except (SolveError, InputError):  # a way that fails is a row without numbers
            yield _Answer(name, None, math.nan, math.nan)


def _finding(
    reference: _Answer,
    coarser: _Answer,
    answers: list[_Answer],
    record: SolverRecord,
    better: str,
    sound: float,
    flawed: float,
) -> Finding:
    assert reference.states is not None
    rows = [_row(each, reference) for each in (*answers, reference)]
    uncertainty = math.inf if coarser.states is None else relative_change(coarser.states, reference.states)
    numbers = {name: float(rows[0][name]) for name in ("evaluations", "change")}
    numbers |= {"change in double precision": float(rows[1]["change"]), "reference uncertainty": uncertainty}
    worst = numbers["change"]
    if not math.isnan(reference.score):
        numbers |= {"score": answers[0].score, "score of the equation": reference.score}
        numbers["score change"] = _apart(answers[0].score, reference.score)
        worst = max(worst, numbers["score change"])
    verdict: Verdict = "sound" if worst < sound else "flawed" if worst > flawed else "doubtful"
    said = f"the predictions change by {_percent(numbers['change'])} of their spread"
    if "score" in numbers:
        gain = (reference.score - answers[0].score) * (1 if better == "higher" else -1)
        direction = "better" if gain > 0 else "worse" if gain < 0 else "the same"
        said += f" and the score from {answers[0].score:.4g} to {reference.score:.4g} ({direction})"
    if uncertainty > sound:
        verdict = "doubtful" if verdict == "sound" else verdict
        statement = (
            f"The equation itself is hard to solve: its two finest solutions differ by {_percent(uncertainty)} of the "
            f"spread of the predictions, as those of chaotic or very stiff equations do. Against the finest, {said}."
        )
    else:
        statement = _sentence(verdict, said, record, rows, sound)
    return Finding(instrument="solver audit", verdict=verdict, statement=statement, numbers=numbers, rows=tuple(rows))


def _sentence(
    verdict: Verdict, said: str, record: SolverRecord, rows: list[dict[str, float | str]], sound: float
) -> str:
    call = record.calls[0]
    way = f"{call.method}, {record.steps:.0f} steps"
    if verdict == "sound":
        return f"The answer belongs to the equation, not to its solver ({way}): solved exactly, {said}."
    finer = (k for k, row in zip(REFINEMENTS, rows[2:], strict=False) if float(row["change"]) < sound)
    enough = next(finer, None)
    cure = (
        f"Steps {enough} times shorter are enough to follow the equation"
        if enough
        else f"Steps {REFINEMENTS[-1]} times shorter are not yet enough to follow the equation"
    )
    if verdict == "flawed":
        return (
            f"The answer belongs to the step, not to the equation: solved exactly, {said}. Read this "
            f"model as a stack of layers ({way}); what its field says of rates, or of times between the steps, does "
            f"not explain its answers. {cure}: train with them."
        )
    return f"The solver ({way}) leaves its mark on the answer: solved exactly, {said}. {cure}."


def _without_reference(used: _Answer, answers: list[_Answer]) -> Finding:
    return Finding(
        instrument="solver audit",
        verdict="flawed",
        statement="The model answers only because its steps are coarse: solved more finely its equation has no finite "
        "solution over the time asked for.",
        numbers={"evaluations": used.evaluations},
        rows=tuple({"solver": each.solver, "evaluations": each.evaluations} for each in answers),
    )


def _row(answer: _Answer, reference: _Answer) -> dict[str, float | str]:
    assert reference.states is not None
    change = math.nan if answer.states is None else relative_change(answer.states, reference.states)
    row: dict[str, float | str] = {"solver": answer.solver, "evaluations": answer.evaluations, "change": change}
    if not math.isnan(reference.score):
        row |= {"score": answer.score, "score change": _apart(answer.score, reference.score)}
    return row


def _apart(score: float, reference: float) -> float:
    """Return the change of a score as a share of the greater of the two."""
    if score == reference:
        return 0.0
    change = abs(score - reference) / max(abs(score), abs(reference))
    return change if math.isfinite(change) else math.inf


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 10 else f"{share:.2g} times"
