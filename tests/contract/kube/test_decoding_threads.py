"""Threads that are the first to read a kind of object at the same time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import ibdra_adapters

# In a process of its own, as what it is about is the end of the process.  The classes are
# fresh, and so is what msgspec has to learn about them.
CODE = """
from __future__ import annotations
import sys, threading, msgspec
from ibdra_adapters.kube.decoding import decoded
sys.setswitchinterval(1e-6)
SOURCE = '''
from __future__ import annotations
class Inner{n}(msgspec.Struct, frozen=True):
    numbers: tuple[int, ...] = ()
class Middle{n}(msgspec.Struct, frozen=True):
    inner: tuple[Inner{n}, ...] = ()
    one: Inner{n} | None = None
class Outer{n}(msgspec.Struct, frozen=True):
    middle: tuple[Middle{n}, ...] = ()
    one: Middle{n} | None = None
'''
for n in range(300):
    exec(SOURCE.format(n=n), globals())
    kind, together = globals()[f"Outer{n}"], threading.Barrier(3)
    def read():
        together.wait()
        assert decoded(b'{"middle":[{"inner":[{}]}]}', kind).middle[0].inner[0].numbers == ()
    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
print("done")
"""


def test_threads_that_read_a_kind_first_do_no_harm() -> None:
    """Without a lock this is a segmentation fault, in a daemon as here."""
    source = Path(ibdra_adapters.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={"PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (0, "done\n") == (done.returncode, done.stdout), done.stderr[-500:]
