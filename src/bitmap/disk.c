// SPDX-License-Identifier: BSD-3-Clause
/*
 * Disks: create, open, list, remove, fence.
 *
 * A disk is born in a directory with a name that no disk can have
 * (".new-..."), and renamed when it is whole and on stable storage: neither a
 * killed create nor a crash of the host leaves half a disk.  Removal renames it
 * away first, for the same reason.
 *
 * Who may use the files is in share.c.  What is opened must be of the right kind
 * and belong to somebody who is trusted (files_distrust): ourselves, root, the
 * owner of the state directory.  A disk whose files are not is damaged.
 */
#include "bitmap/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/files.h"

static const char disk_magic[8] = { 'd', 'f', 'd', 'i', 's', 'k', 0, 2 };

uint64_t disk_nbits(const struct df_disk *disk, unsigned granularity_shift)
{
    return ((disk->size - 1) >> granularity_shift) + 1;
}

static int check_name(const char *name, struct df_error *err)
{
    size_t n = strlen(name);
    if (n < 1 || n > DF_DISK_NAME_MAX)
        return error_set(err, -EINVAL, "disk name '%.64s%s' has %zu bytes: 1 to %u are possible", name, n > 64 ? "..." : "", n, DF_DISK_NAME_MAX);
    if (name[0] == '.')
        return error_set(err, -EINVAL, "disk name '%s' begins with a dot: choose another", name);
    for (size_t i = 0; i < n; i++)
        if (name[i] == '/' || (unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return error_set(err, -EINVAL, "disk name '%s' has a '/' or a control character in it: choose another", name);
    return 0;
}

static int open_dir_at(int dirfd, const char *name)
{
    int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? -errno : fd;
}

int disks_open(const char *state_dir, bool create, struct stat *state_st, struct stat *disks_st, struct df_error *err)
{
    if (create && mkdir(state_dir, 0700) < 0 && errno != EEXIST)
        return error_errno(err, -errno, "cannot make the state directory '%s'", state_dir);
    CLEANUP(cleanup_fd) int state = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (state < 0 || fstat(state, state_st) < 0)
        return error_errno(err, -errno, "cannot open the state directory '%s'", state_dir);
    if (create && mkdirat(state, "disks", 0700) < 0 && errno != EEXIST)
        return error_errno(err, -errno, "cannot make '%s/disks'", state_dir);
    CLEANUP(cleanup_fd) int fd = open_dir_at(state, "disks");
    if (fd < 0 || fstat(fd, disks_st) < 0)
        return error_errno(err, fd < 0 ? fd : -errno, "cannot open '%s/disks'", state_dir);
    const char *why = files_distrust(disks_st, S_IFDIR, state_st->st_uid);
    if (why)
        return error_set(err, -EPERM, "the disks of '%s' cannot be used: the directory '%s/disks' %s; correct its owner and mode", state_dir, state_dir, why);
    return steal_fd(&fd);
}

static int write_disk(int dirfd, uint64_t size, bool group, const uint8_t boot[BOOT_ID_BYTES])
{
    CLEANUP(cleanup_fd) int fd = openat(dirfd, "disk", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(struct disk_shared)) < 0)
        return -errno;
    /* All of it: a full file system must not become a SIGBUS of a writer later. */
    if (fallocate(fd, 0, 0, sizeof(struct disk_shared)) < 0 && errno != EOPNOTSUPP)
        return -errno;
    struct disk_shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED)
        return -errno;
    shared->size = size;
    shared->tables[0].next_map = 1;
    table_seal(&shared->tables[0], 0, 0);
    memcpy(shared->boot, boot, BOOT_ID_BYTES);
    memcpy(shared->magic, disk_magic, sizeof disk_magic);
    munmap(shared, sizeof *shared);
    if (group && (fchmod(fd, DISK_GROUP_FILE_MODE) < 0 || fchmod(dirfd, DISK_GROUP_DIRECTORY_MODE) < 0))
        return -errno;
    return files_sync(fd);
}

static int write_attachment(int dirfd, const char *file, const char *text)
{
    CLEANUP(cleanup_fd) int fd = openat(dirfd, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int r = fd < 0 ? -errno : files_pwrite(fd, text, strlen(text), 0);
    return r < 0 ? r : files_sync(fd);
}

static void remove_tree(int disks, const char *name)
{
    int fd = open_dir_at(disks, name);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir) {
        for (struct dirent *e; (e = readdir(dir));)
            if (unlinkat(fd, e->d_name, 0) < 0)
                unlinkat(fd, e->d_name, AT_REMOVEDIR);
        closedir(dir);
    } else if (fd >= 0) {
        close(fd);
    }
    if (unlinkat(disks, name, AT_REMOVEDIR) < 0 && errno == ENOTDIR)
        unlinkat(disks, name, 0);
}

int df_disk_create(const char *state_dir, const char *name, uint64_t size, struct df_error *err)
{
    return disk_create_attached(state_dir, name, size, NULL, 0, err);
}

int disk_create_attached(const char *state_dir, const char *name, uint64_t size, const struct disk_note *notes, size_t n, struct df_error *err)
{
    uint8_t boot[BOOT_ID_BYTES];
    int r = check_name(name, err);
    if (!r)
        r = boot_id(boot, err);
    if (r < 0)
        return r;
    if (size < 1 || size > DF_DISK_SIZE_MAX)
        return error_set(err, -EINVAL, "disk '%s' cannot have %" PRIu64 " bytes: 1 to %" PRIu64 " (1 EiB) are possible", name, size, DF_DISK_SIZE_MAX);
    struct stat state_st, disks_st;
    CLEANUP(cleanup_fd) int disks = disks_open(state_dir, true, &state_st, &disks_st, err);
    if (disks < 0)
        return disks;
    char fresh[64];
    snprintf(fresh, sizeof fresh, ".new-%ld-%lx", (long)getpid(), (unsigned long)pthread_self());
    if (mkdirat(disks, fresh, 0700) < 0)
        return error_errno(err, -errno, "cannot create disk '%s' in '%s'", name, state_dir);
    CLEANUP(cleanup_fd) int dirfd = open_dir_at(disks, fresh);
    r = dirfd < 0 ? dirfd : write_disk(dirfd, size, disks_st.st_mode & S_ISGID, boot);
    for (size_t i = 0; !r && i < n; i++)
        r = notes[i].text ? write_attachment(dirfd, notes[i].file, notes[i].text) : 0;
    if (!r)
        r = files_sync_directory(dirfd);
    if (!r && renameat2(disks, fresh, disks, name, RENAME_NOREPLACE) < 0)
        r = -errno;
    if (!r)
        files_sync_directory(disks);      /* the disk is there, whatever this says; df_disk_flush() asks again */
    if (r < 0)
        remove_tree(disks, fresh);
    if (r == -EEXIST)
        return error_set(err, r, "disk '%s' exists already: remove it first or choose another name", name);
    return r < 0 ? error_errno(err, r, "cannot create disk '%s' in '%s'", name, state_dir) : 0;
}

int df_disk_list(const char *state_dir, int (*each)(void *opaque, const char *name), void *opaque, struct df_error *err)
{
    struct df_error why;
    struct stat state_st, disks_st;
    int fd = disks_open(state_dir, false, &state_st, &disks_st, &why);
    if (fd == -ENOENT)      /* no disk was ever made */
        return 0;
    if (fd < 0)
        return error_set(err, fd, "%s", why.message);
    DIR *dir = fdopendir(fd);
    if (!dir) {
        int r = -errno;
        close(fd);
        return error_errno(err, r, "cannot list the disks of '%s'", state_dir);
    }
    int r = 0;
    for (struct dirent *e; !r && (e = readdir(dir));)
        if (e->d_name[0] != '.')
            r = each(opaque, e->d_name);
    closedir(dir);
    return r;
}

/* -EPROTO: the files are no disk of this version, whatever they were; they can be removed. */
static int attach(struct df_disk *disk, struct df_error *err)
{
    struct stat st;
    if (fstat(disk->fd, &st) < 0)
        return error_errno(err, -errno, "cannot look at disk '%s'", disk->name);
    if (st.st_size != sizeof(struct disk_shared))
        return error_set(err, -EPROTO, "the file of disk '%s' has %" PRIu64 " bytes, not %zu: it is damaged or of another version, remove the disk and add it anew",
                         disk->name, (uint64_t)st.st_size, sizeof(struct disk_shared));
    disk->shared = mmap(NULL, sizeof *disk->shared, PROT_READ | PROT_WRITE, MAP_SHARED, disk->fd, 0);
    if (disk->shared == MAP_FAILED) {
        disk->shared = NULL;
        return error_errno(err, -errno, "cannot map disk '%s'", disk->name);
    }
    if (fault_add(disk->shared, sizeof *disk->shared, &disk->broken, &disk->fault) < 0)
        return error_errno(err, -ENOMEM, "cannot catch faults of the mapping of disk '%s'", disk->name);
    disk->size = *(const volatile uint64_t *)&disk->shared->size;
    if (memcmp(disk->shared->magic, disk_magic, sizeof disk_magic) || disk->size < 1 || disk->size > DF_DISK_SIZE_MAX)
        return error_set(err, -EPROTO, "the file of disk '%s' does not begin like one: it is damaged or of another version, remove the disk and add it anew", disk->name);
    return disk_check_boot(disk, err);
}

static int open_directory(struct df_disk *disk, int disks, uid_t owner, struct df_error *err)
{
    struct stat st;
    if (fstatat(disks, disk->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode))
        return error_set(err, -EPROTO, "disk '%s' is not a directory: it is damaged, remove the disk and add it anew", disk->name);
    disk->dirfd = open_dir_at(disks, disk->name);
    if (disk->dirfd == -ENOENT)
        return error_set(err, -ENOENT, "there is no disk '%s'", disk->name);
    if (disk->dirfd < 0 || fstat(disk->dirfd, &st) < 0)
        return error_errno(err, disk->dirfd < 0 ? disk->dirfd : -errno, "cannot open disk '%s'", disk->name);
    const char *why = files_distrust(&st, S_IFDIR, owner);
    if (why)
        return error_set(err, -EPROTO, "the directory of disk '%s' %s: it is damaged, remove the disk and add it anew", disk->name, why);
    disk->group = st.st_mode & S_ISGID;
    return 0;
}

static int open_file(struct df_disk *disk, uid_t owner, struct df_error *err)
{
    struct stat st;
    const char *why = NULL;
    int r = files_open_shared(disk->dirfd, "disk", owner, &disk->fd, &st, &why);
    if (why)
        return error_set(err, r, "the file of disk '%s' %s: it is damaged, remove the disk and add it anew", disk->name, why);
    if (r == -ENOENT)
        return error_set(err, -EPROTO, "the directory of disk '%s' has no file 'disk' in it: it is damaged, remove the disk and add it anew", disk->name);
    return r < 0 ? error_errno(err, r, "cannot open disk '%s'", disk->name) : 0;
}

/*
 * The directory and the file in it, not mapped.  -EPROTO: one of them is not
 * what it should be, and *disk, if it is there, has at most a descriptor of the
 * file to ask for locks.
 */
static int open_files(const char *state_dir, const char *name, struct df_disk **out, struct df_error *err)
{
    struct stat state_st, disks_st;
    int r = check_name(name, err);
    if (r < 0)
        return r;
    CLEANUP(cleanup_fd) int disks = disks_open(state_dir, false, &state_st, &disks_st, err);
    if (disks == -ENOENT && access(state_dir, F_OK) == 0)   /* no disk was ever made */
        return error_set(err, -ENOENT, "there is no disk '%s'", name);
    if (disks < 0)
        return disks;
    struct df_disk *disk = *out = calloc(1, sizeof *disk);
    if (!disk)
        return error_errno(err, -ENOMEM, "cannot open disk '%s'", name);
    memcpy(disk->name, name, strlen(name) + 1);
    pthread_mutex_init(&disk->mutex, NULL);
    disk->fd = disk->dirfd = -1;
    disk->table = malloc(sizeof *disk->table);
    if (!disk->table)
        return error_errno(err, -ENOMEM, "cannot open disk '%s'", name);
    r = open_directory(disk, disks, state_st.st_uid, err);
    return r < 0 ? r : open_file(disk, state_st.st_uid, err);
}

int df_disk_open(const char *state_dir, const char *name, struct df_disk **out, struct df_error *err)
{
    CLEANUP(df_disk_close) struct df_disk *disk = NULL;
    int r = open_files(state_dir, name, &disk, err);
    if (!r)
        r = attach(disk, err);
    if (r < 0)
        return r;
    *out = steal(&disk);
    return 0;
}

void df_disk_close(struct df_disk **diskp)
{
    struct df_disk *disk = steal(diskp);
    if (!disk)
        return;
    fault_drop(&disk->fault);
    if (disk->shared)
        munmap(disk->shared, sizeof *disk->shared);
    if (disk->fd >= 0)
        close(disk->fd);
    if (disk->dirfd >= 0)
        close(disk->dirfd);
    pthread_mutex_destroy(&disk->mutex);
    free(disk->table);
    free(disk);
}

/* May the disk go?  A damaged one has no table, and nothing to move; whoever writes to it is asked first all the same. */
static int check_remove(struct df_disk *disk, int opened, struct df_error *err)
{
    CLEANUP(txn_abort) struct txn txn = { 0 };
    struct df_error damage;
    int r = opened;
    if (!r)
        r = attach(disk, &damage);
    if (!r)
        r = txn_begin(disk, &txn, &damage);
    if (r < 0 && r != -EPROTO)
        return error_set(err, r, "%s", damage.message);
    r = 0;
    for (uint32_t i = 0; !r && txn.table && i < txn.table->nrecords; i++)
        if (txn.table->records[i].state != RECORD_IDLE)
            r = error_set(err, -EBUSY, "disk '%s' cannot be removed: a %s its bitmap '%s'; cancel it or wait for it",
                          disk->name, txn.table->records[i].state == RECORD_COMPARED ? "comparison fills" : "session is moving", txn.table->records[i].name);
    if (!r && disk->fd >= 0 && section_in_use(disk))
        r = error_set(err, -EBUSY, "disk '%s' cannot be removed: a program has it open for writing; stop that first", disk->name);
    return r;
}

int df_disk_remove(const char *state_dir, const char *name, struct df_error *err)
{
    CLEANUP(df_disk_close) struct df_disk *disk = NULL;
    struct df_error why;
    struct stat state_st, disks_st;
    int opened = open_files(state_dir, name, &disk, &why);
    if (opened < 0 && opened != -EPROTO)
        return error_set(err, opened, "%s", why.message);
    CLEANUP(cleanup_fd) int disks = disks_open(state_dir, false, &state_st, &disks_st, err);
    if (disks < 0)
        return disks;
    int r = check_remove(disk, opened, err);
    if (r < 0)
        return r;
    char gone[64];
    snprintf(gone, sizeof gone, ".gone-%ld-%lx", (long)getpid(), (unsigned long)pthread_self());
    if (renameat(disks, name, disks, gone) < 0)
        return error_errno(err, -errno, "cannot remove disk '%s'", name);
    remove_tree(disks, gone);
    return 0;
}

const char *df_disk_name(const struct df_disk *disk)
{
    return disk->name;
}

uint64_t df_disk_size(const struct df_disk *disk)
{
    return disk->size;
}

bool df_disk_is_readonly(const struct df_disk *disk)
{
    return atomic_load_explicit(&disk->shared->epoch, memory_order_acquire) & DISK_EPOCH_FENCED;
}

static int set_fence(struct df_disk *disk, uint64_t fence, struct df_error *err)
{
    struct txn txn;
    int r = txn_begin(disk, &txn, err);
    if (r < 0)
        return r;
    txn.changed = txn.fence != fence;
    txn.fence = fence;
    return txn_commit(&txn, err);
}

int df_disk_fence(struct df_disk *disk, struct df_error *err)
{
    return set_fence(disk, DISK_EPOCH_FENCED, err);
}

int df_disk_unfence(struct df_disk *disk, struct df_error *err)
{
    return set_fence(disk, 0, err);
}
