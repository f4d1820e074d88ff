# SPDX-License-Identifier: GPL-2.0-only
"""Changes of the model as a user would bring them: by file, and as a diff."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import reference_mmu

_ORIGINAL: Final = Path(reference_mmu.__file__).parent


def shipped_source(name: str) -> str:
    """The source of the shipped module file `name`, e.g. "x86/fault.py"."""
    return (_ORIGINAL / name).read_text(encoding="utf-8")


def changed(file: str, before: str, after: str) -> dict[str, str]:
    """The module with the one place that reads `before` changed."""
    text = shipped_source(file)
    assert text.count(before) == 1
    return {file: text.replace(before, after)}


def as_diff(sources: Mapping[str, str]) -> str:
    """As `git diff` would show the change, headers apart."""
    return "".join(unified(file, shipped_source(file), text) for file, text in sources.items())


def taken_back(sources: Mapping[str, str]) -> str:
    """The diff of a checkout whose sources before were these, and are now the shipped ones."""
    return "".join(unified(file, text, shipped_source(file)) for file, text in sources.items())


def unified(file: str, before: str, after: str) -> str:
    was, now = (text.splitlines(keepends=True) for text in (before, after))
    return "".join(difflib.unified_diff(was, now, f"a/reference_mmu/{file}", f"b/reference_mmu/{file}"))


_OWED: Final = "        if flush:\n            yield from kvm_flush_remote_tlbs(kvm, INV_FLUSH)\n"
ALWAYS_FLUSH: Final = as_diff(changed("kvm/mmu_notifier.py", _OWED, _OWED.replace("if flush:", "if True:")))
NO_FLUSH: Final = as_diff(changed("kvm/mmu_notifier.py", _OWED, ""))
FLUSH_AGAIN: Final = taken_back(changed("kvm/mmu_notifier.py", _OWED, ""))
"""What goes on top of NO_FLUSH."""
TWO_PARTS: Final = as_diff(
    {
        "kvm/mmu_notifier.py": changed("kvm/mmu_notifier.py", _OWED, "")["kvm/mmu_notifier.py"].replace(
            "if young and flush_on_ret:", "if young or flush_on_ret:"
        )
    }
)
SAVES: Final = as_diff(
    changed(
        "x86/tdp_mmu/tdp_mmu.py",
        "    if sem.resched_check_before_progress:\n        m.count_check()\n",
        "    if sem.resched_check_before_progress:\n",
    )
)
"""Fewer checks of the iterator, and nothing else."""
METHOD: Final = as_diff(changed("kvm/kvm.py", "page.data = self.uid + 1\n", "page.data = self.uid + 2\n"))
HANGS: Final = as_diff(changed("kvm/mmu_notifier.py", _OWED, "        while flush:\n            pass\n"))
_SEQ: Final = "    yield FAULT_SEQ\n    mmu_seq = m.mmu_invalidate_seq\n    yield FAULT_GUP\n"
NO_PATH: Final = as_diff(
    changed("arm64/fault.py", _SEQ, "    yield FAULT_SEQ\n    yield FAULT_GUP\n    mmu_seq = m.mmu_invalidate_seq\n")
)
"""Where a search of x86 never comes by."""
