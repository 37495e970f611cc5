// SPDX-License-Identifier: BSD-3-Clause
/*
 * Reading an allow directory.  Files are taken in the order of their names, so
 * that of two with the same key it is always the same one that counts.  keyfile.c
 * has the rules for a file.
 */
#include "net/allowlist.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/files.h"

void allow_list_clear(struct allow_list *list)
{
    free(list->entries);
    *list = (struct allow_list){ 0 };
}

void allow_texts_clear(struct allow_texts *texts)
{
    for (size_t i = 0; i < texts->n; i++)
        free(texts->at[i]);
    free(texts->at);
    *texts = (struct allow_texts){ 0 };
}

static int texts_add(struct allow_texts *texts, const char *text)
{
    if (texts->n == texts->room) {
        size_t room = texts->room ? 2 * texts->room : 64;
        char **at = realloc(texts->at, room * sizeof *at);
        if (!at)
            return -ENOMEM;
        texts->at = at;
        texts->room = room;
    }
    texts->at[texts->n] = strdup(text);
    return texts->at[texts->n] ? (texts->n++, 0) : -ENOMEM;
}

int allow_compare_entries(const void *a, const void *b)
{
    return strcmp(((const struct allow_entry *)a)->certificate.public_key, ((const struct allow_entry *)b)->certificate.public_key);
}

int allow_compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void texts_sort(struct allow_texts *texts)
{
    if (texts->n)
        qsort(texts->at, texts->n, sizeof *texts->at, allow_compare_texts);
}

const struct allow_entry *allow_list_find(const struct allow_list *list, const char *public_key)
{
    struct allow_entry key = { 0 };
    if (strlen(public_key) >= sizeof key.certificate.public_key || !list->n)
        return NULL;
    strcpy(key.certificate.public_key, public_key);
    return bsearch(&key, list->entries, list->n, sizeof key, allow_compare_entries);
}

/* -------------------------------------------------- reading the directory */

static bool passed_over(const char *name)
{
    return name[0] == '.' || name[strlen(name) - 1] == '~' || key_name_is_secret(name);
}

static int note_name(void *opaque, const char *name)
{
    return passed_over(name) ? 0 : texts_add(opaque, name);
}

/* For logs: one line, and no half of a character at the end. */
static void show_name(const char *name, char shown[ALLOW_NAME_BYTES])
{
    size_t n = strlen(name);
    if (n >= ALLOW_NAME_BYTES)
        for (n = ALLOW_NAME_BYTES - 1; n && ((unsigned char)name[n] & 0xc0) == 0x80;)
            n--;
    for (size_t i = 0; i < n; i++)
        shown[i] = (unsigned char)name[i] < 0x20 || name[i] == 0x7f ? '?' : name[i];
    shown[n] = 0;
}

/* The list is in the order of names here, not sorted by key yet. */
static int take_file(int dirfd, const char *name, struct allow_list *list, struct allow_texts *refusals)
{
    struct allow_entry entry;
    struct df_error err = { 0 };
    int r = keys_read_certificate(dirfd, name, &entry.certificate, &err);
    if (r == -ENOENT)
        return 0;       /* removed since the directory was listed */
    for (size_t i = 0; !r && i < list->n; i++)
        if (!allow_compare_entries(&list->entries[i], &entry))
            r = error_set(&err, -EEXIST, "key file '%s' has the same key as '%s': remove one of them", name, list->entries[i].name);
    if (r < 0)
        return texts_add(refusals, err.message);
    show_name(name, entry.name);
    list->entries[list->n++] = entry;
    return 0;
}

int allow_list_read(int dirfd, struct allow_list *list, struct allow_texts *refusals)
{
    struct allow_texts names = { 0 };
    struct df_error err;
    int r = files_list(dirfd, note_name, &names);
    texts_sort(&names);
    size_t n = names.n < ALLOW_KEYS ? names.n : ALLOW_KEYS;
    if (!r && n && !(list->entries = calloc(n, sizeof *list->entries)))
        r = -ENOMEM;
    for (size_t i = 0; !r && i < n; i++)
        r = take_file(dirfd, names.at[i], list, refusals);
    if (!r && n < names.n) {
        error_set(&err, -EFBIG, "key file '%s' and what sorts behind it, %zu files, are too many: %u are possible", names.at[n], names.n - n, ALLOW_KEYS);
        r = texts_add(refusals, err.message);
    }
    allow_texts_clear(&names);
    texts_sort(refusals);
    if (list->n)
        qsort(list->entries, list->n, sizeof *list->entries, allow_compare_entries);
    return r;
}
