"""Which boot of the machine this is.

Why: after a reboot no namespace of before exists and every device is at home, whatever
the records say (D11).
"""

from __future__ import annotations

from pathlib import Path

from ibdra_domain.errors import StateFailed

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def read_boot_id(path: Path = BOOT_ID) -> str:
    """Read the kernel's boot id.  Raises StateFailed."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise StateFailed(
            f"{path} cannot be read ({(error.strerror or 'unknown cause').lower()})",
            remedy="run the driver where /proc is mounted",
        ) from error
