// Counts what a program allocates: it takes the place of malloc and forwards to glibc's.
#ifndef ALLOCATIONS_H
#define ALLOCATIONS_H
#include <stdint.h>

/// Allocations of the calling thread so far; growing one counts.
uint64_t allocations_count(void);

#endif
