"""What the chemist, and whoever approves, are asked, and what the answers mean.  Pure: no files, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Screened = Mapping[str, Mapping[str, Any]]
"""By metal: by adsorbate, what was found of it on its best site."""

REFINE = "refine_"


def question(screened: Screened, adsorbates: Sequence[str], folder: str) -> str:
    """The table of what was screened, and what is to be decided."""
    head = "".join(f"{element:>9}" for element in adsorbates)
    lines = [
        "Which surfaces, and which atom on them, are to be computed more exactly?",
        "",
        "Screened on fcc(111); energy of the adsorbed atom in eV, strongest oxygen first:"
        if "O" in adsorbates
        else "Screened on fcc(111); energy of the adsorbed atom in eV:",
        "",
        f"      {head}",
    ]
    for metal in strongest_first(screened, "O" if "O" in adsorbates else adsorbates[0]):
        cells = "".join(f"{screened[metal][element]['energy_ev']:9.3f}" for element in adsorbates)
        lines.append(f"  {metal:4}{cells}")
    lines += [
        "",
        f"{folder} has this with published values (survey.md) and as a figure (survey.svg).",
        "The potential knows trends, not energies: differences below 0.02 eV between metals mean nothing.",
    ]
    return "\n".join(lines)


def strongest_first(screened: Screened, element: str) -> list[str]:
    """Metals by the energy of an adsorbed atom; equal ones by name."""
    return sorted(screened, key=lambda metal: (screened[metal][element]["energy_ev"], metal))


def answer_fields(screened: Screened, adsorbates: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The fields of the answer: one for each metal, and what to do with those that are chosen."""
    metals = {
        f"{REFINE}{metal}": {"type": "boolean", "required": False, "help": f"{metal}(111); left open: no"}
        for metal in screened
    }
    return {
        "adsorbate": {"type": "choice", "choices": list(adsorbates), "help": "the atom on them"},
        "accuracy_ev": {
            "type": "number",
            "unit": "eV",
            "min": 0.0005,
            "max": 0.1,
            "help": "no setting may change an energy by more, such as 0.002",
        },
        **metals,
        "reason": {"type": "string", "required": False, "help": "why these; goes into the report"},
    }


def chosen_metals(answer: Mapping[str, Any]) -> list[str]:
    """The metals that are to be refined, in the order in which they were asked for."""
    return [
        name.removeprefix(REFINE)
        for name, value in answer.items()
        if name.startswith(REFINE) and value is True
    ]


def gate_question(run_hint: str, seconds_per_surface: float, rounds: int) -> str:
    """What whoever approves has to know."""
    return "\n".join(
        [
            "Shall what was chosen be computed?",
            "",
            f"Who chose what, and why: {run_hint}.",
            f"Each surface costs at most about {seconds_per_surface:.0f} s of one core, in {rounds} rounds.",
            "Approve: it is computed.  Reject: the report is written with what was screened.",
            "Send back, with a comment: the choice is asked for again, and then this.",
        ]
    )


def in_words(answer: Mapping[str, Any]) -> str:
    """What was chosen, as a sentence.

    >>> in_words({"adsorbate": "O", "accuracy_ev": 0.002, "refine_Pt": True, "reason": "as usual"})
    'Chosen: O on Pt, to 0.002 eV (as usual).'
    """
    metals = ", ".join(chosen_metals(answer))
    reason = f" ({answer['reason'].strip()})" if answer.get("reason", "").strip() else ""
    if not metals:
        return f"No surface was chosen{reason}."
    return f"Chosen: {answer['adsorbate']} on {metals}, to {answer['accuracy_ev']:g} eV{reason}."
