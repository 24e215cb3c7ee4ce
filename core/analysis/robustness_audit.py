"""How a model's score falls when its input is noisy, incomplete, mistimed or chosen against it."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from integrand.core.analysis.certified_radius import certified_radius
from integrand.core.analysis.finding import Finding, Verdict
from integrand.core.analysis.projected_gradient import projected_gradient
from integrand.core.errors import InputError
from integrand.core.numerics.stepping.step_control import wide

REFERENCE = 0.1
"""Level of disturbance, a share of the spread, that the verdict is about."""


def robustness_audit(
    ask: Callable[..., Tensor],
    score: Callable[[Tensor], float],
    x: Tensor,
    *,
    better: Literal["lower", "higher"] = "lower",
    mask: Tensor | None = None,
    times: Tensor | None = None,
    loss: Callable[[Tensor], Tensor] | None = None,
    lipschitz: float | None = None,
    noise: Sequence[float] = (0.05, 0.1, 0.2, 0.5),
    missing: Sequence[float] = (0.1, 0.3, 0.5),
    jitter: Sequence[float] = (0.1, 0.3, 0.5),
    attack: Sequence[float] = (0.02, 0.05, 0.1),
    steps: int = 10,
    repeats: int = 3,
    sound: float = 0.1,
    flawed: float = 0.5,
    seed: int = 0,
) -> Finding:
    """Ask a model about disturbed inputs and report the score under each disturbance.

    - Noise: independent normal numbers of a share of the spread of each channel are added.
    - Missing data: a share of what is present is marked absent; where a mask is given.
    - Times: all but the first and the last move by up to half this share of the way to the nearer neighbour, so that
      their order stays; where times are given.
    - Attack: the worst change found by projected gradients (``projected_gradient``), of each number by a share of the
      spread (linf), or of all together by as much as noise of that share would be (l2); where a loss is given.

    How much worse a score is, is told relative to the score of the undisturbed input. The verdict is about
    disturbances of a tenth of the spread: below 10 % worse under noise, and 50 % under attack, is sound; beyond 50 %
    under noise is flawed. Data whose measurement is better or worse than that ask for another reading of the table.

    Args:
        ask: gives predictions (B, ...) of ``ask(x)``, with ``mask=`` and ``times=`` where these are given.
        score: of predictions.
        x: inputs, (B, ...), the last dimension being channels if there is more than one.
        better: whether a lower or a higher score is better.
        mask: True where present, in the shape of x, or without its last dimension.
        times: (T,) or (B, T), increasing.
        loss: of predictions, one differentiable number a sample, (B,), that an attack is to raise.
        lipschitz: an upper bound of the Lipschitz constant of the predictions, which are then logits (B, K); adds the
            radius within which no class can change (``certified_radius``).
        noise, missing, jitter, attack: levels, as shares.
        steps: of an attack.
        repeats: draws of each random disturbance; the mean of their scores is told.
        sound: relative loss of score below which a disturbance is borne.
        flawed: relative loss above which it is not.
        seed: of all draws.

    Returns:
        A ``Finding`` with a row for each disturbance.

    Raises:
        InputError: better is unknown, a level is negative, or the undisturbed score is not finite.

    Example:
        >>> x, weights = torch.randn(64, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([1.0, -1.0, 2.0])
        >>> def error(prediction):
        ...     return (prediction - x @ weights - 3).square().mean().item()
        >>> robustness_audit(lambda x: x @ weights, error, x).verdict
        'sound'

    Source: Hendrycks and Dietterich (2019), Benchmarking neural network robustness to common corruptions and
    perturbations.
    """
    if better not in ("lower", "higher"):
        raise InputError(f"better={better!r} must be 'lower' or 'higher': say which scores are good.")
    if min([0.0, *noise, *missing, *jitter, *attack]) < 0 or max([0.0, *missing]) > 1 or repeats < 1:
        raise InputError("levels must not be negative, shares of missing data not above 1, and repeats at least 1.")
    given: dict[str, Any] = {name: value for name, value in (("mask", mask), ("times", times)) if value is not None}
    with torch.no_grad():
        predictions = ask(x, **given)
    clean = float(score(predictions))
    if not math.isfinite(clean):
        raise InputError(f"the score of the undisturbed input is {clean}: give inputs that it can be told of.")
    spread = _spread(x, mask)
    generator = torch.Generator().manual_seed(seed)
    rows = [_row("none", 0.0, clean, clean, better)]
    for name, level, disturbed in _disturbed(x, spread, given, noise, missing, jitter, repeats, generator):
        with torch.no_grad():
            scores = [float(score(ask(at, **others))) for at, others in disturbed]
        rows.append(_row(name, level, sum(scores) / repeats, clean, better))
    if loss is not None:
        movable = _movable(spread, x, mask)
        for norm in ("linf", "l2"):
            for level in attack:
                radius = level * (1.0 if norm == "linf" else math.sqrt(x[0].numel()))
                worst = projected_gradient(
                    lambda at: loss(ask(at, **given)), x, radius, norm=norm, steps=steps, scale=movable
                )
                with torch.no_grad():
                    rows.append(_row(f"attack, {norm}", level, float(score(ask(worst, **given))), clean, better))
    numbers = {"score": clean}
    if lipschitz is not None:
        radii = certified_radius(predictions, lipschitz)
        numbers |= {"certified radius, median": float(radii.median()), "certified radius, least": float(radii.min())}
    return _finding(rows, numbers, sound, flawed)


def _disturbed(
    x: Tensor,
    spread: Tensor,
    given: dict[str, Any],
    noise: Sequence[float],
    missing: Sequence[float],
    jitter: Sequence[float],
    repeats: int,
    generator: torch.Generator,
) -> Iterator[tuple[str, float, list[tuple[Tensor, dict[str, Any]]]]]:
    """Yield what is disturbed and how much, with the arguments to ask with, as often as it is to be drawn."""

    def draw(like: Tensor, of: Callable[..., Tensor]) -> Tensor:
        return of(like.shape, generator=generator).to(like.device)

    for level in noise:
        drawn = [x + (level * spread * draw(x, torch.randn)).to(x) for _ in range(repeats)]
        yield "noise", level, [(each, given) for each in drawn]
    if "mask" in given:
        present = given["mask"].bool()
        for level in missing:
            kept = [present & (draw(present, torch.rand) >= level) for _ in range(repeats)]
            yield "missing", level, [(x, given | {"mask": each.to(given["mask"].dtype)}) for each in kept]
    if "times" in given:
        times = given["times"]
        gaps = times.diff(dim=-1)
        for level in jitter:
            nearer = torch.zeros_like(times)
            nearer[..., 1:-1] = torch.minimum(gaps[..., 1:], gaps[..., :-1])
            moved = [times + (level * nearer * (draw(times, torch.rand) - 0.5)).to(times) for _ in range(repeats)]
            yield "times", level, [(x, given | {"times": each}) for each in moved]


def _spread(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return the standard deviation of each channel over what is present, () or (C,)."""
    rows = wide(x.detach())
    if mask is not None:
        present = mask.bool() if mask.dim() == x.dim() else mask.bool().unsqueeze(-1)
        rows = torch.where(present.expand_as(x), rows, torch.nan)
    rows = rows.reshape(-1, x.shape[-1]) if x.dim() > 1 else rows.unsqueeze(1)
    middle = rows.nanmean(0)
    deviation = (rows - middle).square().nanmean(0).sqrt().nan_to_num(0.0)
    return deviation if x.dim() > 1 else deviation.squeeze(0)


def _movable(spread: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
    """Return how much a unit of disturbance is, 0 where nothing is present."""
    scale = spread.to(x).expand_as(x)
    if mask is None:
        return scale
    present = mask.bool() if mask.dim() == x.dim() else mask.bool().unsqueeze(-1)
    return torch.where(present, scale, 0.0)


def _row(name: str, level: float, score: float, clean: float, better: str) -> dict[str, float | str]:
    worse = (score - clean) * (1 if better == "lower" else -1)
    share = worse / abs(clean) if clean else (0.0 if worse == 0 else math.copysign(math.inf, worse))
    return {
        "disturbance": name,
        "level": level,
        "score": score,
        "worse by": share if math.isfinite(score) else math.inf,
    }


def _finding(rows: list[dict[str, float | str]], numbers: dict[str, float], sound: float, flawed: float) -> Finding:
    def worst(*kinds: str, most: float = REFERENCE) -> float:
        found = [
            float(row["worse by"]) for row in rows if row["disturbance"] in kinds and float(row["level"]) <= most + 1e-9
        ]
        return max(found, default=math.nan)

    by_noise, by_attack = worst("noise"), worst("attack, linf", "attack, l2")
    by_missing, by_times = worst("missing", most=1.0), worst("times", most=1.0)
    named = {"noise": by_noise, "attack": by_attack, "missing data": by_missing, "mistimed data": by_times}
    numbers |= {f"worse by {name}": value for name, value in named.items() if not math.isnan(value)}
    verdict: Verdict = "doubtful"
    if by_noise > flawed:
        verdict = "flawed"
    elif not by_noise >= sound and not by_attack >= flawed:
        verdict = "sound"
    told = [f"Noise of up to a tenth of the spread of the inputs makes the score {_percent(by_noise)}"]
    if not math.isnan(by_attack):
        told.append(f"changes of that size chosen against the model make it {_percent(by_attack)}")
    if not math.isnan(by_missing):
        told.append(f"leaving out data makes it up to {_percent(by_missing)}")
    if not math.isnan(by_times):
        told.append(f"moving times makes it up to {_percent(by_times)}")
    statement = "; ".join(told) + "."
    if "certified radius, median" in numbers:
        radius = numbers["certified radius, median"]
        statement += f" For half of the samples it is proved that no change shorter than {radius:.3g} alters the class."
    return Finding(
        instrument="robustness audit", verdict=verdict, statement=statement, numbers=numbers, rows=tuple(rows)
    )


def _percent(share: float) -> str:
    if math.isnan(share):
        return "no worse (it was not tried)"
    digits = f"{100 * share:.0f}" if share >= 0.1 else f"{100 * share:.2g}"
    return f"{digits} % worse" if share > 0 else "no worse"
