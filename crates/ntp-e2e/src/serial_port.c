// Preloaded into gpsd: makes a pseudo-terminal appear as a serial port with a pulse on its DCD
// line, at the beginning of each second of the system clock. See gpsd.rs.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

// Width of the pulse in nanoseconds. Both edges precede the sentence, which follows after 100 ms:
// gpsd takes the first edge after a sentence.
static const long WIDTH = 20000000;

// Major numbers of Linux' list of devices.
static const unsigned SERIAL = 4, FIRST_PTY = 136, LAST_PTY = 143;

int stat(const char *restrict path, struct stat *restrict found) {
    int (*next)(const char *, struct stat *) = dlsym(RTLD_NEXT, "stat");
    int result = next(path, found);
    if (result == 0 && S_ISCHR(found->st_mode)) {
        unsigned number = major(found->st_rdev);
        if (number >= FIRST_PTY && number <= LAST_PTY)
            found->st_rdev = makedev(SERIAL, 64);
    }
    return result;
}

int ioctl(int descriptor, unsigned long request, ...) {
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int is_high = now.tv_nsec < WIDTH;
    if (request == TIOCMIWAIT) {
        struct timespec edge = {now.tv_sec + !is_high, is_high ? WIDTH : 0};
        // Like the system call, it goes on after a signal: the C library sends one to each thread
        // when gpsd drops its privileges.
        while (clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &edge, NULL) == EINTR) {
        }
        return 0;
    }
    if (request == TIOCMGET) {
        *(int *)argument = is_high ? TIOCM_CAR : 0;
        return 0;
    }
    int (*next)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
    return next(descriptor, request, argument);
}
