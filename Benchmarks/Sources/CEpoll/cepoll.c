#define _GNU_SOURCE
#include "cepoll.h"
#include <sys/epoll.h>
#include <time.h>

int tierload_epoll(void) { return epoll_create1(EPOLL_CLOEXEC); }

void tierload_epoll_add(int epoll, int fd, uint32_t index) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = index};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

void tierload_epoll_want_write(int epoll, int fd, uint32_t index, int wanted) {
    struct epoll_event event = {.events = wanted ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.u32 = index};
    epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
}

int tierload_epoll_wait(int epoll, uint32_t *ready, int limit, int64_t nanoseconds) {
    struct epoll_event events[256];
    struct timespec time = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    int n = epoll_pwait2(epoll, events, limit < 256 ? limit : 256, &time, 0);
    for (int i = 0; i < n; i++) ready[i] = events[i].data.u32;
    return n;
}

uint64_t tierload_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}
