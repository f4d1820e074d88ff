# SPDX-License-Identifier: GPL-2.0-only
"""The version of the model: a hash of its sources, since any changed line may change a run."""

import hashlib
from functools import cache
from importlib import resources
from pathlib import Path


@cache
def model_version() -> str:
    """12 hex digits over every source and catalogue file of this package, whether it runs compiled or not."""
    # The package's own path: the file of a compiled module is where the core was built.
    folder = Path(str(resources.files(__package__)))
    digest = hashlib.sha256()
    for path in sorted([*folder.rglob("*.py"), *folder.rglob("*.yaml")]):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
