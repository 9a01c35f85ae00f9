// Lua 5.1 with Redis 7.0's sandbox, behind an interface without Lua in it.
//
// Why C: Lua reports errors with longjmp, which must not pass a Swift frame. All code that runs below a
// Lua call is here; Swift is called for one command at a time and returns before anything can jump.
#ifndef CSCRIPTING_H
#define CSCRIPTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *bytes;
    size_t count;
} cscripting_bytes;

// Flags of functions, in the order of Redis's names: no-writes, allow-oom, allow-stale, no-cluster,
// allow-cross-slot-keys.
typedef enum {
    CSCRIPTING_REGISTERED,
    CSCRIPTING_BAD_NAME,
    CSCRIPTING_ALREADY_THERE,
} cscripting_registration;

typedef struct {
    void *context;
    // Runs a command. `reply` is RESP of the version asked for, and stays until the next call. Returns
    // false when the whole run is to end (it is repeated in another way): nothing in the script sees it.
    bool (*call)(void *context, size_t count, const cscripting_bytes *words, int version, cscripting_bytes *reply);
    // 1: the command may be run, 0: it may not, -1: there is none or its words do not fit.
    int (*check)(void *context, size_t count, const cscripting_bytes *words);
    void (*log)(void *context, int level, cscripting_bytes message);
    // Asked every 100000 instructions; true: the run is to end.
    bool (*interrupt)(void *context);
    // 40 hexadecimal digits.
    void (*sha1)(void *context, cscripting_bytes text, char *digits);
    // A library that is being loaded registers a function; `description.bytes` may be NULL.
    cscripting_registration (*register_function)(
        void *context, cscripting_bytes name, cscripting_bytes description, uint32_t flags);
} cscripting_host;

typedef struct cscripting cscripting;

typedef enum {
    CSCRIPTING_DONE,     // `reply` is the answer in RESP
    CSCRIPTING_FAILED,   // `reply` is an error text without the leading '-'
    CSCRIPTING_ENDED,    // a call asked for the end of the run
} cscripting_outcome;

// NULL when there is no memory. `limit`: most bytes Lua may take. `functions`: for libraries of functions,
// not for scripts.
cscripting *cscripting_create(cscripting_host host, size_t limit, bool functions);
void cscripting_destroy(cscripting *engine);
size_t cscripting_memory(const cscripting *engine);
void cscripting_set_limit(cscripting *engine, size_t limit);

// Compiles a script and keeps it. Returns its handle, or 0 and the compiler's message.
int cscripting_compile(cscripting *engine, cscripting_bytes body, cscripting_bytes *reply);
// Forgets a script or a library.
void cscripting_forget(cscripting *engine, int handle);

// Runs a compiled script. `name`: what errors call it. `version`: the client's RESP version.
cscripting_outcome cscripting_run(
    cscripting *engine, int handle, const char *name, size_t key_count, const cscripting_bytes *keys,
    size_t argument_count, const cscripting_bytes *arguments, int version, cscripting_bytes *reply);

// Compiles and runs a library, which registers its functions, and keeps these. As `cscripting_compile`.
int cscripting_load(cscripting *engine, cscripting_bytes body, cscripting_bytes *reply);

// Runs a function of a library that was loaded.
cscripting_outcome cscripting_call(
    cscripting *engine, int library, const char *function, size_t key_count, const cscripting_bytes *keys,
    size_t argument_count, const cscripting_bytes *arguments, int version, cscripting_bytes *reply);

// Collects all garbage.
void cscripting_collect(cscripting *engine);

#endif
