// A Lua state with its memory limit, the scripts compiled in it, and their runs.
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static const char engine_key = 'e';

static void interrupt(lua_State *lua, lua_Debug *debug);

cscripting *cscripting_of(lua_State *lua) {
    lua_pushlightuserdata(lua, (void *)&engine_key);
    lua_rawget(lua, LUA_REGISTRYINDEX);
    cscripting *engine = lua_touserdata(lua, -1);
    lua_pop(lua, 1);
    return engine;
}

static void *allocate(void *context, void *block, size_t old, size_t size) {
    cscripting *engine = context;
    if (size == 0) {
        free(block);
        engine->used -= old;
        return NULL;
    }
    // Shrinking must not fail. A little beyond the limit the garbage is collected first, as soon as the
    // script is between two instructions: not here, Lua is in the middle of something.
    if (size > old && engine->used + (size - old) > engine->limit) {
        if (engine->used + (size - old) > engine->limit + engine->limit / 2) return NULL;
        if (engine->runs) lua_sethook(engine->lua, interrupt, LUA_MASKCOUNT, 1);
    }
    void *moved = realloc(block, size);
    if (moved) engine->used += size - old;
    return moved;
}

static int open_protected(lua_State *lua) {
    cscripting_open_sandbox(lua);
    return 0;
}

cscripting *cscripting_create(cscripting_host host, size_t limit, bool functions) {
    cscripting *engine = calloc(1, sizeof *engine);
    if (!engine) return NULL;
    engine->host = host;
    engine->limit = limit;
    engine->functions = functions;
    cscripting_seed(engine, 0);
    lua_State *lua = lua_newstate(allocate, engine);
    if (!lua) {
        free(engine);
        return NULL;
    }
    engine->lua = lua;
    lua_pushlightuserdata(lua, (void *)&engine_key);
    lua_pushlightuserdata(lua, engine);
    lua_rawset(lua, LUA_REGISTRYINDEX);
    if (lua_cpcall(lua, open_protected, NULL)) {
        cscripting_destroy(engine);
        return NULL;
    }
    return engine;
}

void cscripting_destroy(cscripting *engine) {
    lua_close(engine->lua);
    free(engine->out);
    free(engine->words);
    free(engine->numbers);
    free(engine);
}

size_t cscripting_memory(const cscripting *engine) { return engine->used + engine->out_capacity; }
void cscripting_set_limit(cscripting *engine, size_t limit) { engine->limit = limit; }

// MARK: Protected work

typedef struct {
    cscripting *engine;
    // Where the registry has what is run, and what errors call it.
    int handle;
    const char *name;
    cscripting_bytes body;
    size_t key_count, argument_count;
    const cscripting_bytes *keys, *arguments;
    cscripting_outcome outcome;
} job;

static void begin(cscripting *engine) {
    engine->out_count = 0;
    engine->out_failed = false;
    if (engine->out_capacity > 1 << 20) {
        free(engine->out);
        engine->out = NULL;
        engine->out_capacity = 0;
    }
}

static cscripting_outcome perform(cscripting *engine, lua_CFunction work, job *job, cscripting_bytes *reply) {
    static const char no_memory[] = "ERR not enough memory for the script";
    begin(engine);
    int top = lua_gettop(engine->lua);
    int status = lua_cpcall(engine->lua, work, job);
    if (status) {
        // Only for want of memory outside of the script itself.
        job->outcome = CSCRIPTING_FAILED;
        engine->out_failed = true;
        if (engine->loading) cscripting_restrict(engine->lua, false);
        engine->loading = false;
    }
    lua_settop(engine->lua, top);
    lua_sethook(engine->lua, NULL, 0, 0);
    // Lua 5.1 does not collect when memory runs short: what a script left is cleared before the next.
    if (engine->used > engine->limit / 2) lua_gc(engine->lua, LUA_GCCOLLECT, 0);
    *reply = (cscripting_bytes){engine->out, engine->out_count};
    if (engine->out_failed) {
        job->outcome = engine->ends ? CSCRIPTING_ENDED : CSCRIPTING_FAILED;
        *reply = (cscripting_bytes){no_memory, sizeof no_memory - 1};
    }
    return job->outcome;
}

// MARK: Compiling

static int compile(lua_State *lua) {
    job *job = lua_touserdata(lua, 1);
    cscripting *engine = job->engine;
    if (luaL_loadbuffer(lua, job->body.bytes, job->body.count, "@user_script")) {
        size_t count;
        const char *text = lua_tolstring(lua, -1, &count);
        cscripting_out(engine, text ? text : "", text ? count : 0);
        job->outcome = CSCRIPTING_FAILED;
        return 0;
    }
    job->handle = luaL_ref(lua, LUA_REGISTRYINDEX);
    job->outcome = CSCRIPTING_DONE;
    return 0;
}

int cscripting_compile(cscripting *engine, cscripting_bytes body, cscripting_bytes *reply) {
    if (body.count > 0 && body.bytes[0] == LUA_SIGNATURE[0]) {
        static const char refused[] = "user_script: attempt to load a binary chunk";
        *reply = (cscripting_bytes){refused, sizeof refused - 1};
        return 0;
    }
    job job = {.engine = engine, .body = body};
    return perform(engine, compile, &job, reply) == CSCRIPTING_DONE ? job.handle : 0;
}

void cscripting_forget(cscripting *engine, int handle) { luaL_unref(engine->lua, LUA_REGISTRYINDEX, handle); }

// MARK: Running

static const int interval = 100000;

// Lua has taken more than it may: fails unless that was garbage.
static void save_memory(cscripting *engine, lua_State *lua) {
    lua_gc(lua, LUA_GCCOLLECT, 0);
    lua_sethook(engine->lua, interrupt, LUA_MASKCOUNT, interval);
    if (engine->used > engine->limit) luaL_error(lua, "not enough memory");
}

static void interrupt(lua_State *lua, lua_Debug *debug) {
    cscripting *engine = cscripting_of(lua);
    // The error on its way is still to be put into words.
    lua_getinfo(lua, "S", debug);
    if (strcmp(debug->source, "@err_handler_def") == 0) return;
    if (!engine->ends && !engine->killed && engine->used > engine->limit) save_memory(engine, lua);
    if (!engine->ends && !engine->killed && engine->host.interrupt(engine->host.context)) engine->killed = true;
    if (!engine->ends && !engine->killed) return;
    // From now on every instruction fails, so that no pcall in the script goes on.
    lua_sethook(lua, interrupt, LUA_MASKCOUNT, 1);
    lua_sethook(engine->lua, interrupt, LUA_MASKCOUNT, 1);
    // Redis 7.0.15 says the same of functions.
    const char *text = engine->loading ? "FUNCTION LOAD timeout" : "Script killed by user with SCRIPT KILL...";
    cscripting_push_error(lua, text, strlen(text));
    lua_error(lua);
}

static void push_words(lua_State *lua, size_t count, const cscripting_bytes *words) {
    lua_createtable(lua, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        lua_pushlstring(lua, words[i].bytes, words[i].count);
        lua_rawseti(lua, -2, (int)(i + 1));
    }
}

// Runs the function on top of the stack with the two words above it as its arguments, and answers.
static void finish(lua_State *lua, job *job, int arguments) {
    cscripting *engine = job->engine;
    int handler = lua_gettop(lua) - arguments;
    cscripting_push_handler(lua);
    lua_insert(lua, handler);
    lua_sethook(lua, interrupt, LUA_MASKCOUNT, interval);
    int status = lua_pcall(lua, arguments, 1, handler);
    lua_sethook(lua, NULL, 0, 0);
    lua_sethook(engine->lua, NULL, 0, 0);
    if (engine->ends) {
        job->outcome = CSCRIPTING_ENDED;
    } else if (status) {
        job->outcome = CSCRIPTING_FAILED;
        cscripting_write_error(engine, lua, job->name);
    } else {
        job->outcome = CSCRIPTING_DONE;
        cscripting_write_reply(engine, lua);
    }
}

static int run(lua_State *lua) {
    job *job = lua_touserdata(lua, 1);
    cscripting_push_globals(lua);
    lua_pushliteral(lua, "KEYS");
    push_words(lua, job->key_count, job->keys);
    lua_rawset(lua, -3);
    lua_pushliteral(lua, "ARGV");
    push_words(lua, job->argument_count, job->arguments);
    lua_rawset(lua, -3);
    lua_rawgeti(lua, LUA_REGISTRYINDEX, job->handle);
    finish(lua, job, 0);
    return 0;
}

static int call_function(lua_State *lua) {
    job *job = lua_touserdata(lua, 1);
    lua_rawgeti(lua, LUA_REGISTRYINDEX, job->handle);
    lua_pushstring(lua, job->name);
    lua_rawget(lua, -2);
    push_words(lua, job->key_count, job->keys);
    push_words(lua, job->argument_count, job->arguments);
    finish(lua, job, 2);
    return 0;
}

static cscripting_outcome start(cscripting *engine, lua_CFunction work, job *job, int version, cscripting_bytes *reply) {
    engine->call_version = 2;
    engine->client_version = version;
    engine->ends = false;
    engine->killed = false;
    engine->runs = true;
    cscripting_outcome outcome = perform(engine, work, job, reply);
    engine->runs = false;
    return outcome;
}

cscripting_outcome cscripting_run(
    cscripting *engine, int handle, const char *name, size_t key_count, const cscripting_bytes *keys,
    size_t argument_count, const cscripting_bytes *arguments, int version, cscripting_bytes *reply) {
    job job = {
        .engine = engine, .handle = handle, .name = name, .key_count = key_count, .keys = keys,
        .argument_count = argument_count, .arguments = arguments,
    };
    return start(engine, run, &job, version, reply);
}

// MARK: Libraries

static int load(lua_State *lua) {
    static const char compiling[] = "Error compiling function: ", registering[] = "Error registering functions: ";
    job *job = lua_touserdata(lua, 1);
    cscripting *engine = job->engine;
    job->outcome = CSCRIPTING_FAILED;
    size_t count;
    if (luaL_loadbuffer(lua, job->body.bytes, job->body.count, "@user_function")) {
        const char *text = lua_tolstring(lua, -1, &count);
        cscripting_out(engine, compiling, sizeof compiling - 1);
        cscripting_out(engine, text ? text : "", text ? count : 0);
        return 0;
    }
    lua_newtable(lua);
    lua_setfield(lua, LUA_REGISTRYINDEX, "loading");
    cscripting_restrict(lua, true);
    engine->loading = true;
    lua_sethook(lua, interrupt, LUA_MASKCOUNT, interval);
    int status = lua_pcall(lua, 0, 0, 0);
    lua_sethook(lua, NULL, 0, 0);
    lua_sethook(engine->lua, NULL, 0, 0);
    engine->loading = false;
    cscripting_restrict(lua, false);
    if (status == 0) {
        lua_getfield(lua, LUA_REGISTRYINDEX, "loading");
        job->handle = luaL_ref(lua, LUA_REGISTRYINDEX);
        job->outcome = CSCRIPTING_DONE;
    } else {
        cscripting_out(engine, registering, sizeof registering - 1);
        if (lua_istable(lua, -1)) {
            lua_getfield(lua, -1, "err");
        } else {
            cscripting_out(engine, "ERR ", 4);
        }
        const char *text = lua_tolstring(lua, -1, &count);
        cscripting_out(engine, text ? text : "unknown error", text ? count : 13);
    }
    lua_pushnil(lua);
    lua_setfield(lua, LUA_REGISTRYINDEX, "loading");
    return 0;
}

int cscripting_load(cscripting *engine, cscripting_bytes body, cscripting_bytes *reply) {
    job job = {.engine = engine, .body = body};
    return start(engine, load, &job, 2, reply) == CSCRIPTING_DONE ? job.handle : 0;
}

cscripting_outcome cscripting_call(
    cscripting *engine, int library, const char *function, size_t key_count,
    const cscripting_bytes *keys, size_t argument_count, const cscripting_bytes *arguments, int version,
    cscripting_bytes *reply) {
    job job = {
        .engine = engine, .handle = library, .name = function, .key_count = key_count, .keys = keys,
        .argument_count = argument_count, .arguments = arguments,
    };
    return start(engine, call_function, &job, version, reply);
}

void cscripting_collect(cscripting *engine) { lua_gc(engine->lua, LUA_GCCOLLECT, 0); }
