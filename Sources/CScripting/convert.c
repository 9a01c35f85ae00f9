// RESP to Lua values and back, as Redis 7.0 does it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

// MARK: Errors

// Pushes {err = "CODE message"}: "-CODE message" keeps its code, anything else gets ERR.
void cscripting_push_error(lua_State *lua, const char *text, size_t count) {
    while (count > 0 && (text[count - 1] == '\r' || text[count - 1] == '\n')) count--;
    lua_newtable(lua);
    lua_pushliteral(lua, "err");
    const char *space = count > 0 && text[0] == '-' ? memchr(text, ' ', count) : NULL;
    if (space) {
        lua_pushlstring(lua, text + 1, count - 1);
    } else {
        size_t skip = count > 0 && text[0] == '-' ? 1 : 0;
        lua_pushliteral(lua, "ERR ");
        lua_pushlstring(lua, text + skip, count - skip);
        lua_concat(lua, 2);
    }
    lua_rawset(lua, -3);
}

// MARK: RESP to Lua

typedef struct {
    const char *at, *end;
} reader;

static long long number(const char *from, const char *to) {
    bool negative = from < to && *from == '-';
    unsigned long long value = 0;
    for (const char *p = from + negative; p < to; p++) value = value * 10 + (unsigned long long)(*p - '0');
    return (long long)(negative ? 0 - value : value);
}

static void push(lua_State *lua, reader *in);

static void push_tagged(lua_State *lua, const char *tag) {
    // Under the value on top: {tag = value}.
    lua_newtable(lua);
    lua_insert(lua, -2);
    lua_pushstring(lua, tag);
    lua_insert(lua, -2);
    lua_rawset(lua, -3);
}

static void push_aggregate(lua_State *lua, reader *in, char kind, long long count) {
    lua_newtable(lua);
    for (long long i = 0; i < count; i++) {
        if (kind == '%') {
            push(lua, in);
            push(lua, in);
            // A key that is nil cannot be kept.
            if (lua_isnil(lua, -2)) lua_pop(lua, 2); else lua_rawset(lua, -3);
        } else if (kind == '~') {
            push(lua, in);
            lua_pushboolean(lua, 1);
            if (lua_isnil(lua, -2)) lua_pop(lua, 2); else lua_rawset(lua, -3);
        } else {
            push(lua, in);
            lua_rawseti(lua, -2, (int)(i + 1));
        }
    }
    if (kind == '%') push_tagged(lua, "map");
    if (kind == '~') push_tagged(lua, "set");
}

static void push_verbatim(lua_State *lua, const char *bytes, size_t count) {
    lua_newtable(lua);
    lua_pushliteral(lua, "string");
    lua_pushlstring(lua, bytes + 4, count - 4);
    lua_rawset(lua, -3);
    lua_pushliteral(lua, "format");
    lua_pushlstring(lua, bytes, 3);
    lua_rawset(lua, -3);
    push_tagged(lua, "verbatim_string");
}

static void push_error_reply(lua_State *lua, const char *line, size_t count) {
    cscripting_push_error(lua, line, count);
    lua_pushliteral(lua, "ignore_error_stats_update");
    lua_pushboolean(lua, 1);
    lua_rawset(lua, -3);
}

static void push(lua_State *lua, reader *in) {
    luaL_checkstack(lua, 8, "reply nested too deep");
    const char *line = in->at, *stop = memchr(line, '\r', (size_t)(in->end - line));
    char kind = *line;
    in->at = stop + 2;
    long long value = 0;
    if (strchr(":$*%~>=|", kind)) value = number(line + 1, stop);
    switch (kind) {
    case ':': lua_pushnumber(lua, (lua_Number)value); break;
    case '+':
        lua_pushlstring(lua, line + 1, (size_t)(stop - line - 1));
        push_tagged(lua, "ok");
        break;
    case '-': push_error_reply(lua, line, (size_t)(stop - line)); break;
    case '$':
    case '=':
        if (value < 0) {
            lua_pushboolean(lua, 0);
            break;
        }
        if (kind == '$') lua_pushlstring(lua, in->at, (size_t)value);
        else push_verbatim(lua, in->at, (size_t)value);
        in->at += value + 2;
        break;
    case '*':
        if (value < 0) lua_pushboolean(lua, 0); else push_aggregate(lua, in, kind, value);
        break;
    case '%':
    case '~': push_aggregate(lua, in, kind, value); break;
    case '>': push_aggregate(lua, in, '*', value); break;
    case '|':
        push_aggregate(lua, in, '%', value);
        lua_pop(lua, 1);
        push(lua, in);
        break;
    case '_': lua_pushnil(lua); break;
    case '#': lua_pushboolean(lua, line[1] == 't'); break;
    case ',':
        lua_pushnumber(lua, strtod(line + 1, NULL));
        push_tagged(lua, "double");
        break;
    case '(':
        lua_pushlstring(lua, line + 1, (size_t)(stop - line - 1));
        push_tagged(lua, "big_number");
        break;
    default: lua_pushnil(lua);
    }
}

void cscripting_push_reply(lua_State *lua, cscripting_bytes reply) {
    reader in = {reply.bytes, reply.bytes + reply.count};
    if (reply.count == 0) lua_pushboolean(lua, 0); else push(lua, &in);
}

// MARK: Lua to RESP

void cscripting_out(cscripting *engine, const void *bytes, size_t count) {
    if (engine->out_count + count > engine->out_capacity) {
        size_t capacity = (engine->out_count + count) * 2 + 256;
        char *larger = realloc(engine->out, capacity);
        if (!larger) {
            engine->out_failed = true;
            return;
        }
        engine->out = larger;
        engine->out_capacity = capacity;
    }
    memcpy(engine->out + engine->out_count, bytes, count);
    engine->out_count += count;
}

static void out_text(cscripting *engine, const char *text) { cscripting_out(engine, text, strlen(text)); }

static void out_count(cscripting *engine, char kind, long long count) {
    char line[32];
    int n = snprintf(line, sizeof line, "%c%lld\r\n", kind, count);
    cscripting_out(engine, line, (size_t)n);
}

static void out_bulk(cscripting *engine, const char *bytes, size_t count) {
    out_count(engine, '$', (long long)count);
    cscripting_out(engine, bytes, count);
    out_text(engine, "\r\n");
}

// A line without line breaks in it.
static void out_line(cscripting *engine, char kind, const char *bytes, size_t count) {
    cscripting_out(engine, &kind, 1);
    size_t first = engine->out_count;
    cscripting_out(engine, bytes, count);
    if (engine->out_failed) return;
    for (size_t i = first; i < engine->out_count; i++) {
        if (engine->out[i] == '\r' || engine->out[i] == '\n') engine->out[i] = ' ';
    }
    out_text(engine, "\r\n");
}

// A bulk in which line breaks become spaces.
static void out_bulk_line(cscripting *engine, const char *bytes, size_t count) {
    out_count(engine, '$', (long long)count);
    size_t first = engine->out_count;
    cscripting_out(engine, bytes, count);
    if (engine->out_failed) return;
    for (size_t i = first; i < engine->out_count; i++) {
        if (engine->out[i] == '\r' || engine->out[i] == '\n') engine->out[i] = ' ';
    }
    out_text(engine, "\r\n");
}

static void out_null(cscripting *engine) {
    out_text(engine, engine->client_version == 3 ? "_\r\n" : "$-1\r\n");
}

// Puts "<kind><count>" before what was written since `mark`.
static void out_header(cscripting *engine, size_t mark, char kind, long long count) {
    char line[32];
    size_t n = (size_t)snprintf(line, sizeof line, "%c%lld\r\n", kind, count);
    cscripting_out(engine, line, n);
    if (engine->out_failed) return;
    memmove(engine->out + mark + n, engine->out + mark, engine->out_count - n - mark);
    memcpy(engine->out + mark, line, n);
}

// Pushes the field if it is of the type, else nothing.
static bool field(lua_State *lua, const char *name, int type) {
    lua_pushstring(lua, name);
    lua_rawget(lua, -2);
    if (lua_type(lua, -1) == type) return true;
    lua_pop(lua, 1);
    return false;
}

static void write_value(cscripting *engine, lua_State *lua);

static void write_double(cscripting *engine, double value) {
    char text[64];
    int n = snprintf(text, sizeof text, "%.17g", value);
    if (engine->client_version == 3) out_line(engine, ',', text, (size_t)n);
    else out_bulk(engine, text, (size_t)n);
}

// A table of keys and values on top of the stack; a set has keys only.
static void write_pairs(cscripting *engine, lua_State *lua, bool is_set) {
    size_t mark = engine->out_count;
    long long count = 0;
    lua_pushnil(lua);
    while (lua_next(lua, -2)) {
        if (is_set) {
            lua_pop(lua, 1);
            lua_pushvalue(lua, -1);
            write_value(engine, lua);
        } else {
            lua_pushvalue(lua, -2);
            write_value(engine, lua);
            write_value(engine, lua);
        }
        count++;
    }
    bool is_new = engine->client_version == 3;
    if (is_set) out_header(engine, mark, is_new ? '~' : '*', count);
    else out_header(engine, mark, is_new ? '%' : '*', is_new ? count : count * 2);
    lua_pop(lua, 1);
}

static void write_array(cscripting *engine, lua_State *lua) {
    size_t mark = engine->out_count;
    long long count = 0;
    for (int i = 1;; i++) {
        lua_rawgeti(lua, -1, i);
        if (lua_isnil(lua, -1)) break;
        write_value(engine, lua);
        count++;
    }
    lua_pop(lua, 1);
    out_header(engine, mark, '*', count);
}

static void write_verbatim(cscripting *engine, lua_State *lua) {
    if (!field(lua, "format", LUA_TSTRING)) return;
    size_t format_count, count;
    const char *format = lua_tolstring(lua, -1, &format_count);
    lua_pop(lua, 1);
    if (!field(lua, "string", LUA_TSTRING)) return;
    const char *text = lua_tolstring(lua, -1, &count);
    if (engine->client_version == 3) {
        char three[4] = "   ";
        memcpy(three, format, format_count < 3 ? format_count : 3);
        three[3] = ':';
        out_count(engine, '=', (long long)count + 4);
        cscripting_out(engine, three, 4);
        cscripting_out(engine, text, count);
        out_text(engine, "\r\n");
    } else {
        out_bulk(engine, text, count);
    }
    lua_pop(lua, 1);
}

static void write_table(cscripting *engine, lua_State *lua) {
    size_t count;
    if (field(lua, "err", LUA_TSTRING)) {
        const char *text = lua_tolstring(lua, -1, &count);
        out_line(engine, '-', text, count);
    } else if (field(lua, "ok", LUA_TSTRING)) {
        const char *text = lua_tolstring(lua, -1, &count);
        out_line(engine, '+', text, count);
    } else if (field(lua, "double", LUA_TNUMBER)) {
        write_double(engine, lua_tonumber(lua, -1));
    } else if (field(lua, "map", LUA_TTABLE)) {
        write_pairs(engine, lua, false);
        return;
    } else if (field(lua, "set", LUA_TTABLE)) {
        write_pairs(engine, lua, true);
        return;
    } else if (field(lua, "big_number", LUA_TSTRING)) {
        const char *text = lua_tolstring(lua, -1, &count);
        if (engine->client_version == 3) out_line(engine, '(', text, count);
        else out_bulk_line(engine, text, count);
    } else if (field(lua, "verbatim_string", LUA_TTABLE)) {
        write_verbatim(engine, lua);
    } else {
        write_array(engine, lua);
        return;
    }
    lua_pop(lua, 1);
}

// Writes the value on top of the stack and takes it away.
static void write_value(cscripting *engine, lua_State *lua) {
    if (!lua_checkstack(lua, 8)) {
        out_text(engine, "-ERR reached lua stack limit\r\n");
        lua_pop(lua, 1);
        return;
    }
    size_t count;
    switch (lua_type(lua, -1)) {
    case LUA_TSTRING: {
        const char *text = lua_tolstring(lua, -1, &count);
        out_bulk(engine, text, count);
        break;
    }
    case LUA_TBOOLEAN:
        if (engine->call_version == 3) {
            if (engine->client_version == 3) out_text(engine, lua_toboolean(lua, -1) ? "#t\r\n" : "#f\r\n");
            else out_count(engine, ':', lua_toboolean(lua, -1) ? 1 : 0);
        } else if (lua_toboolean(lua, -1)) {
            out_text(engine, ":1\r\n");
        } else {
            out_null(engine);
        }
        break;
    case LUA_TNUMBER: {
        double value = lua_tonumber(lua, -1);
        // What a conversion out of range gives on x86-64.
        bool fits = value >= -9223372036854775808.0 && value < 9223372036854775808.0;
        out_count(engine, ':', fits ? (long long)value : INT64_MIN);
        break;
    }
    case LUA_TTABLE: write_table(engine, lua); break;
    default: out_null(engine);
    }
    lua_pop(lua, 1);
}

void cscripting_write_reply(cscripting *engine, lua_State *lua) { write_value(engine, lua); }

// The text of what a script failed with; it is on top of the stack.
void cscripting_write_error(cscripting *engine, lua_State *lua, const char *name) {
    if (!lua_istable(lua, -1)) {
        char line[256];
        const char *text = lua_isstring(lua, -1) ? lua_tostring(lua, -1) : "execution failure";
        int n = snprintf(line, sizeof line, "ERR Error running script %s, %.100s", name, text);
        cscripting_out(engine, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
        return;
    }
    size_t count;
    if (field(lua, "err", LUA_TSTRING)) {
        const char *text = lua_tolstring(lua, -1, &count);
        cscripting_out(engine, text, count);
        lua_pop(lua, 1);
    } else {
        out_text(engine, "ERR unknown error");
    }
    if (!field(lua, "source", LUA_TSTRING)) return;
    const char *source = lua_tostring(lua, -1);
    char line[512];
    lua_pushliteral(lua, "line");
    lua_rawget(lua, -3);
    int n = snprintf(line, sizeof line, " script: %.200s, on %.200s:%d.", name, source, (int)lua_tointeger(lua, -1));
    cscripting_out(engine, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
    lua_pop(lua, 2);
}
