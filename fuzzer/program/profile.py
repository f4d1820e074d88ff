# SPDX-License-Identifier: GPL-2.0-only
"""What the generated programs are about, in weights."""

from __future__ import annotations

from typing import Final, Literal

from fuzzer.program import ops
from fuzzer.program.ops import ALL_KINDS, ARGUMENTS, Operation, kind_named, tag
from reference_mmu.config import Backing, Flavour
from reference_mmu.record import Record

# Which operations the generator draws by a weight that they share, each in its own way. What is in none of these rows
# needs a weight of its own, see Profile.added.
DRAWN_BY: Final[dict[str, tuple[type[Operation], ...]]] = {
    "reads": (ops.Read,),
    "writes": (ops.Write,),
    "prefetch": (ops.Prefetch,),
    "nested": (ops.Nested,),
    "guest_tables": (ops.WritePte, ops.Invlpg, ops.LoadCr3),
    "apic": (ops.CreateLapic, ops.AccessApic),
    "aging": (ops.ClearFlushYoung, ops.ClearYoung, ops.TestYoung),
    "invalidation": (
        ops.NumaHint,
        ops.Discard,
        ops.Migrate,
        ops.Reclaim,
        ops.Writeback,
        ops.Share,
        ops.CollapseHuge,
        ops.PageOut,
        ops.Populate,
        ops.Truncate,
        ops.Fork,
        ops.KsmMerge,
        ops.Poison,
        ops.Munmap,
        ops.Mmap,
        ops.Mprotect,
        ops.DontNeed,
        ops.Collapse,
    ),
    "logging": (ops.EnableLog, ops.GetLog, ops.ClearLog, ops.DisableLog),
    "slots": (ops.DeleteSlot, ops.CreateSlot, ops.MoveSlot),
    "tracking": (ops.Track, ops.Untrack, ops.ZapRange),
}
GMEM_OF: Final = 6
"""What Profile.gmem is a part of."""
GIGANTIC_OF: Final = 4
"""What Profile.gigantic is a part of."""
MISHAPS_OF: Final = 8
"""What Profile.mishaps is a part of."""
ADDED_OF: Final = 12
"""What a weight in Profile.added is a part of."""


# Memory as guests have it, and what the rest of the kernel may hand to KVM.
_MOSTLY_PAGED: Final[tuple[Backing, ...]] = ("anon", "file", "shmem", "cow", "untouched", "swapped", "ksm") * 2
_PFNMAPS: Final[tuple[Backing, ...]] = (
    *("pfnmap-nostruct", "pfnmap-refcounted", "pfnmap-unrefcounted", "pfnmap-reserved"),
)
_SELDOM_SEEN: Final[tuple[Backing, ...]] = (
    *("hugetlb", "fsdax", "devdax"),
    *_PFNMAPS,
    *("hwpoison", "readonly"),
)
# What threads of the host do at the same time.
_HOST: Final = (
    *("page-out", "page-out", "page-out", "populate", "migrate", "writeback", "truncate", "fork", "ksm-merge"),
    *("poison", "munmap", "mmap", "mprotect", "mprotect", "dont-need", "dont-need", "collapse", "collapse"),
    "numa-hint",
)


class Profile(Record, forbid_unknown_fields=True):
    """Weights of what is generated; a weight of 0 leaves it out. `paging`, `mmu` and other tuples are what is drawn
    from, each as often as the others. On an architecture that has not what an operation needs, its weight is 0."""

    name: str
    about: str
    arch: tuple[str, ...] = ("x86",)
    flavours: tuple[Flavour, ...] = ()  # of powerpc, which of its MMUs
    mmu: tuple[Literal["tdp", "shadow"], ...] = ("tdp", "tdp", "tdp", "shadow")
    paging: tuple[Literal["ept-ad", "ept-ad-nopml", "ept-noad", "npt"], ...] = (
        "ept-ad",
        "ept-ad-nopml",
        "ept-noad",
        "npt",
    )
    reads: int = 12  # of a vCPU, beside writes, prefetch and nested
    writes: int = 12
    aging: int = 4
    invalidation: int = 4
    logging: int = 6
    slots: int = 1
    tracking: int = 1
    prefetch: int = 1
    nested: int = 1
    huge: int = 3
    hot: int = 2  # of 6 addresses, how many are the first page of a slot, where actors meet
    third_vcpu: int = 1  # of 4 machines, how many have three vCPUs and not two
    vcpu_ops: int = 4  # operations of one vCPU, at most; two at least
    mm_ops: int = 3  # operations of the primary MMU, at most
    mm_threads: int = 1  # of the host that do them, at most
    readonly: int = 1  # of 4 read faults, how many map read-only, since GUP-fast for writing fails
    ioctls: int = 3  # ioctls of one thread, at most
    backings: tuple[Backing, ...] = ("anon", "file", "shmem", "cow", "anon")  # of a block that is not "thp" by `huge`
    invalidations: tuple[str, ...] = (
        "numa-hint",
        "discard",
        "migrate",
        "reclaim",
        "reclaim",
        "writeback",
        "share",
        "collapse-huge",
    )
    manual: int = 1  # of 3 machines, how many clear their log by hand (half of these start it all set)
    quirk: int = 2  # of 3 machines, how many zap everything for one slot
    one_slot: int = 2  # of 3 machines, how many have a single slot
    aligned: int = 1  # of 2 machines with two slots, how many have the second begin at a huge page, which is 4 pages
    gaps: tuple[int, ...] = (0, 4)  # pages between two slots
    word_gfns: tuple[int, ...] = (2, 4)  # pages per word of the dirty bitmap
    mixes: tuple[str, ...] = ()  # half of the programs come from these profiles, each as often as the others
    shares: tuple[tuple[str, int], ...] = ()  # of a blend: all programs come from these profiles, see blend.py
    guest_tables: int = 0  # stores to guest page tables and guest flushes; 0: an MMU without guest page tables
    apic: int = 0  # accesses to the virtual APIC, of a vCPU; 0: a machine without
    mishaps: int = 0  # of MISHAPS_OF accesses, how many meet one: a signal, a kill, no memory, garbage on the stack
    gmem: int = 0  # of GMEM_OF memslots, how many have a guest_memfd
    gigantic: int = 0  # of GIGANTIC_OF huge pages, how many are of 1G; 0: machines have none
    guest_roots: int = 1  # root tables of the guest; with more than one, tables and memory are in two memslots
    added: tuple[tuple[str, int], ...] = ()
    """Kinds of operations, e.g. ("share", 2), each with the number of operations, of ADDED_OF that an actor may do who
    may do this one, before which one is added. All other operations of a program stay as they are without it: each of
    these is drawn from a stream of its own."""
    met: tuple[tuple[str, str, int], ...] = ()
    """Kinds of operations, each with a mishap that it has (`no_memory`), and how many of MISHAPS_OF meet it. Drawn from
    a stream of its own, too."""

    def __post_init__(self) -> None:
        """Raises ValueError for a weight of no operation, or a mishap that an operation has not."""
        for name, mishap, _ in self.met:
            kind = kind_named(name)
            if kind is None or mishap not in ARGUMENTS[kind]:
                raise ValueError(f"profile {self.name} has a weight for {name!r} with {mishap!r}, which it has not")
        for name in (*self.invalidations, *dict(self.added)):
            kind = kind_named(name)
            if kind is None:
                raise ValueError(
                    f"profile {self.name} has a weight for {name!r}, which is no operation: add it to "
                    "fuzzer/program/ops.py, or correct the name in fuzzer/program/profile.py"
                )
            if name in self.invalidations and kind not in DRAWN_BY["invalidation"]:
                raise ValueError(f"profile {self.name}: {name!r} is no invalidation; give it a weight in `added`")

    def weights(self) -> dict[type[Operation], int]:
        """Weights of the operations in `added`, without those that are 0."""
        return {kind: weight for name, weight in self.added if weight and (kind := kind_named(name))}


# All but "thp", "file" and "shmem", which GUP gets as it gets anonymous memory.
_EVERY_KIND: Final[tuple[Backing, ...]] = ("anon", "cow", "ksm", "untouched", "swapped", *_SELDOM_SEEN)

PROFILES: Final[dict[str, Profile]] = {
    profile.name: profile
    for profile in (
        Profile(
            "mixed",
            "a bit of everything",
            hot=3,
            mm_ops=4,
            mixes=("harvest", "slots", "reclaim", "guest-tables", "guest-roots"),
        ),
        Profile(
            "aging",
            "young bits under access, and while memslots go",
            aging=12,
            invalidation=1,
            logging=1,
            slots=4,
            tracking=0,
            hot=4,
            mm_ops=5,
        ),
        Profile(
            "log", "dirty logging switched on, harvested and off again", aging=1, invalidation=2, logging=10, huge=6
        ),
        Profile(
            "zap", "invalidation, reclaim, migration, memslot changes", aging=1, invalidation=8, logging=2, slots=4
        ),
        Profile("shadow", "the shadow MMU only", mmu=("shadow",), nested=0),
        Profile("tdp", "the TDP MMU only", mmu=("tdp",)),
        Profile(
            "harvest",
            "logging switched on and harvested over huge pages, words and slots that do not fit each other",
            paging=("ept-ad", "ept-ad", "ept-ad", "ept-ad-nopml", "ept-noad", "npt"),
            aging=3,
            invalidation=1,
            logging=10,
            slots=0,
            tracking=0,
            prefetch=12,
            nested=0,
            huge=4,
            hot=4,
            mm_ops=2,
            ioctls=4,
            manual=2,
            aligned=0,
            word_gfns=(4, 8),
        ),
        Profile(
            "slots",
            "memslots that share page tables deleted, moved and made again under faults",
            mmu=("tdp", "shadow", "shadow", "shadow"),
            aging=1,
            invalidation=1,
            logging=1,
            slots=9,
            tracking=0,
            prefetch=3,
            nested=0,
            huge=0,
            mm_ops=1,
            ioctls=2,
            readonly=3,
            backings=("anon", "cow"),
            one_slot=1,
            aligned=0,
            gaps=(0,),
        ),
        Profile(
            "reclaim",
            "shmem pages, clean until somebody says otherwise, migrated and reclaimed",
            mmu=("tdp", "shadow"),
            aging=2,
            invalidation=9,
            logging=1,
            slots=0,
            tracking=2,
            nested=0,
            huge=0,
            hot=5,
            mm_ops=6,
            backings=("shmem",),
            invalidations=("migrate", "reclaim", "reclaim", "reclaim", "reclaim"),
        ),
        Profile(
            "guest-tables",
            "shadowed guest page tables: write protection, unsync and synchronization",
            mmu=("shadow",),
            aging=2,
            invalidation=2,
            logging=2,
            nested=0,
            huge=1,
            hot=3,
            third_vcpu=2,
            vcpu_ops=6,
            reads=9,
            writes=6,
            guest_tables=12,
            met=(("load-cr3", "lock_wanted", 4),),
        ),
        Profile(
            "guest-roots",
            "shadowed guest page tables with two roots, whose memslots go and come back",
            mmu=("shadow",),
            aging=0,
            invalidation=0,
            logging=1,
            slots=9,
            tracking=0,
            nested=0,
            huge=0,
            hot=2,
            third_vcpu=2,
            vcpu_ops=6,
            reads=9,
            writes=6,
            guest_tables=6,
            guest_roots=2,
            met=(("read", "lock_wanted", 6), ("write", "lock_wanted", 6), ("load-cr3", "lock_wanted", 4)),
        ),
        Profile(
            "pages",
            "kinds of memory: what GUP gets of them, what it refuses, what goes wrong on the way",
            mmu=("tdp", "shadow"),
            logging=2,
            tracking=0,
            huge=0,
            vcpu_ops=5,
            mishaps=2,
            backings=_EVERY_KIND,
        ),
        Profile(
            "gmem",
            "private memory of a guest_memfd: faults, holes, gfns that become shared and private again",
            mmu=("tdp",),
            aging=2,
            invalidation=3,
            logging=3,
            slots=3,
            tracking=0,
            nested=0,
            huge=0,
            hot=3,
            mm_ops=4,
            mm_threads=2,
            mishaps=1,
            backings=("anon", "shmem"),
            invalidations=("numa-hint", "migrate", "page-out", "page-out", "dont-need"),
            gmem=5,
            added=(("punch-hole", 5), ("set-attributes", 8), ("poison-private", 1)),
        ),
        Profile(
            "gigantic",
            "pages of 1G: split for logging and put together again, while others wait for mmu_lock all the time",
            mmu=("tdp", "tdp", "tdp", "shadow"),
            aging=3,
            invalidation=3,
            logging=9,
            slots=1,
            huge=5,
            hot=3,
            vcpu_ops=5,
            mm_ops=2,
            ioctls=4,
            invalidations=("numa-hint",),
            gigantic=3,
        ),
        Profile(
            "arm64",
            "stage-2 tables of arm64: faults that break before they make, blocks, access flags, dirty logging",
            arch=("arm64",),
            aging=5,
            invalidation=6,
            hot=3,
            mm_ops=4,
        ),
        Profile(
            "arm64-pages",
            "the same over every kind of memory, and what goes wrong when it is looked up",
            arch=("arm64",),
            logging=3,
            huge=1,
            hot=3,
            vcpu_ops=5,
            mishaps=2,
            backings=_EVERY_KIND,
            added=(("fetch", 1),),
        ),
        Profile(
            "arm64-mte",
            "tags of memory of every kind, read and written by userspace",
            arch=("arm64",),
            aging=1,
            invalidation=6,
            logging=6,
            slots=4,
            huge=1,
            hot=4,
            mm_ops=4,
            ioctls=4,
            backings=(*_EVERY_KIND, "shmem", "shmem", "shmem"),  # of which reclaim drops what nobody marked
            added=(("copy-tags", 12),),
        ),
        Profile(
            "vcpu-map",
            "pages that KVM maps for itself, whatever the host does with them meanwhile",
            aging=1,
            invalidation=6,
            logging=3,
            tracking=0,
            prefetch=0,
            huge=1,
            hot=4,
            backings=(
                "anon",
                "anon",
                "shmem",
                "cow",
                "ksm",
                "untouched",
                "fsdax",
                *_PFNMAPS,
                "hwpoison",
                "readonly",
            ),
            added=(("map-page", 8), ("run-l2", 3), ("refresh-cache", 3)),
        ),
        Profile(
            "apic-page",
            "the APIC access page, looked up anew by vCPUs whenever the host takes it away",
            paging=("ept-ad", "ept-ad-nopml", "ept-noad"),
            reads=0,
            writes=0,
            nested=4,
            apic=8,
            aging=1,
            invalidation=8,
            logging=0,
            slots=0,
            tracking=0,
            prefetch=0,
            huge=1,
            hot=4,
            mm_ops=5,
            invalidations=("numa-hint", "migrate", "page-out", "page-out", "fork", "populate", "dont-need"),
            met=(("create-lapic", "no_memory", 1),),
        ),
        Profile(
            "powerpc",
            "the tables of HV mode, Radix and hashed, over memory of several kinds",
            arch=("powerpc",),
            flavours=("book3s_radix", "book3s_hv"),
            invalidation=6,
            hot=4,
            manual=0,
            backings=("anon", "file", "shmem", "cow", "untouched"),
        ),
        Profile(
            "powerpc-pr",
            "PR mode: entries that KVM puts into the host's hashed table, patched instructions",
            arch=("powerpc",),
            flavours=("book3s_pr", "book3s_pr", "book3s_pr_32"),
            aging=1,
            invalidation=6,
            logging=0,
            slots=0,
            huge=1,
            hot=4,
            mishaps=1,
            backings=("anon", "file", "shmem", "cow", "untouched"),
            added=(("patch-dcbz", 2),),
            met=(("read", "no_segment", 1), ("write", "no_segment", 1)),
        ),
        Profile(
            "powerpc-pr-log",
            "PR mode with dirty logging, which drops all entries of a memslot when its log is read",
            arch=("powerpc",),
            flavours=("book3s_pr", "book3s_pr", "book3s_pr_32"),
            aging=1,
            invalidation=1,
            logging=10,
            slots=0,
            huge=0,
            hot=4,
            vcpu_ops=5,
            ioctls=4,
            manual=0,
            backings=("anon", "shmem", "cow"),
        ),
        Profile(
            "powerpc-uv",
            "secure guests of HV mode that share pages",
            arch=("powerpc",),
            flavours=("book3s_radix",),
            logging=0,
            slots=0,
            backings=("anon", "pfnmap-nostruct", "pfnmap-refcounted", "pfnmap-reserved"),
            added=(("share-page", 6),),
        ),
        Profile(
            "e500",
            "the TLBs of e500, filled by KVM, over memory of several kinds",
            arch=("powerpc",),
            flavours=("e500",),
            aging=1,
            invalidation=6,
            logging=0,
            slots=0,
            huge=1,
            hot=4,
            backings=("anon", "file", "shmem", "cow", "pfnmap-refcounted"),
        ),
        Profile(
            "riscv",
            "G-stage tables of RISC-V: faults under a spinlock, huge pages of hugetlbfs, dirty logging",
            arch=("riscv",),
            aging=4,
            invalidation=6,
            logging=3,
            hot=3,
            mm_ops=4,
            mishaps=1,
            backings=("anon", "file", "shmem", "hugetlb", "swapped", "cow"),
        ),
        Profile(
            "loongarch",
            "tables of LoongArch: fast and slow faults, huge pages, young bits set by KVM, dirty logging",
            arch=("loongarch",),
            aging=6,
            invalidation=6,
            logging=3,
            hot=3,
            mm_ops=4,
            backings=("anon", "file", "shmem", "thp", "fsdax", "swapped", "cow"),
        ),
        Profile(
            "mips",
            "tables of MIPS: fast and slow faults, young bits set by KVM, dirty logging",
            arch=("mips",),
            aging=6,
            invalidation=6,
            logging=3,
            hot=3,
            mm_ops=4,
            backings=("anon", "file", "shmem", "swapped", "cow"),
        ),
        Profile(
            "s390",
            "guests on the page tables of their process, which run guests of their own: vSIE",
            arch=("s390",),
            aging=0,
            invalidation=6,
            logging=8,
            manual=0,
            huge=1,
            hot=4,
            mm_ops=4,
            mishaps=1,
            backings=(
                *("anon", "anon", "file", "shmem", "cow"),
                *("ksm", "untouched", "swapped", "fsdax", "pfnmap-nostruct"),
            ),
            added=(("run-vsie", 8),),
        ),
        Profile(
            "host",
            "every kind of memory, and threads of the host that take it away at the same time",
            mmu=("tdp", "tdp", "shadow"),
            aging=3,
            invalidation=12,
            logging=2,
            nested=0,
            huge=2,
            hot=3,
            mm_ops=5,
            mm_threads=3,
            backings=_MOSTLY_PAGED + _SELDOM_SEEN,
            invalidations=_HOST,
        ),
    )
}


def unweighted() -> list[type[Operation]]:
    """Operations that no program of any profile has."""
    drawn = {kind for kinds in DRAWN_BY.values() for kind in kinds}
    for profile in PROFILES.values():
        drawn.update(profile.weights())
    return [kind for kind in ALL_KINDS if kind not in drawn]


def check_weights() -> None:
    """Raises ValueError for operations that are never drawn."""
    names = ", ".join(map(tag, unweighted()))
    if names:
        raise ValueError(f"without a weight: {names}; give it one in `added` of a profile in fuzzer/program/profile.py")


check_weights()
