// SPDX-License-Identifier: BSD-3-Clause
/*
 * A process that writes into the shared files what no honest one would: a case
 * for each field, and words that change while they are read.
 */
#include "unit-hostile.h"

/* ---------------------------------------------------- the table in force */

static void name_without_end(struct table *t) { memset(t->records[0].name, 'x', sizeof t->records[0].name); }
static void name_empty(struct table *t) { memset(t->records[0].name, 0, sizeof t->records[0].name); }
static void name_control(struct table *t) { t->records[0].name[0] = '\n'; }
static void name_twice(struct table *t) { memcpy(t->records[1].name, t->records[0].name, sizeof t->records[0].name); }
static void state_unknown(struct table *t) { t->records[1].state = RECORD_COMPARED + 1; }
static void state_needs_child(struct table *t) { t->records[0].state = RECORD_FROZEN; memcpy(t->records[0].session, one, sizeof one); }
static void state_has_child(struct table *t) { t->records[1].state = RECORD_TAKEN; }
static void compared_has_child(struct table *t) { t->records[1].state = RECORD_COMPARED; }
static void compared_nameless(struct table *t) { t->records[0].state = RECORD_COMPARED; }
static void was_inconsistent_idle(struct table *t) { t->records[0].flags |= RECORD_WAS_INCONSISTENT; }
static void flags_unknown(struct table *t) { t->records[0].flags |= 1u << 4; }
static void shift_small(struct table *t) { t->records[0].granularity_shift = 8; }
static void shift_large(struct table *t) { t->records[0].granularity_shift = 32; }
static void shift_wraps(struct table *t) { t->records[0].granularity_shift = 64 + 9; }
static void map_none(struct table *t) { t->records[0].map = 0; }
static void map_not_given(struct table *t) { t->records[0].map = t->next_map; }
static void map_negative(struct table *t) { t->records[0].map = UINT64_MAX; }
static void map_twice(struct table *t) { t->records[0].map = t->records[2].map; }
static void map_is_child(struct table *t) { t->records[0].map = t->records[1].child; }
static void child_is_map(struct table *t) { t->records[1].child = t->records[1].map; }
static void child_not_given(struct table *t) { t->records[1].child = t->next_map; }
static void session_missing(struct table *t) { memset(t->records[1].session, 0, DF_SESSION_BYTES); }
static void session_idle(struct table *t) { t->records[0].session[15] = 1; }
static void next_map_none(struct table *t) { t->next_map = 0; }
static void next_map_used(struct table *t) { t->next_map = 2; }
static void next_map_wraps(struct table *t) { t->next_map = UINT64_MAX; }
static void number_other(struct table *t) { t->number += 2; }
static void number_huge(struct table *t) { t->number = UINT64_MAX; }
static void fence_other(struct table *t) { t->fence = 1; }
static void fence_unknown(struct table *t) { t->fence = 2; }
static void fewer(struct table *t) { t->nrecords--; }
static void more(struct table *t) { t->nrecords++; }

static void (*const edits[])(struct table *) = {
    name_without_end, name_empty, name_control, name_twice, state_unknown, state_needs_child, state_has_child, compared_has_child, compared_nameless, was_inconsistent_idle, flags_unknown,
    shift_small, shift_large, shift_wraps, map_none, map_not_given, map_negative, map_twice, map_is_child, child_is_map,
    child_not_given, session_missing, session_idle, next_map_none, next_map_used, next_map_wraps, number_other, number_huge,
    fence_other, fence_unknown, fewer, more,
};
#define NEDITS (int)(sizeof edits / sizeof *edits)

START_TEST(test_table)
{
    edits[_i](in_force());
    forge(in_force());
    check_damaged();
    check_removable();
}
END_TEST

/* What a checksum cannot be made for, and what is beside the table. */
static void records_too_many(void) { in_force()->nrecords = DF_DISK_BITMAPS + 1; }
static void records_huge(void) { in_force()->nrecords = UINT32_MAX; }
static void checksum_other(void) { in_force()->checksum ^= 1; }
static void bit_other(void) { in_force()->records[2].name[1000] ^= 1; }
static void epoch_next(void) { atomic_fetch_add(&evil->epoch, 2); }
static void epoch_back(void) { atomic_fetch_sub(&evil->epoch, 4); }
static void epoch_fence(void) { atomic_fetch_xor(&evil->epoch, DISK_EPOCH_FENCED); }
static void epoch_huge(void) { atomic_store(&evil->epoch, UINT64_MAX); }
static void active_more(void) { atomic_fetch_add(&active_in_force()->n, 1); }
static void active_huge(void) { atomic_store(&active_in_force()->n, UINT64_MAX); }
static void active_none(void) { atomic_store(&active_in_force()->n, 0); }
static void active_map(void) { atomic_store(&active_in_force()->maps[0].map, 77); }
static void active_shift(void) { atomic_store(&active_in_force()->maps[1].granularity_shift, 200); }

static void (*const words[])(void) = {
    records_too_many, records_huge, checksum_other, bit_other, epoch_next, epoch_back, epoch_fence, epoch_huge,
    active_more, active_huge, active_none, active_map, active_shift,
};
#define NWORDS (int)(sizeof words / sizeof *words)

/* Writes pass all the same, or are refused by the fence; who can be told that they were not recorded, is. */
START_TEST(test_word)
{
    struct df_writer *writer = NULL;
    OK(df_writer_new(disk, &writer, &unit_err));
    words[_i]();
    int r = df_write_begin(writer, 0, MiB);
    ck_assert_int_eq(r, atomic_load(&evil->epoch) & DISK_EPOCH_FENCED ? -EROFS : 0);
    df_write_end(writer);
    df_writer_free(&writer);
    check_damaged();
    check_removable();
}
END_TEST

START_TEST(test_mark_is_refused)
{
    atomic_store(&active_in_force()->maps[0].map, 77);
    FAILS(-EPROTO, df_disk_mark(disk, 0, 512, &unit_err));
}
END_TEST

/* All of it is in range, and not what it was: a map that is in use does not change its size. */
START_TEST(test_other_granularity)
{
    struct map_ref *ref = NULL, *again = NULL;
    OK(disk_get_map(disk, "c", one, &ref, &unit_err));
    in_force()->records[2].granularity_shift = 9;
    forge(in_force());
    atomic_store(&active_in_force()->maps[2].granularity_shift, 9);
    FAILS(-EPROTO, disk_get_map(disk, "c", one, &again, &unit_err));
    ck_assert_ptr_nonnull(strstr(unit_err.message, "granularity"));
    ck_assert_uint_eq(ref->map->nbits, MiB / 4096);
    disk_put_map(disk, &ref);
    struct df_bitmap_info info;
    OK(df_bitmap_get_info(disk, "c", &info, &unit_err));
    ck_assert(info.inconsistent);       /* the file is not of that size */
}
END_TEST

/* ------------------------------------------------------- sections, the head */

START_TEST(test_sections)
{
    static const struct { uint64_t open, offset, length; bool marks; } cases[] = {
        { SECTION_ADMITTED, 512, 512, true },
        { 99, 512, 512, true },
        { SECTION_ASKS, 512, 512, false },
        { SECTION_ADMITTED, MiB, 1, false },
        { SECTION_ADMITTED, 0, MiB + 1, false },
        { SECTION_ADMITTED, 512, UINT64_MAX, false },
        { UINT64_MAX, UINT64_MAX, UINT64_MAX, false },
        { SECTION_ADMITTED, 0, 0, false },
    };
    struct df_bitmap *bitmap = NULL;
    struct section *section = &evil->sections[_i * 500 % DF_DISK_WRITERS];
    atomic_store(&section->offset, cases[_i].offset);
    atomic_store(&section->length, cases[_i].length);
    atomic_store(&section->open, cases[_i].open);
    atomic_store(&evil->nsections, _i & 1 ? UINT64_MAX : DF_DISK_WRITERS);
    ck_assert_uint_eq(df_disk_open_sections(disk), 0);
    ck_assert_uint_eq(atomic_load(&section->open), SECTION_CLOSED);
    OK(df_bitmap_open(disk, "a", &bitmap, &unit_err));
    ck_assert_uint_eq(df_bitmap_count(bitmap), cases[_i].marks ? 512 : 0);
    df_bitmap_close(&bitmap);
}
END_TEST

/* The size that was read at first counts; whoever opens it later is told another one, or that it is none. */
START_TEST(test_head)
{
    static const uint64_t sizes[] = { 0, 1, MiB - 1, 2 * MiB, DF_DISK_SIZE_MAX, DF_DISK_SIZE_MAX + 1, UINT64_MAX };
    struct df_disk *again = NULL;
    struct df_bitmap_info info;
    evil->size = sizes[_i];
    ck_assert_uint_eq(df_disk_size(disk), MiB);
    OK(df_disk_mark(disk, MiB - 1, 1, &unit_err));
    OK(df_bitmap_get_info(disk, "a", &info, &unit_err));
    ck_assert_uint_eq(info.nbits, MiB / 512);
    int r = df_disk_open(unit_dir, "vda", &again, &unit_err);
    ck_assert(r == 0 || r == -EPROTO);
    ck_assert_int_eq(r, sizes[_i] >= 1 && sizes[_i] <= DF_DISK_SIZE_MAX ? 0 : -EPROTO);
    if (r == 0) {
        r = df_bitmap_get_info(again, "a", &info, &unit_err);   /* too many bits: no table of this disk */
        ck_assert(r == -EPROTO || (r == 0 && (info.inconsistent || sizes[_i] == MiB - 1)));
        df_disk_mark(again, 0, 1, NULL);
    }
    df_disk_close(&again);
}
END_TEST

/* A boot that never was: nobody judges a disk that somebody writes to. */
START_TEST(test_boot)
{
    struct df_disk *again = NULL;
    struct df_writer *writer = NULL;
    OK(df_writer_new(disk, &writer, &unit_err));
    atomic_store(&evil->boot[1], 1);
    FAILS(-EPROTO, df_disk_open(unit_dir, "vda", &again, &unit_err));
    df_writer_free(&writer);
    OK(df_disk_open(unit_dir, "vda", &again, &unit_err));
    struct df_bitmap_info info;
    OK(df_bitmap_get_info(again, "a", &info, &unit_err));
    ck_assert(info.inconsistent);
    df_disk_close(&again);
}
END_TEST

START_TEST(test_closed)
{
    atomic_store(&evil->closed, 77);
    OK(df_bitmap_add(disk, "x", 512, 0, &unit_err));
    atomic_store(&evil->closed, UINT32_MAX);
    OK(df_disk_flush(disk, &unit_err));
    OK(df_disk_mark(disk, 0, 1, &unit_err));
}
END_TEST

/* --------------------------------------------------------------- the maps */

/* Bits beyond the end, summary bits of blocks that are empty or are not there: nobody counts, copies or hashes them. */
START_TEST(test_beyond_the_end)
{
    static const uint64_t numbers[] = { 1, 7, 63, 64, 65, 2047, 2048, MAP_BLOCK_BITS - 1, MAP_BLOCK_BITS, MAP_BLOCK_BITS + 1, 65 * MAP_BLOCK_BITS + 13 };
    uint64_t nbits = numbers[_i];
    struct map *clean = NULL, *dirty = NULL, *copy = NULL;
    char hex[2][65];
    OK(map_create_anonymous(nbits, &clean, &unit_err));
    OK(map_create_anonymous(nbits, &dirty, &unit_err));
    OK(map_create_anonymous(nbits, &copy, &unit_err));
    OK(map_set(clean, nbits - 1, 1));
    OK(map_set(dirty, nbits - 1, 1));
    for (uint64_t w = 0; w < map_round_up(dirty->nblocks, 64); w++)
        dirty->summary[w] = UINT64_MAX;
    for (uint64_t w = dirty->nwords; w < dirty->nblocks * MAP_BLOCK_WORDS; w++)
        dirty->leaf[w] = UINT64_MAX;
    dirty->leaf[dirty->nwords - 1] |= htole64(~dirty->last_mask);
    OK(map_merge(copy, dirty));
    for (unsigned i = 0; i < 2; i++) {
        const struct map *m = i ? copy : dirty;
        ck_assert_uint_eq(map_count(m), 1);
        ck_assert_uint_eq(map_next_set(m, 0), nbits - 1);
        ck_assert_uint_eq(map_next_clear(m, nbits - 1), nbits);
        ck_assert_uint_eq(map_digest(m, 0, m->nblocks), map_digest(clean, 0, clean->nblocks));
        map_sha256(clean, hex[0]);
        map_sha256(m, hex[1]);
        ck_assert_str_eq(hex[0], hex[1]);
    }
    map_close(&clean);
    map_close(&dirty);
    map_close(&copy);
}
END_TEST

/* ------------------------------------------------- while it is being read */

static pid_t fork_evil(void (*run)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        run();
        _exit(0);
    }
    ck_assert_int_gt(pid, 0);
    return pid;
}

static void stop_evil(pid_t pid)
{
    kill(pid, SIGKILL);
    unit_reap(pid, SIGKILL);
}

/*
 * Somebody who is always in between: calls of the library are wrapped, and when
 * `restless` the words are changed at the worst moment each time.
 */
static bool restless;
static _Atomic uint64_t *evil_leaf;

int __real_mapref_get(struct df_disk *d, uint64_t id, unsigned shift, struct map_ref **ref, struct df_error *err);
int __wrap_mapref_get(struct df_disk *d, uint64_t id, unsigned shift, struct map_ref **ref, struct df_error *err);
uint64_t __real_map_next_set(const struct map *map, uint64_t bit);
uint64_t __wrap_map_next_set(const struct map *map, uint64_t bit);
uint64_t __real_map_next_clear(const struct map *map, uint64_t bit);
uint64_t __wrap_map_next_clear(const struct map *map, uint64_t bit);

int __wrap_mapref_get(struct df_disk *d, uint64_t id, unsigned shift, struct map_ref **ref, struct df_error *err)
{
    if (restless)
        atomic_fetch_add(&evil->epoch, 4);
    return __real_mapref_get(d, id, shift, ref, err);
}

uint64_t __wrap_map_next_set(const struct map *map, uint64_t bit)
{
    if (restless && bit < 64)
        atomic_fetch_or(&evil_leaf[0], UINT64_MAX);
    return __real_map_next_set(map, bit);
}

uint64_t __wrap_map_next_clear(const struct map *map, uint64_t bit)
{
    if (restless && bit < 64)
        atomic_store(&evil_leaf[0], 0);
    return __real_map_next_clear(map, bit);
}

static void change_nsections(void)
{
    for (uint64_t i = 0;; i++)
        atomic_store(&evil->nsections, i & 1);
}

static void change_table(void)
{
    for (;;) {
        in_force()->nrecords = 3;
        in_force()->nrecords = 200;
        in_force()->nrecords = UINT32_MAX;
    }
}

/* A write looks again when the epoch moved: it comes to an end all the same, and somebody is told. */
START_TEST(test_epoch_never_rests)
{
    struct df_writer *writer = NULL;
    OK(df_writer_new(disk, &writer, &unit_err));
    restless = true;
    ck_assert_int_eq(df_write_begin(writer, 0, 4096), 0);
    df_write_end(writer);
    df_writer_free(&writer);
    FAILS(-EPROTO, df_disk_mark(disk, 0, 512, &unit_err));
    restless = false;
}
END_TEST

START_TEST(test_nsections_never_rests)
{
    pid_t pid = fork_evil(change_nsections);
    for (unsigned i = 0; i < 200; i++) {
        struct df_writer *writer = NULL;
        int r = df_writer_new(disk, &writer, &unit_err);
        ck_assert(r == 0 || r == -EPROTO);
        df_writer_free(&writer);
    }
    stop_evil(pid);
}
END_TEST

/* Walks go forward, stretches have a length and are within the disk, whatever the bits do. */
START_TEST(test_leaf_never_rests)
{
    char path[600];
    struct df_bitmap *bitmap = NULL;
    uint64_t at, start, length;
    OK(df_disk_mark(disk, 0, 512, &unit_err));
    OK(df_bitmap_open(disk, "a", &bitmap, &unit_err));
    map_path(path, 1);
    char *file = map_file(path, 3 * MAP_BLOCK_BYTES);
    evil_leaf = (_Atomic uint64_t *)(void *)(file + 2 * MAP_BLOCK_BYTES);
    for (unsigned clean = 0; clean < 2; clean++) {
        unsigned steps = 0;
        restless = true;
        for (at = 0; clean ? df_bitmap_next_clean(bitmap, at, &start, &length) : df_bitmap_next_dirty(bitmap, at, &start, &length); at = start + length) {
            ck_assert(start >= at && length > 0 && start < MiB && length <= MiB - start);
            ck_assert_uint_lt(++steps, 100);
        }
        restless = false;
    }
    df_bitmap_close(&bitmap);
    munmap(file, 3 * MAP_BLOCK_BYTES);
}
END_TEST

/* The same between two maps of different granularity, as in a merge. */
START_TEST(test_merge_of_what_never_rests)
{
    struct map *fine = NULL, *coarse = NULL;
    OK(map_create_anonymous(2048, &fine, &unit_err));
    OK(map_create_anonymous(16, &coarse, &unit_err));
    OK(map_set(fine, 0, 1));
    evil_leaf = fine->leaf;
    restless = true;
    OK(map_merge_scaled(coarse, 16, fine, 9));
    restless = false;
    ck_assert_uint_eq(map_count(coarse), 1);
    map_close(&fine);
    map_close(&coarse);
}
END_TEST

/* The number of records is fetched once: also a copy that is not good is never longer than the table. */
START_TEST(test_table_never_rests)
{
    pid_t pid = fork_evil(change_table);
    for (unsigned i = 0; i < 5000; i++) {
        struct df_bitmap_info *infos = NULL;
        size_t n = 0;
        int r = df_bitmap_list(disk, &infos, &n, &unit_err);
        ck_assert(r == -EPROTO || (r == 0 && n == 3));
        free(infos);
    }
    stop_evil(pid);
}
END_TEST

/* ------------------------------------------------------------------- locks */

/* Whoever keeps the lock of the table keeps nobody but himself, and those only who believe in him. */
START_TEST(test_lock_is_kept)
{
    int pipefd[2];
    char path[600], c;
    ck_assert_int_eq(pipe(pipefd), 0);
    disk_path(path, "disk");
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(path, O_RDWR | O_CLOEXEC);
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1 };
        if (fd < 0 || fcntl(fd, F_OFD_SETLK, &lock) < 0 || write(pipefd[1], "", 1) != 1)
            _exit(1);
        pause();
    }
    ck_assert_int_eq(read(pipefd[0], &c, 1), 1);
    for (unsigned i = 0; i < 100; i++)      /* the first one waits, the others know */
        FAILS(-EBUSY, df_disk_fence(disk, &unit_err));
    stop_evil(pid);
    OK(df_disk_fence(disk, &unit_err));
    close(pipefd[0]);
    close(pipefd[1]);
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "fields");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_table, 0, NEDITS);
    tcase_add_loop_test(tc, test_word, 0, NWORDS);
    tcase_add_test(tc, test_mark_is_refused);
    tcase_add_test(tc, test_other_granularity);
    tcase_add_loop_test(tc, test_sections, 0, 8);
    tcase_add_loop_test(tc, test_head, 0, 7);
    tcase_add_test(tc, test_boot);
    tcase_add_test(tc, test_closed);
    tc = unit_case(suite, "maps");
    tcase_add_loop_test(tc, test_beyond_the_end, 0, 11);
    tc = unit_case(suite, "never-rests");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_epoch_never_rests);
    tcase_add_test(tc, test_nsections_never_rests);
    tcase_add_test(tc, test_leaf_never_rests);
    tcase_add_test(tc, test_merge_of_what_never_rests);
    tcase_add_test(tc, test_table_never_rests);
    tcase_add_test(tc, test_lock_is_kept);
}

UNIT_MAIN("hostile", add_cases)
