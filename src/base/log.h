/* Narration on stderr, one line a message. Results go to stdout, never through here. */
#ifndef VT_BASE_LOG_H
#define VT_BASE_LOG_H

typedef enum vt_log_level { VT_LOG_ERROR, VT_LOG_WARNING, VT_LOG_INFO, VT_LOG_DEBUG } vt_log_level;

/* Messages above this level are dropped; the default is VT_LOG_INFO. */
void vt_log_set_level(vt_log_level level);
/* Writes "vitrine: [error: |warning: ]text\n" with a single write. A failed write is ignored. */
void vt_log_write(vt_log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A second descriptor that receives every message too (a run's log.txt); -1 for none. */
void vt_log_set_copy(int fd);

#endif
