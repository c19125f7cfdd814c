"""Build and verify evidence in a process of its own, whose memory can be told."""

import subprocess
import sys
from typing import Final

# VmHWM belongs to the program's own memory; ru_maxrss is handed on by the parent over fork and exec: a large
# parent's size would be measured instead (getrusage(2), proc_pid_status(5)).
_REPORT: Final = """
import re
print(re.search(r"^VmHWM:\\s+(\\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)[1])
"""
EXPORT: Final = f"""
import sys, trio
from pathlib import Path
from matterstack.evidence.export import build_evidence_bundle
from matterstack.storage.layout import Root
trio.run(build_evidence_bundle, Root(Path(sys.argv[1])), sys.argv[2])
{_REPORT}
"""
VERIFY: Final = f"""
import sys
from pathlib import Path
from matterstack.evidence.verify import verify_bundle
assert verify_bundle(Path(sys.argv[1])) == []
{_REPORT}
"""


def peak_kib(script: str, *arguments: str) -> int:
    """Run a script; returns the most memory that it held at once."""
    command = [sys.executable, "-c", script, *arguments]
    return int(subprocess.run(command, check=True, capture_output=True, timeout=600).stdout)
