// CRC32C (Castagnoli, RFC 3720 appendix B.4): the CPU's instruction where there is one, else a table.
#include "csystem.h"
#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
__attribute__((target("sse4.2")))
static uint32_t crc32c_hardware(uint32_t crc, const uint8_t *p, size_t n) {
    uint64_t c = crc;
    while (n >= 8) { uint64_t w; memcpy(&w, p, 8); c = _mm_crc32_u64(c, w); p += 8; n -= 8; }
    uint32_t d = (uint32_t)c;
    while (n--) d = _mm_crc32_u8(d, *p++);
    return d;
}
static int has_hardware(void) { return __builtin_cpu_supports("sse4.2"); }
#elif defined(__aarch64__)
#include <arm_acle.h>
__attribute__((target("+crc")))
static uint32_t crc32c_hardware(uint32_t crc, const uint8_t *p, size_t n) {
    while (n >= 8) { uint64_t w; memcpy(&w, p, 8); crc = __crc32cd(crc, w); p += 8; n -= 8; }
    while (n--) crc = __crc32cb(crc, *p++);
    return crc;
}
static int has_hardware(void) { return 1; }
#else
static uint32_t crc32c_hardware(uint32_t crc, const uint8_t *p, size_t n) { (void)p; (void)n; return crc; }
static int has_hardware(void) { return 0; }
#endif

static uint32_t crc32c_table_step(uint32_t crc, uint8_t byte) {
    crc ^= byte;
    for (int i = 0; i < 8; i++) crc = (crc >> 1) ^ (0x82f63b78u & (0u - (crc & 1u)));
    return crc;
}

uint32_t csystem_crc32c(uint32_t crc, const void *bytes, size_t length) {
    const uint8_t *p = bytes;
    crc = ~crc;
    if (has_hardware()) return ~crc32c_hardware(crc, p, length);
    while (length--) crc = crc32c_table_step(crc, *p++);
    return ~crc;
}
