/* Makes fsync and fdatasync as slow as a slow disk, and counts them. For LD_PRELOAD.

   SLOW_FSYNC_US:  extra microseconds for each call.
   SLOW_FSYNC_LOG: gets one byte for each call: f(ile), d(irectory), j(ournal or database). */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int log_fd = -2;
static long delay_us = -1;

static char kind(int fd) {
    char link[64], path[4096];
    struct stat found;
    if (fstat(fd, &found) == 0 && S_ISDIR(found.st_mode)) return 'd';
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 'f';
    path[length] = 0;
    const char *name = strrchr(path, '/');
    name = name ? name : path;
    return strstr(name, ".db") || strcmp(name, "/index") == 0 || strncmp(name, "/index-", 7) == 0
               ? 'j' : 'f';
}

static void delay(int fd) {
    if (delay_us < 0) {
        const char *us = getenv("SLOW_FSYNC_US"), *log = getenv("SLOW_FSYNC_LOG");
        log_fd = log ? open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
        delay_us = us ? atol(us) : 0;
    }
    if (log_fd >= 0) {
        char byte = kind(fd);
        if (write(log_fd, &byte, 1) != 1) log_fd = -1;
    }
    struct timespec pause = {delay_us / 1000000, (delay_us % 1000000) * 1000};
    if (delay_us > 0) nanosleep(&pause, NULL);
}

int fsync(int fd) {
    static int (*next)(int);
    if (!next) next = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    delay(fd);
    return next(fd);
}

int fdatasync(int fd) {
    static int (*next)(int);
    if (!next) next = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    delay(fd);
    return next(fd);
}
