"""The kernels that drivers are killed on, and what they had in hand there."""

from __future__ import annotations

from unit.app.app_node import ib_config
from unit.app.kills.site import Kind

VF, OTHER_VF = "pci-0000-3b-00-1-port1", "pci-0000-3b-00-2-port1"
PORT_1, PORT_2 = "pci-0000-af-00-0-port1", "pci-0000-af-00-0-port2"
FULL = ib_config(pkey=0x8001, mtu=2048, trafficClass=128)
KINDS = {
    "exclusive-newer": Kind("exclusive", follows=True, devices=(VF,), config=FULL),
    "exclusive-older": Kind("exclusive", follows=False, devices=(VF,), config=FULL),
    "shared": Kind("shared", follows=False, devices=(VF,), config=FULL),
    "companion": Kind("exclusive", follows=False, devices=(PORT_1,), config=FULL),
    "two claims": Kind("exclusive", follows=False, devices=(OTHER_VF, VF), config=FULL),
}
