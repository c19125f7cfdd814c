"""The trends beside published ones, for people (``NAME.md``, ``NAME.svg``) and for programs (``NAME.json``).

Reads ``manifest.json``, a report of each metal (``screened``), those of the refined ones (``refined``) and
``published.json``.  The same page is written for the chemist before the decision (NAME is ``survey``) and in
the end (``trends``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from scipy.stats import spearmanr

NEIGHBOURS = (("Ni", "Cu"), ("Pd", "Ag"), ("Pt", "Au"))
"""In each row of the periodic table: the metal whose d band is not full, and the one whose is."""
HOLLOWS = ("fcc", "hcp")
FEWEST_TO_ORDER = 4

AXES = "energy (eV) over the centre of the d band (eV)"
PANEL, MARGIN, TOP, LABEL = 300.0, 62.0, 64.0, 5.0  # points

Energies = Mapping[str, Mapping[str, float]]
"""By adsorbate: by metal, in electron volts."""


def energies_of(screened: Mapping[str, Any], refined: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The best energy that is known of each atom on each metal."""
    energies: dict[str, dict[str, float]] = {}
    for metal, report in screened.items():
        for element, found in report["adsorbed"].items():
            energies.setdefault(element, {})[metal] = found["energy_ev"]
    for metal, report in refined.items():
        energies[report["adsorbate"]][metal] = report["energy_ev"]
    return energies


def neighbours(energies: Energies, published: Mapping[str, Any]) -> list[dict[str, Any]]:
    """By how much an atom is bound more strongly on the left one of two neighbours, here and as published."""
    table = []
    for element, by_metal in energies.items():
        known = published["adsorption_ev"].get(element, {}).get("values")
        for left, right in NEIGHBOURS:
            if left in by_metal and right in by_metal:
                table.append(
                    {
                        "adsorbate": element,
                        "stronger": left,
                        "weaker": right,
                        "here_ev": round(by_metal[right] - by_metal[left], 4),
                        "published_ev": round(known[right] - known[left], 4) if known else None,
                    }
                )
    return table


def orders(energies: Energies, published: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rank correlation of each atom's energies with the d band, and with published energies.

    1 is the same order, -1 the opposite one; None where there are too few metals to speak of an order, or no
    published energies.  A d band nearer to the Fermi level is to bind more strongly.
    """
    centers = published["d_band_center_ev"]["values"]
    table = []
    for element, by_metal in energies.items():
        known = published["adsorption_ev"].get(element, {}).get("values", {})
        table.append(
            {
                "adsorbate": element,
                "with_d_band": _rank_correlation(by_metal, {m: -center for m, center in centers.items()}),
                "with_published": _rank_correlation(by_metal, known),
            }
        )
    return table


def _rank_correlation(one: Mapping[str, float], other: Mapping[str, float]) -> float | None:
    metals = sorted(set(one) & set(other))
    if len(metals) < FEWEST_TO_ORDER:
        return None
    return round(float(spearmanr([one[m] for m in metals], [other[m] for m in metals]).statistic), 3)


def off_hollow(screened: Mapping[str, Any]) -> list[str]:
    """Atoms that do not sit in a threefold hollow, as all of them should."""
    return [
        f"{element} on {metal}: {found['site']}"
        for metal, report in screened.items()
        for element, found in report["adsorbed"].items()
        if found["site"] not in HOLLOWS
    ]


def summary_of(
    screened: Mapping[str, Any],
    refined: Mapping[str, Any],
    published: Mapping[str, Any],
    params: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything that the page says."""
    energies = energies_of(screened, refined)
    return {
        "decision": params["decision"],
        "settled": params["settled"],
        "open_questions": params["open_questions"],
        "failed": params["failed"],
        "energies_ev": energies,
        "refined": refined,
        "neighbours": neighbours(energies, published),
        "orders": orders(energies, published),
        "not_in_a_hollow": off_hollow(screened),
    }


# ---- for people


def as_text(summary: Mapping[str, Any], screened: Mapping[str, Any], published: Mapping[str, Any]) -> str:
    """A Markdown page."""
    energies = summary["energies_ev"]
    centers = published["d_band_center_ev"]["values"]
    lines = ["# Atoms on close-packed metal surfaces", "", *summary["decision"], ""]
    if summary["refined"]:
        lines += _refinement(summary)
    lines += [
        "Energies of the adsorbed atom against the free one, in electron volts; refined ones in bold.",
        "",
        "| metal | lattice constant (angstrom) | d band (eV) | " + " | ".join(energies) + " |",
        "|---|--:|--:|" + "--:|" * len(energies),
    ]
    for metal, report in screened.items():
        cells = []
        for element, by_metal in energies.items():
            bold = summary["refined"].get(metal, {}).get("adsorbate") == element
            cells.append(f"**{by_metal[metal]:.3f}**" if bold else f"{by_metal[metal]:.3f}")
        center = f"{centers[metal]:.2f}" if metal in centers else "none"
        lines.append(f"| {metal} | {report['lattice_angstrom']:.3f} | {center} | " + " | ".join(cells) + " |")
    lines += ["", *_neighbour_lines(summary), *_order_lines(summary)]
    sites = ", ".join(summary["not_in_a_hollow"])
    lines += [f"Not in a threefold hollow: {sites}." if sites else "All atoms sit in threefold hollows."]
    if summary["failed"]:
        lines += ["", "Failed:", ""]
        lines += [f"- {task}: {reason}" for task, reason in sorted(summary["failed"].items())]
    return "\n".join(lines) + "\n"


def _refinement(summary: Mapping[str, Any]) -> list[str]:
    lines = ["The refined energies are " + ("settled." if summary["settled"] else "**not settled**:"), ""]
    if summary["open_questions"]:
        lines += [*(f"- {question}" for question in summary["open_questions"]), ""]
    lines += [
        "| refined | site | energy | height | layers | cell | fmax | layers, cell, fmax changed it by |",
        "|---|---|--:|--:|--:|--:|--:|---|",
    ]
    for metal, report in summary["refined"].items():
        model, changes = report["model"], report["changes_ev"]
        lines.append(
            f"| {report['adsorbate']} on {metal} | {report['site']} | {report['energy_ev']:.4f} "
            f"| {report['height_angstrom']:.2f} | {model['layers']} | {model['cell']} x {model['cell']} "
            f"| {model['fmax']:g} | "
            + ", ".join(f"{changes[setting]:+.4f}" for setting in ("layers", "cell", "fmax"))
            + " |"
        )
    return [*lines, ""]


def _neighbour_lines(summary: Mapping[str, Any]) -> list[str]:
    if not summary["neighbours"]:
        return []
    lines = [
        "Bound more strongly than on the next metal of the row, by (eV):",
        "",
        "| | " + " | ".join(f"{left} / {right}" for left, right in NEIGHBOURS) + " |",
        "|---|" + "--:|" * len(NEIGHBOURS),
    ]
    for element in summary["energies_ev"]:
        cells = []
        for pair in NEIGHBOURS:
            row = next(
                (
                    row
                    for row in summary["neighbours"]
                    if (row["adsorbate"], row["stronger"], row["weaker"]) == (element, *pair)
                ),
                None,
            )
            if row is None:
                cells.append("")
            elif row["published_ev"] is None:
                cells.append(f"{row['here_ev']:+.2f}")
            else:
                cells.append(f"{row['here_ev']:+.2f} (published {row['published_ev']:+.2f})")
        lines.append(f"| {element} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _order_lines(summary: Mapping[str, Any]) -> list[str]:
    lines = ["Order of the metals (rank correlation; 1 is the same order):", ""]
    for row in summary["orders"]:
        said = [f"{row[key]:.2f} {words}" for key, words in _ORDER_WORDS.items() if row[key] is not None]
        if said:
            lines.append(f"- {row['adsorbate']}: {', '.join(said)}")
    return [*lines, ""] if len(lines) > 2 else []


_ORDER_WORDS = {"with_d_band": "with the d band", "with_published": "with published energies"}


def as_figure(summary: Mapping[str, Any], published: Mapping[str, Any], element: str) -> str:
    """Energies of one atom over the centre of the d band: as computed here, and as published."""
    centers = published["d_band_center_ev"]["values"]
    panels = [("effective medium theory", summary["energies_ev"][element])]
    if element in published["adsorption_ev"]:
        panels.append(("published, density functional theory", published["adsorption_ev"][element]["values"]))
    width, height = len(panels) * (PANEL + MARGIN) + 20, PANEL + TOP + 50
    refined = {m for m, report in summary["refined"].items() if report["adsorbate"] == element}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" font-size="12">',
        "<style>text { font-family: sans-serif }</style>",
        f'<rect width="{width:g}" height="{height:g}" fill="white"/>',
        f'<text x="10" y="20" font-size="14">{escape(element)} on fcc(111): {AXES}</text>',
        '<text x="10" y="37" fill="#555555">full: refined, or published; ring: screened only</text>',
    ]
    for index, (title, by_metal) in enumerate(panels):
        points = {m: (centers[m], energy) for m, energy in by_metal.items() if m in centers}
        left = MARGIN + index * (PANEL + MARGIN)
        parts += _panel(title, points, left, refined if index == 0 else set(points))
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _panel(title: str, points: Mapping[str, tuple[float, float]], left: float, full: set[str]) -> list[str]:
    parts = [
        f'<text x="{left:g}" y="{TOP - 8:g}">{escape(title)}</text>',
        f'<rect x="{left:g}" y="{TOP:g}" width="{PANEL:g}" height="{PANEL:g}" fill="none" stroke="#999999"/>',
    ]
    if not points:
        return parts
    across = _scale([x for x, _ in points.values()])
    up = _scale([y for _, y in points.values()])
    for share in (0.0, 0.5, 1.0):
        x, y = left + share * PANEL, TOP + (1 - share) * PANEL
        parts.append(
            f'<text x="{x:g}" y="{TOP + PANEL + 16:g}" text-anchor="middle">{_at(across, share):.2f}</text>'
        )
        parts.append(f'<text x="{left - 6:g}" y="{y + 4:g}" text-anchor="end">{_at(up, share):.2f}</text>')
    for metal, (center, energy) in points.items():
        x = left + PANEL * (center - across[0]) / (across[1] - across[0])
        y = TOP + PANEL * (1 - (energy - up[0]) / (up[1] - up[0]))
        fill = "#1b6ca8" if metal in full else "white"
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{fill}" stroke="#1b6ca8" stroke-width="2"/>'
        )
        parts.append(f'<text x="{x + LABEL + 3:.1f}" y="{y - LABEL:.1f}">{escape(metal)}</text>')
    return parts


def _scale(values: Sequence[float]) -> tuple[float, float]:
    """Ends of an axis, with some room beyond the values."""
    room = 0.12 * (max(values) - min(values)) or 0.1
    return min(values) - room, max(values) + room


def _at(scale: tuple[float, float], share: float) -> float:
    return scale[0] + share * (scale[1] - scale[0])


def _reports(folder: str) -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text()) for path in sorted(Path(folder).glob("*.json"))}


def main() -> None:
    params = json.loads(Path("manifest.json").read_text())["params"]
    published = json.loads(Path("published.json").read_text())
    screened, refined = _reports("screened"), _reports("refined")
    summary = summary_of(screened, refined, published, params)
    name, element = params["name"], params["adsorbate"]
    text = as_text(summary, screened, published)
    Path(f"{name}.json").write_text(json.dumps(summary, indent=2) + "\n")
    Path(f"{name}.md").write_text(text)
    Path(f"{name}.svg").write_text(as_figure(summary, published, element))
    result = {key: summary[key] for key in ("settled", "neighbours", "orders")}
    result["refined_ev"] = {metal: report["energy_ev"] for metal, report in refined.items()}
    Path("result.json").write_text(json.dumps({"adsorbate": element, **result}))
    print(text)


if __name__ == "__main__":
    main()
