#include "base/proto.h"

#include <string.h>

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

/* Seven bits a byte, the lowest first; the top bit says that more follow. */
static void append_varint(vt_text *message, uint64_t value)
{
    uint8_t bytes[10];
    size_t n = 0;
    for (; value >= 0x80; value >>= 7)
        bytes[n++] = (uint8_t)(value | 0x80);
    bytes[n++] = (uint8_t)value;
    vt_text_append(message, bytes, n);
}

static void append_key(vt_text *message, int field, enum wire wire)
{
    append_varint(message, (uint64_t)field << 3 | wire);
}

static void append_le(vt_text *message, uint64_t value, size_t size)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(value >> 8 * i);
    vt_text_append(message, bytes, size);
}

void vt_proto_integer(vt_text *message, int field, uint64_t value)
{
    append_key(message, field, WIRE_VARINT);
    append_varint(message, value);
}

void vt_proto_double(vt_text *message, int field, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    append_key(message, field, WIRE_64);
    append_le(message, bits, sizeof bits);
}

void vt_proto_float(vt_text *message, int field, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    append_key(message, field, WIRE_32);
    append_le(message, bits, sizeof bits);
}

void vt_proto_bytes(vt_text *message, int field, const void *bytes, size_t size)
{
    append_key(message, field, WIRE_BYTES);
    append_varint(message, size);
    vt_text_append(message, bytes, size);
}

void vt_proto_text(vt_text *message, int field, const char *text)
{
    vt_proto_bytes(message, field, text, strlen(text));
}

void vt_proto_message(vt_text *message, int field, vt_text *inner)
{
    vt_proto_bytes(message, field, inner->data ? inner->data : "", inner->size);
    message->failed |= inner->failed;
    inner->size = 0;
}
