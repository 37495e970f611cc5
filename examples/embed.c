// SPDX-License-Identifier: BSD-3-Clause
/*
 * A block server's write path with dirty bitmaps, by libdirtyferry.
 *
 *     embed [--create SIZE] STATE-DIR DISK BITMAP FILE [OFFSET+LENGTH]...
 *
 * Two threads take the writes from the command line, as a server takes them
 * from its clients, and do them on FILE.  Then the bitmap's dirty extents are
 * printed, "OFFSET+LENGTH" a line.  --create makes the disk and the bitmap.
 * Build: cc embed.c $(pkg-config --cflags --libs dirtyferry) -pthread
 */
#define _FILE_OFFSET_BITS 64
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <dirtyferry/bitmap.h>

struct server {
    struct df_disk *disk;
    int fd;
    char **requests;
    int nrequests;
    atomic_int next;            /* the first request that no thread has taken */
    atomic_bool failed;
};

/* One write of a guest: 0 or a negative errno, which is the answer to the guest. */
static int serve_write(struct df_writer *writer, int fd, uint64_t offset, uint64_t length)
{
    static const char data[4096] = "written";
    int r = df_write_begin(writer, offset, length);

    /* Most of all -EROFS: another host owns the disk now, not a byte may be written here. */
    if (r < 0)
        return r;
    while (r == 0 && length > 0) {
        ssize_t n = pwrite(fd, data, length < sizeof data ? length : sizeof data, (off_t)offset);

        if (n > 0) {
            offset += (uint64_t)n;
            length -= (uint64_t)n;
        } else if (n == 0 || errno != EINTR) {
            r = n == 0 ? -EIO : -errno;
        }
    }
    df_write_end(writer);       /* also when pwrite() failed: some of it may be on the disk */
    return r;
}

/* A thread has its own writer, and uses it for one write at a time. */
static void *serve(void *opaque)
{
    struct server *server = opaque;
    struct df_writer *writer = NULL;
    struct df_error error;
    int i, r = 0;

    if (df_writer_new(server->disk, &writer, &error) < 0)
        errx(1, "%s", error.message);
    while (r != -EROFS && (i = atomic_fetch_add(&server->next, 1)) < server->nrequests) {
        const char *request = server->requests[i];
        uint64_t offset, length;

        r = sscanf(request, "%" SCNu64 "+%" SCNu64, &offset, &length) == 2
            ? serve_write(writer, server->fd, offset, length) : -EINVAL;
        if (r < 0) {
            warnx("write %s: %s", request, r == -EROFS ? "the disk has moved to another host" : strerror(-r));
            atomic_store(&server->failed, true);
        }
    }
    df_writer_free(&writer);
    return NULL;
}

int main(int argc, char **argv)
{
    bool create = argc > 2 && strcmp(argv[1], "--create") == 0;
    int i, first = create ? 3 : 1;
    char **args = argv + first;
    uint64_t start = 0, length = 0;
    struct server server = { .fd = -1 };
    struct df_bitmap *bitmap;
    struct df_error error;
    pthread_t threads[2];

    if (argc < first + 4)
        errx(2, "usage: embed [--create SIZE] STATE-DIR DISK BITMAP FILE [OFFSET+LENGTH]...");
    server.requests = args + 4;
    server.nrequests = argc - first - 4;
    if ((create && df_disk_create(args[0], args[1], strtoull(argv[2], NULL, 10), &error) < 0) ||
        df_disk_open(args[0], args[1], &server.disk, &error) < 0 ||
        (create && df_bitmap_add(server.disk, args[2], DF_GRANULARITY_DEFAULT, 0, &error) < 0))
        errx(1, "%s", error.message);
    if ((server.fd = open(args[3], O_WRONLY | O_CREAT | O_CLOEXEC, 0600)) < 0)
        err(1, "%s", args[3]);
    for (i = 0; i < 2; i++)
        if ((errno = pthread_create(&threads[i], NULL, serve, &server)))
            err(1, "a thread cannot be started");
    for (i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    if (close(server.fd) < 0)
        err(1, "%s", args[3]);

    if (df_bitmap_open(server.disk, args[2], &bitmap, &error) < 0)
        errx(1, "%s", error.message);
    while (df_bitmap_next_dirty(bitmap, start + length, &start, &length))
        printf("%" PRIu64 "+%" PRIu64 "\n", start, length);
    df_bitmap_close(&bitmap);
    df_disk_close(&server.disk);
    return server.failed;
}
