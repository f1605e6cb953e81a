"""Slices watched for what others do to them.

Why: the kubelet deletes all slices of a node when it starts, and people delete them by
hand.  Nobody tells the driver but a watch.  A watch that ends is begun again, later each
time while the server is away.  What was deleted in between is no event of the new watch, so
the slices are listed anew once it is on, and not before.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable

from ibdra_app.slice_publisher import SlicePublisher
from ibdra_domain.errors import KubeFailed, KubeUnavailable
from ibdra_domain.ports.kube import Slices, SliceWatch

_log = logging.getLogger(__name__)

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
GRACE = 2.0
"""Seconds between the end of a watch and the next, and for the thread to end."""

SPREAD = (0.5, 1.5)
"""Parts of a pause between which luck chooses: a server's restart ends the watches of all nodes
in one moment, and they must not all come back in one."""


class SliceWatching:
    """Follows a publisher's slices in a thread of its own, from ``start`` to ``stop``.

    ``between`` chooses a number between two.
    """

    def __init__(
        self,
        *,
        slices: Slices,
        publisher: SlicePublisher,
        between: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._slices = slices
        self._publisher = publisher
        self._between = between
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._watch: SliceWatch | None = None
        self._thread: threading.Thread | None = None

    def start(self, changed: Callable[[], object]) -> None:
        """Begin; ``changed`` is called from the thread whenever slices must be published anew."""
        self._thread = threading.Thread(
            target=self._run, args=(changed,), name="ibdra-slices", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End; the thread ends with it, or with the call that it is in."""
        with self._lock:
            self._stopped.set()
            if self._watch is not None:
                self._watch.close()
        if self._thread is not None:
            self._thread.join(GRACE)

    def _run(self, changed: Callable[[], object]) -> None:
        pause = FIRST_PAUSE
        while not self._stopped.is_set():
            try:
                self._follow(changed)
            except KubeUnavailable as error:
                _log.debug("slices: %s", error)
            except KubeFailed as error:
                _log.warning("slices are not watched: %s", error)
            else:
                pause = FIRST_PAUSE
            if self._stopped.is_set():
                return
            self._publisher.forget()  # nobody tells until the next watch: the next look lists
            self._stopped.wait(pause * self._between(*SPREAD))
            pause = min(pause * 2, LONGEST_PAUSE)

    def _follow(self, changed: Callable[[], object]) -> None:
        """Watch until the server ends it."""
        watch = self._slices.watch()
        with self._lock:
            self._watch = watch
            if self._stopped.is_set():
                watch.close()
                return
        try:
            self._publisher.forget()
            changed()
            for event in watch:
                if self._publisher.seen(event):
                    _log.info("slice %s was %s", event.slice.metadata.name, event.change.lower())
                    changed()
        except KubeUnavailable as ended:
            _log.debug("slices: %s", ended)  # it did work until now: no reason to wait longer
        finally:
            watch.close()
