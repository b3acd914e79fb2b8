/* Error texts and the two helpers that build a reason. */
#include "core/error.h"

#include <stdio.h>
#include <string.h>

const char *err_text(enum err err)
{
    static const char *const texts[] = {
#define X(code, text) [code] = text,
        ERR_LIST(X)
#undef X
    };
    if ((size_t)err >= COUNT(texts))
        return "unknown error";
    return texts[err];
}

enum err fail(struct why *why, enum err err, const char *format, ...)
{
    if (why == NULL)
        return err;
    va_list args;
    va_start(args, format);
    vsnprintf(why->text, sizeof(why->text), format, args);
    va_end(args);
    return err;
}

enum err fail_in(struct why *why, enum err err, const char *format, ...)
{
    if (why == NULL)
        return err;
    struct why outer;
    va_list args;
    va_start(args, format);
    vsnprintf(outer.text, sizeof(outer.text), format, args);
    va_end(args);
    size_t used = strlen(outer.text);
    snprintf(outer.text + used, sizeof(outer.text) - used, ": %s", why->text);
    *why = outer;
    return err;
}
