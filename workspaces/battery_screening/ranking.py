"""The ranking, for people (``ranking.md``, ``ranking.svg``) and for programs (``ranking.json``).

Reads ``manifest.json``, the newest report of each material (``reports``) and its structure (``structures``).
Nothing is decided here: the order of the refined materials comes from the campaign, and the others follow as
the coarse grid has them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]

BAR_EV, ROW_HEIGHT, LEFT, WIDEST_EV = 160.0, 24, 230, 3.0  # points per electron volt, points, points, eV
TOP = 48
LEGEND = "blue: barrier (pale: coarse grid); ochre: half a Frenkel pair; published: ring (square: migration)"


def rows(
    reports: Mapping[str, Row], structures: Mapping[str, Row], refined: Sequence[str]
) -> list[dict[str, Any]]:
    """One per material, best first."""
    others = sorted((n for n in reports if n not in refined), key=lambda n: (reports[n]["activation_ev"], n))
    return [
        {
            "place": place,
            "material": name,
            "stage": 2 if name in refined else 1,
            **{key: reports[name][key] for key in ("formula", "role", "spacing_angstrom", "barriers_ev")},
            **{
                key: reports[name][key] for key in ("dimensions", "carriers", "formation_ev", "activation_ev")
            },
            "published": structures[name].get("published"),
            "structure_source": structures[name]["source"],
        }
        for place, name in enumerate((*refined, *others), start=1)
    ]


def as_text(table: Sequence[Row], params: Mapping[str, Any]) -> str:
    """A Markdown page."""
    keep, rounds = params["keep"], params["rounds"]
    if params["open_questions"]:
        verdict = (
            f"The ranking is **not settled** after {rounds} rounds: {'; '.join(params['open_questions'])}."
        )
    else:
        verdict = (
            f"The best {keep} are settled after {rounds} rounds: from one grid to the next finer one none "
            f"changed, or overtook another, by more than {params['tolerance_ev']:g} eV."
        )
    lines = [
        "# Lithium migration: ranking",
        "",
        verdict,
        "",
        "Activation energy: the lowest barrier, and half the energy of a Frenkel pair where the crystal has",
        "no carriers of its own. Energies are in electron volts. A published migration energy is to be",
        "compared with the barrier, and all other published energies with the activation energy.",
        "",
        "| | material | activation | 1D | 2D | 3D | dimensions | carriers | grid (angstrom) | published |",
        "|--:|---|--:|--:|--:|--:|--:|---|--:|---|",
    ]
    for row in table:
        barriers = " | ".join(f"{row['barriers_ev'][d]:.2f}" for d in ("1", "2", "3"))
        published = row["published"]
        said = f"{published['energy_ev']:g} ({published['quantity']})" if published else ""
        lines.append(
            f"| {row['place']} | {row['material']} | **{row['activation_ev']:.2f}** | {barriers} "
            f"| {row['dimensions']} | {row['carriers']} | {row['spacing_angstrom']:g} | {said} |"
        )
    if params["failed"]:
        lines += ["", "Failed:", ""]
        lines += [f"- {task}: {reason}" for task, reason in sorted(params["failed"].items())]
    return "\n".join(lines) + "\n"


def as_figure(table: Sequence[Row]) -> str:
    """Bars: the barrier, then what the carriers cost.

    Published: a ring for an activation energy, a square for a migration energy.
    """
    height = ROW_HEIGHT * len(table) + 84
    width = LEFT + BAR_EV * WIDEST_EV + 70
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height}" font-size="12">',
        "<style>text { font-family: sans-serif }</style>",
        f'<rect width="{width:g}" height="{height}" fill="white"/>',
        '<text x="10" y="18" font-size="14">Activation energy of lithium migration (eV)</text>',
        f'<text x="10" y="34" fill="#555555">{escape(LEGEND)}</text>',
    ]
    for tick in range(7):
        x = LEFT + BAR_EV * tick / 2
        parts.append(f'<line x1="{x:g}" x2="{x:g}" y1="44" y2="{height - 30}" stroke="#dddddd"/>')
        parts.append(f'<text x="{x:g}" y="{height - 14}" text-anchor="middle">{tick / 2:g}</text>')
    for index, row in enumerate(table):
        y = TOP + ROW_HEIGHT * index
        barrier = min(row["barriers_ev"]["1"], WIDEST_EV)
        whole = min(row["activation_ev"], WIDEST_EV)
        colour = "#1b6ca8" if row["stage"] == 2 else "#9db8c9"
        parts.append(f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(row["material"])}</text>')
        parts.append(f'<rect x="{LEFT}" y="{y}" width="{BAR_EV * whole:.1f}" height="18" fill="#e3b778"/>')
        parts.append(f'<rect x="{LEFT}" y="{y}" width="{BAR_EV * barrier:.1f}" height="18" fill="{colour}"/>')
        parts.append(
            f'<text x="{LEFT + BAR_EV * whole + 10:.1f}" y="{y + 14}">{row["activation_ev"]:.2f}</text>'
        )
        if row["published"]:
            x = LEFT + BAR_EV * min(row["published"]["energy_ev"], WIDEST_EV)
            shape = f'<circle cx="{x:.1f}" cy="{y + 9}" r="5"'
            if "migration" in row["published"]["quantity"]:
                shape = f'<rect x="{x - 5:.1f}" y="{y + 4}" width="10" height="10"'
            parts.append(f'{shape} fill="none" stroke="#b3261e" stroke-width="2"/>')
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def main() -> None:
    params = json.loads(Path("manifest.json").read_text())["params"]
    reports = {path.stem: json.loads(path.read_text()) for path in sorted(Path("reports").glob("*.json"))}
    structures = {name: json.loads(Path("structures", f"{name}.json").read_text()) for name in reports}
    table = rows(reports, structures, params["refined"])
    summary = {
        "settled": not params["open_questions"],
        "rounds": params["rounds"],
        "keep": params["keep"],
        "open_questions": params["open_questions"],
        "failed": params["failed"],
        "ranking": table,
    }
    Path("ranking.json").write_text(json.dumps(summary, indent=2) + "\n")
    Path("ranking.md").write_text(as_text(table, params))
    Path("ranking.svg").write_text(as_figure(table))
    best = {row["material"]: row["activation_ev"] for row in table[: params["keep"]]}
    Path("result.json").write_text(json.dumps({"settled": summary["settled"], "best": best}))
    print(as_text(table, params))


if __name__ == "__main__":
    main()
