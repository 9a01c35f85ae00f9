// epoll and the clock for the load generator; the Glibc module does not have epoll.
#ifndef CEPOLL_H
#define CEPOLL_H
#include <stdint.h>
int tierload_epoll(void);
void tierload_epoll_add(int epoll, int fd, uint32_t index);
// Asks for writability too while `wanted`.
void tierload_epoll_want_write(int epoll, int fd, uint32_t index, int wanted);
int tierload_epoll_wait(int epoll, uint32_t *ready, int limit, int64_t nanoseconds);
uint64_t tierload_now(void);
#endif
