#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const char *vt_status_text(vt_status status)
{
    switch (status) {
#define X(name, code, help)                                                                        \
    case VT_##name:                                                                                \
        return help;
        VT_STATUS_LIST(X)
#undef X
    }
    return "unknown status";
}

vt_status vt_fail(vt_error *err, vt_status status, const char *format, ...)
{
    if (err && err->status == VT_OK) {
        va_list args;
        va_start(args, format);
        err->status = status;
        vsnprintf(err->text, sizeof err->text, format, args);
        va_end(args);
    }
    return status;
}

void vt_assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "vitrine: %s:%d: internal error: %s does not hold; please report this\n", file,
            line, condition);
    _Exit(VT_ERR_INTERNAL);
}
