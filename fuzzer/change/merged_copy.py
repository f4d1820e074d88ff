# SPDX-License-Identifier: GPL-2.0-only
"""The packages with a user's change merged in: made and compiled by one process, imported by others."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fuzzer
import reference_mmu
from fuzzer.change.changed_model import MergedModel
from fuzzer.change.exercised import with_notes
from fuzzer.change.merge import merge
from fuzzer.change.variant import sides_of
from fuzzer.compiled import copied_packages
from fuzzer.run.compare import Models


@contextmanager
def merged_copy(diff: str, base: str = "") -> Iterator[Path]:
    """A folder that holds the two packages with OLD and NEW of the diff, both with `base`, as one model, for as long as
    the block lasts.

    Raises Unmergeable, what sides_of() refuses, and OSError where cores cannot be kept.
    """
    sides = sides_of(diff, base)
    model, searching = (Path(package.__path__[0]) for package in (reference_mmu, fuzzer))
    merged = merge(model, searching, sides.old, with_notes(sides.old, sides.new))
    with copied_packages({f"{model.name}/{path}": text for path, text in merged.items()}) as folder:
        yield folder


def merged_models(diff: str, base: str = "") -> Models:
    """OLD and NEW in a process that has imported such a copy."""
    return Models(MergedModel(changed=False), MergedModel(changed=True), diff, base)
