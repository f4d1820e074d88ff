# SPDX-License-Identifier: GPL-2.0-only
"""Programs in words: who does what, on which machine, and who is made to run when."""

from __future__ import annotations

from typing import Final

from fuzzer.program.arguments import Argument
from fuzzer.program.ops import ARGUMENTS, Operation, WritePte, range_of, tag
from fuzzer.program.program import Program
from reference_mmu.config import Config, GuestPte, SlotConfig

_PAGING: Final = {
    "ept-ad": "EPT with A/D bits and PML",
    "ept-ad-nopml": "EPT with A/D bits, without PML",
    "ept-noad": "EPT without A/D bits",
    "npt": "NPT",
}


# What an address or a number is called before it is told.
_LABELS: Final = {
    Argument.PAGE: "gfn",
    Argument.GFN: "gfn",
    Argument.NEW_BASE: "to gfn",
    Argument.HVA: "hva",
    Argument.SLOT: "slot",
    Argument.SLOT_PAGE: "pages",
    Argument.INDEX: "entry",
    Argument.FILE_PAGE: "guest_memfd",
}


def page_word(config: Config) -> str:
    """What a guest access names."""
    return "gfn" if config.cr3 < 0 else "page"


def operation_words(op: Operation, page: str = "gfn") -> str:
    """E.g. "clear-flush-young hva 0..3 (#7)" or "prefetch gfn 5 (#2, write)", the number being the uid. `page`:
    what vCPUs name."""
    start, npages = range_of(op)
    words, notes = [tag(type(op))], [f"#{op.uid}"]
    for field, argument in ARGUMENTS[type(op)].items():
        value = getattr(op, field)
        match argument:
            case Argument.TARGET if isinstance(op, WritePte):
                words.append(f":= {pte_words(op, value)}")
            case Argument.RESCHED if value:
                notes.append(f"resched {value:#x}")
            case Argument.MISHAP | Argument.FLAG if value:
                notes.append(field.replace("_", " "))
            case _ if argument in _LABELS:
                label = page if argument is Argument.PAGE else _LABELS[argument]
                words.append(f"{label} {page_range(value, npages if field == start else 1)}")
    return f"{' '.join(words)} ({', '.join(notes)})"


def pte_words(pte: GuestPte | WritePte, gfn: int) -> str:
    """A guest PTE that points to `gfn`: "gfn 3 W X A D", "not present" for a negative one."""
    if gfn < 0:
        return "not present"
    flags = ((pte.writable, "W"), (pte.executable, "X"), (pte.accessed, "A"), (pte.dirty, "D"))
    return " ".join([f"gfn {gfn}", *(name for on, name in flags if on)])


def page_range(first: int, npages: int) -> str:
    """ "5" for one page, "5..8" for four."""
    return str(first) if npages == 1 else f"{first}..{first + npages - 1}"


def actor_names(program: Program) -> list[str]:
    """A name for each actor: vCPU0, vCPU1, mm, ioctl, … numbered only where there are several of a kind."""
    kinds = [actor.kind for actor in program.actors]
    names = []
    for index, kind in enumerate(kinds):
        number = kinds[:index].count(kind)
        if kind == "vcpu":
            names.append(f"vCPU{number}")
        else:
            names.append(f"{kind}{number}" if kinds.count(kind) > 1 else kind)
    return names


def config_words(config: Config) -> str:
    """The machine in one sentence, without its memslots."""
    modes = [
        (config.eager_split, "eager split"),
        (config.manual_protect, "manual dirty-log protection"),
        (config.initially_set, "dirty log initially all set"),
        (not config.zap_all_quirk, "slot zap without the zap-all quirk"),
        (config.prove_mmu, "CONFIG_KVM_PROVE_MMU"),
        (config.nested, "nested guest"),
        (config.cr3 >= 0, "shadowed guest page tables"),
    ]
    return ", ".join(
        [
            *_mmu_words(config),
            f"{config.vcpus} vCPU{'s' if config.vcpus > 1 else ''}",
            f"{config.levels} levels of {1 << config.bits} entries",
            *(name for on, name in modes if on),
        ]
    )


def _mmu_words(config: Config) -> tuple[str, str]:
    if config.architecture == "x86":
        return "TDP MMU" if config.mmu == "tdp" else "shadow MMU", _PAGING[config.paging]
    if config.architecture == "powerpc":
        return "powerpc", config.mmu_name.replace("_", " ")
    if config.architecture == "s390":
        return "s390", "the page tables of the process"
    return f"stage-2 table of {config.architecture}", f"young bits set by {'hardware' if config.sets_young else 'KVM'}"


def slot_words(config: Config, slot: SlotConfig) -> str:
    """E.g. "gfn 1..4 = hva 0..3 (anon), dirty logging"."""
    blocks = range(slot.hva >> config.bits, ((slot.hva + slot.npages - 1) >> config.bits) + 1)
    backing = ", ".join(dict.fromkeys(config.backing[block] for block in blocks))
    flags = (", dirty logging" if slot.logging else "") + (", read-only" if slot.readonly else "")
    gfns, hvas = page_range(slot.base, slot.npages), page_range(slot.hva, slot.npages)
    if slot.gmem_pgoff >= 0:
        flags += f", private: guest_memfd {page_range(slot.gmem_pgoff, slot.npages)}"
    return f"gfn {gfns} = hva {hvas} ({backing}){flags}"


def program_words(program: Program) -> list[tuple[str, str]]:
    """The program as (subject, text) lines: machine, memslots, then each actor's operations."""
    config = program.config
    lines = [("machine", config_words(config))]
    lines.extend((f"memslot {number}", slot_words(config, slot)) for number, slot in enumerate(config.slots))
    if config.cr3 >= 0:
        lines.append(("CR3", f"gfn {config.cr3}"))
        for pte in config.guest_ptes:
            lines.append(("guest PTE", f"gfn {pte.table} entry {pte.index}: {pte_words(pte, pte.gfn)}"))
    page = page_word(config)
    for name, actor in zip(actor_names(program), program.actors, strict=True):
        lines.append((name, "; ".join(operation_words(op, page) for op in actor.ops) or "nothing"))
    return lines


def switch_words(program: Program, uid: int, point: str, occurrence: int, actor: int) -> str:
    """One switch of a schedule: `actor` goes on when whoever runs comes to `point` of operation `uid`."""
    names = actor_names(program)
    # An edited file may name an actor that does not exist; the replay ignores it.
    to = names[actor] if 0 <= actor < len(names) else f"actor {actor}"
    for name, owner in zip(names, program.actors, strict=True):
        for op in owner.ops:
            if op.uid == uid:
                where = "ends" if point == "end" else f"comes to {point}"
                again = f" for the {_ordinal(occurrence)} time" if occurrence > 1 else ""
                what = operation_words(op, page_word(program.config))
                return f"{name} {where}{' in' if point != 'end' else ''} {what}{again}: {to} goes on"
    return f"at the start: {to} goes first"


def _ordinal(number: int) -> str:
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
