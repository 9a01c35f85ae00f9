// What Swift cannot import or express: CPU hints, CRC32C instructions, accept/epoll-free Linux calls.
// Static inline where a call would cost more than the work. No policy here.
#ifndef CSYSTEM_H
#define CSYSTEM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdint.h>
#include <stddef.h>
#include <fcntl.h>
#include <sched.h>
#include <time.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <errno.h>

static inline void csystem_prefetch(const void *address) { __builtin_prefetch(address, 0, 3); }

static inline void csystem_prefetch_write(const void *address) { __builtin_prefetch(address, 1, 3); }

static inline void csystem_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

/// A counter that runs at a constant rate on every core; see csystem_ticks_per_microsecond.
static inline uint64_t csystem_ticks(void) {
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t t;
    __asm__ __volatile__("mrs %0, cntvct_el0" : "=r"(t));
    return t;
#endif
}

/// Nanoseconds of CLOCK_MONOTONIC.
static inline uint64_t csystem_monotonic_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/// Microseconds of CLOCK_REALTIME.
static inline uint64_t csystem_realtime_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000ull + (uint64_t)t.tv_nsec / 1000ull;
}

/// Number of cores this process may run on.
static inline int csystem_available_cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
    return CPU_COUNT(&set);
}

static const int csystem_o_direct = O_DIRECT;

// descriptors.c: cold calls, out of line because their headers clash with Swift's Glibc module.

/// A close-on-exec stream socket; the descriptor or -errno.
int csystem_stream_socket(int family);

/// Sets an int-valued socket option; 0 or -errno.
int csystem_socket_option(int fd, int level, int name, int value);

/// Turns on TCP_NODELAY; 0 or -errno.
int csystem_set_no_delay(int fd);

/// Probes an idle peer after `seconds`, then every third of it, three times; 0 or -errno.
int csystem_set_keepalive(int fd, int seconds);

/// Keeps an IPv6 listener from taking IPv4 connections too; 0 or -errno.
int csystem_set_ipv6_only(int fd);

/// A counter that wakes pollers; non-blocking, close-on-exec; the descriptor or -errno.
int csystem_eventfd(void);

/// Blocks the signals in the calling thread and delivers them as reads; the descriptor or -errno.
int csystem_signalfd(const int *signals, size_t count);

/// The number of one pending signal, 0 if there is none, or -errno.
int csystem_next_signal(int fd);

/// CRC32C (Castagnoli) of `length` bytes, continuing from `crc` (0 to start). Finalised form.
uint32_t csystem_crc32c(uint32_t crc, const void *bytes, size_t length);

/// strtod over the whole of `text` (NUL-terminated, `length` bytes): 1 and the value, or 0 if
/// something is left over or the value overflows or underflows (Redis 7.0 string2d).
int csystem_parse_double(const char *text, size_t length, double *value);

/// "%.17g" into `out`; the number of bytes without the NUL.
int csystem_format_double(char *out, size_t capacity, double value);

/// As "%f" with so many decimals into `out`; the number of bytes without the NUL.
int csystem_format_decimals(char *out, size_t capacity, double value, int decimals);

/// As csystem_format_decimals with 17 decimals (Redis 7.0 ld2string).
int csystem_format_fixed(char *out, size_t capacity, double value);

#if defined(__x86_64__)
/// As csystem_parse_double with strtold (Redis 7.0 string2ld).
int csystem_parse_long_double(const char *text, size_t length, long double *value);

/// "%.17Lf" into `out`; the number of bytes without the NUL.
int csystem_format_long_fixed(char *out, size_t capacity, long double value);
#endif

#endif
