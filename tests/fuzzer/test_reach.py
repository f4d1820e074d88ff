# SPDX-License-Identifier: GPL-2.0-only
"""What is searched if nobody says: all that the two models may differ in, and most of what reaches it best."""

from pathlib import Path

import pytest

import reference_mmu
from fuzzer.program.blend import profile_named
from fuzzer.program.profile import PROFILES
from fuzzer.reach import reach_of, site_of
from reference_mmu.architectures import ARCHITECTURES
from reference_mmu.changelog.semantics import NEW, NO_STRUCT_PAGE, OLD, Semantics, parse_semantics

FILES = sorted(
    file.relative_to(Path(reference_mmu.__file__).parent).as_posix()
    for file in Path(reference_mmu.__file__).parent.rglob("*.py")
)


def shares(old: Semantics, new: Semantics, *files: str, arch: tuple[str, ...] = ()) -> dict[str, int]:
    name = reach_of(old, new, files, arch).profile
    return dict(profile_named(name).shares) or {name: 1}


def architectures(profiles: dict[str, int]) -> set[str]:
    return {arch for name in profiles for arch in PROFILES[name].arch}


def test_both_series_are_searched_everywhere_and_half_of_it_is_x86() -> None:
    searched = shares(OLD, NEW)
    assert architectures(searched) == set(ARCHITECTURES)
    assert 2 * sum(searched[name] for name in searched if PROFILES[name].arch == ("x86",)) == sum(searched.values())


def test_patches_of_the_x86_mmu_are_searched_as_they_always_were() -> None:
    assert reach_of(NO_STRUCT_PAGE, NEW).profile == "mixed"


def test_one_patch_is_searched_where_it_shows_soonest() -> None:
    searched = shares(NO_STRUCT_PAGE, parse_semantics("no-struct-page+age-elides-tlb-flush"))
    assert searched == {"aging": 3, "mixed": 1}
    with_it = parse_semantics("old+e500-faultin-pfn")
    without = Semantics(with_it.patches - {"e500-faultin-pfn"})
    assert max(shares(without, with_it).items(), key=lambda share: share[1])[0] == "e500"
    assert architectures(shares(without, with_it)) == {"powerpc"}


@pytest.mark.parametrize(
    ("file", "best", "where"),
    [
        ("arm64/fault.py", "arm64", {"arm64"}),
        ("kvm/guest_memfd.py", "gmem", {"x86"}),
        ("x86/apic_access_page.py", "apic-page", {"x86"}),
        ("powerpc/e500_mmu_host.py", "e500", {"powerpc"}),
        ("powerpc/dcbz.py", "powerpc-pr", {"powerpc"}),
        ("stage2/table.py", "arm64", {"arm64", "powerpc", "riscv", "loongarch", "mips"}),
        ("kvm/kvm.py", "mixed", set(ARCHITECTURES)),
        ("mm/gup.py", "mixed", set(ARCHITECTURES)),
    ],
)
def test_a_change_is_searched_where_its_files_run(file: str, best: str, where: set[str]) -> None:
    searched = shares(NEW, NEW, file)
    assert searched[best] == max(searched.values())
    assert architectures(searched) == where
    assert file in reach_of(NEW, NEW, (file,)).words()


def test_an_architecture_that_is_named_overrules() -> None:
    assert architectures(shares(NEW, NEW, "kvm/kvm.py", arch=("riscv",))) == {"riscv"}
    assert architectures(shares(NO_STRUCT_PAGE, NEW, arch=("arm64",))) == {"arm64"}
    assert architectures(shares(NEW, NEW, "arm64/fault.py", arch=tuple(ARCHITECTURES))) == {"arm64"}


@pytest.mark.parametrize("file", FILES)
def test_every_file_is_searched_by_profiles_that_there_are_of_its_architecture(file: str) -> None:
    site = site_of(file)
    assert set(site.profiles) <= PROFILES.keys()
    folder = file.partition("/")[0]
    if folder in ARCHITECTURES:
        assert site.architectures == (folder,)
        assert all(folder in PROFILES[name].arch for name in site.profiles)
