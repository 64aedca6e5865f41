"""A port of the plan, as the checks of ports look at it."""

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.doctor.finding import Finding
from gateway.errors import PortGone
from gateway.plan import PortPlan
from gateway.ports.url import parse_port


@dataclass(frozen=True, slots=True)
class Asked:
    """A port that somebody wants: its plan, and its URL taken apart."""

    plan: PortPlan
    scheme: str
    place: str

    @property
    def names(self) -> str:
        """Whose port it is."""
        return " and ".join(sensor.name for sensor in self.plan.sensors)

    def gone(self, error: PortGone) -> Finding:
        """What to say when the thing that the place names is not there."""
        text = f"{self.names}: {error}"
        return Finding(self.scheme, "wrong", text, f"plug it in, or correct {self.plan.url}")


def asked(plan: PortPlan) -> Asked:
    """A port of the plan."""
    url = parse_port(plan.url)
    return Asked(plan, url.scheme, url.place)


def missing(check: str, extra: str, modules: Iterable[str]) -> list[Finding]:
    """One finding if a package is not installed that a port of this kind needs; else none."""
    absent = [module for module in modules if importlib.util.find_spec(module) is None]
    if not absent:
        return []
    text = f"a {check} port needs {absent[0]}, which is not installed"
    return [Finding(check, "wrong", text, f"pip install 'pole-gateway[{extra}]'")]
