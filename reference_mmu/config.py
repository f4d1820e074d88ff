# SPDX-License-Identifier: GPL-2.0-only
"""What one modelled host and VM look like: paging mode, geometry, memslots, host backing."""

from itertools import pairwise
from typing import Final, Literal

import msgspec

from .record import Record

MAX_VCPUS: Final = 64
MAX_SLOTS: Final = 8
MAX_HVA_PAGES: Final = 1 << 27

# Kinds of memory: reference_mmu/mm/vma.py says what each is.
Backing = Literal[
    "anon",
    "thp",
    "file",
    "shmem",
    "cow",
    "ksm",
    "untouched",
    "swapped",
    "hugetlb",
    "fsdax",
    "devdax",
    "pfnmap-nostruct",
    "pfnmap-refcounted",
    "pfnmap-unrefcounted",
    "pfnmap-reserved",
    "hwpoison",
    "readonly",
]


# Which MMU of powerpc KVM runs the guest on: PR 64-bit and 32-bit are two, others are named as their files.
Flavour = Literal["e500", "book3s_hv", "book3s_radix", "book3s_pr", "book3s_pr_32"]


class ConfigError(ValueError):
    """A configuration no kernel could have; the message is one line and says which rule it breaks."""


UNSET: Final = msgspec.UNSET
"""What a field holds that was not given, for modules that are compiled."""


class SlotConfig(Record, forbid_unknown_fields=True):
    """One memslot: gfns [base, base + npages) backed by host pages [hva, hva + npages). Aligned to nothing.

    `gmem`  guest_memfd_offset, in pages: the gfns are private at the start, and backed by that part of the guest_memfd
            of the machine. Without it the memslot has no private memory.
    """

    base: int
    npages: int
    hva: int
    logging: bool = False
    readonly: bool = False
    gmem: int | msgspec.UnsetType = msgspec.UNSET

    @property
    def gmem_pgoff(self) -> int:
        """The page of the guest_memfd at which it begins, -1: it has none."""
        return -1 if isinstance(self.gmem, msgspec.UnsetType) else self.gmem


class GuestPte(Record, forbid_unknown_fields=True, omit_defaults=True):
    """A present entry of a guest page table: entry `index` of the table at gfn `table` points to `gfn`."""

    table: int
    index: int
    gfn: int
    writable: bool = True
    executable: bool = True
    accessed: bool = False
    dirty: bool = False


class GuestPaging(Record, forbid_unknown_fields=True):
    """The page tables the guest has made in its memory, and the root its vCPUs start with. As many levels as KVM's."""

    cr3: int
    ptes: tuple[GuestPte, ...]


class Config(Record, forbid_unknown_fields=True):
    """Everything about a machine that does not change during a run. Units: pages of 4 KiB unless named otherwise.

    `mmu`      tdp: TDP MMU; shadow: direct MMU of tdp_mmu=N, with rmaps and mmu_lock taken for write.
    `paging`   layout of an SPTE and what hardware does: EPT with A/D bits (with or without PML), EPT without, NPT.
    `bits`     index bits of a page table (9 in hardware); `levels` levels of paging (4 or 5 in hardware).
    `backing`  kind of each naturally aligned block of 2**bits host pages.
    `guest_paging`  the shadow MMU is indirect: it shadows page tables in guest memory, and guest accesses name virtual
               pages. With the NPT layout that is shadow paging, with an EPT layout L1's EPT, all vCPUs being in L2.
    `unsafe_mappings`  allow_unsafe_mappings, the module parameter: KVM may map memory that it cannot pin.
    `arch`     the kernel's name for its folder in arch/; x86 if it is not given.
    `hardware_young`  of a stage-2 table: the page walker sets the young bit of a leaf by itself (arm64's FEAT_HAFDBS,
               RISC-V's Svadu), as it does unless this is false; without that a leaf that is not young faults.
    `flavour`  of powerpc: which MMU; book3s_radix if it is not given.
    `gigantic`  what is hugetlb of naturally aligned 2**(2 * bits) host pages is one page of 1G, mapped by one host PTE
               (a PUD), which nobody can split.
    `apic_page`  where the memslot of the APIC access page goes and the memory that KVM has mapped for it, of VMX; there
               is none if it is not given. The slot is made when the program says so.
    """

    mmu: Literal["tdp", "shadow"] = "tdp"
    paging: Literal["ept-ad", "ept-ad-nopml", "ept-noad", "npt"] = "ept-ad"
    vcpus: int = 2
    bits: int = 2
    levels: int = 3
    slots: tuple[SlotConfig, ...] = (SlotConfig(base=0, npages=8, hva=0),)
    backing: tuple[Backing, ...] = ("anon", "anon")
    eager_split: bool = True
    manual_protect: bool = False
    initially_set: bool = False
    zap_all_quirk: bool = True
    prove_mmu: bool = False
    nested: bool = False
    word_gfns: int = 4
    pml_entries: int = 4
    guest_paging: GuestPaging | msgspec.UnsetType = msgspec.UNSET
    arch: str | msgspec.UnsetType = msgspec.UNSET
    unsafe_mappings: bool | msgspec.UnsetType = msgspec.UNSET
    hardware_young: bool | msgspec.UnsetType = msgspec.UNSET
    flavour: Flavour | msgspec.UnsetType = msgspec.UNSET
    apic_page: SlotConfig | msgspec.UnsetType = msgspec.UNSET
    gigantic: bool | msgspec.UnsetType = msgspec.UNSET

    @property
    def allow_unsafe_mappings(self) -> bool:
        """The module parameter: may KVM keep kernel mappings of memory that it cannot pin?"""
        return self.unsafe_mappings is True

    @property
    def architecture(self) -> str:
        """The kernel's name for its folder in arch/."""
        return "x86" if isinstance(self.arch, msgspec.UnsetType) else self.arch

    @property
    def sets_young(self) -> bool:
        """Does the page walker of a stage-2 table set young bits?"""
        return self.hardware_young is not False

    @property
    def mmu_name(self) -> str:
        """Which of its architecture's MMUs the machine has."""
        if self.architecture != "powerpc":
            return self.mmu
        return "book3s_radix" if isinstance(self.flavour, msgspec.UnsetType) else self.flavour

    @property
    def has_gigantic(self) -> bool:
        """Is there memory in pages of 1G?"""
        return self.gigantic is True

    @property
    def hva_pages(self) -> int:
        """Host pages that exist: the backing blocks, end to end."""
        return len(self.backing) << self.bits

    @property
    def gmem_pages(self) -> int:
        """The size of the guest_memfd, 0: there is none."""
        return max((slot.gmem_pgoff + slot.npages for slot in self.slots if slot.gmem_pgoff >= 0), default=0)

    @property
    def gmem_blocks(self) -> int:
        """The same in blocks of 2**bits pages."""
        return -(-self.gmem_pages >> self.bits)

    @property
    def cr3(self) -> int:
        """gfn of the root of the guest's page tables, -1 where the MMU is direct."""
        return -1 if isinstance(self.guest_paging, msgspec.UnsetType) else self.guest_paging.cr3

    @property
    def guest_ptes(self) -> tuple[GuestPte, ...]:
        """What is in the guest's page tables at the start."""
        return () if isinstance(self.guest_paging, msgspec.UnsetType) else self.guest_paging.ptes

    @property
    def apic_access_page(self) -> SlotConfig | None:
        """The memslot of the APIC access page, None: vCPUs have no virtual APIC."""
        return None if isinstance(self.apic_page, msgspec.UnsetType) else self.apic_page

    def check(self) -> "Config":
        """Return self, or raise ConfigError naming the first rule that is broken."""
        _check_geometry(self)
        _check_modes(self)
        _check_slots(self)
        _check_gmem(self)
        _check_guest_paging(self)
        _check_apic_page(self)
        return self


def words_fit(slot: SlotConfig, word_gfns: int, bits: int) -> bool:
    """Does each word of a slot's dirty bitmap span two huge pages at most? In the kernel a word has 64 gfns, and a huge
    page 512."""
    if word_gfns <= (1 << bits) + 1:
        return True  # wherever it begins
    words = range(slot.base, slot.base + slot.npages, word_gfns)
    return all((word + word_gfns - 1 >> bits) - (word >> bits) <= 1 for word in words)


def _require(condition: bool, rule: str) -> None:
    if not condition:
        raise ConfigError(f"impossible configuration: {rule}")


def _check_geometry(config: Config) -> None:
    _require(1 <= config.vcpus <= MAX_VCPUS, f"vcpus is {config.vcpus}, must be 1..{MAX_VCPUS}")
    _require(1 <= config.bits <= 9, f"bits is {config.bits}, must be 1..9")
    least = 2 if config.architecture == "x86" else 1
    _require(least <= config.levels <= 5, f"levels is {config.levels}, must be {least}..5")
    _require(1 <= config.word_gfns <= 32, f"word_gfns is {config.word_gfns}, must be 1..32")
    _require(1 <= config.pml_entries <= 512, f"pml_entries is {config.pml_entries}, must be 1..512")
    _require(bool(config.backing), "backing is empty")
    _require(config.hva_pages <= MAX_HVA_PAGES, f"more than {MAX_HVA_PAGES} host pages")


def _check_modes(config: Config) -> None:
    _require(config.manual_protect or not config.initially_set, "initially_set needs manual_protect")
    _require(not config.nested or config.mmu == "tdp", "nested roots need mmu=tdp")
    _require(not config.manual_protect or config.architecture != "s390", "s390 has no manual dirty-log protection")
    _require(not config.has_gigantic or config.architecture == "x86", "gigantic needs x86")
    powerpc = config.architecture == "powerpc"
    _require(powerpc or isinstance(config.flavour, msgspec.UnsetType), "a flavour is for arch=powerpc")


def _check_slots(config: Config) -> None:
    _require(1 <= len(config.slots) <= MAX_SLOTS, f"{len(config.slots)} memslots, must be 1..{MAX_SLOTS}")
    gfns = 1 << (config.bits * config.levels)
    end = 0
    for slot in sorted(config.slots, key=lambda s: s.base):
        _require(slot.npages > 0, f"memslot at gfn {slot.base} is empty")
        _require(slot.base >= end, f"memslot at gfn {slot.base} overlaps the one before it")
        _require(
            slot.hva >= 0 and slot.hva + slot.npages <= config.hva_pages, f"memslot at gfn {slot.base}: no such hva"
        )
        _require(not (slot.readonly and slot.logging), f"memslot at gfn {slot.base}: read-only slots do not log")
        _require(
            not slot.readonly or config.architecture != "s390",
            f"memslot at gfn {slot.base}: s390 has no read-only slots",
        )
        _require(
            words_fit(slot, config.word_gfns, config.bits),
            f"memslot at gfn {slot.base}: a word of its dirty bitmap spans three huge pages",
        )
        end = slot.base + slot.npages
    by_hva = sorted(config.slots, key=lambda s: s.hva)
    for slot, after in pairwise(by_hva):
        # The dirty log of one slot would not know of writes through the other.
        _require(slot.hva + slot.npages <= after.hva, f"memslots at gfn {slot.base} and {after.base} share host pages")
    _require(end <= gfns, f"memslot ends at gfn {end}, the page tables reach {gfns}")


def _check_gmem(config: Config) -> None:
    bound = sorted((slot for slot in config.slots if slot.gmem_pgoff != -1), key=lambda slot: slot.gmem_pgoff)
    if not bound:
        return
    _require(config.architecture == "x86" and config.mmu == "tdp", "a guest_memfd needs x86 and mmu=tdp")
    for slot in bound:
        name = f"memslot at gfn {slot.base}"
        _require(slot.gmem_pgoff >= 0, f"{name}: no such page of a guest_memfd")
        _require(not slot.logging and not slot.readonly, f"{name}: with a guest_memfd it neither logs nor is read-only")
    for slot, after in pairwise(bound):
        _require(
            slot.gmem_pgoff + slot.npages <= after.gmem_pgoff,
            f"memslots at gfn {slot.base} and {after.base} are bound to the same pages",
        )
    _require(config.gmem_pages <= MAX_HVA_PAGES, f"more than {MAX_HVA_PAGES} pages of a guest_memfd")


def _check_guest_paging(config: Config) -> None:
    if isinstance(config.guest_paging, msgspec.UnsetType):
        return
    _require(config.mmu == "shadow", "guest_paging needs mmu=shadow")
    gfns = {gfn for slot in config.slots for gfn in range(slot.base, slot.base + slot.npages)}
    _require(config.cr3 in gfns, f"cr3 is gfn {config.cr3}, which no memslot has")
    for pte in config.guest_ptes:
        _require(pte.table in gfns, f"guest page table at gfn {pte.table}, which no memslot has")
        _require(0 <= pte.index < 1 << config.bits, f"guest page table at gfn {pte.table} has no entry {pte.index}")
        _require(0 <= pte.gfn < 1 << (config.bits * config.levels), f"guest PTE points to gfn {pte.gfn}")


def _check_apic_page(config: Config) -> None:
    """KVM's own slot: one page, which nothing else is about, of memory that is KVM's own, too."""
    page = config.apic_access_page
    if page is None:
        return
    _require(config.architecture == "x86" and config.paging != "npt", "apic_page needs x86 with an EPT layout")
    plain = not page.logging and not page.readonly and page.gmem_pgoff == -1
    _require(page.npages == 1 and plain, "apic_page is not one plain page")
    _require(0 <= page.base < 1 << (config.bits * config.levels), f"apic_page at gfn {page.base}, out of reach")
    _require(0 <= page.hva < config.hva_pages, "apic_page: no such hva")
    kind = config.backing[page.hva >> config.bits]
    _require(kind in ("anon", "untouched"), f"apic_page is of {kind} memory, KVM maps anonymous memory")
    for slot in config.slots:
        _require(not slot.base <= page.base < slot.base + slot.npages, f"apic_page is in memslot at gfn {slot.base}")
        _require(not slot.hva <= page.hva < slot.hva + slot.npages, f"apic_page shares memory with gfn {slot.base}")
