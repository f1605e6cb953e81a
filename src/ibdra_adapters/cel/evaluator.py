"""The selectors port on cel-expr-python, the CEL project's own evaluator.

Why: ``ibdra match`` and the demo's scheduler must agree with the real scheduler about what
an expression means, down to the run-time errors.  Kubernetes' own extensions for
quantities, semantic versions and the like are Go code and not in this evaluator: an
expression that uses them is refused here, never guessed at.

Source: ``k8s.io/dynamic-resource-allocation/cel`` for the shape of ``device``.
"""

from __future__ import annotations

from typing import Any

from cel_expr_python import cel

from ibdra_domain.errors import InvalidSelector
from ibdra_domain.kube_objects import Device
from ibdra_domain.ports.selectors import Selector, Verdict
from ibdra_domain.selectors import domains_named

MAX_EXPRESSION = 10 * 1024
_EXTENSIONS = ("optional", "strings", "bindings", "sets", "lists", "math")


class CelSelectors:
    """Compiles expressions; one environment serves them all."""

    def __init__(self) -> None:
        names = "".join(f"\n  - name: {name}" for name in _EXTENSIONS)
        config = cel.NewEnvConfigFromYaml(f"extensions:{names}\n")
        self._env = cel.NewEnv(config=config, variables={"device": cel.Type.DYN})

    def compile(self, expression: str) -> Selector:
        """Fulfil the port."""
        if len(expression.encode()) > MAX_EXPRESSION:
            raise InvalidSelector(
                f"the expression is longer than {MAX_EXPRESSION} bytes",
                remedy="the API server refuses it too; shorten it",
            )
        try:
            compiled = self._env.compile(expression)
        except RuntimeError as error:
            raise InvalidSelector(
                f"{expression!r} does not compile ({_first_line(error)})",
                remedy="correct it; quantity(), semver() and other functions of Kubernetes' own "
                "cannot be evaluated here",
            ) from error
        return _CelSelector(compiled, domains_named(expression))


class _CelSelector:
    def __init__(self, compiled: Any, domains: frozenset[str]) -> None:
        self._compiled = compiled
        self._domains = domains

    def judge(self, device: Device, *, driver: str) -> Verdict:
        """Fulfil the port."""
        result = self._compiled.eval(
            data={
                "device": {
                    "driver": driver,
                    "attributes": _by_domain(device, driver, self._domains),
                    "capacity": {driver: {}},
                }
            }
        )
        kind = result.type()
        if kind == cel.Type.BOOL:
            return Verdict(matched=bool(result.value()))
        if kind == cel.Type.ERROR:
            return Verdict(matched=False, error=str(result))
        return Verdict(matched=False, error=f"it gives {kind}, not true or false")


def _by_domain(
    device: Device, driver: str, named: frozenset[str]
) -> dict[str, dict[str, str | int | bool | None]]:
    """Sort attributes by domain; one that nobody publishes is an empty map, as in Kubernetes."""
    found: dict[str, dict[str, str | int | bool | None]] = {name: {} for name in named}
    for name, attribute in device.attributes.items():
        domain, slash, rest = name.rpartition("/")
        found.setdefault(domain if slash else driver, {})[rest] = attribute.value
    return found


def _first_line(error: Exception) -> str:
    return str(error).removeprefix("INVALID_ARGUMENT: ").splitlines()[0].strip()
