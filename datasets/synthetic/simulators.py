"""The simulators there are, by name. A new one is a file and a line here; importing one imports no other."""

import importlib

from integrand.core.errors import unknown
from integrand.datasets.synthetic.simulator import Simulator

_IN = "integrand.datasets.synthetic"
SIMULATORS: dict[str, str] = {
    "pendulum": f"{_IN}.systems.pendulum:Pendulum",
    "advection": f"{_IN}.equations.advection:Advection",
    "burgers": f"{_IN}.equations.burgers:Burgers",
    "burgers_etd": f"{_IN}.equations.burgers_etd:BurgersETD",
    "pdebench_burgers": f"{_IN}.equations.burgers:PDEBenchBurgers",
    "heat": f"{_IN}.equations.heat:Heat",
    "wave": f"{_IN}.equations.wave:Wave",
    "kuramoto_sivashinsky": f"{_IN}.equations.kuramoto_sivashinsky:KuramotoSivashinsky",
    "korteweg_de_vries": f"{_IN}.equations.korteweg_de_vries:KortewegDeVries",
    "solitons": f"{_IN}.equations.korteweg_de_vries:Solitons",
}
"""Simulators by name, ``"module:class"``; each is built without arguments."""


def simulator(name: str) -> Simulator:
    """Return the simulator called ``name``; upper and lower case, ``-`` and ``_`` are the same.

    Raises:
        InputError: there is none of that name; the message names the nearest.

    Example:
        >>> simulator("pendulum").channels
        ('angle', 'momentum')
    """
    path = SIMULATORS.get(name.strip().lower().replace("-", "_"))
    if path is None:
        raise unknown("simulator", name, SIMULATORS)
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)()
