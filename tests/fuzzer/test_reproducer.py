# SPDX-License-Identifier: GPL-2.0-only
"""Reproducers: round trip, exact replay, and one clear line for a file that is none."""

import msgspec
import pytest

from fuzzer.change.variant import changed_models
from fuzzer.hunt import Hunt
from fuzzer.judge.attribute import OWN_CHANGE
from fuzzer.judge.shows import shows
from fuzzer.program.profile import PROFILES
from fuzzer.recheck import recheck
from fuzzer.reproducer import (
    FORMAT,
    MAX_BYTES,
    Reproducer,
    ReproducerError,
    counted,
    decode_reproducer,
    encode_reproducer,
    trace_digest,
    trace_steps,
)
from fuzzer.run.compare import Models
from fuzzer.seed_runner import SeedRunner
from reference_mmu.changelog.semantics import NEW
from reference_mmu.observed import COUNT_GUP, COUNT_PML, Observed
from reference_mmu.version import model_version
from tests.changes import METHOD, NO_FLUSH
from tests.hunted import all_found, reproducer_of
from tests.refusals import refused


def one() -> Reproducer:
    return next(r for r in map(reproducer_of, all_found()) if r.switches)


def test_every_file_round_trips() -> None:
    for found in all_found():
        reproducer = reproducer_of(found)
        assert encode_reproducer(reproducer) == found.reproducer
        assert decode_reproducer(encode_reproducer(reproducer)) == reproducer


def test_every_file_replays_to_its_digest_and_its_steps() -> None:
    for found in all_found():
        reproducer = reproducer_of(found)
        outcome = reproducer.run()
        assert trace_digest(outcome) == reproducer.digest
        assert trace_steps(outcome) == reproducer.steps
        assert recheck(reproducer, outcome).reproduced()
        assert reproducer.model == model_version()
        if reproducer.finding.kind == "divergence":
            assert shows(reproducer.finding, outcome)


def test_the_digest_covers_what_both_did() -> None:
    """Another follower, the same turns: another digest."""
    reproducer = one()
    same = msgspec.structs.replace(reproducer, new=reproducer.old)
    assert same.run().turns == reproducer.run().turns or reproducer.leader == "new"
    assert trace_digest(same.run()) != reproducer.digest


def test_another_program_is_not_what_was_recorded() -> None:
    reproducer = one()
    without = msgspec.structs.replace(reproducer, switches=())
    found = recheck(without, without.run())
    assert not found.reproduced()
    assert found.diverging_step > 0
    assert found.step_recorded != found.step_now


def test_points_are_stored_by_name() -> None:
    for found in all_found():
        for _, name, _, _ in reproducer_of(found).switches:
            assert name == "end" or "." in name or name == "emulate"


def changed(**fields: object) -> bytes:
    """The file with some top-level fields replaced, as a careless editor would."""
    raw = msgspec.json.decode(encode_reproducer(one()))
    return msgspec.json.encode(raw | fields)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a reproducer: "),
        (b"hello", "not a reproducer: "),
        (b"[]", "not a reproducer: "),
        (b"{}", "not a reproducer: "),
        (b" " * (MAX_BYTES + 1), f"reproducer is {MAX_BYTES + 1} bytes, more than {MAX_BYTES}"),
        (b'{"format": 99}', f"reproducer has format 99, this version reads formats up to {FORMAT}: update mmufuzz"),
        (b'{"format": 1}', "corrupt reproducer: "),
    ],
)
def test_what_is_no_reproducer_is_refused_in_one_line(data: bytes, message: str) -> None:
    with refused(ReproducerError, message):
        decode_reproducer(data)


@pytest.mark.parametrize(
    "fields",
    [
        {"leader": "nobody"},
        {"program": {}},
        {"switches": [[0, "end", 1]]},
        {"switches": [[0, "end", 1, 0]] * 4097},
        {"unknown": 1},
        {"format": 2},
        {"format": 1, "diff": "--- a"},
        {"diff": ""},
        {"format": 2, "diff": ""},
        {"format": 2, "diff": 1},
        {"finding": None},
    ],
    ids=str,
)
def test_a_damaged_file_is_refused_in_one_line(fields: dict[str, object]) -> None:
    with pytest.raises(ReproducerError, match=r"^corrupt reproducer: [^\n]*$"):
        decode_reproducer(changed(**fields))


def test_a_file_without_a_change_has_no_diff() -> None:
    raw = msgspec.json.decode(encode_reproducer(one()))
    assert raw["format"] == FORMAT
    assert "diff" not in raw


@pytest.mark.parametrize(
    ("spec", "now"),
    [
        ("old", "no-struct-page"),
        ("no-struct-page+age-elides-tlb-flush", "no-struct-page+age-elides-tlb-flush"),
        ("new", "new"),
        ("new-age-elides-tlb-flush", "new-age-elides-tlb-flush"),
        ("older", "older"),
    ],
)
def test_what_was_old_before_there_were_two_series_is_between_them(spec: str, now: str) -> None:
    for version, diff in ((1, {}), (2, {"diff": "--- a"})):
        reproducer = decode_reproducer(changed(format=version, old=spec, new=spec, **diff))
        assert (reproducer.format, reproducer.old, reproducer.new) == (FORMAT, now, now)
    assert decode_reproducer(changed(old=spec)).old == spec


def test_counters_that_are_younger_than_format_3_are_no_part_of_a_digest() -> None:
    observed = Observed(2)
    observed.count(1, COUNT_PML)
    observed.count(0, COUNT_GUP)
    assert counted(observed) == [0, 0, 0, 0, 0, 0, 0, 1]


def test_the_diff_comes_along() -> None:
    models = changed_models(NO_FLUSH)
    hunt = Hunt(SeedRunner(NEW, NEW, PROFILES["tdp"], models))
    found = next(found for seed in range(40) for found in hunt.one(seed) if found.reproducer is not None)
    reproducer = reproducer_of(found)
    assert reproducer.diff == NO_FLUSH
    assert reproducer.finding.patches == (OWN_CHANGE,)
    assert recheck(reproducer, reproducer.run()).reproduced()
    without = reproducer.run(Models())
    assert not recheck(reproducer, without).finding_shows


def test_the_base_comes_along() -> None:
    models = changed_models(NO_FLUSH, METHOD)
    hunt = Hunt(SeedRunner(NEW, NEW, PROFILES["tdp"], models))
    found = next(found for seed in range(40) for found in hunt.one(seed) if found.reproducer is not None)
    reproducer = reproducer_of(found)
    assert (reproducer.base, reproducer.diff) == (METHOD, NO_FLUSH)
    assert recheck(reproducer, reproducer.run()).reproduced()


def test_a_base_without_a_diff_on_top_is_refused() -> None:
    with pytest.raises(ReproducerError, match="no diff on top of it"):
        decode_reproducer(changed(base=METHOD))


def test_a_diff_of_another_model_is_refused_in_one_line() -> None:
    reproducer = decode_reproducer(changed(format=2, diff=NO_FLUSH.replace("flush", "gone"), model="0" * 12))
    with pytest.raises(ReproducerError, match=r"^the diff does not [^\n]* \(made with model 0{12}, this is \w+\)$"):
        reproducer.run()


def test_a_point_of_another_model_is_named() -> None:
    reproducer = decode_reproducer(changed(switches=[[0, "no.such-point", 1, 0]]))
    with pytest.raises(ReproducerError, match=r"unknown point 'no\.such-point': made with another model"):
        reproducer.run()


def test_semantics_of_another_catalogue_are_named() -> None:
    reproducer = decode_reproducer(changed(new="no-struct-page+no-such-patch"))
    with pytest.raises(ReproducerError, match="no-such-patch"):
        reproducer.run()
