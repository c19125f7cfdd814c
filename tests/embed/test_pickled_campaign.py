"""What is kept of a campaign object, and how it is loaded again."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from matterstack.campaign.pickled import PickledCampaign, pickled, unpickled
from matterstack.core.errors import CampaignError
from tests.embed import campaigns
from tests.embed.campaigns import Rounds


def keep(folder: Path, kept: PickledCampaign) -> Path:
    file = folder / "campaign.pickle"
    file.write_bytes(kept.content)
    return file


def test_an_object_comes_back_with_its_data(tmp_path: Path) -> None:
    kept = pickled(Rounds(["a", "b"]))
    assert kept.kind == "tests.embed.campaigns.Rounds"
    campaign = unpickled(keep(tmp_path, kept), kept.sha256)
    assert isinstance(campaign, Rounds)
    assert campaign.lines == ["a", "b"]


def test_its_code_is_kept_for_people() -> None:
    assert pickled(Rounds([])).source == Path(campaigns.__file__).read_text()
    unseen: dict[str, Any] = {}
    exec("class Typed:\n    def plan(self): ...\n    def analyze(self): ...\n", unseen)  # noqa: S102  typed
    assert pickled(unseen["Typed"]()).source == "", "no code is known"


@pytest.mark.usefixtures("processes")
def test_a_module_beside_the_host_is_found_from_anywhere(tmp_path: Path) -> None:
    """As of a script: its folder is where Python looks first, and only there."""
    script, elsewhere = tmp_path / "host", tmp_path / "elsewhere"
    script.mkdir()
    elsewhere.mkdir()
    (script / "physics.py").write_text("from tests.embed.campaigns import Rounds\nclass Mine(Rounds): pass\n")
    (script / "host.py").write_text(
        "import sys\nfrom pathlib import Path\nfrom physics import Mine\n"
        "from matterstack.campaign.pickled import pickled\n"
        "kept = pickled(Mine(['x']))\nPath(sys.argv[1]).write_bytes(kept.content)\nprint(kept.sha256)\n"
    )
    (elsewhere / "load.py").write_text(
        "import sys\nfrom pathlib import Path\nfrom matterstack.campaign.pickled import unpickled\n"
        "print(unpickled(Path(sys.argv[1]), sys.argv[2]).lines)\n"
    )
    file, project = tmp_path / "campaign.pickle", str(Path(__file__).parents[2])

    def python(*words: str | Path, path: str) -> str:
        done = subprocess.run(
            [sys.executable, *words],
            env={"PYTHONPATH": path},
            cwd=elsewhere,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    sha256 = python(script / "host.py", file, path=project)
    assert python(elsewhere / "load.py", file, sha256, path="") == "['x']"


def test_what_was_made_with_another_python_is_not_loaded(tmp_path: Path) -> None:
    line, _, body = pickled(Rounds([])).content.partition(b"\n")
    other = json.dumps({**json.loads(line), "python": "3.99"}).encode() + b"\n" + body
    file = keep(tmp_path, PickledCampaign("x", other))
    with pytest.raises(
        CampaignError, match=r"Rounds was made with Python 3\.99, and this engine runs on 3\.1"
    ):
        unpickled(file, hashlib.sha256(other).hexdigest())


def test_what_is_gone_or_was_changed_is_not_loaded(tmp_path: Path) -> None:
    kept = pickled(Rounds([]))
    with pytest.raises(CampaignError, match="cannot be read: No such file"):
        unpickled(tmp_path / "campaign.pickle", kept.sha256)
    file = keep(tmp_path, PickledCampaign("x", kept.content + b"\0"))
    with pytest.raises(CampaignError, match="was changed since"):
        unpickled(file, kept.sha256)


class _HasSlots:
    __slots__ = ("generator",)

    def __init__(self) -> None:
        self.generator = (number for number in range(3))

    def plan(self) -> None: ...
    def analyze(self) -> None: ...


def test_an_object_without_a_dict_that_cannot_be_pickled_is_refused_too() -> None:
    with pytest.raises(
        CampaignError, match=r"_HasSlots cannot be pickled: TypeError: .*generator"
    ) as refused:
        pickled(_HasSlots())
    assert "inside plan() and analyze()" in refused.value.hint
