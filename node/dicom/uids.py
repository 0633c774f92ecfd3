"""DICOM unique identifiers: checked before they become paths, derived where they must repeat."""

from __future__ import annotations

import hashlib

from node.storage.files import valid_uid

__all__ = ["derived_uid", "valid_uid"]


def derived_uid(*parts: str) -> str:
    """Return the one UID of these parts, the same in every process and for ever (S1).

    A UUID of version 8 (RFC 9562) from SHA-256 over the length-marked parts, below the root
    2.25 (PS3.5 B.2); so no two lists of parts share one by joining differently.

    Examples
    --------
    >>> derived_uid("job", "1") == derived_uid("job", "1")
    True
    >>> derived_uid("ab", "c") == derived_uid("a", "bc")
    False
    """
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    number = int.from_bytes(digest.digest()[:16], "big")
    number = number & ~(0xF << 76) | 8 << 76  # version
    number = number & ~(0x3 << 62) | 2 << 62  # variant
    return f"2.25.{number}"
