// SPDX-License-Identifier: BSD-3-Clause
/*
 * Disks and bitmaps from a shell, straight on the state directory: what the
 * tests of the nbdkit filter need.  One command a call, see `commands` below.
 * Exit 0 done, 1 failed (sentence on stderr), 2 usage.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/size.h"
#include "bitmap/disk.h"

static struct df_error err;

static int disk_add(char **a)
{
    uint64_t size;
    int r = size_parse(a[2], "size", &size, &err);
    return r < 0 ? r : df_disk_create(a[0], a[1], size, &err);
}

static int disk_remove(char **a)
{
    return df_disk_remove(a[0], a[1], &err);
}

static int bitmap_add(struct df_disk *disk, char **a)
{
    uint64_t granularity;
    int r = size_parse(a[3], "granularity", &granularity, &err);
    if (r < 0)
        return r;
    unsigned flags = !a[4] ? 0 : strcmp(a[4], "persistent") ? DF_BITMAP_DISABLED : DF_BITMAP_PERSISTENT;
    return df_bitmap_add(disk, a[2], (uint32_t)granularity, flags, &err);
}

static int clear(struct df_disk *disk, char **a)
{
    return df_bitmap_clear(disk, a[2], &err);
}

static int fence(struct df_disk *disk, char **a)
{
    (void)a;
    return df_disk_fence(disk, &err);
}

static int unfence(struct df_disk *disk, char **a)
{
    (void)a;
    return df_disk_unfence(disk, &err);
}

static int list_dirty(struct df_disk *disk, char **a)
{
    CLEANUP(df_bitmap_close) struct df_bitmap *bitmap = NULL;
    int r = df_bitmap_open(disk, a[2], &bitmap, &err);
    if (r < 0)
        return r;
    for (uint64_t at = 0, start, length; df_bitmap_next_dirty(bitmap, at, &start, &length); at = start + length)
        printf("%" PRIu64 " %" PRIu64 "\n", start, length);
    return 0;
}

static int count(struct df_disk *disk, char **a)
{
    CLEANUP(df_bitmap_close) struct df_bitmap *bitmap = NULL;
    int r = df_bitmap_open(disk, a[2], &bitmap, &err);
    if (r == 0)
        printf("%" PRIu64 "\n", df_bitmap_count(bitmap));
    return r;
}

static int open_sections(struct df_disk *disk, char **a)
{
    (void)a;
    printf("%u\n", df_disk_open_sections(disk));
    return 0;
}

/* Slots that were ever in use.  A new writer takes the lowest free one, so a leak makes this grow. */
static int slots(struct df_disk *disk, char **a)
{
    (void)a;
    printf("%" PRIu64 "\n", atomic_load(&disk->shared->nsections));
    return 0;
}

/* Take all slots that are left, say how many, and hold them until stdin ends. */
static int hold_slots(struct df_disk *disk, char **a)
{
    (void)a;
    static struct df_writer *held[DF_DISK_WRITERS];
    unsigned n = 0;
    while (n < DF_DISK_WRITERS && df_writer_new(disk, &held[n], &err) == 0)
        n++;
    printf("%u\n", n);
    fflush(stdout);
    while (getchar() != EOF)
        ;
    while (n)
        df_writer_free(&held[--n]);
    return 0;
}

static const struct {
    const char *name, *arguments;
    int least, most;                                /* arguments behind the name */
    int (*run)(char **arguments);                   /* one of the two */
    int (*run_on)(struct df_disk *disk, char **arguments);
} commands[] = {
    { "disk-add", "STATE DISK SIZE", 3, 3, disk_add, NULL },
    { "disk-remove", "STATE DISK", 2, 2, disk_remove, NULL },
    { "bitmap-add", "STATE DISK BITMAP GRANULARITY [disabled|persistent]", 4, 5, NULL, bitmap_add },
    { "clear", "STATE DISK BITMAP", 3, 3, NULL, clear },
    { "list-dirty", "STATE DISK BITMAP", 3, 3, NULL, list_dirty },
    { "count", "STATE DISK BITMAP", 3, 3, NULL, count },
    { "fence", "STATE DISK", 2, 2, NULL, fence },
    { "unfence", "STATE DISK", 2, 2, NULL, unfence },
    { "open-sections", "STATE DISK", 2, 2, NULL, open_sections },
    { "slots", "STATE DISK", 2, 2, NULL, slots },
    { "hold-slots", "STATE DISK", 2, 2, NULL, hold_slots },
};

static int usage(void)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(stderr, "df-tool %s %s\n", commands[i].name, commands[i].arguments);
    return 2;
}

int main(int argc, char **argv)
{
    size_t i = 0, n = sizeof commands / sizeof *commands;
    while (argc > 1 && i < n && strcmp(argv[1], commands[i].name) != 0)
        i++;
    if (argc < 2 || i == n || argc - 2 < commands[i].least || argc - 2 > commands[i].most)
        return usage();
    CLEANUP(df_disk_close) struct df_disk *disk = NULL;
    char **a = argv + 2;
    int r = commands[i].run ? commands[i].run(a) : df_disk_open(a[0], a[1], &disk, &err);
    if (r == 0 && commands[i].run_on)
        r = commands[i].run_on(disk, a);
    if (r < 0)
        fprintf(stderr, "df-tool: %s\n", err.message);
    return r < 0;
}
