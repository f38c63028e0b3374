"""Files from their official addresses, verified."""

import base64
import hashlib
import os
import urllib.error
import urllib.request
from email.message import Message
from http import HTTPStatus
from pathlib import Path

from lightning_tasks.runs.atomic_writes import NO_ROOM, reason

TIMEOUT = 30  # seconds without an answer
BLOCK = 2**20  # bytes


def fetch_file(address: str, path: Path, md5: str | None = None) -> None:
    """Download a file, going on where an earlier call was cut off.

    Args:
        address: URL of the file.
        path: Path of the file, once it is complete and verified.
        md5: Of its content, in hexadecimal digits; what the server says if not given.

    Raises:
        OSError: If the network fails, there is no room, or the content is not what it should be. What has come is kept,
            unless it is wrong.
    """
    part = path.with_name(f"{path.name}.part")
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            goes_on = answer.status == HTTPStatus.PARTIAL_CONTENT
            try:
                with open(part, "ab" if goes_on else "wb", buffering=0) as file:
                    while block := answer.read(BLOCK):
                        while block:
                            block = block[file.write(block) :]
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise
                length = int(answer.headers["Content-Length"] or 0) or None
                raise OSError(f"{part}: {reason(error, length, part.parent)}; the next start goes on") from error
            _verify(part, answer.headers, goes_on, address, md5)
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        part.unlink()  # it is longer than the file, or the whole of one
        fetch_file(address, path, md5)
        return
    os.replace(part, path)


def _verify(part: Path, headers: Message, goes_on: bool, address: str, md5: str | None) -> None:
    """Compare with the whole length and the MD5, by default that of the server.

    Its form: https://cloud.google.com/storage/docs/xml-api/reference-headers.
    """
    length = headers["Content-Range"].rpartition("/")[2] if goes_on else headers["Content-Length"]
    if length and part.stat().st_size < int(length):
        have = f"{part.stat().st_size:,} of {int(length):,} bytes"
        raise OSError(f"{address} broke off after {have}; the next start goes on")
    hashes = dict(each.strip().split("=", 1) for line in headers.get_all("x-goog-hash", []) for each in line.split(","))
    if md5 is None and "md5" in hashes:
        md5 = base64.b64decode(hashes["md5"]).hex()
    with open(part, "rb") as file:
        content = hashlib.file_digest(file, "md5").hexdigest()
    if (length and part.stat().st_size > int(length)) or content != (md5 or content):
        part.unlink()
        raise OSError(f"{address}: what came is not the official file (length or MD5); it was removed, start again")
