// SPDX-License-Identifier: BSD-3-Clause
/* What one reading of an allow directory (allow.h) gives: keys, and why the other files are none. */
#ifndef NET_ALLOWLIST_H
#define NET_ALLOWLIST_H

#include <stddef.h>

#include "net/allow.h"

struct allow_entry {
    struct certificate certificate;
    char name[ALLOW_NAME_BYTES];
};

/* Sorted by public key, each once. */
struct allow_list {
    struct allow_entry *entries;
    size_t n;
};

/* Texts, sorted, each owned. */
struct allow_texts {
    char **at;
    size_t n, room;
};

/*
 * Takes the files of a directory.  `refusals` gets a sentence for each that is not
 * taken.  0 or a negative errno; then both hold something all the same, and are to
 * be cleared.
 */
int allow_list_read(int dirfd, struct allow_list *list, struct allow_texts *refusals);
void allow_list_clear(struct allow_list *list);
void allow_texts_clear(struct allow_texts *texts);

const struct allow_entry *allow_list_find(const struct allow_list *list, const char *public_key);

/* The orders, for qsort(3) and bsearch(3). */
int allow_compare_entries(const void *a, const void *b);
int allow_compare_texts(const void *a, const void *b);

#endif
