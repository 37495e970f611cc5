// SPDX-License-Identifier: BSD-3-Clause
#include "net/access.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"

enum {
    LOOK    = KEY_MONITOR | KEY_ORCHESTRATOR,
    MANAGE  = KEY_ORCHESTRATOR,
    SOURCE  = KEY_PEER,                         /* the target's side of a session, by who sends into it */
    WORKER  = KEY_SELF | KEY_ORCHESTRATOR,
};

/* As the schema has them; a test compares the two. */
static const struct {
    const char *type;
    unsigned roles;
} table[] = {
    { "hello", KEY_ALL },

    { "disk-list", LOOK },      { "bitmap-list", LOOK },    { "bitmap-show", LOOK },
    { "bitmap-extents", LOOK }, { "status", LOOK },

    { "disk-add", MANAGE },     { "disk-remove", MANAGE },  { "disk-writable", MANAGE },
    { "bitmap-add", MANAGE },   { "bitmap-remove", MANAGE }, { "bitmap-clear", MANAGE },
    { "bitmap-enable", MANAGE }, { "bitmap-disable", MANAGE }, { "bitmap-merge", MANAGE },
    { "bitmap-mark", MANAGE },
    { "prepare", MANAGE },      { "pivot", MANAGE },        { "rollback", MANAGE },
    { "resume", MANAGE },       { "abandon", MANAGE },      { "dump", MANAGE },
    { "load", MANAGE },
    { "diff", MANAGE },         { "diff-report", MANAGE },  { "diff-cancel", MANAGE },

    { "wait", LOOK | SOURCE },  { "cancel", MANAGE | SOURCE },
    { "offer", SOURCE },        { "attempt", SOURCE },      { "seal", SOURCE },
    { "heartbeat", SOURCE },

    { "lease", WORKER },
};

#define NTYPES (sizeof table / sizeof *table)

const char *access_type(size_t index)
{
    return index < NTYPES ? table[index].type : NULL;
}

static unsigned roles_for(const char *type)
{
    for (unsigned i = 0; i < NTYPES; i++)
        if (!strcmp(table[i].type, type))
            return table[i].roles;
    return 0;
}

bool access_looks(const char *type)
{
    static const char *const looks[] = { "disk-list", "bitmap-list", "bitmap-show", "bitmap-extents" };
    for (unsigned i = 0; i < sizeof looks / sizeof *looks; i++)
        if (!strcmp(looks[i], type))
            return true;
    return false;
}

int access_check(const struct caller *caller, const char *type, struct df_error *err)
{
    char roles[KEY_ROLES_BYTES];
    if (caller->roles == KEY_ALL || caller->roles & roles_for(type))
        return 0;
    return error_set(err, -EACCES, "'%s' is not allowed to key '%s', whose roles are: %s", type, caller->name, key_roles_format(caller->roles, roles));
}

int access_check_owner(const struct caller *caller, const char *type, const char *owner, const char *session, struct df_error *err)
{
    bool as_other = caller->roles == KEY_ALL || caller->roles & roles_for(type) & ~(unsigned)KEY_PEER;
    if (as_other || (owner[0] && !strcmp(caller->key, owner)))
        return 0;
    return error_set(err, -EACCES, "session %s was opened by another key than '%s'", session, caller->name);
}
