"""A site on which anything may happen, and what must hold whatever has.

Why: the kills at every step start from tidy nodes.  A history brings the untidy ones:
refusals by the kernel that were not undone, devices that went and came, records that
nobody can read, a reboot in the middle.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ibdra_domain.container_edits import node_numbers
from ibdra_domain.errors import IbdraError
from ibdra_domain.ports.driver import ClaimRef
from ibdra_domain.ports.netlink import NetnsId
from ibdra_domain.records import ClaimRecord, Phase
from ibdra_domain.renewal import with_nodes_of_now
from unit.app.kills.blade import Killed, Refusal, Step
from unit.app.kills.checks import attached_as_asked, check_places
from unit.app.kills.site import Kind, Site

Harm = Step | Refusal | None


class History(Site):
    """A site with claims of any devices, and pods of any claims."""

    def __init__(self, folder: Path, kind: Kind) -> None:
        super().__init__(folder, kind)
        self.gone: set[str] = set()
        self.unseen: set[str] = set()  # claims whose device went since somebody looked

    def do(self, act: Callable[[], None], harm: Harm) -> IbdraError | Killed | None:
        """Do something that may be harmed; a killed driver is followed by the next."""
        self.blade.arm(harm)
        try:
            act()
        except Killed as death:
            self.next_driver()
            return death
        except IbdraError as error:
            return error
        finally:
            self.blade.disarm()
        return None

    def next_driver(self) -> tuple[str, ...]:
        """Start a driver, which does what it does at its start."""
        self.start_driver()
        notes = self.node.container.recovery().run()
        assert not [note for note in notes if "is not recovered" in note], notes
        return notes

    def record(self, claim: ClaimRef) -> ClaimRecord | None:
        """Give what the driver knows of a claim."""
        return self.node.container.ledger().get(claim.uid)

    def place_of(self, claim: ClaimRef) -> NetnsId | None:
        """Tell which namespace a claim's devices were taken to."""
        record = self.record(claim)
        return record.attachment.netns if record and record.attachment else None

    def rdma_of(self, claim: ClaimRef) -> set[str]:
        """Name the RDMA devices of a claim."""
        record = self.record(claim)
        return {p.device.rdma_device for p in record.prepared.moving} if record else set()

    def is_taken(self, rdma_device: str) -> bool:
        """Tell whether a scheduler would keep off: gone, held, or its PF or VF is."""
        records = self.node.container.ledger().all().values()
        held = {p.device.rdma_device for r in records for p in r.prepared.moving}
        family = {rdma_device.partition("v")[0]}
        if "v" not in rdma_device:
            family |= {name for name in self.machine.hcas if name.startswith(f"{rdma_device}v")}
        return bool(held & (family | {rdma_device})) or rdma_device in self.gone

    def is_held_elsewhere(self, claim: ClaimRef, netns: NetnsId) -> bool:
        """Tell whether another living pod has a claim."""
        record = self.record(claim)
        attachment = record.attachment if record else None
        if attachment is None or attachment.phase is Phase.INTENT or attachment.netns == netns:
            return False
        return self.kernel.alive(attachment.netns)

    def end_namespace(self, netns: NetnsId | None) -> None:
        """End everything that runs in a namespace."""
        for pid in [p for p, n in self.kernel.processes.items() if n == netns]:
            self.kernel.end_process(pid)

    def repair(self, names: set[str]) -> None:
        """Put devices right that nobody remembers, as a person would: reset them."""
        self.kernel.let_time_pass(1.0)
        self.kernel.let_time_pass(1.0)
        for name in names - self.gone:
            self.pull(name)
        for name in names & self.gone:
            self.plug(name)

    def start_container(self, claim: ClaimRef, netns: NetnsId) -> None:
        """Start a container as the runtime does: with what its spec says, at most twice."""
        for left in (1, 0):
            pid = self.kernel.start_process(netns)
            try:
                self.node.attach(claim, pid, nodes=self.told_nodes(claim))
            except IbdraError as error:
                self.kernel.end_process(pid)
                if not left or "device nodes" not in str(error):
                    raise
            except Killed:
                self.kernel.end_process(pid)
                raise
            else:
                return

    def lose_sight(self, name: str) -> None:
        """Note whose device has gone from under it, which nobody has looked at yet."""
        records = self.node.container.ledger().all()
        self.unseen |= {
            uid
            for uid, record in records.items()
            if name in {p.device.rdma_device for p in record.prepared.moving}
        }

    def pull(self, name: str) -> None:
        """Pull a device out, wherever it is."""
        self.lose_sight(name)
        self.machine.pull_out(name)
        self.gone.add(name)

    def plug(self, name: str) -> None:
        """Plug it in again, unless its interfaces' names are taken for the moment."""
        wanted = {port.netdev for port in self.machine.hcas[name].ports}
        home = self.kernel.init_netns
        if wanted & {x.link.name for x in self.kernel.links_of(home)}:
            return
        self.machine.plug_in(name)
        self.gone.discard(name)

    def reboot(self) -> None:
        """Boot the machine: only disks remember."""
        kernel = self.kernel
        kernel.processes.clear()
        kernel._due.clear()
        for name in set(self.machine.hcas) - self.gone:
            self.machine.pull_out(name)
        for name in set(self.machine.hcas) - self.gone:
            self.machine.plug_in(name)
        for path in (self.folder / "cdi").glob("*"):
            path.unlink()
        self.fake_marks.marks.clear()
        self.unseen.clear()
        self.boot_id += "+"
        self.next_driver()
        records = self.node.container.ledger().all().values()
        assert not [r for r in records if r.attachment is not None or r.on_host_network]

    def check(self) -> None:
        """See that nothing is lost, doubled or left, as far as it has been looked after."""
        assert {} == self.kernel.handles
        records = self.node.container.ledger().all()
        found = {p.name for p in self.folder.rglob("*") if p.is_file()}
        assert {f"ib.sigs.k8s.io_{uid}.json" for uid in records} | {
            f"{uid}.json" for uid in records
        } == {name for name in found if not name.endswith(".tmp")}
        away: dict[str, NetnsId] = {}
        for uid, record in records.items():
            assert record.phase is Phase.DONE
            if record.attachment is not None:
                for port in record.prepared.moving:
                    assert port.device.rdma_device not in away or len(record.prepared.moving) > 1
                    away[port.device.rdma_device] = record.attachment.netns
                if uid in self.fake_marks.marks:
                    self._check_mark(uid, record)
            else:
                assert uid not in self.fake_marks.marks
        assert set(self.fake_marks.marks) <= set(records)
        check_places(self, away, gone=self.gone)

    def _check_mark(self, uid: str, record: ClaimRecord) -> None:
        netns, numbers = self.fake_marks.marks[uid]
        assert record.attachment is not None
        assert netns == record.attachment.netns
        if uid in self.unseen or not self.kernel.alive(netns):
            return
        nodes = with_nodes_of_now(record.prepared, self.kernel.char_devices())
        assert numbers == node_numbers(nodes)
        for port in record.prepared.moving:
            attached_as_asked(self, port, netns)


def void(_: object) -> None:
    """Forget what something gave."""
