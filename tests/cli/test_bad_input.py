# SPDX-License-Identifier: GPL-2.0-only
"""Bad input: one line that says what to do, exit code 2, nothing written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from cli.main import cli
from fuzzer.judge.finding import signature
from fuzzer.program.ops import NumaHint, Write
from fuzzer.program.program import Actor, Program
from fuzzer.reproducer import MAX_BYTES
from reference_mmu.config import Config
from tests.changes import NO_FLUSH, as_diff
from tests.cli.made import FINDING, reproducer_file

CRASHES = as_diff({"changelog/effects.py": "1 // 0\n"})

# Words after `run --programs 1 --jobs 1`, and what the line must say.
RUN: list[tuple[str, str]] = [
    ("--old nosuch", "unknown semantics 'nosuch': write old, no-struct-page, new, or +PATCH"),
    ("--new old+age-elides", "did you mean age-elides-tlb-flush"),
    ("--old old-age-elides-tlb-flush", "is off in old already"),
    ("--old new --new old", "NEW is OLD plus patches"),
    ("--profile nosuch", "'nosuch' is none of"),
    ("--arch vax", "'vax' is not one of 'x86', 'arm64', 'powerpc'"),
    ("--arch arm64 --profile tdp", "the profile tdp has no machine of arm64; --profile is one of arm64, arm64-pages"),
    ("--programs 0", "'--programs': 0 is not in the range"),
    ("--seconds 5", "--seconds and --programs exclude each other"),
    ("--jobs 65", "'--jobs': 65 is not in the range 1<=x<=64"),
    ("--seed -1", "'--seed': -1 is not in the range"),
    ("--seed 9999999999999999999", "'--seed'"),
    ("--seed abc", "'abc' is not a valid integer"),
    ("--db nosuch://x", "name another database with --db"),
    ("--db sqlite:///missing/x.db", "No such file or directory; name another database with --db"),
    ("--db sqlite:///file/x.db", "name another database with --db"),
    ("--db sqlite:///file", "name another database with --db"),
    ("--db sqlite://", "lost at exit"),
    ("--db sqlite:///x.db?mode=zz", "SQLite is used without options"),
    ("--db sqlite:///\udcff.db", "not a database URL"),
    ("--profile \x1b[2J", "'\\x1b[2J' is none of"),
    ("--out file", "Not a directory; name another directory"),
    ("--out file/findings", "Not a directory; name another directory"),
    ("--out /proc/findings", "name another directory"),
    ("--json missing/report.json", "No such file or directory; name another file"),
    ("--json .", "is a directory; name a file in it"),
    ("--allow fewer-flushes", "--allow says what a change of --apply may do; a commit's effects are in"),
    ("--base missing.patch", "--base is what a change of --apply goes on top of"),
    (
        "--allow fewer-flush --apply missing.patch",
        "no effect and no group of 'mmufuzz effects'; did you mean fewer-flushes?",
    ),
    ("--apply missing.patch", "missing.patch cannot be read: No such file or directory; make it"),
    ("--apply .", "--apply . cannot be read: Is a directory; make it at the top of the checkout"),
    ("--apply file", "does not apply to the shipped model: No valid patches in input"),
    ("--apply -", "--apply -: the diff is empty; make it at the top of the checkout with 'git diff"),
    ("--nosuch", "No such option '--nosuch'"),
    ("surplus", "unexpected extra argument (surplus); see 'mmufuzz run --help'"),
]

OTHER: list[tuple[str, str]] = [
    ("nosuch", "No such command 'nosuch'; see 'mmufuzz --help'"),
    ("replay", "name a FILE, or a program by --seed; see 'mmufuzz replay --help'"),
    ("replay --profile tdp", "name a FILE, or a program by --seed"),
    ("replay --seed 1 --alone", "--alone is for a reproducer, and this is a program; leave it out"),
    ("replay --seed 1 --resample 3", "--resample is for a reproducer"),
    ("replay --seed 1 --run-change", "--run-change is for a reproducer"),
    ("replay --seed 1 --profile nosuch", "'nosuch' is not one of"),
    ("replay --seed 1 --strategy nosuch", "'nosuch' is not one of"),
    ("replay --seed -1", "'--seed': -1 is not in the range"),
    ("replay --seed 1 --old new --new old", "NEW is OLD plus patches"),
    ("replay --seed 1 --json .", "is a directory; name a file in it"),
    ("replay missing.json", "cannot read missing.json: No such file or directory; 'mmufuzz run' writes"),
    ("replay .", "cannot read .: Is a directory"),
    ("minimize file", "file: not a reproducer"),
    ("minimize missing.json --budget 0", "'--budget': 0 is not in the range"),
    ("findings", "there is no database mmufuzz.db; 'mmufuzz run' makes one"),
    ("findings --db sqlite:///other.db", "there is no database other.db"),
    ("findings --db sqlite:///file", "name another database with --db"),
    ("findings --db nosuch", "not a database URL"),
    ("findings --verdict nosuch", "'nosuch' is not one of"),
    ("findings --campaign 0", "'--campaign': 0 is not in the range"),
    ("findings show x --reproducer missing/x", "No such file or directory"),
    ("findings --json out.json show x", "put it after"),
    ("findings --db sqlite:///\udcff.db", "there is no database \\udcff.db"),
    ("findings show x --db=", "is empty"),
    ("recheck --db=", "is empty"),
    ("migrate up --db=", "is empty"),
    ("campaign list --db=", "not a database URL"),
    ("prune --older-than 9999y", "'--older-than': '9999y' is older than any calendar"),
    ("headline --flush-us nan", "'--flush-us': nan is not in the range"),
    ("headline --flush-us inf", "'--flush-us': inf is not in the range"),
    ("headline --table-us 1e300", "'--table-us': 1e+300 is not in the range"),
    ("patches show nosuch", "unknown patch 'nosuch': 'mmufuzz patches' lists them"),
    ("patches show age-elides", "did you mean age-elides-tlb-flush"),
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with one file in it, that is none of ours."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("not a database\n", encoding="utf-8")
    return tmp_path


def refuse(here: Path, words: list[str], said: str, typed: str | bytes = "") -> None:
    before = sorted((path, path.read_bytes()) for path in here.rglob("*"))
    result = CliRunner().invoke(cli, words, input=typed)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("mmufuzz: ")
    assert result.stderr.count("\n") == 1, result.stderr
    assert said in result.stderr
    assert result.stdout == ""
    assert sorted((path, path.read_bytes()) for path in here.rglob("*")) == before


@pytest.mark.parametrize(("words", "said"), RUN)
def test_run_refuses(here: Path, words: str, said: str) -> None:
    refuse(here, ["run", "--programs", "1", "--jobs", "1", *words.split()], said)


@pytest.mark.parametrize(
    ("diff", "said"),
    [
        (CRASHES, "the changed model does not load: ZeroDivisionError: integer division or modulo by zero; mend"),
        (as_diff({"changelog/effects.py": "X = \n"}), "the changed model does not load: SyntaxError"),
        ("--- /dev/null\n+++ b/other.py\n@@ -0,0 +1 @@\n+X = 1\n", "not remove or touch other.py; mend the change"),
        (NO_FLUSH.replace("flush", "gone"), "patch failed: reference_mmu/kvm/mmu_notifier.py"),
        ("\xe9".encode("latin-1"), "--apply - cannot be read: 'utf-8' codec can't decode"),
        (b"x" * 600_000, "the diff has more than 512 KiB"),
    ],
    ids=["crashes", "no Python", "elsewhere", "another version", "no UTF-8", "too large"],
)
def test_run_refuses_a_change(here: Path, diff: str | bytes, said: str) -> None:
    refuse(here, ["run", "--programs", "1", "--apply", "-"], said, diff)


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--programs", "1", "--out", ""],
        ["run", "--programs", "1", "--db", ""],
        ["expose", "age-elides-tlb-flush", "--out", ""],
        ["export", "file", "--as", "story", "--out", ""],
        ["minimize", "file", "--out", ""],
        ["findings", "--db", ""],
    ],
    ids=lambda words: " ".join((words[0], words[-2])),
)
def test_an_empty_word_is_no_default(here: Path, words: list[str]) -> None:
    refuse(here, words, "not a database URL" if words[0] == "run" and words[-2] == "--db" else "is empty")


@pytest.mark.parametrize(("words", "said"), OTHER)
def test_other_commands_refuse(here: Path, words: str, said: str) -> None:
    refuse(here, words.split(), said)


def good() -> Any:
    """A reproducer that can be replayed, as JSON values."""
    program = Program(Config(), (Actor("vcpu", (Write(0, 1),)), Actor("mm", (NumaHint(1, 0, 4),))))
    return json.loads(reproducer_file(program))


def write(value: Any) -> bytes:
    return json.dumps(value).encode()


def with_config(**fields: Any) -> bytes:
    value = good()
    value["program"]["config"].update(fields)
    return write(value)


def with_finding(**fields: Any) -> bytes:
    finding = msgspec.structs.replace(FINDING, **fields)
    return write(good() | {"finding": msgspec.to_builtins(finding), "signature": signature(finding)})


FILES: list[tuple[str, Callable[[], bytes], str]] = [
    ("empty", lambda: b"", "not a reproducer"),
    ("truncated", lambda: write(good())[:-200], "not a reproducer"),
    ("no text", lambda: b"\xff\xfe", "not a reproducer"),
    ("no UTF-8", lambda: write(good()).replace(b'"old": "old"', b'"old": "\xc3("'), "utf-8"),
    ("nested without end", lambda: b'{"format": 1, "x": ' + b"[" * 100_000, "recursion"),
    ("too large", lambda: b" " * (MAX_BYTES + 1), f"more than {MAX_BYTES}"),
    (
        "newer format",
        lambda: write(good() | {"format": 99}),
        "this version reads formats up to 3: update",
    ),
    ("diff in format 1", lambda: write(good() | {"format": 1, "diff": NO_FLUSH}), "none of its format: 1 has none"),
    ("diff of another model", lambda: write(good() | {"format": 2, "diff": "x"}), "the diff does not apply"),
    (
        "change that does not load",
        lambda: write(good() | {"format": 2, "diff": CRASHES}),
        "not load: ZeroDivision",
    ),
    ("own change without a diff", lambda: with_finding(patches=["own-change"]), "'own-change' is no difference"),
    ("unknown field", lambda: write(good() | {"extra": 1}), "extra"),
    ("unknown patch", lambda: write(good() | {"new": "old+nosuch"}), "unknown patch 'nosuch'"),
    ("unknown point", lambda: write(good() | {"switches": [[0, "no.point", 1, 0]]}), "unknown point 'no.point'"),
    ("no such hva", lambda: with_config(backing=["anon"]), "impossible configuration"),
    ("levels", lambda: with_config(levels=9), "levels is 9, must be 2..5"),
    ("old has more", lambda: write(good() | {"old": "new", "new": "old"}), "old semantics have a patch"),
    ("wrong patch", lambda: write(good() | {"new": "old"}), "is no difference"),
    ("other finding", lambda: write(good() | {"signature": "divergence:x:y:00000000"}), "its signature is not that"),
]


def test_the_file_is_good_before_it_is_spoilt(here: Path) -> None:
    (here / "good.json").write_bytes(write(good()))
    result = CliRunner().invoke(cli, ["replay", "good.json"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("command", ["replay", "minimize"])
@pytest.mark.parametrize(("make", "said"), [row[1:] for row in FILES], ids=[row[0] for row in FILES])
def test_reproducer_is_refused(here: Path, command: str, make: Callable[[], bytes], said: str) -> None:
    (here / "bad.json").write_bytes(make())
    refuse(here, [command, "bad.json", "--run-change"], said)


def program_with(**config: Any) -> bytes:
    program = good()["program"]
    program["config"].update(config)
    return write(program)


PROGRAMS: list[tuple[str, Callable[[], bytes], str, str]] = [
    (
        "no actors",
        lambda: write({"config": {}, "actors": 1}),
        "",
        "Expected `array`, got `int` - at `$.actors`; mend it",
    ),
    ("one word wrong", lambda: write({"config": {}, "actor": []}), "", "unknown field `actor`; mend it"),
    ("half of it", lambda: write({"actors": []}), "", "missing required field `config`; mend it"),
    ("unknown field", lambda: program_with(extra=1), "", "extra"),
    ("levels", lambda: program_with(levels=9), "", "levels is 9, must be 2..5; mend it"),
    ("no such hva", lambda: program_with(backing=["anon"]), "", "impossible configuration"),
    ("much host memory", lambda: program_with(backing=["anon"] * 1000, bits=9), "", "512000 host pages; mend it"),
    ("too large", lambda: program_with() + b" " * MAX_BYTES, "", f"more than {MAX_BYTES}; make it smaller"),
    ("profile", program_with, "--seed 1 --profile tdp", "--profile says how to draw a program, and bad.json is one"),
    ("no finding", program_with, "--alone", "--alone is for a reproducer, and this is a program"),
    ("seed of a reproducer", lambda: write(good()), "--seed 1", "--seed is for a program; bad.json says itself what"),
    ("its strategy", lambda: write(good()), "--strategy pct", "--strategy is for a program; bad.json says itself"),
]


@pytest.mark.parametrize(("make", "words", "said"), [row[1:] for row in PROGRAMS], ids=[row[0] for row in PROGRAMS])
def test_replay_of_a_program_is_refused(here: Path, make: Callable[[], bytes], words: str, said: str) -> None:
    (here / "bad.json").write_bytes(make())
    refuse(here, ["replay", "bad.json", *words.split()], said)


@pytest.mark.parametrize("words", ["minimize", "export --as story"])
def test_what_needs_a_finding_says_what_a_program_is_for(here: Path, words: str) -> None:
    (here / "program.json").write_bytes(program_with())
    said = "program.json is a bare program, with nothing found in it; 'mmufuzz replay program.json' runs it"
    refuse(here, [*words.split(), "program.json"], said)


def test_core_that_cannot_be_had(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise CoreError("MMUFUZZ_CORE=compiled: no core was compiled")

    from fuzzer.compiled import CoreError

    monkeypatch.setattr("cli.main.use_compiled_core", fail)
    refuse(here, ["patches"], "no core was compiled; unset MMUFUZZ_CORE")
