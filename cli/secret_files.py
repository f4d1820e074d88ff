# SPDX-License-Identifier: GPL-2.0-only
"""Settings that hold a password, read from files: what stands in the environment of a container, many can see."""

import os
from pathlib import Path
from typing import Final

from workers.refusal import BadInput, refuse

SECRETS: Final = ("MMUFUZZ_DATABASE", "MMUFUZZ_BROKER", "MMUFUZZ_WEBHOOK_URL", "MMUFUZZ_WEBHOOK_SECRET")
"""Each may be given as itself or, with _FILE appended, as the name of a file that holds it in one line."""


def read_secret_files() -> None:
    """Set every variable of SECRETS whose file is named.

    Raises BadInput: a file that cannot be read or does not hold one line; a secret that is given both ways.
    """
    for name in SECRETS:
        # Taken away: a `mmufuzz` that this one starts finds the variable set.
        named = os.environ.pop(f"{name}_FILE", None)
        if not named:
            continue
        if name in os.environ:
            raise BadInput(f"{name} and {name}_FILE are both set; unset one")
        advice = f"mend {name}_FILE"
        with refuse(OSError, UnicodeDecodeError, what=f"cannot read {named}", advice=advice):
            value = Path(named).read_text(encoding="utf-8").strip()
        if not value or not value.isprintable():
            raise BadInput(f"{named} does not hold one line of text; {advice}")
        os.environ[name] = value
