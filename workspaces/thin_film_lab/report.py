"""What came of the campaign, for people and for programs.

Reads ``manifest.json``; writes ``report.md`` and ``report.svg``, ``result.json`` and ``runs.csv``.  Nothing
is decided here.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

import recipes

WIDTH, HEIGHT, LEFT, TOP, PANEL = 900, 380, 60, 50, 330  # points
BLUE, OCHRE, RED, GREY = "#1b6ca8", "#c98a1b", "#b3261e", "#9db8c9"
MOST_PERCENT: Final = 20.0


def chosen(params: Mapping[str, Any]) -> recipes.Summary | None:
    """The recipe that is reported: the confirmed one, else the best there is."""
    goal = params["goal"]
    return recipes.confirmed(params["runs"], **goal) or recipes.best_so_far(
        params["runs"], goal["nonuniformity_percent"]
    )


def as_json(params: Mapping[str, Any]) -> dict[str, Any]:
    """``result.json``."""
    best = chosen(params)
    document: dict[str, Any] = {
        "outcome": params["outcome"],
        "goal": params["goal"],
        "rounds": len(params["history"]),
        "runs_of_the_furnace": len(params["runs"]),
        "failed": params["failed"],
        "drift_percent_per_run": round(100 * recipes.drift_per_run(params["runs"]), 4),
        "history": params["history"],
    }
    if best is not None:
        document["best"] = {
            "recipe": dict(best.recipe),
            "rate_nm_min": round(best.rate_nm_min, 3),
            "nonuniformity_percent": round(best.nonuniformity_percent, 3),
            "rates_nm_min": [round(rate, 3) for rate in best.rates_nm_min],
            "runs": list(best.tasks),
        }
    return document


def as_text(params: Mapping[str, Any]) -> str:
    """A Markdown page."""
    goal = params["goal"]
    wanted = (
        f"{goal['rate_nm_min']:g} nm/min or more, within +-{goal['nonuniformity_percent']:g} % over the load"
    )
    lines = ["# Polysilicon on a load of wafers", "", f"Goal: {wanted}: **{params['outcome']}**.", ""]
    best = chosen(params)
    if best is not None:
        runs = f"{len(best.tasks)} run{'s' if len(best.tasks) > 1 else ''} ({', '.join(best.tasks)})"
        lines += [
            f"Best recipe: **{recipes.in_words(best.recipe)}**:",
            f"{best.rate_nm_min:.1f} nm/min, within +-{best.nonuniformity_percent:.1f} %, in {runs}.",
            "",
        ]
    drift = 100 * recipes.drift_per_run(params["runs"])
    lines += [
        f"{len(params['runs'])} runs of the furnace in {len(params['history'])} rounds.",
        f"Its rate drifted by {drift:+.2f} % per run (by the reference runs); rates are as at its first run.",
        "",
        "| | first wafer (C) | rise (K) | silane (sccm) | pressure (Pa) | nm/min | +-% | runs |",
        "|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for place, one in enumerate(_ranking(params), start=1):
        knobs = " | ".join(f"{one.recipe[knob]:g}" for knob in recipes.KNOBS)
        mark = "**" if one.meets(**goal) else ""
        lines.append(
            f"| {place} | {knobs} | {mark}{one.rate_nm_min:.1f}{mark} | {one.nonuniformity_percent:.1f} "
            f"| {', '.join(one.tasks)} |"
        )
    lines += ["", "Those that are even enough come first, each group fastest first. Bold: meets the goal."]
    if params["failed"]:
        lines += ["", "Runs without a measurement:", ""]
        lines += [f"- {task}: {reason}" for task, reason in sorted(params["failed"].items())]
    return "\n".join(lines) + "\n"


def _ranking(params: Mapping[str, Any]) -> list[recipes.Summary]:
    limit = params["goal"]["nonuniformity_percent"]
    known = recipes.summaries(params["runs"])
    return sorted(known, key=lambda one: (one.nonuniformity_percent > limit, -one.rate_nm_min))


def as_figure(params: Mapping[str, Any]) -> str:
    """Left: every recipe, rate against evenness.  Right: the rates along the load of the best ones."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-size="12">',
        "<style>text { font-family: sans-serif }</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *_scatter(params),
        *_profiles(params),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _scatter(params: Mapping[str, Any]) -> Iterator[str]:
    goal, known = params["goal"], recipes.summaries(params["runs"])
    top = _round_up(max([goal["rate_nm_min"] * 1.2, *(one.rate_nm_min for one in known)]))
    bottom = TOP + 270

    def x(percent: float) -> float:
        return LEFT + PANEL * min(percent, MOST_PERCENT) / MOST_PERCENT

    def y(rate: float) -> float:
        return bottom - 270 * rate / top

    yield f'<text x="{LEFT}" y="20" font-size="14">Growth rate (nm/min) against unevenness (+-%)</text>'
    legend = "pale: first look; blue: proposed; ring: measured twice"
    yield f'<text x="{LEFT}" y="36" fill="#555555">{legend}</text>'
    right, edge = x(goal["nonuniformity_percent"]), y(goal["rate_nm_min"])
    yield (
        f'<rect x="{LEFT}" y="{TOP}" width="{right - LEFT:.1f}" height="{edge - TOP:.1f}" fill="#e6f2e6"/>'
        f'<text x="{right + 4:.1f}" y="{TOP + 12}" fill="#3c763d">goal</text>'
    )
    yield from _axes(LEFT, bottom, top, [(x(p), f"{p:g}") for p in (0, 5, 10, 15)] + [(x(20), "20+")])
    looks = {run["task"] for run in params["runs"] if run["purpose"] == "first look"}
    for one in known:
        colour = GREY if one.tasks[0] in looks else BLUE
        place = f'cx="{x(one.nonuniformity_percent):.1f}" cy="{y(one.rate_nm_min):.1f}"'
        said = f"<title>{escape(f'{one.tasks[0]}: {recipes.in_words(one.recipe)}')}</title>"
        yield f'<circle {place} r="4" fill="{colour}">{said}</circle>'
        if len(one.tasks) > 1:
            yield f'<circle {place} r="8" fill="none" stroke="{RED}" stroke-width="2"/>'


def _profiles(params: Mapping[str, Any]) -> Iterator[str]:
    left, bottom = LEFT + PANEL + 110, TOP + 270
    best = chosen(params)
    first = [one for one in _ranking(params) if best is not None and one.recipe != best.recipe][:2]
    lines = [(best, RED), *((one, colour) for one, colour in zip(first, (BLUE, OCHRE), strict=False))]
    shown = [(one, colour) for one, colour in lines if one is not None]
    top = _round_up(max([1.0, *(max(one.rates_nm_min) for one, _ in shown)]))
    yield f'<text x="{left}" y="20" font-size="14">Growth rate (nm/min) along the load</text>'
    ticks = [
        (left + PANEL * share, text) for share, text in ((0, "first wafer"), (0.5, "middle"), (1, "last"))
    ]
    yield from _axes(left, bottom, top, ticks)
    for row, (one, colour) in enumerate(shown):
        steps = len(one.rates_nm_min) - 1
        points = " ".join(
            f"{left + PANEL * place / steps:.1f},{bottom - 270 * rate / top:.1f}"
            for place, rate in enumerate(one.rates_nm_min)
        )
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        height = bottom - 50 + 16 * row
        words = escape(recipes.in_words(one.recipe))
        yield f'<text x="{left + 8}" y="{height}" fill="{colour}">{words}</text>'


def _axes(left: float, bottom: float, top: float, ticks: Sequence[tuple[float, str]]) -> Iterator[str]:
    for tick in range(5):
        y = bottom - 270 * tick / 4
        yield f'<line x1="{left}" x2="{left + PANEL}" y1="{y:g}" y2="{y:g}" stroke="#dddddd"/>'
        yield f'<text x="{left - 8}" y="{y + 4:g}" text-anchor="end">{top * tick / 4:g}</text>'
    for x, text in ticks:
        yield f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{text}</text>'


def _round_up(value: float) -> float:
    return 4.0 * (int(value / 4.0) + 1)


def write_table(path: Path, runs: Sequence[recipes.Run]) -> None:
    """Every run as it was measured, drift and all."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        monitors = len(runs[0]["rates_nm_min"]) if runs else 0
        rates = [f"rate_{place}_nm_min" for place in range(1, monitors + 1)]
        writer.writerow(["task", "purpose", "run_number", *recipes.KNOBS, *rates])
        for run in runs:
            knobs = [run["recipe"][knob] for knob in recipes.KNOBS]
            writer.writerow([run["task"], run["purpose"], run["number"], *knobs, *run["rates_nm_min"]])


def main() -> None:
    params = json.loads(Path("manifest.json").read_text())["params"]
    Path("report.md").write_text(as_text(params))
    Path("report.svg").write_text(as_figure(params))
    write_table(Path("runs.csv"), params["runs"])
    Path("result.json").write_text(json.dumps(as_json(params), indent=2) + "\n")
    print(as_text(params))


if __name__ == "__main__":
    main()
