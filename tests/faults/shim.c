/* Counts the file-system calls of a process below one folder, and makes one of them fail, transfer less, or kill the process.

   Loaded by LD_PRELOAD. Does nothing until `shim_arm` is called (by ctypes) with the folder, the number of the call from 1,
   and the action. `shim_log` makes it write the calls to a descriptor: their kinds, one per line, or with `trace` the
   changes themselves, as `struct record` and its bytes, in the order in which they took effect.
*/
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum action { NOTHING, FAIL, FAIL_FROM_HERE, SHORT, KILL_BEFORE, KILL_AFTER, KILL_TORN };
enum { DESCRIPTORS = 1 << 16 };

struct record { /* followed by `first` and `second` bytes: paths, or written data */
    char kind[12];
    int32_t descriptor, flags;
    int64_t offset;
    uint32_t first, second;
};

static char prefix[PATH_MAX];
static size_t prefix_length;
static enum action action;
static long target, calls;
static int error_number, log_descriptor = -1, tracing;
static char *paths[DESCRIPTORS]; /* of the descriptors below the prefix */
static char written[DESCRIPTORS]; /* whether they are open for writing */
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;

void shim_arm(const char *folder, long number, int what, int error) {
    snprintf(prefix, sizeof prefix, "%s", folder);
    prefix_length = strlen(prefix);
    target = number, action = what, error_number = error, calls = 0;
}

void shim_log(int descriptor, int trace) { log_descriptor = descriptor, tracing = trace; }

long shim_calls(void) { return calls; }

/* -- which calls count ---------------------------------------------------------------------------------------------- */

static int is_below(const char *path) {
    return prefix_length && strncmp(path, prefix, prefix_length) == 0 &&
           (path[prefix_length] == '/' || path[prefix_length] == 0);
}

static const char *path_of(int descriptor) {
    return descriptor >= 0 && descriptor < DESCRIPTORS ? paths[descriptor] : NULL;
}

/* The absolute path, in `out`, if it is below the prefix; NULL otherwise. */
static const char *resolve(int folder, const char *path, char *out) {
    if (!prefix_length || !path) return NULL;
    if (path[0] == '/') {
        snprintf(out, PATH_MAX, "%s", path);
    } else if (folder == AT_FDCWD) {
        char here[PATH_MAX];
        if (syscall(SYS_getcwd, here, sizeof here) < 0) return NULL;
        snprintf(out, PATH_MAX, "%s/%s", here, path);
    } else if (path_of(folder)) {
        snprintf(out, PATH_MAX, "%s/%s", path_of(folder), path);
    } else {
        return NULL;
    }
    return is_below(out) ? out : NULL;
}

static void opened(int descriptor, const char *path, int writes) {
    if (descriptor < 0 || descriptor >= DESCRIPTORS) return;
    written[descriptor] = writes;
    char *old = __atomic_exchange_n(&paths[descriptor], path ? strdup(path) : NULL, __ATOMIC_SEQ_CST);
    free(old);
}

/* -- actions -------------------------------------------------------------------------------------------------------- */

/* The traits of a call, which decide the errors that it can return: reading succeeds on a full disk. */
enum { READS = 1, NEEDS_SPACE = 2, NEEDS_DESCRIPTOR = 4, TRANSFERS = 8, CANNOT_FAIL = 16 };

static int may_fail(int traits) {
    if (traits & CANNOT_FAIL) return 0;
    switch (error_number) {
    case ENOSPC: return traits & NEEDS_SPACE;
    case EMFILE: return traits & NEEDS_DESCRIPTOR;
    default: return 1;
    }
}

/* The action for this call. Counts and logs the call, and kills the process for KILL_BEFORE. */
static enum action decide(const char *kind, int traits) {
    long number = __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    if (log_descriptor >= 0 && !tracing) {
        char line[64];
        int length = snprintf(line, sizeof line, "%s %d\n", kind, traits);
        syscall(SYS_write, log_descriptor, line, length);
    }
    if (!target || number < target) return NOTHING;
    if (action == FAIL_FROM_HERE) return may_fail(traits) ? FAIL : NOTHING;
    if (number > target) return NOTHING;
    if (action == KILL_BEFORE) kill(getpid(), SIGKILL);
    return action;
}

static void end_if(enum action now) {
    if (now == KILL_AFTER || now == KILL_TORN) kill(getpid(), SIGKILL);
}

static size_t length_of(enum action now, size_t wanted) {
    return (now == SHORT || now == KILL_TORN) && wanted > 1 ? wanted / 2 : wanted;
}

static void trace(const char *kind, int descriptor, int flags, int64_t offset, const void *first, size_t first_length,
                  const void *second, size_t second_length) {
    if (!tracing || log_descriptor < 0) return;
    int kept = errno;
    struct record record = {.descriptor = descriptor, .flags = flags, .offset = offset};
    snprintf(record.kind, sizeof record.kind, "%s", kind);
    record.first = first_length, record.second = second_length;
    struct iovec parts[] = {{&record, sizeof record}, {(void *)first, first_length}, {(void *)second, second_length}};
    syscall(SYS_writev, log_descriptor, parts, 3);
    errno = kept;
}

static void trace_path(const char *kind, int descriptor, int flags, const char *path) {
    trace(kind, descriptor, flags, 0, path, strlen(path), NULL, 0);
}

static void in_order(void) { if (tracing) pthread_mutex_lock(&order); }
static void out_of_order(void) { if (tracing) pthread_mutex_unlock(&order); }

#define REAL(name)                                                                                                     \
    static __typeof__(&name) real;                                                                                     \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define FAIL_IF(now, value)                                                                                            \
    if ((now) == FAIL) {                                                                                               \
        errno = error_number;                                                                                          \
        return value;                                                                                                  \
    }

/* A call that reads information about a path. */
#define BY_PATH(type, name, arguments, given, folder, path, kind, traits, failed)                                      \
    type name arguments {                                                                                              \
        REAL(name);                                                                                                    \
        char buffer[PATH_MAX];                                                                                         \
        if (!resolve(folder, path, buffer)) return real given;                                                         \
        enum action now = decide(kind, traits);                                                                        \
        FAIL_IF(now, failed);                                                                                          \
        type result = real given;                                                                                      \
        end_if(now);                                                                                                   \
        return result;                                                                                                 \
    }

/* A call that changes a path. */
#define CHANGES(name, arguments, given, folder, path, kind, traits, flags)                                             \
    int name arguments {                                                                                               \
        REAL(name);                                                                                                    \
        char buffer[PATH_MAX];                                                                                         \
        if (!resolve(folder, path, buffer)) return real given;                                                         \
        enum action now = decide(kind, traits);                                                                        \
        FAIL_IF(now, -1);                                                                                              \
        in_order();                                                                                                    \
        int result = real given;                                                                                       \
        if (result == 0) trace_path(kind, -1, flags, buffer);                                                          \
        out_of_order();                                                                                                \
        end_if(now);                                                                                                   \
        return result;                                                                                                 \
    }

/* A call that renames or links a path. */
#define FROM_TO(name, arguments, given, from_folder, from, to_folder, to, kind)                                        \
    int name arguments {                                                                                               \
        REAL(name);                                                                                                    \
        char source[PATH_MAX], place[PATH_MAX];                                                                        \
        const char *below = resolve(to_folder, to, place);                                                             \
        if (!resolve(from_folder, from, source) && !below) return real given;                                          \
        enum action now = decide(kind, NEEDS_SPACE);                                                                   \
        FAIL_IF(now, -1);                                                                                              \
        in_order();                                                                                                    \
        int result = real given;                                                                                       \
        if (result == 0) trace(kind, -1, 0, 0, source, strlen(source), place, strlen(place));                          \
        out_of_order();                                                                                                \
        end_if(now);                                                                                                   \
        return result;                                                                                                 \
    }

/* A call on an open file. */
#define BY_DESCRIPTOR(type, name, arguments, given, descriptor, kind, traits, failed)                                  \
    type name arguments {                                                                                              \
        REAL(name);                                                                                                    \
        if (!path_of(descriptor)) return real given;                                                                   \
        enum action now = decide(kind, traits);                                                                        \
        FAIL_IF(now, failed);                                                                                          \
        type result = real given;                                                                                      \
        end_if(now);                                                                                                   \
        return result;                                                                                                 \
    }

/* -- opening and closing -------------------------------------------------------------------------------------------- */

static int open_traits(int flags) { return NEEDS_DESCRIPTOR | ((flags & O_CREAT) ? NEEDS_SPACE : 0); }

#define OPENS(name, arguments, given, folder, path, flags)                                                             \
    int name arguments {                                                                                               \
        REAL(name);                                                                                                    \
        mode_t mode = 0;                                                                                               \
        if (flags & (O_CREAT | __O_TMPFILE)) {                                                                         \
            va_list rest;                                                                                              \
            va_start(rest, flags);                                                                                     \
            mode = va_arg(rest, mode_t);                                                                               \
            va_end(rest);                                                                                              \
        }                                                                                                              \
        char buffer[PATH_MAX];                                                                                         \
        if (!resolve(folder, path, buffer)) return real given;                                                         \
        enum action now = decide("open", open_traits(flags));                                                          \
        FAIL_IF(now, -1);                                                                                              \
        in_order();                                                                                                    \
        int result = real given;                                                                                       \
        if (result >= 0) opened(result, buffer, (flags & O_ACCMODE) != O_RDONLY), trace_path("open", result, flags, buffer);                            \
        out_of_order();                                                                                                \
        end_if(now);                                                                                                   \
        return result;                                                                                                 \
    }

OPENS(open, (const char *path, int flags, ...), (path, flags, mode), AT_FDCWD, path, flags)
OPENS(open64, (const char *path, int flags, ...), (path, flags, mode), AT_FDCWD, path, flags)
OPENS(openat, (int folder, const char *path, int flags, ...), (folder, path, flags, mode), folder, path, flags)
OPENS(openat64, (int folder, const char *path, int flags, ...), (folder, path, flags, mode), folder, path, flags)

#define FOPENS(name)                                                                                                   \
    FILE *name(const char *path, const char *mode) {                                                                   \
        REAL(name);                                                                                                    \
        char buffer[PATH_MAX];                                                                                         \
        if (!resolve(AT_FDCWD, path, buffer)) return real(path, mode);                                                 \
        enum action now = decide("fopen", open_traits(mode[0] == 'r' ? 0 : O_CREAT));                                  \
        FAIL_IF(now, NULL);                                                                                            \
        FILE *result = real(path, mode);                                                                               \
        if (result) opened(fileno(result), buffer, mode[0] != 'r');                                                                    \
        end_if(now);                                                                                                   \
        return result;                                                                                                 \
    }
FOPENS(fopen)
FOPENS(fopen64)

size_t fwrite(const void *data, size_t size, size_t count, FILE *file) {
    REAL(fwrite);
    if (!path_of(fileno(file))) return real(data, size, count, file);
    enum action now = decide("fwrite", NEEDS_SPACE);
    FAIL_IF(now, 0);
    size_t result = real(data, size, count, file);
    end_if(now);
    return result;
}

int fflush(FILE *file) {
    REAL(fflush);
    if (!file || !path_of(fileno(file))) return real(file);
    enum action now = decide("fflush", NEEDS_SPACE);
    FAIL_IF(now, EOF);
    int result = real(file);
    end_if(now);
    return result;
}

/* Closing a file can report a failed write, but only if the file was open for writing. */
static int close_traits(int descriptor) { return written[descriptor] ? NEEDS_SPACE : CANNOT_FAIL; }

/* A descriptor is closed even if closing it reports an error. */
int fclose(FILE *file) {
    REAL(fclose);
    int descriptor = fileno(file);
    if (!path_of(descriptor)) return real(file);
    enum action now = decide("fclose", close_traits(descriptor));
    opened(descriptor, NULL, 0);
    int result = real(file);
    FAIL_IF(now, EOF);
    end_if(now);
    return result;
}

int close(int descriptor) {
    REAL(close);
    if (!path_of(descriptor)) return real(descriptor);
    enum action now = decide("close", close_traits(descriptor));
    in_order();
    opened(descriptor, NULL, 0);
    int result = real(descriptor);
    trace("close", descriptor, 0, 0, NULL, 0, NULL, 0);
    out_of_order();
    FAIL_IF(now, -1);
    end_if(now);
    return result;
}

static int copied(int from, int to) {
    if (to >= 0 && path_of(from)) opened(to, path_of(from), written[from]), trace("dup", to, from, 0, NULL, 0, NULL, 0);
    return to;
}

int dup(int descriptor) { REAL(dup); return copied(descriptor, real(descriptor)); }
int dup2(int from, int to) { REAL(dup2); return copied(from, real(from, to)); }
int dup3(int from, int to, int flags) { REAL(dup3); return copied(from, real(from, to, flags)); }

#define FCNTLS(name)                                                                                                   \
    int name(int descriptor, int command, ...) {                                                                       \
        REAL(name);                                                                                                    \
        va_list rest;                                                                                                  \
        va_start(rest, command);                                                                                       \
        void *argument = va_arg(rest, void *);                                                                         \
        va_end(rest);                                                                                                  \
        int result = real(descriptor, command, argument);                                                              \
        return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? copied(descriptor, result) : result;                 \
    }
FCNTLS(fcntl)
FCNTLS(fcntl64)

/* -- reading and writing -------------------------------------------------------------------------------------------- */

#define READS_INTO(name, arguments, given)                                                                             \
    ssize_t name arguments {                                                                                           \
        REAL(name);                                                                                                    \
        if (!path_of(descriptor)) return real given;                                                                   \
        enum action now = decide("read", READS | TRANSFERS);                                                           \
        FAIL_IF(now, -1);                                                                                              \
        length = length_of(now, length);                                                                               \
        ssize_t result = real given;                                                                                   \
        end_if(now);                                                                                                   \
        return result;                                                                                                 \
    }
READS_INTO(read, (int descriptor, void *data, size_t length), (descriptor, data, length))
READS_INTO(pread, (int descriptor, void *data, size_t length, off_t offset), (descriptor, data, length, offset))
READS_INTO(pread64, (int descriptor, void *data, size_t length, off64_t offset), (descriptor, data, length, offset))

#define WRITES(name, arguments, given, ends_at)                                                                        \
    ssize_t name arguments {                                                                                           \
        REAL(name);                                                                                                    \
        if (!path_of(descriptor)) return real given;                                                                   \
        enum action now = decide("write", NEEDS_SPACE | TRANSFERS);                                                    \
        FAIL_IF(now, -1);                                                                                              \
        length = length_of(now, length);                                                                               \
        in_order();                                                                                                    \
        ssize_t result = real given;                                                                                   \
        if (result > 0) trace("write", descriptor, 0, (ends_at)-result, data, result, NULL, 0);                        \
        out_of_order();                                                                                                \
        end_if(now);                                                                                                   \
        return result;                                                                                                 \
    }
WRITES(write, (int descriptor, const void *data, size_t length), (descriptor, data, length),
       (int64_t)lseek(descriptor, 0, SEEK_CUR))
WRITES(pwrite, (int descriptor, const void *data, size_t length, off_t offset), (descriptor, data, length, offset),
       (int64_t)offset + result)
WRITES(pwrite64, (int descriptor, const void *data, size_t length, off64_t offset), (descriptor, data, length, offset),
       (int64_t)offset + result)

BY_DESCRIPTOR(ssize_t, readv, (int descriptor, const struct iovec *parts, int count), (descriptor, parts, count),
              descriptor, "read", READS, -1)
BY_DESCRIPTOR(ssize_t, writev, (int descriptor, const struct iovec *parts, int count), (descriptor, parts, count),
              descriptor, "write", NEEDS_SPACE, -1)

/* The real fsync is not called, to save time: only its place in the trace matters. */
#define FLUSHES(name)                                                                                                  \
    int name(int descriptor) {                                                                                         \
        REAL(name);                                                                                                    \
        if (!path_of(descriptor)) return real(descriptor);                                                             \
        enum action now = decide("fsync", NEEDS_SPACE);                                                                \
        FAIL_IF(now, -1);                                                                                              \
        in_order();                                                                                                    \
        trace("fsync", descriptor, 0, 0, NULL, 0, NULL, 0);                                                            \
        out_of_order();                                                                                                \
        end_if(now);                                                                                                   \
        return 0;                                                                                                      \
    }
FLUSHES(fsync)
FLUSHES(fdatasync)

#define TRUNCATES(name, offset_type)                                                                                   \
    int name(int descriptor, offset_type length) {                                                                     \
        REAL(name);                                                                                                    \
        if (!path_of(descriptor)) return real(descriptor, length);                                                     \
        enum action now = decide("ftruncate", 0);                                                                      \
        FAIL_IF(now, -1);                                                                                              \
        in_order();                                                                                                    \
        int result = real(descriptor, length);                                                                         \
        if (result == 0) trace("ftruncate", descriptor, 0, length, NULL, 0, NULL, 0);                                  \
        out_of_order();                                                                                                \
        end_if(now);                                                                                                   \
        return result;                                                                                                 \
    }
TRUNCATES(ftruncate, off_t)
TRUNCATES(ftruncate64, off64_t)

BY_DESCRIPTOR(int, flock, (int descriptor, int operation), (descriptor, operation), descriptor, "flock", 0, -1)
BY_DESCRIPTOR(void *, mmap, (void *at, size_t length, int protection, int flags, int descriptor, off_t offset),
              (at, length, protection, flags, descriptor, offset), descriptor, "mmap", 0, MAP_FAILED)
BY_DESCRIPTOR(void *, mmap64, (void *at, size_t length, int protection, int flags, int descriptor, off64_t offset),
              (at, length, protection, flags, descriptor, offset), descriptor, "mmap", 0, MAP_FAILED)

/* -- names ---------------------------------------------------------------------------------------------------------- */

CHANGES(mkdir, (const char *path, mode_t mode), (path, mode), AT_FDCWD, path, "mkdir", NEEDS_SPACE, 0)
CHANGES(mkdirat, (int folder, const char *path, mode_t mode), (folder, path, mode), folder, path, "mkdir", NEEDS_SPACE, 0)
CHANGES(rmdir, (const char *path), (path), AT_FDCWD, path, "rmdir", 0, 0)
CHANGES(unlink, (const char *path), (path), AT_FDCWD, path, "unlink", 0, 0)
CHANGES(unlinkat, (int folder, const char *path, int flags), (folder, path, flags), folder, path,
        flags & AT_REMOVEDIR ? "rmdir" : "unlink", 0, flags)
CHANGES(truncate, (const char *path, off_t length), (path, length), AT_FDCWD, path, "truncate", 0, (int)length)
FROM_TO(rename, (const char *from, const char *to), (from, to), AT_FDCWD, from, AT_FDCWD, to, "rename")
FROM_TO(renameat, (int source_folder, const char *from, int place_folder, const char *to),
        (source_folder, from, place_folder, to), source_folder, from, place_folder, to, "rename")
FROM_TO(link, (const char *from, const char *to), (from, to), AT_FDCWD, from, AT_FDCWD, to, "link")
FROM_TO(linkat, (int source_folder, const char *from, int place_folder, const char *to, int flags),
        (source_folder, from, place_folder, to, flags), source_folder, from, place_folder, to, "link")

#define SYMLINKS(name, arguments, given, folder)                                                                       \
    int name arguments {                                                                                               \
        REAL(name);                                                                                                    \
        char buffer[PATH_MAX];                                                                                         \
        if (!resolve(folder, to, buffer)) return real given;                                                           \
        enum action now = decide("symlink", NEEDS_SPACE);                                                              \
        FAIL_IF(now, -1);                                                                                              \
        in_order();                                                                                                    \
        int result = real given;                                                                                       \
        if (result == 0) trace("symlink", -1, 0, 0, from, strlen(from), buffer, strlen(buffer));                       \
        out_of_order();                                                                                                \
        end_if(now);                                                                                                   \
        return result;                                                                                                 \
    }
SYMLINKS(symlink, (const char *from, const char *to), (from, to), AT_FDCWD)
SYMLINKS(symlinkat, (const char *from, int folder, const char *to), (from, folder, to), folder)

/* -- status --------------------------------------------------------------------------------------------------------- */

BY_PATH(int, stat, (const char *path, struct stat *out), (path, out), AT_FDCWD, path, "stat", READS, -1)
BY_PATH(int, lstat, (const char *path, struct stat *out), (path, out), AT_FDCWD, path, "stat", READS, -1)
BY_PATH(int, stat64, (const char *path, struct stat64 *out), (path, out), AT_FDCWD, path, "stat", READS, -1)
BY_PATH(int, lstat64, (const char *path, struct stat64 *out), (path, out), AT_FDCWD, path, "stat", READS, -1)
BY_PATH(int, fstatat, (int folder, const char *path, struct stat *out, int flags), (folder, path, out, flags), folder,
        path, "stat", READS, -1)
BY_PATH(int, fstatat64, (int folder, const char *path, struct stat64 *out, int flags), (folder, path, out, flags), folder,
        path, "stat", READS, -1)
BY_PATH(int, statx, (int folder, const char *path, int flags, unsigned mask, struct statx *out),
        (folder, path, flags, mask, out), folder, path, "stat", READS, -1)
BY_DESCRIPTOR(int, fstat, (int descriptor, struct stat *out), (descriptor, out), descriptor, "stat", READS, -1)
BY_DESCRIPTOR(int, fstat64, (int descriptor, struct stat64 *out), (descriptor, out), descriptor, "stat", READS, -1)
BY_PATH(int, access, (const char *path, int mode), (path, mode), AT_FDCWD, path, "access", READS, -1)
BY_PATH(int, faccessat, (int folder, const char *path, int mode, int flags), (folder, path, mode, flags), folder, path,
        "access", READS, -1)
BY_PATH(ssize_t, readlink, (const char *path, char *out, size_t size), (path, out, size), AT_FDCWD, path, "readlink",
        READS, -1)
BY_PATH(ssize_t, readlinkat, (int folder, const char *path, char *out, size_t size), (folder, path, out, size), folder,
        path, "readlink", READS, -1)

/* Used by interpreters that were built against an old C library. */
int __xstat(int version, const char *path, struct stat *out) { (void)version; return stat(path, out); }
int __lxstat(int version, const char *path, struct stat *out) { (void)version; return lstat(path, out); }
int __fxstat(int version, int descriptor, struct stat *out) { (void)version; return fstat(descriptor, out); }
int __xstat64(int version, const char *path, struct stat64 *out) { (void)version; return stat64(path, out); }
int __lxstat64(int version, const char *path, struct stat64 *out) { (void)version; return lstat64(path, out); }
int __fxstat64(int version, int descriptor, struct stat64 *out) { (void)version; return fstat64(descriptor, out); }
int __fxstatat(int version, int folder, const char *path, struct stat *out, int flags) {
    (void)version;
    return fstatat(folder, path, out, flags);
}
int __fxstatat64(int version, int folder, const char *path, struct stat64 *out, int flags) {
    (void)version;
    return fstatat64(folder, path, out, flags);
}

static DIR *listed(DIR *folder, const char *path) {
    if (folder) opened(dirfd(folder), path, 0);
    return folder;
}

DIR *opendir(const char *path) {
    REAL(opendir);
    char buffer[PATH_MAX];
    if (!resolve(AT_FDCWD, path, buffer)) return real(path);
    enum action now = decide("opendir", READS | NEEDS_DESCRIPTOR);
    FAIL_IF(now, NULL);
    DIR *result = listed(real(path), buffer);
    end_if(now);
    return result;
}

int closedir(DIR *folder) {
    REAL(closedir);
    if (path_of(dirfd(folder))) {
        trace("close", dirfd(folder), 0, 0, NULL, 0, NULL, 0);
        opened(dirfd(folder), NULL, 0);
    }
    return real(folder);
}

BY_DESCRIPTOR(struct dirent *, readdir, (DIR *folder), (folder), dirfd(folder), "getdents", READS, NULL)
BY_DESCRIPTOR(struct dirent64 *, readdir64, (DIR *folder), (folder), dirfd(folder), "getdents", READS, NULL)
