"""Parts of files that are in memory already, read without ever waiting for the disk."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

cdef extern from *:
    """
    #if defined(__linux__)
    #include <errno.h>
    #include <sys/types.h>
    #include <sys/uio.h>
    #include <sys/vfs.h>
    #include <unistd.h>
    #define LIBRATS_TMPFS 0x01021994
    #endif

    static Py_ssize_t librats_read_cached(int descriptor, char *out, size_t size, long long offset) {
    #if defined(__linux__) && defined(RWF_NOWAIT)
        struct iovec part = {out, size};
        struct statfs system;
        Py_ssize_t got = (Py_ssize_t)preadv2(descriptor, &part, 1, (off_t)offset, RWF_NOWAIT);
        /* tmpfs has no such flag, and nothing that is not in memory. */
        if (got < 0 && errno == EOPNOTSUPP && !fstatfs(descriptor, &system) && system.f_type == LIBRATS_TMPFS)
            got = (Py_ssize_t)pread(descriptor, out, size, (off_t)offset);
        return got;
    #else
        (void)descriptor;
        (void)out;
        (void)size;
        (void)offset;
        return -1;
    #endif
    }
    """
    Py_ssize_t librats_read_cached(int descriptor, char* out, size_t size, long long offset) noexcept nogil


def read_cached(int descriptor, Py_ssize_t size, long long offset):
    """Read a part of a file where all of it is in memory.

    Args:
        descriptor: The file.
        size: Bytes of the part.
        offset: Bytes before it.

    Returns:
        The part; None where some of it is not in memory or not in the file, or where the system or the file system
        cannot tell.

    Raises:
        ValueError: The size is negative.

    Example:
        >>> import tempfile
        >>> from librats._core.page_cache import read_cached
        >>> with tempfile.TemporaryFile(buffering=0) as file:
        ...     _ = file.write(b"hello")
        ...     read_cached(file.fileno(), 4, 1) in (b"ello", None)
        True
    """
    cdef bytes data
    cdef char* out
    cdef Py_ssize_t got
    if size < 0:
        raise ValueError("a part of negative size")
    data = PyBytes_FromStringAndSize(NULL, size)
    out = PyBytes_AS_STRING(data)
    with nogil:
        got = librats_read_cached(descriptor, out, size, offset)
    return data if got == size else None
