"""Bearer tokens with roles.

A token file has one ``ROLE TOKEN`` a line, where the role is ``read`` or ``write`` (which includes reading);
empty lines and lines that start with ``#`` do not count::

    # search front end
    read  3f9c...
    # nightly import
    write b71e...
"""

from __future__ import annotations

import hashlib
import hmac
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

from vecstore.errors import AuthenticationError, InvalidArgumentError, PermissionDeniedError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

#: Shortest token taken, in characters: what cannot be guessed.
MIN_TOKEN = 16
#: Calls that only read. Every other call needs the role ``write``, so a new one is safe by default.
READ_METHODS = frozenset(
    f"/vecstore.v1.{name}"
    for name in (
        "Collections/Get",
        "Collections/List",
        "Collections/Stats",
        "Points/Get",
        "Points/Count",
        "Points/Search",
        "Points/Scan",
        "Tables/List",
        "Tables/Get",
        "Tables/Lookup",
        "Tables/Search",
        "Tables/Versions",
        "Admin/Info",
        "Admin/Verify",
    )
)


class Role(IntEnum):
    """What a token allows; a higher role includes the lower."""

    READ = 1
    WRITE = 2


class Tokens:
    """The tokens that a server knows, kept as digests.

    Parameters
    ----------
    tokens : iterable of (Role, str)
        None of them: everyone may do everything.
    """

    def __init__(self, tokens: Iterable[tuple[Role, str]] = ()) -> None:
        self._known = [(role, _digest(token)) for role, token in tokens]

    def __len__(self) -> int:
        """Give the number of tokens."""
        return len(self._known)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Tokens:
        """Read a token file.

        Raises
        ------
        InvalidArgumentError
            It cannot be read, has no token, or a line that is not one; names the line, never the token.
        """
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidArgumentError(f"token file {path}: cannot be read ({error})", field="token_file") from None
        tokens = []
        for number, line in enumerate(lines, 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if len(words) != 2 or words[0].upper() not in Role.__members__ or len(words[1]) < MIN_TOKEN:
                raise InvalidArgumentError(
                    f"token file {path}, line {number}: expected 'read TOKEN' or 'write TOKEN' with at least "
                    f"{MIN_TOKEN} characters in the token",
                    field="token_file",
                )
            tokens.append((Role[words[0].upper()], words[1]))
        if not tokens:
            raise InvalidArgumentError(f"token file {path}: has no token", field="token_file")
        return cls(tokens)

    def check(self, authorization: str, method: str) -> None:
        """Let a call pass, or say why not.

        Parameters
        ----------
        authorization : str
            Value of the metadata key ``authorization``; empty when there is none.
        method : str
            Full name of the call.

        Raises
        ------
        AuthenticationError
            No token, or an unknown one.
        PermissionDeniedError
            The token's role does not allow the call.
        """
        if not self._known:
            return
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise AuthenticationError("this server asks for a token; send 'authorization: Bearer TOKEN'")
        given = _digest(token.strip())
        # Every digest is compared, so that the time taken tells nothing about which one is near.
        role = max((role for role, known in self._known if hmac.compare_digest(known, given)), default=None)
        if role is None:
            raise AuthenticationError("the token is not known to this server; check it, or ask for a new one")
        if role < Role.WRITE and method not in READ_METHODS:
            raise PermissionDeniedError(f"{method}: the token's role is read, this call needs write")


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
