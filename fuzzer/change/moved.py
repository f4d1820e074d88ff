# SPDX-License-Identifier: GPL-2.0-only
"""Where the files of reference_mmu went when they moved into rooms named as the kernel's folders, for diffs that are
older than that."""

import re
from typing import Final

_MOVED: Final = {
    "account_shadowed.py": "x86/shadow_mmu/account_shadowed.py",
    "aging.py": "x86/aging.py",
    "dirty_log.py": "x86/dirty_log.py",
    "eager_split.py": "x86/tdp_mmu/eager_split.py",
    "effects.py": "changelog/effects.py",
    "fast_fault.py": "x86/fast_fault.py",
    "fault.py": "x86/fault.py",
    "flush.py": "kvm/flush.py",
    "gpte.py": "x86/shadow_mmu/gpte.py",
    "guest_walk.py": "x86/shadow_mmu/guest_walk.py",
    "gup.py": "mm/gup.py",
    "host.py": "mm/mm.py",
    "hugepage.py": "x86/hugepage.py",
    "indirect_page.py": "x86/shadow_mmu/indirect_page.py",
    "locks.py": "kvm/locks.py",
    "machine.py": "x86/machine.py",
    "memslot_update.py": "kvm/memslot_update.py",
    "memslots.py": "kvm/memslots.py",
    "mmu_spte.py": "x86/shadow_mmu/mmu_spte.py",
    "notifier.py": "kvm/mmu_notifier.py",
    "operations.py": "x86/operations.py",
    "page_table.py": "x86/page_table.py",
    "paging_tmpl.py": "x86/shadow_mmu/paging_tmpl.py",
    "patches.py": "changelog/patches.py",
    "points.py": "x86/points.py",
    "primary.py": "mm/primary.py",
    "ret_pf.py": "x86/ret_pf.py",
    "rmap.py": "x86/shadow_mmu/rmap.py",
    "roots.py": "x86/roots.py",
    "semantics.py": "changelog/semantics.py",
    "shadow.py": "x86/shadow_mmu/direct_map.py",
    "shadow_page.py": "x86/shadow_mmu/shadow_page.py",
    "spte.py": "x86/spte.py",
    "sync.py": "x86/shadow_mmu/sync.py",
    "tdp_iter.py": "x86/tdp_mmu/tdp_iter.py",
    "tdp_mmu.py": "x86/tdp_mmu/tdp_mmu.py",
    "tlb.py": "x86/tlb.py",
    "track_write.py": "x86/shadow_mmu/track_write.py",
    "unsync.py": "x86/shadow_mmu/unsync.py",
    "vcpu.py": "x86/vcpu.py",
    "write_protect.py": "x86/write_protect.py",
    "zap.py": "x86/tdp_mmu/zap.py",
    "zap_range.py": "x86/zap_range.py",
}
_PATH: Final = re.compile(r"^(?:---|\+\+\+) [ab]/reference_mmu/([a-z_]+\.py)$", re.MULTILINE)


def moved_advice(diff: str) -> str:
    """What to say to somebody whose diff names a file at its old place; "" if it names none."""
    moved = sorted({name for name in _PATH.findall(diff) if name in _MOVED})
    if not moved:
        return ""
    told = ", ".join(f"reference_mmu/{name} is reference_mmu/{_MOVED[name]} now" for name in moved)
    return f"; {told}: change the paths in the diff"
