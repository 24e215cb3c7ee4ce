"""Which methods fit an equation, in which engine, and with which steps and gradients."""

from collections.abc import Sequence

from integrand.core.errors import InputError, unknown
from integrand.core.numerics.engines import torchsde_engine
from integrand.core.numerics.stepping.step_control import StepControl, check_step_size, check_tolerances
from integrand.core.numerics.stochastic.equation import CALCULI, NOISES
from integrand.core.numerics.stochastic.schemes import SCHEMES

SDE_METHODS: dict[str, tuple[str, ...]] = {"native": tuple(SCHEMES), "torchsde": tuple(torchsde_engine.METHODS)}
"""Methods by engine."""

GRADIENTS = {"native": ("direct", "reversible"), "torchsde": ("direct", "adjoint")}


def check_method(
    engine: str, method: str, noise: str, calculus: str, gradient: str, on_failure: str, adaptive: bool
) -> None:
    """Refuse unknown names, and a method that does not fit the equation, naming those that do."""
    if engine not in SDE_METHODS:
        raise unknown("engine", engine, SDE_METHODS)
    for name, value, known in (
        ("method", method, SDE_METHODS[engine]),
        ("noise", noise, NOISES),
        ("calculus", calculus, CALCULI),
        ("gradient", gradient, ("direct", "reversible", "adjoint")),
        ("on_failure", on_failure, ("raise", "nan", "last") if adaptive else ("raise", "nan")),
    ):
        if value not in known:
            raise unknown(name, value, known)
    fitting = [name for name in SDE_METHODS[engine] if _fits(engine, name, noise, calculus)]
    if method not in fitting:
        why = ""
        if noise == "general" and _fits(engine, method, "commutative", calculus):
            why = " (without Levy areas it holds for commutative noise alone: say noise='commutative' if yours is)"
        raise InputError(
            f"method={method!r} does not fit noise={noise!r} in {calculus!r} calculus{why}: take "
            f"{' or '.join(fitting) or 'another engine'}."
        )
    if gradient not in GRADIENTS[engine]:
        raise InputError(f"gradient={gradient!r} is not available in engine {engine!r}: take {GRADIENTS[engine]}.")
    if gradient == "reversible" and method != "reversible_heun":
        raise InputError(
            f"gradient='reversible' needs a method that can be walked back, not {method!r}: take 'reversible_heun', or "
            "gradient='direct'."
        )
    if adaptive:
        _check_adaptive(engine, method, noise, gradient, fitting)


def _check_adaptive(engine: str, method: str, noise: str, gradient: str, fitting: Sequence[str]) -> None:
    """Refuse adaptive steps where it is not known that they converge to the solution."""
    if engine != "native":
        raise InputError(f"adaptive steps are not available in engine {engine!r}: give step_size, or take 'native'.")
    known = [name for name in fitting if noise in SCHEMES[name].adaptive]
    if method not in known:
        cure = f"take {' or '.join(known)}" if known else "write it in Stratonovich calculus and take heun"
        raise InputError(
            f"method={method!r} with noise={noise!r} is not known to converge with steps that depend on the path, "
            f"which may lead it to another process: {cure}, or give step_size in place of rtol and atol."
        )
    if gradient != "direct":
        raise InputError(f"gradient={gradient!r} is not available with adaptive steps: take 'direct', or step_size.")


def check_steps(
    step_size: float | None,
    rtol: float | None,
    atol: float | None,
    control: StepControl | None,
    max_steps: int | None,
) -> bool:
    """Return whether steps are adaptive; refuse what is out of range, and options that contradict each other."""
    check_step_size(step_size)
    if rtol is None and atol is None:
        for name, value in (("control", control), ("max_steps", max_steps)):
            if value is not None:
                raise InputError(f"{name} is for adaptive steps: give rtol and atol with it, or leave it out.")
        return False
    if rtol is None or atol is None:
        raise InputError(f"rtol={rtol!r} and atol={atol!r} make a tolerance together: give both, one may be 0.")
    check_tolerances(rtol, atol)
    if step_size is not None:
        raise InputError(
            f"step_size={step_size!r} fixes the steps and rtol and atol choose them: give one or the other "
            "(StepControl(max_step=...) bounds adaptive steps)."
        )
    if control is not None and control.jump_times:
        raise InputError(
            f"jump_times={control.jump_times!r} are not for stochastic equations: put them among times, on which steps "
            "land."
        )
    return True


def _fits(engine: str, method: str, noise: str, calculus: str) -> bool:
    declared = SCHEMES[method] if engine == "native" else torchsde_engine.METHODS[method]
    return noise in declared.strong and (noise == "additive" or calculus in declared.calculus)
