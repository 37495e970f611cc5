// SPDX-License-Identifier: BSD-3-Clause
/* df-inconsistent STATE DISK BITMAP: says that the bitmap may lack writes. */
#include <stdio.h>

#include <dirtyferry/bitmap.h>

int main(int argc, char **argv)
{
    struct df_error err = { 0 };
    struct df_disk *disk = NULL;
    if (argc != 4) {
        fputs("Usage: df-inconsistent STATE DISK BITMAP\n", stderr);
        return 2;
    }
    int r = df_disk_open(argv[1], argv[2], &disk, &err);
    if (!r)
        r = df_bitmap_set_inconsistent(disk, argv[3], &err);
    if (r < 0)
        fprintf(stderr, "df-inconsistent: %s\n", err.message);
    df_disk_close(&disk);
    return r < 0;
}
