"""The end of the driver on a node: devices home, and no trace left.

Why: an uninstall that forgets a device loses it, and one that forgets a socket has the
kubelet dial it for ever.  The order lets it be killed at any point and started again:
nothing is forgotten before it is undone, and what a claim still needs goes after the last
claim.  VFs stay (D10).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from ibdra_app.detaching import open_or_none
from ibdra_app.ledger import Ledger
from ibdra_domain.cleanup import CleanupPlan, CleanupReport, Left, plan_cleanup
from ibdra_domain.errors import CleanupRefused, IbdraError
from ibdra_domain.ports.cdi import CdiSpecs
from ibdra_domain.ports.driver import DraDriver
from ibdra_domain.ports.instances import Arrivals, Succession
from ibdra_domain.ports.kube import Slices
from ibdra_domain.ports.leftovers import Leftovers
from ibdra_domain.ports.netlink import Namespaces
from ibdra_domain.ports.runtime import AttachedMarks
from ibdra_domain.ports.state import Loaded
from ibdra_domain.records import ClaimRecord

_log = logging.getLogger(__name__)


class Cleaning:
    """Removes the driver from a node.

    Parameters
    ----------
    driver:
        Unprepares claims as it does for the kubelet.
    records:
        Gives what the records are, and touches none.
    answers:
        Tells whether somebody answers at the hook's socket.
    slices:
        The node's, None to leave them.
    check_node:
        Raises KubeNotFound if the cluster has no node of this name.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        driver: DraDriver,
        records: Callable[[], Loaded[ClaimRecord]],
        namespaces: Namespaces,
        cdi: CdiSpecs,
        marks: AttachedMarks,
        succession: Succession,
        arrivals: Arrivals,
        answers: Callable[[], bool],
        leftovers: Leftovers,
        slices: Slices | None = None,
        check_node: Callable[[], object] | None = None,
    ) -> None:
        self._ledger = ledger
        self._driver = driver
        self._records = records
        self._namespaces = namespaces
        self._cdi = cdi
        self._marks = marks
        self._succession = succession
        self._arrivals = arrivals
        self._answers = answers
        self._leftovers = leftovers
        self._slices = slices
        self._check_node = check_node

    def plan(self) -> CleanupPlan:
        """Say what :meth:`clean` would do; changes nothing.

        Raises CleanupRefused while a daemon runs, and whatever keeps it from looking.
        """
        published = () if self._slices is None else self._slices.list()
        return self._plan([one.metadata.name for one in published])

    def _plan(self, slices: Sequence[str] = ()) -> CleanupPlan:
        self._check_no_daemon()
        loaded = self._records()
        return plan_cleanup(
            loaded.records,
            boot_id=self._ledger.boot_id,
            living={uid for uid, record in loaded.records.items() if self._lives(record)},
            unreadable=loaded.warnings,
            set_aside=loaded.set_aside,
            slices=slices,
            specs=self._cdi.keys(),
            marks=self._marks.claims(),
            files=self._leftovers.found(),
        )

    def clean(self, *, force: bool = False) -> CleanupReport:
        """Do it; does nothing at all while something is in the way.

        Raises CleanupRefused while a daemon runs.  Whatever else fails is in the report,
        and the rest is done all the same.
        """
        first = self._plan()
        if self._slices is None and not first.steps():
            return CleanupReport()  # and not even a lock was made
        if in_the_way := first.in_the_way(force=force):
            return _refused(in_the_way)
        with self._ledger.lock:
            # A daemon may have started since.
            if in_the_way := self._plan().in_the_way(force=force):
                return _refused(in_the_way)
            run = _Run()
            self._delete_slices(run)
            self._end_claims(run)
            if not run.claims_left:
                self._remove_files(run)
            else:
                run.left.append(
                    Left(
                        what="the attach hook, the run folder and the state folder",
                        why="the claims that are left need them; run `ibdra cleanup` again",
                    )
                )
            return CleanupReport(done=tuple(run.done), left=tuple(run.left))

    def _check_no_daemon(self) -> None:
        if self._answers() or self._succession.others() or self._arrivals.another():
            raise CleanupRefused(
                "the driver's daemon runs on this node",
                remedy="stop it first (delete its DaemonSet, or keep it off this node): it would "
                "put back what is removed",
            )

    def _lives(self, record: ClaimRecord) -> bool:
        if record.attachment is None:
            return False
        with open_or_none(self._namespaces.find(record.attachment.netns)) as netns:
            return netns is not None

    def _delete_slices(self, run: _Run) -> None:
        """Take the node's devices off the market before they are touched."""
        if self._slices is None:
            return
        try:
            published = self._slices.list()
            if not published and self._check_node is not None:
                self._check_node()  # else they may be under the node's true name
            for one in published:
                self._slices.delete(one)
                run.done.append(f"deleted ResourceSlice {one.metadata.name}")
        except IbdraError as error:
            run.left.append(Left(what="ResourceSlices of this node", why=str(error)))

    def _end_claims(self, run: _Run) -> None:
        loaded = self._ledger.load()
        for record in loaded.records.values():
            with run.trying(f"claim {record.prepared.claim}", is_claim=True):
                self._end(record)
                run.done.append(f"ended claim {record.prepared.claim}")
        for uid in sorted(loaded.set_aside):
            with run.trying(f"the record of claim {uid}, set aside", is_claim=True):
                # Its name may be no claim's; then nothing else has it.
                if uid in self._cdi.keys():  # noqa: SIM118 -- a port's method, no mapping's
                    self._cdi.remove(uid)
                if uid in self._marks.claims():
                    self._marks.remove(uid)
                self._ledger.remove(uid)
                run.done.append(f"removed what was left of claim {uid}")

    def _end(self, record: ClaimRecord) -> None:
        """Unprepare a claim; after a reboot its devices are home, whatever the record says."""
        claim, boot_id = record.prepared.claim, self._ledger.boot_id
        if record.boot_id != boot_id:
            record = replace(record, boot_id=boot_id, attachment=None, on_host_network=False)
            self._ledger.put(record)
        error = self._driver.unprepare([claim])[claim.uid]
        if error is not None:
            raise error

    def _remove_files(self, run: _Run) -> None:
        with run.trying("CDI specs"):
            for uid in self._cdi.keys():  # noqa: SIM118 -- a port's method, no mapping's
                self._cdi.remove(uid)
                run.done.append(f"removed the CDI spec of {uid}")
        with run.trying("marks"):
            self._marks.clear()
        with run.trying("files"):
            for path in self._leftovers.found():
                with run.trying(path):
                    self._leftovers.remove(path)
                    run.done.append(f"removed {path}")


def _refused(in_the_way: Sequence[str]) -> CleanupReport:
    why = "nothing was done; end its pod, or give --force"
    return CleanupReport(left=tuple(Left(what=line, why=why) for line in in_the_way))


class _Run:
    """What came of one run."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.left: list[Left] = []
        self.claims_left = False

    def trying(self, what: str, *, is_claim: bool = False) -> _Trying:
        """Note what fails of it, and go on."""
        return _Trying(self, what, is_claim=is_claim)


class _Trying:
    def __init__(self, run: _Run, what: str, *, is_claim: bool) -> None:
        self._run = run
        self._what = what
        self._is_claim = is_claim

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if not isinstance(error, IbdraError):
            return False
        _log.warning("%s: %s", self._what, error)
        self._run.left.append(Left(what=self._what, why=str(error)))
        self._run.claims_left = self._run.claims_left or self._is_claim
        return True
