"""The page of JSON documents: what ``--json`` prints, and what lies in folders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from docstrings import told
from fields import rows_of_model
from markdown import code, page, table

from matterstack.core.documents.schemas import SCHEMAS

_RUN: Final = {
    "run_id": "id of the run",
    "workspace": "name of its workspace",
    "status": "see [life cycles](../architecture.md#life-cycles)",
    "status_reason": "why, in words; may be empty",
    "iteration": "rounds of planning so far",
    "tasks": "how many tasks are in each status",
    "created_at": "when it was made (UTC)",
    "updated_at": "when its last event happened (UTC)",
    "ending": "what it is about to be, while its last jobs are being ended",
    "allowed": "for each command true, or why it would be refused or change nothing: the run is REASON",
    "head": "hash of its last event: `evidence verify --head` takes it",
    "labels": "what people call it; not in `run.json`",
    "note": "what people note of it; may be empty; not in `run.json`",
}
_SHOWN_FILE: Final = {"path": "where it lies", "problem": "what is wrong with it"}
_ATTEMPT: Final = {
    "n": "number of the attempt, from 1",
    "token": "name by which its job can be found",
    "backend": "name of the backend",
    "job_id": "id that the backend gave; null before that",
    "state": "QUEUED, RUNNING, COMPLETED_OK, COMPLETED_ERROR, CANCELLED or LOST; null before there is a job",
    "raw_state": "the backend's own word",
    "last_words": "of a job that failed, the last lines that it printed",
    "reason": "why it is in that state, in words",
    "exit_code": "of the command; null while there is none",
    "host": "where it ran",
    "submitted_at": "when the backend took it (UTC)",
    "started_at": "when it began (UTC)",
    "ended_at": "when it ended (UTC)",
    "resources": "what it asked for, field by field as in `Resources`",
}
PRINTED: Final[Mapping[str, Mapping[str, str]]] = {
    "init": {"root": "the new root", "workspace": "name of the workspace in it"},
    "run init": {
        "run_id": "id of the new run, or of the one that has the `--key`",
        "is_new": "whether it was made now",
    },
    "run init --show-script": {
        "tasks": "a job of the first iteration each",
        "tasks.task_id": "id of the task",
        "tasks.backend": "name of the backend",
        "tasks.folder": "where its `job.sh` would lie",
        "tasks.script": "that `job.sh`",
        "tasks.submission": "its place in `submissions`",
        "submissions": "a command that submits jobs each",
        "submissions.command": "the command, a word each",
        "submissions.stdin": "what it reads from its standard input",
        "submissions.tasks": "ids of the tasks that it submits",
        "others": "ids of tasks that are no jobs",
    },
    "run status": {
        **_RUN,
        "backends": "by name: what the engines that live say of each backend",
    },
    "run list": _RUN,
    "run start": _RUN,
    "run loop --until-done": _RUN,
    "run pause": _RUN,
    "run delete": {
        "run_id": "id of a run that is gone",
        "events": "how many it had",
        "head": "of its last event",
        "evidence": "what is left of it: a bundle or an archive; null where nothing is",
    },
    "run label": {
        "run_id": "id of the run",
        "labels": "its labels, sorted",
        "label_records": "each of them as `label`, with `by` (who said it first) and `at` (when, UTC)",
        "note": "null, or the `note`, with `by` and `at`",
    },
    "run tasks": {
        "task_id": "id of the task",
        "iteration": "round in which it was planned",
        "status": "see [life cycles](../architecture.md#life-cycles)",
        "reason": "why, in words; may be empty",
        "attempts": "its attempts, the first one first",
        **{f"attempts.{key}": why for key, why in _ATTEMPT.items()},
    },
    "run logs": {
        "run_id": "id of the run",
        "task_id": "id of the task",
        "attempt": "number of the attempt",
        "path": "where the log lies",
        "text": "all of it, or with `--tail` its last lines; of a failed attempt, `stderr` is beside it",
    },
    "run events": {
        "seq": "number of the event, without gaps over all runs of a root",
        "at": "when it happened (UTC)",
        "run": "id of the run",
        "type": "see [events](events.md)",
        "data": "its fields",
    },
    "run explain": {
        "run_id": "id of the run",
        "status": "of the run",
        "causes": "why it does not go on, the most important first",
        "causes.kind": "a stable word",
        "causes.since": "since when (UTC); null where that is not known",
        "causes.blocks": "how many tasks wait for it, directly or through others",
        "causes.message": "what is so, in words",
        "causes.tasks": "ids of the tasks that it holds up, some of them",
        "causes.needs_person": "whether nothing happens before a person does something",
        "causes.last_words": "of tasks that failed, the last lines that one of them printed",
        "causes.action": "what a person can do, as a command where there is one; may be empty",
    },
    "run export-evidence": {
        "path": "the bundle",
        "is_complete": "whether nothing is missing in it",
        "status": "of the run",
        "run_id": "id of the run",
        "seq": "of the last event that it takes into account",
        "missing": "what is missing, in words",
        "foreign": "files there that MatterStack did not put there, and left",
        "signature": "`none`, `made`, `kept`, or `dropped` because it did not fit any more",
    },
    "run archive": {
        "path": "the archive",
        "sha256": "SHA-256 of it",
        "bytes": "its size",
        "status": "of the run",
        "is_complete": "whether its evidence is",
    },
    "run clean": {
        "run_id": "id of the run",
        "deleted": "false: only counted",
        "bytes": "how much is freed",
        "files": "what that is: path, size and why it is not needed",
    },
    "evidence verify": {
        "ok": "whether everything fits",
        "problems": "what does not",
        **{f"problems.{key}": why for key, why in _SHOWN_FILE.items()},
        "signature": "`state` (`none`, `not checked` without `--allowed-signers`, `good` or `bad`), `signer` and `key` of "
        "a good one, and `problem`: what is wrong, in words",
        "seq": "the event that it is as of",
        "checks": "how many files were checked how (the words: `docs/how-to/evidence.md`)",
        "files": "each file",
        "files.path": "where it lies",
        "files.check": "how it was checked",
        "absent": "what events or survey name and the bundle does not hold",
        "not_bound": "files that no event binds, or not wholly, and why",
    },
    "evidence verify --head HASH --against-store": {
        "head": "with `--head`: what became of looking for it",
        "head.head": "the head that was given",
        "head.seq": "number of the event that has it; null where none has",
        "head.at": "when that was",
        "head.events": "how many events the bundle has",
        "head.later": "the events of the bundle that came after it: `seq`, `at` and `type` of each",
        "store": "with `--against-store`",
        "store.later": "the events of the store that came after the last one of the bundle, in the same way",
    },
    "check": {
        "ok": "whether everything fits",
        "problems": "what does not",
        "problems.run_id": "of which run; empty: of the store",
        "problems.seq": "at which event; 0 where it is none",
        "problems.rule": "which rule is broken, a stable word",
        "problems.problem": "how, in words",
    },
    "doctor": {
        "check": "what was looked at",
        "ok": "whether it works, or is not needed",
        "detail": "what was seen",
        "action": "what a person can do about it; empty when it is ok",
    },
    "self-test": {
        "ok": "whether all of it was right",
        "backend": "where it ran",
        "took_s": "how long it took, in seconds",
        "run": "the run, as `run status` prints it",
        "problems": "what does not fit, in words",
        "root": "where all of it was kept; null when it works",
    },
    "respond": {
        "run_id": "id of the run",
        "task_id": "id of the task",
        "status": "of the task, as far as an engine has got to it",
    },
    "respond, without an answer": {
        "run_id": "id of the run",
        "task_id": "id of the task",
        "attempt": "which time it is asked",
        "operator": "who is asked",
        "manifest": "what is asked: see `params` of [the operator](campaign.md)",
        "folder": "where `response.json` is put",
        "expires_at": "until when it may be answered (UTC); null: for ever",
        "rejected": "what was wrong with the last answer; empty when there was none",
        "again": "why it is asked once more; empty the first time",
        "text": "what is asked, in words",
        "fields": "what is to be answered: `name`, `type`, and what `params` say of it",
        "problem": "why the question cannot be shown or answered now, and what to do; empty when it can",
        "results": "of the tasks that it depends on",
        "results.task_id": "id of the task",
        "results.status": "how it ended",
        "results.data": "its `result.json`",
        "results.folder": "where its outputs are",
        "results.outputs": "paths in that folder",
    },
    "monitor": {
        "url": "the link for a browser; it lets one in, once",
        "port": "where it listens",
        "token_file": "where the token for programs lies",
    },
    "error": {
        "error": "on standard error, for every command",
        "error.code": "a stable word: see [errors](exit-codes.md)",
        "error.message": "what is wrong",
        "error.hint": "what to do; may be empty",
    },
}
"""By command: keys, with those of the objects inside of lists behind a dot."""

INTRO = """Every command that prints data has `--json` and then prints one document; `run events` prints one a line.
Keys may be added, none is renamed."""


def make() -> str:
    """The whole page."""
    shown = [
        f"### {name}\n\n" + table(("key", "meaning"), [(code(key), why) for key, why in keys.items()])
        for name, keys in PRINTED.items()
    ]
    exchanged = [
        f"### {name}\n\n{told(model).text}\n\n"
        + table(("key", "type", "default", "meaning"), rows_of_model(model))
        for name, model in SCHEMAS.items()
    ]
    return page(
        "JSON documents",
        INTRO,
        "## Printed with --json",
        *shown,
        "## Exchanged as files\n\n`matterstack schema NAME` prints the JSON schema of each of these.",
        *exchanged,
    )
