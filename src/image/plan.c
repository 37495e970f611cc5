// SPDX-License-Identifier: BSD-3-Clause
#include "image/plan.h"

void plan_begin(struct plan *plan, const struct diff *diff)
{
    uint64_t old = diff->old->size, new = diff->new->size;
    *plan = (struct plan){ .diff = diff, .at = diff->start, .end = smaller(old, new), .old.image = diff->old, .new.image = diff->new };
    /* The old one goes on within the last cluster: that one is different. */
    if (old > new)
        plan->end -= new % diff->granularity;
}

/* Where it cannot be told what is there, it has to be read: and that fails too, or tells. */
static int look(const struct plan *plan, struct side *side, struct df_error *err)
{
    if (plan->at >= side->from && plan->at < side->to)
        return 0;
    int r = image_extent(side->image, plan->at, &side->extent, err);
    if (r < 0 && !plan->diff->errors_differ)
        return r;
    if (r < 0)
        side->extent = (struct extent){ .length = smaller(side->image->size - plan->at, side->image->piece_bytes) };
    side->from = plan->at;
    side->to = plan->at + side->extent.length;
    return 0;
}

static bool has_same_place(const struct plan *plan)
{
    const struct place *a = &plan->old.extent.place, *b = &plan->new.extent.place;
    return a->kind != PLACE_UNKNOWN && a->kind == b->kind && a->device == b->device && a->inode == b->inode &&
           a->at + (plan->at - plan->old.from) == b->at + (plan->at - plan->new.from);
}

static enum plan_action choose(const struct plan *plan)
{
    bool old = plan->old.extent.zero, new = plan->new.extent.zero;
    if (old && new)
        return PLAN_ZERO;
    if (has_same_place(plan))
        return PLAN_SHARED;
    return old ? PLAN_NEW_ALONE : new ? PLAN_OLD_ALONE : PLAN_COMPARE;
}

int plan_next(struct plan *plan, uint64_t most, struct stretch *stretch, struct df_error *err)
{
    uint64_t size = plan->diff->new->size;
    *stretch = (struct stretch){ .offset = plan->at, .length = size - plan->at, .action = PLAN_DIFFERENT };
    if (plan->at >= size)
        return 0;
    if (plan->at < plan->end) {
        int r = look(plan, &plan->old, err);
        if (!r)
            r = look(plan, &plan->new, err);
        if (r < 0)
            return r;
        stretch->action = choose(plan);
        stretch->length = smaller(smaller(plan->old.to, plan->new.to), plan->end) - plan->at;
        /* Cut at multiples, so that pieces are aligned in the page cache and clusters stay whole. */
        if (stretch->action != PLAN_ZERO && stretch->action != PLAN_SHARED)
            stretch->length = smaller(stretch->length, most - plan->at % most);
    }
    plan->at += stretch->length;
    return 1;
}
