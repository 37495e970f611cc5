// SPDX-License-Identifier: BSD-3-Clause
/*
 * Disks and bitmaps as their users manage them: limits, names, the verbs, contents.
 */
#include "unit.h"

static struct df_disk *disk;

static void make_disk(const char *name, uint64_t size)
{
    OK(df_disk_create(unit_dir, name, size, &unit_err));
    OK(df_disk_open(unit_dir, name, &disk, &unit_err));
}

static struct df_bitmap_info info_of(const char *name)
{
    struct df_bitmap_info info;
    OK(df_bitmap_get_info(disk, name, &info, &unit_err));
    ck_assert_str_eq(info.name, name);
    return info;
}

/* Bytes of the disk that are dirty in whole bits. */
static uint64_t count_of(const char *name)
{
    struct df_bitmap *bitmap = NULL;
    OK(df_bitmap_open(disk, name, &bitmap, &unit_err));
    uint64_t count = df_bitmap_count(bitmap);
    df_bitmap_close(&bitmap);
    return count;
}

static void mark(uint64_t offset, uint64_t length)
{
    OK(df_disk_mark(disk, offset, length, &unit_err));
}

/* ------------------------------------------------------------------- disks */

static const uint64_t disk_sizes[] = {
    1, 511, 512, 513, 65535, 65537, MiB - 1, GiB + 1, 3 * TiB + 12345, (UINT64_C(1) << 50) + 1, DF_DISK_SIZE_MAX - 1, DF_DISK_SIZE_MAX,
};

START_TEST(test_disk_size)
{
    uint64_t size = disk_sizes[_i];
    make_disk("vda", size);
    ck_assert_uint_eq(df_disk_size(disk), size);
    ck_assert_str_eq(df_disk_name(disk), "vda");
    ck_assert(!df_disk_is_readonly(disk));
    ck_assert_uint_eq(df_disk_open_sections(disk), 0);
    for (unsigned shift = 9; shift <= 31; shift++) {
        uint64_t nbits = size / (UINT64_C(1) << shift) + (size % (UINT64_C(1) << shift) != 0);
        char name[8];
        snprintf(name, sizeof name, "g%u", shift);
        if (nbits > DF_BITMAP_BITS_MAX) {
            FAILS(-EFBIG, df_bitmap_add(disk, name, UINT32_C(1) << shift, 0, &unit_err));
            continue;
        }
        OK(df_bitmap_add(disk, name, UINT32_C(1) << shift, 0, &unit_err));
        ck_assert_uint_eq(info_of(name).nbits, nbits);
        ck_assert_uint_eq(info_of(name).granularity, UINT32_C(1) << shift);
    }
    mark(size - 1, 1);
    for (unsigned shift = 9; shift <= 31; shift++) {
        char name[8];
        snprintf(name, sizeof name, "g%u", shift);
        struct df_bitmap *bitmap = NULL;
        if (df_bitmap_open(disk, name, &bitmap, NULL) < 0)
            continue;
        uint64_t start, length, from = (size - 1) >> shift << shift;
        ck_assert_uint_eq(df_bitmap_count(bitmap), UINT64_C(1) << shift);
        ck_assert(df_bitmap_next_dirty(bitmap, 0, &start, &length));
        ck_assert_uint_eq(start, from);
        ck_assert_uint_eq(start + length, size);
        ck_assert_int_eq(df_bitmap_next_clean(bitmap, 0, &start, &length), from != 0);
        ck_assert(df_bitmap_test(bitmap, size - 1) && !df_bitmap_test(bitmap, size) && !df_bitmap_test(bitmap, UINT64_MAX));
        ck_assert(!df_bitmap_next_dirty(bitmap, size, &start, &length) && !df_bitmap_next_clean(bitmap, UINT64_MAX, &start, &length));
        df_bitmap_close(&bitmap);
    }
    df_disk_close(&disk);
}
END_TEST

static int count_disk(void *opaque, const char *name)
{
    ck_assert_int_ne(name[0], '.');
    return ++*(unsigned *)opaque == 3 ? 77 : 0;
}

START_TEST(test_disk_limits)
{
    char missing[400];
    unsigned n = 0;
    FAILS(-EINVAL, df_disk_create(unit_dir, "vda", 0, &unit_err));
    FAILS(-EINVAL, df_disk_create(unit_dir, "vda", DF_DISK_SIZE_MAX + 1, &unit_err));
    FAILS(-ENOENT, df_disk_open(unit_dir, "vda", &disk, &unit_err));
    FAILS(-ENOENT, df_disk_remove(unit_dir, "vda", &unit_err));
    snprintf(missing, sizeof missing, "%s/new-state", unit_dir);
    FAILS(-ENOENT, df_disk_open(missing, "vda", &disk, &unit_err));
    OK(df_disk_list(missing, count_disk, &n, &unit_err));
    OK(df_disk_create(missing, "vda", 1, &unit_err));
    struct stat st;
    ck_assert_int_eq(stat(missing, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0700);
    FAILS(-EEXIST, df_disk_create(missing, "vda", 2, &unit_err));
    OK(df_disk_create(missing, "vdb", 1, &unit_err));
    OK(df_disk_list(missing, count_disk, &n, &unit_err));
    ck_assert_uint_eq(n, 2);
    ck_assert_int_eq(df_disk_list(missing, count_disk, &n, &unit_err), 77);
    OK(df_disk_remove(missing, "vda", &unit_err));
    FAILS(-ENOENT, df_disk_open(missing, "vda", &disk, &unit_err));
    n = 0;
    OK(df_disk_list(missing, count_disk, &n, &unit_err));
    ck_assert_uint_eq(n, 1);
    ck_assert_ptr_null(disk);
    df_disk_close(&disk);
}
END_TEST

/* A disk's file that is not one. */
START_TEST(test_disk_damaged)
{
    make_disk("vda", MiB);
    df_disk_close(&disk);
    char path[400];
    snprintf(path, sizeof path, "%s/disks/vda/disk", unit_dir);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(pwrite(fd, "X", 1, 0), 1);
    FAILS(-EPROTO, df_disk_open(unit_dir, "vda", &disk, &unit_err));
    ck_assert_int_eq(pwrite(fd, "d", 1, 0), 1);
    OK(df_disk_open(unit_dir, "vda", &disk, &unit_err));
    df_disk_close(&disk);
    ck_assert_int_eq(ftruncate(fd, 100), 0);
    close(fd);
    FAILS(-EPROTO, df_disk_open(unit_dir, "vda", &disk, &unit_err));
}
END_TEST

/* ------------------------------------------------------------------- names */

static const char *fill(char *name, size_t n)
{
    memset(name, 'n', n);
    name[n] = 0;
    return name;
}

START_TEST(test_names)
{
    char name[DF_BITMAP_NAME_MAX + 2];
    static const char *const bad_disks[] = { "", ".", "..", ".hidden", "a/b", "/", "a\nb", "a\x7f", "\x1f" };
    static const char *const bad_bitmaps[] = { "", "a\nb", "tab\t", "\x7f" };
    for (unsigned i = 0; i < sizeof bad_disks / sizeof *bad_disks; i++) {
        FAILS(-EINVAL, df_disk_create(unit_dir, bad_disks[i], MiB, &unit_err));
        FAILS(-EINVAL, df_disk_open(unit_dir, bad_disks[i], &disk, &unit_err));
        FAILS(-EINVAL, df_disk_remove(unit_dir, bad_disks[i], &unit_err));
    }
    FAILS(-EINVAL, df_disk_create(unit_dir, fill(name, DF_DISK_NAME_MAX + 1), MiB, &unit_err));
    OK(df_disk_create(unit_dir, "Platte \xc3\xa4\\:*?", MiB, &unit_err));
    make_disk(fill(name, DF_DISK_NAME_MAX), MiB);
    ck_assert_str_eq(df_disk_name(disk), name);
    for (unsigned i = 0; i < sizeof bad_bitmaps / sizeof *bad_bitmaps; i++) {
        struct df_bitmap_info info;
        FAILS(-EINVAL, df_bitmap_add(disk, bad_bitmaps[i], 65536, 0, &unit_err));
        FAILS(-ENOENT, df_bitmap_get_info(disk, bad_bitmaps[i], &info, &unit_err));
    }
    FAILS(-EINVAL, df_bitmap_add(disk, fill(name, DF_BITMAP_NAME_MAX + 1), 65536, 0, &unit_err));
    static const char *const good[] = { ".", "a/b", "..", "disk", "\xc3\xa4", " " };
    for (unsigned i = 0; i < sizeof good / sizeof *good; i++) {
        OK(df_bitmap_add(disk, good[i], 65536, 0, &unit_err));
        FAILS(-EEXIST, df_bitmap_add(disk, good[i], 512, 0, &unit_err));
    }
    OK(df_bitmap_add(disk, fill(name, DF_BITMAP_NAME_MAX), 65536, 0, &unit_err));
    FAILS(-EEXIST, df_bitmap_add(disk, name, 65536, 0, &unit_err));     /* the longest message */
    ck_assert_str_eq(info_of(name).name, name);
    df_disk_close(&disk);
}
END_TEST

START_TEST(test_granularity)
{
    static const uint32_t bad[] = { 0, 1, 256, 511, 513, 1000, 65535, 65537, 3u << 30, UINT32_MAX, (UINT32_C(2) << 30) + 1 };
    make_disk("vda", GiB);
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        FAILS(-EINVAL, df_bitmap_add(disk, "b", bad[i], 0, &unit_err));
    OK(df_bitmap_add(disk, "b", DF_GRANULARITY_MIN, 0, &unit_err));
    OK(df_bitmap_add(disk, "c", DF_GRANULARITY_MAX, 0, &unit_err));
    df_disk_close(&disk);
}
END_TEST

/* ------------------------------------------------------------------- verbs */

START_TEST(test_life)
{
    struct df_bitmap_info *list = NULL;
    size_t n = 0;
    make_disk("vda", 10 * MiB + 1);
    OK(df_bitmap_list(disk, &list, &n, &unit_err));
    ck_assert_uint_eq(n, 0);
    free(list);
    OK(df_bitmap_add(disk, "a", 65536, 0, &unit_err));
    OK(df_bitmap_add(disk, "b", 4096, DF_BITMAP_DISABLED | DF_BITMAP_PERSISTENT, &unit_err));
    struct df_bitmap_info a = info_of("a"), b = info_of("b");
    ck_assert(a.recording && a.enabled && !a.persistent && !a.busy && !a.inconsistent && !a.frozen && !a.readonly);
    ck_assert(!b.recording && !b.enabled && b.persistent);
    mark(65535, 2);
    ck_assert_uint_eq(count_of("a"), 2 * 65536);
    ck_assert_uint_eq(count_of("b"), 0);
    OK(df_bitmap_enable(disk, "b", &unit_err));
    OK(df_bitmap_enable(disk, "b", &unit_err));
    mark(10 * MiB, 1);
    OK(df_bitmap_disable(disk, "b", &unit_err));
    OK(df_bitmap_disable(disk, "a", &unit_err));
    mark(MiB, MiB);
    ck_assert_uint_eq(count_of("a"), 3 * 65536);
    ck_assert_uint_eq(count_of("b"), 4096);
    OK(df_bitmap_clear(disk, "a", &unit_err));      /* of a disabled one; it stays disabled */
    ck_assert_uint_eq(count_of("a"), 0);
    mark(0, 1);
    ck_assert_uint_eq(count_of("a"), 0);
    OK(df_bitmap_list(disk, &list, &n, &unit_err));
    ck_assert_uint_eq(n, 2);
    ck_assert_str_eq(list[0].name, "a");
    ck_assert_str_eq(list[1].name, "b");
    free(list);
    OK(df_bitmap_remove(disk, "a", &unit_err));
    FAILS(-ENOENT, df_bitmap_remove(disk, "a", &unit_err));
    ck_assert_uint_eq(count_of("b"), 4096);
    /* Another handle, as another process has one, sees the same. */
    df_disk_close(&disk);
    OK(df_disk_open(unit_dir, "vda", &disk, &unit_err));
    ck_assert_uint_eq(count_of("b"), 4096);
    df_disk_close(&disk);
}
END_TEST

START_TEST(test_no_such_bitmap)
{
    struct df_bitmap *bitmap = NULL;
    struct df_bitmap_info info;
    make_disk("vda", MiB);
    FAILS(-ENOENT, df_bitmap_remove(disk, "x", &unit_err));
    FAILS(-ENOENT, df_bitmap_clear(disk, "x", &unit_err));
    FAILS(-ENOENT, df_bitmap_enable(disk, "x", &unit_err));
    FAILS(-ENOENT, df_bitmap_disable(disk, "x", &unit_err));
    FAILS(-ENOENT, df_bitmap_set_inconsistent(disk, "x", &unit_err));
    FAILS(-ENOENT, df_bitmap_get_info(disk, "x", &info, &unit_err));
    FAILS(-ENOENT, df_bitmap_open(disk, "x", &bitmap, &unit_err));
    FAILS(-ENOENT, df_bitmap_merge(disk, "x", disk, "x", &unit_err));
    ck_assert_ptr_null(bitmap);
    FAILS(-EINVAL, df_disk_mark(disk, MiB, 1, &unit_err));
    FAILS(-EINVAL, df_disk_mark(disk, 0, 0, &unit_err));
    FAILS(-EINVAL, df_disk_mark(disk, 1, UINT64_MAX, &unit_err));
    df_disk_close(&disk);
}
END_TEST

START_TEST(test_257_bitmaps)
{
    char name[16];
    make_disk("vda", MiB);
    for (unsigned i = 0; i < DF_DISK_BITMAPS; i++) {
        snprintf(name, sizeof name, "b%u", i);
        OK(df_bitmap_add(disk, name, 65536, 0, &unit_err));
    }
    FAILS(-ENOSPC, df_bitmap_add(disk, "more", 65536, 0, &unit_err));
    mark(5, 1);
    ck_assert_uint_eq(count_of("b0"), 65536);
    ck_assert_uint_eq(count_of("b255"), 65536);
    OK(df_bitmap_remove(disk, "b100", &unit_err));
    OK(df_bitmap_add(disk, "more", 65536, 0, &unit_err));
    ck_assert_uint_eq(count_of("more"), 0);
    ck_assert_uint_eq(count_of("b101"), 65536);
    FAILS(-ENOSPC, df_bitmap_add(disk, "again", 65536, 0, &unit_err));
    df_disk_close(&disk);
}
END_TEST

/* Contents stay readable when the bitmap is cleared or goes away. */
START_TEST(test_contents_stay)
{
    struct df_bitmap *old = NULL;
    make_disk("vda", MiB);
    OK(df_bitmap_add(disk, "a", 512, 0, &unit_err));
    mark(1000, 1);
    OK(df_bitmap_open(disk, "a", &old, &unit_err));
    mark(2000, 1);
    ck_assert_uint_eq(df_bitmap_count(old), 1024);
    OK(df_bitmap_clear(disk, "a", &unit_err));
    mark(3000, 1);
    ck_assert_uint_eq(df_bitmap_count(old), 1024);
    ck_assert_uint_eq(count_of("a"), 512);
    OK(df_bitmap_remove(disk, "a", &unit_err));
    ck_assert(df_bitmap_test(old, 1000) && df_bitmap_test(old, 2000) && !df_bitmap_test(old, 3000));
    df_bitmap_close(&old);
    df_bitmap_close(&old);
    df_disk_close(&disk);
}
END_TEST

START_TEST(test_sha256)
{
    struct df_bitmap *bitmap = NULL;
    char hex[DF_SHA256_HEX_BYTES];
    make_disk("vda", GiB);
    OK(df_bitmap_add(disk, "a", 65536, 0, &unit_err));
    OK(df_bitmap_open(disk, "a", &bitmap, &unit_err));
    df_bitmap_sha256(bitmap, hex);
    ck_assert_str_eq(hex, "e5a00aa9991ac8a5ee3109844d84a55583bd20572ad3ffcd42792f3c36b183ad");
    df_bitmap_close(&bitmap);
    df_disk_close(&disk);
}
END_TEST

START_TEST(test_merge)
{
    struct df_disk *other = NULL, *short_disk = NULL;
    make_disk("vda", 10 * MiB + 700);
    OK(df_disk_create(unit_dir, "vdb", 10 * MiB + 700, &unit_err));
    OK(df_disk_create(unit_dir, "vdc", 10 * MiB, &unit_err));
    OK(df_disk_open(unit_dir, "vdb", &other, &unit_err));
    OK(df_disk_open(unit_dir, "vdc", &short_disk, &unit_err));
    OK(df_bitmap_add(disk, "coarse", 65536, 0, &unit_err));
    OK(df_bitmap_add(other, "fine", 512, 0, &unit_err));
    OK(df_bitmap_add(other, "fine2", 512, DF_BITMAP_DISABLED, &unit_err));
    OK(df_bitmap_add(short_disk, "s", 512, 0, &unit_err));
    OK(df_disk_mark(other, 65536 + 5, 1, &unit_err));
    OK(df_disk_mark(other, 10 * MiB + 699, 1, &unit_err));
    OK(df_bitmap_merge(other, "fine2", other, "fine", &unit_err));
    OK(df_bitmap_merge(disk, "coarse", other, "fine2", &unit_err));
    ck_assert_uint_eq(count_of("coarse"), 2 * 65536);
    OK(df_bitmap_merge(disk, "coarse", disk, "coarse", &unit_err));
    ck_assert_uint_eq(count_of("coarse"), 2 * 65536);
    OK(df_bitmap_merge(other, "fine2", disk, "coarse", &unit_err));
    struct df_bitmap *bitmap = NULL;
    OK(df_bitmap_open(other, "fine2", &bitmap, &unit_err));
    ck_assert_uint_eq(df_bitmap_count(bitmap), 65536 + 1024);   /* 700 bytes are two bits */
    df_bitmap_close(&bitmap);
    FAILS(-EINVAL, df_bitmap_merge(disk, "coarse", short_disk, "s", &unit_err));
    FAILS(-EINVAL, df_bitmap_merge(short_disk, "s", disk, "coarse", &unit_err));
    df_disk_close(&short_disk);
    df_disk_close(&other);
    df_disk_close(&disk);
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "disk");
    tcase_add_loop_test(tc, test_disk_size, 0, sizeof disk_sizes / sizeof *disk_sizes);
    tcase_add_test(tc, test_disk_limits);
    tcase_add_test(tc, test_disk_damaged);
    tc = unit_case(suite, "limits");
    tcase_add_test(tc, test_names);
    tcase_add_test(tc, test_granularity);
    tcase_add_test(tc, test_257_bitmaps);
    tc = unit_case(suite, "verbs");
    tcase_add_test(tc, test_life);
    tcase_add_test(tc, test_no_such_bitmap);
    tcase_add_test(tc, test_contents_stay);
    tcase_add_test(tc, test_sha256);
    tcase_add_test(tc, test_merge);
}

UNIT_MAIN("bitmap", add_cases)
