"""From shards to trained networks and numbers."""

import os

# Read by OpenMP's runtime when torch is loaded. Threads that wait spin by default; where another program wants a core,
# that made training three times slower (docs/performance.md). A short spin costs nothing on an idle machine.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
