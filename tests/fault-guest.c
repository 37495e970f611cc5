// SPDX-License-Identifier: BSD-3-Clause
/*
 * A guest's writes, and a look at bitmaps past the daemon, for tests/faults.py:
 * fault-guest STATE, commands on stdin, one answer a line on stdout: "ok ...", or
 * the errno's name.
 *
 *     disk DISK SIZE
 *     bitmap DISK BITMAP GRANULARITY
 *     mark DISK OFFSET LENGTH     a write that begins and ends.  Refused with "EROFS" it leaves no mark, with
 *                                 "EROFS late" it may: the fence came after it had begun
 *     begin DISK OFFSET LENGTH    one that begins, and is open until this process ends
 *     bits DISK BITMAP FILE       its bits, little-endian, into FILE.  Answer: ok FLAG..., of
 *                                 busy recording frozen inconsistent readonly
 *     remove DISK BITMAP
 *     writable DISK
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "bitmap/disk.h"

static const char *state_dir;
static struct df_error err;

struct opened {
    char name[64];
    struct df_disk *disk;
    struct df_writer *writer;
};

static struct opened *open_disk(const char *name)
{
    static struct opened disks[16];
    for (size_t i = 0; i < sizeof disks / sizeof *disks; i++) {
        struct opened *o = &disks[i];
        if (o->disk && !strcmp(o->name, name))
            return o;
        if (o->disk)
            continue;
        if (df_disk_open(state_dir, name, &o->disk, &err) < 0 || df_writer_new(o->disk, &o->writer, &err) < 0) {
            fprintf(stderr, "fault-guest: %s\n", err.message);
            exit(1);
        }
        snprintf(o->name, sizeof o->name, "%s", name);
        return o;
    }
    exit(1);
}

static int add_disk(char **a)
{
    return df_disk_create(state_dir, a[0], strtoull(a[1], NULL, 10), &err);
}

static int add_bitmap(char **a)
{
    return df_bitmap_add(open_disk(a[0])->disk, a[1], strtoull(a[2], NULL, 10), 0, &err);
}

static int remove_bitmap(char **a)
{
    return df_bitmap_remove(open_disk(a[0])->disk, a[1], &err);
}

static int writable(char **a)
{
    return df_disk_unfence(open_disk(a[0])->disk, &err);
}

static int begin(char **a)
{
    struct df_writer *writer = NULL;    /* never freed */
    int r = df_writer_new(open_disk(a[0])->disk, &writer, &err);
    return r < 0 ? r : df_write_begin(writer, strtoull(a[1], NULL, 10), strtoull(a[2], NULL, 10));
}

static int mark(char **a)
{
    struct opened *o = open_disk(a[0]);
    bool fenced = df_disk_is_readonly(o->disk);
    int r = df_write_begin(o->writer, strtoull(a[1], NULL, 10), strtoull(a[2], NULL, 10));
    if (!r)
        df_write_end(o->writer);
    if (r != -EROFS || fenced)
        return r;
    puts("EROFS late");
    return 1;
}

static int write_bits(const struct map *map, const char *path)
{
    FILE *file = fopen(path, "w");
    bool ok = file;
    for (uint64_t i = 0; ok && i < map->nwords; i++) {
        uint64_t word = map_has_block(map, i / MAP_BLOCK_WORDS, memory_order_relaxed) ? htole64(map_word(map, i)) : 0;
        ok = fwrite(&word, sizeof word, 1, file) == 1;
    }
    return (file && fclose(file) != 0) || !ok ? -EIO : 0;
}

/* The flags first: what is said to be usable was so before its bits were read. */
static int bits(char **a)
{
    struct opened *o = open_disk(a[0]);
    struct df_bitmap_info info;
    struct map_ref *ref = NULL;
    int r = df_bitmap_get_info(o->disk, a[1], &info, &err);
    if (!r)
        r = disk_peek_map(o->disk, a[1], &ref);
    if (!r) {
        r = write_bits(ref->map, a[2]);
        disk_put_map(o->disk, &ref);
    }
    if (r < 0)
        return r;
    printf("ok%s%s%s%s%s\n", info.busy ? " busy" : "", info.recording ? " recording" : "", info.frozen ? " frozen" : "",
           info.inconsistent ? " inconsistent" : "", info.readonly ? " readonly" : "");
    return 1;
}

static const struct {
    const char *name;
    unsigned arguments;
    int (*run)(char **arguments);   /* 0, a negative errno, or 1: it has answered itself */
} commands[] = {
    { "disk", 2, add_disk }, { "bitmap", 3, add_bitmap }, { "remove", 2, remove_bitmap }, { "writable", 1, writable },
    { "mark", 3, mark }, { "begin", 3, begin }, { "bits", 3, bits },
};

static void obey(char *line)
{
    char *words[5] = { NULL }, *rest = NULL;
    unsigned n = 0;
    for (char *word = strtok_r(line, " \n", &rest); word && n < 5; word = strtok_r(NULL, " \n", &rest))
        words[n++] = word;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (!n || strcmp(words[0], commands[i].name) || n != commands[i].arguments + 1)
            continue;
        int r = commands[i].run(words + 1);
        if (r < 0)
            puts(strerrorname_np(-r));
        else if (r == 0)
            puts("ok");
        fflush(stdout);
        return;
    }
    puts("usage");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    char line[4096];
    if (argc != 2) {
        fputs("Usage: fault-guest STATE\n", stderr);
        return 2;
    }
    state_dir = argv[1];
    while (fgets(line, sizeof line, stdin))
        obey(line);
    return 0;
}
