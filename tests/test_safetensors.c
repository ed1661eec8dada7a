#include "base/mem.h"
#include "results/safetensors.h"
#include "support/fault.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* A file's bytes: length, header, and `data_size` bytes of data. */
static size_t make_file(char *file, const char *header, size_t data_size)
{
    size_t length = strlen(header);
    memset(file, 0, 8);
    memcpy(file, &length, sizeof length);
    memcpy(file + 8, header, length);
    for (size_t i = 0; i < data_size; i++)
        file[8 + length + i] = (char)i;
    return 8 + length + data_size;
}

static void equal_tensors_give_documented_bytes(void **state)
{
    static const float weight[6] = {1, 2, 3, 4, 5, 6};
    static const uint8_t label[3] = {7, 8, 9};
    static const char header[] =
        "{\"__metadata__\":{\"kind\":\"a \\\"quoted\\\" \\u000aline\"},"
        "\"w\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
        "\"label\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[24,27]},"
        "\"none\":{\"dtype\":\"I64\",\"shape\":[0,5],\"data_offsets\":[27,27]}}";
    const vt_safetensor tensors[] = {
        {.name = "w", .type = VT_SAFETENSORS_F32, .rank = 2, .shape = {2, 3}, .data = weight},
        {.name = "label", .type = VT_SAFETENSORS_U8, .rank = 1, .shape = {3}, .data = label},
        {.name = "none", .type = VT_SAFETENSORS_I64, .rank = 2, .shape = {0, 5}},
    };
    const vt_safetensors_meta meta[] = {{"kind", "a \"quoted\" \nline"}};
    const vt_safetensors_content content = {tensors, 3, meta, 1};
    vt_scratch s = vt_scratch_new();
    uint8_t sha256[VT_SHA256_SIZE], expected[VT_SHA256_SIZE], length[8] = {0};
    size_t size, padded = (sizeof header - 1 + 7) / 8 * 8;
    int64_t size_said = 0;
    vt_error err = {0};
    (void)state;
    assert_int_equal(vt_safetensors_write(s.fd, "x.safetensors", &content, sha256, &err), VT_OK);
    char *bytes = vt_scratch_read(s.fd, "x.safetensors", &size);
    assert_int_equal(vt_safetensors_size(&content, &size_said, NULL), VT_OK);
    assert_int_equal(size, 8 + padded + 27);
    assert_int_equal(size, size_said);
    length[0] = (uint8_t)padded;
    length[1] = (uint8_t)(padded >> 8);
    assert_memory_equal(bytes, length, 8);
    assert_memory_equal(bytes + 8, header, sizeof header - 1);
    for (size_t i = 8 + sizeof header - 1; i < 8 + padded; i++)
        assert_int_equal(bytes[i], ' ');
    assert_memory_equal(bytes + 8 + padded, weight, 24);
    assert_memory_equal(bytes + 8 + padded + 24, label, 3);
    vt_sha256_of(bytes, size, expected);
    assert_memory_equal(sha256, expected, sizeof sha256);

    vt_safetensors *file = NULL;
    memset(sha256, 0, sizeof sha256);
    assert_int_equal(vt_safetensors_open(&file, s.fd, "x.safetensors", sha256, &err), VT_OK);
    assert_memory_equal(sha256, expected, sizeof sha256);
    assert_string_equal(vt_safetensors_get_meta(file, "kind"), "a \"quoted\" \nline");
    assert_null(vt_safetensors_get_meta(file, "other"));
    assert_int_equal(vt_safetensors_count(file), 3);
    const vt_safetensor *w = vt_safetensors_find(file, "w");
    assert_int_equal(w->rank, 2);
    assert_int_equal(w->shape[1], 3);
    assert_int_equal((uintptr_t)w->data % 8, 0);
    assert_memory_equal(w->data, weight, 24);
    assert_memory_equal(vt_safetensors_find(file, "label")->data, label, 3);
    assert_int_equal(vt_safetensors_find(file, "none")->size_bytes, 0);
    assert_null(vt_safetensors_find(file, "__metadata__"));
    vt_safetensors_close(file);
    vt_free(bytes);
    vt_scratch_free(&s);
}

static void every_type_comes_back(void **state)
{
    static const int sizes[] = {4, 8, 2, 2, 1, 1, 1, 2, 2, 4, 4, 8, 8};
    static const uint8_t data[32] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    vt_scratch s = vt_scratch_new();
    (void)state;
    assert_int_equal(sizeof sizes / sizeof *sizes, VT_SAFETENSORS_COUNT);
    for (int t = 0; t < VT_SAFETENSORS_COUNT; t++) {
        vt_safetensor tensor = {.name = "t", .type = (vt_safetensors_type)t, .data = data};
        vt_safetensors_content content = {.tensors = &tensor, .n_tensors = 1};
        vt_safetensors *file = NULL;
        assert_int_equal(vt_safetensors_write(s.fd, "t", &content, NULL, NULL), VT_OK);
        assert_int_equal(vt_safetensors_open(&file, s.fd, "t", NULL, NULL), VT_OK);
        assert_int_equal(vt_safetensors_at(file, 0)->type, t);
        assert_int_equal(vt_safetensors_at(file, 0)->rank, 0);
        assert_int_equal(vt_safetensors_at(file, 0)->size_bytes, sizes[t]);
        assert_memory_equal(vt_safetensors_at(file, 0)->data, data, (size_t)sizes[t]);
        vt_safetensors_close(file);
    }
    vt_scratch_free(&s);
}

#define T "\"dtype\":\"F32\",\"shape\":[2],"
#define O "\"data_offsets\":"

static void hostile_headers_are_refused(void **state)
{
    static const struct {
        const char *header;
        size_t data_size;
        const char *reason; /* NULL: accepted */
    } cases[] = {
        {"{}", 0, NULL},
        {"{}   ", 0, NULL},
        {"{\"a\":{" T O "[0,8]}}", 8, NULL},
        {"{\"b\":{" T O "[8,16]},\"a\":{" T O "[0,8]}}", 16, NULL},
        {"{}", 1, "the header describes 0"},
        {"{\"a\":{" T O "[0,8]}}", 7, "the header describes 8"},
        {"{\"a\":{" T O "[0,8]}}", 9, "the header describes 8"},
        {"", 0, "does not begin with '{'"},
        {" {}", 0, "does not begin with '{'"},
        {"[]", 0, "does not begin with '{'"},
        {"{", 0, "bad JSON"},
        {"{}x", 0, "bad JSON"},
        {"{\"a\":1}", 0, "expected dtype"},
        {"{\"a\":{}}", 0, "expected dtype"},
        {"{\"a\":{" T O "[0,8]},\"a\":{" T O "[0,8]}}", 8, "duplicate"},
        {"{\"a\":{" T O "[0,8]," O "[0,8]}}", 8, "duplicate"},
        {"{\"a\":{" T O "[0,8],\"more\":1}}", 8, "nothing else"},
        {"{\"a\":{\"dtype\":\"F31\",\"shape\":[2]," O "[0,8]}}", 8, "unknown dtype"},
        {"{\"a\":{\"dtype\":4,\"shape\":[2]," O "[0,8]}}", 8, "expected dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":2," O "[0,8]}}", 8, "expected dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2]," O "[0,8]}}", 8, "dimension"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2.0]," O "[0,8]}}", 8, "dimension"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[\"2\"]," O "[0,8]}}", 8, "dimension"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999]," O "[0,8]}}", 8, "bad JSON"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1]," O "[0,1]}}", 1, "dimensions"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,2]," O "[0,0]}}", 0,
         "do not agree"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296]," O "[0,0]}}", 0,
         "do not agree"},
        {"{\"a\":{" T O "[0,4]}}", 4, "do not agree"},
        {"{\"a\":{" T O "[8,0]}}", 8, "do not agree"},
        {"{\"a\":{" T O "[-8,0]}}", 8, "whole numbers"},
        {"{\"a\":{" T O "[0]}}", 8, "whole numbers"},
        {"{\"a\":{" T O "[0,8,9]}}", 8, "do not agree"},
        {"{\"a\":{" T O "[9223372036854775800,9223372036854775807]}}", 8, "do not agree"},
        {"{\"a\":{" T O "[4,12]}}", 12, "hole"},
        {"{\"a\":{" T O "[0,8]},\"b\":{" T O "[12,20]}}", 20, "hole"},
        {"{\"a\":{" T O "[0,8]},\"b\":{" T O "[0,8]}}", 8, "overlaps"},
        {"{\"a\":{" T O "[0,8]},\"b\":{" T O "[4,12]}}", 12, "overlaps"},
        {"{\"\":{" T O "[0,8]}}", 8, "its name"},
        {"{\"a\\u0001\":{" T O "[0,8]}}", 8, "its name"},
        {"{\"a\\u0000\":{" T O "[0,8]}}", 8, "bad JSON"},
        {"{\"\xc3\xa9\":{" T O "[0,8]}}", 8, "its name"},
        {"{\"\xff\":{" T O "[0,8]}}", 8, "bad JSON"},
        {"{\"__metadata__\":{\"a\":\"b\"}}", 0, NULL},
        {"{\"__metadata__\":{\"a\":1}}", 0, "must be text"},
        {"{\"__metadata__\":[]}", 0, "expected an object"},
        {"{\"__metadata__\":{\"a\":\"b\",\"a\":\"c\"}}", 0, "duplicate"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char bytes[512];
        vt_error err = {0};
        vt_safetensors *file = NULL;
        size_t size = make_file(bytes, cases[i].header, cases[i].data_size);
        vt_status status = vt_safetensors_parse(&file, "some.file", bytes, size, &err);
        if (status != (cases[i].reason ? VT_ERR_DATA : VT_OK) ||
            (cases[i].reason && !strstr(err.text, cases[i].reason)))
            fail_msg("header %s: status %d, %s", cases[i].header, (int)status, err.text);
        assert_int_equal(strstr(err.text, "some.file") != NULL, cases[i].reason != NULL);
        vt_safetensors_close(file);
    }
}

static void deep_nesting_is_refused(void **state)
{
    static char bytes[100000];
    vt_safetensors *file = NULL;
    size_t length = sizeof bytes - 8;
    (void)state;
    memcpy(bytes, &length, 8);
    memset(bytes + 8, '[', length);
    memcpy(bytes + 8, "{\"a\":", 5);
    assert_int_equal(vt_safetensors_parse(&file, "deep", bytes, sizeof bytes, NULL), VT_ERR_DATA);
}

static void impossible_lengths_are_refused(void **state)
{
    static const uint64_t lengths[] = {3,
                                       (16 << 20) + 1,
                                       1ull << 31,
                                       1ull << 32,
                                       0x7fffffffffffffff,
                                       0xffffffffffffffff,
                                       0xfffffffffffffff8};
    vt_scratch s = vt_scratch_new();
    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        char bytes[10] = {0, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
        vt_safetensors *file = NULL;
        vt_error err = {0};
        memcpy(bytes, &lengths[i], 8);
        assert_int_equal(vt_safetensors_parse(&file, "f", bytes, sizeof bytes, &err), VT_ERR_DATA);
        assert_non_null(strstr(err.text, "offset 0"));
        vt_scratch_write(s.fd, "f", bytes, sizeof bytes);
        assert_int_equal(vt_safetensors_open(&file, s.fd, "f", NULL, NULL), VT_ERR_DATA);
    }
    vt_scratch_free(&s);
}

static void files_cut_at_any_length_are_refused(void **state)
{
    vt_scratch s = vt_scratch_new();
    char bytes[512];
    vt_safetensors *file = NULL;
    size_t size = make_file(bytes, "{\"a\":{" T O "[0,8]},\"b\":{" T O "[8,16]}}", 16);
    (void)state;
    for (size_t length = 0; length < size; length++) {
        vt_scratch_write(s.fd, "f", bytes, length);
        assert_int_equal(vt_safetensors_open(&file, s.fd, "f", NULL, NULL), VT_ERR_DATA);
        /* A copy of the exact size lets the address sanitizer see any read behind it. */
        char *exact = vt_calloc(length, 1);
        memcpy(exact, bytes, length);
        assert_int_equal(vt_safetensors_parse(&file, "f", exact, length, NULL), VT_ERR_DATA);
        vt_free(exact);
    }
    vt_scratch_free(&s);
}

static void flipped_bits_never_break_the_reader(void **state)
{
    char bytes[512];
    size_t size = make_file(bytes, "{\"a\":{" T O "[0,8]},\"b\":{" T O "[8,16]}}", 16);
    int refused = 0;
    (void)state;
    for (size_t bit = 0; bit < 8 * size; bit++) {
        vt_safetensors *file = NULL;
        char *exact = vt_calloc(size, 1);
        memcpy(exact, bytes, size);
        exact[bit / 8] ^= (char)(1 << bit % 8);
        vt_status status = vt_safetensors_parse(&file, "f", exact, size, NULL);
        assert_true(status == VT_OK || status == VT_ERR_DATA);
        refused += status != VT_OK;
        for (int i = 0; file && i < vt_safetensors_count(file); i++) {
            const vt_safetensor *tensor = vt_safetensors_at(file, i);
            const char *data = tensor->data;
            assert_true(data >= exact && data + tensor->size_bytes <= exact + size);
        }
        vt_safetensors_close(file);
        vt_free(exact);
    }
    assert_true(refused > 400);
}

static void huge_sparse_file_takes_no_memory(void **state)
{
    vt_scratch s = vt_scratch_new();
    char bytes[128];
    vt_safetensors *file = NULL;
    size_t size = make_file(bytes, "{\"a\":{" T O "[0,8]}}", 8);
    (void)state;
    vt_scratch_write(s.fd, "f", bytes, size);
    int fd = openat(s.fd, "f", O_WRONLY | O_CLOEXEC);
    if (ftruncate(fd, (off_t)1 << 40) != 0)
        print_message("left out: no sparse files here\n");
    else
        assert_int_equal(vt_safetensors_open(&file, s.fd, "f", NULL, NULL), VT_ERR_DATA);
    close(fd);
    vt_scratch_free(&s);
}

static void bad_content_is_not_written(void **state)
{
    static const uint8_t data[8];
    char long_name[VT_SAFETENSORS_MAX_NAME + 2];
    const char *names[] = {"",         "a\"b",         "a\\b",    "a\nb",
                           "\xc3\xa9", "__metadata__", long_name, "twice"};
    vt_scratch s = vt_scratch_new();
    (void)state;
    memset(long_name, 'n', sizeof long_name);
    long_name[sizeof long_name - 1] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const vt_safetensor tensors[] = {
            {.name = names[i], .type = VT_SAFETENSORS_U8, .rank = 1, .shape = {8}, .data = data},
            {.name = "twice", .type = VT_SAFETENSORS_U8, .rank = 1, .shape = {8}, .data = data}};
        const vt_safetensors_content content = {.tensors = tensors, .n_tensors = 2};
        assert_int_equal(vt_safetensors_write(s.fd, "f", &content, NULL, NULL), VT_ERR_DATA);
    }
    const vt_safetensors_meta meta[] = {{"key", "\xff is not UTF-8"}};
    const vt_safetensors_content content = {.meta = meta, .n_meta = 1};
    assert_int_equal(vt_safetensors_write(s.fd, "f", &content, NULL, NULL), VT_ERR_DATA);
    const vt_safetensor tensor = {.name = "big", .rank = 2, .shape = {INT64_MAX / 2, 3}};
    const vt_safetensors_content big = {.tensors = &tensor, .n_tensors = 1};
    assert_int_equal(vt_safetensors_write(s.fd, "f", &big, NULL, NULL), VT_ERR_DATA);
    assert_int_equal(vt_scratch_count(s.fd, ""), 0);
    vt_scratch_free(&s);
}

static void planted_things_are_refused(void **state)
{
    vt_scratch s = vt_scratch_new();
    vt_safetensors *file = NULL;
    (void)state;
    vt_scratch_write(s.fd, "victim", "x", 1);
    assert_int_equal(vt_safetensors_open(&file, s.fd, "f", NULL, NULL), VT_ERR_NOINPUT);
    for (const char *kind = "lfdsc"; *kind; kind++) {
        if (!vt_plant(s.fd, "f", *kind, "victim")) {
            print_message("left out: kind '%c' cannot be made here\n", *kind);
            continue;
        }
        assert_int_equal(vt_safetensors_open(&file, s.fd, "f", NULL, NULL), VT_ERR_DATA);
        assert_int_equal(unlinkat(s.fd, "f", *kind == 'd' ? AT_REMOVEDIR : 0), 0);
    }
    vt_scratch_free(&s);
}

static void lack_of_memory_is_said(void **state)
{
    static const float data[2] = {1, 2};
    const vt_safetensor tensor = {.name = "a", .rank = 1, .shape = {2}, .data = data};
    const vt_safetensors_content content = {.tensors = &tensor, .n_tensors = 1};
    vt_scratch s = vt_scratch_new();
    vt_safetensors *file = NULL;
    vt_status status = VT_ERR_NOMEM;
    int failures = 0;
    (void)state;
    for (uint64_t at = 1; status == VT_ERR_NOMEM; at++) {
        vt_mem_fail_at(at, 0);
        status = vt_safetensors_write(s.fd, "f", &content, NULL, NULL);
        vt_mem_fail_at(0, 0);
        assert_int_equal(vt_scratch_count(s.fd, ""), status == VT_OK);
        failures += status != VT_OK;
    }
    assert_int_equal(status, VT_OK);
    status = VT_ERR_NOMEM;
    for (uint64_t at = 1; status == VT_ERR_NOMEM; at++) {
        vt_mem_fail_at(at, 0);
        status = vt_safetensors_open(&file, s.fd, "f", NULL, NULL);
        vt_mem_fail_at(0, 0);
        failures += status != VT_OK;
    }
    assert_int_equal(status, VT_OK);
    assert_true(failures >= 6);
    vt_safetensors_close(file);
    vt_scratch_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"equal tensors give the documented bytes", equal_tensors_give_documented_bytes, NULL, NULL,
         NULL},
        {"every type comes back", every_type_comes_back, NULL, NULL, NULL},
        {"hostile headers are refused with the reason", hostile_headers_are_refused, NULL, NULL,
         NULL},
        {"deep nesting is refused", deep_nesting_is_refused, NULL, NULL, NULL},
        {"impossible header lengths are refused", impossible_lengths_are_refused, NULL, NULL, NULL},
        {"files cut at any length are refused", files_cut_at_any_length_are_refused, NULL, NULL,
         NULL},
        {"flipped bits never break the reader", flipped_bits_never_break_the_reader, NULL, NULL,
         NULL},
        {"a huge sparse file takes no memory", huge_sparse_file_takes_no_memory, NULL, NULL, NULL},
        {"bad names and shapes are not written", bad_content_is_not_written, NULL, NULL, NULL},
        {"links, FIFOs, folders, sockets, devices are refused", planted_things_are_refused, NULL,
         NULL, NULL},
        {"lack of memory is said and leaves nothing behind", lack_of_memory_is_said, NULL, NULL,
         NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
