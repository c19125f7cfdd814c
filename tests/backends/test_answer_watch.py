"""Answers are noticed at once on a local disk; what that costs is in benchmarks/idle_engine.py."""

from __future__ import annotations

from pathlib import Path

import trio

from matterstack.backends.answer_watch import AnswerWatch

LONG_S = 30.0


async def test_an_answer_in_any_of_the_folders_is_noticed_and_other_files_are_not(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    watch = AnswerWatch()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.serve)
        watch.only(set(folders[:2]))
        watch.also(folders[2])
        with trio.fail_after(LONG_S):
            await watch.wait_change()  # it has begun
            for folder in folders:
                (folder / "notes.txt").write_text("x")
                (folder / ".response.part").write_text("{}")
                (folder / ".response.part").rename(folder / "response.json")
                await watch.wait_change()
        (folders[0] / "notes.txt").write_text("y")
        with trio.move_on_after(1.0) as waited:
            await watch.wait_change()
        assert waited.cancelled_caught, "a file that is no answer woke it up"
        nursery.cancel_scope.cancel()


async def test_a_folder_that_is_not_there_keeps_no_other_from_being_watched(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    watch = AnswerWatch()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.serve)
        watch.only({tmp_path / "gone", tmp_path / "a"})
        with trio.fail_after(LONG_S):
            await watch.wait_change()
            (tmp_path / "a" / "response.json").write_text("{}")
        with trio.move_on_after(LONG_S) as waited:
            await watch.wait_change()
        assert not waited.cancelled_caught, "the answer was not seen"
        nursery.cancel_scope.cancel()


async def test_links_in_a_folder_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "a" / "link").symlink_to(tmp_path / "outside")
    watch = AnswerWatch()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.serve)
        watch.only({tmp_path / "a"})
        with trio.fail_after(LONG_S):
            await watch.wait_change()
        (tmp_path / "outside" / "response.json").write_text("{}")
        with trio.move_on_after(1.0) as waited:
            await watch.wait_change()
        assert waited.cancelled_caught
        nursery.cancel_scope.cancel()
