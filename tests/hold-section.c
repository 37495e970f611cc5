// SPDX-License-Identifier: BSD-3-Clause
/*
 * A guest's writes by hand: hold-section STATE DISK, commands on stdin, one
 * answer a line on stdout ("ok", or the errno's name of a refusal).
 *
 *     begin OFFSET LENGTH    a write section begins, and stays open
 *     end                    it ends
 *     mark OFFSET LENGTH     begin and end
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <dirtyferry/bitmap.h>

static void answer(int r)
{
    puts(r == 0 ? "ok" : r == -EROFS ? "EROFS" : r == -EINVAL ? "EINVAL" : r == -EBUSY ? "EBUSY" : "other");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct df_error err = { 0 };
    struct df_disk *disk = NULL;
    struct df_writer *writer = NULL;
    char line[128];
    if (argc != 3) {
        fputs("Usage: hold-section STATE DISK\n", stderr);
        return 2;
    }
    if (df_disk_open(argv[1], argv[2], &disk, &err) < 0 || df_writer_new(disk, &writer, &err) < 0) {
        fprintf(stderr, "hold-section: %s\n", err.message);
        df_disk_close(&disk);
        return 1;
    }
    while (fgets(line, sizeof line, stdin)) {
        uint64_t offset, length;
        char word[8] = "";
        int n = sscanf(line, "%7s %" SCNu64 " %" SCNu64, word, &offset, &length);
        if (n == 1 && !strcmp(word, "end")) {
            df_write_end(writer);
            answer(0);
        } else if (n == 3 && !strcmp(word, "begin")) {
            answer(df_write_begin(writer, offset, length));
        } else if (n == 3 && !strcmp(word, "mark")) {
            int r = df_write_begin(writer, offset, length);
            if (!r)
                df_write_end(writer);
            answer(r);
        } else {
            answer(-EINVAL);
        }
    }
    df_writer_free(&writer);
    df_disk_close(&disk);
    return 0;
}
