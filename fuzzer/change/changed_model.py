# SPDX-License-Identifier: GPL-2.0-only
"""A model that somebody has changed: what it may raise, and the two that are merged in one copy."""

from __future__ import annotations

from pathlib import Path
from traceback import extract_tb

from mypy_extensions import i64

from fuzzer.change.applied import APPLIED
from fuzzer.oracle.judge import Judge
from fuzzer.run.model import Model
from fuzzer.schedule.running_actor import Flow
from reference_mmu.changelog.semantics import Semantics
from reference_mmu.config import Config
from reference_mmu.kvm.vm import Vm
from reference_mmu.operations import Call
from reference_mmu.points import END, N_POINTS
from reference_mmu.rwlock import ModelBug, Raised


class ChangedModel(Model):
    """Whatever else than ModelBug a flow raises becomes one, which says where, and so does a `yield` of anything but a
    point: a change that crashes the model has broken it."""

    def start(self, m: Vm, actor: i64, call: Call) -> Flow:
        try:
            return m.start(actor, call)
        except (Exception, SystemExit) as error:
            raise as_bug(error) from error

    def resume(self, m: Vm, flow: Flow) -> i64:
        try:
            for point in flow:
                if not is_point(m, point):
                    raise ModelBug(f"yields {point!r}, which is no preemption point")
                return point
            return END
        except (Exception, SystemExit) as error:
            raise as_bug(error) from error


class MergedModel(ChangedModel):
    """One of the two models of a merged copy, which is what this process has imported."""

    def __init__(self, changed: bool) -> None:
        self.changed = changed

    def enter(self) -> None:
        APPLIED.now = self.changed

    def machine(self, config: Config, semantics: Semantics, actors: i64, operations: i64, judge: Judge) -> Vm:
        self.enter()
        return super().machine(config, semantics, actors, operations, judge)


def is_point(m: Vm, point: object) -> bool:
    """Is it one of the machine's? Interpreted, a flow may yield anything."""
    return isinstance(point, int) and END < point < N_POINTS and m.points.ranks[point] != 0


def as_bug(error: BaseException) -> ModelBug:
    """What a flow raised, as a broken rule of the model."""
    if isinstance(error, ModelBug):
        return error
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Raised(f"{said}, at {place_of(error)}")


def place_of(error: BaseException) -> str:
    """FILE:LINE of the model where it was raised, or where what raised it was called."""
    place = "no line of the model"
    for frame in extract_tb(error.__traceback__):
        parts = Path(frame.filename).parts
        folders = [at for at, part in enumerate(parts) if part.startswith("reference_mmu")]
        if folders:
            place = f"reference_mmu/{'/'.join(parts[folders[-1] + 1 :])}:{frame.lineno}"
    return place
