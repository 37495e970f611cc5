// SPDX-License-Identifier: BSD-3-Clause
/*
 * Several bitmaps of one disk against a model of one byte a bit: random writes
 * by df_disk_mark and by writers whose sections stay open over other calls,
 * random verbs, sessions, comparisons, fences.  What each call returns and what each
 * bitmap holds must be what the model says.
 */
#include "unit.h"

#include "bitmap/disk.h"

#define SIZE (200 * KiB + 333)
#define NBITMAPS 5
#define NWRITERS 3
#define NSTEPS 3000

static const uint8_t sessions[2][DF_SESSION_BYTES] = { "session one", "session two" };

struct model {
    bool exists, enabled;
    enum record_state state;
    unsigned shift, session;
    uint64_t nbits;
    uint8_t map[SIZE / 512 + 1], child[SIZE / 512 + 1];
};

static struct df_disk *disk, *disks[2];     /* two handles, as of two processes */
static struct model models[NBITMAPS];
static bool fenced;
static struct {
    struct df_writer *w;
    bool open;
    uint64_t offset, length;
} writers[NWRITERS];

static const char *name_of(const struct model *m)
{
    static char name[8];
    snprintf(name, sizeof name, "b%u", (unsigned)(m - models));
    return name;
}

/* What a write sets now; the fence refuses begin, not the marks of sections that are open. */
static void model_write(uint64_t offset, uint64_t length)
{
    for (struct model *m = models; m < models + NBITMAPS; m++) {
        if (!m->exists || !m->enabled || m->state == RECORD_LOCKED)
            continue;
        uint8_t *bits = m->state == RECORD_FROZEN ? m->child : m->map;
        for (uint64_t i = offset >> m->shift; i <= (offset + length - 1) >> m->shift; i++)
            bits[i] = 1;
    }
}

static void some_range(uint64_t *offset, uint64_t *length)
{
    *offset = unit_below(SIZE);
    *length = 1 + unit_below(unit_below(4) ? 2000 : SIZE);
    if (*length > SIZE - *offset)
        *length = SIZE - *offset;
}

/* ------------------------------------------------------------------ writes */

static void step_mark(void)
{
    uint64_t offset, length;
    some_range(&offset, &length);
    ck_assert_int_eq(df_disk_mark(disk, offset, length, NULL), fenced ? -EROFS : 0);
    if (!fenced)
        model_write(offset, length);
}

static void step_writer(void)
{
    unsigned i = (unsigned)unit_below(NWRITERS);
    if (writers[i].open) {
        df_write_end(writers[i].w);
        model_write(writers[i].offset, writers[i].length);
        writers[i].open = false;
        return;
    }
    some_range(&writers[i].offset, &writers[i].length);
    ck_assert_int_eq(df_write_begin(writers[i].w, writers[i].offset, writers[i].length), fenced ? -EROFS : 0);
    if (fenced)
        return;
    writers[i].open = true;
    model_write(writers[i].offset, writers[i].length);
}

/* ------------------------------------------------------------------- verbs */

/* What the verbs of users return. */
static int expect(const struct model *m, bool needs_writable)
{
    if (!m->exists)
        return -ENOENT;
    if (m->state != RECORD_IDLE)
        return -EBUSY;
    return fenced && needs_writable ? -EROFS : 0;
}

static void model_add(struct model *m, unsigned shift, bool disabled, enum record_state state)
{
    *m = (struct model){ .exists = true, .enabled = !disabled, .state = state, .shift = shift, .nbits = ((SIZE - 1) >> shift) + 1 };
}

static void step_verb(struct model *m)
{
    unsigned shift = 9 + (unsigned)unit_below(9), disabled = unit_below(3) == 0 ? DF_BITMAP_DISABLED : 0;
    int r = expect(m, true);
    switch (unit_below(5)) {
    case 0:
        ck_assert_int_eq(df_bitmap_add(disk, name_of(m), UINT32_C(1) << shift, disabled, NULL), m->exists ? -EEXIST : 0);
        if (!m->exists)
            model_add(m, shift, disabled, RECORD_IDLE);
        break;
    case 1:
        if (unit_below(3))
            break;
        r = expect(m, false);
        ck_assert_int_eq(df_bitmap_remove(disk, name_of(m), NULL), r);
        if (!r)
            m->exists = false;
        break;
    case 2:
        ck_assert_int_eq(df_bitmap_clear(disk, name_of(m), NULL), r);
        if (!r)
            memset(m->map, 0, sizeof m->map);
        break;
    case 3:
        ck_assert_int_eq(df_bitmap_enable(disk, name_of(m), NULL), r);
        m->enabled |= !r;
        break;
    case 4:
        ck_assert_int_eq(df_bitmap_disable(disk, name_of(m), NULL), r);
        m->enabled &= !!r;
        break;
    }
}

static void step_merge(struct model *to, const struct model *from)
{
    char source[8];
    snprintf(source, sizeof source, "b%u", (unsigned)(from - models));
    int r = expect(from, false);
    if (!r)
        r = expect(to, true);
    ck_assert_int_eq(df_bitmap_merge(disk, name_of(to), disks[unit_below(2)], source, NULL), r);
    for (uint64_t i = 0; !r && i < from->nbits; i++)
        for (uint64_t byte = i << from->shift; from->map[i] && byte < (i + 1) << from->shift && byte < SIZE; byte += 512)
            to->map[byte >> to->shift] = 1;
}

/* ---------------------------------------------------------------- sessions */

static void model_freeze(struct model *m, bool locked)
{
    m->state = locked ? RECORD_LOCKED : RECORD_FROZEN;
    memset(m->child, 0, sizeof m->child);
}

/* From a session of the bitmap's own: one step along the way, or its end. */
static void step_on(struct model *m, const uint8_t *session)
{
    const char *name = name_of(m);
    if (m->state == RECORD_TAKEN) {
        OK(df_bitmap_give_back(disk, name, session, &unit_err));
        m->state = RECORD_IDLE;
        return;
    }
    switch (unit_below(4)) {
    case 0:
        OK(df_bitmap_unlock(disk, name, session, &unit_err));
        m->state = RECORD_FROZEN;
        break;
    case 1:
        OK(df_bitmap_reclaim(disk, name, session, &unit_err));
        for (uint64_t i = 0; i < m->nbits; i++)
            m->map[i] |= m->child[i];
        m->state = RECORD_IDLE;
        break;
    case 2:
        OK(df_bitmap_abdicate(disk, name, session, &unit_err));
        memcpy(m->map, m->child, sizeof m->map);
        m->state = RECORD_IDLE;
        break;
    case 3:
        if (unit_below(3))
            break;
        OK(df_bitmap_discard(disk, name, session, &unit_err));
        m->exists = false;
    }
}

/* What a comparison does with its bitmap. */
static void step_compared(struct model *m, const uint8_t *comparison)
{
    struct disk_range stretch;
    bool inconsistent;
    switch (unit_below(4)) {
    case 0:
        OK(disk_compare_complete(disk, name_of(m), comparison, &inconsistent, &unit_err));
        ck_assert(!inconsistent);
        m->state = RECORD_IDLE;
        break;
    case 1:
        OK(disk_compare_cancel(disk, name_of(m), comparison, &unit_err));
        m->state = RECORD_IDLE;
        break;
    default:
        some_range(&stretch.offset, &stretch.length);
        OK(disk_compare_set(disk, name_of(m), comparison, &stretch, 1, &unit_err));
        for (uint64_t i = stretch.offset >> m->shift; i <= (stretch.offset + stretch.length - 1) >> m->shift; i++)
            m->map[i] = 1;
    }
}

static void step_session(struct model *m)
{
    unsigned s = (unsigned)unit_below(2), shift = 9 + (unsigned)unit_below(9);
    const char *name = name_of(m);
    if (!m->exists) {
        int r = df_bitmap_add_frozen(disk, name, UINT32_C(1) << shift, 0, sessions[s], NULL);
        ck_assert_int_eq(r, fenced ? -EROFS : 0);
        if (!r) {
            model_add(m, shift, false, RECORD_LOCKED);
            m->session = s;
        }
        return;
    }
    if (m->state != RECORD_IDLE) {
        if (m->session == s)
            (m->state == RECORD_COMPARED ? step_compared : step_on)(m, sessions[s]);
        else
            FAILS(-EBUSY, df_bitmap_reclaim(disk, name, sessions[s], &unit_err));
        return;
    }
    int expected = expect(m, true);
    bool locked = unit_below(2);
    m->session = s;
    if (unit_below(3) == 0) {
        if (!expected && !m->enabled)
            expected = -EINVAL;
        ck_assert_int_eq(disk_compare_begin(disk, name, sessions[s], NULL), expected);
        if (!expected)
            m->state = RECORD_COMPARED;
    } else if (unit_below(2)) {
        ck_assert_int_eq(df_bitmap_take(disk, name, sessions[s], NULL), expected);
        if (!expected)
            m->state = RECORD_TAKEN;
    } else {
        ck_assert_int_eq(df_bitmap_freeze(disk, name, sessions[s], locked, NULL), expected);
        if (!expected)
            model_freeze(m, locked);
    }
}

static void step_fence(void)
{
    unsigned open = 0;
    for (unsigned i = 0; i < NWRITERS; i++)
        open += writers[i].open;
    ck_assert_uint_eq(df_disk_open_sections(disk), open);
    if (fenced || unit_below(4) == 0) {
        fenced = !fenced;
        if (fenced)
            OK(df_disk_fence(disk, &unit_err));
        else
            OK(df_disk_unfence(disk, &unit_err));
    }
    ck_assert_int_eq(df_disk_is_readonly(disk), fenced);
}

/* -------------------------------------------------------------- comparison */

static void check_contents(const struct model *m)
{
    struct df_bitmap *bitmap = NULL;
    uint64_t count = 0, start, length;
    OK(df_bitmap_open(disk, name_of(m), &bitmap, &unit_err));
    for (uint64_t i = 0; i < m->nbits; i++) {
        count += m->map[i];
        ck_assert_msg(df_bitmap_test(bitmap, i << m->shift) == m->map[i], "bit %" PRIu64 " of %s is not %u", i, name_of(m), m->map[i]);
    }
    ck_assert_uint_eq(df_bitmap_count(bitmap), count << m->shift);
    /* Dirty and clean stretches take turns and cover the disk. */
    for (uint64_t at = unit_below(SIZE); at < SIZE; at = start + length) {
        bool dirty = m->map[at >> m->shift];
        ck_assert(dirty ? df_bitmap_next_dirty(bitmap, at, &start, &length) : df_bitmap_next_clean(bitmap, at, &start, &length));
        ck_assert_uint_eq(start, at);
        for (uint64_t i = at >> m->shift; i <= (start + length - 1) >> m->shift; i++)
            ck_assert_int_eq(m->map[i], dirty);
        ck_assert(start + length == SIZE || m->map[(start + length) >> m->shift] != dirty);
    }
    df_bitmap_close(&bitmap);
}

static void check_bitmap(const struct model *m)
{
    struct df_bitmap_info info;
    int r = df_bitmap_get_info(disk, name_of(m), &info, NULL);
    ck_assert_int_eq(r, m->exists ? 0 : -ENOENT);
    if (r < 0)
        return;
    ck_assert_uint_eq(info.granularity, UINT32_C(1) << m->shift);
    ck_assert_uint_eq(info.nbits, m->nbits);
    ck_assert_int_eq(info.enabled, m->enabled);
    ck_assert_int_eq(info.busy, m->state != RECORD_IDLE);
    ck_assert_int_eq(info.frozen, m->state == RECORD_LOCKED || m->state == RECORD_FROZEN);
    ck_assert_int_eq(info.recording, m->enabled && !fenced && m->state != RECORD_LOCKED);
    ck_assert_int_eq(info.readonly, fenced);
    ck_assert(!info.inconsistent);
    if (m->state == RECORD_IDLE) {
        check_contents(m);
        return;
    }
    struct map_ref *ref = NULL;
    if (m->state == RECORD_COMPARED)
        OK(disk_peek_map(disk, name_of(m), &ref));
    else
        OK(disk_get_map(disk, name_of(m), sessions[m->session], &ref, &unit_err));
    for (uint64_t i = 0; i < m->nbits; i++)
        ck_assert_int_eq(map_test(ref->map, i), m->map[i]);
    disk_put_map(disk, &ref);
}

START_TEST(test_model)
{
    unit_state += (uint64_t)_i;
    OK(df_disk_create(unit_dir, "vda", SIZE, &unit_err));
    for (unsigned i = 0; i < 2; i++)
        OK(df_disk_open(unit_dir, "vda", &disks[i], &unit_err));
    for (unsigned i = 0; i < NWRITERS; i++)
        OK(df_writer_new(disks[i % 2], &writers[i].w, &unit_err));
    for (unsigned step = 0; step < NSTEPS; step++) {
        struct model *m = &models[unit_below(NBITMAPS)];
        disk = disks[unit_below(2)];
        switch (unit_below(10)) {
        case 0: case 1: step_mark(); break;
        case 2: case 3: case 4: step_writer(); break;
        case 5: case 6: step_verb(m); break;
        case 7: step_merge(m, &models[unit_below(NBITMAPS)]); break;
        case 8: step_session(m); break;
        case 9: step_fence(); break;
        }
        check_bitmap(m);
        if (step % 100 == 99)
            for (m = models; m < models + NBITMAPS; m++)
                check_bitmap(m);
    }
    for (unsigned i = 0; i < NWRITERS; i++)
        df_writer_free(&writers[i].w);
    for (unsigned i = 0; i < 2; i++)
        df_disk_close(&disks[i]);
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "model");
    tcase_add_loop_test(tc, test_model, 0, 4);
}

UNIT_MAIN("model", add_cases)
