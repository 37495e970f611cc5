// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a comparison does with its bitmap and its file.
 *
 *     begin    file, at 0 - bitmap COMPARED - reply
 *     report   bits - file, at the new position - reply
 *     the last also: bitmap IDLE - file, complete - reply
 *     cancel   bitmap IDLE - file, cancelled - reply
 *
 * A daemon that is killed in between finds
 *  - a file at 0 and a bitmap that is not its own: nobody was told, it is forgotten
 *  - bits without a position: they are reported once more
 *  - all compared, the bitmap its own: it is completed; that of QEMU when somebody asks
 *  - all compared, the bitmap not its own: it was completed
 *  - else a bitmap that is not its own: it was cancelled
 *
 * After a restart of the host nothing of it is certain: all is compared again.
 * If its file cannot say so, it has none; the next daemon cancels it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"
#include "bitmap/disk.h"
#include "daemon/comparison.h"
#include "qemu/attach.h"

/* Is the bitmap this comparison's?  *info is filled then. */
static bool is_ours(struct df_disk *disk, const struct comparison *c, struct df_bitmap_info *info)
{
    return df_bitmap_get_info(disk, c->bitmap, info, NULL) == 0 && info->compared && !memcmp(info->session, c->uuid, UUID_BYTES);
}

/* The state has changed already: a file that does not say so is understood (see above). */
static void note(int dirfd, const struct comparison *c)
{
    struct df_error err;
    if (comparison_write(dirfd, c, &err) < 0)
        log_warning("%s", err.message);
}

/* The bitmap is what it was, with some more bits; what QEMU has is not looked at. */
static int give_up(struct df_disk *disk, struct comparison *c, struct df_error *err)
{
    int r = disk_compare_cancel(disk, c->bitmap, c->uuid, err);
    if (r < 0)
        return r;
    comparison_drop_staged(disk, c);
    return 0;
}

static void note_cancelled(int dirfd, struct comparison *c)
{
    c->state = COMPARISON_CANCELLED;
    note(dirfd, c);
}

/* ------------------------------------------------------------------ begin */

int work_is_qemu(const struct engine *engine, const struct comparison *c, struct df_error *err)
{
    struct qemu_attachment qemu;
    return qemu_attachment(engine->state_dir, c->disk, &qemu, err);
}

/* From 0, of a bitmap that is there. */
static int begin_bitmap(int dirfd, struct df_disk *disk, struct comparison *c, struct df_error *err)
{
    struct df_bitmap_info info;
    int r = df_bitmap_get_info(disk, c->bitmap, &info, err);
    if (r < 0)
        return r;
    c->state = COMPARISON_COMPARING;
    c->size = df_disk_size(disk);
    c->granularity = info.granularity;
    c->position = c->different = c->unread = 0;
    c->filled = c->inconsistent = false;
    r = comparison_write(dirfd, c, err);
    if (!r && (r = disk_compare_begin(disk, c->bitmap, c->uuid, err)) < 0)
        comparison_remove(dirfd, c);
    return r;
}

static int begin_new(const struct engine *engine, int dirfd, struct df_disk *disk, struct comparison *c, struct df_error *err)
{
    struct comparison fresh = *c;
    uuid_generate(fresh.uuid);
    int r = fresh.qemu ? comparison_stage(engine, disk, &fresh, err) : 0;
    if (!r)
        r = begin_bitmap(dirfd, disk, &fresh, err);
    if (r < 0)
        return r;
    *c = fresh;
    return c->qemu ? comparison_watch(engine, c, false, err) : 0;
}

int work_begin(const struct engine *engine, int dirfd, bool goes_on, struct comparison *c, struct df_error *err)
{
    CLEANUP(df_disk_close) struct df_disk *disk = NULL;
    struct df_bitmap_info info;
    int r = work_is_qemu(engine, c, err);
    if (r < 0)
        return r;
    c->qemu = r;
    r = df_disk_open(engine->state_dir, c->disk, &disk, err);
    if (r < 0)
        return r;
    if (goes_on && is_ours(disk, c, &info)) {
        r = c->qemu ? comparison_watch(engine, c, true, err) : 0;
        if (r != -ENODATA)
            return r;
        r = give_up(disk, c, err);
        if (r < 0)
            return r;
        note_cancelled(dirfd, c);
    }
    return begin_new(engine, dirfd, disk, c, err);
}

/* ----------------------------------------------------------------- report */

static int bad(const struct comparison *c, struct df_error *err, const char *why)
{
    return error_set(err, -EINVAL, "a report on bitmap '%s' of disk '%s', of which %" PRIu64 " bytes were compared, %s", c->bitmap, c->disk, c->position, why);
}

/* The ranges of a report, in order and within what it is about. */
static int take_ranges(const struct comparison *c, const node *report, struct disk_range *ranges, size_t *n, struct df_error *err)
{
    size_t count;
    const node *numbers = node_list(report, "extents", &count);
    uint64_t from = node_u64(report, "offset", 0), length = node_u64(report, "length", 0);
    if (from > c->position)
        return bad(c, err, "begins behind them");
    if (length > c->size - from || ((from + length) % c->granularity && from + length != c->size))
        return bad(c, err, "ends within a granule or behind the disk");
    if (count % 2)
        return bad(c, err, "has an extent without a length");
    for (size_t i = 0; i < count; i += 2) {
        uint64_t start = numbers[i].via.u64, nbytes = numbers[i + 1].via.u64, end = node_u64(report, "offset", 0) + length;
        if (start < from || start > end || !nbytes || nbytes > end - start)
            return bad(c, err, "has an extent that is not in it, or not in order");
        ranges[i / 2] = (struct disk_range){ start, nbytes };
        from = start + nbytes;
    }
    *n = count / 2;
    return 0;
}

static uint64_t count_behind(const struct disk_range *ranges, size_t n, uint64_t position)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t end = ranges[i].offset + ranges[i].length;
        if (end > position)
            sum += end - (ranges[i].offset > position ? ranges[i].offset : position);
    }
    return sum;
}

static int complete(int dirfd, struct df_disk *disk, struct comparison *c, struct df_error *err)
{
    int r = disk_compare_complete(disk, c->bitmap, c->uuid, &c->inconsistent, err);
    if (r < 0)
        return r;
    comparison_drop_staged(disk, c);
    c->state = COMPARISON_COMPLETE;
    note(dirfd, c);
    return 0;
}

/* All of the disk was reported. */
static int finish(const struct engine *engine, int dirfd, struct df_disk *disk, struct comparison *c, struct df_error *err)
{
    struct df_error why;
    int r = c->qemu ? comparison_fill(engine, dirfd, c, &why) : 0;
    if (!r)
        return complete(dirfd, disk, c, err);
    if (r == -ENODATA && give_up(disk, c, err) == 0) {
        note_cancelled(dirfd, c);
        r = -ECANCELED;
    }
    return error_set(err, r, "%s", why.message);
}

int work_report(const struct engine *engine, int dirfd, const node *report, struct comparison *c, struct df_error *err)
{
    CLEANUP(df_disk_close) struct df_disk *disk = NULL;
    struct disk_range ranges[WIRE_EXTENT_NUMBERS / 2];
    struct comparison next = *c;
    uint64_t end = node_u64(report, "offset", 0) + node_u64(report, "length", 0), unread = node_u64(report, "unread", 0);
    size_t n = 0;
    if (c->state == COMPARISON_COMPLETE)
        return 0;
    if (c->state == COMPARISON_CANCELLED)
        return error_set(err, -ECANCELED, "the comparison of bitmap '%s' of disk '%s' was cancelled: begin again", c->bitmap, c->disk);
    int r = take_ranges(c, report, ranges, &n, err);
    if (!r)
        r = df_disk_open(engine->state_dir, c->disk, &disk, err);
    if (!r)
        r = disk_compare_set(disk, c->bitmap, c->uuid, ranges, n, err);
    if (r < 0)
        return r;
    next.different += count_behind(ranges, n, c->position);
    next.position = end > c->position ? end : c->position;
    next.unread = unread > c->unread ? unread : c->unread;
    r = comparison_write(dirfd, &next, err);
    if (r < 0)
        return r;
    *c = next;
    return c->position == c->size ? finish(engine, dirfd, disk, c, err) : 0;
}

/* ----------------------------------------------------------------- cancel */

static bool is_gone(int r)
{
    return r == -ENOENT || r == -EPROTO;
}

int work_cancel(const struct engine *engine, int dirfd, struct comparison *c, struct df_error *err)
{
    CLEANUP(df_disk_close) struct df_disk *disk = NULL;
    struct df_error why;
    if (c->state == COMPARISON_CANCELLED)
        return 0;
    if (c->state == COMPARISON_COMPLETE)
        return error_set(err, -EPERM, "the comparison of bitmap '%s' of disk '%s' is complete: there is nothing to cancel", c->bitmap, c->disk);
    int r = df_disk_open(engine->state_dir, c->disk, &disk, &why);
    if (!r && (r = comparison_withdraw(engine, c, err)) < 0)
        return r;
    if (!r)
        r = give_up(disk, c, &why);
    if (r < 0 && !is_gone(r))
        return error_set(err, r, "%s", why.message);
    note_cancelled(dirfd, c);
    return 0;
}

/* ---------------------------------------------------------------- recover */

/*
 * By another name: a report of what was read before the restart, which may come
 * as late as it likes, is about nothing then.  Killed behind the cancel, what is
 * found is at 0 and has no bitmap: it is forgotten.
 */
static int rename_begun(const struct engine *engine, int dirfd, struct df_disk *disk, const struct comparison *c, struct comparison *old, struct df_error *err)
{
    int r = disk_compare_cancel(disk, c->bitmap, c->uuid, err);
    if (!r)
        r = begin_new(engine, dirfd, disk, old, err);
    comparison_remove(dirfd, c);
    return r;
}

/* One of QEMU keeps its name, by which QEMU's record of the writes is found; where that is lost it ends (comparisonqemu.c). */
static void begin_again(const struct engine *engine, int dirfd, struct df_disk *disk, struct comparison *c)
{
    struct df_error err;
    struct comparison old = *c;
    old.position = old.different = old.unread = 0;
    old.filled = false;
    int r = comparison_write(dirfd, &old, &err);
    if (!r)
        r = c->qemu ? disk_compare_begin(disk, c->bitmap, c->uuid, &err) : rename_begun(engine, dirfd, disk, c, &old, &err);
    if (r < 0) {
        log_error("%s", err.message);
        disk_compare_cancel(disk, c->bitmap, c->uuid, NULL);
        c->state = COMPARISON_CANCELLED;
        note(dirfd, c);
        return;
    }
    *c = old;
}

static bool recover_ours(const struct engine *engine, int dirfd, struct df_disk *disk, struct comparison *c)
{
    struct df_error err;
    if (engine->rebooted)
        begin_again(engine, dirfd, disk, c);
    else if (c->position == c->size && !c->qemu && complete(dirfd, disk, c, &err) < 0)
        log_error("%s", err.message);
    return true;
}

bool work_recover(const struct engine *engine, int dirfd, struct comparison *c)
{
    CLEANUP(df_disk_close) struct df_disk *disk = NULL;
    struct df_bitmap_info info = { .inconsistent = false };
    struct df_error err;
    int r = df_disk_open(engine->state_dir, c->disk, &disk, &err);
    if (!r)
        r = df_bitmap_get_info(disk, c->bitmap, &info, &err);
    if (r == -ENOENT && disk && c->qemu)    /* what is staged goes with the end */
        r = 0;
    bool forgotten = is_gone(r) || (!r && df_disk_size(disk) != c->size);
    if (r < 0 && !forgotten)
        log_error("%s", err.message);
    if (!r && !forgotten && c->state == COMPARISON_COMPARING) {
        if (is_ours(disk, c, &info))
            return recover_ours(engine, dirfd, disk, c);
        forgotten = !c->position;
        c->state = c->position == c->size ? COMPARISON_COMPLETE : COMPARISON_CANCELLED;
        c->inconsistent = c->state == COMPARISON_COMPLETE && info.inconsistent;
        if (!forgotten)
            note(dirfd, c);
    }
    if (forgotten)
        comparison_remove(dirfd, c);
    return !forgotten;
}
