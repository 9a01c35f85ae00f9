// The globals of scripts: which there are, and that none can be changed.
//
// Redis patches Lua so that tables can be made read-only. With Lua as it is a stand-in does it: an empty
// table whose metatable reads from the real one and refuses writes. Functions that would see the
// emptiness (next, pairs, rawget) look through it; those that would write past the metatable refuse.
#include <string.h>

#include "internal.h"

#include <lua5.1/lua-bitop.h>
#include <lua5.1/lua-cjson.h>

static const char real_key = 'r', globals_key = 'g', handler_key = 'h', library_key = 'l';

int cscripting_readonly_error(lua_State *lua) { return luaL_error(lua, "Attempt to modify a readonly table"); }

// The same without a place, as functions of Redis's Lua report it.
static int refuse_call(lua_State *lua) {
    lua_pushliteral(lua, "Attempt to modify a readonly table");
    return lua_error(lua);
}

// Replaces the value at `index` by the real table if it is a stand-in; true if it was one.
static bool look_through(lua_State *lua, int index) {
    if (!lua_istable(lua, index)) return false;
    lua_pushlightuserdata(lua, (void *)&real_key);
    lua_rawget(lua, LUA_REGISTRYINDEX);
    lua_pushvalue(lua, index);
    lua_rawget(lua, -2);
    lua_remove(lua, -2);
    if (lua_isnil(lua, -1)) {
        lua_pop(lua, 1);
        return false;
    }
    lua_replace(lua, index);
    return true;
}

static int refuse_write(lua_State *lua) { return cscripting_readonly_error(lua); }

void cscripting_protect(lua_State *lua) {
    lua_newtable(lua);                       // real stand-in
    lua_newtable(lua);                       // real stand-in meta
    lua_pushvalue(lua, -3);
    lua_setfield(lua, -2, "__index");
    lua_pushcfunction(lua, refuse_write);
    lua_setfield(lua, -2, "__newindex");
    // getmetatable gives this.
    lua_newtable(lua);
    lua_setfield(lua, -2, "__metatable");
    lua_setmetatable(lua, -2);               // real stand-in
    lua_pushlightuserdata(lua, (void *)&real_key);
    lua_rawget(lua, LUA_REGISTRYINDEX);      // real stand-in map
    lua_pushvalue(lua, -2);
    lua_pushvalue(lua, -4);
    lua_rawset(lua, -3);
    lua_pop(lua, 1);
    lua_remove(lua, -2);                     // stand-in
}

void cscripting_push_globals(lua_State *lua) {
    lua_pushlightuserdata(lua, (void *)&globals_key);
    lua_rawget(lua, LUA_REGISTRYINDEX);
}

// MARK: Functions that look through stand-ins

static int safe_next(lua_State *lua) {
    luaL_checktype(lua, 1, LUA_TTABLE);
    lua_settop(lua, 2);
    look_through(lua, 1);
    if (lua_next(lua, 1)) return 2;
    lua_pushnil(lua);
    return 1;
}

static int safe_pairs(lua_State *lua) {
    luaL_checktype(lua, 1, LUA_TTABLE);
    lua_pushcfunction(lua, safe_next);
    lua_pushvalue(lua, 1);
    lua_pushnil(lua);
    return 3;
}

static int safe_rawget(lua_State *lua) {
    luaL_checktype(lua, 1, LUA_TTABLE);
    luaL_checkany(lua, 2);
    lua_settop(lua, 2);
    look_through(lua, 1);
    lua_rawget(lua, 1);
    return 1;
}

static int safe_rawset(lua_State *lua) {
    luaL_checktype(lua, 1, LUA_TTABLE);
    luaL_checkany(lua, 2);
    luaL_checkany(lua, 3);
    lua_settop(lua, 3);
    if (look_through(lua, 1)) return refuse_call(lua);
    lua_rawset(lua, 1);
    return 1;
}

// A function of Lua's that writes into its first argument, which must not be a stand-in.
static int guarded(lua_State *lua) {
    if (lua_istable(lua, 1)) {
        lua_pushvalue(lua, 1);
        bool is_protected = look_through(lua, lua_gettop(lua));
        lua_pop(lua, 1);
        if (is_protected) return refuse_call(lua);
    }
    lua_CFunction original = (lua_CFunction)lua_touserdata(lua, lua_upvalueindex(1));
    return original(lua);
}

// Guards field `name` of the table on top of the stack.
static void guard(lua_State *lua, const char *name) {
    lua_getfield(lua, -1, name);
    lua_CFunction original = lua_tocfunction(lua, -1);
    lua_pop(lua, 1);
    if (!original) return;
    lua_pushlightuserdata(lua, (void *)original);
    lua_pushcclosure(lua, guarded, 1);
    lua_setfield(lua, -2, name);
}

// pcall that gives an error's text where Redis's errors are tables.
static int safe_pcall(lua_State *lua) {
    luaL_checkany(lua, 1);
    int status = lua_pcall(lua, lua_gettop(lua) - 1, LUA_MULTRET, 0);
    if (cscripting_of(lua)->ends || cscripting_of(lua)->killed) return lua_error(lua);
    if (status && lua_istable(lua, -1)) {
        lua_pushliteral(lua, "err");
        lua_rawget(lua, -2);
        if (lua_isstring(lua, -1)) lua_replace(lua, -2); else lua_pop(lua, 1);
    }
    lua_pushboolean(lua, status == 0);
    lua_insert(lua, 1);
    return lua_gettop(lua);
}

// A script's error handler: not for the error that ends the run, for Lua would run it without hooks,
// and it could go on for ever.
static int careful_handler(lua_State *lua) {
    if (cscripting_of(lua)->ends || cscripting_of(lua)->killed) return 1;
    lua_pushvalue(lua, lua_upvalueindex(1));
    lua_insert(lua, 1);
    lua_call(lua, 1, 1);
    return 1;
}

static int safe_xpcall(lua_State *lua) {
    luaL_checkany(lua, 2);
    lua_settop(lua, 2);
    lua_pushcclosure(lua, careful_handler, 1);
    lua_insert(lua, 1);
    int status = lua_pcall(lua, 0, LUA_MULTRET, 1);
    if (cscripting_of(lua)->ends || cscripting_of(lua)->killed) return lua_error(lua);
    lua_pushboolean(lua, status == 0);
    lua_replace(lua, 1);
    return lua_gettop(lua);
}

// MARK: Loading text, never bytecode: what is not compiled here may do anything to the process.

static int load_text(lua_State *lua, const char *text, size_t count, const char *name) {
    if (count > 0 && text[0] == LUA_SIGNATURE[0]) {
        lua_pushnil(lua);
        lua_pushliteral(lua, "attempt to load a binary chunk");
        return 2;
    }
    if (luaL_loadbuffer(lua, text, count, name) == 0) return 1;
    lua_pushnil(lua);
    lua_insert(lua, -2);
    return 2;
}

static int safe_loadstring(lua_State *lua) {
    size_t count;
    const char *text = luaL_checklstring(lua, 1, &count);
    return load_text(lua, text, count, luaL_optstring(lua, 2, text));
}

static int safe_load(lua_State *lua) {
    luaL_checktype(lua, 1, LUA_TFUNCTION);
    const char *name = luaL_optstring(lua, 2, "=(load)");
    lua_settop(lua, 2);
    lua_pushliteral(lua, "");
    for (;;) {
        lua_pushvalue(lua, 1);
        lua_call(lua, 0, 1);
        if (lua_isnil(lua, -1)) break;
        if (!lua_isstring(lua, -1)) return luaL_error(lua, "reader function must return a string");
        if (lua_objlen(lua, -1) == 0) break;
        lua_concat(lua, 2);
    }
    lua_pop(lua, 1);
    size_t count;
    const char *text = lua_tolstring(lua, -1, &count);
    return load_text(lua, text, count, name);
}

static int absent_global(lua_State *lua) {
    // The name may hold anything.
    const char *name = lua_tostring(lua, 2);
    return luaL_error(lua, "Script attempted to access nonexistent global variable '%s'", name ? name : "");
}

// MARK: Putting it together

static void open_libraries(lua_State *lua) {
    static const luaL_Reg libraries[] = {
        {"", luaopen_base}, {LUA_TABLIBNAME, luaopen_table}, {LUA_STRLIBNAME, luaopen_string},
        {LUA_MATHLIBNAME, luaopen_math}, {LUA_DBLIBNAME, luaopen_debug}, {"cjson", luaopen_cjson},
        {"bit", luaopen_bit}, {"struct", cscripting_open_struct}, {"cmsgpack", cscripting_open_msgpack},
    };
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
        lua_pushcfunction(lua, libraries[i].func);
        lua_pushstring(lua, libraries[i].name);
        lua_call(lua, 1, 1);
        // Some only return their table.
        if (*libraries[i].name && lua_istable(lua, -1)) lua_setglobal(lua, libraries[i].name);
        else lua_pop(lua, 1);
    }
}

// What an error becomes while its place is still known.
static const char handler[] =
    "local getinfo, type, tostring = debug.getinfo, type, tostring\n"
    "return function(err)\n"
    "  local i = getinfo(2, 'nSl')\n"
    "  if i and i.what == 'C' then i = getinfo(3, 'nSl') end\n"
    "  if type(err) ~= 'table' then err = {err = 'ERR ' .. tostring(err)} end\n"
    "  if i then err.source = i.source err.line = i.currentline end\n"
    "  return err\n"
    "end\n";

static void open_handler(lua_State *lua) {
    if (luaL_loadbuffer(lua, handler, sizeof handler - 1, "@err_handler_def")) lua_error(lua);
    lua_call(lua, 0, 1);
    lua_pushlightuserdata(lua, (void *)&handler_key);
    lua_pushvalue(lua, -2);
    lua_rawset(lua, LUA_REGISTRYINDEX);
    // Scripts can see it, functions cannot (Redis 7.0).
    if (cscripting_of(lua)->functions) lua_pop(lua, 1); else lua_setglobal(lua, "__redis__err__handler");
}

void cscripting_push_handler(lua_State *lua) {
    lua_pushlightuserdata(lua, (void *)&handler_key);
    lua_rawget(lua, LUA_REGISTRYINDEX);
}

// Gives the table on top of the stack a metatable by which absent names are errors.
static void refuse_absent(lua_State *lua) {
    lua_newtable(lua);
    lua_pushcfunction(lua, absent_global);
    lua_setfield(lua, -2, "__index");
    lua_setmetatable(lua, -2);
}

// The globals of a library that is being loaded: "redis" alone.
static void open_library_globals(lua_State *lua) {
    lua_pushlightuserdata(lua, (void *)&library_key);
    lua_newtable(lua);
    cscripting_push_library_api(lua);
    refuse_absent(lua);
    cscripting_protect(lua);
    lua_setfield(lua, -2, "redis");
    refuse_absent(lua);
    lua_rawset(lua, LUA_REGISTRYINDEX);
}

void cscripting_restrict(lua_State *lua, bool restricted) {
    lua_getmetatable(lua, LUA_GLOBALSINDEX);
    if (restricted) {
        lua_pushlightuserdata(lua, (void *)&library_key);
        lua_rawget(lua, LUA_REGISTRYINDEX);
    } else {
        cscripting_push_globals(lua);
    }
    lua_setfield(lua, -2, "__index");
    lua_pop(lua, 1);
}

static void keep_only_known(lua_State *lua) {
    static const char *const known[] = {
        "_G", "_VERSION", "__redis__err__handler", "assert", "bit", "cjson", "cmsgpack", "collectgarbage",
        "coroutine", "error", "gcinfo", "getmetatable", "ipairs", "load", "loadstring", "math", "next",
        "pairs", "pcall", "rawequal", "rawget", "rawset", "redis", "select", "setmetatable", "string",
        "struct", "table", "tonumber", "tostring", "type", "unpack", "xpcall",
    };
    lua_newtable(lua);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        lua_getfield(lua, LUA_GLOBALSINDEX, known[i]);
        lua_setfield(lua, -2, known[i]);
    }
}

void cscripting_open_sandbox(lua_State *lua) {
    lua_pushlightuserdata(lua, (void *)&real_key);
    lua_newtable(lua);
    lua_rawset(lua, LUA_REGISTRYINDEX);
    open_libraries(lua);
    open_handler(lua);
    cscripting_open_api(lua);
    static const luaL_Reg replaced[] = {
        {"next", safe_next}, {"pairs", safe_pairs}, {"rawget", safe_rawget}, {"rawset", safe_rawset},
        {"pcall", safe_pcall}, {"xpcall", safe_xpcall}, {"loadstring", safe_loadstring}, {"load", safe_load},
    };
    for (size_t i = 0; i < sizeof replaced / sizeof *replaced; i++) {
        lua_pushcfunction(lua, replaced[i].func);
        lua_setglobal(lua, replaced[i].name);
    }
    lua_pushvalue(lua, LUA_GLOBALSINDEX);
    guard(lua, "setmetatable");
    lua_pop(lua, 1);
    lua_getglobal(lua, "table");
    guard(lua, "insert");
    guard(lua, "remove");
    guard(lua, "sort");
    guard(lua, "setn");
    lua_pop(lua, 1);
    keep_only_known(lua);                    // globals
    static const char *const tables[] = {
        "bit", "cjson", "cmsgpack", "coroutine", "math", "redis", "string", "struct", "table",
    };
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        lua_getfield(lua, -1, tables[i]);
        if (lua_istable(lua, -1)) cscripting_protect(lua);
        lua_setfield(lua, -2, tables[i]);
    }
    // Methods of strings come from the protected table, and their metatable cannot be changed.
    lua_pushliteral(lua, "");
    lua_getmetatable(lua, -1);
    lua_getfield(lua, -3, "string");
    lua_setfield(lua, -2, "__index");
    lua_newtable(lua);
    cscripting_protect(lua);
    lua_setfield(lua, -2, "__metatable");
    lua_pop(lua, 2);
    refuse_absent(lua);
    lua_pushlightuserdata(lua, (void *)&globals_key);
    lua_pushvalue(lua, -2);
    lua_rawset(lua, LUA_REGISTRYINDEX);
    lua_pushvalue(lua, -1);
    cscripting_protect(lua);                 // globals stand-in
    lua_pushvalue(lua, -1);
    lua_setfield(lua, -3, "_G");
    lua_replace(lua, LUA_GLOBALSINDEX);
    lua_pop(lua, 1);
    if (cscripting_of(lua)->functions) open_library_globals(lua);
}
