// SPDX-License-Identifier: BSD-3-Clause
/*
 * Replay: fuzz-NAME FILE|DIRECTORY...
 *
 * Gives each file to the target once: the seeds and the inputs that found a
 * bug before.  Takes the place of libFuzzer's main() in an ordinary build.
 */
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#include "fuzz.h"

static unsigned ran;

static void run_file(const char *path, size_t nbytes)
{
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = malloc(nbytes);
    if (!file || (nbytes && !bytes) || fread(bytes, 1, nbytes, file) != nbytes) {
        fprintf(stderr, "cannot read '%s': %s\n", path, strerror(errno));
        exit(99);
    }
    fclose(file);
    LLVMFuzzerTestOneInput(bytes, nbytes);
    free(bytes);
    ran++;
}

static void run_path(const char *path);

static void run_directory(const char *path)
{
    DIR *dir = opendir(path);
    char inside[4096];
    for (struct dirent *e; dir && (e = readdir(dir));) {
        snprintf(inside, sizeof inside, "%s/%s", path, e->d_name);
        if (e->d_name[0] != '.')
            run_path(inside);
    }
    if (dir)
        closedir(dir);
}

static void run_path(const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0) {
        fprintf(stderr, "cannot look at '%s': %s\n", path, strerror(errno));
        exit(99);
    }
    if (S_ISDIR(st.st_mode))
        run_directory(path);
    else
        run_file(path, (size_t)st.st_size);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        run_path(argv[i]);
    printf("%u inputs\n", ran);
    return 0;
}
