# SPDX-License-Identifier: GPL-2.0-only
"""A signed POST.  The receiver checks, with the secret that both have:

X-Mmufuzz-Signature: sha256=HMAC-SHA256(secret, timestamp + "." + body), in hex
X-Mmufuzz-Timestamp: Unix time of this try; too old means that somebody plays a recorded one back
Idempotency-Key:     the same at every try: whoever has seen it has it
"""

import hashlib
import hmac
import http.client
import urllib.error
import urllib.request
from typing import Any, Final
from urllib.parse import urlsplit

_TIMEOUT_SECONDS: Final = 10


class NotDelivered(Exception):
    """The receiver does not have it; the text says why, without the address, which may hold a token."""


def signature_of(secret: str, timestamp: str, body: bytes) -> str:
    """Value of the header X-Mmufuzz-Signature."""
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def post(url: str, secret: str, timestamp: str, key: str, body: bytes) -> None:
    """Send a JSON body.  Raises NotDelivered for anything but an answer of 2xx; a redirection is none, since the
    signature was made for one receiver."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise NotDelivered("the address is neither http nor https: mend MMUFUZZ_WEBHOOK_URL")
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "mmufuzz",
        "X-Mmufuzz-Timestamp": timestamp,
        "X-Mmufuzz-Signature": signature_of(secret, timestamp, body),
        "Idempotency-Key": key,
    }
    request = urllib.request.Request(url, body, headers, method="POST")
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=_TIMEOUT_SECONDS):
            return
    except urllib.error.HTTPError as error:
        error.close()
        raise NotDelivered(f"the receiver answers {error.code}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise NotDelivered(f"{type(reason).__name__}: {getattr(reason, 'strerror', None) or 'no answer'}") from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_request: Any) -> None:
        return None
