// SPDX-License-Identifier: BSD-3-Clause
/*
 * From "all is sent" to "let go": digests, and the wait for the target to be
 * operative.  Whatever gets lost on the way is asked again.
 */
#include "session/source.h"

#include <errno.h>
#include <inttypes.h>

#include "base/clock.h"
#include "base/error.h"

void source_retry_later(struct session *s, const struct df_error *err)
{
    if (err && !s->damaged)     /* what is damaged says what to do */
        session_note(s, err);
    if (s->state != SOURCE_INTERRUPTED)     /* there link.c says when */
        s->retry_ms = clock_ms() + RETRY_MS;
}

static void send_seal(struct session *s, unsigned i);

/* On a slow link what the target lacks is in the queues still, and it goes on taking it: nothing is sent twice then. */
static bool is_on_its_way(const struct session *s)
{
    return s->bytes - s->sent_mark > s->taken - s->taken_mark && clock_ms() - s->taken_ms < STALLED_MS;
}

static void sealed(struct session *s)
{
    bool exact = true;
    for (unsigned i = 0; i < s->nbitmaps; i++)
        exact = exact && s->bitmaps[i].exact;
    if (exact) {
        s->message[0] = 0;
        session_step(s, EVENT_EXACT);
        seal_wait(s);
    } else if (s->seal_failed) {
        s->retry_ms = clock_ms() + REFUSED_MS;
    } else if (is_on_its_way(s)) {
        s->seal_again = true;
        s->retry_ms = clock_ms() + BEAT_MS;
    } else {
        attempt_next(s);
    }
}

/* The tag says which epoch and which bitmap; what was asked in an older epoch does not count any more. */
static void seal_answered(void *opaque, uint64_t tag, int r, const struct message *reply, const struct df_error *err)
{
    struct session *s = opaque;
    unsigned i = (unsigned)(tag % WIRE_SESSION_BITMAPS);
    if (reply)
        link_heard(s);
    if (s->state != SOURCE_SEALING || tag / WIRE_SESSION_BITMAPS != s->epoch)
        return;
    s->seals--;
    if (!reply && clock_ms() - s->taken_ms < STALLED_MS) {
        send_seal(s, i);    /* a slow link: frames still arrive, and the seal waits for them */
        return;
    }
    s->seal_failed = s->seal_failed || r < 0;
    if (r < 0)
        session_note(s, err);
    else
        s->bitmaps[i].exact = node_bool(reply->root, "exact");
    if (!s->seals)
        sealed(s);
}

static void send_seal(struct session *s, unsigned i)
{
    struct session_bitmap *b = &s->bitmaps[i];
    struct out out;
    uint64_t id, digests[WIRE_SEGMENTS];
    for (size_t d = 0; d < b->work.ndigests; d++)
        digests[d] = htole64(b->work.digests[d]);
    peer_begin(&out, "seal", &id);
    out_text(&out, "session", s->text);
    out_u64(&out, "epoch", s->epoch);
    out_u64(&out, "handle", b->handle);
    out_bin(&out, "digests", digests, b->work.ndigests * sizeof *digests);
    s->seals++;
    peer_send(s->peer, &out, id, RETRY_MS, seal_answered, s, (uint64_t)s->epoch * WIRE_SESSION_BITMAPS + i);
}

/* The target may have been restarted since a bitmap was exact: each is compared again. */
void seal_begin(struct session *s)
{
    if (s->digesting)
        return;
    s->seals = 0;
    s->seal_failed = s->seal_again = false;
    for (unsigned i = 0; i < s->nbitmaps; i++) {
        s->bitmaps[i].exact = false;
        send_seal(s, i);
    }
}

void source_all_sent(struct session *s)
{
    s->retry_ms = 0;
    source_flows(s);
    session_step(s, EVENT_SENT);
    seal_begin(s);
}

/* ---------------------------------------------------------------- let go */

static void dropped(struct session *s)
{
    uint64_t late_bytes = remote_late_bytes(s);
    struct df_error late;
    s->letting_go = false;
    source_discard(s);
    if (!s->tidy)
        s->message[0] = 0;
    if (late_bytes) {
        error_set(&late, -EROFS, "%" PRIu64 " bytes were written on the source after the pivot: what was written there late is not in the target's bitmap", late_bytes);
        session_note(s, &late);
    }
    session_step(s, EVENT_OPERATIVE);
    source_reply_held_resume(s);
}

static void operative_durably(struct session *s, int r, const struct df_error *err)
{
    if (r < 0) {
        s->letting_go = false;
        source_retry_later(s, err);
        return;
    }
    remote_tidy(s, REMOTE_DROP, dropped);
}

/*
 * Invariant 6: the source's copy goes when the target's is operative, not
 * before; and the journal must not forget that it is, for a host that comes up
 * again with an older one would ask for a copy that is not there.
 */
void source_let_go(struct session *s)
{
    struct df_error err;
    if (s->letting_go)
        return;
    if (journal_write(s, SOURCE_RELEASED, &err) < 0) {
        source_retry_later(s, &err);
        return;
    }
    s->letting_go = true;
    durable_sync(s, false, operative_durably);
}

void source_discard(struct session *s)
{
    for (unsigned i = 0; i < s->nbitmaps; i++) {
        struct df_error err;
        struct session_bitmap *b = &s->bitmaps[i];
        if (b->backend && b->backend->ops->discard(b->backend, b->bitmap, s->uuid, &err) < 0)
            session_note(s, &err);
    }
    dump_remove(s);
}

static void wait_answered(void *opaque, uint64_t tag, int r, const struct message *reply, const struct df_error *err)
{
    struct session *s = opaque;
    (void)tag;
    s->asking = false;
    if (reply)
        link_heard(s);
    if (s->state != SOURCE_SEALED)
        return;
    enum session_state state = r < 0 ? STATE_NONE : state_find(ROLE_TARGET, node_text(node_map(reply->root, "status"), "state"));
    struct df_error lost;
    if (state == TARGET_OPERATIVE) {
        source_let_go(s);
    } else if (state == TARGET_ABANDONED) {
        source_abandoned(s);
    } else if (r < 0) {
        source_retry_later(s, err);
    } else if (state == TARGET_CANCELLED) {
        source_given_up(s);
    } else if (state == TARGET_PREPARED || state == TARGET_RECEIVING) {
        error_set(&lost, -ESTALE, "the target at '%s' does not know any more that it has every bit", s->peer_address.endpoint);
        link_interrupt(s, &lost);
    } else {
        s->retry_ms = clock_ms();
    }
}

void seal_wait(struct session *s)
{
    struct out out;
    uint64_t id;
    s->asking = true;
    peer_begin(&out, "wait", &id);
    out_text(&out, "session", s->text);
    out_text(&out, "role", "target");
    out_text(&out, "state", "operative");
    out_u64(&out, "timeout_ms", LEASE_HOLD_MS);
    peer_send(s->peer, &out, id, LEASE_HOLD_MS, wait_answered, s, 0);
}

int64_t seal_tick(struct session *s, int64_t now_ms)
{
    if (s->link_lost || (s->state != SOURCE_SEALING && s->state != SOURCE_SEALED))
        return INT64_MAX;
    if (s->retry_ms && now_ms >= s->retry_ms && !s->asking && !s->seals) {
        s->retry_ms = 0;
        (s->state == SOURCE_SEALED ? seal_wait : s->seal_again ? seal_begin : attempt_next)(s);
    }
    return s->retry_ms ? s->retry_ms : INT64_MAX;
}
