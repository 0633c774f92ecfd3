/* Preloaded into the node's processes: a wall clock that steps, a file system that turns read-only.
 *
 * SENTINEL_CHAOS_CONTROL names a file of two int64: nanoseconds to add to the wall clock, and
 * whether changes below SENTINEL_CHAOS_DATA fail with EROFS. The kernel refuses a real
 * `mount -o remount,ro` while a file is open for writing, and SQLite always has one open; what a
 * file system does that turns itself read-only after an I/O error is what this does. Stepping the
 * machine's own clock would step everybody's. The monotonic clock stays, as it does in reality.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))

static volatile int64_t *control;
static const char *data;
static size_t data_length;

__attribute__((constructor)) static void prepare(void) {
    const char *path = getenv("SENTINEL_CHAOS_CONTROL");
    data = getenv("SENTINEL_CHAOS_DATA");
    data_length = data ? strlen(data) : 0;
    if (!path) return;
    int fd = REAL(open)(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    void *memory = mmap(NULL, 16, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (memory != MAP_FAILED) control = memory;
}

static int64_t offset_ns(void) { return control ? control[0] : 0; }

static void add(struct timespec *t, int64_t ns) {
    int64_t sum = t->tv_nsec + ns % 1000000000;
    t->tv_sec += ns / 1000000000;
    if (sum < 0) { sum += 1000000000; t->tv_sec--; }
    if (sum >= 1000000000) { sum -= 1000000000; t->tv_sec++; }
    t->tv_nsec = sum;
}

int clock_gettime(clockid_t clock, struct timespec *t) {
    static typeof(&clock_gettime) real;
    if (!real) real = REAL(clock_gettime);
    int done = real(clock, t);
    if (!done && clock == CLOCK_REALTIME) add(t, offset_ns());
    return done;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone) {
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    t->tv_sec = now.tv_sec;
    t->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *t) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (t) *t = now.tv_sec;
    return now.tv_sec;
}

static int refused(const char *path) {
    if (!control || !control[1] || !data_length || !path) return 0;
    if (strncmp(path, data, data_length)) return 0;
    errno = EROFS;
    return 1;
}

static int refused_fd(int fd) {
    char link[64], path[PATH_MAX];
    if (!control || !control[1]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return refused(path);
}

#define WRITES(flags) (((flags) & O_ACCMODE) != O_RDONLY || ((flags) & (O_CREAT | O_TRUNC)))
#define OPENED(name)                                                        \
    int name(const char *path, int flags, ...) {                            \
        va_list more;                                                       \
        va_start(more, flags);                                              \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, mode_t) : 0; \
        va_end(more);                                                       \
        int exists = (flags & O_EXCL) && !access(path, F_OK);               \
        if (WRITES(flags) && !exists && refused(path)) return -1;           \
        return REAL(name)(path, flags, mode);                               \
    }
OPENED(open)
OPENED(open64)

int link(const char *a, const char *b) { return refused(b) ? -1 : REAL(link)(a, b); }
int linkat(int x, const char *a, int y, const char *b, int flags) {
    return refused(b) ? -1 : REAL(linkat)(x, a, y, b, flags);
}
int unlink(const char *a) { return refused(a) ? -1 : REAL(unlink)(a); }
int rename(const char *a, const char *b) { return refused(b) ? -1 : REAL(rename)(a, b); }
/* The kernel says EEXIST first, where there is something: also for O_EXCL above. */
int mkdir(const char *a, mode_t mode) {
    return access(a, F_OK) && refused(a) ? -1 : REAL(mkdir)(a, mode);
}
ssize_t pwrite(int fd, const void *bytes, size_t n, off_t at) {
    return refused_fd(fd) ? -1 : REAL(pwrite)(fd, bytes, n, at);
}
ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t at) {
    return refused_fd(fd) ? -1 : REAL(pwrite64)(fd, bytes, n, at);
}
