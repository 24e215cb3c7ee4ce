"""Physics simulation: systems and fields learned from their solutions, or from their equations."""

from integrand.apps.application import Application
from integrand.apps.physics.dynamics import TASK as DYNAMICS
from integrand.apps.physics.informed import TASK as INFORMED
from integrand.apps.physics.surrogate import TASK as SURROGATE

APPLICATION = Application(
    name="physics",
    summary="dynamics of systems and fields, learned so that what physics conserves is kept",
    package="integrand.apps.physics",
    tasks=(DYNAMICS, SURROGATE, INFORMED),
)
