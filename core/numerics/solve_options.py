"""What a caller of ``solve_ode`` asks for, checked."""

from dataclasses import dataclass
from typing import Literal

from integrand.core.errors import InputError, unknown
from integrand.core.numerics.engines import torchdiffeq_engine
from integrand.core.numerics.methods.registry import ADAPTIVE, METHODS, TABLEAUS
from integrand.core.numerics.stepping.event import Event
from integrand.core.numerics.stepping.step_control import ErrorNorm, StepControl, check_step_size, check_tolerances

Gradient = Literal["direct", "checkpoint", "adjoint", "reversible"]
Stepping = Literal["shared", "per_sample"]
OnFailure = Literal["raise", "nan", "last"]

NOT_DENSE = (
    "dense=True is for adaptive methods of the native engine with shared steps, times (T,) and gradient='direct': "
    "leave it out, and ask for the output times that you need."
)


@dataclass(frozen=True, kw_only=True)
class SolveOptions:
    """How to solve; the attributes are arguments of ``solve_ode``, with the engine chosen and the events listed.

    Raises:
        InputError: one is unknown or out of range, or asks for what the engine or the method does not have.
    """

    method: str
    engine: str
    rtol: float
    atol: float
    step_size: float | None
    stepping: Stepping
    control: StepControl
    gradient: Gradient
    events: tuple[Event, ...]
    max_steps: int | None
    on_failure: OnFailure
    compile: bool
    dense: bool

    def __post_init__(self) -> None:
        """Say plainly what is out of range, and what the signature has and this engine or method has not."""
        self._check_numbers()
        native, explicit = self.engine == "native", self.engine == "native" and self.method in TABLEAUS
        where = f"method {self.method!r}" if native else f"engine {self.engine!r}"
        every, both = ("direct", "checkpoint", "adjoint", "reversible"), ("shared", "per_sample")
        adaptive = native and not self.fixed
        events = "given" if self.events else "None"
        available = {
            "stepping": (self.stepping, both if adaptive else ("shared",), both),
            "gradient": (self.gradient, every if explicit else ("direct",) if native else ("direct", "adjoint"), every),
            "on_failure": (
                self.on_failure,
                ("raise", "nan", "last") if native else ("raise", "nan"),
                ("raise", "nan", "last"),
            ),
            "event": (events, ("None", "given") if adaptive else ("None",), ("None", "given")),
            "compile": (str(self.compile), ("False", "True") if explicit else ("False",), ("False", "True")),
        }
        for name, (value, here, known) in available.items():
            if value not in known:
                raise unknown(name, value, known)
            if name == "event" and value not in here:
                raise InputError(
                    f"an event takes the steps of an adaptive native method, which {where} does not choose: take "
                    "'dopri5' or another, and leave step_size out."
                )
            if value not in here:
                steps = " with fixed steps" if name == "stepping" and native else ""
                raise InputError(f"{name}={value!r} is not available in {where}{steps}: take {' or '.join(here)}.")
        if self.dense and (not adaptive or self.own or self.gradient != "direct"):
            raise InputError(NOT_DENSE)
        if self.gradient != "direct" and self.own:
            what = "stepping='per_sample'" if self.stepping == "per_sample" else "an event"
            raise InputError(f"gradient={self.gradient!r} is not available with {what}: take direct.")

    def _check_numbers(self) -> None:
        step_size = self.step_size
        check_step_size(step_size)
        check_tolerances(self.rtol, self.atol)
        if step_size is not None and self.engine != "native" and self.method in torchdiffeq_engine.ADAPTIVE:
            raise InputError(
                f"step_size={step_size!r} with the adaptive method {self.method!r} is not available in engine "
                f"{self.engine!r}: leave it out, or take a method with fixed steps "
                f"({', '.join(torchdiffeq_engine.FIXED)})."
            )

    @property
    def fixed(self) -> bool:
        """Whether steps are equal, chosen by the caller."""
        return self.step_size is not None or (self.engine == "native" and self.method not in ADAPTIVE)

    @property
    def own(self) -> bool:
        """Whether each sample has steps of its own."""
        return self.stepping == "per_sample" or bool(self.events)

    @property
    def norm(self) -> ErrorNorm:
        """Size of an error relative to the tolerance."""
        return ErrorNorm(self.rtol, self.atol, each=self.own)

    def explain(self, reason: str) -> str:
        """Tell why an adaptive solve could not go on, and what may help."""
        return (
            f"{self.method} could not go on: {reason}. The state or the field grows without bound or is stiff: loosen "
            f"rtol={self.rtol:g} and atol={self.atol:g}, take an implicit method, bound the field, or lower the "
            "learning rate if this came up in training."
        )


def choose_engine(method: str, engine: str | None) -> str:
    """Return the engine asked for, or the first that has the method."""
    if engine is not None and engine not in METHODS:
        raise unknown("engine", engine, METHODS)
    known = METHODS[engine] if engine else tuple(dict.fromkeys(name for names in METHODS.values() for name in names))
    if method not in known:
        raise unknown("method", method, known)
    return engine or next(name for name, methods in METHODS.items() if method in methods)
