// The table "redis" and the functions of Lua's that Redis replaces.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "internal.h"

static int fail(lua_State *lua, const char *text) {
    // An error as redis.call raises it: a table.
    cscripting_push_error(lua, text, strlen(text));
    return lua_error(lua);
}

// MARK: redis.call and redis.pcall

static bool collect_words(cscripting *engine, lua_State *lua, int count) {
    if ((size_t)count > engine->word_capacity) {
        cscripting_bytes *words = realloc(engine->words, (size_t)count * sizeof *words);
        if (!words) return false;
        engine->words = words;
        char *numbers = realloc(engine->numbers, (size_t)count * 32);
        if (!numbers) return false;
        engine->numbers = numbers;
        engine->word_capacity = (size_t)count;
    }
    for (int i = 0; i < count; i++) {
        cscripting_bytes *word = &engine->words[i];
        if (lua_type(lua, i + 1) == LUA_TNUMBER) {
            char *text = engine->numbers + i * 32;
            word->count = (size_t)snprintf(text, 32, "%.17g", lua_tonumber(lua, i + 1));
            word->bytes = text;
        } else if (lua_type(lua, i + 1) == LUA_TSTRING) {
            word->bytes = lua_tolstring(lua, i + 1, &word->count);
        } else {
            return false;
        }
    }
    return true;
}

static int finish(lua_State *lua, bool raises) {
    // An error table is on top.
    return raises ? lua_error(lua) : 1;
}

static int refuse(lua_State *lua, const char *text, bool raises) {
    cscripting_push_error(lua, text, strlen(text));
    return finish(lua, raises);
}

static int run_command(lua_State *lua, bool raises) {
    cscripting *engine = cscripting_of(lua);
    int count = lua_gettop(lua);
    if (count == 0) return refuse(lua, "Please specify at least one argument for this redis lib call", raises);
    if (!collect_words(engine, lua, count)) {
        return refuse(lua, "Lua redis lib command arguments must be strings or integers", raises);
    }
    cscripting_bytes reply = {NULL, 0};
    if (engine->ends
        || !engine->host.call(engine->host.context, (size_t)count, engine->words, engine->call_version, &reply)) {
        engine->ends = true;
        return luaL_error(lua, "the run ends");
    }
    bool is_error = reply.count > 0 && reply.bytes[0] == '-';
    cscripting_push_reply(lua, reply);
    return is_error ? finish(lua, raises) : 1;
}

static int redis_call(lua_State *lua) { return run_command(lua, true); }
static int redis_pcall(lua_State *lua) { return run_command(lua, false); }

// MARK: The rest of "redis"

static int single_field(lua_State *lua, const char *name, bool is_error) {
    if (lua_gettop(lua) != 1 || lua_type(lua, 1) != LUA_TSTRING) {
        return refuse(lua, "wrong number or type of arguments", false);
    }
    size_t count;
    const char *text = lua_tolstring(lua, 1, &count);
    if (is_error) {
        // As if it began with '-': its first word is the code.
        if (count > 0 && text[0] == '-') {
            cscripting_push_error(lua, text, count);
        } else {
            lua_pushliteral(lua, "-");
            lua_pushvalue(lua, 1);
            lua_concat(lua, 2);
            text = lua_tolstring(lua, -1, &count);
            cscripting_push_error(lua, text, count);
        }
        return 1;
    }
    lua_newtable(lua);
    lua_pushvalue(lua, 1);
    lua_setfield(lua, -2, name);
    return 1;
}

static int error_reply(lua_State *lua) { return single_field(lua, "err", true); }
static int status_reply(lua_State *lua) { return single_field(lua, "ok", false); }

static int sha1hex(lua_State *lua) {
    if (lua_gettop(lua) != 1) return fail(lua, "wrong number of arguments");
    cscripting *engine = cscripting_of(lua);
    cscripting_bytes text;
    char digits[40];
    text.bytes = lua_tolstring(lua, 1, &text.count);
    if (!text.bytes) text = (cscripting_bytes){"", 0};
    engine->host.sha1(engine->host.context, text, digits);
    lua_pushlstring(lua, digits, sizeof digits);
    return 1;
}

static int write_log(lua_State *lua) {
    int count = lua_gettop(lua);
    if (count < 2) return fail(lua, "redis.log() requires two arguments or more.");
    if (!lua_isnumber(lua, 1)) return fail(lua, "First argument must be a number (log level).");
    int level = (int)lua_tonumber(lua, 1);
    if (level < 0 || level > 3) return fail(lua, "Invalid debug level.");
    luaL_Buffer line;
    luaL_buffinit(lua, &line);
    for (int i = 2; i <= count; i++) {
        size_t size;
        const char *text = lua_tolstring(lua, i, &size);
        if (!text) continue;
        if (i > 2) luaL_addchar(&line, ' ');
        luaL_addlstring(&line, text, size);
    }
    luaL_pushresult(&line);
    cscripting_bytes message;
    message.bytes = lua_tolstring(lua, -1, &message.count);
    cscripting *engine = cscripting_of(lua);
    engine->host.log(engine->host.context, level, message);
    return 0;
}

static int set_version(lua_State *lua) {
    if (lua_gettop(lua) != 1) return fail(lua, "redis.setresp() requires one argument.");
    if (!lua_isnumber(lua, -1)) return fail(lua, "RESP version must be 2 or 3.");
    int version = (int)lua_tonumber(lua, -1);
    if (version != 2 && version != 3) return fail(lua, "RESP version must be 2 or 3.");
    cscripting_of(lua)->call_version = version;
    return 0;
}

static int set_replication(lua_State *lua) {
    if (lua_gettop(lua) != 1) return fail(lua, "redis.set_repl() requires two arguments.");
    int flags = lua_isnumber(lua, 1) ? (int)lua_tonumber(lua, 1) : 0;
    if (flags & ~3) {
        return fail(lua, "Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.");
    }
    return 0;
}

static int replicate_commands(lua_State *lua) {
    lua_pushboolean(lua, 1);
    return 1;
}

static int breakpoint(lua_State *lua) {
    lua_pushboolean(lua, 0);
    return 1;
}

static int nothing(lua_State *lua) {
    (void)lua;
    return 0;
}

static int check_command(lua_State *lua) {
    cscripting *engine = cscripting_of(lua);
    int count = lua_gettop(lua);
    if (count == 0) return fail(lua, "Please specify at least one argument for this redis lib call");
    if (!collect_words(engine, lua, count)) {
        return fail(lua, "Lua redis lib command arguments must be strings or integers");
    }
    int verdict = engine->host.check(engine->host.context, (size_t)count, engine->words);
    if (verdict < 0) return fail(lua, "Invalid command passed to redis.acl_check_cmd()");
    lua_pushboolean(lua, verdict);
    return 1;
}

// MARK: math.random: the same numbers in every run, as Redis's

void cscripting_seed(cscripting *engine, int32_t seed) {
    engine->random[0] = 0x330e;
    engine->random[1] = (unsigned short)seed;
    engine->random[2] = (unsigned short)((uint32_t)seed >> 16);
}

static int random_number(lua_State *lua) {
    cscripting *engine = cscripting_of(lua);
    lua_Number r = (lua_Number)(nrand48(engine->random) % INT32_MAX) / (lua_Number)INT32_MAX;
    switch (lua_gettop(lua)) {
    case 0: lua_pushnumber(lua, r); break;
    case 1: {
        int most = luaL_checkint(lua, 1);
        luaL_argcheck(lua, 1 <= most, 1, "interval is empty");
        lua_pushnumber(lua, floor(r * most) + 1);
        break;
    }
    case 2: {
        int least = luaL_checkint(lua, 1), most = luaL_checkint(lua, 2);
        luaL_argcheck(lua, least <= most, 2, "interval is empty");
        lua_pushnumber(lua, floor(r * (most - (lua_Number)least + 1)) + least);
        break;
    }
    default: return luaL_error(lua, "wrong number of arguments");
    }
    return 1;
}

static int random_seed(lua_State *lua) {
    cscripting_seed(cscripting_of(lua), luaL_checkint(lua, 1));
    return 0;
}

// MARK: redis.register_function

static const char *const flag_names[] = {
    "no-writes", "allow-oom", "allow-stale", "no-cluster", "allow-cross-slot-keys",
};

typedef struct {
    // Indices on the stack, 0: not given.
    int name, description, callback;
    uint32_t flags;
} registration;

// The flags of the table on top of the stack; false when one is unknown.
static bool read_flags(lua_State *lua, uint32_t *flags) {
    for (int i = 1;; i++) {
        lua_rawgeti(lua, -1, i);
        if (lua_isnil(lua, -1)) break;
        if (lua_type(lua, -1) != LUA_TSTRING) return false;
        const char *text = lua_tostring(lua, -1);
        size_t flag = 0, count = sizeof flag_names / sizeof *flag_names;
        while (flag < count && strcasecmp(flag_names[flag], text) != 0) flag++;
        if (flag == count) return false;
        *flags |= 1u << flag;
        lua_pop(lua, 1);
    }
    lua_pop(lua, 1);
    return true;
}

// One named argument: its value is on top of the stack and moves to a place of its own. An error text or NULL.
static const char *read_named(lua_State *lua, const char *key, registration *found) {
    if (strcasecmp(key, "function_name") == 0) {
        if (!lua_isstring(lua, -1)) {
            return "function_name argument given to redis.register_function must be a string";
        }
        lua_pushvalue(lua, -1);
        lua_replace(lua, found->name = 2);
    } else if (strcasecmp(key, "description") == 0) {
        if (!lua_isstring(lua, -1)) {
            return "description argument given to redis.register_function must be a string";
        }
        lua_pushvalue(lua, -1);
        lua_replace(lua, found->description = 3);
    } else if (strcasecmp(key, "callback") == 0) {
        if (!lua_isfunction(lua, -1)) {
            return "callback argument given to redis.register_function must be a function";
        }
        lua_pushvalue(lua, -1);
        lua_replace(lua, found->callback = 4);
    } else if (strcasecmp(key, "flags") == 0) {
        if (!lua_istable(lua, -1)) {
            return "flags argument to redis.register_function must be a table representing function flags";
        }
        if (!read_flags(lua, &found->flags)) return "unknown flag given";
    } else {
        return "unknown argument given to redis.register_function";
    }
    return NULL;
}

static const char *read_table(lua_State *lua, registration *found) {
    if (!lua_istable(lua, 1)) {
        return "calling redis.register_function with a single argument is only applicable to Lua table "
               "(representing named arguments).";
    }
    lua_settop(lua, 1);
    for (int i = 0; i < 3; i++) lua_pushnil(lua);
    lua_pushnil(lua);
    while (lua_next(lua, 1)) {
        if (!lua_isstring(lua, -2)) {
            return "named argument key given to redis.register_function is not a string";
        }
        // Converting the key itself would confuse lua_next.
        if (lua_type(lua, -2) == LUA_TNUMBER) return "unknown argument given to redis.register_function";
        const char *error = read_named(lua, lua_tostring(lua, -2), found);
        if (error) return error;
        lua_pop(lua, 1);
    }
    if (!found->name) return "redis.register_function must get a function name argument";
    if (!found->callback) return "redis.register_function must get a callback argument";
    return NULL;
}

static const char *read_words(lua_State *lua, registration *found) {
    if (!lua_isstring(lua, 1)) return "first argument to redis.register_function must be a string";
    if (!lua_isfunction(lua, 2)) return "second argument to redis.register_function must be a function";
    *found = (registration){.name = 1, .callback = 2};
    return NULL;
}

static int register_function(lua_State *lua) {
    cscripting *engine = cscripting_of(lua);
    int count = lua_gettop(lua);
    if (count < 1 || count > 2) return fail(lua, "wrong number of arguments to redis.register_function");
    if (!engine->loading) {
        return fail(lua, "redis.register_function can only be called on FUNCTION LOAD command");
    }
    registration found = {0};
    const char *error = count == 1 ? read_table(lua, &found) : read_words(lua, &found);
    if (error) return fail(lua, error);
    cscripting_bytes name, description = {NULL, 0};
    name.bytes = lua_tolstring(lua, found.name, &name.count);
    if (found.description) description.bytes = lua_tolstring(lua, found.description, &description.count);
    switch (engine->host.register_function(engine->host.context, name, description, found.flags)) {
    case CSCRIPTING_BAD_NAME:
        return fail(lua, "Library names can only contain letters, numbers, or underscores(_) and must be at "
                         "least one character long");
    case CSCRIPTING_ALREADY_THERE: return fail(lua, "Function already exists in the library");
    case CSCRIPTING_REGISTERED: break;
    }
    lua_getfield(lua, LUA_REGISTRYINDEX, "loading");
    lua_pushvalue(lua, found.name);
    lua_pushvalue(lua, found.callback);
    lua_rawset(lua, -3);
    return 0;
}

// MARK: The tables

static const struct {
    const char *name;
    int value;
} constants[] = {
    {"LOG_DEBUG", 0}, {"LOG_VERBOSE", 1}, {"LOG_NOTICE", 2}, {"LOG_WARNING", 3}, {"REDIS_VERSION_NUM", 0x0007000f},
    // Not while a library is being loaded:
    {"REPL_NONE", 0}, {"REPL_AOF", 1}, {"REPL_SLAVE", 2}, {"REPL_REPLICA", 2}, {"REPL_ALL", 3},
};

// Adds the first `count` constants and the version to the table on top of the stack.
static void add_constants(lua_State *lua, size_t count) {
    for (size_t i = 0; i < count; i++) {
        lua_pushnumber(lua, constants[i].value);
        lua_setfield(lua, -2, constants[i].name);
    }
    lua_pushliteral(lua, "7.0.15");
    lua_setfield(lua, -2, "REDIS_VERSION");
}

void cscripting_push_library_api(lua_State *lua) {
    lua_newtable(lua);
    add_constants(lua, 5);
    lua_pushcfunction(lua, write_log);
    lua_setfield(lua, -2, "log");
    lua_pushcfunction(lua, register_function);
    lua_setfield(lua, -2, "register_function");
}

void cscripting_open_api(lua_State *lua) {
    static const luaL_Reg functions[] = {
        {"call", redis_call}, {"pcall", redis_pcall}, {"log", write_log}, {"setresp", set_version},
        {"sha1hex", sha1hex}, {"error_reply", error_reply}, {"status_reply", status_reply},
        {"set_repl", set_replication}, {"acl_check_cmd", check_command}, {NULL, NULL},
    };
    static const luaL_Reg only_scripts[] = {
        {"replicate_commands", replicate_commands}, {"breakpoint", breakpoint}, {"debug", nothing}, {NULL, NULL},
    };
    lua_newtable(lua);
    luaL_register(lua, NULL, functions);
    if (!cscripting_of(lua)->functions) luaL_register(lua, NULL, only_scripts);
    add_constants(lua, sizeof constants / sizeof *constants);
    lua_setglobal(lua, "redis");
    lua_getglobal(lua, "math");
    lua_pushcfunction(lua, random_number);
    lua_setfield(lua, -2, "random");
    lua_pushcfunction(lua, random_seed);
    lua_setfield(lua, -2, "randomseed");
    lua_pop(lua, 1);
}
