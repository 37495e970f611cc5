// SPDX-License-Identifier: BSD-3-Clause
/*
 * The directory of certificates: read as a whole into a new list, which takes the
 * place of the old one under the lock; then the two are compared, for the log and
 * for those who are not let in any more.
 *
 * Nothing is missed: the watch is there before the directory is read, and what is
 * read is the directory that is watched (same device and inode); whatever happens
 * in it later makes the descriptor readable.  Files are not told apart: any event,
 * also one that says that events were lost, reads all of them again.
 *
 * `lock` guards `list` alone, and is held for a look-up or an exchange of lists.
 * The rest belongs to the thread that watches.
 */
#include "net/allowlist.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"

struct allow {
    char *dir;
    int watch;                      /* inotify; -1: the directory is gone */
    struct stat watched;            /* device and inode of the directory */
    struct allow_texts refusals;    /* sentences about files that are not taken, as the log has them */
    pthread_mutex_t lock;
    struct allow_list list;
};

/* ------------------------------------------------------------- reading */

/* All or nothing: the two are empty after a failure. */
static int read_directory(const struct allow *allow, struct allow_list *list, struct allow_texts *refusals, struct df_error *err)
{
    struct stat st;
    CLEANUP(cleanup_fd) int fd = open(allow->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_errno(err, -errno, "cannot open allow directory '%s'", allow->dir);
    if (st.st_dev != allow->watched.st_dev || st.st_ino != allow->watched.st_ino)
        return error_set(err, -ESTALE, "allow directory '%s' was replaced while it was read", allow->dir);
    int r = keys_check_access(&st, S_IWGRP | S_IWOTH, "allow directory", allow->dir, "let themselves in", err);
    if (r < 0)
        return r;
    r = allow_list_read(fd, list, refusals);
    if (r < 0) {
        allow_list_clear(list);
        allow_texts_clear(refusals);
        return error_errno(err, r, "cannot read allow directory '%s'", allow->dir);
    }
    return 0;
}

/* --------------------------------------------------------------- watch */

static void watch_end(struct allow *allow)
{
    if (allow->watch >= 0)
        close(steal_fd(&allow->watch));
}

/* read_directory() finds out if the path led elsewhere meanwhile. */
static int watch_begin(struct allow *allow, struct df_error *err)
{
    const uint32_t events = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB | IN_CREATE |
                            IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
    CLEANUP(cleanup_fd) int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (fd < 0)
        return error_errno(err, -errno, "cannot watch allow directory '%s'", allow->dir);
    if (stat(allow->dir, &allow->watched) < 0 || inotify_add_watch(fd, allow->dir, events) < 0) {
        int code = -errno;
        return code == -ENOSPC ? error_set(err, code, "cannot watch allow directory '%s': too many watches, raise fs.inotify.max_user_watches", allow->dir)
                               : error_errno(err, code, "cannot open allow directory '%s'", allow->dir);
    }
    allow->watch = steal_fd(&fd);
    return 0;
}

/* Takes all events; what they say, together.  0: there is none. */
static uint32_t watch_drain(const struct allow *allow)
{
    _Alignas(struct inotify_event) char events[4096];
    const struct inotify_event *event;
    uint32_t all = 0;
    for (ssize_t n; (n = read(allow->watch, events, sizeof events)) > 0 || (n < 0 && errno == EINTR);)
        for (ssize_t at = 0; at < n; at += (ssize_t)(sizeof *event + event->len)) {
            event = (const struct inotify_event *)(events + at);
            all |= event->mask;
        }
    return all;
}

/*
 * Does the path lead elsewhere now?  A new directory may have the inode's number of
 * the one that was removed: then the events tell, unless they were lost.
 */
static bool watch_is_stale(const struct allow *allow, uint32_t events)
{
    struct stat st;
    return events & (IN_IGNORED | IN_Q_OVERFLOW) || stat(allow->dir, &st) < 0 || st.st_dev != allow->watched.st_dev || st.st_ino != allow->watched.st_ino;
}

/* ----------------------------------------------------- what has changed */

static const char *roles_text(unsigned roles, char text[KEY_ROLES_BYTES])
{
    return roles ? key_roles_format(roles, text) : "no role";
}

static bool log_change(const struct allow_entry *before, const struct allow_entry *now)
{
    char old[KEY_ROLES_BYTES], new[KEY_ROLES_BYTES];
    bool renamed = strcmp(before->name, now->name) != 0;
    bool other_roles = before->certificate.roles != now->certificate.roles;
    if (renamed)
        log_info("key '%s' (%s) is called '%s' now", before->name, now->certificate.public_key, now->name);
    if (other_roles)
        log_info("key '%s' (%s) changed: %s, before: %s", now->name, now->certificate.public_key,
                 roles_text(now->certificate.roles, new), roles_text(before->certificate.roles, old));
    return renamed || other_roles;
}

static void log_entry(const char *what, const struct allow_entry *entry)
{
    char text[KEY_ROLES_BYTES];
    log_info("key '%s' (%s) %s: %s", entry->name, entry->certificate.public_key, what, roles_text(entry->certificate.roles, text));
}

/* True: something is different.  Both are sorted. */
static bool log_changes(const struct allow_list *before, const struct allow_list *now)
{
    bool changed = false;
    for (size_t i = 0, j = 0; i < before->n || j < now->n;) {
        int order = i == before->n ? 1 : j == now->n ? -1 : allow_compare_entries(&before->entries[i], &now->entries[j]);
        if (order < 0)
            log_entry("removed", &before->entries[i]);
        else if (order > 0)
            log_entry("added", &now->entries[j]);
        changed |= order ? true : log_change(&before->entries[i], &now->entries[j]);
        i += order <= 0;
        j += order >= 0;
    }
    return changed;
}

/* What was said before is not said again. */
static void log_refusals(const char *dir, const struct allow_texts *before, const struct allow_texts *now)
{
    for (size_t i = 0; i < now->n; i++)
        if (!before->n || !bsearch(&now->at[i], before->at, before->n, sizeof *before->at, allow_compare_texts))
            log_warning("allow directory '%s': %s", dir, now->at[i]);
}

static void tell_gone(const struct allow_list *before, const struct allow_list *now, void (*gone)(void *opaque, const char *public_key), void *opaque)
{
    for (size_t i = 0; i < before->n; i++) {
        const struct certificate *old = &before->entries[i].certificate;
        const struct allow_entry *new = allow_list_find(now, old->public_key);
        if (!new || old->roles & ~new->certificate.roles)
            gone(opaque, old->public_key);
    }
}

/* ---------------------------------------------------------------- calls */

/* The old list is handed back.  Only this thread changes it, so it may read it without the lock. */
static struct allow_list exchange(struct allow *allow, struct allow_list now)
{
    LOCK_SCOPE(&allow->lock);
    struct allow_list before = allow->list;
    allow->list = now;
    return before;
}

/* Watches anew if need be, reads, exchanges.  A failure empties the list; it is said in `err`. */
static int reload(struct allow *allow, struct allow_list *before, struct df_error *err)
{
    struct allow_list now = { 0 };
    struct allow_texts refusals = { 0 };
    int r = allow->watch < 0 ? watch_begin(allow, err) : 0;
    if (!r)
        r = read_directory(allow, &now, &refusals, err);
    if (r < 0)
        watch_end(allow);
    *before = exchange(allow, now);
    log_refusals(allow->dir, &allow->refusals, &refusals);
    allow_texts_clear(&allow->refusals);
    allow->refusals = refusals;
    return r;
}

int allow_open(const char *dir, struct allow **out, struct df_error *err)
{
    CLEANUP(allow_close) struct allow *allow = calloc(1, sizeof *allow);
    struct allow_list nothing;
    if (!allow || pthread_mutex_init(&allow->lock, NULL)) {
        free(steal(&allow));
        return error_errno(err, -ENOMEM, "cannot read allow directory '%s'", dir);
    }
    allow->watch = -1;
    if (!(allow->dir = strdup(dir)))
        return error_errno(err, -ENOMEM, "cannot read allow directory '%s'", dir);
    int r = reload(allow, &nothing, err);
    if (r < 0)
        return r;
    unsigned roles = 0;
    for (size_t i = 0; i < allow->list.n; i++)
        roles |= allow->list.entries[i].certificate.roles;
    if (!roles)
        return error_set(err, -ENOENT, "allow directory '%s' lets nobody in: put a certificate with a role there, of 'dirtyferry keygen FILE --role ROLE'", dir);
    log_changes(&nothing, &allow->list);
    *out = steal(&allow);
    return 0;
}

void allow_close(struct allow **allow)
{
    struct allow *a = steal(allow);
    if (!a)
        return;
    watch_end(a);
    allow_list_clear(&a->list);
    allow_texts_clear(&a->refusals);
    pthread_mutex_destroy(&a->lock);
    free(a->dir);
    free(a);
}

unsigned allow_roles(struct allow *allow, const char *public_key, char name[ALLOW_NAME_BYTES])
{
    LOCK_SCOPE(&allow->lock);
    const struct allow_entry *entry = allow_list_find(&allow->list, public_key);
    if (name)
        strcpy(name, entry ? entry->name : "");
    return entry ? entry->certificate.roles : 0;
}

int allow_fd(const struct allow *allow)
{
    return allow->watch;
}

bool allow_refresh(struct allow *allow, void (*gone)(void *opaque, const char *public_key), void *opaque)
{
    struct df_error err = { 0 };
    struct allow_list before;
    bool was_gone = allow->watch < 0;
    if (!was_gone) {
        uint32_t events = watch_drain(allow);
        if (watch_is_stale(allow, events))
            watch_end(allow);
        else if (!events)
            return false;
    }
    int r = reload(allow, &before, &err);
    if (r < 0 && !was_gone)
        log_error("nobody is let in any more: %s", err.message);
    if (!r && was_gone)
        log_info("allow directory '%s' can be read again", allow->dir);
    bool changed = log_changes(&before, &allow->list);
    tell_gone(&before, &allow->list, gone, opaque);
    allow_list_clear(&before);
    return changed;
}
