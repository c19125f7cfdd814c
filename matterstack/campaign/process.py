"""The child process in which a scientist's ``campaign.py`` runs.

It may be slow, leak, print, crash or hang: only this process suffers.  One call per process.  The request
is one line of JSON on standard input, which stays open as long as the engine lives; the answer goes to
descriptor `ANSWER_DESCRIPTOR`; what the campaign prints goes to the run's ``planning.log``.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import sys
import sysconfig
import threading
import traceback
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import attrs

from matterstack.campaign.pickled import unpickled
from matterstack.campaign.used_files import UsedFiles
from matterstack.core.errors import CampaignError
from matterstack.core.json_rules import json_problem
from matterstack.core.model.resources import Resources
from matterstack.core.model.workflow import Campaign, Result, Results, Workflow
from matterstack.core.model.workflow_check import check_workflow
from matterstack.core.states import TaskStatus
from matterstack.storage.codec import CONVERTER
from matterstack.storage.confine import confined
from matterstack.storage.layout import split_at_run

ANSWER_VARIABLE: Final = "MATTERSTACK_ANSWER_DESCRIPTOR"


def main() -> None:
    """Answer one request, then exit."""
    descriptor = int(os.environ.pop(ANSWER_VARIABLE))
    os.set_inheritable(descriptor, False)
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_exit_with_the_engine, daemon=True).start()
    used = _watched(request)
    campaign: Campaign | None = None
    try:
        campaign = _campaign(request, used)
        answer = _pinned(_answer(campaign, request, used), used)
        text = json.dumps({"ok": answer} | _code(used), allow_nan=False)
    except CampaignError as error:
        text = _failed(str(error), used, is_loaded=campaign is not None)
    except BaseException as error:  # noqa: BLE001  whatever a campaign raises is its answer
        traceback.print_exc()
        text = _failed(_describe(error, request), used, is_loaded=campaign is not None)
    with os.fdopen(descriptor, "w", encoding="utf-8") as answer_file:
        answer_file.write(text)
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: threads and atexit hooks that a campaign left behind must not keep this alive.
    os._exit(0)


def _exit_with_the_engine() -> None:
    """Standard input ends when the engine does."""
    while os.read(0, 1):
        pass
    os._exit(1)


def _watched(request: Mapping[str, Any]) -> UsedFiles | None:
    if request["code"] is None:
        return None
    used = UsedFiles(_workspace(request), request["code"])
    used.watch()
    return used


def _pinned(answer: Any, used: UsedFiles | None) -> Any:  # noqa: ANN401  JSON
    """The answer of a campaign that may give one."""
    if used is not None:
        used.take_imported()
        used.require_pinned()  # a campaign may have caught what its import raised
    return answer


def _code(used: UsedFiles | None) -> dict[str, Any]:
    return {} if used is None else {"code": used.as_json()}


def _failed(problem: str, used: UsedFiles | None, *, is_loaded: bool) -> str:
    """What is answered instead; a campaign that may not be called has not been used."""
    if used is not None:
        used.take_imported()
        try:
            used.require_pinned()
        except CampaignError as error:
            return json.dumps({"error": str(error)})
    return json.dumps({"error": problem, "is_loaded": is_loaded} | _code(used))


def _campaign(request: Mapping[str, Any], used: UsedFiles | None) -> Campaign:
    file = Path(request["file"])
    if used is not None:
        used.refuse_changed(file)
    if request["object_sha256"] is not None:
        return unpickled(file, request["object_sha256"])
    return load_campaign(file, request["params"], used)


def _answer(campaign: Campaign, request: Mapping[str, Any], used: UsedFiles | None) -> Any:  # noqa: ANN401  JSON
    results = _results(request["results"])
    if request["action"] == "load":
        return None
    if request["action"] == "plan":
        workflow = campaign.plan(request["state"], results)
        return _checked_workflow(workflow, request, used)
    return _checked_state(campaign.analyze(request["state"], results), request["file"])


def load_campaign(path: Path, params: Mapping[str, Any], used: UsedFiles | None = None) -> Campaign:
    """Run ``get_campaign`` of a campaign file.

    Args:
        used: remembers the file.

    Raises:
        CampaignError: it is not there, or not what it should be.  Errors of the file itself come through.
    """
    if not path.is_file():
        raise CampaignError(f"{path}: there is no such file")
    loader = None if used is None else used.loader("campaign", str(path))
    spec = importlib.util.spec_from_file_location("campaign", path, loader=loader)
    if spec is None or spec.loader is None:
        raise CampaignError(f"{path}: cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules["campaign"] = module
    sys.path.insert(0, str(path.parent))
    spec.loader.exec_module(module)
    get_campaign = getattr(module, "get_campaign", None)
    if not callable(get_campaign):
        raise CampaignError(f"{path}: has no function get_campaign()")
    takes_params = bool(inspect.signature(get_campaign).parameters)
    campaign = get_campaign(dict(params)) if takes_params else get_campaign()
    for method in ("plan", "analyze"):
        if not callable(getattr(campaign, method, None)):
            kind = type(campaign).__name__
            raise CampaignError(f"{path}: get_campaign() returned {kind}, which has no method {method}()")
    return campaign  # type: ignore[no-any-return]


def _results(raw: Mapping[str, Any]) -> Results:
    return Results(
        {
            task_id: Result(
                status=TaskStatus(item["status"]),
                reason=item["reason"],
                exit_code=item["exit_code"],
                outputs=tuple(Path(path) for path in item["outputs"]),
                data=item["data"],
            )
            for task_id, item in raw.items()
        }
    )


def _checked_workflow(workflow: object, request: Mapping[str, Any], used: UsedFiles | None) -> Any:  # noqa: ANN401  JSON
    if workflow is None:
        return None
    if not isinstance(workflow, Workflow):
        raise CampaignError(
            f"{request['file']}: plan() must return a Workflow or None, not {type(workflow).__name__}"
        )
    check_workflow(workflow, request["earlier"], request["backends"], partial(_wrong_options, request))
    folder = _workspace(request)
    named: dict[str, str] = {}
    tasks = [
        attrs.evolve(
            task, files={name: _from_workspace(str(path), folder, named) for name, path in task.files.items()}
        )
        if task.files
        else task
        for task in workflow.tasks
    ]
    if used is not None:
        paths = {str(path) for task in tasks for path in task.files.values()}
        used.take_named(path for path in paths if not Path(path).is_absolute())
    return CONVERTER.unstructure(attrs.evolve(workflow, tasks=tasks))


def _wrong_options(request: Mapping[str, Any], backend: str | None, wanted: Resources) -> Iterable[str]:
    from matterstack.backends.registry import OptionRules  # few tasks have such options

    return OptionRules(request["backends"], request["default_backend"])(backend, wanted)


def _workspace(request: Mapping[str, Any]) -> Path:
    """The folder at which relative paths start; a pickled campaign lies in its run's folder."""
    file = Path(request["file"])
    return file.parent if request["object_sha256"] is None else split_at_run(file)[0].parents[1]


def _from_workspace(path: str, workspace: Path, named: dict[str, str]) -> str:
    """A full path of a file of the workspace as a relative one, so that no record names this machine.

    Only where the relative one leads to the same file: it may not be followed as far (see
    `matterstack.storage.staging`).  ``named`` remembers what was found out already.
    """
    if path not in named:
        named[path] = _relative(path, workspace) or path
    return named[path]


def _relative(path: str, workspace: Path) -> str | None:
    for folder in (workspace, workspace.resolve()):
        if Path(path).is_absolute() and Path(path).is_relative_to(folder):
            inner = str(Path(path).relative_to(folder))
            try:
                with confined(workspace) as opened:
                    os.close(opened.open_linked_file(inner))
            except FileNotFoundError:
                return inner  # it may be written before it is needed
            except OSError:
                return None
            return inner
    return None


def _checked_state(state: object, file: str) -> Any:  # noqa: ANN401  JSON
    if not isinstance(state, dict):
        raise CampaignError(f"{file}: analyze() must return a dict, not {type(state).__name__}")
    if problem := json_problem(state):
        raise CampaignError(f"{file}: analyze() must return JSON: {problem}")
    return state


def _describe(error: BaseException, request: Mapping[str, Any]) -> str:
    """One line: where in the campaign's own files it went wrong, and what."""
    file = request["file"]
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    folder = Path(file).parent if request["object_sha256"] is None else None
    place = _own_place(error.__traceback__, folder) or file
    # It may quote a file name that is no Unicode, and have many lines, of which the log has all.
    message = " ".join(str(error).encode(errors="replace").decode().split())
    return f"{place}: {type(error).__name__}" + (f": {message}" if message else "")


def _own_place(trace: TracebackType | None, folder: Path | None) -> str | None:
    """File, line and function of the innermost call that is the campaign's own.

    Args:
        folder: where its files are; None: those of a host program may be anywhere but here.
    """
    calls = traceback.extract_tb(trace)
    if folder is None:
        others = [str(Path(__file__).parent), *map(sysconfig.get_path, ("stdlib", "purelib", "platlib"))]
        own = [call for call in calls if not any(Path(call.filename).is_relative_to(o) for o in others)]
    else:
        own = [call for call in calls if Path(call.filename).is_relative_to(folder)]
    if not own:
        return None
    function = "" if own[-1].name == "<module>" else f" in {own[-1].name}"
    return f"{own[-1].filename}, line {own[-1].lineno}{function}"


if __name__ == "__main__":
    main()
