"""A monitor in a process of its own, a store that is written here, and a browser that looks at it."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
from playwright.sync_api import Browser, Page, sync_playwright

from matterstack.core.ids import RunId
from matterstack.core.model.workflow import Task, Workflow
from matterstack.core.run import messages as m
from matterstack.core.states import RunStatus
from matterstack.monitor.running_monitors import new_link, running_monitors
from matterstack.storage.layout import Root
from matterstack.storage.read.events import event_lines
from matterstack.storage.schema import open_database
from tests.support.command import CommandLine, Running
from tests.support.polling import wait_until
from tests.support.states import task
from tests.support.stored import StoredRun

PATIENCE_S: Final = 30.0
ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
BACKENDS: Final = {
    "local": {"type": "local", "max_jobs": 500},
    "cluster": {"type": "slurm", "max_jobs": 100},
}
_LINK: Final = re.compile(r"http://127\.0\.0\.1:(\d+)/#code=\S+(?=\s)")
NAUGHTY: Final = "<script>window.hit = 1</script><img src=x onerror='window.hit = 1'>"


@attrs.define
class Site:
    """A root with its store, and the monitor that serves it."""

    command_line: CommandLine
    root: Root
    connection: sqlite3.Connection
    port: int = 0
    """A free one at first, and from then on always the same."""
    runs: dict[str, StoredRun] = attrs.field(factory=dict)
    _made: int = 0
    _monitor: Running | None = None
    link: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *arguments: str) -> None:
        """Start the monitor (or another command that serves it), and wait until it says where it is."""
        running = self.command_line.start(*(arguments or ("monitor", "--port", str(self.port))))
        self._monitor = running
        told = running.stderr_file if arguments else running.stdout_file
        wait_until(lambda: _LINK.search(told.read_text()) is not None, PATIENCE_S, "the monitor")
        found = _LINK.search(told.read_text())
        if found is None:
            raise LookupError(told.read_text())
        self.link, self.port = found[0], int(found[1])

    @property
    def token(self) -> str:
        """What lets programs in."""
        return (self.root.private / "monitor-token").read_text().strip()

    @property
    def token_file(self) -> Path:
        """Where that is."""
        return self.root.private / "monitor-token"

    def new_link(self) -> str:
        """A link for one more browser, to the monitor that runs now."""
        (monitor,) = (one for one in running_monitors(self.root) if one.port == self.port)
        return new_link(self.root, monitor)

    @property
    def running(self) -> Running:
        """What serves it."""
        if self._monitor is None:
            raise LookupError("it was not started")
        return self._monitor

    def kill(self) -> None:
        """As a crash would."""
        self.running.kill()

    # ---- the store ----

    def new_run(self, name: str, *tasks: Task, **config: Any) -> StoredRun:
        """A RUNNING run of these tasks, which this process serves; the first is 20260101T000000-abcdef."""
        run_id = RunId(f"20260101T{self._made:06d}-abcdef")
        self._made += 1
        run = StoredRun.create(self.connection, self.root, run_id, **{"backends": BACKENDS, **config})
        run.tell(m.Start())
        if tasks:
            run.tell(m.Planned(iteration=1, workflow=Workflow(tasks, name="first")))
        self.runs[name] = run
        return run

    def let_go(self, name: str) -> None:
        """Nobody serves the run any more: the monitor may carry out commands."""
        run = self.runs[name]
        if run.lease is not None:
            run.lease.release(self.connection)
            run.lease = None

    def forget_runs(self) -> None:
        """Let go of all of them."""
        for name in self.runs:
            self.let_go(name)
        self.runs.clear()

    def activate(self, name: str, *task_ids: str) -> None:
        """Bring ready tasks to a job that runs, and store that."""
        run = self.runs[name]
        run.run.activate(*task_ids)
        run.commit()

    def turn(self, name: str, by: str) -> list[m.Message]:
        """What pauses the run, or resumes it."""
        is_paused = self.runs[name].run.state.status is RunStatus.PAUSED
        return [m.Resume(by=by) if is_paused else m.Pause(by=by)]

    def end(self, name: str, task_id: str) -> None:
        """The job of a task has gone well."""
        run = self.runs[name]
        run.run.end(task_id)
        run.run.collect(task_id)
        run.commit()

    def log_file(self, name: str, task_id: str) -> Any:
        """Where the first attempt of a task prints to; its folder is made."""
        path = self.root.run_folder("demo", self.runs[name].run_id).attempt(task_id, 1).stdout  # type: ignore[arg-type]
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def seqs(self, name: str) -> list[int]:
        """Sequence numbers of all events of a run."""
        return [seq for seq, _ in event_lines(self.connection, 0, self.runs[name].run_id, most=1_000_000)]


def crowd(count: int) -> list[Task]:
    """So many tasks in three layers: relaxations, energies, one sum."""
    half = (count - 1) // 2
    relaxed = [task(f"relax-{i:05d}") for i in range(half)]
    energies = [task(f"energy-{i:05d}", f"relax-{i:05d}") for i in range(count - 1 - half - (count - 1) % 2)]
    more = [task(f"check-{i:05d}") for i in range(count - 1 - len(relaxed) - len(energies))]
    return [*relaxed, *energies, *more, task("sum", *(one.id for one in energies[:200]))]


def chain_of_three(site: Site, name: str = "run") -> str:
    """A run of three tasks, the first of which has a job; returns where the page shows it."""
    run = site.new_run(name, task("a"), task("b", "a"), task("c", "b"))
    site.activate(name, "a")
    return f"#/runs/{run.run_id}"


def go(page: Page, where: str) -> None:
    """Show another part of the page, as a link would."""
    page.evaluate("where => { location.hash = where }", where)


@contextmanager
def site_on(command_line: CommandLine) -> Iterator[Site]:
    """A site whose monitor is not started yet."""
    command_line.check_at_end = False  # runs that are written by hand have no folders
    root = Root(command_line.root)
    connection = open_database(root.database)
    site = Site(command_line, root, connection)
    try:
        yield site
    finally:
        site.forget_runs()
        connection.close()


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser that talks to nobody by itself."""
    executable = shutil.which("chromium")
    assert executable is not None, "chromium is missing: scripts/install-test-tools"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@attrs.define
class Visitor:
    """A browser window that notes what must never happen."""

    page: Page
    foreign: list[str] = attrs.field(factory=list)
    violations: list[str] = attrs.field(factory=list)
    complaints: list[str] = attrs.field(factory=list)
    may_complain: bool = False

    def note_address(self, url: str, own: str) -> None:
        """Something was asked for."""
        if not url.startswith((own, own.replace("http", "ws", 1))):
            self.foreign.append(url)

    def note_words(self, text: str) -> None:
        """The browser has said something."""
        is_violation = "Content Security Policy" in text or "Refused to" in text
        (self.violations if is_violation else self.complaints).append(text)

    def settle(self, seconds: float = 0.0) -> None:
        """Wait until what is about to be drawn is drawn."""
        self.page.evaluate(
            "ms => new Promise((go) => setTimeout(() => requestAnimationFrame(() => setTimeout(go)), ms))",
            max(120.0, 1000 * seconds),
        )

    def count(self, selector: str) -> int:
        """How many elements there are."""
        return self.page.locator(selector).count()

    def width(self) -> int:
        """How wide the whole page is."""
        return int(self.page.evaluate("document.documentElement.scrollWidth"))

    def landmarks(self) -> list[str]:
        """Roles of the parts of the page."""
        snapshot = self.page.locator("body").aria_snapshot()
        return [
            line.removeprefix("- ").split()[0].rstrip(":")
            for line in snapshot.splitlines()
            if line[:2] == "- "
        ]

    def nameless(self) -> list[str]:
        """Controls in sight without a name that a screen reader could say."""
        return [
            f"{role}: {control.evaluate('(e) => e.outerHTML')}"
            for role in (
                "button",
                "combobox",
                "textbox",
                "searchbox",
                "tab",
                "img",
                "grid",
                "tabpanel",
                "dialog",
            )
            for control in self.page.get_by_role(role).all()
            if control.is_visible() and not _name(control.aria_snapshot(), role)
        ]

    def faint_texts(self) -> list[str]:
        """Texts in sight whose contrast is too small, with what it is."""
        return list(self.page.evaluate(_FAINT))

    def require_visible_focus(self) -> None:
        """Fail when nobody could see where the keyboard is."""
        seen = self.page.evaluate(_FOCUS)
        assert seen["isVisible"], seen


def _name(snapshot: str, role: str) -> bool:
    first = snapshot.splitlines()[0] if snapshot else ""
    return f'{role} "' in first


_FOCUS: Final = """() => {
    const element = document.activeElement;
    const style = getComputedStyle(element);
    const box = element.getBoundingClientRect();
    const rect = element.querySelector("rect");
    const hasOutline = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
    const hasStroke = rect !== null && parseFloat(getComputedStyle(rect).strokeWidth) >= 3;
    const isInSight = box.width > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0;
    const what = element.outerHTML.slice(0, 200);
    return { isVisible: (hasOutline || hasStroke) && isInSight && element !== document.body, what };
}"""

_FAINT: Final = (Path(__file__).parent / "faint_texts.js").read_text()


@contextmanager
def visit(browser: Browser, site: Site, **options: Any) -> Iterator[Visitor]:
    """Open the page in a new window.

    In the end, nothing may have been asked of anybody else, and nothing may have been forbidden by the page's
    policy, or have gone wrong in its scripts.
    """
    options.setdefault("viewport", {"width": 1280, "height": 800})
    context = browser.new_context(
        reduced_motion="reduce", timezone_id="Asia/Tokyo", locale="en-GB", **options
    )
    page = context.new_page()
    visitor = Visitor(page)
    page.on("request", lambda request: visitor.note_address(request.url, site.url))
    page.on("websocket", lambda socket: visitor.note_address(socket.url, site.url))
    page.on("pageerror", lambda error: visitor.violations.append(str(error)))
    page.on("console", lambda message: visitor.note_words(message.text))
    try:
        page.goto(site.new_link())
        page.locator("#connection.live").wait_for(timeout=PATIENCE_S * 1000)
        yield visitor
        assert visitor.foreign == []
        assert visitor.violations == []
        assert visitor.may_complain or visitor.complaints == []
    finally:
        context.close()
