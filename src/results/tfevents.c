#include "results/tfevents.h"

#include "base/proto.h"

#include <string.h>

enum { SIZE_SIZE = 8, CRC_SIZE = 4, HEAD_SIZE = SIZE_SIZE + CRC_SIZE };
enum { EVENT_WALL_TIME = 1, EVENT_STEP, EVENT_FILE_VERSION, EVENT_GRAPH_DEF, EVENT_SUMMARY };
enum { SUMMARY_VALUE = 1, VALUE_TAG = 1, VALUE_SIMPLE = 2 };
enum { WALL_TIME_KEY = 0x09, WALL_TIME_SIZE = 9 }; /* as it begins an event */

/* Bit by bit: events are short and few. */
uint32_t vt_crc32c(const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        crc ^= at[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

static uint32_t masked_crc(const void *bytes, size_t size)
{
    uint32_t crc = vt_crc32c(bytes, size);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static void put_le(uint8_t *to, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        to[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get_le(const uint8_t *from, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)from[i] << 8 * i;
    return value;
}

/* Appends the event as a record and releases it. */
static void append_record(vt_text *file, vt_text *event)
{
    uint8_t head[HEAD_SIZE], tail[CRC_SIZE];
    const char *payload = event->data ? event->data : "";
    put_le(head, event->size, SIZE_SIZE);
    put_le(head + SIZE_SIZE, masked_crc(head, SIZE_SIZE), CRC_SIZE);
    put_le(tail, masked_crc(payload, event->size), CRC_SIZE);
    vt_text_append(file, head, sizeof head);
    vt_text_append(file, payload, event->size);
    vt_text_append(file, tail, sizeof tail);
    file->failed |= event->failed;
    vt_text_release(event);
}

static void begin_event(vt_text *event, double wall_s, int64_t step)
{
    if (wall_s != 0)
        vt_proto_double(event, EVENT_WALL_TIME, wall_s);
    if (step != 0)
        vt_proto_integer(event, EVENT_STEP, (uint64_t)step);
}

void vt_tfevents_version(vt_text *file, double wall_s)
{
    vt_text event = {0};
    begin_event(&event, wall_s, 0);
    vt_proto_text(&event, EVENT_FILE_VERSION, "brain.Event:2");
    append_record(file, &event);
}

void vt_tfevents_graph(vt_text *file, double wall_s, const vt_text *graph)
{
    vt_text event = {0};
    begin_event(&event, wall_s, 0);
    vt_proto_bytes(&event, EVENT_GRAPH_DEF, graph->data ? graph->data : "", graph->size);
    event.failed |= graph->failed;
    append_record(file, &event);
}

void vt_tfevents_scalars(vt_text *file, double wall_s, int64_t step,
                         const vt_tfevents_scalar *scalar, int n)
{
    vt_text event = {0}, summary = {0}, value = {0};
    for (int i = 0; i < n; i++) {
        vt_proto_text(&value, VALUE_TAG, scalar[i].tag);
        vt_proto_float(&value, VALUE_SIMPLE, (float)scalar[i].value);
        vt_proto_message(&summary, SUMMARY_VALUE, &value);
    }
    begin_event(&event, wall_s, step);
    vt_proto_message(&event, EVENT_SUMMARY, &summary);
    append_record(file, &event);
    vt_text_release(&value);
    vt_text_release(&summary);
}

size_t vt_tfevents_record(const uint8_t *bytes, size_t size)
{
    if (size < HEAD_SIZE + CRC_SIZE ||
        get_le(bytes + SIZE_SIZE, CRC_SIZE) != masked_crc(bytes, SIZE_SIZE))
        return 0;
    uint64_t payload = get_le(bytes, SIZE_SIZE);
    if (payload > size - HEAD_SIZE - CRC_SIZE)
        return 0;
    const uint8_t *tail = bytes + HEAD_SIZE + payload;
    bool good = get_le(tail, CRC_SIZE) == masked_crc(bytes + HEAD_SIZE, payload);
    return good ? HEAD_SIZE + payload + CRC_SIZE : 0;
}

/* A record's payload behind the time, if it has one. */
static const uint8_t *timeless(const uint8_t *record, size_t record_size, size_t *size)
{
    const uint8_t *payload = record + HEAD_SIZE;
    *size = record_size - HEAD_SIZE - CRC_SIZE;
    if (*size < WALL_TIME_SIZE || payload[0] != WALL_TIME_KEY)
        return payload;
    *size -= WALL_TIME_SIZE;
    return payload + WALL_TIME_SIZE;
}

bool vt_tfevents_same(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size)
{
    size_t a_rest, b_rest;
    const uint8_t *x = timeless(a, a_size, &a_rest), *y = timeless(b, b_size, &b_rest);
    return a_rest == b_rest && memcmp(x, y, a_rest) == 0;
}
