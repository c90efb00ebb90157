"""Writes captures of what this process sends and receives: pcapng files that Wireshark opens and dissects.

It knows files and the form of packets in them, but not who sends the packets. SCTP packets are captured in UDP and IP
headers (RFC 6951), outside DTLS, so that Wireshark can read them.

- One process at a time writes to a file. Its connections share the file, each as an interface of its own. Another
  process writes to a file beside it, with its process id in the name.
- A file is never truncated: a process appends a section.
- Every batch is written at once, without buffering, so that the capture is complete even if the process crashes. Only
  the first packets may wait until the addresses are known: the handshake can be over before there is a path.
- A checksum that was omitted (RFC 9653) is filled in, because Wireshark would report it as wrong. Others stay as sent.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import stat
import sys
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from datachan import pcapng
from datachan.log_rate import get_limited_logger
from datachan.sctp.wire.packet import with_checksum

if sys.platform != "win32":
    import fcntl

_log = get_limited_logger("datachan.trace")

VARIABLE: Final = "DATACHAN_TRACE"
"""The environment variable with a file, or a folder, to write captures to."""

Address = tuple[str, int]

# Addresses for documentation (RFC 5737), shown until the real ones are known.
_HERE: Final[Address] = ("192.0.2.1", pcapng.SCTP_OVER_UDP_PORT)
_THERE: Final[Address] = ("192.0.2.2", pcapng.SCTP_OVER_UDP_PORT)
_SECTION: Final = b"\x0a\x0d\x0d\x0a"
# A symbolic link could lead to any file, and opening a pipe could block.
_SAFELY: Final = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_LONGEST: Final = 65507 - 20  # fits into UDP over IPv4 and over IPv6
_MOST_HELD: Final = 64  # packets that wait for their addresses

_files: dict[tuple[int, str], _CaptureFile] = {}
_lock: Final = threading.Lock()


class Tap:
    """Writes the packets of one endpoint or connection to the capture, until `close`.

    The methods never raise: when the file cannot be written, the capture ends with a warning.
    """

    def __init__(self, file: _CaptureFile, name: str) -> None:
        self._file = file
        self._interface = file.add_interface(name)
        self._local, self._remote = _HERE, _THERE
        self._held: list[tuple[bytes, float, bool]] | None = None
        self._closed = False

    @property
    def path(self) -> Path:
        """The path of the file."""
        return self._file.path

    def wait_for_addresses(self) -> None:
        """Keep the first packets until `set_addresses`, at most 64 of them."""
        self._held = []

    def set_addresses(self, local: Address, remote: Address) -> None:
        """Set the UDP addresses of the packets that follow, for calls that do not name addresses."""
        self._local, self._remote = local, remote
        self._release()

    def sent(self, packets: Sequence[bytes], local: Address | None = None, remote: Address | None = None) -> None:
        """Write SCTP packets that were sent."""
        self._take(packets, local, remote, outgoing=True)

    def received(self, packets: Sequence[bytes], local: Address | None = None, remote: Address | None = None) -> None:
        """Write SCTP packets that were received."""
        self._take(packets, local, remote, outgoing=False)

    def close(self) -> None:
        """Stop writing; the last tap of a file closes it."""
        if not self._closed:
            self._release()
            self._closed = True
            self._file.release()

    def _take(self, packets: Sequence[bytes], local: Address | None, remote: Address | None, *, outgoing: bool) -> None:
        """Write packets, or keep them while nothing is known of their addresses."""
        seconds = self._file.now()
        if self._held is not None and local is None and remote is None:
            self._held += [(packet, seconds, outgoing) for packet in packets]
            if len(self._held) > _MOST_HELD:
                self._release()
            return
        self._write(packets, seconds, local or self._local, remote or self._remote, outgoing=outgoing)

    def _release(self) -> None:
        """Write the packets that were kept, in their order and with their times."""
        held, self._held = self._held or [], None
        for packet, seconds, outgoing in held:
            self._write([packet], seconds, self._local, self._remote, outgoing=outgoing)

    def _write(
        self, packets: Sequence[bytes], seconds: float, local: Address, remote: Address, *, outgoing: bool
    ) -> None:
        local, remote = _shown(local, remote)
        (source, source_port), (destination, destination_port) = (local, remote) if outgoing else (remote, local)
        addresses = _packed(source, destination)
        blocks = []
        for packet in packets:
            datagram = pcapng.udp_datagram(with_checksum(packet[:_LONGEST]), *addresses, source_port, destination_port)
            blocks.append(pcapng.packet(datagram, seconds, interface=self._interface, outgoing=outgoing))
        self._file.write(b"".join(blocks))


def open_tap(path: str | os.PathLike[str] | None, name: str) -> Tap | None:
    """Return a tap for a connection or endpoint; None if no capture is configured.

    Args:
        path: a file, or a folder in which each process writes a file of its own; None uses the path in the environment
            variable DATACHAN_TRACE.
        name: the name of the interface in the capture.

    Raises:
        OSError: the file cannot be written, or is not a capture. With the environment's path this is only logged.
    """
    if path is not None:
        return Tap(_open(os.fspath(path)), name)
    path = os.environ.get(VARIABLE)
    if not path:
        return None
    try:
        return Tap(_open(path), name)
    except OSError as error:
        _log.warning("%s: no capture is written: %s", VARIABLE, error)
        return None


class _CaptureFile:
    """One file, which is open while it has taps."""

    def __init__(self, key: tuple[int, str], path: str) -> None:
        self._key = key
        self._users = 0
        self._interfaces = 0
        # Times only grow, even if the system's clock is set back.
        self._epoch = time.time() - time.monotonic()
        self._file, self.path = _open_file(path)
        self.write(pcapng.section(f"datachan {os.path.basename(sys.argv[0]) or 'python'} {os.getpid()}"))

    def now(self) -> float:
        return self._epoch + time.monotonic()

    def add_interface(self, name: str) -> int:
        with _lock:
            number = self._interfaces
            self._interfaces += 1
            self.write(pcapng.interface(name, pcapng.LINK_TYPE_RAW))
        return number

    def write(self, blocks: bytes) -> None:
        """Write complete blocks."""
        if self._file < 0:
            return
        try:
            written = os.write(self._file, blocks)
        except OSError as error:
            self._give_up(error.strerror or str(error))
        else:
            if written < len(blocks):
                self._give_up("no space is left on the device")

    def use(self) -> _CaptureFile:
        self._users += 1
        return self

    def release(self) -> None:
        with _lock:
            self._users -= 1
            if self._users == 0:
                _files.pop(self._key, None)
                self._close()

    def _give_up(self, reason: str) -> None:
        _log.warning("the capture %s ends here: %s", self.path, reason)
        self._close()

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _open(path: str) -> _CaptureFile:
    key = os.getpid(), os.path.realpath(path) + (os.sep if path.endswith(os.sep) else "")
    with _lock:
        if key not in _files:
            _files[key] = _CaptureFile(key, path)
        return _files[key].use()


def _open_file(text: str) -> tuple[int, Path]:
    """Open the file, or one beside it if another process has it; return the descriptor and the path."""
    path = Path(text)
    if path.is_dir() or text.endswith(os.sep):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        program = Path(sys.argv[0]).stem.strip("-_") or "python"
        path /= f"{program}-{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.pcapng"
    for candidate in (path, path.with_stem(f"{path.stem}-{os.getpid()}")):
        # Other users must not read it: it contains what DTLS encrypts.
        file = os.open(candidate, os.O_RDWR | os.O_CREAT | os.O_APPEND | _SAFELY, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError(errno.EINVAL, "a capture goes into a regular file", str(candidate))
            if _lock_file(file):
                head = os.read(file, 4)
                if head not in (b"", _SECTION):
                    raise FileExistsError(f"{candidate} exists and is not a pcapng file")
                _require_private(file, candidate)
                return file, candidate
        except BaseException:
            os.close(file)
            raise
        os.close(file)
    raise OSError(f"{path} is being written by another process")


def _require_private(file: int, path: Path) -> None:
    """Raise PermissionError unless the file is ours and no other user may read it.

    In a folder that others may write to, such as /tmp, another user may have created it first.
    """
    status = os.fstat(file)
    if sys.platform == "win32":
        return
    if status.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "the file belongs to another user", str(path))
    if status.st_mode & 0o077:
        raise PermissionError(errno.EPERM, "other users may open the file; use chmod 600", str(path))


def _lock_file(file: int) -> bool:
    """Lock the file; return whether it is ours. Windows has no such lock: there, give each process its own file."""
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _shown(local: Address, remote: Address) -> tuple[Address, Address]:
    """Return the addresses for the capture: Wireshark dissects UDP as SCTP if one side has port 9899."""
    if pcapng.SCTP_OVER_UDP_PORT in (local[1], remote[1]):
        return local, remote
    return (local[0], pcapng.SCTP_OVER_UDP_PORT), remote


def _packed(source: str, destination: str) -> tuple[bytes, bytes]:
    """Return both addresses as bytes, in the same family."""
    try:
        one, other = ipaddress.ip_address(source.partition("%")[0]), ipaddress.ip_address(destination.partition("%")[0])
    except ValueError:  # a host name
        one, other = ipaddress.ip_address(_HERE[0]), ipaddress.ip_address(_THERE[0])
    if one.version == other.version:
        return one.packed, other.packed
    return _as_ipv6(one.packed), _as_ipv6(other.packed)


def _as_ipv6(packed: bytes) -> bytes:
    return packed if len(packed) == 16 else bytes(10) + b"\xff\xff" + packed
