"""The file system under a run: clear errors, atomic replacement, one writer, nothing kept by children."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import weakref
from pathlib import Path

from upwell.errors import StorageError, UsageError

_open_files: weakref.WeakSet[OpenFile] = weakref.WeakSet()


class OpenFile:
    """A file descriptor that forked children give up at once.

    A grading worker forked from the driver would otherwise share the driver's lock, and keep the run
    locked after the driver itself was killed.
    """

    def __init__(self, path: Path, flags: int) -> None:
        self.fd = os.open(path, flags | os.O_CLOEXEC, 0o666)
        _open_files.add(self)

    def close(self) -> None:
        """Close it; a second call does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def _close_in_child() -> None:
    for file in list(_open_files):
        with contextlib.suppress(OSError):
            file.close()


os.register_at_fork(after_in_child=_close_in_child)


class WriterLock:
    """The right to write one run directory, held until `close` or the end of the process, even by kill -9.

    The lock is on the file's inode, so the file is never replaced or removed; what it says (process and
    host) is only for the message that a second writer gets.
    """

    def __init__(self, run: Path) -> None:
        path = run / ".lock"
        try:
            self._file = OpenFile(path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise storage_error(path, error) from None
        try:
            fcntl.flock(self._file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._file.fd, 300, 0).decode("utf-8", "replace").strip()
            self._file.close()
            raise _held(run, holder) from None
        except OSError as error:
            self._file.close()
            raise StorageError(
                f"cannot lock `{path}`: {error.strerror}",
                "choose an --out on a file system that has locks, such as a local disk",
            ) from None
        try:
            os.ftruncate(self._file.fd, 0)
            os.pwrite(self._file.fd, f"{os.getpid()} {os.uname().nodename}\n".encode(), 0)
        except OSError as error:
            self._file.close()
            raise storage_error(path, error) from None

    def close(self) -> None:
        """Let the next writer in."""
        self._file.close()


def _held(run: Path, holder: str) -> UsageError:
    pid, _, host = holder.partition(" ")
    if pid == str(os.getpid()) and host == os.uname().nodename:
        return UsageError(
            f"`{run}` is already open for writing in this process", "close the other `Run` first"
        )
    return UsageError(
        f"`{run}` is being written by another process: {pid or 'unknown'} on {host or 'an unknown host'}",
        "wait until it ends, or choose another --out"
        + (f"; to stop it: `kill {pid}` on {host}" if pid.isdigit() else ""),
    )


def storage_error(path: Path, error: OSError) -> StorageError:
    """The error to show for a write that the system refused: what is wrong and what to do about it."""
    again = "then run the same command again: complete rows are kept and only the rest is made"
    match error.errno:
        case errno.ENOSPC:
            with contextlib.suppress(OSError):
                free = shutil.disk_usage(path.parent).free
                return StorageError(
                    f"disk full: cannot write `{path}` ({free / 2**20:.1f} MiB free)",
                    f"free some space, {again}",
                )
            return StorageError(f"disk full: cannot write `{path}`", f"free some space, {again}")
        case errno.EDQUOT:
            return StorageError(
                f"disk quota used up: cannot write `{path}`", f"free some of your space, {again}"
            )
        case errno.EFBIG:
            return StorageError(
                f"file size limit reached: cannot write `{path}`",
                f"raise it (`ulimit -f unlimited`), {again}",
            )
    return StorageError(
        f"cannot write `{path}`: {error.strerror or error}",
        "choose a place that this user may write, such as --out runs/first",
    )


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` at `path` so that a reader, or a crash, finds the old content or the new, never a mixture.

    Only for a holder of the run's lock: the temporary file has a fixed name, so that kills leave at most one.

    Raises:
        StorageError: It could not be written; the old content is still there.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise storage_error(path, error) from None


def sync_folder(folder: Path) -> None:
    """Make the folder's entries (files created, renamed or removed in it) safe from a power loss."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        # Some network and user-space file systems cannot sync a folder; there is nothing better to do.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise
    finally:
        os.close(fd)
