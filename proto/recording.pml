/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The recording of writes, for spin: may a write get lost, whoever dies when?
 * tests/models.sh runs it, and then with each of the switches below, which must fail.
 *
 * Who takes part
 *     writer (two)  src/bitmap/writer.c and mark.c, step by step; may be killed anywhere
 *     daemon        handover.c, section.c, pivot.c: unlock or freeze, reclaim (may be killed
 *                   and called again), fence, drain, read the map
 *     reaper        section.c: reap(), by whoever comes across the section of a dead writer
 *     monitor       looks at what must hold in every state
 *
 * Names
 *     epoch         disk->shared->epoch.  A number that only grows; here it names the phase
 *     active(e)     disk->shared->active: the map that a write marks under epoch e
 *     section       disk->shared->sections[i].open (OPEN is SECTION_ASKS there)
 *     locked        the lock on the disk file: a reaper excludes those who bump the epoch
 *     summary,leaf  a map: one block of two bits, so that both writers share the summary bit
 *
 * What is left out, and why that suffices
 *     Several bitmaps of a disk: a writer marks one after the other, all between the same two
 *     looks.  The table and the list of active maps that the epoch publishes: a list that was
 *     filled anew meanwhile shows by the epoch, and the writer looks again (table.c).  Memory
 *     order: spin interleaves whole steps in one order for all; the code gets that order from
 *     seq_cst at exactly these steps.  Storage: a map that cannot grow says `inconsistent`.
 *     A third writer, a second bump: what one writer can do to another is to set a bit that
 *     the other then skips, and to hold a section open; two suffice for both.
 *
 * Switches that change what is looked at
 *     LIVE                 the bitmap was in use and is frozen (df_bitmap_freeze), not locked and unlocked
 *     WRITES=2, BOTH_DIE   more of the same, each a minute and a gigabyte: for those who change the algorithm
 *
 * Switches that break it, and what spin finds
 *     NO_SECOND_LOOK       a writer never looks at the epoch again: lost_write
 *     NO_LAST_LOOK         it does not at the end of a section: lost_write
 *     LEAF_FIRST           leaf bit before summary bit: lost_write, leaf_without_summary
 *     NO_BUMP              reclaim ORs before writers go to the parent again: lost_write
 *     NO_FENCE             a writer does not look at the fence: lost_write, late_write
 *     NO_DRAIN             the pivot does not wait for open sections: lost_write, late_write
 *     NO_REAP              sections of the dead are closed but not marked: lost_half_write
 *     REAP_REFUSED         they are marked even where the write was not admitted: moving_map
 * ONLY=name looks for that one only.
 */

#ifndef WRITES
#define WRITES 1        /* by each writer */
#endif

/* What must never be.  An assertion that fails shows its name. */
hidden byte
    lost_write = 1,             /* invariant 1: acknowledged, and not in the operative map */
    lost_half_write = 2,        /* ... done by a writer that died before it could acknowledge */
    leaf_without_summary = 3,   /* whoever goes by the summary misses the bit */
    late_write = 4,             /* invariant 3: I/O after the pivot was acknowledged */
    moving_map = 5;             /* the map that is being streamed changes */
#ifdef ONLY
#define never(what, fact)   assert(!(fact) || what != ONLY)
#else
#define never(what, fact)   assert(!(fact) || !what)
#endif

/* ---- the disk: shared memory, survives everybody */

#define BEGIN       0       /* nothing records (add_frozen); LIVE: the bitmap itself does */
#define FROZEN      1       /* the child records */
#define RECLAIMING  2       /* the parent records and takes the child's bits */
#define IDLE        3
#define FENCED      4       /* no write begins */
#define WRITABLE    5       /* the drain took too long */
#define FENCED_2    6

#define NO_MAP      0
#define PARENT      1
#define CHILD       2

byte epoch = BEGIN;
bool locked;
bool summary[3];
bool leaf[6];

#ifdef LIVE
#define active(e)           (e == FROZEN -> CHILD : PARENT)
#else
#define active(e)           (e == BEGIN -> NO_MAP : (e == FROZEN -> CHILD : PARENT))
#endif
#define is_fenced(e)        (e == FENCED || e == FENCED_2)
#define leaf_of(map, at)    leaf[2 * (map) + (at)]

#define CLOSED      0
#define OPEN        1       /* the writer has not looked at the fence yet: nothing is on the disk */
#define ADMITTED    2       /* it may write: from here on there can be I/O */

byte section[2];
bool section_at[2];
bool dead[2];

/* ---- what really happened */

bool written[2];            /* while the bitmap recorded */
bool acknowledged[2];       /* ... and the guest was told */
bool drained;               /* the pivot is acknowledged */
bool copy[2];               /* the bits that the workers read from the drained map */

/*
 * ---- mark.c.  "OR, skipped if it is set already" is one step: whether the bit is seen set or
 * is set, it is set from then on, for no bit is ever cleared.
 */

inline set_leaf(map, at)
{
    d_step {
        never(moving_map, drained && map == PARENT && !leaf_of(PARENT, at));
        leaf_of(map, at) = true
    }
}

inline mark(map, at)
{
    if
    :: map == NO_MAP
#ifdef LEAF_FIRST
    :: map != NO_MAP && leaf_of(map, at)
    :: map != NO_MAP && !leaf_of(map, at) ->
        set_leaf(map, at);
        summary[map] = true
#else
    :: atomic { map != NO_MAP -> summary[map] = true };
        set_leaf(map, at)
#endif
    fi
}

/* ---- writer.c.  Its steps have the numbers of the note at the head of that file. */

proctype writer(byte me)
{
    byte seen, writes;
    bool at, counts;

    {
        do
        :: atomic {
                writes < WRITES ->
                writes++;
                if
                :: at = 0
                :: me == 1 -> at = 1                        /* the same range as the other, or not */
                fi;
                section_at[me] = at;
                section[me] = OPEN                          /* 1 */
            }
again:
            atomic {
                seen = epoch;                               /* 2 */
#ifndef NO_FENCE
                if
                :: is_fenced(seen) -> goto close
                :: else
                fi
#endif
            }
            mark(active(seen), at);                         /* 3 */
#ifndef NO_SECOND_LOOK
            if                                              /* 4 */
            :: epoch == seen
            :: epoch != seen -> goto again
            fi;
#endif
            section[me] = ADMITTED;

            atomic {                                        /* the I/O */
                never(late_write, drained);
                counts = active(epoch) != NO_MAP;
                written[at] = written[at] || counts
            }

#if !defined(NO_SECOND_LOOK) && !defined(NO_LAST_LOOK)
            do                                              /* 5 */
            :: epoch == seen -> break
            :: atomic { epoch != seen -> seen = epoch };
                mark(active(seen), at)
            od;
#endif
            acknowledged[at] = acknowledged[at] || counts;
close:
            atomic {
                section[me] = CLOSED;                       /* 6 */
                at = 0;
                seen = 0;
                counts = 0
            }
        :: break
        od
    } unless {
        atomic {
            dead[me] ->
            at = 0;
            seen = 0;
            counts = 0;
            writes = 0
        }
    }
}

/* ---- section.c */

inline reap(i)
{
    atomic {
        dead[i] && section[i] != CLOSED && !locked ->
        locked = true
    }
#ifndef NO_REAP
    if
#ifdef REAP_REFUSED
    :: section[i] != CLOSED
#else
    :: section[i] == ADMITTED
#endif
    -> mark(active(epoch), section_at[i])
    :: else
    fi;
#endif
    atomic {
        section[i] = CLOSED;
        locked = false
    }
}

active proctype reaper()
{
end:
    do
    :: reap(0)
    :: reap(1)
    od
}

/* ---- table.c, handover.c, merge.c, pivot.c */

inline publish(e)
{
    atomic {
        !locked ->
        epoch = e
    }
}

inline merge_child()        /* by the summary */
{
    if
    :: summary[CHILD] ->
        if
        :: leaf_of(CHILD, 0) -> mark(PARENT, 0)
        :: else
        fi;
        if
        :: leaf_of(CHILD, 1) -> mark(PARENT, 1)
        :: else
        fi
    :: else
    fi
}

inline wait_for_sections()
{
#ifdef NO_DRAIN
    skip
#else
    section[0] == CLOSED;
    section[1] == CLOSED
#endif
}

active proctype daemon()
{
    atomic {
        run writer(0);
        run writer(1)
    }
    publish(FROZEN);                    /* df_bitmap_unlock; LIVE: df_bitmap_freeze */

#ifdef NO_BUMP
    merge_child();
    publish(RECLAIMING);
#else
    publish(RECLAIMING);                /* df_bitmap_reclaim */
    do
    :: merge_child();
        if
        :: break
        :: skip                         /* killed: called again */
        fi
    od;
#endif
    publish(IDLE);                      /* the child is dropped */

    publish(FENCED);                    /* source_pivot */
    if
    :: wait_for_sections()
    :: publish(WRITABLE);               /* give_up_drain, and once more */
        publish(FENCED_2);
        wait_for_sections()
    fi;
    d_step {                            /* workers that read at once, by the summary, miss the most */
        drained = true;
        copy[0] = summary[PARENT] && leaf_of(PARENT, 0);
        copy[1] = summary[PARENT] && leaf_of(PARENT, 1)
    }
}

/* Either writer may be killed, at any moment. */
active proctype killer()
{
end:
#ifdef BOTH_DIE
    do
    :: !dead[0] -> dead[0] = true
    :: !dead[1] -> dead[1] = true
    od
#else
    if
    :: dead[0] = true
    :: dead[1] = true
    fi
#endif
}

#define is_recorded(at)     (leaf_of(PARENT, at) || (epoch < IDLE && leaf_of(CHILD, at)))

/* Has no state of its own: each state of the others is looked at. */
active proctype monitor()
{
end:
    do
    :: d_step {
            never(lost_write, acknowledged[0] && !is_recorded(0));
            never(lost_write, acknowledged[1] && !is_recorded(1));
            never(lost_write, drained && acknowledged[0] && !copy[0]);
            never(lost_write, drained && acknowledged[1] && !copy[1]);
            never(lost_half_write, drained && written[0] && !copy[0]);
            never(lost_half_write, drained && written[1] && !copy[1]);
            never(leaf_without_summary, !summary[PARENT] && (leaf_of(PARENT, 0) || leaf_of(PARENT, 1)));
            never(leaf_without_summary, !summary[CHILD] && (leaf_of(CHILD, 0) || leaf_of(CHILD, 1)))
        }
    od
}
