// SPDX-License-Identifier: BSD-3-Clause
/*
 * The source's link to its target: is the target there, what to do when it is
 * not, and how to go on when it is again.
 *
 * The source sends a heartbeat every BEAT_MS; without an answer for LINK_LOST_MS
 * the link is lost, whatever TCP says.  A stream is then interrupted: its leases
 * are void, a new epoch begins, the whole state is written to a dump, and the
 * target is asked what it lacks (attempt.c) on a fresh connection, again and
 * again, with growing pauses.  In other states nothing is at stake: the loss is
 * shown, and the session waits.
 *
 * The dump holds the whole bitmaps and not only what is left to send: what is on
 * its way may be lost, and whoever loads it may have lost the rest.
 *
 * A connection is only opened anew from here and from requests, never from an
 * answer to one of its own requests.
 */
#include "session/source.h"

#include <errno.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/error.h"

static bool is_streaming(const struct session *s)
{
    return s->state == SOURCE_STREAMING || s->state == SOURCE_SEALING;
}

/* Without a past: nothing that was asked over the old connection is answered any more. */
bool link_reconnect(struct session *s, struct df_error *err)
{
    struct peer *fresh = NULL;
    if (peer_open(s->engine->net, &s->peer_address, &fresh, err) < 0)
        return false;
    peer_close(&s->peer);
    s->peer = fresh;
    s->asking = s->beating = false;
    s->seals = 0;
    return true;
}

static bool reconnect(struct session *s)
{
    struct df_error err;
    if (link_reconnect(s, &err))
        return true;
    session_note(s, &err);
    return false;
}

void link_heard(struct session *s)
{
    s->heard_ms = clock_ms();
    report_link(s, s->stalled);
}

void link_interrupt(struct session *s, const struct df_error *why)
{
    session_note(s, why);
    lease_revoke(s);
    work_forget(s);
    s->epoch++;
    s->seals = 0;
    s->asking = false;
    session_step(s, EVENT_LOST);
    s->retry_ms = clock_ms() + s->reconnect_ms;
    digest_session(s);
    dump_session(s);
}

static void link_lost(struct session *s)
{
    struct df_error err;
    error_set(&err, -ETIMEDOUT, "the link to the target at '%s' is lost: no answer for %d ms; it is tried again and again, 'dirtyferry resume' tries at once",
              s->peer_address.endpoint, LINK_LOST_MS);
    s->reconnect_ms = 0;
    report_link(s, true);
    if (is_streaming(s))
        link_interrupt(s, &err);
    else
        session_note(s, &err);
    s->retry_ms = clock_ms();
}

void source_flows(struct session *s)
{
    s->reconnect_ms = 0;
    if (s->stalled)
        s->message[0] = 0;
    s->stalled = false;
    report_link(s, false);
}

/*
 * A link so slow that no frame passes within the patience would be interrupted
 * for ever: each time the patience doubles.
 */
void source_stalled(struct session *s)
{
    struct df_error err;
    int patience_ms = s->patience_ms ? s->patience_ms : STALLED_MS;
    if (s->state != SOURCE_STREAMING || clock_ms() - s->taken_ms < patience_ms)
        return;
    s->patience_ms = 2 * patience_ms < STALLED_MAX_MS ? 2 * patience_ms : STALLED_MAX_MS;
    s->stalled = true;
    report_link(s, true);
    error_set(&err, -ETIMEDOUT, "nothing can be sent to the target's data endpoint '%s': it is tried again and again, 'dirtyferry resume' tries at once", s->data);
    link_interrupt(s, &err);
}

/* ------------------------------------------------------------- heartbeats */

static void look_at(struct session *s, enum session_state target)
{
    struct df_error err;
    if (s->state == SOURCE_STREAMING && (target == TARGET_FILLED || target == TARGET_MERGING || target == TARGET_OPERATIVE)) {
        lease_revoke(s);        /* it has every bit: from a dump */
        work_forget(s);
        source_all_sent(s);
        return;
    }
    if (s->state == SOURCE_SEALED && target == TARGET_OPERATIVE)
        source_let_go(s);       /* the answer to `wait` may be long in coming, or lost */
    if (s->state == SOURCE_SEALED && target == TARGET_ABANDONED)
        source_abandoned(s);
    bool over = target == TARGET_CANCELLED || target == TARGET_ABANDONED || target == TARGET_ABANDONING;
    if (!over)
        return;
    error_set(&err, -ECANCELED, "the target at '%s' has given session %s up: it is %s", s->peer_address.endpoint, s->text, state_name(target));
    if (is_streaming(s))
        link_interrupt(s, &err);
    else if (s->state == SOURCE_PREPARED && !s->message[0])
        session_note(s, &err);
}

/* A worker may be waiting for that. */
static void note_taken(struct session *s, uint64_t bytes)
{
    if (bytes > s->taken) {
        s->taken = bytes;
        s->taken_ms = clock_ms();
        source_flows(s);
    }
    if (lease_window_is_full(s))
        s->beat_ms = clock_ms() + WINDOW_MS;
    lease_serve(s);
}

static void heartbeat_answered(void *opaque, uint64_t tag, int r, const struct message *reply, const struct df_error *err)
{
    struct session *s = opaque;
    (void)tag;
    s->beating = false;
    if (!reply)
        return;         /* link_tick has noticed long before */
    bool was_lost = s->link_lost && !s->stalled;
    link_heard(s);
    if (was_lost && r >= 0)
        s->message[0] = 0;
    if (was_lost && s->state == SOURCE_SEALED)
        s->retry_ms = clock_ms();       /* its `wait` went with the old connection */
    if (r >= 0)
        note_taken(s, node_u64(reply->root, "bytes", 0));
    if (r >= 0)
        look_at(s, state_find(ROLE_TARGET, node_text(reply->root, "state")));
    else if (is_streaming(s))
        link_interrupt(s, err);     /* it does not know the session */
    else if (!s->message[0])
        session_note(s, err);
}

static void send_heartbeat(struct session *s)
{
    struct out out;
    uint64_t id;
    s->beating = true;
    s->beat_ms = clock_ms() + BEAT_MS;
    peer_begin(&out, "heartbeat", &id);
    out_text(&out, "session", s->text);
    out_u64(&out, "epoch", s->epoch);
    peer_send(s->peer, &out, id, 0, heartbeat_answered, s, 0);
}

/* With the window full, nothing but the answer to a heartbeat lets the stream go on: it is asked for at once. */
static bool watch_window(struct session *s, int64_t now_ms)
{
    if (s->state != SOURCE_STREAMING || !lease_window_is_full(s))
        return true;
    if (now_ms >= s->sent_ms + STALLED_MS)
        source_stalled(s);
    if (s->state != SOURCE_STREAMING)
        return false;
    if (s->beat_ms > now_ms + WINDOW_MS)
        s->beat_ms = now_ms;
    return true;
}

static int64_t beat(struct session *s, int64_t now_ms)
{
    if (s->beating && now_ms >= s->heard_ms + LINK_LOST_MS && !s->link_lost) {
        link_lost(s);
        return now_ms;
    }
    if (!watch_window(s, now_ms))
        return now_ms;
    if (!s->beating && now_ms >= s->beat_ms)
        send_heartbeat(s);
    return s->beating ? s->heard_ms + LINK_LOST_MS : s->beat_ms;
}

/* ------------------------------------------------------------ reconnecting */

static int64_t try_again(struct session *s, int64_t now_ms, void (*ask)(struct session *s))
{
    /* A roll-back that is under way has the connection. */
    if (s->held && !s->resume_deadline_ms)
        return now_ms + RECONNECT_MS;
    if (now_ms < s->retry_ms)
        return s->retry_ms;
    s->reconnect_ms = s->reconnect_ms ? 2 * s->reconnect_ms : RECONNECT_MS;
    if (s->reconnect_ms > RECONNECT_MAX_MS)
        s->reconnect_ms = RECONNECT_MAX_MS;
    /* An answer takes its time: the pause counts from when it should have been here. */
    s->retry_ms = now_ms + RECONNECT_MS + s->reconnect_ms;
    if (s->dump_epoch != s->epoch && s->state == SOURCE_INTERRUPTED)
        dump_session(s);
    if (reconnect(s))
        ask(s);
    return s->retry_ms;
}

static void give_up_resume(struct session *s)
{
    struct df_error err;
    error_set(&err, -ETIMEDOUT, "the target at '%s' does not answer: session %s stays %s and goes on trying", s->peer_address.endpoint, s->text, state_name(s->state));
    source_fail_held_resume(s, &err);
}

int64_t link_tick(struct session *s, int64_t now_ms)
{
    int64_t next = INT64_MAX;
    if (!s->peer)
        return next;
    if (s->resume_deadline_ms && now_ms >= s->resume_deadline_ms)
        give_up_resume(s);
    if (s->state == SOURCE_INTERRUPTED && !s->letting_go)
        next = try_again(s, now_ms, attempt_send);
    else if (s->link_lost && !is_streaming(s) && !s->letting_go)
        next = try_again(s, now_ms, send_heartbeat);
    else if (s->state != SOURCE_PREPARING && !state_is_end(s->state))
        next = beat(s, now_ms);
    return next;
}

/* ----------------------------------------------------------------- resume */

/* A target at another place may have another key; without one named it is the same. */
static int move_target(struct session *s, const node *root, struct df_error *err)
{
    const char *target = node_text(root, "target"), *key = node_text(root, "target_key");
    struct net_address address = s->peer_address;
    if (!target && !key)
        return 0;
    if (target)
        snprintf(address.endpoint, sizeof address.endpoint, "%s", target);
    if (key)
        snprintf(address.key, sizeof address.key, "%s", key);
    int r = net_check_address(&address, "target", err);
    if (r < 0)
        return r;
    s->peer_address = address;
    session_save(s);
    return 0;
}

void source_resume(struct session *s, struct request *request)
{
    struct df_error err;
    const char *target = node_text(request->message->root, "target");
    if (source_is_held(s, &request))
        return;
    if (state_is_end(s->state) || s->state == SOURCE_PREPARING) {
        error_set(&err, -EPERM, "session %s is %s: there is nothing to resume", s->text, state_name(s->state));
        request_fail(&request, &err);
        return;
    }
    if (s->damaged) {
        error_set(&err, -EPERM, "session %s cannot be resumed: %s", s->text, s->message);
        request_fail(&request, &err);
        return;
    }
    if (move_target(s, request->message->root, &err) < 0) {
        request_fail(&request, &err);
        return;
    }
    if (target && is_streaming(s)) {
        error_set(&err, -ESTALE, "the target is at '%s' now", target);
        link_interrupt(s, &err);
    }
    s->reconnect_ms = 0;
    if (s->state == SOURCE_INTERRUPTED || s->link_lost)
        s->retry_ms = clock_ms();
    if (s->state == SOURCE_INTERRUPTED) {
        s->held = request;
        s->resume_deadline_ms = clock_ms() + RESUME_MS;
        return;
    }
    if (target)
        reconnect(s);
    report_reply(&request, s);
}
