/* Logs the calls of a receiver in their order, with what they act on. For LD_PRELOAD.

   ORDER_LOG gets one line for each: a word, a path or what was sent (the bytes in hex).
   A line is written after the call returned, but for send: before it. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))

static int log_fd = -2;

static void say(const char *word, const char *what) {
    char line[5000];
    static ssize_t (*put)(int, const void *, size_t);
    if (!put) put = REAL(write);
    if (log_fd == -2) {
        const char *path = getenv("ORDER_LOG");
        log_fd = path ? REAL(open)(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    }
    if (log_fd < 0) return;
    int length = snprintf(line, sizeof line, "%s %s\n", word, what);
    if (put(log_fd, line, length) != length) log_fd = -1;
}

static void say_fd(const char *word, int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0 || path[0] != '/') return;
    path[length] = 0;
    if (strncmp(path, "/dev", 4) && strncmp(path, "/proc", 5)) say(word, path);
}

#define OPENED(name)                                                              \
    int name(const char *path, int flags, ...) {                                  \
        va_list more;                                                             \
        va_start(more, flags);                                                    \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, mode_t) : 0; \
        va_end(more);                                                             \
        int fd = REAL(name)(path, flags, mode);                                   \
        if (fd >= 0 && (flags & O_EXCL)) say_fd("create", fd);                    \
        return fd;                                                                \
    }
OPENED(open)
OPENED(open64)


ssize_t write(int fd, const void *bytes, size_t n) {
    ssize_t done = REAL(write)(fd, bytes, n);
    if (done > 0) say_fd("write", fd);
    return done;
}
ssize_t writev(int fd, const struct iovec *parts, int n) {
    ssize_t done = REAL(writev)(fd, parts, n);
    if (done > 0) say_fd("write", fd);
    return done;
}
ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t at) {
    ssize_t done = REAL(pwrite64)(fd, bytes, n, at);
    if (done > 0) say_fd("write", fd);
    return done;
}
ssize_t pwrite(int fd, const void *bytes, size_t n, off_t at) {
    ssize_t done = REAL(pwrite)(fd, bytes, n, at);
    if (done > 0) say_fd("write", fd);
    return done;
}
int fsync(int fd) {
    int done = REAL(fsync)(fd);
    if (!done) say_fd("fsync", fd);
    return done;
}
int fdatasync(int fd) {
    int done = REAL(fdatasync)(fd);
    if (!done) say_fd("fsync", fd);
    return done;
}
static void say_two(const char *a, const char *b) {
    char both[4600];
    snprintf(both, sizeof both, "%s %s", a, b);
    say("link", both);
}
int link(const char *a, const char *b) {
    int done = REAL(link)(a, b);
    if (!done) say_two(a, b);
    return done;
}
int linkat(int x, const char *a, int y, const char *b, int flags) {
    int done = REAL(linkat)(x, a, y, b, flags);
    if (!done) say_two(a, b);
    return done;
}
int unlink(const char *a) {
    say("unlink", a);
    return REAL(unlink)(a);
}
int mkdir(const char *a, mode_t mode) {
    int done = REAL(mkdir)(a, mode);
    if (!done) say("mkdir", a);
    return done;
}
ssize_t send(int fd, const void *bytes, size_t n, int flags) {
    char hex[2001];
    size_t shown = n < 1000 ? n : 1000;
    for (size_t at = 0; at < shown; at++)
        sprintf(hex + 2 * at, "%02x", ((const unsigned char *)bytes)[at]);
    hex[2 * shown] = 0;
    say("send", hex);
    return REAL(send)(fd, bytes, n, flags);
}
