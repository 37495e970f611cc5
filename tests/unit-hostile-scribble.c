// SPDX-License-Identifier: BSD-3-Clause
/*
 * A process that scribbles on all the files while another one, protected as the
 * daemon is, does all that can be done with a disk, at random.  Nothing is known
 * of the results but what the header promises of any: no crash, no hang, codes
 * that are errnos, numbers that are in range.
 */
#include "unit-hostile.h"

#include "scribble.h"

#define OPERATIONS 4000

static const char *const names[] = { "a", "b", "c", "d", "nix" };

static const char *any_name(void)
{
    return names[unit_below(5)];
}

static void sane(int r)
{
    ck_assert_msg(r <= 0 && r > -4096, "a call returned %d", r);
}

static void check_info(const struct df_bitmap_info *info)
{
    ck_assert_uint_le(strnlen(info->name, sizeof info->name), DF_BITMAP_NAME_MAX);
    ck_assert(info->granularity >= DF_GRANULARITY_MIN && info->granularity <= DF_GRANULARITY_MAX);
    ck_assert_uint_eq(info->nbits, (df_disk_size(disk) - 1) / info->granularity + 1);
}

static void look_at_bitmaps(void)
{
    struct df_bitmap_info *infos = NULL, info;
    size_t n = 0;
    int r = df_bitmap_list(disk, &infos, &n, &unit_err);
    sane(r);
    ck_assert_uint_le(n, DF_DISK_BITMAPS);
    for (size_t i = 0; !r && i < n; i++)
        check_info(&infos[i]);
    free(infos);
    r = df_bitmap_get_info(disk, any_name(), &info, &unit_err);
    sane(r);
    if (!r)
        check_info(&info);
}

static void walk(void)
{
    struct df_bitmap *bitmap = NULL;
    uint64_t size = df_disk_size(disk), start, length, at = unit_below(size);
    char hex[DF_SHA256_HEX_BYTES];
    int r = df_bitmap_open(disk, any_name(), &bitmap, &unit_err);
    sane(r);
    if (r < 0)
        return;
    while (unit_below(2) ? df_bitmap_next_dirty(bitmap, at, &start, &length) : df_bitmap_next_clean(bitmap, at, &start, &length)) {
        ck_assert(start >= at && length && start < size && length <= size - start);
        at = start + length;
    }
    ck_assert_uint_le(df_bitmap_count(bitmap), (size / DF_GRANULARITY_MIN + 1) * DF_GRANULARITY_MAX);
    df_bitmap_test(bitmap, unit_below(size + 10));
    df_bitmap_sha256(bitmap, hex);
    ck_assert_uint_eq(strlen(hex), 64);
    df_bitmap_close(&bitmap);
}

/* What the receiver and the workers do. */
static void use_map(void)
{
    struct map_ref *ref = NULL;
    static const uint8_t bytes[8] = { 0xff, 0, 1 };
    int r = unit_below(2) ? disk_get_map(disk, any_name(), one, &ref, &unit_err) : disk_peek_map(disk, any_name(), &ref);
    sane(r);
    if (r < 0)
        return;
    struct map *map = ref->map;
    uint64_t segment = map_segment_blocks(map->nblocks);
    for (uint64_t b = 0; b < map->nblocks; b += segment)
        map_digest(map, b, segment);
    ck_assert_uint_le(map_count(map), map->nbits);
    ck_assert_uint_le(map_next_set(map, unit_below(map->nbits)), map->nbits);
    ck_assert_uint_le(map_next_block(map, 0), map->nblocks);
    if (map->nbits >= 64) {
        sane(map_write(map, 0, bytes, sizeof bytes));
        sane(map_write_zeroes(map, 0, sizeof bytes));
    }
    sane(map_set(map, unit_below(map->nbits), 1));
    map_is_damaged(map);
    disk_put_map(disk, &ref);
}

static void write_some(void)
{
    struct df_writer *writer = NULL;
    uint64_t size = df_disk_size(disk), offset = unit_below(size);
    int r = df_writer_new(disk, &writer, &unit_err);
    sane(r);
    for (unsigned i = 0; !r && i < 4; i++)
        if (df_write_begin(writer, offset, unit_below(size - offset) + 1) == 0 && i < 3)
            df_write_end(writer);
    df_writer_free(&writer);
}

static void session_call(void)
{
    static int (*const calls[])(struct df_disk *, const char *, const uint8_t *, struct df_error *) = {
        df_bitmap_take, df_bitmap_give_back, df_bitmap_discard, df_bitmap_unlock, df_bitmap_abdicate, df_bitmap_reclaim,
    };
    switch (unit_below(10)) {
    case 0: sane(df_bitmap_freeze(disk, any_name(), one, unit_below(2), &unit_err)); break;
    case 1: sane(df_bitmap_add_frozen(disk, any_name(), 4096, 0, one, &unit_err)); break;
    case 2: sane(df_bitmap_give_up(disk, any_name(), one, unit_below(2), &unit_err)); break;
    case 3: sane(disk_sync_map(disk, any_name(), &unit_err)); break;
    default: sane(calls[unit_below(6)](disk, any_name(), one, &unit_err));
    }
}

static void operate(void)
{
    switch (unit_below(16)) {
    case 0: sane(df_bitmap_add(disk, any_name(), UINT64_C(512) << unit_below(8), (unsigned)unit_below(4), &unit_err)); break;
    case 1: sane(df_bitmap_remove(disk, any_name(), &unit_err)); break;
    case 2: sane(df_bitmap_clear(disk, any_name(), &unit_err)); break;
    case 3: sane(unit_below(2) ? df_bitmap_enable(disk, any_name(), &unit_err) : df_bitmap_disable(disk, any_name(), &unit_err)); break;
    case 4: sane(df_bitmap_merge(disk, any_name(), disk, any_name(), &unit_err)); break;
    case 5: sane(df_disk_fence(disk, &unit_err)); break;
    case 6: sane(df_disk_unfence(disk, &unit_err)); break;
    case 7: ck_assert_uint_le(df_disk_open_sections(disk), DF_DISK_WRITERS); break;
    case 8: sane(unit_below(8) ? df_disk_mark(disk, unit_below(MiB), 1 + unit_below(4096), &unit_err) : df_disk_flush(disk, &unit_err)); break;
    case 9: walk(); break;
    case 10: write_some(); break;
    case 11: use_map(); break;
    case 12: case 13: session_call(); break;
    default: look_at_bitmaps();
    }
}

/* Closed, opened again: what cannot be opened is removed and made anew. */
static void reopen(void)
{
    df_disk_close(&disk);
    if (df_disk_open(unit_dir, "vda", &disk, &unit_err) == 0)
        return;
    int r = df_disk_remove(unit_dir, "vda", &unit_err);
    ck_assert_msg(r == 0, "a damaged disk cannot be removed: %s", unit_err.message);
    munmap(evil, sizeof *evil);
    create(MiB);
    add_three();
}

static pid_t start_scribbler(bool cuts)
{
    uint64_t seed = unit_random();
    pid_t pid = fork();
    if (pid)
        return pid;
    static struct scribbler s;
    signal(SIGBUS, SIG_DFL);
    if (scribble_open(&s, unit_dir, "vda", seed, cuts) < 0)
        _exit(0);
    for (uint64_t i = 0;; i++) {
        if (i % 64 == 0)
            scribble_look(&s);
        scribble_once(&s);
    }
}

START_TEST(test_scribble)
{
    pid_t pid = 0;
    for (unsigned i = 0; i < OPERATIONS; i++) {
        if (i % 100 == 0 && pid) {
            kill(pid, SIGKILL);
            waitpid(pid, NULL, 0);          /* a cut of ours may have been first */
            reopen();
        }
        if (i % 100 == 0)
            pid = start_scribbler(_i == 1);
        operate();
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "scribble");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_scribble, 0, 2);
}

UNIT_MAIN("hostile-scribble", add_cases)
