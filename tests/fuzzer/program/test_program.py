# SPDX-License-Identifier: GPL-2.0-only
"""Programs: canonical bytes, a digest, and one clear line for what no machine could run."""

import msgspec
import pytest

from fuzzer.program.generate import generate
from fuzzer.program.ops import (
    ALL_KINDS,
    KINDS,
    AnyOperation,
    ClearLog,
    ClearYoung,
    GetLog,
    MoveSlot,
    Munmap,
    Nested,
    Read,
    Share,
    Track,
    Write,
)
from fuzzer.program.profile import PROFILES
from fuzzer.program.program import MAX_ACTORS, Actor, Program, decode_program
from reference_mmu.config import Config, ConfigError


def vcpu(*ops: AnyOperation) -> Actor:
    return Actor("vcpu", ops)


def test_programs_round_trip_and_equal_ones_have_equal_bytes() -> None:
    for profile in PROFILES.values():
        for seed in range(30):
            program = generate(seed, profile)
            again = decode_program(program.encode())
            assert again == program
            assert again.encode() == program.encode()
            assert again.digest() == program.digest()


def test_digests_tell_programs_apart() -> None:
    digests = {generate(seed, PROFILES["mixed"]).digest() for seed in range(300)}
    assert len(digests) == 300
    assert all(len(digest) == 16 and int(digest, 16) >= 0 for digest in digests)


def test_defaults_are_left_out() -> None:
    assert b"upgrade_fails" not in Program(Config(), (vcpu(Read(0, 1)),)).encode()
    assert b"upgrade_fails" in Program(Config(), (vcpu(Read(0, 1, upgrade_fails=True)),)).encode()


def test_operations_are_counted_and_the_next_uid_is_known() -> None:
    program = Program(Config(), (vcpu(Read(3, 1)), vcpu(Write(7, 1), Write(9, 1))))
    assert program.operations() == 3
    assert program.uid_limit() == 10
    assert Program(Config(), ()).uid_limit() == 0


@pytest.mark.parametrize(
    ("actors", "message"),
    [
        ((Actor("mm", ()), vcpu()), "vCPU actors come first"),
        ((vcpu(), vcpu(), vcpu()), "3 vCPU actors, the machine has 2 vCPUs"),
        (
            (Actor("mm", (Munmap(0, 0),)), Actor("mm", (Share(1, 0),))),
            "operation 1: share takes no lock of the host: one mm actor only",
        ),
        ((Actor("device", ()),) * (MAX_ACTORS + 1), f"more than {MAX_ACTORS} actors"),
        ((vcpu(Read(1, 0), Read(0, 0)),), "uids of one actor must grow, found [1, 0]"),
        ((vcpu(Read(0, 0)), vcpu(Read(0, 0))), "uid 0 occurs twice"),
        ((vcpu(Read(-1, 0)),), "uid -1 is not in 0..4095"),
        ((vcpu(Read(4096, 0)),), "uid 4096 is not in 0..4095"),
        ((vcpu(GetLog(0, 0)),), "GetLog is no operation of a vcpu"),
        ((vcpu(Read(0, 64)),), "operation 0: gfn 64 is out of range"),
        ((vcpu(Read(0, -1)),), "operation 0: gfn -1 is out of range"),
        ((Actor("mm", (ClearYoung(0, 4, 5),)),), "operation 0: hva 4 is out of range"),
        ((Actor("mm", (ClearYoung(0, 4, 0),)),), "operation 0: npages is 0"),
        ((Actor("ioctl", (GetLog(0, 1),)),), "operation 0: no memslot 1"),
        ((Actor("ioctl", (GetLog(0, 0, resched=1 << 33),)),), "operation 0: resched has more than 33 bits"),
        ((Actor("ioctl", (ClearLog(0, 0, -1, 1),)),), "operation 0: first is -1"),
        ((Actor("ioctl", (MoveSlot(0, 0, 64),)),), "operation 0: base 64 is out of range"),
        ((vcpu(Nested(0)),), "operation 0: nested needs a configuration with nested roots"),
    ],
)
def test_impossible_programs_are_named(actors: tuple[Actor, ...], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Program(Config(), actors).check()
    assert str(raised.value) == f"impossible program: {message}"


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"config": {}, "actors": [], "more": 1}'])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError)):
        decode_program(data)


def test_every_operation_belongs_to_one_kind_of_actor() -> None:
    assert len(set(ALL_KINDS)) == len(ALL_KINDS) == sum(map(len, KINDS.values()))
    assert Track in KINDS["device"]
