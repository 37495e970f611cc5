// SPDX-License-Identifier: BSD-3-Clause
/*
 * A disk whose shared file and map files somebody else writes to, while this
 * process uses it: nothing may crash, hang or touch what is outside.
 *
 * Input: steps, a byte each, and their operands.
 */
#include "base/cleanup.h"
#include "disks.h"

#define STEPS       48          /* of one input */
#define STRETCHES   64          /* of a bitmap that are looked at */
#define SMALL       (UINT64_C(64) << 20)    /* bytes of disk: above it nothing is done whose cost is in proportion to it */

struct world {
    struct df_disk *disk;       /* NULL: could not be opened */
    struct df_writer *writer;
    struct df_bitmap *open;
    struct input in;
};

/* --------------------------------------------------------------- scribbles */

/* Where: the fields that there are, rather than any of 800 KB. */
static size_t place(struct input *in)
{
    size_t table = offsetof(struct disk_shared, tables) + input_take(in, 1) % 2 * sizeof(struct table), n = input_take(in, 1);
    switch (input_take(in, 1) % 8) {
    case 0:  return offsetof(struct disk_shared, magic) + n % 64;
    case 1:  return offsetof(struct disk_shared, epoch) + n % 8;
    case 2:  return offsetof(struct disk_shared, nsections) + n % 8;
    case 3:  return offsetof(struct disk_shared, active) + n;
    case 4:  return offsetof(struct disk_shared, active[1]) + n;
    case 5:  return table + n % offsetof(struct table, records);
    case 6:  return table + offsetof(struct table, records) + n % 8 * sizeof(struct record) + input_take(in, 2) % sizeof(struct record);
    default: return offsetof(struct disk_shared, sections) + n / 24 * sizeof(struct section) + n % 24;
    }
}

static struct scribble scribble_read(struct input *in, unsigned calls)
{
    struct scribble s = { .offset = place(in), .calls = calls };
    s.nbytes = input_take(in, 1) % 32;
    s.bytes = input_bytes(in, &s.nbytes);
    return s;
}

static void scribble_later(struct input *in)
{
    for (unsigned i = 0; i < LATER; i++)
        if (!later[i].calls) {
            unsigned calls = (unsigned)input_take(in, 1) % 32;
            later[i] = scribble_read(in, calls + 1);
            return;
        }
}

/* Whoever scribbles can make checksums, too. */
static void reseal(struct input *in)
{
    struct table *t = &disks.shared->tables[input_take(in, 1) % 2];
    if (t->nrecords <= DF_DISK_BITMAPS)
        table_seal(t, t->number, t->fence);
}

/* A map file; it may get shorter while it is mapped, too. */
static void scribble_map(struct world *w)
{
    struct input *in = &w->in;
    const char *name = disks.files[input_take(in, 1) % disks.nfiles].name;
    uint64_t how = input_take(in, 1), offset = input_take(in, 2) % 16384;
    size_t n = input_take(in, 1);
    const uint8_t *bytes = input_bytes(in, &n);
    int fd = __real_openat(disks.dirfd, name, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (how < 0x80)
        CHECK(pwrite(fd, bytes, n, (off_t)offset) == (ssize_t)n);
    else
        CHECK(ftruncate(fd, (off_t)offset) == 0);
    if (how == 0xff)
        unlinkat(disks.dirfd, name, 0);
    close(fd);
}

/* ------------------------------------------------------------------- looks */

static const char *name_of(struct world *w)
{
    static const char *const names[] = { "plain", "fine", "off", "taken", "locked", "frozen", "new", "" };
    return names[input_take(&w->in, 1) % (sizeof names / sizeof *names)];
}

static void look_info(const struct df_bitmap_info *info)
{
    CHECK(memchr(info->name, 0, sizeof info->name));
    CHECK(info->granularity >= DF_GRANULARITY_MIN && info->granularity <= DF_GRANULARITY_MAX && !(info->granularity & (info->granularity - 1)));
    CHECK(info->nbits);
}

static void look_open(const struct df_bitmap *bitmap, uint64_t size, uint64_t nbits)
{
    uint64_t at = 0, start, length;
    char hex[DF_SHA256_HEX_BYTES];
    for (unsigned i = 0; i < STRETCHES && df_bitmap_next_dirty(bitmap, at, &start, &length); i++, at = start + length)
        CHECK(start >= at && length && start + length <= size);
    at = 0;
    for (unsigned i = 0; i < STRETCHES && df_bitmap_next_clean(bitmap, at, &start, &length); i++, at = start + length)
        CHECK(start >= at && length && start + length <= size);
    df_bitmap_test(bitmap, at);
    df_bitmap_count(bitmap);
    if (nbits <= SMALL / DF_GRANULARITY_MIN)
        df_bitmap_sha256(bitmap, hex);
}

static void look(struct world *w)
{
    CLEANUP(cleanup_free) struct df_bitmap_info *infos = NULL;
    CLEANUP(df_bitmap_close) struct df_bitmap *bitmap = NULL;
    struct df_error err;
    size_t n = 0;
    uint64_t size = df_disk_size(w->disk);
    CHECK(size && size <= DF_DISK_SIZE_MAX);
    df_disk_is_readonly(w->disk);
    if (df_bitmap_list(w->disk, &infos, &n, &err) < 0)
        return;
    CHECK(n <= DF_DISK_BITMAPS);
    for (size_t i = 0; i < n; i++) {
        look_info(&infos[i]);
        if (df_bitmap_open(w->disk, infos[i].name, &bitmap, &err) == 0)
            look_open(bitmap, size, infos[i].nbits);
        df_bitmap_close(&bitmap);
    }
}

static void look_map(struct world *w)
{
    struct map_ref *ref = NULL;
    const char *name = name_of(w);
    uint64_t how = input_take(&w->in, 1);
    int r = how % 2 ? disk_get_map(w->disk, name, session_one, &ref, NULL) : disk_peek_map(w->disk, name, &ref);
    if (r < 0)
        return;
    CHECK(ref->map->nbits >= 1 && ref->map->nbits <= DF_BITMAP_BITS_MAX);
    map_count(ref->map);
    map_digest(ref->map, how, map_segment_blocks(ref->map->nblocks));
    disk_put_map(w->disk, &ref);
}

static void look_one(struct world *w)
{
    struct df_bitmap_info info;
    const char *name = name_of(w);
    df_bitmap_close(&w->open);
    if (df_bitmap_get_info(w->disk, name, &info, NULL) == 0)
        look_info(&info);
    if (df_bitmap_open(w->disk, name, &w->open, NULL) == 0)
        look_open(w->open, df_disk_size(w->disk), UINT64_MAX);
}

/* ----------------------------------------------------------------- changes */

static void record(struct world *w)
{
    uint64_t offset = input_take(&w->in, 4), length = input_take(&w->in, 3) % (1 << 20);
    if (!w->writer && df_writer_new(w->disk, &w->writer, NULL) < 0)
        return;
    df_write_end(w->writer);
    df_write_begin(w->writer, offset, length);      /* ends with the next one: the file may change meanwhile */
}

static void manage(struct world *w)
{
    uint64_t what = input_take(&w->in, 1), granularity = UINT64_C(512) << input_take(&w->in, 1) % 23;
    const char *name = name_of(w);
    switch (what % 12) {
    case 0:  df_bitmap_add(w->disk, "new", granularity, (unsigned)(what / 12), NULL); break;
    case 1:  df_bitmap_remove(w->disk, name, NULL); break;
    case 2:  df_bitmap_clear(w->disk, name, NULL); break;
    case 3:  df_bitmap_enable(w->disk, name, NULL); break;
    case 4:  df_bitmap_disable(w->disk, name, NULL); break;
    case 5:  df_bitmap_set_inconsistent(w->disk, name, NULL); break;
    case 6:  df_bitmap_merge(w->disk, name, w->disk, name_of(w), NULL); break;
    case 7:  df_disk_fence(w->disk, NULL); break;
    case 8:  df_disk_unfence(w->disk, NULL); break;
    case 9:  df_disk_open_sections(w->disk); break;
    case 10: df_disk_flush(w->disk, NULL); break;
    default: disk_sync_map(w->disk, name, NULL); break;
    }
}

static void hand_over(struct world *w)
{
    uint64_t what = input_take(&w->in, 1);
    const char *name = name_of(w);
    switch (what % 9) {
    case 0:  df_bitmap_take(w->disk, name, session_one, NULL); break;
    case 1:  df_bitmap_give_back(w->disk, name, session_one, NULL); break;
    case 2:  df_bitmap_freeze(w->disk, name, session_one, what & 0x80, NULL); break;
    case 3:  df_bitmap_add_frozen(w->disk, name, 65536, 0, session_one, NULL); break;
    case 4:  df_bitmap_discard(w->disk, name, session_one, NULL); break;
    case 5:  df_bitmap_unlock(w->disk, name, session_one, NULL); break;
    case 6:  df_bitmap_abdicate(w->disk, name, session_one, NULL); break;
    case 7:  df_bitmap_reclaim(w->disk, name, session_one, NULL); break;
    default: df_bitmap_give_up(w->disk, name, session_one, what & 0x80, NULL); break;
    }
}

/* --------------------------------------------------------------------- run */

static void close_all(struct world *w)
{
    df_bitmap_close(&w->open);
    df_writer_free(&w->writer);
    df_disk_close(&w->disk);
}

static void reopen(struct world *w)
{
    struct df_error err = { 0 };
    close_all(w);
    int r = df_disk_open(disks.state, "vda", &w->disk, &err);
    CHECK(r == err.code && (r == 0) == (w->disk != NULL));
}

static void use(struct world *w, unsigned what)
{
    bool small = df_disk_size(w->disk) <= SMALL;
    if (what == 6)
        look(w);
    if (what == 7)
        look_map(w);
    if (what == 8)
        look_one(w);
    if (what == 9 && small)
        record(w);
    if (what == 10 && small)
        manage(w);
    if (what == 11 && small)
        hand_over(w);
}

static void step(struct world *w)
{
    unsigned what = (unsigned)input_take(&w->in, 1) % 12;
    struct scribble s;
    switch (what) {
    case 0:
        s = scribble_read(&w->in, 0);
        scribble_now(&s);
        break;
    case 1: scribble_later(&w->in); break;
    case 2: reseal(&w->in); break;
    case 3: scribble_map(w); break;
    case 4: close_all(w); break;
    case 5: reopen(w); break;
    default:
        if (!w->disk)
            reopen(w);
        if (w->disk)
            use(w, what);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nbytes)
{
    struct world w = { .in = { bytes, bytes + nbytes } };
    disks_make();
    disks_put_back();
    for (unsigned i = 0; i < STEPS && input_left(&w.in); i++)
        step(&w);
    close_all(&w);
    return 0;
}
