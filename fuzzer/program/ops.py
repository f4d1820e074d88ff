# SPDX-License-Identifier: GPL-2.0-only
"""The operations of a program: what each actor of the modelled system may be told to do.

Every operation is one flow of reference_mmu.  `uid` names it for ever: dropping operations from a program does not
renumber the others, and a guest store writes uid + 1, so contents say who wrote them.  `resched` is a bit mask: bit n
makes need_resched() true once in region n (of one page table's span) while the operation walks page tables, and the
(n + 1)-th time that kvm_zap_obsolete_pages() asks, whose pages are in no order of addresses, or
kvm_mmu_zap_memslot_pages_and_flush(), when the walk before it has asked for the regions.  With RESCHED_LASTS it is not
once: somebody goes on waiting.

A new operation is a Struct here, in the union of those who may do it; its flow, with a number, in
reference_mmu/x86/operations.py; and a weight in fuzzer/program/profile.py. All else follows from the types of its
fields.
"""

import re
from typing import ClassVar, Final, get_args

from fuzzer.program.arguments import (
    STARTS,
    Argument,
    FilePage,
    Flag,
    Gfn,
    GuestPage,
    Hva,
    Index,
    Mishap,
    NewBase,
    Pages,
    Resched,
    Right,
    SlotNumber,
    SlotPage,
    Target,
    arguments_of,
)
from fuzzer.program.need import (
    APIC_PAGE,
    ARM64,
    DIRTY_LOG,
    GUEST_MEMFD,
    GUEST_TABLES,
    HV,
    INVLPG_FLUSHES,
    NESTED_ROOTS,
    PR,
    S390,
    SMALLER_THAN_1G,
    X86,
    Need,
)
from reference_mmu.record import Record


def tag_of(name: str) -> str:
    """The tag of an operation, which is its name in stored programs, from its class's: "clear-log" of ClearLog."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


class Operation(Record, forbid_unknown_fields=True, tag_field="op", tag=tag_of, omit_defaults=True):
    """Base of all operations. `needs`: what a machine must have for it to make sense."""

    needs: ClassVar[tuple[Need, ...]] = ()
    uid: int


class Access(Operation, kw_only=True):
    """Base of what makes the guest fault, with what may go wrong then: see MISHAP_* in reference_mmu/operations.py."""

    signal: Mishap = False
    killed: Mishap = False
    killed_nowait: Mishap = False
    no_memory: Mishap = False
    garbage: Mishap = False
    no_segment: Mishap = False
    lock_wanted: Mishap = False


class Read(Access):
    """Guest load; `upgrade_fails`: GUP-fast for writing fails for a read fault, as it may at any time. Where the guest
    has page tables of its own, the `gfn` of an access is a virtual page."""

    gfn: GuestPage
    upgrade_fails: Mishap = False


class Write(Access):
    """Guest store."""

    gfn: GuestPage


class Fetch(Operation):
    """The guest fetches an instruction."""

    needs = (ARM64,)
    gfn: GuestPage


class Prefetch(Operation):
    """An asynchronous page fault has completed: map the page before the guest touches it."""

    needs = (X86,)
    gfn: GuestPage
    upgrade_fails: Mishap = False
    write: Flag = False


class Nested(Operation):
    """Enter L2, or leave it: the vCPU changes to the root of the other role."""

    needs = (NESTED_ROOTS,)


class WritePte(Operation):
    """Guest store to entry `index` of its page table, which it sees at virtual page `gfn`; a `target` of -1 makes the
    entry not present."""

    needs = (GUEST_TABLES,)
    gfn: GuestPage
    index: Index
    target: Target = -1
    writable: Right = True
    executable: Right = True
    accessed: Right = True
    dirty: Right = True


class Invlpg(Operation):
    """The guest flushes one virtual page."""

    needs = (GUEST_TABLES, INVLPG_FLUSHES)
    gfn: GuestPage


class LoadCr3(Operation):
    """The guest loads the root table at gfn `table`, and flushes with that. In L2: INVEPT, and entry with that EPT."""

    needs = (GUEST_TABLES,)
    table: Gfn
    lock_wanted: Mishap = False


class MapPage(Operation):
    """KVM maps a page of the guest for itself: an operand that it writes to, such as a VMCB, or reads, such as an MSR
    bitmap."""

    needs = (X86,)
    gfn: Gfn
    write: Flag = False


class PatchDcbz(Operation):
    """The guest is about to execute a page whose dcbz KVM rewrites."""

    needs = (PR,)
    gfn: Gfn


class SharePage(Operation):
    """A secure guest asks the ultravisor to share a page with the hypervisor."""

    needs = (HV,)
    gfn: Gfn


class RunL2(Operation):
    """L1 runs L2 until that exits; KVM has mapped the pages of vmcs12 meanwhile, and the enlightened VMCS."""

    needs = (X86,)
    apic_access: Gfn
    virtual_apic: Gfn
    evmcs: Gfn


class RefreshCache(Operation):
    """KVM looks up the page of a gfn-to-pfn cache."""

    needs = (X86,)
    gfn: Gfn


class RunVsie(Operation):
    """The guest runs a guest of its own: KVM pins its control block, and the block for transaction diagnostics that
    this one points to."""

    needs = (S390,)
    scb: Gfn
    itdb: Gfn


class CreateLapic(Operation):
    """KVM_CREATE_VCPU, as far as the APIC is concerned: the first one has KVM make the memslot of the APIC access page.
    A vCPU that has not done this runs without a virtual APIC."""

    needs = (APIC_PAGE,)
    no_memory: Mishap = False


class AccessApic(Operation):
    """The guest uses its virtual APIC."""

    needs = (APIC_PAGE,)


class AtAddress(Operation):
    """Base of what the primary MMU does with the page at `hva`, or the block around it."""

    hva: Hva
    resched: Resched = 0


class OfAddresses(Operation):
    """Base of what it does with a range of addresses."""

    hva: Hva
    npages: Pages
    resched: Resched = 0


class ClearFlushYoung(Operation):
    hva: Hva
    npages: Pages


class ClearYoung(Operation):
    hva: Hva
    npages: Pages


class TestYoung(Operation):
    hva: Hva


class NumaHint(OfAddresses):
    """Invalidate without changing the pages."""


class Migrate(AtAddress):
    """The page moves to another place."""

    needs = (SMALLER_THAN_1G,)


class Reclaim(AtAddress):
    """In short: nobody waits for a page that is read back."""

    needs = (SMALLER_THAN_1G,)


class Writeback(AtAddress):
    """A dirty page goes to its file."""

    needs = (SMALLER_THAN_1G,)


class Share(AtAddress):
    """fork() or KSM, in short: copy-on-write from now on."""

    needs = (SMALLER_THAN_1G,)


class Discard(OfAddresses):
    """Throw pages away, in short: the same of every kind of memory."""

    needs = (SMALLER_THAN_1G,)


class CollapseHuge(AtAddress):
    """A huge page is made of the block around hva, in short: in one go."""

    needs = (SMALLER_THAN_1G,)


class PageOut(AtAddress):
    """Reclaim: a page that is not young goes to swap, or back to its file, and is freed if nobody else holds it."""


class Populate(Operation):
    """MADV_POPULATE_READ or _WRITE: the process faults a page in, from swap or for the first time."""

    hva: Hva
    write: Flag = False
    resched: Resched = 0


class Truncate(OfAddresses):
    """A hole is punched into a file; nothing happens to other memory."""

    needs = (SMALLER_THAN_1G,)


class Fork(Operation):
    """Private memory is copy-on-write from now on."""

    resched: Resched = 0


class KsmMerge(AtAddress):
    """ksmd finds the contents of an anonymous page in another process, too."""


class Poison(AtAddress):
    """Hardware reports a memory error."""

    needs = (SMALLER_THAN_1G,)


class Munmap(AtAddress):
    """The VMA around hva goes, which is a block."""

    needs = (SMALLER_THAN_1G,)


class Mmap(AtAddress):
    """New anonymous memory in place of the VMA around hva, or where there is none."""

    needs = (SMALLER_THAN_1G,)


class Mprotect(Operation):
    """The VMA around hva becomes read-only, or writable again."""

    needs = (SMALLER_THAN_1G,)

    hva: Hva
    write: Flag = False
    resched: Resched = 0


class DontNeed(OfAddresses):
    """MADV_DONTNEED."""

    needs = (SMALLER_THAN_1G,)


class Collapse(AtAddress):
    """khugepaged makes a huge page of the block around hva."""

    needs = (SMALLER_THAN_1G,)


class PunchHole(Operation):
    """fallocate() takes pages out of the guest_memfd, whoever uses them."""

    needs = (GUEST_MEMFD,)
    index: FilePage
    npages: Pages


class PoisonPrivate(Operation):
    """Hardware reports a memory error of a page of the guest_memfd."""

    needs = (GUEST_MEMFD,)
    index: FilePage


class OfLog(Operation):
    """Base of what is done with all of a memslot's dirty log."""

    needs = (DIRTY_LOG,)
    slot: SlotNumber
    resched: Resched = 0


class Splitting(OfLog):
    """Base of what may have to split huge pages for it; `no_memory`: there is none for page tables."""

    no_memory: Mishap = False


class EnableLog(Splitting):
    """KVM_MEM_LOG_DIRTY_PAGES on."""


class GetLog(Splitting):
    """KVM_GET_DIRTY_LOG."""


class ClearLog(Operation):
    """KVM_CLEAR_DIRTY_LOG for gfns [first, first + npages) of the slot, rounded out to bitmap words."""

    needs = (DIRTY_LOG,)
    slot: SlotNumber
    first: SlotPage
    npages: Pages
    resched: Resched = 0
    no_memory: Mishap = False


class DisableLog(OfLog):
    """KVM_MEM_LOG_DIRTY_PAGES off."""


class DeleteSlot(Operation):
    slot: SlotNumber
    resched: Resched = 0


class CreateSlot(Operation):
    slot: SlotNumber


class MoveSlot(Operation):
    slot: SlotNumber
    base: NewBase
    resched: Resched = 0


class SetAttributes(Operation):
    """KVM_SET_MEMORY_ATTRIBUTES: gfns become private, or shared."""

    needs = (GUEST_MEMFD,)
    gfn: Gfn
    npages: Pages
    private: Flag = False


class CopyTags(Operation):
    """Userspace reads the tags of a page, or writes them: MTE."""

    needs = (ARM64,)
    gfn: Gfn
    from_guest: Flag = False


class Track(Operation):
    """Add write tracking of a gfn (a device model that shadows a guest table)."""

    needs = (X86,)
    gfn: Gfn


class Untrack(Operation):
    needs = (X86,)
    gfn: Gfn


class ZapRange(Operation):
    """kvm_zap_gfn_range(), e.g. after a change of memory type."""

    needs = (X86,)
    gfn: Gfn
    npages: Pages
    resched: Resched = 0


VcpuOperation = (
    Read
    | Write
    | Prefetch
    | Nested
    | WritePte
    | Invlpg
    | LoadCr3
    | MapPage
    | PatchDcbz
    | SharePage
    | RunL2
    | RefreshCache
    | RunVsie
    | CreateLapic
    | AccessApic
    | Fetch
)
MmOperation = (
    ClearFlushYoung
    | ClearYoung
    | TestYoung
    | NumaHint
    | Migrate
    | Reclaim
    | Writeback
    | Share
    | Discard
    | CollapseHuge
    | PageOut
    | Populate
    | Truncate
    | Fork
    | KsmMerge
    | Poison
    | Munmap
    | Mmap
    | Mprotect
    | DontNeed
    | Collapse
    | PunchHole
    | PoisonPrivate
)
IoctlOperation = (
    EnableLog | GetLog | ClearLog | DisableLog | DeleteSlot | CreateSlot | MoveSlot | SetAttributes | CopyTags
)
DeviceOperation = Track | Untrack | ZapRange
AnyOperation = VcpuOperation | MmOperation | IoctlOperation | DeviceOperation

# Which operations an actor of each kind may have; a vCPU's are its own, the others any thread may do.
KINDS: Final[dict[str, tuple[type[Operation], ...]]] = {
    "vcpu": get_args(VcpuOperation),
    "mm": get_args(MmOperation),
    "ioctl": get_args(IoctlOperation),
    "device": get_args(DeviceOperation),
}
# What takes neither mmap_lock nor the locks of pages: no other thread of the host may be at work meanwhile.
ALONE: Final[frozenset[type[Operation]]] = frozenset((Reclaim, Share, Discard, CollapseHuge))
ALL_KINDS: Final[tuple[type[Operation], ...]] = tuple(kind for kinds in KINDS.values() for kind in kinds)

ARGUMENTS: Final[dict[type[Operation], dict[str, Argument]]] = {kind: arguments_of(kind) for kind in ALL_KINDS}
"""The arguments of each kind of operation by the names of their fields."""


def tag(kind: type[Operation]) -> str:
    """The name of a kind of operation in stored programs and for people, e.g. "clear-flush-young"."""
    return str(kind.__struct_config__.tag)


def kind_named(name: str) -> type[Operation] | None:
    """The kind of operation with that tag."""
    return next((kind for kind in ALL_KINDS if tag(kind) == name), None)


def has(kind: type[Operation], argument: Argument) -> bool:
    """Does this kind of operation have an argument of that type?"""
    return argument in ARGUMENTS[kind].values()


def range_of(op: Operation) -> tuple[str, int]:
    """The field that says where the pages begin which an operation is about, and how many these are; ("", 0) if it is
    about no range."""
    start = ""
    for field, argument in ARGUMENTS[type(op)].items():
        if argument in STARTS:
            start = field
        elif argument is Argument.PAGES:
            return start, int(getattr(op, field))
    return "", 0
