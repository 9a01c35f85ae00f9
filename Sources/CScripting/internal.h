#ifndef CSCRIPTING_INTERNAL_H
#define CSCRIPTING_INTERNAL_H

#include <lua5.1/lua.h>
#include <lua5.1/lauxlib.h>
#include <lua5.1/lualib.h>

#include "cscripting.h"

struct cscripting {
    lua_State *lua;
    cscripting_host host;
    size_t used, limit;
    // What a run answers; grows, kept between runs.
    char *out;
    size_t out_count, out_capacity;
    bool out_failed;
    // RESP version that calls in the script see, and that of the client.
    int call_version, client_version;
    bool ends, killed;
    // For libraries of functions, and one of them is being loaded.
    bool functions, loading;
    // Code runs, so that it can be interrupted.
    bool runs;
    unsigned short random[3];
    char name[64];
    // The words of a call.
    cscripting_bytes *words;
    size_t word_capacity;
    char *numbers;
};

cscripting *cscripting_of(lua_State *lua);

// sandbox.c: the globals scripts see, protected against changes.
void cscripting_open_sandbox(lua_State *lua);
// Replaces the table on top of the stack by a stand-in that can be read only.
void cscripting_protect(lua_State *lua);
// Pushes the table that holds the real globals.
void cscripting_push_globals(lua_State *lua);
int cscripting_readonly_error(lua_State *lua);

// Pushes the error handler of runs.
void cscripting_push_handler(lua_State *lua);
// Lets code see what a library sees while it is loaded (true), or what all other code sees.
void cscripting_restrict(lua_State *lua, bool restricted);

// api.c: the table "redis".
void cscripting_open_api(lua_State *lua);
// Pushes the table "redis" of libraries that are being loaded.
void cscripting_push_library_api(lua_State *lua);
void cscripting_seed(cscripting *engine, int32_t seed);

// convert.c
void cscripting_push_error(lua_State *lua, const char *text, size_t count);
void cscripting_push_reply(lua_State *lua, cscripting_bytes reply);
void cscripting_write_reply(cscripting *engine, lua_State *lua);
void cscripting_write_error(cscripting *engine, lua_State *lua, const char *name);
void cscripting_out(cscripting *engine, const void *bytes, size_t count);

// libraries.c
int cscripting_open_struct(lua_State *lua);
int cscripting_open_msgpack(lua_State *lua);

#endif
