// SPDX-License-Identifier: BSD-3-Clause
/*
 * A state directory with one disk for fuzz-disk.c: made once, put back before
 * each input.  The shared file is scribbled on through a mapping of our own.
 *
 * `later` are scribbles that wait for the n-th system call that the library
 * makes from now on: so the file changes in the middle of a call, too, and the
 * input alone says when.  Links with --wrap=fcntl, openat and fstat.
 */
#ifndef FUZZ_DISKS_H
#define FUZZ_DISKS_H

#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>

#include "bitmap/disk.h"
#include "bitmap/fault.h"
#include "guards.h"

#define DISK_BYTES  (UINT64_C(16) << 20)
#define FILES       16
#define LATER       8

static const uint8_t session_one[DF_SESSION_BYTES] = "session one";

/* ------------------------------------------------------------- the library */

static struct {
    char state[300], dir[320];
    int dirfd;
    struct disk_shared *shared;     /* our own mapping */
    struct disk_shared pristine;
    struct {
        char name[MAP_FILE_BYTES];
        uint8_t *bytes;
        size_t nbytes;
    } files[FILES];
    unsigned nfiles;
} disks;

struct scribble {
    size_t offset, nbytes;
    const uint8_t *bytes;
    unsigned calls;                 /* to go; 0: free */
};
static struct scribble later[LATER];

/* As another process would: nothing is told to anybody. */
static void scribble_now(const struct scribble *s)
{
    memcpy((uint8_t *)disks.shared + s->offset, s->bytes, s->nbytes);
}

static void scribble_tick(void)
{
    for (unsigned i = 0; i < LATER; i++)
        if (later[i].calls && !--later[i].calls)
            scribble_now(&later[i]);
}

int __real_fcntl(int fd, int command, void *argument);
int __real_openat(int dirfd, const char *file, int flags, mode_t mode);
int __real_fstat(int fd, struct stat *st);
int __wrap_fcntl(int fd, int command, void *argument);
int __wrap_openat(int dirfd, const char *file, int flags, ...);
int __wrap_fstat(int fd, struct stat *st);

int __wrap_fcntl(int fd, int command, void *argument)
{
    int r = __real_fcntl(fd, command, argument);
    scribble_tick();
    return r;
}

int __wrap_openat(int dirfd, const char *file, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    int r = __real_openat(dirfd, file, flags, mode);
    scribble_tick();
    return r;
}

int __wrap_fstat(int fd, struct stat *st)
{
    int r = __real_fstat(fd, st);
    scribble_tick();
    return r;
}

/* ----------------------------------------------------------- made, put back */

static void disks_remove_maps(void)
{
    int fd = __real_openat(disks.dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    DIR *dir = fdopendir(fd);
    for (struct dirent *e; (e = readdir(dir));)
        if (!strncmp(e->d_name, "map-", 4))
            unlinkat(disks.dirfd, e->d_name, 0);
    closedir(dir);
}

static void disks_remove(void)
{
    disks_remove_maps();
    unlinkat(disks.dirfd, "disk", 0);
    rmdir(disks.dir);
    *strrchr(disks.dir, '/') = 0;
    rmdir(disks.dir);
    rmdir(disks.state);
    fuzz_dir_remove();
}

/* A bitmap in each state that there is. */
static void disks_fill(void)
{
    struct df_disk *disk = NULL;
    struct df_error err;
    CHECK(df_disk_create(disks.state, "vda", DISK_BYTES, &err) == 0 && df_disk_open(disks.state, "vda", &disk, &err) == 0);
    CHECK(df_bitmap_add(disk, "plain", 65536, 0, &err) == 0);
    CHECK(df_bitmap_add(disk, "fine", 512, DF_BITMAP_PERSISTENT, &err) == 0);
    CHECK(df_bitmap_add(disk, "off", 4096, DF_BITMAP_DISABLED, &err) == 0);
    CHECK(df_bitmap_add(disk, "taken", 65536, DF_BITMAP_PERSISTENT, &err) == 0 && df_bitmap_take(disk, "taken", session_one, &err) == 0);
    CHECK(df_bitmap_add_frozen(disk, "locked", 65536, 0, session_one, &err) == 0);
    CHECK(df_bitmap_add_frozen(disk, "frozen", 4096, 0, session_one, &err) == 0 && df_bitmap_unlock(disk, "frozen", session_one, &err) == 0);
    CHECK(df_disk_mark(disk, 100000, 3 << 20, &err) == 0);
    df_disk_close(&disk);
}

static void disks_keep_files(void)
{
    DIR *dir = fdopendir(__real_openat(disks.dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0));
    for (struct dirent *e; (e = readdir(dir));) {
        struct stat st;
        if (strncmp(e->d_name, "map-", 4))
            continue;
        CHECK(disks.nfiles < FILES);
        int fd = __real_openat(disks.dirfd, e->d_name, O_RDONLY | O_CLOEXEC, 0), i = (int)disks.nfiles++;
        CHECK(__real_fstat(fd, &st) == 0 && (disks.files[i].bytes = malloc((size_t)st.st_size)));
        disks.files[i].nbytes = (size_t)st.st_size;
        CHECK(read(fd, disks.files[i].bytes, disks.files[i].nbytes) == st.st_size);
        snprintf(disks.files[i].name, MAP_FILE_BYTES, "%.*s", MAP_FILE_BYTES - 1, e->d_name);
        close(fd);
    }
    closedir(dir);
}

static void disks_make(void)
{
    if (disks.shared)
        return;
    snprintf(disks.state, sizeof disks.state, "%s/state", fuzz_dir_make());
    snprintf(disks.dir, sizeof disks.dir, "%s/disks/vda", disks.state);
    disks_fill();
    disks.dirfd = open(disks.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = __real_openat(disks.dirfd, "disk", O_RDWR | O_CLOEXEC, 0);
    disks.shared = __real_mmap(NULL, sizeof *disks.shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(disks.shared != MAP_FAILED);
    close(fd);
    disks.pristine = *disks.shared;
    disks_keep_files();
    CHECK(fault_start(NULL) == 0);
    atexit(disks_remove);
}

static void disks_put_back(void)
{
    memset(later, 0, sizeof later);
    memcpy(disks.shared, &disks.pristine, sizeof disks.pristine);
    disks_remove_maps();
    for (unsigned i = 0; i < disks.nfiles; i++) {
        int fd = __real_openat(disks.dirfd, disks.files[i].name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        CHECK(write(fd, disks.files[i].bytes, disks.files[i].nbytes) == (ssize_t)disks.files[i].nbytes);
        close(fd);
    }
}

#endif
