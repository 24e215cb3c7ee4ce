"""The simulators there are, by name. A new one is a file and a line here; importing one imports no other."""

import importlib
import inspect

from integrand.core.errors import InputError, unknown
from integrand.datasets.synthetic.simulator import Simulator

_IN = "integrand.datasets.synthetic"
SIMULATORS: dict[str, str] = {
    "pendulum": f"{_IN}.systems.pendulum:Pendulum",
    "damped_pendulum": f"{_IN}.systems.damped_pendulum:DampedPendulum",
    "double_pendulum": f"{_IN}.systems.double_pendulum:DoublePendulum",
    "spring_chain": f"{_IN}.systems.spring_chain:SpringChain",
    "two_body": f"{_IN}.systems.two_body:TwoBody",
    "three_body": f"{_IN}.systems.three_body:ThreeBody",
    "lotka_volterra": f"{_IN}.systems.lotka_volterra:LotkaVolterra",
    "van_der_pol": f"{_IN}.systems.van_der_pol:VanDerPol",
    "lorenz63": f"{_IN}.systems.lorenz63:Lorenz63",
    "lorenz96": f"{_IN}.systems.lorenz96:Lorenz96",
    "double_well": f"{_IN}.systems.double_well:DoubleWell",
    "advection": f"{_IN}.equations.advection:Advection",
    "burgers": f"{_IN}.equations.burgers:Burgers",
    "burgers_etd": f"{_IN}.equations.burgers_etd:BurgersETD",
    "pdebench_burgers": f"{_IN}.equations.burgers:PDEBenchBurgers",
    "heat": f"{_IN}.equations.heat:Heat",
    "wave": f"{_IN}.equations.wave:Wave",
    "kuramoto_sivashinsky": f"{_IN}.equations.kuramoto_sivashinsky:KuramotoSivashinsky",
    "korteweg_de_vries": f"{_IN}.equations.korteweg_de_vries:KortewegDeVries",
    "solitons": f"{_IN}.equations.korteweg_de_vries:Solitons",
    "advection_2d": f"{_IN}.equations.advection_2d:Advection2d",
    "heat_2d": f"{_IN}.equations.heat_2d:Heat2d",
    "wave_2d": f"{_IN}.equations.wave_2d:Wave2d",
    "navier_stokes": f"{_IN}.equations.navier_stokes:NavierStokes",
    "kolmogorov_flow": f"{_IN}.equations.kolmogorov_flow:KolmogorovFlow",
    "decaying_turbulence": f"{_IN}.equations.decaying_turbulence:DecayingTurbulence",
    "darcy": f"{_IN}.equations.darcy:Darcy",
}
"""Simulators by name, ``"module:class"``; each can be built without arguments."""


def simulator(name: str, **sizes: int) -> Simulator:
    """Return the simulator called ``name``; upper and lower case, ``-`` and ``_`` are the same.

    Args:
        name: one of ``SIMULATORS``.
        sizes: such as the ``masses`` of ``spring_chain``, whole numbers; most have none.

    Raises:
        InputError: there is none of that name, or it has no such size; the message names the nearest.

    Example:
        >>> simulator("pendulum").channels
        ('angle', 'momentum')
        >>> simulator("spring_chain", masses=2).channels
        ('position_1', 'position_2', 'momentum_1', 'momentum_2')
    """
    path = SIMULATORS.get(name.strip().lower().replace("-", "_"))
    if path is None:
        raise unknown("simulator", name, SIMULATORS)
    module, _, attribute = path.partition(":")
    kind = getattr(importlib.import_module(module), attribute)
    known = [] if kind.__init__ is object.__init__ else list(inspect.signature(kind).parameters)
    for size, value in sizes.items():
        if size not in known:
            raise unknown(f"size of {name}", size, known)
        if not isinstance(value, int):
            raise InputError(f"{name}: {size}={value!r} is out of range: give a whole number.")
    return kind(**sizes)
