"""Take the two pictures of the README again, of whatever a root shows at the moment.

    python scripts/take-pictures.py ROOT WORKSPACE

Chromium shows the page of a monitor, and tmux the screen of `matterstack watch`, which rich then draws.  The
pictures go to docs/images; look at them before they are committed: what the root shows, everybody will see.
"""

import io
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.text import Text

IMAGES: Final = Path(__file__).parents[1] / "docs" / "images"
COMMAND: Final = Path(sys.executable).parent / "matterstack"
COLUMNS: Final = 96
ROWS: Final = 18


def take_page(root: Path, workspace: str, target: Path) -> None:
    """The timeline of the newest run of a workspace, on the page."""
    monitor = subprocess.Popen(
        [COMMAND, "--root", root, "monitor", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        if monitor.stdout is None:
            raise AssertionError
        link = monitor.stdout.readline().strip()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            page = browser.new_page(viewport={"width": 1280, "height": 760}, color_scheme="light")
            page.goto(link)
            page.get_by_text(workspace, exact=True).first.click()
            page.get_by_role("tab", name="Timeline").click()
            page.wait_for_timeout(1500)
            page.screenshot(path=target)
            browser.close()
    finally:
        monitor.terminate()
        monitor.wait()


def take_terminal(root: Path, target: Path) -> None:
    """The screen of ``matterstack watch``."""
    with tempfile.TemporaryDirectory(prefix="ms-tmux-") as folder:

        def tmux(*arguments: str) -> str:
            command = ["tmux", "-S", f"{folder}/s", "-f", "/dev/null", *arguments]
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout

        line = f"COLORTERM=truecolor {COMMAND} --root {root} watch"
        tmux("new-session", "-d", "-x", str(COLUMNS), "-y", str(ROWS), line)
        try:
            for _ in range(100):
                subprocess.run(["sleep", "0.1"], check=True)
                shown = tmux("capture-pane", "-p", "-e")
                if "live" in shown and "█" in shown:
                    break
        finally:
            tmux("kill-server")
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(Text.from_ansi(shown))
    drawn = console.export_svg(title="matterstack watch", unique_id="watch")
    # A picture asks nobody for a font.
    drawn = re.sub(r"@font-face {.*?}", "", drawn, flags=re.DOTALL)
    drawn = drawn.replace("font-family: Fira Code", "font-family: ui-monospace, Menlo, DejaVu Sans Mono")
    drawn = re.sub(r"<!-- .*? -->\n", "", drawn)
    target.write_text("".join(f"{line.rstrip()}\n" for line in drawn.splitlines() if line.strip()))


if __name__ == "__main__":
    where = Path(sys.argv[1]).resolve()
    IMAGES.mkdir(exist_ok=True)
    take_page(where, sys.argv[2], IMAGES / "page.png")
    take_terminal(where, IMAGES / "watch.svg")
