"""From shards to trained networks and numbers."""

import contextlib
import ctypes
import os

# Read by OpenMP's runtime when torch is loaded. Threads that wait spin by default; where another program wants a core,
# that made training three times slower (docs/performance.md). A short spin costs nothing on an idle machine.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT = 2**30

# glibc gives large blocks back to the system when they are freed and takes them anew, page by page, for the next layer:
# filling 38 MB took six times as long as it does in memory that is kept (docs/performance.md). Elsewhere, no effect.
with contextlib.suppress(OSError, AttributeError):
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _KEPT)
    ctypes.CDLL(None).mallopt(_M_TRIM_THRESHOLD, _KEPT)
