/*
 * Writing messages of Protocol Buffers: each function appends one field to a message under
 * construction. Numbers and types of the fields are those of the message's definition. As in the
 * third version of that language a plain field that is 0 or empty should be left out, which is
 * the caller's to know: inside a oneof it is written.
 */
#ifndef VT_BASE_PROTO_H
#define VT_BASE_PROTO_H

#include "base/text.h"

#include <stdint.h>

void vt_proto_integer(vt_text *message, int field, uint64_t value); /* int64, bool, enum */
void vt_proto_double(vt_text *message, int field, double value);
void vt_proto_float(vt_text *message, int field, float value);
void vt_proto_bytes(vt_text *message, int field, const void *bytes, size_t size);
void vt_proto_text(vt_text *message, int field, const char *text);
/* Appends `inner` as a field and empties it, so that the next one can be built in it. */
void vt_proto_message(vt_text *message, int field, vt_text *inner);

#endif
