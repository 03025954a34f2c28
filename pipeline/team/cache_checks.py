"""DVC's cache: how its files get into the project, and whether several users can share it."""

import grp
import os
import pwd
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.doctor.links import link_type
from pipeline.findings import Finding, fail, ok, warn

_SETGID_GROUP = stat.S_ISGID | stat.S_IRWXG
_SHARE = "dvc config --local cache.shared group"


def cache_findings(config: Mapping[str, Any], objects: Path) -> list[Finding]:
    """Link type, file system, and where the cache is shared its permissions.

    Args:
        config: the group `cache` of DVC's configuration.
        objects: the cache's folder of objects; it need not exist.
    """
    root = objects.parent.parent
    found = link_type(root, config.get("type") or ["reflink", "copy"])
    if not root.is_dir() or any(each.state == "fail" for each in found):
        return found
    if config.get("shared") == "group":
        found += shared_findings(root)
    elif "dir" in config and root.stat().st_mode & stat.S_IWGRP:
        found.append(warn("shared cache", f"{root} may be written by a group, but DVC does not know that", _SHARE))
    return found


def shared_findings(root: Path) -> list[Finding]:
    """Whether every member of the group can add to each folder of a shared cache, and nobody write in a file."""
    folders = [root, *(path for path in root.glob("**/") if path != root)]
    wrong = [path for path in folders if path.stat().st_mode & _SETGID_GROUP != _SETGID_GROUP]
    group = _name(grp.getgrgid, root.stat().st_gid)
    other = [path for path in folders if path.stat().st_gid != root.stat().st_gid]
    if wrong or other:
        first = (wrong or other)[0]
        mend = f"chgrp -R {group} {root}; find {root} -type d -exec chmod g+rwxs {{}} +    # as their owner"
        count = len({*wrong, *other})
        text = f"{count} of its folders cannot be written by group {group} ({first}, of {_owner(first)})"
        return [fail("shared cache", text, mend)]
    if root.stat().st_gid not in {os.getegid(), *os.getgroups()} and os.geteuid() != 0:
        mend = f"sudo usermod --append --groups {group} {_name(pwd.getpwuid, os.geteuid())}; then log in again"
        return [fail("shared cache", f"it belongs to group {group}, and you do not", mend)]
    writable = [path for path in (root / "files").glob("*/??/*") if path.stat().st_mode & 0o222]
    if writable:
        text = f"{len(writable)} of its objects can be written ({writable[0]}); an edit would change everybody's data"
        return [warn("shared cache", text, f"find {root}/files -type f -exec chmod a-w {{}} +    # as their owner")]
    return [ok("shared cache", f"group {group} can add to every folder, and nobody write in an object")]


def _owner(path: Path) -> str:
    return _name(pwd.getpwuid, path.stat().st_uid)


def _name(look_up: Any, number: int) -> str:
    """Of a user or group; its number where the system does not know it."""
    try:
        return str(look_up(number)[0])
    except KeyError:
        return str(number)
