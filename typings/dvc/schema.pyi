from collections.abc import Callable

COMPILED_LOCKFILE_SCHEMA: Callable[[object], object]
