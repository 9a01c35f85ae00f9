// Numbers as text by the C library. Not inline: <stdlib.h> in the header would bring an fd_set that
// differs from the one Glibc's Swift module knows.
#include "csystem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

int csystem_parse_double(const char *text, size_t length, double *value) {
    char *end;
    errno = 0;
    *value = strtod(text, &end);
    if ((size_t)(end - text) != length) return 0;
    return !(errno == ERANGE && (isinf(*value) || *value == 0));
}

int csystem_format_double(char *out, size_t capacity, double value) {
    return snprintf(out, capacity, "%.17g", value);
}

int csystem_format_decimals(char *out, size_t capacity, double value, int decimals) {
    return snprintf(out, capacity, "%.*f", decimals, value);
}

int csystem_format_fixed(char *out, size_t capacity, double value) {
    return snprintf(out, capacity, "%.17f", value);
}

#if defined(__x86_64__)
int csystem_parse_long_double(const char *text, size_t length, long double *value) {
    char *end;
    errno = 0;
    *value = strtold(text, &end);
    if ((size_t)(end - text) != length) return 0;
    return !(errno == ERANGE && (isinf(*value) || *value == 0));
}

int csystem_format_long_fixed(char *out, size_t capacity, long double value) {
    return snprintf(out, capacity, "%.17Lf", value);
}
#endif
