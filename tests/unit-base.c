// SPDX-License-Identifier: BSD-3-Clause
/* The base: sizes as text, UUIDs, names of error codes, error sentences, paths. */
#include "unit.h"

#include "base/error.h"
#include "base/files.h"
#include "base/size.h"
#include "base/uuid.h"

/* ------------------------------------------------------------------- sizes */

static const struct {
    const char *text;
    uint64_t bytes;
} good_sizes[] = {
    { "0", 0 },
    { "512", 512 },
    { "512B", 512 },
    { "1.0", 1 },
    { "64K", 64 * KiB },
    { "64k", 64 * KiB },
    { "64KB", 64 * KiB },
    { "64KiB", 64 * KiB },
    { "10M", 10 * MiB },
    { "2G", 2 * GiB },
    { "1T", TiB },
    { "1.5T", TiB + TiB / 2 },
    { "0.5K", 512 },
    { "2P", 2048 * TiB },
    { "1E", 1024 * 1024 * TiB },
    { "15.5E", UINT64_C(0xf800000000000000) },
    { "18446744073709551615", UINT64_MAX },
    { "18014398509481983K", UINT64_MAX - 1023 },
};

static const char *const bad_sizes[] = {
    "", " ", "K", "B", "-1", "+1", " 1", "1 ", "1 K", "1KK", "1KiBB", "1iB", "1Z", "0x10", ".5K", "1.", "1.K", "1..5K", "1.5", "1,5K",
    "1K5", "18446744073709551616", "18014398509481984K", "16E", "1.5.5K", "nan", "inf",
    /* An exponent is no part of a size. */
    "1.5e3K", "1.5E2K", "1.9e30K",
};

START_TEST(test_size_parse_good)
{
    uint64_t bytes = 7;
    OK(size_parse(good_sizes[_i].text, "size", &bytes, &unit_err));
    ck_assert_msg(bytes == good_sizes[_i].bytes, "'%s' is %" PRIu64, good_sizes[_i].text, bytes);
}
END_TEST

START_TEST(test_size_parse_bad)
{
    uint64_t bytes = 7;
    const char *text = bad_sizes[_i];
    int r = size_parse(text, "the size", &bytes, &unit_err);
    ck_assert_msg(r == -EINVAL, "'%s' passes as %" PRIu64, text, bytes);
    ck_assert_int_eq(unit_err.code, -EINVAL);
    ck_assert_msg(strstr(unit_err.message, "the size"), "no word of what it was: %s", unit_err.message);
    ck_assert_msg(bytes == 7, "'%s' fails and stores %" PRIu64, text, bytes);
    ck_assert_int_eq(size_parse(text, "the size", &bytes, NULL), -EINVAL);
}
END_TEST

/* A fraction that rounds to one must not wrap the sum around. */
START_TEST(test_size_no_wrap)
{
    uint64_t bytes = 0;
    if (size_parse("15.99999999999999999999E", "size", &bytes, NULL) == 0)
        ck_assert_uint_ge(bytes, UINT64_C(0xffffff0000000000));
    ck_assert_int_eq(size_parse("16.00E", "size", &bytes, NULL), -EINVAL);
}
END_TEST

START_TEST(test_size_format)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } known[] = {
        { 0, "0" }, { 1, "1" }, { 1023, "1023" }, { KiB, "1K" }, { 64 * KiB, "64K" }, { 1536 * KiB, "1.50M" }, { GiB, "1G" },
        { 1024 * 1024 * TiB, "1E" }, { KiB + 512, "1.50K" }, { 3 * TiB, "3T" }, { 5 * 1024 * TiB, "5P" },
    };
    char text[SIZE_TEXT_BYTES];
    for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
        ck_assert_str_eq(size_format(known[i].bytes, text), known[i].text);
    ck_assert_ptr_eq(size_format(1, text), text);
}
END_TEST

/* What is printed is a size again, within what two digits can say. */
START_TEST(test_size_round_trip)
{
    char text[SIZE_TEXT_BYTES];
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t bytes = unit_random() >> unit_below(64), back = 0;
        if (i % 3 == 0)
            bytes &= ~UINT64_C(0) << unit_below(60);
        const char *t = size_format(bytes, text);
        /* "16.00E" is how the greatest numbers round; it does not fit 64 bits. */
        if (bytes > UINT64_MAX - (UINT64_C(1) << 53))
            continue;
        OK(size_parse(t, "size", &back, &unit_err));
        uint64_t off = back > bytes ? back - bytes : bytes - back;
        ck_assert_msg(off <= bytes / 100, "%" PRIu64 " is '%s' is %" PRIu64, bytes, t, back);
        if (!strchr(t, '.'))
            ck_assert_uint_eq(back, bytes);
    }
}
END_TEST

/* ------------------------------------------------------------------- UUIDs */

START_TEST(test_uuid_known)
{
    static const uint8_t raw[UUID_BYTES] = { 0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x42, 0xd3, 0xa4, 0x56, 0x42, 0x66, 0x14, 0x17, 0x40, 0x00 };
    static const char known[] = "123e4567-e89b-42d3-a456-426614174000";
    char text[UUID_TEXT_BYTES];
    uint8_t back[UUID_BYTES];
    ck_assert_str_eq(uuid_format(raw, text), known);
    ck_assert(uuid_parse(known, back));
    ck_assert_mem_eq(back, raw, sizeof raw);
    ck_assert(uuid_parse("123E4567-E89B-42D3-A456-426614174000", back));
    ck_assert_mem_eq(back, raw, sizeof raw);
}
END_TEST

START_TEST(test_uuid_generate)
{
    uint8_t before[UUID_BYTES] = { 0 };
    for (unsigned i = 0; i < 1000; i++) {
        uint8_t uuid[UUID_BYTES], back[UUID_BYTES];
        char text[UUID_TEXT_BYTES];
        uuid_generate(uuid);
        ck_assert_uint_eq(uuid[6] >> 4, 4);
        ck_assert_uint_eq(uuid[8] >> 6, 2);
        ck_assert_mem_ne(uuid, before, sizeof uuid);
        ck_assert(uuid_parse(uuid_format(uuid, text), back));
        ck_assert_mem_eq(uuid, back, sizeof uuid);
        memcpy(before, uuid, sizeof before);
    }
}
END_TEST

START_TEST(test_uuid_bad)
{
    static const char *const bad[] = {
        "", "123e4567", "123e4567-e89b-42d3-a456-42661417400", "123e4567-e89b-42d3-a456-4266141740000", "123e4567e89b42d3a456426614174000",
        "123e4567-e89b-42d3-a456_426614174000", "123e4567-e89b-42d3-a456-42661417400g", "{23e4567-e89b-42d3-a456-42661417400}",
        "123e45670e89b-42d3-a456-426614174000", "123e4567-e89b-42d3-a456-4266141740-0",
    };
    uint8_t uuid[UUID_BYTES];
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(!uuid_parse(bad[i], uuid), "'%s' passes", bad[i]);
}
END_TEST

/* ------------------------------------------------------------------ errors */

START_TEST(test_error_names)
{
    unsigned n = 0;
    for (; error_code_at(n); n++) {
        int code = error_code_from_name(error_code_at(n));
        ck_assert_int_lt(code, 0);
        ck_assert_str_eq(error_code_name(code), error_code_at(n));
        for (unsigned k = 0; k < n; k++)
            ck_assert_str_ne(error_code_at(k), error_code_at(n));
    }
    ck_assert_uint_ge(n, 8);
    ck_assert_ptr_null(error_code_at(n + 1));
    ck_assert_ptr_null(error_code_at(UINT32_MAX));
    /* What the bitmap calls promise must arrive as what it is. */
    static const int promised[] = { EINVAL, ENOENT, EEXIST, EBUSY, EROFS, ENOSPC, EFBIG, EPROTO };
    for (unsigned i = 0; i < sizeof promised / sizeof *promised; i++)
        ck_assert_int_eq(error_code_from_name(error_code_name(-promised[i])), -promised[i]);
    ck_assert_str_eq(error_code_name(-EXDEV), "failed");
    ck_assert_int_eq(error_code_from_name("no such name"), -EIO);
    ck_assert_int_eq(error_code_from_name(""), -EIO);
}
END_TEST

START_TEST(test_error_set)
{
    ck_assert_int_eq(error_set(&unit_err, -EBUSY, "disk '%s' %d", "vda", 7), -EBUSY);
    ck_assert_int_eq(unit_err.code, -EBUSY);
    ck_assert_str_eq(unit_err.message, "disk 'vda' 7");
    ck_assert_int_eq(error_errno(&unit_err, -ENOENT, "open '%s'", "x"), -ENOENT);
    ck_assert_str_eq(unit_err.message, "open 'x': No such file or directory");
    ck_assert_int_eq(error_set(NULL, -EIO, "%d", 1), -EIO);
    ck_assert_int_eq(error_errno(NULL, -EIO, "%d", 1), -EIO);
}
END_TEST

/* Longer than the field: cut, terminated, no byte behind it touched. */
START_TEST(test_error_long)
{
    struct {
        struct df_error err;
        char guard;
    } box = { .guard = 'g' };
    static char text[2 * DF_ERROR_MESSAGE_BYTES];
    for (size_t n = DF_ERROR_MESSAGE_BYTES - 40; n < DF_ERROR_MESSAGE_BYTES + 40; n++) {
        memset(text, 'x', n);
        text[n] = 0;
        error_errno(&box.err, -ENOENT, "%s", text);
        ck_assert_uint_lt(strnlen(box.err.message, sizeof box.err.message), sizeof box.err.message);
        error_set(&box.err, -ENOENT, "%s", text);
        ck_assert_uint_lt(strnlen(box.err.message, sizeof box.err.message), sizeof box.err.message);
        ck_assert_int_eq(box.guard, 'g');
    }
}
END_TEST

/* ------------------------------------------------------------------- paths */

static const struct {
    const char *path, *directory, *name;    /* no name: refused */
} paths[] = {
    { "a", ".", "a" },
    { "a/b", "a", "b" },
    { "../a/b.c", "../a", "b.c" },
    { "/a", "/", "a" },
    { "//a", "/", "a" },
    { "/a/b", "/a", "b" },
    { "a//b", "a/", "b" },
    { "...", ".", "..." },
    { "", NULL, NULL },
    { "/", NULL, NULL },
    { "a/", NULL, NULL },
    { ".", NULL, NULL },
    { "a/..", NULL, NULL },
};

/* In all the room that is needed, and in a byte less. */
START_TEST(test_files_split)
{
    char directory[10];
    const char *name;
    size_t room = paths[_i].name ? strlen(paths[_i].directory) + 1 : sizeof directory;
    int r = files_split(paths[_i].path, directory, room, &name);
    if (!paths[_i].name) {
        ck_assert_int_eq(r, -EINVAL);
        return;
    }
    ck_assert_int_eq(r, 0);
    ck_assert_str_eq(directory, paths[_i].directory);
    ck_assert_str_eq(name, paths[_i].name);
    ck_assert_int_eq(files_split(paths[_i].path, directory, room - 1, &name), -ENAMETOOLONG);
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "size");
    tcase_add_loop_test(tc, test_size_parse_good, 0, sizeof good_sizes / sizeof *good_sizes);
    tcase_add_loop_test(tc, test_size_parse_bad, 0, sizeof bad_sizes / sizeof *bad_sizes);
    tcase_add_test(tc, test_size_no_wrap);
    tcase_add_test(tc, test_size_format);
    tcase_add_test(tc, test_size_round_trip);
    tc = unit_case(suite, "uuid");
    tcase_add_test(tc, test_uuid_known);
    tcase_add_test(tc, test_uuid_generate);
    tcase_add_test(tc, test_uuid_bad);
    tc = unit_case(suite, "error");
    tcase_add_test(tc, test_error_names);
    tcase_add_test(tc, test_error_set);
    tcase_add_test(tc, test_error_long);
    tc = unit_case(suite, "paths");
    tcase_add_loop_test(tc, test_files_split, 0, sizeof paths / sizeof *paths);
}

UNIT_MAIN("base", add_cases)
