/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The hand-over of a session, for spin: the six invariants, whatever is lost, repeated or late
 * and whichever daemon dies when.  tests/models.sh runs it, and then with each of the switches
 * below, which must fail.
 *
 * Who takes part
 *     source        src/session/prepare.c pivot.c lease.c seal.c attempt.c link.c source.c
 *     target        src/session/target.c incoming.c receive.c; `reclaim` is src/bitmap/handover.c
 *                   (both restart by recover.c)
 *     source_guest, target_guest    write to the disks; on the target only after its pivot was answered
 *     monitor       looks at what must hold in every state
 * The orchestrator has no state: it may demand anything at any time, again and again, except that
 * it pivots the target only after the source has answered.  States and events are those of
 * proto/states.txt.
 *
 * How it is done
 *     Crash      What a daemon does is a set of steps, each "if that is so, do this", that look at
 *                shared memory and the journal only.  So a daemon that died is one that does not
 *                take a step for a while and then has lost what was in its memory: one more step.
 *                That is the rule for the code: write the journal first, then do what it
 *                announces, then answer; after a restart do again what the records lack.
 *                What may survive or not (which chunks were received) may get lost here.
 *     Messages   A request stays in the bag of what was ever sent: the receiver may take it never,
 *                late, in any order, any number of times.  What says for good how far the peer is
 *                (cancelled, operative, ...) is read from the peer's state, at any time.  An
 *                answer to attempt and seal arrives at once or never: a peer that waits does
 *                nothing else, so when it arrives makes no difference.
 *     Link loss  The same, and a step by which the source notices it.
 *     Frames     Each may be damaged.  It brings what is in the source's bitmap, which stands
 *                still while frames are taken: moving_map.
 *
 * What is left out, and why that suffices
 *     Two bitmaps with one chunk of one bit: "all is here" is already a matter of several things
 *     that come, are compared and are merged one by one.  Marks, looks at the epoch and the merge
 *     bit by bit: recording.pml; a write is one step here, but for a section that may be open
 *     when the source pivots.  Workers and leases: a range that is leased again is sent again.
 *     Crash of a host: what is not trusted then says `inconsistent` (EVENT_CRASHED).
 *     `abandon --all-dirty`: the bitmap then has every bit and need not say inconsistent.
 *     Several sessions on one disk, whose fence one of them inherits from another.
 *
 * Switches that break it, and what spin finds
 *     DROP_CHILD          the child is dropped and not merged: lost_write
 *     NO_DIGEST           what is complete is exact, digests are not compared: inexact_merge
 *     NO_EXACT            a parent that is exact takes frames on: lost_write
 *     EARLY_RELEASE       the source lets go when sealed, not when the target is operative: no_copy
 *     EARLY_USE           a frozen parent can be used: early_use
 *     ROLLBACK_ALWAYS     the source rolls back without asking the target: two_sides
 *     LATE_CANCEL         the target cancels after its pivot: rollback_after_pivot
 *     TARGET_FIRST        the orchestrator pivots the target first: two_sides
 *     NO_DRAIN            the source's pivot does not wait for open sections: late_write
 *     NO_REFENCE          a source that died while fencing takes the fence for granted: two_sides
 *     PIVOT_UNCHECKED     a repeated pivot is answered although a child does not record yet: lost_write
 *     PIVOT_THEN_JOURNAL  the target's children record before the journal says so: rollback_after_pivot
 *     SEAL_THEN_JOURNAL   a seal is answered before the journal has it: hollow_seal
 *     FORGET_ENDED        the target does not know ended sessions after a restart: two_sides
 *     ABANDON_CLEAN       a bitmap whose source's bits are given up does not say so: early_use
 * ONLY=name looks for that one only.
 */

#define EPOCHS 3        /* attempts */

/* What must never be.  An assertion that fails shows its name. */
hidden byte
    lost_write = 1,             /* 1: acknowledged, nowhere recorded */
    early_use = 2,              /* 2: a bitmap can be used that has not all bits and does not say so */
    late_write = 3,             /* 3: a write succeeds on the source after its pivot */
    two_sides = 4,              /* 3: both sides can be written to */
    rollback_after_pivot = 5,   /* 3: a way back although the child has recorded */
    inexact_merge = 6,          /* 4: the parent differs from the source */
    moving_map = 7,             /* 4: the source's bitmap changes while it is sent */
    hollow_seal = 8,            /* 5: the source believes that the target has all bits */
    other_result = 9,           /* 5: the operative bitmap is not what it would be without faults */
    no_copy = 10;               /* 6: the full content is nowhere */
#ifdef ONLY
#define never(what, fact)   assert(!(fact) || what != ONLY)
#else
#define never(what, fact)   assert(!(fact) || !what)
#endif

/* ---- source.  The journal: */

#define S_NONE          0
#define S_PREPARING     1
#define S_PREPARED      2
#define S_FENCING       3
#define S_STREAMING     4
#define S_SEALING       5
#define S_SEALED        6
#define S_INTERRUPTED   7
#define S_RELEASED      8
#define S_FAILED        9
#define S_CANCELLED     10
#define S_ROLLED_BACK   11
#define S_ABANDONED     12

byte s_state = S_NONE;
byte s_epoch = 1;

#define s_is_streamed   (s_state == S_STREAMING || s_state == S_SEALING || s_state == S_SEALED || s_state == S_INTERRUPTED)
/* It has answered the pivot once, so the orchestrator may have sent the target's. */
#define s_has_pivoted   (s_is_streamed || s_state == S_RELEASED || s_state == S_ROLLED_BACK || s_state == S_ABANDONED)

/* shared memory: */
#define IDLE        0
#define TAKEN       1       /* source */
#define GONE        2       /* source: discarded */

byte s_record[2] = IDLE;
bool s_map[2];
bool s_fence;
byte s_open;                /* section: bitmap + 1 */

/* lost with the daemon: */
bool s_work[2];             /* to be sent */
bool s_exact[2];            /* seals that were answered so */
bool s_asking;              /* attempt s_epoch is not answered */

/* ---- what was sent and may arrive at any time.  An `attempt` was sent for each epoch from 2 to s_epoch. */

bool offered;
bool frame[2 * EPOCHS + 2]; /* 2 * epoch + bitmap */
bool seal[EPOCHS + 1];

/* ---- target.  The journal: */

#define T_NONE          0
#define T_PREPARED      1
#define T_FILLED        2
#define T_RECEIVING     3
#define T_MERGING       4
#define T_OPERATIVE     5
#define T_CANCELLED     6
#define T_ABANDONING    7
#define T_ABANDONED     8

byte t_state = T_NONE;
byte t_epoch = 1;
bool t_exact[2];

#define t_takes_frames  (t_state == T_PREPARED || t_state == T_RECEIVING)
#define t_has_given_up  (t_state == T_ABANDONING || t_state == T_ABANDONED)
#define t_is_complete   (t_state == T_FILLED || t_state == T_MERGING || t_state == T_OPERATIVE)

/* shared memory: */
#define NO_RECORD   1       /* target */
#define LOCKED      2
#define FROZEN      3
#define RECLAIMING  4

byte t_record[2] = NO_RECORD;
bool t_map[2], t_child[2];
bool t_inconsistent[2];

/* lost with the daemon: */
bool t_received[2];

/* ---- what really happened */

bool guest_moved;           /* the orchestrator has the answer to the target's pivot */
bool child_recorded;
bool s_acknowledged[2], t_acknowledged[2];  /* writes */

/* ------------------------------------------------------------------ source */

#define s_records_are(what) (s_record[0] == what && s_record[1] == what)

inline s_set_records(what)
{
    s_record[0] = what;
    s_record[1] = what
}

inline s_forget()
{
    s_work[0] = false;
    s_work[1] = false;
    s_exact[0] = false;
    s_exact[1] = false;
    s_asking = false
}

inline send_frame(b)
{
    s_work[b] = false;
    frame[2 * s_epoch + b] = true
}

#ifdef NO_REFENCE
#define is_fenced       true
#else
#define is_fenced       s_fence
#endif
#ifdef NO_DRAIN
#define is_drained      true
#else
#define is_drained      !s_open
#endif
#ifdef ROLLBACK_ALWAYS
#define may_roll_back   true
#else
#define may_roll_back   (t_state == T_CANCELLED)
#endif
#ifdef EARLY_RELEASE
#define may_let_go      (s_state == S_SEALED)
#else
#define may_let_go      ((s_state == S_SEALED || s_state == S_INTERRUPTED) && t_state == T_OPERATIVE)
#endif

active proctype source()
{
end:
    do
    /* prepare: the journal, then take, then offer */
    :: atomic { s_state == S_NONE -> s_state = S_PREPARING }
    :: atomic { s_state == S_PREPARING && s_records_are(IDLE) -> s_set_records(TAKEN); offered = true }
    :: atomic { s_state == S_PREPARING && offered && t_state != T_NONE -> s_state = S_PREPARED }
    :: atomic { s_state == S_PREPARING -> s_state = S_FAILED }          /* refused, or no answer */

    /* pivot: the journal, then the fence, then the sections, then the journal and the answer */
    :: atomic { s_state == S_PREPARED -> s_state = S_FENCING }
    :: d_step { s_state == S_FENCING && !s_fence -> s_fence = true }
    :: atomic {
            s_state == S_FENCING && is_fenced && is_drained ->
            s_state = S_STREAMING;
            s_work[0] = true;
            s_work[1] = true
        }
    :: atomic { s_state == S_FENCING -> s_state = S_PREPARED }          /* stuck, or the daemon was restarted */
    :: d_step { s_state == S_PREPARED && s_fence -> s_fence = false }

    /* stream and seal */
    :: d_step { s_state == S_STREAMING && s_work[0] -> send_frame(0) }
    :: d_step { s_state == S_STREAMING && s_work[1] -> send_frame(1) }
    :: d_step {
            s_state == S_STREAMING && !s_work[0] && !s_work[1] ->
            s_state = S_SEALING;
            seal[s_epoch] = true
        }
    :: atomic { s_state == S_SEALING && s_exact[0] && s_exact[1] -> s_state = S_SEALED; s_forget() }

    /* the link is lost; attempt: resume, or something was missing, wrong or not answered */
    :: atomic { s_state == S_STREAMING || s_state == S_SEALING -> s_state = S_INTERRUPTED; s_forget() }
    :: d_step {
            (s_state == S_SEALING || s_state == S_INTERRUPTED) && s_epoch < EPOCHS ->
            s_epoch++;
            s_asking = true
        }

    /* the end, and the ways back: the journal, then the records and the fence */
    :: atomic { may_let_go -> s_state = S_RELEASED; s_forget() }
    :: d_step { s_state == S_RELEASED && s_records_are(TAKEN) -> s_set_records(GONE) }
    :: atomic { (s_state == S_SEALED || s_state == S_INTERRUPTED) && t_has_given_up -> s_state = S_ABANDONED; s_forget() }
    :: d_step { s_state == S_ABANDONED && s_records_are(TAKEN) -> s_set_records(IDLE) }     /* the disk stays read-only */
    :: atomic { s_state == S_PREPARED -> s_state = S_CANCELLED }
    :: d_step {
            s_is_streamed && may_roll_back ->
            s_state = S_ROLLED_BACK;
            s_forget()
        }
    :: d_step {
            (s_state == S_FAILED || s_state == S_CANCELLED || s_state == S_ROLLED_BACK) && (s_fence || s_records_are(TAKEN)) ->
            s_fence = false;
            s_set_records(IDLE)
        }

    /* crash and restart */
    :: atomic {
            s_forget();
            if
            :: s_state == S_STREAMING || s_state == S_SEALING -> s_state = S_INTERRUPTED
            :: else
            fi
        }
    od
}

/* ------------------------------------------------------------------ target */

/* A late frame or seal of an older attempt is ignored for ever: it may as well go out of the bag. */
inline t_set_epoch(e)
{
    do
    :: t_epoch < e ->
        frame[2 * t_epoch] = false;
        frame[2 * t_epoch + 1] = false;
        seal[t_epoch] = false;
        t_epoch++
    :: else -> break
    od
}

inline take_frame(b)
{
#ifdef NO_EXACT
    if
    :: t_map[b] = s_map[b]
    fi;
#else
    if
    :: t_map[b] = s_map[b]
    :: t_map[b] = !s_map[b]         /* damaged */
    fi;
#endif
    t_received[b] = true
}

#ifdef NO_EXACT
#define wants_frame(b)  (t_record[b] != NO_RECORD)
#else
#define wants_frame(b)  (t_takes_frames && t_record[b] != NO_RECORD && !t_exact[b] && !t_received[b])
#endif

#define is_missing(b)   (!t_exact[b] && !t_received[b])

inline answer_attempt(e)
{
    if
    :: s_asking && s_epoch == e && (s_state == S_SEALING || s_state == S_INTERRUPTED) ->
        s_asking = false;
        s_work[0] = !t_is_complete && is_missing(0);
        s_work[1] = !t_is_complete && is_missing(1);
        s_exact[0] = s_exact[0] && !s_work[0];
        s_exact[1] = s_exact[1] && !s_work[1];
        s_state = S_STREAMING
    :: true                         /* it is lost, or nobody waits for it any more */
    fi
}

inline take_attempt(e)
{
    atomic {
        s_epoch >= e && ((t_takes_frames && t_epoch <= e) || t_is_complete) ->
        if
        :: t_takes_frames -> t_set_epoch(e)
        :: else
        fi;
        answer_attempt(e)
    }
}

inline answer_seal(b)
{
    if
    :: s_state == S_SEALING && !s_asking && s_epoch == t_epoch -> s_exact[b] = true
    :: true
    fi
}

inline compare(b)
{
    if
#ifdef NO_DIGEST
    :: t_received[b] || t_exact[b]
#else
    :: t_exact[b] || (t_received[b] && t_map[b] == s_map[b])
#endif
        ->
        t_exact[b] = true;
        if
        :: t_exact[0] && t_exact[1] -> t_state = (t_state == T_PREPARED -> T_FILLED : T_MERGING)
        :: else
        fi;
        answer_seal(b)
    :: else -> t_received[b] = false        /* missing, or wrong: to be sent again */
    fi
}

/* OR, and the child goes away; the disk's guest may go on meanwhile, see recording.pml. */
inline reclaim(b)
{
#ifndef DROP_CHILD
    t_map[b] = t_map[b] || t_child[b];
#endif
    t_child[b] = false;
    t_record[b] = IDLE
}

inline discard(b)
{
    t_record[b] = NO_RECORD;
    t_map[b] = false;
    t_child[b] = false
}

#define is_with_child(b)    (t_record[b] == LOCKED || t_record[b] == FROZEN)

/* The steps that concern one bitmap. */
inline t_bitmap(b)
{
    if
    /* offer */
    :: d_step { t_state == T_PREPARED && t_record[b] == NO_RECORD -> t_record[b] = LOCKED }

    /* pivot */
#ifdef PIVOT_THEN_JOURNAL
    :: d_step { t_state == T_PREPARED && s_has_pivoted && t_record[b] == LOCKED -> t_record[b] = FROZEN; child_recorded = true }
#endif
    :: d_step { t_state == T_RECEIVING && t_record[b] == LOCKED -> t_record[b] = FROZEN; child_recorded = true }

    /* data */
    :: atomic { wants_frame(b) && frame[2 * t_epoch + b] -> take_frame(b) }
    :: atomic { t_takes_frames && seal[t_epoch] -> compare(b) }
    :: atomic { t_is_complete && seal[t_epoch] -> answer_seal(b) }

    /* merge */
    :: d_step {
            t_state == T_MERGING && is_with_child(b) ->
            never(inexact_merge, s_record[b] == GONE || t_map[b] != s_map[b]);
            t_record[b] = RECLAIMING;
            child_recorded = true
        }
    :: d_step { (t_state == T_MERGING || t_state == T_ABANDONING) && t_record[b] == RECLAIMING -> reclaim(b) }

    /* abandon */
    :: d_step {
            t_state == T_ABANDONING && is_with_child(b) ->
#ifndef ABANDON_CLEAN
            t_inconsistent[b] = true;
#endif
            t_record[b] = RECLAIMING
        }

    /* cancel */
    :: d_step { t_state == T_CANCELLED && t_record[b] != NO_RECORD -> discard(b) }
    fi
}

#define t_is_idle(b)    (t_record[b] == IDLE || t_record[b] == NO_RECORD)

#ifdef TARGET_FIRST
#define may_pivot       (s_state >= S_PREPARED)
#else
#define may_pivot       s_has_pivoted
#endif
#ifdef PIVOT_UNCHECKED
#define do_record       true
#else
#define do_record       (t_record[0] != LOCKED && t_record[1] != LOCKED)
#endif
#ifdef LATE_CANCEL
#define may_cancel      (t_state == T_PREPARED || t_state == T_FILLED || t_state == T_RECEIVING)
#else
#define may_cancel      (t_state == T_PREPARED || t_state == T_FILLED)
#endif

active proctype target()
{
end:
    do
    :: t_bitmap(0)
    :: t_bitmap(1)

    :: atomic { offered && t_state == T_NONE -> t_state = T_PREPARED }

    /* pivot: the journal, then the children record, then the answer; it may be asked for again */
#ifdef PIVOT_THEN_JOURNAL
    :: atomic { t_state == T_PREPARED && t_record[0] == FROZEN && t_record[1] == FROZEN -> t_state = T_RECEIVING }
#else
    :: atomic { may_pivot && t_state == T_PREPARED && t_record[0] == LOCKED && t_record[1] == LOCKED -> t_state = T_RECEIVING }
#endif
    :: atomic { may_pivot && t_state == T_FILLED -> t_state = T_MERGING }
    :: d_step {
            (t_state == T_RECEIVING || t_state == T_MERGING || t_state == T_OPERATIVE) && do_record ->
            guest_moved = true
        }

    /* attempt */
    :: take_attempt(2)
    :: take_attempt(3)

    :: atomic { t_state == T_MERGING && t_record[0] == IDLE && t_record[1] == IDLE -> t_state = T_OPERATIVE }

    /* cancel, from the source (also late) or from the orchestrator */
    :: atomic { may_cancel -> t_state = T_CANCELLED }

    /* abandon */
    :: atomic {
            t_state == T_PREPARED || t_state == T_FILLED || t_state == T_RECEIVING || t_state == T_MERGING ->
            t_state = T_ABANDONING
        }
    :: atomic { t_state == T_ABANDONING && t_is_idle(0) && t_is_idle(1) -> t_state = T_ABANDONED }

    /* crash and restart */
    :: atomic {
            t_received[0] = false;
            t_received[1] = false;
#ifdef SEAL_THEN_JOURNAL
            if
            :: t_takes_frames -> t_exact[0] = false; t_exact[1] = false
            :: else
            fi;
#endif
#ifdef FORGET_ENDED
            if
            :: t_state == T_CANCELLED -> t_state = T_NONE; discard(0); discard(1)
            :: else
            fi
#endif
        }
    od
}

/* ------------------------------------------------------------------ guests */

inline source_write(b)
{
    d_step {
        !s_fence && !s_open ->
        never(moving_map, s_is_streamed && !s_map[b]);
        s_map[b] = true;
        s_open = b + 1
    }
}

active proctype source_guest()
{
end:
    do
    :: source_write(0)
    :: source_write(1)
    :: d_step {
            s_open ->
            never(late_write, s_is_streamed || s_state == S_RELEASED);
            s_acknowledged[s_open - 1] = true;
            s_open = 0
        }
    od
}

inline target_write(b)
{
    d_step {
        guest_moved ->
        if
        :: t_record[b] == FROZEN -> t_child[b] = true
        :: t_record[b] == RECLAIMING || t_record[b] == IDLE -> t_map[b] = true
        :: else
        fi;
        t_acknowledged[b] = true
    }
}

active proctype target_guest()
{
end:
    do
    :: target_write(0)
    :: target_write(1)
    od
}

/* ----------------------------------------------------------------- monitor */

#define s_is_full(b)    (s_record[b] != GONE && (s_map[b] || !s_acknowledged[b]))
#define t_is_full(b)    (t_map[b] || !(s_acknowledged[b] || t_acknowledged[b]))
#ifdef EARLY_USE
#define t_can_be_used(b)    (t_record[b] != NO_RECORD && !t_inconsistent[b])
#else
#define t_can_be_used(b)    (t_record[b] == IDLE && !t_inconsistent[b])
#endif

inline look_at(b)
{
    never(lost_write, s_acknowledged[b] && !(s_record[b] != GONE && s_map[b]) && !t_map[b] && !t_inconsistent[b]);
    never(lost_write, t_acknowledged[b] && !t_map[b] && !t_child[b] && !t_inconsistent[b]);
    never(early_use, t_can_be_used(b) && !t_is_full(b));
    never(early_use, s_record[b] == IDLE && !s_is_full(b));
    never(other_result, t_state == T_OPERATIVE && t_map[b] != (s_map[b] || t_acknowledged[b]));
    never(no_copy, !s_is_full(b) && !(t_state == T_OPERATIVE && t_record[b] == IDLE && t_is_full(b)))
}

active proctype monitor()
{
end:
    do
    :: d_step {
            look_at(0);
            look_at(1);
            never(two_sides, !s_fence && (guest_moved || t_state == T_RECEIVING || t_state == T_MERGING || t_state == T_OPERATIVE));
            never(rollback_after_pivot, child_recorded && (t_state == T_CANCELLED || s_state == S_ROLLED_BACK));
            never(hollow_seal, s_state == S_SEALED && t_takes_frames)
        }
    od
}
