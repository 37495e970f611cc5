// SPDX-License-Identifier: BSD-3-Clause
/*
 * Random work on a disk, and hosts that crash at any moment, against a model
 * of stable storage: a file holds there, for each 512 bytes, what was there at
 * the last sync or at some moment since; a file that was made since its
 * directory was synced may be missing.  After each crash: a bitmap that does
 * not say `inconsistent` has exactly the bits that were recorded, and what was
 * closed cleanly says nothing of the kind.
 */
#include "unit-boot.h"

#include <dirent.h>

#include "base/cleanup.h"
#include "bitmap/disk.h"

enum { SECTOR = 512, FILES = 64, BITMAPS = 6, SPOTS = 24, STEPS = 400 };

static const uint8_t session[DF_SESSION_BYTES] = "session one";
static struct df_disk *disk;

/* ---------------------------------------------------------- stable storage */

static struct stable {
    char name[64];
    ino_t inode;
    bool entry;                 /* the directory is sure to have it */
    uint8_t *bytes;
    size_t size;
} files[FILES];

static void path_of(char path[600], const char *name)
{
    snprintf(path, 600, "%s/disks/vda/%s", unit_dir, name);
}

static uint8_t *read_file(const char *name, size_t *size, ino_t *inode)
{
    char path[600];
    struct stat st;
    path_of(path, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fstat(fd, &st), 0);
    *size = (size_t)st.st_size;
    *inode = st.st_ino;
    uint8_t *bytes = malloc(*size + 1);
    ck_assert_int_eq(read(fd, bytes, *size), (ssize_t)*size);
    close(fd);
    return bytes;
}

static struct stable *stable_of(const char *name, ino_t inode)
{
    struct stable *empty = NULL;
    for (unsigned i = 0; i < FILES; i++) {
        if (!*files[i].name)
            empty = empty ? empty : &files[i];
        else if (!strcmp(files[i].name, name)) {
            if (files[i].inode == inode)
                return &files[i];
            empty = &files[i];          /* the name is another file's now */
            break;
        }
    }
    ck_assert_ptr_nonnull(empty);
    free(empty->bytes);
    *empty = (struct stable){ .inode = inode };
    snprintf(empty->name, sizeof empty->name, "%s", name);
    return empty;
}

/* Sectors go there: all by a sync, or one of a few as the kernel likes. */
static void write_back(const char *name, unsigned one_of)
{
    size_t size;
    ino_t inode;
    uint8_t *now = read_file(name, &size, &inode);
    struct stable *file = stable_of(name, inode);
    if (file->size != size) {
        file->bytes = realloc(file->bytes, size + 1);
        memset(file->bytes + file->size, 0, size - file->size);
        file->size = size;
    }
    for (size_t at = 0; at < size; at += SECTOR)
        if (unit_below(one_of) == 0)
            memcpy(file->bytes + at, now + at, size - at < SECTOR ? size - at : SECTOR);
    free(now);
}

static void each_file(void (*call)(const char *name))
{
    char path[600];
    path_of(path, "");
    DIR *dir = opendir(path);
    ck_assert_ptr_nonnull(dir);
    for (struct dirent *e; (e = readdir(dir));)
        if (*e->d_name != '.')
            call(e->d_name);
    closedir(dir);
}

static void note_entry(const char *name)
{
    char path[600];
    struct stat st;
    path_of(path, name);
    ck_assert_int_eq(stat(path, &st), 0);
    stable_of(name, st.st_ino)->entry = true;
}

static bool syncs_fail;

static int unit_synced(int fd, const char *path)
{
    (void)fd;
    if (syncs_fail && unit_below(3) == 0)
        return EIO;
    const char *name = strrchr(path, '/') + 1;
    if (!strcmp(name, "vda"))
        each_file(note_entry);
    else if (strstr(path, "/vda/"))
        write_back(name, 1);
    return 0;
}

static void write_back_some(const char *name)
{
    if (unit_below(3) == 0)
        write_back(name, 1 + (unsigned)unit_below(4));
}

static void forget_file(const char *name)
{
    char path[600];
    struct stat st;
    path_of(path, name);
    ck_assert_int_eq(stat(path, &st), 0);
    struct stable *file = stable_of(name, st.st_ino);
    if (!file->entry && unit_below(3) == 0)
        ck_assert_int_eq(unlink(path), 0);      /* the directory never had it */
}

static void restore_file(const char *name)
{
    char path[600];
    struct stat st;
    path_of(path, name);
    ck_assert_int_eq(stat(path, &st), 0);
    struct stable *file = stable_of(name, st.st_ino);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if ((size_t)st.st_size != file->size)
        ck_assert_int_eq(ftruncate(fd, (off_t)file->size), 0);
    ck_assert_int_eq(write(fd, file->bytes, file->size), (ssize_t)file->size);
    close(fd);
}

/* ------------------------------------------------------------------- model */

static struct bitmap {
    bool exists, persistent, enabled, inconsistent, taken, frozen;
    uint32_t bits, child;
} model[BITMAPS];
static bool closed, fenced;             /* what must be so after a crash now */
static struct df_writer *writer;

static const char *name_of(unsigned i)
{
    static const char *const names[BITMAPS] = { "a", "b", "c", "d", "e", "f" };
    return names[i];
}

/* Spots lie in several blocks of the leaf. */
static uint64_t spot(unsigned i)
{
    return i * 6000 * UINT64_C(512);
}

static uint32_t bits_of(const char *name, bool child)
{
    CLEANUP(txn_abort) struct txn txn;
    struct record *record;
    struct map_ref *ref = NULL;
    uint32_t bits = 0;
    OK(txn_begin(disk, &txn, &unit_err));
    OK(txn_get(&txn, name, &record, &unit_err));
    OK(mapref_get(disk, child ? record->child : record->map, record->granularity_shift, &ref, &unit_err));
    for (unsigned i = 0; i < SPOTS; i++)
        bits |= (uint32_t)map_test(ref->map, i * 6000) << i;
    mapref_put(disk, &ref);
    return bits;
}

static unsigned state_of(const char *name)
{
    CLEANUP(txn_abort) struct txn txn;
    struct record *record;
    OK(txn_begin(disk, &txn, &unit_err));
    OK(txn_get(&txn, name, &record, &unit_err));
    return record->state;
}

static void check(void)
{
    for (unsigned i = 0; i < BITMAPS; i++) {
        struct df_bitmap_info info;
        int r = df_bitmap_get_info(disk, name_of(i), &info, NULL);
        ck_assert_int_eq(r, model[i].exists ? 0 : -ENOENT);
        if (r < 0)
            continue;
        ck_assert_int_eq(info.inconsistent, model[i].inconsistent);
        ck_assert_int_eq(info.busy, model[i].taken || model[i].frozen);
        if (info.inconsistent)
            continue;
        ck_assert_uint_eq(bits_of(name_of(i), false), model[i].bits);
        if (model[i].frozen)
            ck_assert_uint_eq(bits_of(name_of(i), true), model[i].child);
    }
    ck_assert_int_eq(df_disk_is_readonly(disk), fenced);
}

/* ------------------------------------------------------------------- steps */

static void step_add(unsigned i)
{
    bool persistent = unit_below(3);
    if (model[i].exists)
        return;
    OK(df_bitmap_add(disk, name_of(i), 512, persistent ? DF_BITMAP_PERSISTENT : 0, &unit_err));
    model[i] = (struct bitmap){ .exists = true, .persistent = persistent, .enabled = true };
    closed = false;
}

static void step_remove(unsigned i)
{
    if (df_bitmap_remove(disk, name_of(i), NULL) < 0)
        return;
    model[i].exists = false;
    closed = false;
}

static void step_clear(unsigned i)
{
    if (df_bitmap_clear(disk, name_of(i), NULL) < 0)
        return;
    model[i].bits = 0;
    closed = false;
}

static void step_toggle(unsigned i)
{
    if ((model[i].enabled ? df_bitmap_disable : df_bitmap_enable)(disk, name_of(i), NULL) < 0)
        return;
    model[i].enabled = !model[i].enabled;
    closed = false;
}

static void step_mark(unsigned at)
{
    int r = writer ? df_write_begin(writer, spot(at), 1) : df_disk_mark(disk, spot(at), 1, NULL);
    if (writer && r == 0)
        df_write_end(writer);
    ck_assert_int_eq(r, fenced ? -EROFS : 0);
    closed = false;             /* the writer's slot is enough */
    for (unsigned i = 0; r == 0 && i < BITMAPS; i++)
        if (model[i].enabled)
            *(model[i].frozen ? &model[i].child : &model[i].bits) |= UINT32_C(1) << at;
}

static void step_merge(unsigned i)
{
    unsigned from = (unsigned)unit_below(BITMAPS);
    if (df_bitmap_merge(disk, name_of(i), disk, name_of(from), NULL) < 0)
        return;
    model[i].bits |= model[from].bits;
    closed = false;
}

static void step_move(unsigned i)
{
    struct bitmap *b = &model[i];
    if (!b->exists || (fenced && !b->taken))
        return;
    if (b->taken) {
        OK(df_bitmap_give_back(disk, name_of(i), session, &unit_err));
        b->taken = false;
    } else if (b->frozen) {
        OK(df_bitmap_reclaim(disk, name_of(i), session, &unit_err));
        b->bits |= b->child;
        b->frozen = false;
    } else if (b->inconsistent) {
        return;
    } else if (unit_below(2)) {
        OK(df_bitmap_take(disk, name_of(i), session, &unit_err));
        OK(disk_sync(disk, &unit_err));         /* as the engine does, before the target hears of it */
        b->taken = true;
    } else {
        OK(df_bitmap_freeze(disk, name_of(i), session, false, &unit_err));
        b->frozen = true;
        b->child = 0;
    }
    closed = false;
}

static void step_fence(void)
{
    OK((fenced ? df_disk_unfence : df_disk_fence)(disk, &unit_err));
    fenced = !fenced;
    closed = false;
}

static void step_writer(void)
{
    if (writer) {
        df_writer_free(&writer);
        return;
    }
    OK(df_writer_new(disk, &writer, &unit_err));
    closed = false;
}

static void step_flush(void)
{
    int r = df_disk_flush(disk, NULL);
    ck_assert_int_eq(r, writer ? -EBUSY : 0);
    if (r == 0)
        closed = true;
}

/* --------------------------------------------------------------- the crash */

/* The judgement, with a storage that fails and a host that crashes again in it. */
static int open_after_crash(void)
{
    int r;
    syncs_fail = unit_below(2);
    while ((r = df_disk_open(unit_dir, "vda", &disk, NULL)) == -EIO) {
        each_file(write_back_some);
        each_file(restore_file);
    }
    syncs_fail = false;
    return r;
}

/* What is in the model when a table came back that may be older: what the disk says, and nothing is good. */
static void adopt(void)
{
    for (unsigned i = 0; i < BITMAPS; i++) {
        struct df_bitmap_info info;
        bool exists = df_bitmap_get_info(disk, name_of(i), &info, NULL) == 0;
        model[i] = (struct bitmap){ .exists = exists };
        if (!exists)
            continue;
        ck_assert(info.inconsistent);
        model[i].inconsistent = true;
        model[i].enabled = info.enabled;
        model[i].persistent = info.persistent;
        model[i].taken = state_of(name_of(i)) == RECORD_TAKEN;
        model[i].frozen = info.busy && !model[i].taken;     /* or within a reclaim: all the same when no bit counts */
    }
    fenced = df_disk_is_readonly(disk);
}

static void new_disk(void)
{
    for (unsigned i = 0; i < FILES; i++) {
        free(files[i].bytes);
        files[i] = (struct stable){ 0 };
    }
    memset(model, 0, sizeof model);
    closed = fenced = false;
    OK(df_disk_create(unit_dir, "vda", 64 * MiB + 4096 * 6000, &unit_err));
    OK(df_disk_open(unit_dir, "vda", &disk, &unit_err));
    each_file(note_entry);      /* it was made under another name */
    OK(disk_sync(disk, &unit_err));
}

static void crash(void)
{
    struct bitmap before[BITMAPS];
    memcpy(before, model, sizeof before);
    if (unit_below(2))
        each_file(write_back_some);
    df_writer_free(&writer);
    df_disk_close(&disk);
    each_file(forget_file);
    each_file(restore_file);
    unit_boot++;
    int r = open_after_crash();
    if (r < 0) {                /* both tables are torn */
        ck_assert_int_eq(r, -EPROTO);
        ck_assert(!closed);
        OK(df_disk_remove(unit_dir, "vda", &unit_err));
        new_disk();
        return;
    }
    if (closed) {
        for (unsigned i = 0; i < BITMAPS; i++)
            model[i].inconsistent |= !model[i].persistent && !model[i].taken && !model[i].frozen;
        check();
        return;
    }
    adopt();
    for (unsigned i = 0; i < BITMAPS; i++) {    /* a take was synced: it cannot be forgotten, and the target may run */
        ck_assert(!(before[i].exists && before[i].taken) || model[i].taken);
        ck_assert(!model[i].taken || fenced);
    }
}

START_TEST(test_random)
{
    unit_state += (uint64_t)_i << 32;
    new_disk();
    for (unsigned i = 0; i < STEPS; i++) {
        unsigned b = (unsigned)unit_below(BITMAPS);
        switch (unit_below(24)) {
        case 0: case 1: case 2: step_add(b); break;
        case 3: step_remove(b); break;
        case 4: step_clear(b); break;
        case 5: step_toggle(b); break;
        case 6: step_merge(b); break;
        case 7: case 8: step_move(b); break;
        case 9: step_writer(); break;
        case 10: if (fenced || unit_below(4) == 0) step_fence(); break;
        case 11: case 12: case 13: case 14: step_flush(); break;
        case 15: crash(); break;
        case 16: each_file(write_back_some); break;
        case 17: check(); break;
        default: step_mark((unsigned)unit_below(SPOTS)); break;
        }
    }
    check();
    df_writer_free(&writer);
    df_disk_close(&disk);
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "random");
    tcase_add_loop_test(tc, test_random, 0, 20);
}

UNIT_MAIN("crash-model", add_cases)
