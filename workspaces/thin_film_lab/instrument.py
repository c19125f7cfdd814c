"""A furnace and its ellipsometer, as a program: it serves the experiments of a run through its folder alone.

    python instrument.py [FOLDER ...] [--seconds-per-run S] [--seed N] [--fault-rate P] [--fault TASK=KIND]

It looks into ``operators/*/request.json`` of each FOLDER (a run, or a folder of runs; default: ``runs``
beside this file), acknowledges what it finds, "runs the furnace", and leaves ``thickness.csv`` and
``response.json``.  It keeps the log of its own runs in a file, so that it may be stopped and started at any
time.

The physics is that of ``lpcvd.py``.  Around it is what makes measurements: the temperature comes back a
little differently in each run, the thermocouples age, the ellipsometer is noisy.  And what makes instruments:
it is down at times, runs fail, and it may write files that nobody can use (`FAULTS`).  It notices when one
was refused (``response.error.txt``), and writes a better one.  Only the standard library is used.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import os
import random
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import lpcvd

HERE: Final = Path(__file__).parent
NAME: Final = "furnace-3 with ellipsometer"
LOOK_S: Final = 0.2
DEPOSITION_MIN: Final = 20.0
FURNACE: Final = lpcvd.Furnace()

FAULTS: Final = {
    "half": "writes half of the response, and then stops",
    "slow": "writes half of the response, and the rest later",
    "text": "writes numbers with their unit, as text",
    "comma": "writes decimal commas",
    "nan": "writes NaN where the ellipsometer found no fit",
    "empty": "leaves an empty file",
    "fail": "gives up on the run, and says why",
    "down": "is down, and takes the request up later",
}
UNUSABLE: Final = ("half", "text", "comma", "nan", "empty")


@dataclass(frozen=True)
class Errors:
    """How far measurements are from the truth.

    Attributes:
        temperature_k: standard deviation of the furnace's temperature, from run to run.
        thickness: standard deviation of a thickness, as a share of it.
        drift_k: by so much the furnace is colder in each run than in the one before, at the same reading.
    """

    temperature_k: float = 0.3
    thickness: float = 0.003
    drift_k: float = 0.10


@dataclass(frozen=True)
class Settings:
    """How this instrument behaves."""

    log: Path
    errors: Errors = Errors()
    seed: int = 1
    seconds_per_run: float = 1.0
    down_s: float = 5.0
    fault_rate: float = 0.0
    faults: Mapping[str, str] = field(default_factory=dict)

    def fault(self, task_id: str, attempt: int) -> str | None:
        """What goes wrong with a request: those that were asked for, at the first attempt; else by chance."""
        if task_id in self.faults:
            return self.faults[task_id] if attempt == 1 else None
        chance = random.Random(f"fault {self.seed} {task_id} {attempt}")  # noqa: S311  no secret
        return chance.choice(sorted(FAULTS)) if chance.random() < self.fault_rate else None


def measure(recipe: Mapping[str, float], number: int, label: str, errors: Errors, seed: int) -> list[float]:
    """Growth rates at the monitor wafers, as this instrument finds them.

    Args:
        number: of the run of the furnace, from 0; with it the furnace ages.
        label: each has errors of its own, and always the same ones.
    """
    chance = random.Random(f"measure {seed} {label}")  # noqa: S311  no secret
    wrong_by_k = chance.gauss(0.0, errors.temperature_k) - errors.drift_k * number
    conditions = lpcvd.Conditions(**recipe)
    true = lpcvd.grow(replace(conditions, temperature_c=conditions.temperature_c + wrong_by_k), FURNACE)
    return [round(rate * (1.0 + chance.gauss(0.0, errors.thickness)), 3) for rate in true.rates_nm_min]


class Instrument:
    """Serves requests one after the other, like a furnace that takes one load at a time."""

    def __init__(self, folders: Sequence[Path], settings: Settings) -> None:
        self.folders = folders
        self.settings = settings
        self.stopped = threading.Event()
        self._down_until: dict[Path, datetime] = {}

    def serve(self) -> None:
        """Until it is stopped."""
        while not self.stopped.is_set():
            if not self.serve_one():
                self.stopped.wait(LOOK_S)

    def serve_one(self) -> bool:
        """Answer the first request that waits; False when there is none that can be served now."""
        for folder in self._waiting():
            request = _read_request(folder)
            if request is None or self._is_down(folder, request):
                continue
            self._run(folder, request)
            return True
        return False

    def _waiting(self) -> Iterator[Path]:
        found = {
            path.parent
            for folder in self.folders
            for pattern in ("operators/*/request.json", "*/operators/*/request.json")
            for path in folder.glob(pattern)
        }
        for folder in sorted(found):
            if not (folder / "response.json").exists():
                yield folder

    def _is_down(self, folder: Path, request: Mapping[str, Any]) -> bool:
        if self.settings.fault(request["task_id"], request["attempt"]) != "down":
            return False
        now = datetime.now(UTC)
        if folder not in self._down_until:
            self._say(f"{request['task_id']}: the pump is being serviced for {self.settings.down_s:g} s")
            self._down_until[folder] = now + timedelta(seconds=self.settings.down_s)
        return now < self._down_until[folder]

    def _run(self, folder: Path, request: Mapping[str, Any]) -> None:
        task_id, attempt = request["task_id"], request["attempt"]
        fault = self.settings.fault(task_id, attempt)
        if (folder / "response.error.txt").exists():
            fault = None  # it was refused: this time somebody looks at what is written
        done = self._logged(request)
        if done is None:
            ready_at = datetime.now(UTC) + timedelta(seconds=self.settings.seconds_per_run)
            expected = ready_at.strftime("%Y-%m-%dT%H:%M:%SZ")
            _leave(folder, "acknowledgement.json", {"attempt": attempt, "by": NAME, "expected_at": expected})
            self._say(f"{task_id}: {json.dumps(request['manifest']['request']['recipe'])}")
            if self.stopped.wait(self.settings.seconds_per_run):
                return
            if fault == "fail":
                failure = "the pressure interlock opened 4 minutes into the run; the load is lost"
                _leave(folder, "response.json", {"attempt": attempt, "failure": failure})
                self._say(f"{task_id}: failed: {failure}")
                return
            done = self._deposit(request)
        self._answer(folder, attempt, done, fault)

    def _deposit(self, request: Mapping[str, Any]) -> dict[str, Any]:
        log = self.settings.log
        before = _lines(log)
        number = len(before)
        recipe = request["manifest"]["request"]["recipe"]
        label = f"{request['task_id']} {request['attempt']}"
        rates = measure(recipe, number, label, self.settings.errors, self.settings.seed)
        entry = {**_key(request), "number": number, "recipe": recipe, "rates_nm_min": rates}
        log.parent.mkdir(parents=True, exist_ok=True)
        _replace(log, "".join([*before, json.dumps(entry) + "\n"]))
        return entry

    def _logged(self, request: Mapping[str, Any]) -> dict[str, Any] | None:
        """What this very request gave, when it was measured before: no load is run twice."""
        for line in _lines(self.settings.log):
            entry: dict[str, Any] = json.loads(line)
            if all(entry[name] == value for name, value in _key(request).items()):
                return entry
        return None

    def _answer(self, folder: Path, attempt: int, done: Mapping[str, Any], fault: str | None) -> None:
        _replace(folder / "thickness.csv", _thickness_table(done["rates_nm_min"]))
        rates = done["rates_nm_min"]
        values = {f"rate_{place}_nm_min": rate for place, rate in enumerate(rates, start=1)}
        document = {
            "attempt": attempt,
            "result": {**values, "run_number": done["number"]},
            "files": ["thickness.csv"],
        }
        text = json.dumps(document, indent=2) + "\n"
        path = folder / "response.json"
        if fault in UNUSABLE:
            path.write_text(_spoilt(text, document, fault))
        elif fault == "slow":
            path.write_text(text[: len(text) // 2])
            self.stopped.wait(min(1.0, self.settings.seconds_per_run))
            path.write_text(text)
        else:
            _replace(path, text)
        known = f" ({FAULTS[fault]})" if fault in FAULTS else ""
        self._say(f"{done['task_id']}: run {done['number']}: {rates} nm/min{known}")

    def _say(self, text: str) -> None:
        print(f"{datetime.now(UTC):%H:%M:%S} {text}", flush=True)


def _key(request: Mapping[str, Any]) -> dict[str, Any]:
    return {name: request[name] for name in ("run_id", "task_id", "attempt")}


def _read_request(folder: Path) -> dict[str, Any] | None:
    """The request of an experiment with a recipe in it; None for anything else."""
    try:
        request = json.loads((folder / "request.json").read_text())
        recipe = request["manifest"]["request"]["recipe"]
        if request["operator"] == "experiment" and isinstance(lpcvd.Conditions(**recipe), lpcvd.Conditions):
            return dict(request)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # withdrawn meanwhile, or not for this instrument
    return None


def _lines(log: Path) -> list[str]:
    return log.read_text().splitlines(keepends=True) if log.exists() else []


def _leave(folder: Path, name: str, document: Mapping[str, Any]) -> None:
    _replace(folder / name, json.dumps(document) + "\n")


def _replace(path: Path, text: str) -> None:
    """Write a file so that whoever reads it finds all of it or nothing."""
    beside = path.with_name(f".{path.name}.part")
    beside.write_text(text)
    os.replace(beside, path)  # noqa: PTH105  the name says what it does


def _thickness_table(rates: Sequence[float]) -> str:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["wafer", "place", "thickness_nm", "time_min"])
    for place, rate in zip(FURNACE.monitors, rates, strict=True):
        wafer = 1 + round(place * (FURNACE.wafers - 1))
        writer.writerow([wafer, place, round(rate * DEPOSITION_MIN, 2), DEPOSITION_MIN])
    return table.getvalue()


def _spoilt(text: str, document: Mapping[str, Any], fault: str) -> str:
    if fault == "half":
        return text[: len(text) // 2]
    if fault == "empty":
        return ""
    if fault == "comma":
        lines = text.splitlines()
        return "\n".join(line.replace(".", ",") if "rate_" in line else line for line in lines)
    values = dict(document["result"])
    values["rate_1_nm_min"] = math.nan if fault == "nan" else f"{values['rate_1_nm_min']} nm/min"
    return json.dumps({**document, "result": values})


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Serve the experiments of thin_film_lab.")
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="a run, or a folder of runs")
    parser.add_argument(
        "--log", type=Path, help="of its own runs (default: instrument.jsonl beside the runs)"
    )
    parser.add_argument("--seconds-per-run", type=float, default=1.0, metavar="S")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--drift-k", type=float, default=Errors().drift_k, metavar="K", help="per run")
    parser.add_argument("--down-s", type=float, default=5.0, metavar="S", help="how long it is down")
    parser.add_argument("--fault-rate", type=float, default=0.0, metavar="P", help="share of runs, 0 to 1")
    kinds = "; ".join(f"{kind}: {what}" for kind, what in FAULTS.items())
    parser.add_argument("--fault", action="append", default=[], metavar="TASK=KIND", help=kinds)
    given = parser.parse_args(words)
    for fault in given.fault:
        if fault.partition("=")[2] not in FAULTS:
            parser.error(f"--fault {fault}: it must be TASK=KIND, with a KIND of {', '.join(FAULTS)}")
    return given


def main(words: Sequence[str]) -> None:
    given = _arguments(words)
    folders = given.folders or [HERE / "runs"]
    settings = Settings(
        log=given.log or HERE / "runs" / "instrument.jsonl",
        errors=Errors(drift_k=given.drift_k),
        seed=given.seed,
        seconds_per_run=given.seconds_per_run,
        down_s=given.down_s,
        fault_rate=given.fault_rate,
        faults=dict(fault.split("=", 1) for fault in given.fault),
    )
    instrument = Instrument(folders, settings)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: instrument.stopped.set())
    print(f"{NAME}: looking for requests below {', '.join(map(str, folders))} (Ctrl-C stops)", flush=True)
    instrument.serve()


if __name__ == "__main__":
    main(sys.argv[1:])
