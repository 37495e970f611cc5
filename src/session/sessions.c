// SPDX-License-Identifier: BSD-3-Clause
/* The list of sessions, and the only places where one is made, changes its state, lets go and is forgotten. */
#include "session/session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

struct session *session_find(struct engine *engine, const char *uuid, enum session_role role)
{
    uint8_t wanted[UUID_BYTES];
    uuid_parse(uuid, wanted);
    for (struct session *s = engine->sessions; s; s = s->next)
        if (s->role == role && !memcmp(s->uuid, wanted, UUID_BYTES))
            return s;
    return NULL;
}

bool session_file(const char *name, const char *behind, char uuid[UUID_TEXT_BYTES])
{
    uint8_t bytes[UUID_BYTES];
    snprintf(uuid, UUID_TEXT_BYTES, "%.*s", UUID_TEXT_BYTES - 1, name);
    return uuid_parse(uuid, bytes) && !strncmp(name + UUID_TEXT_BYTES - 1, behind, strlen(behind));
}

/* Their requests belong to the server. */
static void forget_waiters(struct waiter **list)
{
    while (*list) {
        struct waiter *w = *list;
        *list = w->next;
        free(w);
    }
}

void session_free(struct session *s)
{
    session_release(s);
    for (struct session **link = &s->engine->sessions; *link; link = &(*link)->next)
        if (*link == s) {
            *link = s->next;
            break;
        }
    forget_waiters(&s->waiters);
    forget_waiters(&s->idle);
    forget_waiters(&s->deferred);
    journal_close(&s->journal);
    free(s->bitmaps);
    free(s);
}

/* Its journal too: after a restart nobody remembers it. */
void session_forget(struct session *s)
{
    journal_remove(s);
    session_free(s);
}

unsigned session_descriptors(enum session_role role, unsigned nbitmaps, unsigned workers)
{
    return nbitmaps * BITMAP_DESCRIPTORS + (role == ROLE_SOURCE ? SOURCE_DESCRIPTORS + workers * WORKER_DESCRIPTORS : TARGET_DESCRIPTORS);
}

/* libzmq aborts, or spins, when no descriptor is left: sessions have a part of them, connections another (net/guard.c). */
static int check_room(const struct engine *engine, enum session_role role, unsigned nbitmaps, struct df_error *err)
{
    unsigned n = 0, descriptors = session_descriptors(role, nbitmaps, DEFAULT_WORKERS);
    for (const struct session *s = engine->sessions; s; s = s->next)
        if (!state_is_end(s->state)) {
            n++;
            descriptors += session_descriptors(s->role, s->nbitmaps, s->workers);
        }
    if (n >= SESSIONS_MAX)
        return error_set(err, -ENOSPC, "%u sessions are under way, the most that are possible: wait for one to end", n);
    if (descriptors > engine->descriptors_max)
        return error_set(err, -ENOSPC, "%u sessions are under way, and one more would take %u descriptors of %u: wait for one to end, or raise LimitNOFILE (ulimit -n)",
                         n, descriptors, engine->descriptors_max);
    return 0;
}

int session_new(struct engine *engine, const char *uuid, enum session_role role, unsigned nbitmaps, struct session **out, struct df_error *err)
{
    struct session *old = session_find(engine, uuid, role);
    /* One that has pivoted may have dumps, which must not fit a second one of the same name. */
    bool had_no_effect = old && (old->state == SOURCE_FAILED || old->state == SOURCE_CANCELLED || old->state == TARGET_CANCELLED);
    if (old && (!had_no_effect || old->orders || old->held || old->tidy))
        return error_set(err, -EEXIST, "session %s exists already and is %s: choose another UUID", uuid, state_name(old->state));
    if (old)
        session_forget(old);
    int r = check_room(engine, role, nbitmaps, err);
    if (r < 0)
        return r;
    struct session *s = calloc(1, sizeof *s);
    if (s)
        s->bitmaps = calloc(nbitmaps, sizeof *s->bitmaps);
    if (!s || !s->bitmaps) {
        free(s);
        return error_errno(err, -ENOMEM, "cannot start session %s", uuid);
    }
    s->engine = engine;
    s->role = role;
    s->nbitmaps = nbitmaps;
    uuid_parse(uuid, s->uuid);
    uuid_format(s->uuid, s->text);
    s->next = engine->sessions;
    engine->sessions = s;
    *out = s;
    return 0;
}

int session_may(const struct session *s, enum session_event event, struct df_error *err)
{
    if (state_next(s->role, s->state, event))
        return 0;
    return error_set(err, -EPERM, "session %s is %s on the %s: '%s' is not possible then", s->text, state_name(s->state),
                     role_name(s->role), event_name(event));
}

static void enter(struct session *s, enum session_state next, enum session_event event)
{
    log_info("session %s %s: %s -> %s (%s)%s%s", s->text, role_name(s->role), state_name(s->state), state_name(next),
             event_name(event), s->message[0] ? ": " : "", s->message);
    s->state = next;
    report_event(s, "state");
    report_wake(s, clock_ms());
}

static enum session_state must_be_next(const struct session *s, enum session_event event)
{
    enum session_state next = state_next(s->role, s->state, event);
    if (!next)
        abort();    /* callers ask session_may() first, or know */
    return next;
}

int session_try(struct session *s, enum session_event event, struct df_error *err)
{
    enum session_state next = must_be_next(s, event);
    int r = journal_write(s, next, err);
    if (!r)
        enter(s, next, event);
    return r;
}

void session_step(struct session *s, enum session_event event)
{
    enum session_state next = must_be_next(s, event);
    struct df_error err;
    if (journal_write(s, next, &err) < 0)
        session_note(s, &err);
    enter(s, next, event);
}

void session_save(struct session *s)
{
    struct df_error err;
    if (journal_write(s, s->letting_go ? SOURCE_RELEASED : s->state, &err) < 0)
        session_note(s, &err);
}

void session_note(struct session *s, const struct df_error *err)
{
    if (!strcmp(s->message, err->message))
        return;         /* of something that is tried again and again: once is enough */
    memcpy(s->message, err->message, sizeof s->message);
    log_warning("session %s %s: %s", s->text, role_name(s->role), s->message);
}

void session_release(struct session *s)
{
    if (s->released)
        return;
    s->released = true;
    lease_forget(s);
    load_drop(s);
    target_release(s);
    if (state_is_end(s->state)) {
        dump_remove(s);
        journal_close(&s->journal);
    }
    for (unsigned i = 0; i < s->nbitmaps; i++) {
        struct session_bitmap *b = &s->bitmaps[i];
        if (b->backend && b->map.ref)
            b->backend->ops->put_map(b->backend, &b->map);
        work_destroy(&b->work);
        backend_close(&b->backend);
    }
    peer_close(&s->peer);
}
