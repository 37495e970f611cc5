// SPDX-License-Identifier: BSD-3-Clause
/*
 * Comparisons: a disk is compared with a backup, and what differs is set in one
 * of its bitmaps, which records meanwhile (bitmap/compare.c).
 *
 *     dirtyferry bitmap diff   reads both, with the rights of its user
 *       | diff, diff-report, diff-cancel
 *     control thread           which comparisons there are; replies, events
 *       | chores, one at a time; those of disks of QEMU apart, one at a time too
 *     keeper's thread          bits, then the file of the comparison, then the reply
 *     hands                    the same for disks of QEMU, which may hang
 *
 * A comparison is under way until all of the disk is reported or somebody
 * cancels it, whoever dies meanwhile.  One that is over is remembered until the
 * next of its bitmap begins, for who asks again for his last reply.
 *
 * comparisonfile.c is the file of a comparison, comparisonevents.c what others
 * see of it, comparisonwork.c what the keeper does, comparisonqemu.c what is done
 * in QEMU, comparisons.c all that is the control thread's.
 */
#ifndef DAEMON_COMPARISON_H
#define DAEMON_COMPARISON_H

#include "session/session.h"

#define COMPARISONS_MAX         256     /* under way and over */
#define COMPARISON_AGAINST_MAX  4095u   /* bytes */
#define COMPARISON_STAMP_MAX    255u

enum comparison_state { COMPARISON_COMPARING, COMPARISON_COMPLETE, COMPARISON_CANCELLED };

/* What is kept of a comparison. */
struct comparison {
    uint8_t uuid[UUID_BYTES];
    enum comparison_state state;
    char disk[DF_DISK_NAME_MAX + 1], bitmap[DF_BITMAP_NAME_MAX + 1];
    char against[COMPARISON_AGAINST_MAX + 1];   /* the backup, for people */
    char stamp[COMPARISON_STAMP_MAX + 1];       /* tells one input from another of that name; of who compares */
    uint64_t size, granularity;
    uint64_t position;                          /* what lies before was compared, and its bits are set */
    uint64_t different, unread;                 /* bytes of disk before it that differ; that could not be read */
    bool qemu;                                  /* the bitmap is QEMU's (comparisonqemu.c) ... */
    bool filled;                                /* ... and has all that differs */
    bool inconsistent;                          /* complete, but a write of that time could not be recorded */
};

const char *comparison_state_name(enum comparison_state state);

/* ---- comparisonevents.c */

void comparison_put(struct out *out, const struct comparison *comparison);
/* `what`: state, progress or snapshot. */
void comparison_publish(void *events, const struct comparison *comparison, const char *what, uint64_t seq);

/* ---- comparisonfile.c: STATE/comparisons/UUID, private to this daemon and this host */

/* The file is replaced as a whole: a killed process leaves the old one or the new one. */
int comparison_write(int dirfd, const struct comparison *comparison, struct df_error *err);
/* The fields of a file that replies and events have too. */
void comparison_put_fields(struct out *out, const struct comparison *comparison);
void comparison_remove(int dirfd, const struct comparison *comparison);
/* -EPROTO: it is none, or makes no sense. */
int comparison_decode(const uint8_t *bytes, size_t nbytes, struct comparison *comparison, struct df_error *err);
/*
 * Call `each` for every readable one.  Others are removed: what was not synced
 * before a host crash may be torn.  One that is not private (base/files.h) is an error.
 */
typedef int comparison_found(void *opaque, const struct comparison *comparison);
int comparison_each(int dirfd, comparison_found *each, void *opaque, struct df_error *err);

/* ---- comparisonqemu.c: visits to QEMU, which may take long */

/* The bitmap, if it may be filled, is staged in `disk`, idle and without bits. */
int comparison_stage(const struct engine *engine, struct df_disk *disk, const struct comparison *comparison, struct df_error *err);
/* QEMU records the writes for this comparison; where it `goes_on`, has done so since it began, else -ENODATA. */
int comparison_watch(const struct engine *engine, const struct comparison *comparison, bool goes_on, struct df_error *err);
/* The bitmap gets all that differs, and nothing else of us is in QEMU.  -ENODATA: writes were lost. */
int comparison_fill(const struct engine *engine, int dirfd, struct comparison *comparison, struct df_error *err);
/* These two do nothing for other disks. */
int comparison_withdraw(const struct engine *engine, const struct comparison *comparison, struct df_error *err);
void comparison_drop_staged(struct df_disk *disk, const struct comparison *comparison);

/* ---- comparisonwork.c: on the keeper's thread or a hand, or before there are any */

/*
 * Each changes *c in step with its file, also where it fails half way.
 * work_begin: *c has names, against and stamp; `goes_on`: it is one that is under
 * way.  It may be another one then, which takes its place.  A new one that fails
 * is under way nevertheless if it has a size.
 */
/* Is the disk QEMU's?  1, 0 or an error. */
int work_is_qemu(const struct engine *engine, const struct comparison *c, struct df_error *err);
int work_begin(const struct engine *engine, int dirfd, bool goes_on, struct comparison *c, struct df_error *err);
int work_report(const struct engine *engine, int dirfd, const node *report, struct comparison *c, struct df_error *err);
int work_cancel(const struct engine *engine, int dirfd, struct comparison *c, struct df_error *err);
/* After a start of the daemon.  False: nothing is left to remember. */
bool work_recover(const struct engine *engine, int dirfd, struct comparison *c);

/* ---- comparisons.c */

struct comparisons;

/* Finds those of an earlier daemon.  The engine's threads run. */
int comparisons_start(struct engine *engine, struct comparisons **comparisons, struct df_error *err);
/* When the keeper and the hands have stopped. */
void comparisons_stop(struct comparisons **comparisons);
/* False if the request is none of comparisons. */
bool comparisons_request(struct comparisons *comparisons, struct request *request);
/* Publishes what time demands.  Returns when it wants to be called again (clock_ms). */
int64_t comparisons_tick(struct comparisons *comparisons);
/* Is it under way? */
bool comparisons_know(const struct comparisons *comparisons, const uint8_t uuid[UUID_BYTES]);

#endif
