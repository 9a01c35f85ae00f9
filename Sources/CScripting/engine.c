// A Lua state with its memory limit, the scripts compiled in it, and their runs.
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static const char engine_key = 'e';

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
    // Shrinking must not fail.
    if (size > old && engine->used + (size - old) > engine->limit) return NULL;
    void *moved = realloc(block, size);
    if (moved) engine->used += size - old;
    return moved;
}

static int open_protected(lua_State *lua) {
    cscripting_open_sandbox(lua);
    return 0;
}

cscripting *cscripting_create(cscripting_host host, size_t limit) {
    cscripting *engine = calloc(1, sizeof *engine);
    if (!engine) return NULL;
    engine->host = host;
    engine->limit = limit;
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
    }
    lua_settop(engine->lua, top);
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
    lua_setfield(lua, LUA_REGISTRYINDEX, job->name);
    job->outcome = CSCRIPTING_DONE;
    return 0;
}

cscripting_outcome cscripting_compile(
    cscripting *engine, const char *name, cscripting_bytes body, cscripting_bytes *reply) {
    if (body.count > 0 && body.bytes[0] == LUA_SIGNATURE[0]) {
        static const char refused[] = "user_script: attempt to load a binary chunk";
        *reply = (cscripting_bytes){refused, sizeof refused - 1};
        return CSCRIPTING_FAILED;
    }
    job job = {.engine = engine, .name = name, .body = body};
    return perform(engine, compile, &job, reply);
}

bool cscripting_has(cscripting *engine, const char *name) {
    lua_getfield(engine->lua, LUA_REGISTRYINDEX, name);
    bool has = lua_isfunction(engine->lua, -1);
    lua_pop(engine->lua, 1);
    return has;
}

void cscripting_forget(cscripting *engine, const char *name) {
    lua_pushnil(engine->lua);
    lua_setfield(engine->lua, LUA_REGISTRYINDEX, name);
}

// MARK: Running

static void interrupt(lua_State *lua, lua_Debug *debug) {
    cscripting *engine = cscripting_of(lua);
    // The error on its way is still to be put into words.
    lua_getinfo(lua, "S", debug);
    if (strcmp(debug->source, "@err_handler_def") == 0) return;
    if (!engine->ends && !engine->killed && engine->host.interrupt(engine->host.context)) engine->killed = true;
    if (!engine->ends && !engine->killed) return;
    // From now on every instruction fails, so that no pcall in the script goes on.
    lua_sethook(lua, interrupt, LUA_MASKCOUNT, 1);
    lua_sethook(engine->lua, interrupt, LUA_MASKCOUNT, 1);
    luaL_error(lua, "Script killed by user with SCRIPT KILL.");
}

static void set_words(lua_State *lua, const char *name, size_t count, const cscripting_bytes *words) {
    cscripting_push_globals(lua);
    lua_createtable(lua, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        lua_pushlstring(lua, words[i].bytes, words[i].count);
        lua_rawseti(lua, -2, (int)(i + 1));
    }
    lua_pushstring(lua, name);
    lua_insert(lua, -2);
    lua_rawset(lua, -3);
    lua_pop(lua, 1);
}

static int run(lua_State *lua) {
    job *job = lua_touserdata(lua, 1);
    cscripting *engine = job->engine;
    set_words(lua, "KEYS", job->key_count, job->keys);
    set_words(lua, "ARGV", job->argument_count, job->arguments);
    cscripting_push_globals(lua);
    lua_pushliteral(lua, "__redis__err__handler");
    lua_rawget(lua, -2);
    lua_remove(lua, -2);
    int handler = lua_gettop(lua);
    lua_getfield(lua, LUA_REGISTRYINDEX, job->name);
    lua_sethook(lua, interrupt, LUA_MASKCOUNT, 100000);
    int status = lua_pcall(lua, 0, 1, handler);
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
    return 0;
}

cscripting_outcome cscripting_run(
    cscripting *engine, const char *name, size_t key_count, const cscripting_bytes *keys,
    size_t argument_count, const cscripting_bytes *arguments, int version, cscripting_bytes *reply) {
    job job = {
        .engine = engine, .name = name, .key_count = key_count, .keys = keys,
        .argument_count = argument_count, .arguments = arguments,
    };
    engine->call_version = 2;
    engine->client_version = version;
    engine->ends = false;
    engine->killed = false;
    cscripting_outcome outcome = perform(engine, run, &job, reply);
    // A little at a time.
    lua_gc(engine->lua, LUA_GCSTEP, 1);
    return outcome;
}
