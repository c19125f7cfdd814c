"""``run export-evidence`` and ``evidence verify``: make evidence, and check it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncclick as click

from matterstack.cli.harmless_output import bare
from matterstack.cli.shared_options import RUN_ID, current_root, json_option
from matterstack.core.ids import RunId
from matterstack.storage.layout import Root

if TYPE_CHECKING:
    from matterstack.evidence.export import Bundle, OnProgress
    from matterstack.evidence.head_search import LaterEvent
    from matterstack.evidence.importing import Imported
    from matterstack.evidence.strength import Verification
    from matterstack.storage.read.runs import RunSummary

MIB = 1 << 20
MOST_LATER: Final = 20
"""Events after a head that are shown."""
MOST_LISTED: Final = 20
"""Files and the like that are named in words."""
WEAKER_EXIT_CODE: Final = 6
_FOLDER = click.Path(path_type=Path)


@click.command("export-evidence", short_help="Build the evidence of a run.")
@click.argument("run_id", type=RUN_ID)
@click.option(
    "--output", metavar="DIR", type=_FOLDER, help="Where to (default: evidence, in the run's folder)."
)
@click.option(
    "--copy-below",
    metavar="MIB",
    type=click.IntRange(min=0),
    default=64,
    show_default=True,
    help="Larger outputs are not copied, but named by their hash.",
)
@click.option("--sign", is_flag=True, help="Sign it with your own ssh key.")
@click.option(
    "--key",
    metavar="FILE",
    type=_FOLDER,
    help="Which one (default: git's for signing with ssh, else the first of ~/.ssh/id_*).",
)
@json_option
@click.pass_context
async def export_evidence(
    context: click.Context,
    run_id: RunId,
    output: Path | None,
    copy_below: int,
    sign: bool,
    key: Path | None,
    as_json: bool,
) -> None:
    """Build the evidence of a run in any state: report, tables, events, outputs and their provenance.

    Built again from the same events and files, it is the same to the byte.  A signature lies beside the list
    of hashes, and stays when the bundle is built again as long as it fits.
    """
    import trio

    from matterstack.cli.printing import print_json
    from matterstack.core.errors import UsageError
    from matterstack.evidence.export import build_evidence_bundle
    from matterstack.evidence.signing import signing_key

    if key is not None and not sign:
        raise UsageError("--key names the key for --sign", hint="give both")
    root = current_root(context)
    sign_with = await trio.to_thread.run_sync(signing_key, key) if sign else None
    with _progress(quiet=as_json) as on_progress:
        bundle = await build_evidence_bundle(
            root,
            run_id,
            output,
            copy_below_bytes=copy_below * MIB,
            on_progress=on_progress,
            sign_with=sign_with,
        )
    if as_json:
        print_json(_as_document(bundle))
    else:
        _say_what_was_built(bundle, sign_with)


def _as_document(bundle: Bundle) -> dict[str, Any]:
    return {
        "path": str(bundle.path),
        "is_complete": bundle.is_complete,
        "status": bundle.status.value,
        "run_id": bundle.run_id,
        "seq": bundle.seq,
        "missing": list(bundle.missing),
        "foreign": list(bundle.foreign),
        "signature": bundle.signature.value,
    }


def _say_what_was_built(bundle: Bundle, signed_with: Path | None) -> None:
    from matterstack.evidence.export import BundleSignature

    click.echo(str(bundle.path))
    click.echo(f"the run is {bundle.status} as of event {bundle.seq}; open report.html there", err=True)
    _list("not complete:", bundle.missing)
    if bundle.signature is BundleSignature.MADE:
        click.echo(f"signed with {signed_with}", err=True)
    elif bundle.signature is BundleSignature.DROPPED:
        click.echo(
            "the signature of the old bundle does not fit any more, and is gone: --sign again", err=True
        )
    _list("kept, though no export made them:", [repr(name) for name in bundle.foreign])


def _list(what: str, texts: Sequence[str]) -> None:
    """Say what each of them is, where there are any."""
    for line in (what, *(f"  {text}" for text in texts)) if texts else ():
        click.echo(line, err=True)


@click.command(short_help="Put evidence and outputs of a run into one zip file.")
@click.argument("run_id", type=RUN_ID)
@click.option(
    "--output", metavar="FILE", type=_FOLDER, help="Where to (default: RUN_ID.zip, in the run's folder)."
)
@json_option
@click.pass_context
async def archive(context: click.Context, run_id: RunId, output: Path | None, as_json: bool) -> None:
    """Build the evidence of a run, and put it and all outputs into one zip file.

    Made again from the same events and files, it is the same to the byte.
    """
    from matterstack.cli.printing import print_json
    from matterstack.evidence.archive import archive_run

    with _progress(quiet=as_json) as on_progress:
        made = await archive_run(current_root(context), run_id, output, on_progress=on_progress)
    if as_json:
        print_json(
            {
                "path": str(made.path),
                "sha256": made.sha256,
                "bytes": made.bytes,
                "status": made.bundle.status.value,
                "is_complete": made.bundle.is_complete,
            }
        )
    else:
        click.echo(str(made.path))
        click.echo(f"SHA-256 {made.sha256}, {made.bytes} bytes", err=True)


@click.command(short_help="Free what jobs left behind beside their outputs.")
@click.argument("run_id", type=RUN_ID)
@click.option("--delete", is_flag=True, help="Delete it; without this it is only shown.")
@json_option
@click.pass_context
async def clean(context: click.Context, run_id: RunId, delete: bool, as_json: bool) -> None:
    """Show, or delete, what the jobs of an ended run left behind and its evidence does not need.

    Outputs, logs and records stay, so that the evidence can be built again.  It must be there, whole and
    as of the run's last event.
    """
    import attrs
    import trio

    from matterstack.cli.printing import print_json
    from matterstack.core.shown_text import shown
    from matterstack.evidence.cleaning import clean_run
    from matterstack.evidence.durations import bytes_text

    root = current_root(context)
    found = await trio.to_thread.run_sync(lambda: clean_run(root, run_id, delete=delete))
    total = sum(leftover.bytes for leftover in found)
    if as_json:
        files = [attrs.asdict(leftover) for leftover in found]
        print_json({"run_id": run_id, "deleted": delete, "bytes": total, "files": files})
        return
    for leftover in found:
        click.echo(shown(leftover.path))
    what = "deleted" if delete else "can be freed (give --delete to do so)"
    click.echo(f"{len(found)} files, {bytes_text(total)} {what}", err=True)


@click.command("import", short_help="Unpack an archive, to look at it here.")
@click.argument("file", type=_FOLDER)
@json_option
@click.pass_context
async def import_run(context: click.Context, file: Path, as_json: bool) -> None:
    """Unpack and verify an archive of a run from elsewhere, below imported/ in this root.

    It is there to be looked at: `run status`, the report and `evidence verify` work, and no engine serves it.
    """
    import trio

    from matterstack.evidence.importing import import_archive

    imported = await trio.to_thread.run_sync(import_archive, current_root(context), file)
    _print_bundle(imported, as_json)


def show_imported(root: Root, run_id: RunId, *, as_json: bool) -> bool:
    """Show the status of a run that was imported into this root; False when none of this id was."""
    from matterstack.evidence.imported import imported_bundle
    from matterstack.evidence.importing import look_at_bundle

    folder = imported_bundle(root, run_id)
    if not folder.is_dir():
        return False
    _print_bundle(look_at_bundle(folder), as_json)
    return True


def list_imported(root: Root, run_ids: Sequence[RunId]) -> list[RunSummary]:
    """These of the imported runs; of those that cannot be read it says so on stderr."""
    from matterstack.evidence.imported import imported_bundle

    if not run_ids:
        return []
    from matterstack.core.errors import MatterStackError
    from matterstack.evidence.importing import look_at_bundle

    summaries: list[RunSummary] = []
    for run_id in run_ids:
        try:
            found = look_at_bundle(imported_bundle(root, run_id))
        except MatterStackError as error:
            click.echo(f"{run_id} was imported: {error}", err=True)
        else:
            summaries.append(found.summary)
    return summaries


def tasks_of_imported(root: Root, run_id: RunId) -> list[dict[str, Any]] | None:
    """What ``run tasks`` shows of a run that was imported into this root; None when none of this id was."""
    from matterstack.evidence.imported import imported_bundle
    from matterstack.evidence.importing import imported_tasks

    folder = imported_bundle(root, run_id)
    return imported_tasks(folder) if folder.is_dir() else None


async def print_events_of_imported(root: Root, run_id: RunId, after: int) -> bool:
    """Print the history of a run that was imported into this root; False when none of this id was."""
    import trio

    from matterstack.cli.printing import json_line
    from matterstack.evidence.imported import imported_bundle
    from matterstack.evidence.importing import imported_events

    folder = imported_bundle(root, run_id)
    if not folder.is_dir():
        return False
    for line in await trio.to_thread.run_sync(imported_events, folder, after):
        sys.stdout.write(json_line(json.loads(line)))
    sys.stdout.flush()
    return True


def _print_bundle(found: Imported, as_json: bool) -> None:
    from matterstack.cli.bars import print_summary
    from matterstack.cli.printing import print_json

    if as_json:
        print_json({**found.summary.as_json(), "path": str(found.path), "is_complete": found.is_complete})
    else:
        print_summary(found.summary)
        click.echo(f"evidence: {found.path}")


@contextmanager
def _progress(*, quiet: bool) -> Iterator[OnProgress | None]:
    """A bar over the bytes that are read, on a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("reading outputs"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(file=bare(sys.stderr)), transient=True) as progress:
        bar = progress.add_task("reading", total=None)
        # Logs and files that jobs were given are read too, so that a little more is read than is known of.
        yield lambda done, total: progress.update(bar, completed=done, total=max(done, total))


@click.group()
async def evidence() -> None:
    """Check the evidence of runs."""


@evidence.command(short_help="Show how the run of a bundle stood.")
@click.argument("folder", metavar="DIR", type=_FOLDER)
@json_option
async def show(folder: Path, as_json: bool) -> None:
    """Show what a bundle says of its run: the same as `run status`, without any store."""
    import trio

    from matterstack.evidence.importing import look_at_bundle

    _print_bundle(await trio.to_thread.run_sync(look_at_bundle, folder), as_json)


@evidence.command(short_help="Check a bundle.")
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option("--against-store", is_flag=True, help="Compare it as well with the store of the root.")
@click.option(
    "--head",
    metavar="HASH",
    help="Prove that no event up to the one with this head was changed, and tell which came after it.",
)
@click.option(
    "--allowed-signers",
    metavar="FILE",
    type=_FOLDER,
    help="Whose signature counts, as in ssh-keygen(1): without a good one of theirs it fails.",
)
@click.option("--strict", is_flag=True, help="Exit with 6 where something was checked less strongly.")
@json_option
@click.pass_context
async def verify(
    context: click.Context,
    folder: Path,
    against_store: bool,
    head: str | None,
    allowed_signers: Path | None,
    strict: bool,
    as_json: bool,
) -> None:
    """Check a bundle: that nothing was changed, is missing or was added, and that all of it fits together.

    No store is needed, and no root: a copy of the folder is enough.  Exits with 1 if something does not fit.
    """
    import attrs
    import trio

    from matterstack.cli.printing import print_json, print_table
    from matterstack.core.shown_text import shown
    from matterstack.evidence.contents import EVENTS
    from matterstack.evidence.head_search import later_in_store, search_head
    from matterstack.evidence.manifest import SIGNATURE
    from matterstack.evidence.signing import signature_words, verify_signature
    from matterstack.evidence.verify import Finding, examine_bundle

    root = current_root(context) if against_store else None
    search = None if head is None else await trio.to_thread.run_sync(search_head, folder, head)
    found = await trio.to_thread.run_sync(examine_bundle, folder, root)
    if search is not None and not search.is_found:
        found = attrs.evolve(found, findings=(Finding(EVENTS, search.problem), *found.findings))
    signature = await trio.to_thread.run_sync(verify_signature, folder, allowed_signers)
    if signature.problem:
        found = attrs.evolve(found, findings=(*found.findings, Finding(SIGNATURE, signature.problem)))
    later = () if root is None else await trio.to_thread.run_sync(later_in_store, folder, root)
    if as_json:
        head_found = {} if search is None else {"head": attrs.asdict(search)}
        known = {} if root is None else {"store": {"later": [attrs.asdict(event) for event in later]}}
        print_json({**_verification(found), "signature": attrs.asdict(signature), **head_found, **known})
    elif found.findings:
        print_table(("file", "problem"), ((shown(f.path), shown(f.problem)) for f in found.findings))
    else:
        _print_strength(found)
    if search is not None and search.is_found and not as_json:
        where = f"event {search.seq} ({shown(search.at)})"
        click.echo(f"the head is that of {where}: no event up to it was changed")
        _print_later("came after it", search.later)
    if root is not None and not as_json:
        _print_later("of the store came after the last one of the bundle", later)
    if not as_json and (words := signature_words(signature)):
        click.echo(shown(words))
    if found.findings:
        raise click.exceptions.Exit(1)
    if strict and found.is_weaker:
        raise click.exceptions.Exit(WEAKER_EXIT_CODE)


def _verification(found: Verification) -> dict[str, Any]:
    import attrs

    return {
        "ok": found.is_whole,
        "problems": [attrs.asdict(finding) for finding in found.findings],
        "seq": found.seq,
        "checks": {strength.value: count for strength, count in found.counts()},
        "files": [{"path": path, "check": check.value} for path, check in sorted(found.checks.items())],
        "absent": list(found.absent),
        "not_bound": list(found.unbound),
    }


def _print_strength(found: Verification) -> None:
    from matterstack.cli.printing import print_table
    from matterstack.core.shown_text import shown
    from matterstack.evidence.strength import MEANS

    click.echo(f"everything fits: files, events, report and crate, as of event {found.seq}")
    rows = [(strength.value, str(count), MEANS[strength]) for strength, count in found.counts()]
    print_table(("check", "files", "what it says"), rows)
    for title, texts in (
        ("less strongly", [f"{shown(path)}: {check.value}" for path, check in found.weaker()]),
        ("not in the bundle", [shown(text) for text in found.absent]),
        ("bound by no event", [shown(text) for text in found.unbound]),
    ):
        if texts:
            click.echo(f"{title}:")
        for text in texts[:MOST_LISTED]:
            click.echo(f"  {text}")
        if len(texts) > MOST_LISTED:
            click.echo(f"  and {len(texts) - MOST_LISTED} more (all of them with --json)")


def _print_later(what: str, later: Sequence[LaterEvent]) -> None:
    from matterstack.core.shown_text import shown

    if not later:
        click.echo(f"no event {what}")
        return
    click.echo(f"{len(later)} events {what}:")
    for event in later[:MOST_LATER]:
        click.echo(f"  {event.seq}  {shown(event.at)}  {shown(event.type)}")
    if len(later) > MOST_LATER:
        click.echo(f"  and {len(later) - MOST_LATER} more; --json has them all")
