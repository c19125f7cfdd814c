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
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from matterstack.core.errors import CampaignError
from matterstack.core.json_rules import json_problem
from matterstack.core.model import Campaign, Result, Results, Workflow
from matterstack.core.states import TaskStatus
from matterstack.core.workflow_check import check_workflow
from matterstack.storage.codec import CONVERTER

ANSWER_VARIABLE: Final = "MATTERSTACK_ANSWER_DESCRIPTOR"


def main() -> None:
    """Answer one request, then exit."""
    descriptor = int(os.environ.pop(ANSWER_VARIABLE))
    os.set_inheritable(descriptor, False)
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_exit_with_the_engine, daemon=True).start()
    try:
        answer = {"ok": _answer(request)}
        text = json.dumps(answer, allow_nan=False)
    except CampaignError as error:
        text = json.dumps({"error": str(error)})
    except BaseException as error:  # noqa: BLE001  whatever a campaign raises is its answer
        traceback.print_exc()
        text = json.dumps({"error": _describe(error, request["file"])})
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


def _answer(request: Mapping[str, Any]) -> Any:  # noqa: ANN401  JSON
    campaign = load_campaign(Path(request["file"]), request["params"])
    results = _results(request["results"])
    if request["action"] == "load":
        return None
    if request["action"] == "plan":
        workflow = campaign.plan(request["state"], results)
        return _checked_workflow(workflow, request)
    return _checked_state(campaign.analyze(request["state"], results), request["file"])


def load_campaign(path: Path, params: Mapping[str, Any]) -> Campaign:
    """Run ``get_campaign`` of a campaign file.

    Raises:
        CampaignError: it is not there, or not what it should be.  Errors of the file itself come through.
    """
    if not path.is_file():
        raise CampaignError(f"{path}: there is no such file")
    spec = importlib.util.spec_from_file_location("campaign", path)
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


def _checked_workflow(workflow: object, request: Mapping[str, Any]) -> Any:  # noqa: ANN401  JSON
    if workflow is None:
        return None
    if not isinstance(workflow, Workflow):
        raise CampaignError(
            f"{request['file']}: plan() must return a Workflow or None, not {type(workflow).__name__}"
        )
    check_workflow(workflow, request["earlier"], request["backends"])
    return CONVERTER.unstructure(workflow)


def _checked_state(state: object, file: str) -> Any:  # noqa: ANN401  JSON
    if not isinstance(state, dict):
        raise CampaignError(f"{file}: analyze() must return a dict, not {type(state).__name__}")
    if problem := json_problem(state):
        raise CampaignError(f"{file}: analyze() must return JSON: {problem}")
    return state


def _describe(error: BaseException, file: str) -> str:
    """One line: where in the campaign's own files it went wrong, and what."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    place = _own_place(error.__traceback__, Path(file).parent) or file
    # It may quote a file name that is no Unicode, and have many lines, of which the log has all.
    message = " ".join(str(error).encode(errors="replace").decode().split())
    return f"{place}: {type(error).__name__}" + (f": {message}" if message else "")


def _own_place(trace: TracebackType | None, folder: Path) -> str | None:
    """File, line and function of the innermost call that is the campaign's own."""
    own = [f for f in traceback.extract_tb(trace) if Path(f.filename).is_relative_to(folder)]
    if not own:
        return None
    function = "" if own[-1].name == "<module>" else f" in {own[-1].name}"
    return f"{own[-1].filename}, line {own[-1].lineno}{function}"


if __name__ == "__main__":
    main()
