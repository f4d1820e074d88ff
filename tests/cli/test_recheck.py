# SPDX-License-Identifier: GPL-2.0-only
"""Stored reproducers run again by this model and by others, and what people do with the findings, as a shell has it."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from cli.main import cli
from db.history import Histories
from db.rechecks import Seen
from db.schema import FindingState
from db.session import open_database
from db.store import Store
from fuzzer.judge.finding import signature
from fuzzer.reproducer import decode_reproducer, encode_reproducer
from reference_mmu.version import model_version
from tests.changes import NO_FLUSH
from tests.cli.shell import changed_sources, mmufuzz, report_in
from workers.rechecking import rechecked


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the findings of 20 programs."""
    folder = tmp_path_factory.mktemp("recheck")
    run = mmufuzz("run --old no-struct-page --profile tdp --programs 20 --seed 1 --jobs 1", folder)
    assert run.returncode == 0, run.stderr
    return folder


@pytest.fixture(scope="module")
def body(folder: Path) -> bytes:
    return min((folder / "findings").iterdir()).read_bytes()


def command(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, [*words, "--db", f"sqlite:///{folder / 'mmufuzz.db'}"])


def changed(body: bytes, **changes: Any) -> bytes:
    return encode_reproducer(msgspec.structs.replace(decode_reproducer(body), **changes))


class TestRechecked:
    def test_the_same_model(self, body: bytes) -> None:
        assert rechecked(body) == Seen(FindingState.OPEN, "the finding shows, by the very same trace")

    def test_another_trace(self, body: bytes) -> None:
        seen = rechecked(changed(body, digest="0" * 16))
        assert seen == Seen(FindingState.OPEN, "the finding shows, by another trace")

    def test_semantics_without_the_difference(self, body: bytes) -> None:
        """The same steps in two models that are the same: as if the patch had been taken back."""
        reproducer = decode_reproducer(body)
        same = reproducer.old if reproducer.leader == "old" else reproducer.new
        finding = msgspec.structs.replace(reproducer.finding, patches=())
        anew = msgspec.structs.replace(reproducer, old=same, new=same, finding=finding)
        anew = msgspec.structs.replace(anew, signature=signature(anew.finding))
        assert rechecked(encode_reproducer(anew)) == Seen(FindingState.FIXED, "the same steps do not show it any more")

    def test_steps_that_cannot_be_taken(self, body: bytes) -> None:
        reproducer = decode_reproducer(body)
        finding = msgspec.structs.replace(reproducer.finding, patches=())
        anew = msgspec.structs.replace(reproducer, old="old", new="old", finding=finding, steps=("9 9 NOWHERE 9",))
        seen = rechecked(encode_reproducer(msgspec.structs.replace(anew, signature=signature(anew.finding))))
        assert seen.state is FindingState.GONE
        assert seen.why.startswith("its steps cannot be taken: number 1, '9 9 NOWHERE 9', is '")

    @pytest.mark.parametrize(
        ("content", "why"),
        [
            (b"", "not a reproducer: "),
            (b"\xff" * 100, "not a reproducer: "),
            (b"[" * 100_000, "not a reproducer: "),
            (b" " * (2**20 + 1), "reproducer is 1048577 bytes"),
        ],
    )
    def test_what_cannot_be_run(self, content: bytes, why: str) -> None:
        seen = rechecked(content)
        assert seen.state is FindingState.INVALID
        assert seen.why.startswith(why)
        assert seen.why.isprintable()

    def test_an_unknown_patch(self, body: bytes) -> None:
        seen = rechecked(changed(body, old="old+no-such-patch"))
        assert seen.state is FindingState.INVALID
        assert "no-such-patch" in seen.why

    def test_a_change_of_the_model_is_not_run(self, body: bytes) -> None:
        """It would raise if it were loaded."""
        seen = rechecked(changed(body, format=2, diff=NO_FLUSH.replace("@@", "raise SystemExit\n@@", 1)))
        assert seen.state is None
        assert "not run: it brings a change of the model" in seen.why


class TestCommand:
    def test_the_model_that_found_them_has_nothing_to_do(self, folder: Path) -> None:
        result = command(folder, "recheck")
        assert result.exit_code == 0
        assert result.stdout == f"nothing to recheck with model {model_version()}; with --all, everything\n"
        everything = command(folder, "recheck", "--all", "--json", "-")
        assert everything.exit_code == 0
        rows = json.loads(everything.stdout)["rechecked"]
        assert len(rows) == len(list((folder / "findings").iterdir()))
        assert {(row["after"], row["ran"]) for row in rows} == {("open", True)}

    def test_another_model_moves_states(self, folder: Path, tmp_path: Path) -> None:
        """NEW without one of its patches: what that patch alone did is fixed, the rest still shows; and back again."""
        database = f"--db sqlite:///{folder / 'mmufuzz.db'}"
        patch = "elide_tlb_flush_if_young = kvm.elides_tlb_flush_if_young()"
        without = "elide_tlb_flush_if_young = False"
        sources = changed_sources(tmp_path / "sources", "reference_mmu/kvm/mmu_notifier.py", patch, without)
        run = mmufuzz(f"recheck --json report.json --by eve {database}", tmp_path, sources)
        assert run.returncode == 1, run.stderr
        rows = report_in(tmp_path)["rechecked"]
        moved = [row for row in rows if row["before"] != row["after"]]
        assert moved
        assert len(moved) < len(rows)
        assert {row["after"] for row in moved} <= {"fixed", "no-longer-reproduces"}
        again = mmufuzz(f"recheck {database}", tmp_path, sources)
        assert (again.returncode, "nothing to recheck" in again.stdout) == (0, True)
        name = moved[0]["signature"]
        told = command(folder, "findings", "history", name).stdout
        assert f"  eve  recheck  open -> {moved[0]['after']}  model {report_in(tmp_path)['model']}: " in told
        back = command(folder, "recheck", name)
        assert back.exit_code == 1
        assert back.stdout.startswith(f"{moved[0]['after']} -> open  {name}  run 1  ")

    def test_unknown_signature(self, folder: Path) -> None:
        result = command(folder, "recheck", "x")
        assert (result.exit_code, result.stderr) == (
            2,
            "mmufuzz: no finding 'x'; 'mmufuzz findings' lists the signatures\n",
        )


class TestPeople:
    @pytest.fixture
    def names(self, folder: Path) -> list[str]:
        engine = open_database(f"sqlite:///{folder / 'mmufuzz.db'}")
        names = [row.signature for row in Store(engine).findings()]
        engine.dispose()
        return names

    def test_comment_state_history(self, folder: Path, names: list[str]) -> None:
        name = names[0]
        assert command(folder, "findings", "comment", name, "posted", "--by", "eve").exit_code == 0
        moved = command(folder, "findings", "state", name, "invalid", "--why", "no barrier", "--by", "ada")
        assert moved.stdout == f"{name} is invalid\n"
        lines = command(folder, "findings", "history", name).stdout.splitlines()[-2:]
        assert [line.partition(" UTC  ")[2] for line in lines] == [
            "eve  comment  open  posted",
            "ada  state  open -> invalid  no barrier",
        ]
        kept = command(folder, "recheck", name)
        assert kept.exit_code == 0
        assert kept.stdout.startswith(f"invalid  {name}")
        document = json.loads(command(folder, "findings", "history", name, "--json", "-").stdout)
        assert [row["who"] for row in document["history"]][-2:] == ["eve", "ada"]

    def test_merge_and_split(self, folder: Path, names: list[str]) -> None:
        merged, target = names[1], names[2]
        assert command(folder, "findings", "merge", merged, target, "--why", "same").exit_code == 0
        assert merged not in command(folder, "findings").stdout
        assert f"merged       {merged}: same" in command(folder, "findings", "show", target).stdout
        assert command(folder, "findings", "split", merged, "--why", "not the same").exit_code == 0
        assert merged in command(folder, "findings").stdout

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["comment", "x", "text"], "no finding 'x'; "),
            (["comment", "NAME", "two\nlines"], "why: expected 1 to 4096 printable characters; "),
            (
                ["state", "NAME", "mended", "--why", "x"],
                "Invalid value for '{open|fixed|no-longer-reproduces|invalid}'",
            ),
            (["state", "NAME", "fixed"], "Missing option '--why'"),
            (["merge", "NAME", "NAME", "--why", "x"], "NAME' is itself already; "),
            (["split", "NAME", "--why", "x"], "NAME' is not merged into another one; "),
        ],
    )
    def test_bad_input(self, folder: Path, names: list[str], words: list[str], message: str) -> None:
        before = Histories(open_database(f"sqlite:///{folder / 'mmufuzz.db'}")).of(names[3])
        result = command(folder, "findings", *(names[3] if word == "NAME" else word for word in words))
        assert result.exit_code == 2
        assert message.replace("NAME", names[3]) in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert Histories(open_database(f"sqlite:///{folder / 'mmufuzz.db'}")).of(names[3]) == before

    def test_prune(self, folder: Path) -> None:
        dry = command(folder, "prune", "--older-than", "0d")
        assert dry.exit_code == 0
        assert "to delete: 1 campaigns 1" in dry.stdout
        assert "nothing was deleted; add --yes to delete" in dry.stdout
        nothing = command(folder, "prune", "--older-than", "90d", "--yes")
        assert "deleted: 0 campaigns\n" in nothing.stdout
        for age in ("", "90", "-1d", "90m", "99999d"):
            result = command(folder, "prune", "--older-than", age)
            assert result.exit_code == 2
            assert "is no age: give days, weeks or years like 90d, 12w or 2y" in result.stderr
