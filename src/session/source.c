// SPDX-License-Identifier: BSD-3-Clause
/* The source's ways back, and what its files share. */
#include "session/source.h"

#include <errno.h>

#include "base/cleanup.h"
#include "base/error.h"

/* A bitmap that was not taken by this session is left alone: give_back checks the owner. */
void source_give_back(struct session *s)
{
    for (unsigned i = 0; i < s->nbitmaps; i++)
        if (s->bitmaps[i].backend)
            s->bitmaps[i].backend->ops->give_back(s->bitmaps[i].backend, s->bitmaps[i].bitmap, s->uuid, NULL);
}

void source_fail_held(struct session *s, const struct df_error *err)
{
    struct request *request = steal(&s->held);
    if (request)
        request_fail(&request, err);
}

void source_reply_held(struct session *s)
{
    struct request *request = steal(&s->held);
    if (request)
        report_reply(&request, s);
}

bool source_is_held(struct session *s, struct request **request)
{
    struct df_error err;
    if (!s->held)
        return false;
    error_set(&err, -EBUSY, "session %s is busy with '%s': try again when that is done", s->text, s->held->message->type->name);
    request_fail(request, &err);
    return true;
}

void source_send_cancel(struct session *s, peer_answer *answer)
{
    struct out out;
    uint64_t id;
    peer_begin(&out, "cancel", &id);
    out_text(&out, "session", s->text);
    out_text(&out, "role", "target");
    peer_send(s->peer, &out, id, 0, answer, s, 0);
}

/* -------------------------------------------------------------- ways back */

static void cancel_answered(void *opaque, uint64_t tag, int r, const struct message *reply, const struct df_error *err)
{
    struct session *s = opaque;
    (void)tag, (void)reply;
    if (r < 0 && r != -ENOENT)
        session_note(s, err);       /* it is free here all the same; status says what is left over there */
    source_give_back(s);
    session_step(s, EVENT_CANCEL);
    source_reply_held(s);
}

void source_cancel(struct session *s, struct request *request)
{
    struct df_error err;
    if (source_is_held(s, &request))
        return;
    if (s->state == SOURCE_CANCELLED) {
        report_reply(&request, s);
        return;
    }
    if (session_may(s, EVENT_CANCEL, &err) < 0) {
        if (!state_is_end(s->state))
            error_set(&err, -EPERM, "session %s is %s: it cannot be cancelled after the pivot; 'rollback' is possible until the target records",
                      s->text, state_name(s->state));
        request_fail(&request, &err);
        return;
    }
    s->held = request;
    source_send_cancel(s, cancel_answered);
}

/* Invariant 3: only a target that says that its child never recorded lets the source live again. */
static void rollback_answered(void *opaque, uint64_t tag, int r, const struct message *reply, const struct df_error *answer)
{
    struct session *s = opaque;
    struct df_error err;
    (void)tag, (void)reply;
    if (r == -ENOENT)
        error_set(&err, -EPERM, "session %s cannot be rolled back: the target at '%.255s' does not know it any more, so nobody can say that its bitmaps never recorded",
                  s->text, s->peer_endpoint);
    else if (r < 0)
        err = *answer;
    else
        r = session_may(s, EVENT_ROLLBACK, &err);
    if (r < 0) {
        source_fail_held(s, &err);
        return;
    }
    source_give_back(s);
    pivot_unfence(s);
    s->message[0] = 0;
    session_step(s, EVENT_ROLLBACK);
    source_reply_held(s);
}

void source_rollback(struct session *s, struct request *request)
{
    struct df_error err;
    if (source_is_held(s, &request))
        return;
    if (s->state == SOURCE_ROLLED_BACK) {
        report_reply(&request, s);
        return;
    }
    if (session_may(s, EVENT_ROLLBACK, &err) < 0) {
        request_fail(&request, &err);
        return;
    }
    s->held = request;
    source_send_cancel(s, rollback_answered);
}

/* ------------------------------------------------------------------- time */

int64_t source_tick(struct session *s, int64_t now_ms)
{
    int64_t times[] = {
        pivot_tick(s, now_ms), seal_tick(s, now_ms), lease_tick(s, now_ms), s->peer ? peer_tick(s->peer) : INT64_MAX,
    };
    int64_t next = INT64_MAX;
    for (unsigned i = 0; i < sizeof times / sizeof *times; i++)
        next = times[i] < next ? times[i] : next;
    return next;
}
