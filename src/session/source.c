// SPDX-License-Identifier: BSD-3-Clause
/* The source's ways back, and what its files share. */
#include "session/source.h"

#include <errno.h>

#include "base/error.h"
#include "base/log.h"

/* A bitmap that was not taken by this session is left alone: give_back checks the owner. */
void source_give_back(struct session *s)
{
    for (unsigned i = 0; i < s->nbitmaps; i++)
        if (s->bitmaps[i].backend)
            s->bitmaps[i].backend->ops->give_back(s->bitmaps[i].backend, s->bitmaps[i].bitmap, s->uuid, NULL);
}

void source_fail_held_resume(struct session *s, const struct df_error *err)
{
    if (s->resume_deadline_ms)
        session_fail_held(s, err);
}

void source_reply_held_resume(struct session *s)
{
    if (s->resume_deadline_ms)
        session_reply_held(s);
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
    (void)tag;
    struct df_error why;
    s->message[0] = 0;
    if (!reply)
        error_set(&why, r, "the target at '%.255s' did not answer: what was prepared there stays until 'dirtyferry cancel %s --to EP'", s->peer_address.endpoint, s->text);
    if (r < 0 && r != -ENOENT)
        session_note(s, reply ? err : &why);        /* it is free here all the same */
    if (session_may(s, EVENT_CANCEL, &why) < 0 || session_try(s, EVENT_CANCEL, &why) < 0) {
        session_fail_held(s, &why);
        return;
    }
    source_give_back(s);
    remote_tidy(s, REMOTE_THAW, session_reply_held);
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
    if (!s->peer && !link_reconnect(s, &err)) {
        request_fail(&request, &err);
        return;
    }
    s->held = request;
    source_send_cancel(s, cancel_answered);
}

static void roll_back(struct session *s)
{
    struct df_error err;
    int r = session_may(s, EVENT_ROLLBACK, &err);
    s->message[0] = 0;
    if (!r)
        r = session_try(s, EVENT_ROLLBACK, &err);
    if (r < 0) {
        session_fail_held(s, &err);
        return;
    }
    lease_revoke(s);
    s->unread = false;
    source_give_back(s);
    pivot_unfence(s);
    remote_tidy(s, REMOTE_THAW, session_reply_held);
}

/* Invariant 3: only a target that says that its child never recorded lets the source live again. */
static void rollback_answered(void *opaque, uint64_t tag, int r, const struct message *reply, const struct df_error *answer)
{
    struct session *s = opaque;
    struct df_error err;
    (void)tag;
    if (r >= 0) {
        roll_back(s);
        return;
    }
    err = *answer;
    if (!reply)
        error_set(&err, r, "session %s cannot be rolled back: the target at '%.255s' does not answer, and may have recorded; start it again, or, when it is gone "
                  "for good and you know that no guest ran there, use 'rollback --force'", s->text, s->peer_address.endpoint);
    if (r == -ENOENT)
        error_set(&err, -EPERM, "session %s cannot be rolled back: the target at '%.255s' does not know it, so it cannot say that its bitmaps never recorded; "
                  "when you know that no guest ran there, use 'rollback --force'", s->text, s->peer_address.endpoint);
    session_fail_held(s, &err);
    source_retry_later(s, NULL);    /* what was asked over a connection that is closed is asked again */
}

/* The operator vouches for what the target cannot say any more; what it does say counts more. */
static void force_answered(void *opaque, uint64_t tag, int r, const struct message *reply, const struct df_error *answer)
{
    struct session *s = opaque;
    (void)tag;
    if (reply && r == -EPERM) {
        session_fail_held(s, answer);
        source_retry_later(s, NULL);
        return;
    }
    log_warning("session %s source: rolled back by force, without the target's word that it never recorded", s->text);
    roll_back(s);
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
    int r = session_may(s, EVENT_ROLLBACK, &err);
    if (!r && s->letting_go)
        r = error_set(&err, -EPERM, "session %s cannot be rolled back: the target is operative", s->text);
    if (r < 0) {
        request_fail(&request, &err);
        return;
    }
    bool force = node_bool(request->message->root, "force");
    if ((s->link_lost || !s->peer) && !link_reconnect(s, &err)) {
        request_fail(&request, &err);
        return;
    }
    s->held = request;
    source_send_cancel(s, force ? force_answered : rollback_answered);
}

/* The target was cancelled behind this side's back: who drives the move decides. */
void source_given_up(struct session *s)
{
    struct df_error err;
    error_set(&err, -ECANCELED, "the target at '%s' has given session %s up and never recorded: roll it back", s->peer_address.endpoint, s->text);
    source_retry_later(s, &err);
    source_fail_held_resume(s, &err);
}

/* The target has given the source's bits up.  They stay here for whoever wants them; the disk is elsewhere. */
void source_abandoned(struct session *s)
{
    struct df_error err;
    error_set(&err, -ECANCELED, "the target at '%s' has abandoned session %s: the bits stay here, on a disk that is read-only", s->peer_address.endpoint, s->text);
    source_fail_held_resume(s, &err);
    session_note(s, &err);
    if (s->state == SOURCE_STREAMING || s->state == SOURCE_SEALING)
        session_step(s, EVENT_LOST);
    lease_revoke(s);
    s->unread = false;
    session_step(s, EVENT_ABANDONED);
    source_give_back(s);
    remote_tidy(s, REMOTE_THAW, NULL);
}

/* ------------------------------------------------------------------- time */

int64_t source_tick(struct session *s, int64_t now_ms)
{
    int64_t next = pivot_tick(s, now_ms), times[] = { seal_tick(s, now_ms), lease_tick(s, now_ms), link_tick(s, now_ms) };
    for (unsigned i = 0; i < sizeof times / sizeof *times; i++)
        next = times[i] < next ? times[i] : next;
    int64_t peer = s->peer ? peer_tick(s->peer) : INT64_MAX;    /* last: the link may have a new one */
    return peer < next ? peer : next;
}
