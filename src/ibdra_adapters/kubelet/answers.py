"""Turn a driver's answer into the one entry per claim that the kubelet insists on.

Why: the kubelet ignores a whole response if the call itself fails, if a claim is missing
or if an unknown one is in it.  So whatever a driver does, each claim asked for gets an
answer and no other claim does.  Without gRPC, because none of this depends on the wire.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from ibdra_domain.errors import IbdraError
from ibdra_domain.ports.driver import ClaimRef, DraDriver, PreparedDevice

Result = TypeVar("Result")

_log = logging.getLogger(__name__)


def prepare(
    driver: DraDriver, claims: Sequence[ClaimRef]
) -> dict[str, tuple[PreparedDevice, ...] | str]:
    """Give each claim's devices, or why it has none, by UID.  Raises nothing of the driver's."""
    return _answer(claims, verb="prepare", call=driver.prepare, check=_check_devices)


def unprepare(driver: DraDriver, claims: Sequence[ClaimRef]) -> dict[str, str | None]:
    """Give None, or why not, by claim UID.  Raises nothing of the driver's."""
    return _answer(claims, verb="unprepare", call=driver.unprepare, check=_check_nothing)


def _answer(
    claims: Sequence[ClaimRef],
    *,
    verb: str,
    call: Callable[[Sequence[ClaimRef]], Mapping[str, Result | IbdraError]],
    check: Callable[[object], Result],
) -> dict[str, Result | str]:
    """Ask the driver about the claims that are well-formed, and complete its answer."""
    wanted, answers = _sort_out(claims)
    entries: dict[str, Result | str] = dict(answers)
    if not wanted:
        return entries
    try:
        given: Mapping[str, Result | IbdraError] = dict(call(tuple(wanted.values())))
    except IbdraError as error:
        _log.warning("driver refused to %s %s: %s", verb, _names(wanted), error)
        return entries | dict.fromkeys(wanted, _clean(str(error)))
    except Exception as error:  # noqa: BLE001 - a bug's exception would fail the whole call
        _log.exception("driver failed to %s %s", verb, _names(wanted))
        return entries | {uid: _bug(verb, claim, error) for uid, claim in wanted.items()}
    for uid in given.keys() - wanted.keys():
        _log.warning("driver was not asked to %s claim %s, its answer is dropped", verb, uid)
    for uid, claim in wanted.items():
        entries[uid] = _entry(claim, given=given, verb=verb, check=check)
    return entries


def _sort_out(claims: Sequence[ClaimRef]) -> tuple[dict[str, ClaimRef], dict[str, str]]:
    """Split the request into claims to ask about, each once, and errors, by UID."""
    wanted: dict[str, ClaimRef] = {}
    errors: dict[str, str] = {}
    for claim in claims:
        if not (claim.uid and claim.name and claim.namespace):
            errors[claim.uid] = (
                f"claim {claim} has no UID, name or namespace in the kubelet's request: "
                "restart the kubelet, and report it if that does not help"
            )
        elif wanted.setdefault(claim.uid, claim) != claim:
            errors[claim.uid] = (
                f"claim UID {claim.uid} stands for {claim} and {wanted[claim.uid]} in one "
                "request: restart the kubelet"
            )
    return {uid: claim for uid, claim in wanted.items() if uid not in errors}, errors


def _entry(
    claim: ClaimRef,
    *,
    given: Mapping[str, Result | IbdraError],
    verb: str,
    check: Callable[[object], Result],
) -> Result | str:
    """Give one claim's entry."""
    if claim.uid not in given:
        _log.error("driver gave no answer when asked to %s %s", verb, claim)
        return (
            f"claim {claim} was left out of the driver's answer to {verb}: "
            "report this as a bug of the driver"
        )
    answer = given[claim.uid]
    if isinstance(answer, IbdraError):
        return _clean(str(answer))
    try:
        return check(answer)
    except (AttributeError, TypeError, UnicodeEncodeError) as error:
        _log.exception("driver gave a bad answer when asked to %s %s", verb, claim)
        return _bug(verb, claim, error)


def _check_devices(answer: object) -> tuple[PreparedDevice, ...]:
    """Let through what can be sent: a driver is not always type-checked."""
    if not isinstance(answer, tuple):
        raise TypeError(f"expected a tuple of devices, not {type(answer).__name__}")
    for device in answer:
        if not isinstance(device, PreparedDevice):
            raise TypeError(f"expected a PreparedDevice, not {type(device).__name__}")
        texts = (device.pool, device.device, device.share_id or "")
        for text in (*texts, *device.requests, *device.cdi_ids):
            text.encode()  # protobuf carries UTF-8 only
    return answer


def _check_nothing(answer: object) -> None:
    """Let through success only."""
    if answer is not None:
        raise TypeError(f"expected None or an IbdraError, not {type(answer).__name__}")


def _bug(verb: str, claim: ClaimRef, error: Exception) -> str:
    """Say what an operator can do about an exception that nobody foresaw."""
    return (
        f"claim {claim} hit a bug of the driver in {verb}, {type(error).__name__}: "
        "look in the driver's log for the traceback"
    )


def _clean(text: str) -> str:
    """Make a text sendable: file names in errors may hold bytes that are no UTF-8."""
    return text.encode(errors="backslashreplace").decode()


def _names(claims: Mapping[str, ClaimRef]) -> str:
    """List claims for the log."""
    return ", ".join(map(str, claims.values()))
