// struct and cmsgpack: no Debian package has them. Written from their formats: the format strings of
// Roberto Ierusalimschy's struct as Redis documents them, and the MessagePack specification.
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "internal.h"

// MARK: struct

typedef struct {
    bool is_little;
    size_t align;
} layout;

typedef struct {
    char option;
    size_t size;
} item;

static size_t digits(const char **format, size_t otherwise) {
    if (**format < '0' || **format > '9') return otherwise;
    size_t n = 0;
    while (**format >= '0' && **format <= '9' && n < INT32_MAX / 10 - 1) n = n * 10 + (size_t)(*(*format)++ - '0');
    return n;
}

// The next item of a format; false at its end. Options that only set something are carried out.
static bool next_item(lua_State *lua, const char **format, layout *layout, item *item) {
    while (**format) {
        char option = *(*format)++;
        item->option = option;
        switch (option) {
        case ' ': continue;
        case '<': layout->is_little = true; continue;
        case '>': layout->is_little = false; continue;
        case '!': {
            size_t align = digits(format, 8);
            if (align == 0 || (align & (align - 1)) != 0) luaL_error(lua, "alignment is not a power of 2");
            layout->align = align;
            continue;
        }
        case 'b': case 'B': item->size = 1; return true;
        case 'h': case 'H': item->size = 2; return true;
        case 'l': case 'L': case 'T': item->size = 8; return true;
        case 'i': case 'I':
            item->size = digits(format, 4);
            if (item->size > 32) luaL_error(lua, "integral size %d is larger than limit of %d", (int)item->size, 32);
            return true;
        case 'f': item->size = 4; return true;
        case 'd': item->size = 8; return true;
        case 'x': item->size = 1; return true;
        case 's': item->size = 0; return true;
        case 'c': item->size = digits(format, 1); return true;
        default: {
            const char *message = lua_pushfstring(lua, "invalid format option '%c'", option);
            luaL_argerror(lua, 1, message);
        }
        }
    }
    return false;
}

static size_t padding(const layout *layout, const item *item, size_t at) {
    if (item->size == 0 || strchr("xsc", item->option)) return 0;
    size_t align = item->size > layout->align ? layout->align : item->size;
    if (align > 1) return (align - (at & (align - 1))) & (align - 1);
    return 0;
}

static void add_integer(lua_State *lua, luaL_Buffer *out, int argument, const layout *layout, size_t size) {
    lua_Number number = luaL_checknumber(lua, argument);
    uint64_t value = number < 0 ? (uint64_t)(int64_t)number : (uint64_t)number;
    char bytes[32];
    for (size_t i = 0; i < size; i++) {
        uint64_t byte = i < 8 ? value >> (8 * i) & 0xff : 0;
        bytes[layout->is_little ? i : size - 1 - i] = (char)byte;
    }
    luaL_addlstring(out, bytes, size);
}

static void add_float(luaL_Buffer *out, const layout *layout, const void *value, size_t size) {
    char bytes[8];
    memcpy(bytes, value, size);
    for (size_t i = 0; i < size; i++) luaL_addchar(out, bytes[layout->is_little ? i : size - 1 - i]);
}

static int struct_pack(lua_State *lua) {
    const char *format = luaL_checkstring(lua, 1);
    layout layout = {true, 1};
    item item;
    luaL_Buffer out;
    size_t total = 0;
    int argument = 2;
    lua_pushnil(lua);
    luaL_buffinit(lua, &out);
    while (next_item(lua, &format, &layout, &item)) {
        size_t pad = padding(&layout, &item, total);
        total += pad + item.size;
        while (pad-- > 0) luaL_addchar(&out, 0);
        switch (item.option) {
        case 'f': {
            float value = (float)luaL_checknumber(lua, argument++);
            add_float(&out, &layout, &value, 4);
            break;
        }
        case 'd': {
            double value = luaL_checknumber(lua, argument++);
            add_float(&out, &layout, &value, 8);
            break;
        }
        case 'x': luaL_addchar(&out, 0); break;
        case 'c':
        case 's': {
            size_t count;
            const char *text = luaL_checklstring(lua, argument++, &count);
            if (item.option == 'c' && item.size == 0) item.size = count;
            if (item.option == 's') item.size = count;
            luaL_argcheck(lua, count >= item.size, argument, "string too short");
            luaL_addlstring(&out, text, item.size);
            total += item.option == 's' ? item.size : 0;
            if (item.option == 's') {
                luaL_addchar(&out, 0);
                total++;
            }
            break;
        }
        default: add_integer(lua, &out, argument++, &layout, item.size);
        }
    }
    luaL_pushresult(&out);
    return 1;
}

static lua_Number read_integer(const char *bytes, const layout *layout, size_t size, bool is_signed) {
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) {
        size_t at = layout->is_little ? size - 1 - i : i;
        value = value << 8 | (unsigned char)bytes[at];
    }
    if (!is_signed) return (lua_Number)value;
    if (size < 8) {
        uint64_t sign = (uint64_t)1 << (size * 8 - 1);
        return (lua_Number)(int64_t)((value ^ sign) - sign);
    }
    return (lua_Number)(int64_t)value;
}

static void read_float(void *value, const char *bytes, const layout *layout, size_t size) {
    char own[8];
    for (size_t i = 0; i < size; i++) own[i] = bytes[layout->is_little ? i : size - 1 - i];
    memcpy(value, own, size);
}

static int struct_unpack(lua_State *lua) {
    const char *format = luaL_checkstring(lua, 1);
    size_t count;
    const char *data = luaL_checklstring(lua, 2, &count);
    int start = luaL_optint(lua, 3, 1);
    luaL_argcheck(lua, start > 0, 3, "offset must be 1 or greater");
    size_t at = (size_t)start - 1;
    layout layout = {true, 1};
    item item;
    int results = 0;
    while (next_item(lua, &format, &layout, &item)) {
        at += padding(&layout, &item, at);
        luaL_argcheck(lua, at <= count && item.size <= count - at, 2, "data string too short");
        luaL_checkstack(lua, 2, "too many results");
        switch (item.option) {
        case 'f': {
            float value;
            read_float(&value, data + at, &layout, 4);
            lua_pushnumber(lua, value);
            results++;
            break;
        }
        case 'd': {
            double value;
            read_float(&value, data + at, &layout, 8);
            lua_pushnumber(lua, value);
            results++;
            break;
        }
        case 'x': break;
        case 'c':
            if (item.size == 0) {
                if (results == 0 || !lua_isnumber(lua, -1)) luaL_error(lua, "format 'c0' needs a previous size");
                lua_Number size = lua_tonumber(lua, -1);
                lua_pop(lua, 1);
                results--;
                luaL_argcheck(lua, size >= 0 && size <= (lua_Number)(count - at), 2, "data string too short");
                item.size = (size_t)size;
            }
            lua_pushlstring(lua, data + at, item.size);
            results++;
            break;
        case 's': {
            const char *end = memchr(data + at, 0, count - at);
            if (!end) luaL_error(lua, "unfinished string in data");
            item.size = (size_t)(end - (data + at)) + 1;
            lua_pushlstring(lua, data + at, item.size - 1);
            results++;
            break;
        }
        default: {
            bool is_signed = item.option == 'b' || item.option == 'h' || item.option == 'l' || item.option == 'i';
            lua_pushnumber(lua, read_integer(data + at, &layout, item.size, is_signed));
            results++;
        }
        }
        at += item.size;
    }
    lua_pushinteger(lua, (lua_Integer)at + 1);
    return results + 1;
}

static int struct_size(lua_State *lua) {
    const char *format = luaL_checkstring(lua, 1);
    layout layout = {true, 1};
    item item;
    size_t at = 0;
    while (next_item(lua, &format, &layout, &item)) {
        at += padding(&layout, &item, at);
        if (item.option == 's') luaL_argerror(lua, 1, "variable-size format in 'size'");
        if (item.option == 'c' && item.size == 0) luaL_argerror(lua, 1, "variable-length format in 'size'");
        at += item.size;
    }
    lua_pushinteger(lua, (lua_Integer)at);
    return 1;
}

int cscripting_open_struct(lua_State *lua) {
    static const luaL_Reg functions[] = {
        {"pack", struct_pack}, {"unpack", struct_unpack}, {"size", struct_size}, {NULL, NULL}};
    lua_newtable(lua);
    luaL_register(lua, NULL, functions);
    return 1;
}

// MARK: cmsgpack

// Deeper tables are packed as nil.
enum { msgpack_depth = 16 };

static void put(luaL_Buffer *out, int first, uint64_t value, int bytes) {
    if (first >= 0) luaL_addchar(out, (char)first);
    for (int i = bytes - 1; i >= 0; i--) luaL_addchar(out, (char)(value >> (8 * i) & 0xff));
}

static void pack_integer(luaL_Buffer *out, int64_t n) {
    if (n >= 0) {
        if (n <= 127) put(out, -1, (uint64_t)n, 1);
        else if (n <= 0xff) put(out, 0xcc, (uint64_t)n, 1);
        else if (n <= 0xffff) put(out, 0xcd, (uint64_t)n, 2);
        else if (n <= 0xffffffffLL) put(out, 0xce, (uint64_t)n, 4);
        else put(out, 0xcf, (uint64_t)n, 8);
    } else {
        if (n >= -32) put(out, -1, (uint64_t)n, 1);
        else if (n >= -128) put(out, 0xd0, (uint64_t)n, 1);
        else if (n >= -32768) put(out, 0xd1, (uint64_t)n, 2);
        else if (n >= -2147483648LL) put(out, 0xd2, (uint64_t)n, 4);
        else put(out, 0xd3, (uint64_t)n, 8);
    }
}

static void pack_number(luaL_Buffer *out, lua_Number n) {
    if (floor(n) == n && !isinf(n) && n >= -9223372036854775808.0 && n < 9223372036854775808.0) {
        pack_integer(out, (int64_t)n);
    } else if (n == (lua_Number)(float)n || isnan(n)) {
        float f = (float)n;
        uint32_t bits;
        memcpy(&bits, &f, sizeof bits);
        put(out, 0xca, bits, 4);
    } else {
        uint64_t bits;
        memcpy(&bits, &n, sizeof bits);
        put(out, 0xcb, bits, 8);
    }
}

static void pack_string(luaL_Buffer *out, const char *text, size_t count) {
    if (count < 32) put(out, -1, 0xa0 | count, 1);
    else if (count <= 0xff) put(out, 0xd9, count, 1);
    else if (count <= 0xffff) put(out, 0xda, count, 2);
    else put(out, 0xdb, count, 4);
    luaL_addlstring(out, text, count);
}

static void pack_header(luaL_Buffer *out, size_t count, int small, int medium, int large) {
    if (count <= 15) put(out, -1, (uint64_t)small | count, 1);
    else if (count <= 0xffff) put(out, medium, count, 2);
    else put(out, large, count, 4);
}

// Whether the table at `index` has the keys 1 to n and no others.
static bool is_list(lua_State *lua, int index, size_t *count) {
    size_t n = 0, most = 0;
    lua_pushnil(lua);
    while (lua_next(lua, index)) {
        lua_pop(lua, 1);
        lua_Number key = lua_type(lua, -1) == LUA_TNUMBER ? lua_tonumber(lua, -1) : 0;
        if (key <= 0 || floor(key) != key || key > 1e9) {
            lua_pop(lua, 1);
            return false;
        }
        if ((size_t)key > most) most = (size_t)key;
        n++;
    }
    *count = n;
    return most == n;
}

// The buffer keeps what it has on the Lua stack, so a value is packed into a string of its own first.
static void push_packed(lua_State *lua, int index, int depth);

static void push_packed_table(lua_State *lua, int index, int depth) {
    luaL_Buffer out;
    size_t count = 0;
    bool list = is_list(lua, index, &count);
    // Pieces are collected in a table and joined: nothing else is on the stack then.
    lua_newtable(lua);
    int pieces = lua_gettop(lua), n = 1;
    if (list) {
        for (size_t i = 1; i <= count; i++) {
            lua_rawgeti(lua, index, (int)i);
            push_packed(lua, lua_gettop(lua), depth + 1);
            lua_rawseti(lua, pieces, n++);
            lua_pop(lua, 1);
        }
    } else {
        count = 0;
        lua_pushnil(lua);
        while (lua_next(lua, index)) {
            int value = lua_gettop(lua);
            push_packed(lua, value - 1, depth + 1);
            lua_rawseti(lua, pieces, n++);
            push_packed(lua, value, depth + 1);
            lua_rawseti(lua, pieces, n++);
            lua_pop(lua, 1);
            count++;
        }
    }
    luaL_buffinit(lua, &out);
    if (list) pack_header(&out, count, 0x90, 0xdc, 0xdd); else pack_header(&out, count, 0x80, 0xde, 0xdf);
    for (int i = 1; i < n; i++) {
        lua_rawgeti(lua, pieces, i);
        luaL_addvalue(&out);
    }
    luaL_pushresult(&out);
    lua_remove(lua, pieces);
}

static void push_packed(lua_State *lua, int index, int depth) {
    luaL_checkstack(lua, 20, "too deep to pack");
    int type = lua_type(lua, index);
    if (type == LUA_TTABLE && depth < msgpack_depth) {
        push_packed_table(lua, index, depth);
        return;
    }
    luaL_Buffer out;
    luaL_buffinit(lua, &out);
    if (type == LUA_TSTRING) {
        size_t count;
        const char *text = lua_tolstring(lua, index, &count);
        pack_string(&out, text, count);
    } else if (type == LUA_TBOOLEAN) {
        luaL_addchar(&out, (char)(lua_toboolean(lua, index) ? 0xc3 : 0xc2));
    } else if (type == LUA_TNUMBER) {
        pack_number(&out, lua_tonumber(lua, index));
    } else {
        luaL_addchar(&out, (char)0xc0);
    }
    luaL_pushresult(&out);
}

static int msgpack_pack(lua_State *lua) {
    int count = lua_gettop(lua);
    if (count == 0) return luaL_argerror(lua, 0, "MessagePack pack needs input.");
    for (int i = 1; i <= count; i++) push_packed(lua, i, 0);
    lua_concat(lua, count);
    return 1;
}

typedef struct {
    const unsigned char *at;
    size_t left;
} input;

static uint64_t take(lua_State *lua, input *in, size_t bytes) {
    if (in->left < bytes) luaL_error(lua, "Missing bytes in input.");
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) value = value << 8 | in->at[i];
    in->at += bytes;
    in->left -= bytes;
    return value;
}

static void unpack(lua_State *lua, input *in, int depth);

static void unpack_string(lua_State *lua, input *in, uint64_t count) {
    if (in->left < count) luaL_error(lua, "Missing bytes in input.");
    lua_pushlstring(lua, (const char *)in->at, (size_t)count);
    in->at += count;
    in->left -= (size_t)count;
}

static void unpack_list(lua_State *lua, input *in, uint64_t count, int depth) {
    // Every member takes a byte at least.
    if (in->left < count) luaL_error(lua, "Missing bytes in input.");
    lua_newtable(lua);
    for (uint64_t i = 1; i <= count; i++) {
        lua_pushnumber(lua, (lua_Number)i);
        unpack(lua, in, depth + 1);
        lua_settable(lua, -3);
    }
}

static void unpack_map(lua_State *lua, input *in, uint64_t count, int depth) {
    if (in->left < count) luaL_error(lua, "Missing bytes in input.");
    lua_newtable(lua);
    for (uint64_t i = 0; i < count; i++) {
        unpack(lua, in, depth + 1);
        unpack(lua, in, depth + 1);
        if (lua_isnil(lua, -2)) luaL_error(lua, "Bad data format in input.");
        lua_settable(lua, -3);
    }
}

static void unpack_typed(lua_State *lua, input *in, unsigned type, int depth) {
    switch (type) {
    case 0xc0: lua_pushnil(lua); break;
    case 0xc2: lua_pushboolean(lua, 0); break;
    case 0xc3: lua_pushboolean(lua, 1); break;
    case 0xca: {
        uint32_t bits = (uint32_t)take(lua, in, 4);
        float value;
        memcpy(&value, &bits, sizeof value);
        lua_pushnumber(lua, value);
        break;
    }
    case 0xcb: {
        uint64_t bits = take(lua, in, 8);
        double value;
        memcpy(&value, &bits, sizeof value);
        lua_pushnumber(lua, value);
        break;
    }
    case 0xcc: case 0xcd: case 0xce: case 0xcf:
        lua_pushnumber(lua, (lua_Number)take(lua, in, (size_t)1 << (type - 0xcc)));
        break;
    case 0xd0: lua_pushnumber(lua, (int8_t)take(lua, in, 1)); break;
    case 0xd1: lua_pushnumber(lua, (int16_t)take(lua, in, 2)); break;
    case 0xd2: lua_pushnumber(lua, (int32_t)take(lua, in, 4)); break;
    case 0xd3: lua_pushnumber(lua, (lua_Number)(int64_t)take(lua, in, 8)); break;
    case 0xc4: case 0xd9: unpack_string(lua, in, take(lua, in, 1)); break;
    case 0xc5: case 0xda: unpack_string(lua, in, take(lua, in, 2)); break;
    case 0xc6: case 0xdb: unpack_string(lua, in, take(lua, in, 4)); break;
    case 0xdc: unpack_list(lua, in, take(lua, in, 2), depth); break;
    case 0xdd: unpack_list(lua, in, take(lua, in, 4), depth); break;
    case 0xde: unpack_map(lua, in, take(lua, in, 2), depth); break;
    case 0xdf: unpack_map(lua, in, take(lua, in, 4), depth); break;
    default: luaL_error(lua, "Bad data format in input.");
    }
}

static void unpack(lua_State *lua, input *in, int depth) {
    // Each level takes some of C's stack.
    if (depth > 1000) luaL_error(lua, "Bad data format in input.");
    luaL_checkstack(lua, 5, "too many values to unpack");
    unsigned type = (unsigned)take(lua, in, 1);
    if (type < 0x80) lua_pushnumber(lua, type);
    else if (type >= 0xe0) lua_pushnumber(lua, (int)type - 256);
    else if ((type & 0xe0) == 0xa0) unpack_string(lua, in, type & 31);
    else if ((type & 0xf0) == 0x90) unpack_list(lua, in, type & 15, depth);
    else if ((type & 0xf0) == 0x80) unpack_map(lua, in, type & 15, depth);
    else unpack_typed(lua, in, type, depth);
}

// Up to `limit` values (0: all); the place after them comes first if it is asked for.
static int unpack_values(lua_State *lua, int limit, int offset, bool tells_place) {
    size_t count;
    const char *data = luaL_checklstring(lua, 1, &count);
    if (offset < 0 || limit < 0) {
        return luaL_error(lua, "Invalid request to unpack with offset of %d and limit of %d.", offset, (int)count);
    }
    if ((size_t)offset > count) {
        return luaL_error(lua, "Start offset %d greater than input length %d.", offset, (int)count);
    }
    bool all = limit == 0 && !tells_place;
    if (limit == 0 || all) limit = INT32_MAX;
    input in = {(const unsigned char *)data + offset, count - (size_t)offset};
    int base = lua_gettop(lua), found = 0;
    while (in.left > 0 && found < limit) {
        unpack(lua, &in, 0);
        found++;
    }
    if (tells_place) {
        lua_pushinteger(lua, in.left == 0 ? -1 : (lua_Integer)(count - in.left));
        lua_insert(lua, base + 1);
        found++;
    }
    return found;
}

static int msgpack_unpack(lua_State *lua) { return unpack_values(lua, 0, 0, false); }

static int msgpack_unpack_one(lua_State *lua) {
    return unpack_values(lua, 1, luaL_optint(lua, 2, 0), true);
}

static int msgpack_unpack_limit(lua_State *lua) {
    int limit = luaL_checkint(lua, 2);
    return unpack_values(lua, limit, luaL_optint(lua, 3, 0), true);
}

int cscripting_open_msgpack(lua_State *lua) {
    static const luaL_Reg functions[] = {
        {"pack", msgpack_pack}, {"unpack", msgpack_unpack}, {"unpack_one", msgpack_unpack_one},
        {"unpack_limit", msgpack_unpack_limit}, {NULL, NULL}};
    lua_newtable(lua);
    luaL_register(lua, NULL, functions);
    lua_pushliteral(lua, "lua-cmsgpack 0.4.0");
    lua_setfield(lua, -2, "_VERSION");
    lua_pushliteral(lua, "cmsgpack");
    lua_setfield(lua, -2, "_NAME");
    return 1;
}
