"""Rewrites the code dependencies of dvc.yaml from what each stage imports: `python tools/update_deps.py`."""

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.test_architecture import MODULES, closure  # noqa: E402


def main() -> None:
    """Keeps everything else of dvc.yaml, comments included, as it is."""
    path = ROOT / "dvc.yaml"
    out: list[str] = []
    command, in_deps = "", False
    for line in path.read_text().splitlines():
        if line.startswith("    cmd: "):
            command = line.removeprefix("    cmd: python -m ")
        if in_deps and not line.startswith("      - "):
            out += [f"      - {MODULES[name].relative_to(ROOT)}" for name in sorted(closure(command))]
            in_deps = False
        if line == "    deps:":
            in_deps = True
        if not (in_deps and line.endswith(".py")):
            out.append(line)
    path.write_text("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
