// Descriptor calls Swift cannot express: variadic, macro-only or missing from its Glibc module.
#include "csystem.h"

#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

int csystem_stream_socket(int family) {
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
}

int csystem_socket_option(int fd, int level, int name, int value) {
    return setsockopt(fd, level, name, &value, sizeof(value)) == 0 ? 0 : -errno;
}

int csystem_set_no_delay(int fd) {
    return csystem_socket_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

int csystem_set_keepalive(int fd, int seconds) {
    int between = seconds / 3 > 0 ? seconds / 3 : 1;
    int status = csystem_socket_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    if (status == 0) status = csystem_socket_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds);
    if (status == 0) status = csystem_socket_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, between);
    if (status == 0) status = csystem_socket_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
    return status;
}

int csystem_set_ipv6_only(int fd) {
    return csystem_socket_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
}

int csystem_eventfd(void) {
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int csystem_signalfd(const int *signals, size_t count) {
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < count; i++)
        if (sigaddset(&set, signals[i]) != 0) return -errno;
    int status = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (status != 0) return -status;
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int csystem_next_signal(int fd) {
    struct signalfd_siginfo info;
    ssize_t n = read(fd, &info, sizeof(info));
    if (n == (ssize_t)sizeof(info)) return (int)info.ssi_signo;
    return n < 0 && errno != EAGAIN && errno != EINTR ? -errno : 0;
}
