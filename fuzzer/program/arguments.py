# SPDX-License-Identifier: GPL-2.0-only
"""The types of operations' arguments: what each number stands for, and with that which values it may have.

A field of an operation has one of these types, e.g. `hva: Hva`. Whoever has to know what a field is asks
`fuzzer.program.ops.ARGUMENTS` and never its name: validity (program.py), words (words.py), smaller values
(minimize.py), and what is drawn of operations that no weight of their own code names (generate.py, strategies.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Annotated, Final, get_args, get_type_hints

from reference_mmu.config import Config

RESCHED_BITS: Final = 33  # 32 regions, and RESCHED_LASTS
_ANY: Final = 2**62  # what is larger fits no native number


class Argument(Enum):
    """What an argument stands for."""

    PAGE = "page"
    """What a guest access names: a gfn or, where the guest has page tables of its own, a virtual page."""
    GFN = "gfn"
    """A gfn, be it in a memslot or in none."""
    NEW_BASE = "new base"
    """The gfn to which a memslot is moved."""
    HVA = "hva"
    """A page of the process that owns the VM."""
    SLOT = "slot"
    """The number of a memslot."""
    SLOT_PAGE = "slot page"
    """A page of a memslot, counted from its first; it may lie beyond the end, which KVM refuses."""
    FILE_PAGE = "file page"
    """A page of the guest_memfd, counted from its first."""
    PAGES = "pages"
    """How many pages, of those that begin at the argument before it."""
    RESCHED = "resched"
    """In which regions need_resched() is true, as a mask: see fuzzer/program/ops.py."""
    MISHAP = "mishap"
    """Does that happen which may happen at any time?"""
    FLAG = "flag"
    """Yes or no, neither of which is the simpler one."""
    INDEX = "index"
    """The number of an entry in a guest page table."""
    TARGET = "target"
    """The gfn to which a stored guest PTE points; -1 makes it not present."""
    RIGHT = "right"
    """A bit of the stored guest PTE, named like its field: see STORED_* of reference_mmu/x86/operations.py."""


GuestPage = Annotated[int, Argument.PAGE]
Gfn = Annotated[int, Argument.GFN]
NewBase = Annotated[int, Argument.NEW_BASE]
Hva = Annotated[int, Argument.HVA]
SlotNumber = Annotated[int, Argument.SLOT]
SlotPage = Annotated[int, Argument.SLOT_PAGE]
FilePage = Annotated[int, Argument.FILE_PAGE]
Pages = Annotated[int, Argument.PAGES]
Resched = Annotated[int, Argument.RESCHED]
Mishap = Annotated[bool, Argument.MISHAP]
Flag = Annotated[bool, Argument.FLAG]
Index = Annotated[int, Argument.INDEX]
Target = Annotated[int, Argument.TARGET]
Right = Annotated[bool, Argument.RIGHT]

SIMPLEST: Final[dict[Argument, int | bool]] = {Argument.RESCHED: 0, Argument.MISHAP: False, Argument.PAGES: 1}
"""The value of which a reader has least to think, in the order in which the minimizer tries them. Of addresses and
rights none is simpler than another."""
YES_OR_NO: Final = frozenset((Argument.MISHAP, Argument.FLAG, Argument.RIGHT))
STARTS: Final = frozenset((Argument.PAGE, Argument.GFN, Argument.HVA, Argument.SLOT_PAGE, Argument.FILE_PAGE))
"""Where a range begins, if a number of pages comes next."""


def arguments_of(kind: type) -> dict[str, Argument]:
    """The arguments of an operation by the names of their fields, in the order in which they are written; without the
    uid, which is no argument. Raises TypeError for a field without a type of this file."""
    arguments = {}
    hints = get_type_hints(kind, include_extras=True)
    for field in kind.__struct_fields__:  # type: ignore[attr-defined]
        if field == "uid":
            continue
        types = [one for one in get_args(hints[field]) if isinstance(one, Argument)]
        if len(types) != 1:
            raise TypeError(f"{kind.__name__}.{field} needs a type of fuzzer/program/arguments.py")
        arguments[field] = types[0]
    return arguments


def values_of(argument: Argument, config: Config) -> Sequence[int]:
    """The values that an argument may have on a machine. A number of pages may be any from 1 on, and so may a page of a
    memslot from 0 on: KVM has to refuse what is too large."""
    gfns = 1 << (config.bits * config.levels)
    match argument:
        case Argument.PAGE | Argument.GFN | Argument.NEW_BASE:
            return range(gfns)
        case Argument.HVA:
            return range(config.hva_pages)
        case Argument.FILE_PAGE:
            return range(config.gmem_pages)
        case Argument.SLOT:
            return range(len(config.slots))
        case Argument.SLOT_PAGE:
            return range(_ANY)
        case Argument.PAGES:
            return range(1, _ANY)
        case Argument.RESCHED:
            return range(1 << RESCHED_BITS)
        case Argument.INDEX:
            return range(1 << config.bits)
        case Argument.TARGET:
            return range(-1, gfns)
        case Argument.MISHAP | Argument.FLAG | Argument.RIGHT:
            return (False, True)


def refusal(argument: Argument, field: str, value: int) -> str:
    """What to say of a value that is none of values_of()."""
    match argument:
        case Argument.SLOT:
            return f"no memslot {value}"
        case Argument.INDEX:
            return f"no entry {value}"
        case Argument.RESCHED:
            return f"{field} has more than {RESCHED_BITS} bits"
        case Argument.PAGES | Argument.SLOT_PAGE:
            return f"{field} is {value}"
        case _:
            return f"{field} {value} is out of range"
