#ifndef APP_PYTHON_HEADER_H
#define APP_PYTHON_HEADER_H

/* What an application may say in a header: nothing that could end it or begin another one. */

#include "core/text.h"

/* A name (RFC 9110 5.6.2, token). */
static inline bool header_is_token(struct text text)
{
    static const uint8_t allowed[256] = {
        ['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1,         ['&'] = 1,         ['\''] = 1,
        ['*'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1,         ['^'] = 1,         ['_'] = 1,
        ['`'] = 1, ['|'] = 1, ['~'] = 1, ['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
    };
    for (size_t i = 0; i < text.len; i++) {
        if (!allowed[(uint8_t)text.data[i]])
            return false;
    }
    return text.len > 0;
}

/* A value: no control character but the tab (RFC 9110 5.5). */
static inline bool header_is_value(struct text text)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = (uint8_t)text.data[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

#endif
