// SPDX-License-Identifier: BSD-3-Clause
/*
 * The comparisons of a daemon, on its control thread: who asks for which,
 * replies, events.
 *
 * One request is worked on at a time, on a copy of the comparison that it is
 * about; the others wait in a queue.  So what is looked up here is never behind
 * the keeper, and the keeper touches nothing that is shared.  Disks of QEMU have
 * a queue of their own, whose requests are worked on by the hands: a request
 * goes there when it is known what it is about.  Of a bitmap there is one
 * comparison in the list: the one that is under way, or was last.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "daemon/comparison.h"

struct known {
    struct known *next;
    struct comparison c;
    uint64_t published;         /* position of the last event */
};

struct call {
    struct chore chore;         /* first: the keeper hands this pointer back */
    struct call *next;
    struct comparisons *all;
    struct request *request;
    const struct handler *handler;
    bool goes_on;               /* `c` is of the list */
    bool belongs_there;         /* its disk is QEMU's: not a word was done */
    struct lane *lane;          /* where it is now */
    struct comparison c;
};

struct lane {
    struct call *queue, *at;    /* who waits; who is being worked on */
};

struct comparisons {
    struct engine *engine;
    int dirfd;                  /* STATE/comparisons */
    struct known *list;         /* newest first */
    struct lane here, there;    /* by the keeper, by the hands: for disks of QEMU */
    int64_t progress_ms, snapshot_ms;
    uint64_t seq;               /* of the last event; those of sessions have their own */
};

struct handler {
    const char *type;
    int (*find)(const struct comparisons *all, struct call *call, struct df_error *err);
    void (*work)(struct chore *chore);
};

/* ----------------------------------------------------------------- events */

static void publish(struct comparisons *all, struct known *k, const char *what)
{
    comparison_publish(all->engine->events, &k->c, what, ++all->seq);
    k->published = k->c.position;
}

int64_t comparisons_tick(struct comparisons *all)
{
    int64_t now = clock_ms(), next = INT64_MAX;
    bool progress = now >= all->progress_ms, snapshot = now >= all->snapshot_ms;
    if (progress)
        all->progress_ms = now + PROGRESS_MS;
    if (snapshot)
        all->snapshot_ms = now + SNAPSHOT_MS;
    for (struct known *k = all->list; k; k = k->next) {
        if (snapshot)
            publish(all, k, "snapshot");
        else if (progress && k->c.position != k->published)
            publish(all, k, "progress");
        int64_t due = k->c.state == COMPARISON_COMPARING ? all->progress_ms : all->snapshot_ms;
        next = due < next ? due : next;
    }
    return next;
}

/* --------------------------------------------------------------- the list */

static struct known *find_uuid(const struct comparisons *all, const uint8_t *uuid)
{
    for (struct known *k = all->list; k; k = k->next)
        if (!memcmp(k->c.uuid, uuid, UUID_BYTES))
            return k;
    return NULL;
}

static bool is_of(const struct known *k, const char *disk, const char *bitmap)
{
    return !strcmp(k->c.disk, disk) && !strcmp(k->c.bitmap, bitmap);
}

static struct known *find_bitmap(const struct comparisons *all, const char *disk, const char *bitmap)
{
    for (struct known *k = all->list; k; k = k->next)
        if (is_of(k, disk, bitmap))
            return k;
    return NULL;
}

bool comparisons_know(const struct comparisons *all, const uint8_t uuid[UUID_BYTES])
{
    const struct known *k = find_uuid(all, uuid);
    return k && k->c.state == COMPARISON_COMPARING;
}

static void forget(struct comparisons *all, struct known **link)
{
    struct known *k = *link;
    *link = k->next;
    comparison_remove(all->dirfd, &k->c);
    free(k);
}

/* Those of the same bitmap give way, and when there are too many the oldest that is over. */
static void make_room(struct comparisons *all, const struct comparison *c)
{
    unsigned n = 0;
    struct known **oldest = NULL;
    for (struct known **link = &all->list; *link;) {
        if (is_of(*link, c->disk, c->bitmap)) {
            forget(all, link);
            continue;
        }
        if ((*link)->c.state != COMPARISON_COMPARING)
            oldest = link;
        n++;
        link = &(*link)->next;
    }
    if (n >= COMPARISONS_MAX && oldest)
        forget(all, oldest);
}

static struct known *add(struct comparisons *all, const struct comparison *c)
{
    struct known *k = calloc(1, sizeof *k);
    if (!k)
        abort();    /* nothing works without memory */
    k->c = *c;
    k->next = all->list;
    all->list = k;
    return k;
}

/* What the keeper has made of it. */
static void apply(struct comparisons *all, const struct comparison *c)
{
    char text[UUID_TEXT_BYTES];
    struct known *k = find_uuid(all, c->uuid);
    bool entered = !k || k->c.state != c->state;
    if (!k) {
        make_room(all, c);
        k = add(all, c);
    }
    k->c = *c;
    if (!entered)
        return;
    log_info("comparison %s of bitmap '%s' of disk '%s' with '%s': %s", uuid_format(c->uuid, text), c->bitmap, c->disk, c->against, comparison_state_name(c->state));
    publish(all, k, "state");
}

/* --------------------------------------------------------------- requests */

static unsigned under_way(const struct comparisons *all)
{
    unsigned n = 0;
    for (const struct known *k = all->list; k; k = k->next)
        n += k->c.state == COMPARISON_COMPARING;
    return n;
}

/* `c` is asked for, and `other` is under way. */
static int refuse_other(const struct comparison *c, const struct comparison *other, struct df_error *err)
{
    if (!strcmp(c->against, other->against))
        return error_set(err, -EBUSY, "bitmap '%s' of disk '%s' is being compared with '%.1024s' as it was (%" PRIu64 " of %" PRIu64 " bytes), and that "
                         "has changed since, or it or the disk is read from another place or in another format: 'dirtyferry bitmap diff %s %s --cancel' ends that, then begin again",
                         c->bitmap, c->disk, other->against, other->position, other->size, c->disk, c->bitmap);
    return error_set(err, -EBUSY, "bitmap '%s' of disk '%s' is being compared with '%.1024s' (%" PRIu64 " of %" PRIu64 " bytes): "
                     "'dirtyferry bitmap diff %s %s --against %.1024s' goes on with that, 'dirtyferry bitmap diff %s %s --cancel' ends it",
                     c->bitmap, c->disk, other->against, other->position, other->size, c->disk, c->bitmap, other->against, c->disk, c->bitmap);
}

static int find_for_begin(const struct comparisons *all, struct call *call, struct df_error *err)
{
    const node *root = call->request->message->root;
    struct comparison *c = &call->c;
    const struct known *k = find_bitmap(all, node_text(root, "disk"), node_text(root, "bitmap"));
    snprintf(c->disk, sizeof c->disk, "%s", node_text(root, "disk"));
    snprintf(c->bitmap, sizeof c->bitmap, "%s", node_text(root, "bitmap"));
    snprintf(c->against, sizeof c->against, "%s", node_text(root, "against"));
    snprintf(c->stamp, sizeof c->stamp, "%s", node_text(root, "stamp"));
    call->goes_on = k && k->c.state == COMPARISON_COMPARING;
    if (!call->goes_on)
        return under_way(all) < COMPARISONS_MAX ? 0
            : error_set(err, -ENOSPC, "%u comparisons are under way, the most that are possible: wait for one to end, or cancel one", COMPARISONS_MAX);
    if (strcmp(c->against, k->c.against) || strcmp(c->stamp, k->c.stamp))
        return refuse_other(c, &k->c, err);
    *c = k->c;
    return 0;
}

static int find_known(const struct comparisons *all, struct call *call, struct df_error *err)
{
    const node *root = call->request->message->root;
    const char *text = node_text(root, "diff"), *disk = node_text(root, "disk"), *bitmap = node_text(root, "bitmap");
    uint8_t uuid[UUID_BYTES];
    if (!text && (!disk || !bitmap))
        return error_set(err, -EINVAL, "a comparison is named by its UUID, or by a disk and a bitmap");
    if (text)
        uuid_parse(text, uuid);
    const struct known *k = text ? find_uuid(all, uuid) : find_bitmap(all, disk, bitmap);
    if (!k)
        return text ? error_set(err, -ENOENT, "there is no comparison %s here", text)
                    : error_set(err, -ENOENT, "bitmap '%s' of disk '%s' is not being compared", bitmap, disk);
    call->c = k->c;
    call->goes_on = true;
    return 0;
}

static void begin(struct chore *chore)
{
    struct call *call = (struct call *)chore;
    int is_qemu = work_is_qemu(call->all->engine, &call->c, &chore->err);
    call->belongs_there = is_qemu > 0 && call->lane == &call->all->here;
    chore->r = is_qemu < 0 ? is_qemu : 0;
    if (!chore->r && !call->belongs_there)
        chore->r = work_begin(call->all->engine, call->all->dirfd, call->goes_on, &call->c, &chore->err);
}

static void report(struct chore *chore)
{
    struct call *call = (struct call *)chore;
    chore->r = work_report(call->all->engine, call->all->dirfd, call->request->message->root, &call->c, &chore->err);
}

static void cancel(struct chore *chore)
{
    struct call *call = (struct call *)chore;
    chore->r = work_cancel(call->all->engine, call->all->dirfd, &call->c, &chore->err);
}

static const struct handler handlers[] = {
    { "diff", find_for_begin, begin },
    { "diff-report", find_known, report },
    { "diff-cancel", find_known, cancel },
};

static void enqueue(struct lane *lane, struct call *call);

static void answer(struct call *call)
{
    struct out out;
    if (call->c.size)       /* else nothing was begun */
        apply(call->all, &call->c);
    if (call->chore.r < 0) {
        request_fail(&call->request, &call->chore.err);
    } else {
        request_begin_reply(call->request, &out);
        comparison_put(&out, &call->c);
        request_reply(&call->request, &out);
    }
    free(call);
}

/* The next one that is about something goes to work. */
static void serve(struct lane *lane)
{
    while (!lane->at && lane->queue) {
        struct call *call = lane->queue;
        struct comparisons *all = call->all;
        struct df_error err;
        bool is_there = lane == &all->there;
        lane->queue = call->next;
        if (call->handler->find(all, call, &err) < 0) {
            request_fail(&call->request, &err);
            free(call);
        } else if (call->c.qemu && !is_there) {
            enqueue(&all->there, call);
        } else {
            lane->at = call;
            if (is_there)
                hands_send(all->engine->hands, &call->chore);
            else
                keeper_send(all->engine->keeper, &call->chore);
        }
    }
}

static void enqueue(struct lane *lane, struct call *call)
{
    struct call **link = &lane->queue;
    while (*link)
        link = &(*link)->next;
    *link = call;
    call->next = NULL;
    call->lane = lane;
    serve(lane);
}

static void done(struct chore *chore)
{
    struct call *call = (struct call *)chore;
    struct comparisons *all = call->all;
    struct lane *lane = call->lane;
    lane->at = NULL;
    if (call->belongs_there)
        enqueue(&all->there, call);
    else
        answer(call);
    serve(lane);
}

static void take(struct comparisons *all, const struct handler *handler, struct request *request)
{
    struct call *call = calloc(1, sizeof *call);
    if (!call)
        abort();
    call->chore.work = handler->work;
    call->chore.done = done;
    call->all = all;
    call->handler = handler;
    call->request = request;
    enqueue(&all->here, call);
}

bool comparisons_request(struct comparisons *all, struct request *request)
{
    for (unsigned i = 0; i < sizeof handlers / sizeof *handlers; i++)
        if (!strcmp(request->message->type->name, handlers[i].type)) {
            take(all, &handlers[i], request);
            return true;
        }
    return false;
}

/* ---------------------------------------------------------- start and stop */

/* A daemon that was killed when one began has left the one before it too. */
static int found(void *opaque, const struct comparison *c)
{
    struct comparisons *all = opaque;
    char text[UUID_TEXT_BYTES];
    struct comparison now = *c;
    if (!work_recover(all->engine, all->dirfd, &now))
        return 0;
    if (c->state == COMPARISON_COMPARING)
        log_info("comparison %s of bitmap '%s' of disk '%s': found at %" PRIu64 " of %" PRIu64 " bytes, %s", uuid_format(c->uuid, text), c->bitmap, c->disk,
                 c->position, c->size, comparison_state_name(now.state));
    if (now.state != COMPARISON_COMPARING && find_bitmap(all, now.disk, now.bitmap)) {
        comparison_remove(all->dirfd, &now);
        return 0;
    }
    make_room(all, &now);
    add(all, &now);
    return 0;
}

int comparisons_start(struct engine *engine, struct comparisons **out, struct df_error *err)
{
    struct comparisons *all = *out = calloc(1, sizeof *all);
    if (!all)
        return error_errno(err, -ENOMEM, "cannot start");
    all->engine = engine;
    all->dirfd = -1;
    int r = files_open_directory(engine->state_dir, "comparisons", 0700, &all->dirfd, err);
    return r < 0 ? r : comparison_each(all->dirfd, found, all, err);
}

/* Their requests belong to the server. */
static void free_queue(struct lane *lane)
{
    while (lane->queue) {
        struct call *call = lane->queue;
        lane->queue = call->next;
        free(call);
    }
}

void comparisons_stop(struct comparisons **allp)
{
    struct comparisons *all = steal(allp);
    if (!all)
        return;
    free(all->here.at);
    free_queue(&all->here);
    free_queue(&all->there);
    while (all->list) {
        struct known *k = all->list;
        all->list = k->next;
        free(k);
    }
    if (all->dirfd >= 0)
        close(all->dirfd);
    free(all);
}
