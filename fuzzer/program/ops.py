# SPDX-License-Identifier: GPL-2.0-only
"""The operations of a program: what each actor of the modelled system may be told to do.

Every operation is one flow of reference_mmu.  `uid` names it for ever: dropping operations from a program does not
renumber the others, and a guest store writes uid + 1, so contents say who wrote them.  `resched` is a bit mask: bit n
makes need_resched() true once in region n (of one page table's span) while the operation walks page tables, and the
(n + 1)-th time that kvm_zap_obsolete_pages() asks, whose pages are in no order of addresses.
"""

from typing import Final

import msgspec


class Operation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", omit_defaults=True):
    """Base of all operations."""

    uid: int


class Read(Operation, frozen=True, tag="read"):
    """Guest load; `upgrade_fails`: GUP-fast for writing fails for a read fault, as it may at any time. Where the guest
    has page tables of its own, the `gfn` of an access is a virtual page."""

    gfn: int
    upgrade_fails: bool = False


class Write(Operation, frozen=True, tag="write"):
    """Guest store."""

    gfn: int


class Prefetch(Operation, frozen=True, tag="prefetch"):
    """An asynchronous page fault has completed: map the page before the guest touches it."""

    gfn: int
    upgrade_fails: bool = False
    write: bool = False


class Nested(Operation, frozen=True, tag="nested"):
    """Enter L2, or leave it: the vCPU changes to the root of the other role."""


class WritePte(Operation, frozen=True, tag="write-pte"):
    """Guest store to entry `index` of its page table, which it sees at virtual page `gfn`; a `target` of -1 makes the
    entry not present."""

    gfn: int
    index: int
    target: int = -1
    writable: bool = True
    executable: bool = True
    accessed: bool = True
    dirty: bool = True


class Invlpg(Operation, frozen=True, tag="invlpg"):
    """The guest flushes one virtual page."""

    gfn: int


class LoadCr3(Operation, frozen=True, tag="load-cr3"):
    """The guest loads the root table at gfn `table`, and flushes with that. In L2: INVEPT, and entry with that EPT."""

    table: int


class ClearFlushYoung(Operation, frozen=True, tag="clear-flush-young"):
    hva: int
    npages: int


class ClearYoung(Operation, frozen=True, tag="clear-young"):
    hva: int
    npages: int


class TestYoung(Operation, frozen=True, tag="test-young"):
    hva: int


class NumaHint(Operation, frozen=True, tag="numa-hint"):
    """Invalidate without changing the pages."""

    hva: int
    npages: int
    resched: int = 0


class Migrate(Operation, frozen=True, tag="migrate"):
    hva: int
    resched: int = 0


class Reclaim(Operation, frozen=True, tag="reclaim"):
    hva: int
    resched: int = 0


class Writeback(Operation, frozen=True, tag="writeback"):
    hva: int
    resched: int = 0


class Share(Operation, frozen=True, tag="share"):
    """fork() or KSM: copy-on-write from now on."""

    hva: int
    resched: int = 0


class Discard(Operation, frozen=True, tag="discard"):
    """MADV_DONTNEED."""

    hva: int
    npages: int
    resched: int = 0


class CollapseHuge(Operation, frozen=True, tag="collapse-huge"):
    """khugepaged makes a huge page of the block around hva."""

    hva: int
    resched: int = 0


class EnableLog(Operation, frozen=True, tag="enable-log"):
    slot: int
    resched: int = 0


class GetLog(Operation, frozen=True, tag="get-log"):
    slot: int
    resched: int = 0


class ClearLog(Operation, frozen=True, tag="clear-log"):
    """KVM_CLEAR_DIRTY_LOG for gfns [first, first + npages) of the slot, rounded out to bitmap words."""

    slot: int
    first: int
    npages: int
    resched: int = 0


class DisableLog(Operation, frozen=True, tag="disable-log"):
    slot: int
    resched: int = 0


class DeleteSlot(Operation, frozen=True, tag="delete-slot"):
    slot: int
    resched: int = 0


class CreateSlot(Operation, frozen=True, tag="create-slot"):
    slot: int


class MoveSlot(Operation, frozen=True, tag="move-slot"):
    slot: int
    base: int
    resched: int = 0


class Track(Operation, frozen=True, tag="track"):
    """Add write tracking of a gfn (a device model that shadows a guest table)."""

    gfn: int


class Untrack(Operation, frozen=True, tag="untrack"):
    gfn: int


class ZapRange(Operation, frozen=True, tag="zap-range"):
    """kvm_zap_gfn_range(), e.g. after a change of memory type."""

    gfn: int
    npages: int
    resched: int = 0


VcpuOperation = Read | Write | Prefetch | Nested | WritePte | Invlpg | LoadCr3
MmOperation = (
    ClearFlushYoung | ClearYoung | TestYoung | NumaHint | Migrate | Reclaim | Writeback | Share | Discard | CollapseHuge
)
IoctlOperation = EnableLog | GetLog | ClearLog | DisableLog | DeleteSlot | CreateSlot | MoveSlot
DeviceOperation = Track | Untrack | ZapRange
AnyOperation = VcpuOperation | MmOperation | IoctlOperation | DeviceOperation

# Which operations an actor of each kind may have; a vCPU's are its own, the others any thread may do.
KINDS: Final[dict[str, tuple[type[Operation], ...]]] = {
    "vcpu": (Read, Write, Prefetch, Nested, WritePte, Invlpg, LoadCr3),
    "mm": (
        ClearFlushYoung,
        ClearYoung,
        TestYoung,
        NumaHint,
        Migrate,
        Reclaim,
        Writeback,
        Share,
        Discard,
        CollapseHuge,
    ),
    "ioctl": (EnableLog, GetLog, ClearLog, DisableLog, DeleteSlot, CreateSlot, MoveSlot),
    "device": (Track, Untrack, ZapRange),
}

# Those that walk page tables and have a say in when they reschedule.
RESCHEDULED: Final[frozenset[type[Operation]]] = frozenset(
    kind for kinds in KINDS.values() for kind in kinds if "resched" in kind.__struct_fields__
)
