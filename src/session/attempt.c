// SPDX-License-Identifier: BSD-3-Clause
/*
 * "Attempt `epoch` begins: what do you lack?"  Asked when the target's digests
 * differ, and whenever the target is reached again; so it is also the question
 * whether it is there.  An epoch may be asked for any number of times, frames of
 * it go only after the answer.
 */
#include "session/source.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"

/* Chunks that are listed are sent again; all others of the bitmap are there. */
static int take_missing(struct session *s, const struct message *reply)
{
    size_t n;
    const node *items = node_list(reply->root, "missing", &n);
    for (unsigned k = 0; k < s->nbitmaps; k++)
        s->bitmaps[k].chunks_sent = s->bitmaps[k].chunks;
    for (size_t i = 0; i < n; i++) {
        uint64_t handle = node_u64(&items[i], "handle", 0), first = node_u64(&items[i], "first", 0), count = node_u64(&items[i], "count", 0);
        for (unsigned k = 0; k < s->nbitmaps; k++) {
            struct session_bitmap *b = &s->bitmaps[k];
            if (b->handle != handle || first >= b->chunks || count > b->chunks - first)
                continue;
            if (work_add(&b->work, first, count) < 0)
                return -ENOMEM;
            b->exact = false;
            b->chunks_sent = b->chunks_sent > count ? b->chunks_sent - count : 0;
        }
    }
    return 0;
}

static void stream_again(struct session *s, const struct message *reply)
{
    struct df_error err;
    char data[256];
    net_resolve(node_text(reply->root, "data"), s->peer_address.endpoint, data);
    int r = net_check_endpoint(data, "the target's data endpoint", &err);
    if (!r && (r = take_missing(s, reply)) < 0)
        error_errno(&err, r, "cannot plan what is to be sent again");
    if (r < 0) {
        work_forget(s);
        source_retry_later(s, &err);
        return;
    }
    memcpy(s->data, data, sizeof s->data);
    s->retry_ms = 0;
    s->taken = s->taken_mark = node_u64(reply->root, "bytes", 0);
    s->sent_mark = s->bytes;
    s->taken_ms = clock_ms();
    if (s->state == SOURCE_INTERRUPTED && !s->stalled)
        s->message[0] = 0;
    session_step(s, s->state == SOURCE_INTERRUPTED ? EVENT_RESUMED : EVENT_INEXACT);
    source_reply_held_resume(s);
    lease_serve(s);
    if (lease_all_back(s))
        source_all_sent(s);     /* it has everything: late frames, or a dump that was loaded */
}

/* The target's word decides what becomes of a source that has pivoted. */
static void take_answer(struct session *s, const struct message *reply)
{
    enum session_state state = state_find(ROLE_TARGET, node_text(reply->root, "state"));
    if (state == TARGET_OPERATIVE && s->state == SOURCE_INTERRUPTED) {
        source_reply_held_resume(s);
        source_let_go(s);
    } else if (state == TARGET_ABANDONED || state == TARGET_ABANDONING) {
        source_abandoned(s);
    } else if (state == TARGET_CANCELLED || !state) {
        source_given_up(s);
    } else if (s->damaged) {
        source_retry_later(s, NULL);
    } else {
        stream_again(s, reply);
    }
}

static void attempt_answered(void *opaque, uint64_t tag, int r, const struct message *reply, const struct df_error *err)
{
    struct session *s = opaque;
    if (reply)
        link_heard(s);
    if (tag != s->epoch)
        return;
    s->asking = false;
    if (s->state != SOURCE_SEALING && s->state != SOURCE_INTERRUPTED)
        return;
    if (r >= 0) {
        take_answer(s, reply);
    } else if (!reply && s->state == SOURCE_SEALING) {
        link_interrupt(s, err);
    } else {
        source_retry_later(s, err);
        if (reply)
            source_fail_held_resume(s, err);
    }
}

void attempt_send(struct session *s)
{
    struct out out;
    uint64_t id;
    s->asking = true;
    peer_begin(&out, "attempt", &id);
    out_text(&out, "session", s->text);
    out_u64(&out, "epoch", s->epoch);
    peer_send(s->peer, &out, id, RETRY_MS, attempt_answered, s, s->epoch);
}

/* The journal first: an epoch is never used for something else after a restart. */
void attempt_next(struct session *s)
{
    s->epoch++;
    session_save(s);
    attempt_send(s);
    if (s->dump_epoch)
        dump_session(s);    /* the one that is there is of an older attempt */
}
