# SPDX-License-Identifier: GPL-2.0-only
"""What a search searches if nobody says: the profiles of all that the two models may differ in.

Of two semantics these are the architectures of the patches that differ, of a change the architectures that the changed
files are of. x86, whose MMU has most to it, gets half of the programs where it is not alone. What only some profiles
reach well, a file or a patch or two, gets three of four programs in those: the other profiles of the architecture get
the rest, since a change has consequences where nobody thinks of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import gcd
from typing import Final, NamedTuple

from fuzzer.expose import profile_for
from fuzzer.program.blend import blend_name, profile_named
from fuzzer.program.profile import PROFILES
from reference_mmu.architectures import ARCHITECTURES
from reference_mmu.changelog.patches import PATCHES, Patch, changes_nothing, series_of
from reference_mmu.changelog.semantics import Semantics

Shares = dict[str, int]
"""Profiles, each with its part of the programs."""

# Of each architecture. What only x86 has profiles for, common code is tried there.
_SHARES: Final[dict[str, Shares]] = {
    "x86": {"mixed": 8, "host": 1, "pages": 1, "vcpu-map": 1, "gmem": 1, "apic-page": 1, "gigantic": 1},
    "arm64": {"arm64": 2, "arm64-pages": 1, "arm64-mte": 1},
    "powerpc": {"powerpc": 1, "powerpc-pr": 1, "powerpc-pr-log": 1, "powerpc-uv": 1, "e500": 1},
    "riscv": {"riscv": 2},
    "loongarch": {"loongarch": 1},
    "mips": {"mips": 1},
    "s390": {"s390": 1},
}
_EVERYWHERE: Final = tuple(ARCHITECTURES)
_STAGE2: Final = tuple(name for name in ARCHITECTURES if name not in ("x86", "s390"))
# How many patches are so few that each is searched where it shows soonest.
_FEW: Final = 3
_FOCUS_OF: Final = 4
"""So many programs, all but one of which are of the profiles that reach what a comparison is about."""


class Site(NamedTuple):
    """What begins so, below reference_mmu/: whose machines run it, and the profiles that reach it best, if not all."""

    path: str
    architectures: tuple[str, ...]
    profiles: tuple[str, ...] = ()


# The first that fits counts.
_SITES: Final = (
    Site("x86/apic_access_page.py", ("x86",), ("apic-page",)),
    Site("x86/vmx/", ("x86",), ("vcpu-map",)),
    Site("x86/shadow_mmu/", ("x86",), ("shadow", "guest-tables", "guest-roots", "slots")),
    Site("x86/tdp_mmu/eager_split.py", ("x86",), ("log", "gigantic")),
    Site("x86/tdp_mmu/", ("x86",), ("tdp", "log", "zap", "gigantic")),
    Site("x86/aging.py", ("x86",), ("aging",)),
    Site("x86/dirty_log.py", ("x86",), ("log", "harvest")),
    Site("x86/struct_page.py", ("x86",), ("reclaim", "host")),
    Site("arm64/guest.py", ("arm64",), ("arm64-mte",)),
    Site("powerpc/e500", ("powerpc",), ("e500",)),
    Site("powerpc/book3s_hv_uvmem.py", ("powerpc",), ("powerpc-uv",)),
    Site("powerpc/book3s_hv.py", ("powerpc",), ("powerpc", "powerpc-uv")),
    Site("powerpc/book3s_64_mmu_hv.py", ("powerpc",), ("powerpc",)),
    Site("powerpc/book3s_64_mmu_radix.py", ("powerpc",), ("powerpc",)),
    Site("powerpc/book3s_64_mmu_host.py", ("powerpc",), ("powerpc-pr", "powerpc-pr-log")),
    Site("powerpc/book3s_32_mmu_host.py", ("powerpc",), ("powerpc-pr", "powerpc-pr-log")),
    Site("powerpc/book3s_pr.py", ("powerpc",), ("powerpc-pr", "powerpc-pr-log")),
    Site("powerpc/dcbz.py", ("powerpc",), ("powerpc-pr",)),
    Site("powerpc/software_tlb.py", ("powerpc",), ("e500", "powerpc-pr")),
    *(Site(f"{name}/", (name,)) for name in ARCHITECTURES),
    Site("stage2/", _STAGE2),
    Site("kvm/guest_memfd.py", ("x86",), ("gmem",)),
    Site("kvm/gmem.py", ("x86",), ("gmem",)),
    Site("kvm/mem_attributes.py", ("x86",), ("gmem",)),
    Site("kvm/vcpu_map.py", ("x86", "arm64", "powerpc"), ("vcpu-map", "arm64-mte", "powerpc-pr")),
    Site("kvm/pfncache.py", ("x86",), ("vcpu-map",)),
    Site("kvm/prefetch.py", ("x86",), ("harvest", "pages", "shadow")),
    Site("", _EVERYWHERE),
)


class Reach(NamedTuple):
    """`profile`: what a search is given, the name of a blend. `why`: in words, what it follows from."""

    profile: str
    why: str

    def words(self) -> str:
        """Which profiles get how much of the programs, and why."""
        shares = profile_named(self.profile).shares
        parts = sum(share for _, share in shares)
        told = ", ".join(f"{name} {100 * share / parts:.0f} %" for name, share in shares) or self.profile
        return f"profiles {told}: {self.why}" if shares else f"profile {told}: {self.why}"


def reach_of(old: Semantics, new: Semantics, files: Iterable[str] = (), architectures: tuple[str, ...] = ()) -> Reach:
    """The profiles that reach what differs: the patches of one of the semantics alone, and the changed files (paths
    below reference_mmu). With `architectures` only machines of these are searched, whatever differs."""
    changed, patches = sorted(files), [PATCHES[name] for name in sorted(old.patches ^ new.patches) if name in PATCHES]
    shares: Shares = {}
    for some in (_of_patches(patches) if patches else {}, _of_files(changed)):
        shares = {name: max(shares.get(name, 0), some.get(name, 0)) for name in (*shares, *some)}
    why = "; ".join(filter(None, (_patches_words(patches), f"the change is in {_listed(changed)}" if changed else "")))
    if not shares and not architectures:
        shares, why = _unfocused(_EVERYWHERE), "nothing differs"
    if architectures:
        shares = {name: share for name, share in shares.items() if set(PROFILES[name].arch) & set(architectures)}
        shares, why = shares or _unfocused(architectures), f"--arch {_listed(architectures)}"
    return Reach(blend_name(_reduced(shares)), why)


def _of_patches(patches: list[Patch]) -> Shares:
    touched = {arch for patch in patches for arch in (_EVERYWHERE if patch.arch == "common" else (patch.arch,))}
    architectures = tuple(name for name in ARCHITECTURES if name in touched)
    rest = _unfocused(architectures)
    if all(series_of(patch.id) == "x86-mmu" for patch in patches):
        rest = {"mixed": 1}  # which is about what that series changes
    shown = [patch for patch in patches if not changes_nothing(patch)]
    focus = [profile_for(patch).name for patch in shown] if len(shown) <= _FEW else []
    return _focused(tuple(name for name in dict.fromkeys(focus) if name in PROFILES), rest)


def _of_files(files: list[str]) -> Shares:
    shares: Shares = {}
    for site in dict.fromkeys(map(site_of, files)):
        for name, share in _focused(site.profiles, _unfocused(site.architectures)).items():
            shares[name] = max(shares.get(name, 0), share)
    return shares


def site_of(file: str) -> Site:
    """Where a file is, by its path below reference_mmu."""
    return next(site for site in _SITES if file.startswith(site.path))


def _unfocused(architectures: Iterable[str]) -> Shares:
    return {name: share for arch in architectures for name, share in _SHARES[arch].items()}


def _focused(profiles: tuple[str, ...], rest: Shares) -> Shares:
    """Three of four programs of each of these profiles, the others as `rest` says. Without any, or if they are all that
    there is to search, `rest` alone."""
    others = {name: share for name, share in rest.items() if name not in profiles}
    if not profiles or not others:
        return rest
    focus = (_FOCUS_OF - 1) * sum(others.values())
    return dict.fromkeys(profiles, focus) | {name: share * len(profiles) for name, share in others.items()}


def _reduced(shares: Shares) -> Shares:
    """Shares with the same proportions in the smallest numbers."""
    divisor = gcd(*shares.values())
    return {name: share // divisor for name, share in shares.items()}


def _patches_words(patches: list[Patch]) -> str:
    if not patches:
        return ""
    what = patches[0].id if len(patches) == 1 else f"{len(patches)} patches"
    common = any(patch.arch == "common" for patch in patches)
    touched = ["common code"] * common + [name for name in ARCHITECTURES if any(name == p.arch for p in patches)]
    return f"{what} of {_listed(touched)}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
