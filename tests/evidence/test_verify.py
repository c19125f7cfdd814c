"""Whatever is done to a bundle is found, and the file is named."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import attrs
import pytest

from matterstack.core.errors import NotFoundError
from matterstack.core.run import messages as m
from matterstack.evidence.manifest import MANIFEST, SEAL, UNLISTED, manifest_bytes
from matterstack.evidence.strength import Strength
from matterstack.evidence.survey import parse_survey, survey_bytes
from matterstack.evidence.verify import examine_bundle, verify_bundle
from matterstack.storage.codec import dumps
from matterstack.storage.layout import Root
from matterstack.storage.read.events import EventRow
from tests.evidence.bundles import content, export
from tests.evidence.forger import Forger
from tests.evidence.stage import half_done, sha256, stage, told
from tests.support.states import RUN_ID
from tests.support.stored import new_root

pytestmark = pytest.mark.usefixtures("drawn_once")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    return told(tmp_path_factory.mktemp("told") / "root", "COMPLETED")


@pytest.fixture(scope="module")
def whole(root: Root) -> Path:
    """A bundle that nobody touches."""
    return export(root).path


@pytest.fixture
def bundle(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoilt."""
    return Path(shutil.copytree(whole, tmp_path / "bundle"))


def blamed(folder: Path) -> set[str]:
    return {finding.path for finding in verify_bundle(folder)}


def reseal(folder: Path) -> None:
    """Make the manifest fit what is there, as one would who wants to hide something."""
    hashes = {path: sha256(data) for path, data in content(folder).items() if path not in UNLISTED}
    manifest = manifest_bytes(hashes)
    (folder / MANIFEST).write_bytes(manifest)
    (folder / SEAL).write_bytes(manifest_bytes({MANIFEST: sha256(manifest)}))


def test_a_flipped_byte_is_found_in_every_file_and_only_that_file_is_blamed(bundle: Path) -> None:
    random = Random(6)  # noqa: S311  no secrets here
    files = content(bundle)
    assert len(files) > 20
    for path, data in files.items():
        place = random.randrange(len(data))
        spoilt = bytearray(data)
        spoilt[place] ^= 1 << random.randrange(8)
        (bundle / path).write_bytes(spoilt)
        assert blamed(bundle) == {path}, f"byte {place} of {path}"
        (bundle / path).write_bytes(data)
    assert blamed(bundle) == set()


def remove(folder: Path, path: str, _random: Random) -> str:
    (folder / path).unlink()
    return path


def rename(folder: Path, path: str, _random: Random) -> str:
    (folder / path).rename(folder / f"{path}.old")
    return path


def add(folder: Path, path: str, random: Random) -> str:
    place = random.choice(["", "outputs/", "outputs/mix.1/", "foreign/"])
    added = f"{place}{random.choice(['notes.txt', 'a b', 'two%0alines'])}{random.randrange(1000)}"
    (folder / added).parent.mkdir(exist_ok=True)
    (folder / added).write_bytes((folder / path).read_bytes())
    return added


def cut(folder: Path, path: str, random: Random) -> str:
    data = (folder / path).read_bytes()
    (folder / path).write_bytes(data[: random.randrange(len(data))])
    return path


def extend(folder: Path, path: str, random: Random) -> str:
    with (folder / path).open("ab") as file:
        file.write(random.choice([b"\n", b" ", b"x", b"\0"]))
    return path


def flip(folder: Path, path: str, random: Random) -> str:
    data = bytearray((folder / path).read_bytes())
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    (folder / path).write_bytes(data)
    return path


def link(folder: Path, path: str, _random: Random) -> str:
    """The same content, but by a symbolic link to a place outside of the bundle."""
    outside = folder.parent / "outside"
    outside.write_bytes((folder / path).read_bytes())
    (folder / path).unlink()
    (folder / path).symlink_to(outside)
    return path


def swap_events(folder: Path, _path: str, random: Random) -> str:
    lines = (folder / "events.jsonl").read_bytes().splitlines(keepends=True)
    place = random.randrange(len(lines) - 1)
    lines[place], lines[place + 1] = lines[place + 1], lines[place]
    (folder / "events.jsonl").write_bytes(b"".join(lines))
    return "events.jsonl"


def edit_report(folder: Path, _path: str, random: Random) -> str:
    name = random.choice(["report.md", "report.html"])
    text = (folder / name).read_bytes()
    (folder / name).write_bytes(text.replace(b"COMPLETED", b"FAILED", 1))
    return name


MUTATIONS: list[Callable[[Path, str, Random], str]] = [
    flip, remove, rename, add, cut, extend, link, swap_events, edit_report,
]  # fmt: skip


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_whatever_is_done_to_a_bundle_is_found_and_named(first: int, whole: Path, tmp_path: Path) -> None:
    paths = sorted(content(whole))
    for seed in range(first, first + 50):
        random = Random(seed)  # noqa: S311  no secrets here
        folder = tmp_path / str(seed)
        shutil.copytree(whole, folder)
        mutation = random.choice(MUTATIONS)
        path = mutation(folder, random.choice(paths), random)
        assert path in blamed(folder), f"seed {seed}: {mutation.__name__} of {path}"
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("report.md", b"**COMPLETED**", b"**FAILED**"),
        ("report.html", b"node1", b"node9"),
        ("tasks.csv", b"SUCCEEDED", b"FAILED"),
        ("ro-crate-metadata.json", b"node1", b"node2"),
        ("workflow.json", b"LiF", b"LiI"),
        ("config.json", b"60.0", b"61.0"),
        ("timeline.svg", b"#2f8132", b"#c52707"),
        ("graph.svg", b"#2f8132", b"#c52707"),
        ("outputs/mix.1/mix.json", b"2", b"3"),
        ("evidence.json", b'"copied"', b'"missing"'),
    ],
)
def test_a_change_is_found_even_when_all_hashes_were_made_to_fit(
    path: str, old: bytes, new: bytes, bundle: Path
) -> None:
    text = (bundle / path).read_bytes()
    assert old in text
    (bundle / path).write_bytes(text.replace(old, new, 1))
    reseal(bundle)
    found = blamed(bundle)
    assert path in found
    assert not found & UNLISTED


@pytest.mark.parametrize("place", range(0, 30, 3))
def test_events_in_another_order_are_found_even_when_all_hashes_were_made_to_fit(
    place: int, bundle: Path
) -> None:
    lines = (bundle / "events.jsonl").read_bytes().splitlines(keepends=True)
    lines[place], lines[place + 1] = lines[place + 1], lines[place]
    (bundle / "events.jsonl").write_bytes(b"".join(lines))
    reseal(bundle)
    assert "events.jsonl" in blamed(bundle)


def test_a_last_event_that_was_taken_away_is_found_even_when_all_hashes_were_made_to_fit(
    bundle: Path,
) -> None:
    lines = (bundle / "events.jsonl").read_bytes().splitlines(keepends=True)
    (bundle / "events.jsonl").write_bytes(b"".join(lines[:-1]))
    reseal(bundle)
    assert blamed(bundle) == {"evidence.json"}, "which is as of an event that is not there"


def test_an_output_that_the_survey_leaves_out_is_found(bundle: Path) -> None:
    survey = json.loads((bundle / "evidence.json").read_bytes())
    survey["outputs"] = survey["outputs"][1:]
    (bundle / "evidence.json").write_text(json.dumps(survey))
    reseal(bundle)
    assert "evidence.json" in blamed(bundle)


OTHER_LIBRARIES = {"jinja2": "0.1", "markdown-it-py": "0.1", "matplotlib": "0.1", "rocrate": "0.1"}


def made_with_others(folder: Path, **pen: Callable[[bytes], bytes]) -> None:
    """As if other versions of the libraries had made it, which write the same in another way."""
    forger = Forger.of(folder)
    forger.survey = attrs.evolve(forger.survey, made_with={"matterstack": "99.0", **OTHER_LIBRARIES})
    forger.pen = {path.replace("_", "."): change for path, change in pen.items()}
    if crate := pen.get("crate"):
        forger.pen["ro-crate-metadata.json"] = crate
    forger.rebuild()


def test_what_other_libraries_made_is_compared_by_what_it_says(bundle: Path) -> None:
    made_with_others(
        bundle,
        report_md=lambda text: text.replace(b" | ", b"  |  "),
        report_html=lambda text: text.replace(b"</p>", b"\n</p >").replace(b"&#39;", b"&apos;"),
        timeline_svg=lambda text: text.replace(b"L 122.4 32.4", b"L 122.3999999 32.4000001"),
        crate=lambda text: json.dumps(json.loads(text)).encode(),
    )
    found = examine_bundle(bundle)
    assert found.findings == ()
    by_meaning = {path for path, check in found.checks.items() if check is Strength.MEANING}
    assert by_meaning == {"report.md", "report.html", "timeline.svg", "ro-crate-metadata.json"}
    assert found.is_weaker
    for path in ("tasks.csv", "workflow.json", "config.json", "graph.svg"):
        assert found.checks[path] is Strength.BYTES, path


@pytest.mark.parametrize("path", ["tasks.csv", "workflow.json", "config.json", "evidence.json"])
def test_what_no_library_writes_is_compared_to_the_byte_whoever_made_it(path: str, bundle: Path) -> None:
    made_with_others(bundle, **{path.replace(".", "_"): lambda text: text + b"\n"})
    assert path in blamed(bundle)


def test_a_library_that_is_the_same_writes_the_same_bytes(bundle: Path) -> None:
    forger = Forger.of(bundle)
    forger.pen = {"report.md": lambda text: text.replace(b" | ", b"  |  ")}
    forger.rebuild()
    assert "report.md" in blamed(bundle), "only blanks were added, but no other version was there"


def test_a_file_that_cannot_be_compared_is_said_not_to_have_been(bundle: Path) -> None:
    (bundle / "events.jsonl").write_bytes(b"")
    found = examine_bundle(bundle)
    assert found.checks["report.html"] is Strength.NOT_CHECKED
    assert found.seq is None


def test_a_link_to_a_folder_was_added(bundle: Path) -> None:
    (bundle / "more").symlink_to("/etc")
    assert blamed(bundle) == {"more"}


def test_a_file_that_only_the_manifest_knows_is_found(bundle: Path) -> None:
    (bundle / "outputs" / "mix.1" / "more.json").write_text("{}")
    reseal(bundle)
    assert blamed(bundle) == {"outputs/mix.1/more.json"}


def test_a_survey_of_another_run_is_found(bundle: Path) -> None:
    survey = (bundle / "evidence.json").read_text()
    (bundle / "evidence.json").write_text(survey.replace(RUN_ID, "20200101T000000-aaaaaa"))
    reseal(bundle)
    assert blamed(bundle) == {"evidence.json"}


def test_an_output_that_is_said_to_be_missing_and_to_be_there_is_found(bundle: Path) -> None:
    survey = json.loads((bundle / "evidence.json").read_bytes())
    survey["outputs"][0]["state"] = "missing"
    (bundle / "evidence.json").write_text(json.dumps(survey))
    reseal(bundle)
    problems = [finding.problem for finding in verify_bundle(bundle) if finding.path == "evidence.json"]
    assert any("is missing, and its place is outputs/mix.1/mix.json" in problem for problem in problems)


def test_an_empty_folder_was_added(bundle: Path) -> None:
    (bundle / "outputs" / "mix.2").mkdir()
    assert blamed(bundle) == {"outputs/mix.2"}


def test_events_that_follow_from_each_other_but_break_a_promise_are_found(tmp_path: Path) -> None:
    folder = export(told(tmp_path / "root", "PAUSED")).path
    events = [json.loads(line) for line in (folder / "events.jsonl").read_bytes().splitlines()]
    paused = next(place for place, event in enumerate(events) if event["type"] == "RunPaused")
    prepared = next(place for place, event in enumerate(events) if event["type"] == "AttemptPrepared")
    events.insert(prepared, events.pop(paused))
    for number, event in enumerate(events, start=1):
        # As if the run had been paused first, and its jobs submitted all the same.
        event["seq"], event["at"] = number, f"2026-01-01T00:00:{number:02d}.000000Z"
    lines = (EventRow(e["seq"], e["run"], e["at"], e["type"], dumps(e["data"])).line() for e in events)
    (folder / "events.jsonl").write_bytes(b"".join(lines))
    reseal(folder)
    problems = [finding.problem for finding in verify_bundle(folder) if finding.path == "events.jsonl"]
    assert any("paused" in problem for problem in problems), problems


def test_a_bundle_is_compared_with_the_store_it_came_from(tmp_path: Path) -> None:
    root = new_root(tmp_path / "root")
    with stage(root) as made:
        half_done(made)
        folder = export(root).path
        made.tell(m.Pause(by="ann"))
        assert verify_bundle(folder, root) == [], "the run has gone on since"
        made.stored.connection.execute("UPDATE events SET at = '2026-01-01T00:00:01.500000Z' WHERE seq = 3")
        assert [f.path for f in verify_bundle(folder, root)] == ["events.jsonl"]
        made.stored.connection.execute("DELETE FROM events")
        (finding,) = verify_bundle(folder, root)
        assert "no run" in finding.problem


def test_an_output_that_changed_in_the_store_s_root_is_found_there(root: Root, bundle: Path) -> None:
    path = root.run_folder("demo", export(root).run_id).path / "tasks" / "relax" / "1" / "out.txt"
    before = path.read_bytes()
    path.write_bytes(b"forged\n")
    try:
        assert verify_bundle(bundle) == []
        assert {f.path for f in verify_bundle(bundle, root)} == {"outputs/relax.1/out.txt"}
    finally:
        path.write_bytes(before)


def test_what_is_no_bundle_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        verify_bundle(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert {MANIFEST, SEAL, "events.jsonl", "evidence.json"} <= blamed(tmp_path / "empty")
    for name in (MANIFEST, SEAL, "events.jsonl", "evidence.json", "report.md"):
        (tmp_path / "empty" / name).write_bytes(os.urandom(64))
    assert {MANIFEST, "events.jsonl", "evidence.json"} <= blamed(tmp_path / "empty")


def test_what_a_run_without_secrets_withholds_is_found(bundle: Path) -> None:
    survey = json.loads((bundle / "evidence.json").read_text())
    output = next(output for output in survey["outputs"] if output["place"])
    (bundle / output["place"]).unlink()
    output.update(place=None, state="withheld", detail="it holds the value of the secret API_TOKEN")
    (bundle / "evidence.json").write_bytes(survey_bytes(parse_survey(json.dumps(survey).encode())))
    reseal(bundle)

    problems = {(finding.path, finding.problem) for finding in verify_bundle(bundle)}

    assert ("evidence.json", "withholds files for the sake of secrets, and the run has none") in problems


def test_a_file_without_end_is_found_by_its_size(bundle: Path) -> None:
    os.truncate(bundle / "report.md", 8 << 40)
    assert blamed(bundle) >= {"report.md"}
    (bundle / "outputs" / "mix.1" / "endless").touch()
    os.truncate(bundle / "outputs" / "mix.1" / "endless", 8 << 40)
    assert blamed(bundle) >= {"report.md", "outputs/mix.1/endless"}
    (bundle / "ro-crate-metadata.json").write_text("{")
    assert blamed(bundle) >= {"report.md", "outputs/mix.1/endless", "ro-crate-metadata.json"}
