// SPDX-License-Identifier: BSD-3-Clause
#include "session/state.h"

#include <string.h>

static const struct {
    const char *name;
    enum session_role role;
    bool end;
} states[STATES] = {
    [STATE_NONE]         = { "none", ROLE_SOURCE, false },
    [SOURCE_PREPARING]   = { "preparing", ROLE_SOURCE, false },
    [SOURCE_PREPARED]    = { "prepared", ROLE_SOURCE, false },
    [SOURCE_FENCING]     = { "fencing", ROLE_SOURCE, false },
    [SOURCE_STREAMING]   = { "streaming", ROLE_SOURCE, false },
    [SOURCE_SEALING]     = { "sealing", ROLE_SOURCE, false },
    [SOURCE_SEALED]      = { "sealed", ROLE_SOURCE, false },
    [SOURCE_INTERRUPTED] = { "interrupted", ROLE_SOURCE, false },
    [SOURCE_RELEASED]    = { "released", ROLE_SOURCE, true },
    [SOURCE_FAILED]      = { "failed", ROLE_SOURCE, true },
    [SOURCE_CANCELLED]   = { "cancelled", ROLE_SOURCE, true },
    [SOURCE_ROLLED_BACK] = { "rolled-back", ROLE_SOURCE, true },
    [SOURCE_ABANDONED]   = { "abandoned", ROLE_SOURCE, true },
    [TARGET_PREPARED]    = { "prepared", ROLE_TARGET, false },
    [TARGET_FILLED]      = { "filled", ROLE_TARGET, false },
    [TARGET_RECEIVING]   = { "receiving", ROLE_TARGET, false },
    [TARGET_MERGING]     = { "merging", ROLE_TARGET, false },
    [TARGET_OPERATIVE]   = { "operative", ROLE_TARGET, true },
    [TARGET_ABANDONING]  = { "abandoning", ROLE_TARGET, false },
    [TARGET_CANCELLED]   = { "cancelled", ROLE_TARGET, true },
    [TARGET_ABANDONED]   = { "abandoned", ROLE_TARGET, true },
};

static const char *const events[EVENTS] = {
    [EVENT_START]     = "start",
    [EVENT_ACCEPTED]  = "accepted",
    [EVENT_REFUSED]   = "refused",
    [EVENT_PIVOT]     = "pivot",
    [EVENT_DRAINED]   = "drained",
    [EVENT_STUCK]     = "stuck",
    [EVENT_SENT]      = "sent",
    [EVENT_INEXACT]   = "inexact",
    [EVENT_EXACT]     = "exact",
    [EVENT_OPERATIVE] = "operative",
    [EVENT_CANCEL]    = "cancel",
    [EVENT_ROLLBACK]  = "rollback",
    [EVENT_LOST]      = "lost",
    [EVENT_RESUMED]   = "resumed",
    [EVENT_CRASHED]   = "crashed",
    [EVENT_ABANDON]   = "abandon",
    [EVENT_ABANDONED] = "abandoned",
};

static const unsigned char source_next[STATES][EVENTS] = {
    [STATE_NONE]         = { [EVENT_START] = SOURCE_PREPARING },
    [SOURCE_PREPARING]   = { [EVENT_ACCEPTED] = SOURCE_PREPARED, [EVENT_REFUSED] = SOURCE_FAILED, [EVENT_CRASHED] = SOURCE_INTERRUPTED },
    [SOURCE_PREPARED]    = { [EVENT_PIVOT] = SOURCE_FENCING, [EVENT_CANCEL] = SOURCE_CANCELLED, [EVENT_CRASHED] = SOURCE_INTERRUPTED },
    [SOURCE_FENCING]     = { [EVENT_DRAINED] = SOURCE_STREAMING, [EVENT_STUCK] = SOURCE_PREPARED, [EVENT_CRASHED] = SOURCE_INTERRUPTED },
    [SOURCE_STREAMING]   = { [EVENT_SENT] = SOURCE_SEALING, [EVENT_ROLLBACK] = SOURCE_ROLLED_BACK, [EVENT_LOST] = SOURCE_INTERRUPTED,
                             [EVENT_CRASHED] = SOURCE_INTERRUPTED },
    [SOURCE_SEALING]     = { [EVENT_INEXACT] = SOURCE_STREAMING, [EVENT_EXACT] = SOURCE_SEALED, [EVENT_ROLLBACK] = SOURCE_ROLLED_BACK,
                             [EVENT_LOST] = SOURCE_INTERRUPTED, [EVENT_CRASHED] = SOURCE_INTERRUPTED },
    [SOURCE_SEALED]      = { [EVENT_OPERATIVE] = SOURCE_RELEASED, [EVENT_ROLLBACK] = SOURCE_ROLLED_BACK, [EVENT_LOST] = SOURCE_INTERRUPTED,
                             [EVENT_ABANDONED] = SOURCE_ABANDONED },
    [SOURCE_INTERRUPTED] = { [EVENT_RESUMED] = SOURCE_STREAMING, [EVENT_OPERATIVE] = SOURCE_RELEASED, [EVENT_ROLLBACK] = SOURCE_ROLLED_BACK,
                             [EVENT_ABANDONED] = SOURCE_ABANDONED },
};

static const unsigned char target_next[STATES][EVENTS] = {
    [STATE_NONE]        = { [EVENT_START] = TARGET_PREPARED },
    [TARGET_PREPARED]   = { [EVENT_PIVOT] = TARGET_RECEIVING, [EVENT_EXACT] = TARGET_FILLED, [EVENT_CANCEL] = TARGET_CANCELLED,
                            [EVENT_ABANDON] = TARGET_ABANDONING },
    [TARGET_FILLED]     = { [EVENT_PIVOT] = TARGET_MERGING, [EVENT_CANCEL] = TARGET_CANCELLED, [EVENT_ABANDON] = TARGET_ABANDONING },
    [TARGET_RECEIVING]  = { [EVENT_EXACT] = TARGET_MERGING, [EVENT_ABANDON] = TARGET_ABANDONING },
    [TARGET_MERGING]    = { [EVENT_OPERATIVE] = TARGET_OPERATIVE, [EVENT_ABANDON] = TARGET_ABANDONING },
    [TARGET_ABANDONING] = { [EVENT_ABANDONED] = TARGET_ABANDONED },
};

enum session_state state_next(enum session_role role, enum session_state state, enum session_event event)
{
    return role == ROLE_SOURCE ? source_next[state][event] : target_next[state][event];
}

const char *state_name(enum session_state state)
{
    return states[state].name;
}

const char *event_name(enum session_event event)
{
    return events[event];
}

const char *role_name(enum session_role role)
{
    return role == ROLE_SOURCE ? "source" : "target";
}

bool state_is_end(enum session_state state)
{
    return states[state].end;
}

enum session_state state_find(enum session_role role, const char *name)
{
    for (unsigned s = 1; s < STATES; s++)
        if (states[s].role == role && !strcmp(states[s].name, name))
            return (enum session_state)s;
    return STATE_NONE;
}

void state_print(FILE *to)
{
    for (unsigned role = ROLE_SOURCE; role <= ROLE_TARGET; role++)
        for (unsigned s = 0; s < STATES; s++)
            for (unsigned e = 0; e < EVENTS; e++) {
                enum session_state next = state_next((enum session_role)role, (enum session_state)s, (enum session_event)e);
                if (next)
                    fprintf(to, "%-7s %-12s %-10s %s%s\n", role_name((enum session_role)role), states[s].name, events[e],
                            states[next].name, states[next].end ? " (end)" : "");
            }
}
