"""A check in a process of its own: it may take long, and it may crash, without the others waiting or dying."""

import json
import subprocess
import sys
import time

from pipeline.findings import Finding, fail, warn


class Apart:
    """Runs `python -m MODULE`, which prints findings as JSON, beside what else is done."""

    def __init__(self, name: str, module: str) -> None:
        """Starts it at once.

        Args:
            name: of the finding where there is none of its own.
            module: prints a list of findings.
        """
        self._name, self._module, self._began_s = name, module, time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", module], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def findings(self, *, patience_s: float | None) -> list[Finding]:
        """What it found; ends it where it takes longer since its start."""
        left_s = None if patience_s is None else max(0.1, patience_s - (time.monotonic() - self._began_s))
        try:
            told, complaint = self._process.communicate(timeout=left_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            return [warn(self._name, f"not looked at: it takes longer than {patience_s:g} s", "cct doctor --deep")]
        try:
            return [Finding(**each) for each in json.loads(told)]
        except ValueError:
            code = self._process.returncode
            how = (
                f"was killed by signal {-code}"
                if code < 0
                else (complaint.strip().splitlines() or ["said nothing"])[-1]
            )
            return [fail(self._name, f"the check broke: {how}", f"python -m {self._module}")]
