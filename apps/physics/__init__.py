"""Physics simulation: systems and fields learned from their solutions, or from their equations."""

from integrand.apps.application import Application
from integrand.apps.physics.informed import TASK as INFORMED

APPLICATION = Application(
    name="physics",
    summary="systems and fields learned from their solutions, or from their equations",
    package="integrand.apps.physics",
    tasks=(INFORMED,),
)
