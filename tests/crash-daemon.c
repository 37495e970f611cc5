// SPDX-License-Identifier: BSD-3-Clause
/*
 * The daemon that tests/faults.py kills and breaks: dirtyferryd with --wrap
 * around the calls by which it gets from one step to the next.
 *
 * DF_CRASH=POINT   it kills itself there, as kill -9 would.  A POINT is
 *     ROLE:FROM>TO:WHEN[:N]   a step of the state table is written to the journal
 *     write:WHEN[:N]          whatever is written to the journal
 *     CALL:WHEN[:N]           one of the calls below: the keeper's, the receiver's, the disk's, a comparison's
 *     qmp:WHEN[:N]            something is said to QEMU
 * WHEN is `before` or `after`; N counts, from 1, and is 1 if it is not there.
 * So `before` is a step that nobody knows of, `after` one that is written down and
 * that nobody has been told of.
 *
 * DF_BREAK=FAULT   the engine is broken, see `faults`: the harness must notice.
 * DF_LIFE=N        the how many-th daemon of its host it is.
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bitmap/disk.h"
#include "daemon/comparison.h"
#include "qemu/qmp.h"
#include "session/dump.h"
#include "session/source.h"

int __real_journal_write(struct session *s, enum session_state state, struct df_error *err);
int __wrap_journal_write(struct session *s, enum session_state state, struct df_error *err);
int __real_journal_sync(const struct journal *j, int dirfd, struct df_error *err);
int __wrap_journal_sync(const struct journal *j, int dirfd, struct df_error *err);
int __real_still_write(const struct still *still, int dirfd, const char *name, struct df_error *err);
int __wrap_still_write(const struct still *still, int dirfd, const char *name, struct df_error *err);
int __real_map_merge(struct map *dst, const struct map *src);
int __wrap_map_merge(struct map *dst, const struct map *src);
int __real_map_write_scaled(struct map *dst, const struct geometry *to, const struct map *src, const struct geometry *from);
int __wrap_map_write_scaled(struct map *dst, const struct geometry *to, const struct map *src, const struct geometry *from);
int __real_txn_commit(struct txn *txn, struct df_error *err);
int __wrap_txn_commit(struct txn *txn, struct df_error *err);
int __real_disk_compare_set(struct df_disk *disk, const char *bitmap, const uint8_t *comparison, const struct disk_range *ranges, size_t n, struct df_error *err);
int __wrap_disk_compare_set(struct df_disk *disk, const char *bitmap, const uint8_t *comparison, const struct disk_range *ranges, size_t n, struct df_error *err);
int __real_comparison_write(int dirfd, const struct comparison *comparison, struct df_error *err);
int __wrap_comparison_write(int dirfd, const struct comparison *comparison, struct df_error *err);
int __real_df_bitmap_unlock(struct df_disk *disk, const char *name, const uint8_t *session, struct df_error *err);
int __wrap_df_bitmap_unlock(struct df_disk *disk, const char *name, const uint8_t *session, struct df_error *err);
int __real_df_disk_fence(struct df_disk *disk, struct df_error *err);
int __wrap_df_disk_fence(struct df_disk *disk, struct df_error *err);
int __real_df_disk_unfence(struct df_disk *disk, struct df_error *err);
int __wrap_df_disk_unfence(struct df_disk *disk, struct df_error *err);
int __real_qmp_call(struct qmp *qmp, const char *command, json_t *arguments, json_t **result, int timeout_ms, struct df_error *err);
int __wrap_qmp_call(struct qmp *qmp, const char *command, json_t *arguments, json_t **result, int timeout_ms, struct df_error *err);
int __real_qmp_transaction(struct qmp *qmp, json_t *actions, int timeout_ms, struct df_error *err);
int __wrap_qmp_transaction(struct qmp *qmp, json_t *actions, int timeout_ms, struct df_error *err);
int __real_unlinkat(int fd, const char *path, int flag);
int __wrap_unlinkat(int fd, const char *path, int flag);

/* -------------------------------------------------------------------- crash */

static void crash_at(const char *where, const char *when)
{
    static _Atomic unsigned seen;
    char point[128], line[192];
    unsigned n = 1;
    const char *wanted = getenv("DF_CRASH");
    size_t nbytes = (size_t)snprintf(point, sizeof point, "%s:%s", where, when);
    if (!wanted || strncmp(wanted, point, nbytes) || (wanted[nbytes] && sscanf(wanted + nbytes, ":%u", &n) != 1))
        return;
    if (atomic_fetch_add(&seen, 1) + 1 != n)
        return;
    int length = snprintf(line, sizeof line, "crash-daemon: dies at %s\n", wanted);
    ssize_t ignored = write(STDERR_FILENO, line, (size_t)length);
    (void)ignored;
    for (;;)
        kill(getpid(), SIGKILL);
}

/* A call that is a point of its own. */
#define CRASHES(name, call) \
    crash_at(name, "before"); \
    int r = call; \
    crash_at(name, "after"); \
    return r

/* ------------------------------------------------------------------- faults */

static bool fault_is(const char *name)
{
    const char *fault = getenv("DF_BREAK");
    return fault && !strcmp(fault, name);
}

static const char *const faults[] = {
    "journal",      /* that the source has pivoted is not written down */
    "unlock",       /* a restarted target forgets that its child records */
    "merge",        /* the child's bits are dropped */
    "extra",        /* the merge dirties granules that nobody wrote to */
    "tail",         /* what lies behind the source's end is not dirty on a larger target */
    "letgo",        /* the source drops its copy when the target has the bits, but is not operative */
    "fence",        /* the source's pivot does not stop writes */
    "unfence",      /* a way back leaves the source read-only */
    "dump",         /* dumps are never removed */
};

static void check_fault(void)
{
    static bool checked;
    const char *fault = getenv("DF_BREAK");
    bool known = checked || !fault;
    for (unsigned i = 0; i < sizeof faults / sizeof *faults && !known; i++)
        known = !strcmp(fault, faults[i]);
    if (!known) {
        fprintf(stderr, "crash-daemon: there is no fault '%s'\n", fault);
        _exit(2);
    }
    checked = true;
}

/* -------------------------------------------------------------------- wraps */

int __wrap_journal_write(struct session *s, enum session_state next, struct df_error *err)
{
    char step[96];
    check_fault();
    if (fault_is("journal") && s->state == SOURCE_FENCING && next == SOURCE_STREAMING)
        return 0;
    if (fault_is("letgo") && next == SOURCE_SEALED)
        source_discard(s);
    snprintf(step, sizeof step, "%s:%s>%s", role_name(s->role), state_name(s->state), state_name(next));
    crash_at(step, "before");
    crash_at("write", "before");
    int r = __real_journal_write(s, next, err);
    crash_at(step, "after");
    crash_at("write", "after");
    return r;
}

int __wrap_journal_sync(const struct journal *j, int dirfd, struct df_error *err)
{
    CRASHES("journal_sync", __real_journal_sync(j, dirfd, err));
}

int __wrap_still_write(const struct still *still, int dirfd, const char *name, struct df_error *err)
{
    CRASHES("still_write", __real_still_write(still, dirfd, name, err));
}

/* A bit of each word that has none: more than the guest's later writes can cover. */
static int dirty_clean_words(struct map *map)
{
    int r = 0;
    for (uint64_t word = 0; !r && word < map->nwords; word++)
        if (!map_has_block(map, word / MAP_BLOCK_WORDS, memory_order_relaxed) || !map_word(map, word))
            r = map_set(map, word * 64, 1);
    return r;
}

static int merge(struct map *dst, const struct map *src)
{
    if (fault_is("merge"))
        return 0;
    int r = __real_map_merge(dst, src);
    return r < 0 || !fault_is("extra") ? r : dirty_clean_words(dst);
}

int __wrap_map_merge(struct map *dst, const struct map *src)
{
    CRASHES("map_merge", merge(dst, src));
}

int __wrap_map_write_scaled(struct map *dst, const struct geometry *to, const struct map *src, const struct geometry *from)
{
    if (fault_is("tail")) {
        const struct geometry same = { from->size, to->granularity };
        return __real_map_write_scaled(dst, &same, src, from);
    }
    CRASHES("map_write_scaled", __real_map_write_scaled(dst, to, src, from));
}

int __wrap_txn_commit(struct txn *txn, struct df_error *err)
{
    CRASHES("txn_commit", __real_txn_commit(txn, err));
}

int __wrap_disk_compare_set(struct df_disk *disk, const char *bitmap, const uint8_t *comparison, const struct disk_range *ranges, size_t n, struct df_error *err)
{
    CRASHES("disk_compare_set", __real_disk_compare_set(disk, bitmap, comparison, ranges, n, err));
}

int __wrap_comparison_write(int dirfd, const struct comparison *comparison, struct df_error *err)
{
    CRASHES("comparison_write", __real_comparison_write(dirfd, comparison, err));
}

/* Not what the target's first life does, at the pivot. */
int __wrap_df_bitmap_unlock(struct df_disk *disk, const char *name, const uint8_t *session, struct df_error *err)
{
    const char *life = getenv("DF_LIFE");
    return fault_is("unlock") && life && strcmp(life, "1") ? 0 : __real_df_bitmap_unlock(disk, name, session, err);
}

int __wrap_df_disk_fence(struct df_disk *disk, struct df_error *err)
{
    return fault_is("fence") ? 0 : __real_df_disk_fence(disk, err);
}

int __wrap_df_disk_unfence(struct df_disk *disk, struct df_error *err)
{
    return fault_is("unfence") ? 0 : __real_df_disk_unfence(disk, err);
}

int __wrap_unlinkat(int fd, const char *path, int flag)
{
    return fault_is("dump") && strstr(path, ".dump") ? 0 : __real_unlinkat(fd, path, flag);
}

int __wrap_qmp_call(struct qmp *qmp, const char *command, json_t *arguments, json_t **result, int timeout_ms, struct df_error *err)
{
    CRASHES("qmp", __real_qmp_call(qmp, command, arguments, result, timeout_ms, err));
}

int __wrap_qmp_transaction(struct qmp *qmp, json_t *actions, int timeout_ms, struct df_error *err)
{
    CRASHES("qmp", __real_qmp_transaction(qmp, actions, timeout_ms, err));
}
