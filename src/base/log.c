#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static vt_log_level threshold = VT_LOG_INFO; /* the logger is the one owner of file-scope state */
static int copy_fd = -1;

void vt_log_set_level(vt_log_level level)
{
    threshold = level;
}

void vt_log_set_copy(int fd)
{
    copy_fd = fd;
}

void vt_log_write(vt_log_level level, const char *format, ...)
{
    static const char *const labels[] = {"error: ", "warning: ", "", ""};
    char line[3000];
    va_list args;
    if (level > threshold)
        return;
    int size = snprintf(line, sizeof line, "vitrine: %s", labels[level]);
    va_start(args, format);
    int more = vsnprintf(line + size, sizeof line - (size_t)size - 1, format, args);
    va_end(args);
    size += more < 0 ? 0 : more;
    if (size > (int)sizeof line - 2)
        size = (int)sizeof line - 2;
    line[size++] = '\n';
    if (write(STDERR_FILENO, line, (size_t)size) < 0)
        return;
    if (copy_fd >= 0 && write(copy_fd, line, (size_t)size) < 0)
        copy_fd = -1;
}
