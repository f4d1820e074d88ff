# SPDX-License-Identifier: GPL-2.0-only
"""Renew the golden programs after a change of the model: `python -m tests.programs.renew [NAME]...`, all without names.

Program, switches and finding stay; of a file that is not reproduced exactly any more the recorded trace becomes that of
now, and FILE.txt becomes what `mmufuzz replay` prints. A file whose finding does not show any more is left alone, with
exit code 1: either the change of the model is wrong, or the story is history.
"""

import sys
from contextlib import chdir
from pathlib import Path
from typing import Final

from click.testing import CliRunner

from cli.main import cli
from fuzzer.recheck import recheck
from fuzzer.reproducer import Reproducer, decode_reproducer, encode_reproducer, make_reproducer

ROOT: Final = Path(__file__).parent.parent.parent
FOLDER: Final = Path(__file__).parent
WIDTH: Final = 140


class Gone(Exception):
    """The finding does not show any more."""


def renewed(reproducer: Reproducer) -> Reproducer:
    """The same story with the trace of now; the very same object if it is reproduced exactly. Raises Gone."""
    outcome = reproducer.run()
    check = recheck(reproducer, outcome)
    if not check.finding_shows:
        raise Gone(f"the finding does not show any more; first diverging step: {check.diverging_step or 'none'}")
    if check.reproduced():
        return reproducer
    scenario, finding = reproducer.scenario(), reproducer.finding
    profile = reproducer.profile or ""
    return make_reproducer(reproducer.comparison(), scenario, outcome, finding, reproducer.complete, profile)


def printed(file: Path) -> tuple[int, str]:
    """Exit code and output of `mmufuzz replay`, typed at the top of the checkout, WIDTH columns wide."""
    with chdir(ROOT):
        runner = CliRunner(env={"COLUMNS": str(WIDTH), "MMUFUZZ_CORE": "interpreted"})
        told = runner.invoke(cli, ["replay", file.relative_to(ROOT).as_posix()])
    return told.exit_code, told.output


def renew(file: Path) -> str:
    """Renew one file and the text beside it; returns what was done. Raises Gone."""
    before = decode_reproducer(file.read_bytes())
    after = renewed(before)
    if after is not before:
        file.write_bytes(encode_reproducer(after))
    code, text = printed(file)
    assert code == 0, text
    file.with_suffix(".txt").write_text(text, encoding="utf-8")
    return "reproduced exactly" if after is before else "has a new trace"


def main(names: list[str]) -> int:
    """Renew the named files; returns the exit code."""
    files = [FOLDER / f"{name}.json" for name in names] or sorted(FOLDER.glob("*.json"))
    missing = [file.stem for file in files if not file.exists()]
    if missing:
        print(f"there is no {missing[0]}.json in {FOLDER.relative_to(ROOT)}", file=sys.stderr)
        return 2
    failed = 0
    for file in files:
        try:
            print(f"{file.stem}: {renew(file)}")
        except Gone as gone:
            print(f"{file.stem}: NOT renewed: {gone}", file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
