# SPDX-License-Identifier: GPL-2.0-only
"""Configurations: what is possible, and one clear line for what is not."""

from typing import Any

import msgspec
import pytest

from reference_mmu.config import Config, ConfigError, SlotConfig


def test_the_default_is_possible() -> None:
    assert Config().check() == Config()
    assert Config().hva_pages == 8


@pytest.mark.parametrize(
    "change",
    [
        {"bits": 9, "levels": 4, "backing": ("thp",)},
        {"levels": 5},
        {"slots": (SlotConfig(3, 5, 1), SlotConfig(8, 2, 6))},
        {"slots": (SlotConfig(60, 4, 0),)},
        {"manual_protect": True, "initially_set": True},
        {"mmu": "shadow", "paging": "npt"},
        {"backing": ("anon",) * 3, "apic_page": SlotConfig(8, 1, 8)},
        {"backing": ("anon", "anon", "untouched"), "apic_page": SlotConfig(63, 1, 11), "paging": "ept-noad"},
    ],
)
def test_real_machines_are_possible(change: dict[str, Any]) -> None:
    msgspec.structs.replace(Config(), **change).check()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vcpus": 0}, "vcpus is 0, must be 1..64"),
        ({"bits": 10}, "bits is 10, must be 1..9"),
        ({"levels": 1}, "levels is 1, must be 2..5"),
        (
            {"word_gfns": 8, "slots": (SlotConfig(base=3, npages=8, hva=0),)},
            "memslot at gfn 3: a word of its dirty bitmap spans three huge pages",
        ),
        ({"word_gfns": 33}, "word_gfns is 33, must be 1..32"),
        ({"pml_entries": 0}, "pml_entries is 0, must be 1..512"),
        ({"backing": ()}, "backing is empty"),
        ({"initially_set": True}, "initially_set needs manual_protect"),
        ({"nested": True, "mmu": "shadow"}, "nested roots need mmu=tdp"),
        ({"slots": ()}, "0 memslots, must be 1..8"),
        ({"slots": (SlotConfig(0, 0, 0),)}, "memslot at gfn 0 is empty"),
        ({"slots": (SlotConfig(0, 4, 0), SlotConfig(3, 4, 4))}, "memslot at gfn 3 overlaps the one before it"),
        ({"slots": (SlotConfig(0, 9, 0),)}, "memslot at gfn 0: no such hva"),
        ({"slots": (SlotConfig(0, 4, -1),)}, "memslot at gfn 0: no such hva"),
        ({"slots": (SlotConfig(0, 4, 0, True, True),)}, "memslot at gfn 0: read-only slots do not log"),
        ({"slots": (SlotConfig(0, 4, 0), SlotConfig(4, 4, 3))}, "memslots at gfn 0 and 4 share host pages"),
        ({"slots": (SlotConfig(61, 4, 0),)}, "memslot ends at gfn 65, the page tables reach 64"),
        ({"apic_page": SlotConfig(8, 1, 8)}, "apic_page: no such hva"),
        ({"apic_page": SlotConfig(8, 1, -1)}, "apic_page: no such hva"),
        ({"apic_page": SlotConfig(8, 1, 7)}, "apic_page shares memory with gfn 0"),
        ({"apic_page": SlotConfig(64, 1, 8)}, "apic_page at gfn 64, out of reach"),
        ({"apic_page": SlotConfig(8, 2, 8)}, "apic_page is not one plain page"),
        ({"apic_page": SlotConfig(8, 1, 8, logging=True)}, "apic_page is not one plain page"),
        ({"apic_page": SlotConfig(8, 1, 8, readonly=True)}, "apic_page is not one plain page"),
        ({"apic_page": SlotConfig(8, 1, 8), "paging": "npt"}, "apic_page needs x86 with an EPT layout"),
        ({"apic_page": SlotConfig(8, 1, 8), "arch": "arm64"}, "apic_page needs x86 with an EPT layout"),
        (
            {"apic_page": SlotConfig(7, 1, 8), "backing": ("anon",) * 3},
            "apic_page is in memslot at gfn 0",
        ),
        (
            {"apic_page": SlotConfig(8, 1, 8), "backing": ("anon", "anon", "shmem")},
            "apic_page is of shmem memory, KVM maps anonymous memory",
        ),
    ],
)
def test_impossible_ones_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        msgspec.structs.replace(Config(), **change).check()
    assert str(raised.value) == f"impossible configuration: {message}"
    assert "\n" not in str(raised.value)
