// SPDX-License-Identifier: BSD-3-Clause
/*
 * The picture's cells, and the same cells drawn in two ways.  A cell is drawn
 * empty only if nothing of it changed, and full from three quarters on.
 */
#include "cli/picture.h"

#include <inttypes.h>
#include <langinfo.h>
#include <locale.h>
#include <string.h>

#include "base/size.h"
#include "bitmap/map.h"
#include "cli/stretches.h"

#define LEVELS 5u

void picture_begin(struct picture *p, uint64_t size, uint64_t granularity)
{
    memset(p, 0, sizeof *p);
    p->size = size;
    p->granularity = granularity;
    p->cell_bytes = granularity;
    while (map_round_up(size, p->cell_bytes) > PICTURE_CELLS)
        p->cell_bytes *= 2;
    p->ncells = (unsigned)map_round_up(size, p->cell_bytes);
}

void picture_add(struct picture *p, uint64_t start, uint64_t length)
{
    p->bytes += length;
    p->stretches++;
    for (uint64_t end = start + length, upto; start < end; start = upto) {
        uint64_t cell = start / p->cell_bytes;
        upto = end - start > p->cell_bytes - start % p->cell_bytes ? (cell + 1) * p->cell_bytes : end;
        p->changed[cell] += upto - start;
    }
}

static uint64_t cell_length(const struct picture *p, unsigned cell)
{
    uint64_t left = p->size - cell * p->cell_bytes;
    return left < p->cell_bytes ? left : p->cell_bytes;
}

/* By quarters, rounded up; a cell has at most 2^54 bytes. */
static unsigned cell_level(const struct picture *p, unsigned cell)
{
    uint64_t length = cell_length(p, cell);
    return (unsigned)((p->changed[cell] * (LEVELS - 1) + length - 1) / length);
}

static double percent(uint64_t part, uint64_t all)
{
    return all ? 100 * (double)part / (double)all : 0;
}

/* ---------------------------------------------------------------- terminal */

static bool is_utf8(void)
{
    locale_t locale = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
    bool is = locale && !strcmp(nl_langinfo_l(CODESET, locale), "UTF-8");
    if (locale)
        freelocale(locale);
    return is;
}

void picture_print(const struct picture *p, FILE *file)
{
    static const char *const blocks[LEVELS] = { " ", "░", "▒", "▓", "█" }, *const ascii[LEVELS] = { ".", "-", "+", "*", "#" };
    const char *const *shade = is_utf8() ? blocks : ascii;
    char text[SIZE_TEXT_BYTES];
    for (unsigned cell = 0; cell < p->ncells; cell++) {
        if (cell % PICTURE_COLUMNS == 0)
            fprintf(file, "%8s |", size_format(cell * p->cell_bytes, text));
        fputs(shade[cell_level(p, cell)], file);
        if (cell % PICTURE_COLUMNS == PICTURE_COLUMNS - 1 || cell == p->ncells - 1)
            fputs("|\n", file);
    }
    fprintf(file, "%8s  a cell is %s; of it changed: '%s' nothing", "", size_format(p->cell_bytes, text), shade[0]);
    for (unsigned level = 1; level < LEVELS; level++)
        fprintf(file, ", '%s' up to %u %%", shade[level], 100 * level / (LEVELS - 1));
    fputc('\n', file);
}

/* ------------------------------------------------------------------ figure */

enum { CELL_WIDTH = 10, CELL_HEIGHT = 16, LEFT = 74, TOP = 68, WIDTH = LEFT + (int)PICTURE_COLUMNS * CELL_WIDTH + 16, TITLE_CHARACTERS = 80 };

/* One hue, and dark enough apart for print without colours and for every eye. */
static const char *const fills[LEVELS] = { "#ffffff", "#c6dbef", "#6baed6", "#2171b5", "#08306b" };

/* Bytes of the UTF-8 sequence at `s` that XML can have, or 0. */
static size_t xml_character(const unsigned char *s)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t n = s[0] < 0x80 ? 1 : (s[0] & 0xe0) == 0xc0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : (s[0] & 0xf8) == 0xf0 ? 4 : 0;
    if (n < 2)
        return s[0] >= 0x20 && s[0] != 0x7f ? n : 0;
    uint32_t c = s[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    return c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) || c == 0xfffe || c == 0xffff ? 0 : n;
}

/* File names are bytes: what is no character of XML is a question mark.  At most `limit` characters. */
static void put_text(FILE *file, const char *text, size_t limit)
{
    const unsigned char *s = (const unsigned char *)text;
    for (; *s && limit; limit--) {
        size_t n = xml_character(s);
        switch (*s) {
        case '&': fputs("&amp;", file); break;
        case '<': fputs("&lt;", file); break;
        case '>': fputs("&gt;", file); break;
        default:
            if (n)
                fwrite(s, 1, n, file);
            else
                fputc('?', file);
        }
        s += n ? n : 1;
    }
    if (*s)
        fputs("…", file);
}

static void put_summary(const struct picture *p, FILE *file)
{
    char changed[SIZE_TEXT_BYTES], size[SIZE_TEXT_BYTES], granularity[SIZE_TEXT_BYTES];
    fprintf(file, "%s of %s changed (%.3g %%), in %" PRIu64 " %s, at granularity %s", size_format(p->bytes, changed), size_format(p->size, size),
            percent(p->bytes, p->size), p->stretches, stretches_word(p->stretches), size_format(p->granularity, granularity));
}

static void put_head(const struct picture *p, const char *title, int height, FILE *file)
{
    fprintf(file, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"11\" fill=\"#000000\">\n<title>",
            WIDTH, height, WIDTH, height);
    put_text(file, title, SIZE_MAX);
    fputs("</title>\n<desc>", file);
    put_summary(p, file);
    fprintf(file, "</desc>\n<rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n<text x=\"16\" y=\"24\" font-size=\"14\" font-weight=\"bold\">", WIDTH, height);
    put_text(file, title, TITLE_CHARACTERS);
    fputs("</text>\n<text x=\"16\" y=\"44\">", file);
    put_summary(p, file);
    fputs("</text>\n", file);
}

static void put_cells(const struct picture *p, FILE *file)
{
    char text[SIZE_TEXT_BYTES], length[SIZE_TEXT_BYTES];
    fputs("<g stroke=\"#b0b0b0\" stroke-width=\"0.5\">\n", file);
    for (unsigned cell = 0; cell < p->ncells; cell++)
        fprintf(file, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"%s\"><title>%s, %s: %.3g %%</title></rect>\n",
                LEFT + (int)(cell % PICTURE_COLUMNS) * CELL_WIDTH, TOP + (int)(cell / PICTURE_COLUMNS) * CELL_HEIGHT, CELL_WIDTH, CELL_HEIGHT,
                fills[cell_level(p, cell)], size_format(cell * p->cell_bytes, text), size_format(cell_length(p, cell), length),
                percent(p->changed[cell], cell_length(p, cell)));
    fputs("</g>\n", file);
}

/* Where the rows begin, and how far the columns are apart. */
static void put_axes(const struct picture *p, FILE *file)
{
    char text[SIZE_TEXT_BYTES];
    fputs("<g font-size=\"10\" text-anchor=\"end\">\n", file);
    for (unsigned cell = 0; cell < p->ncells; cell += PICTURE_COLUMNS)
        fprintf(file, "<text x=\"%d\" y=\"%d\">%s</text>\n", LEFT - 6, TOP + (int)(cell / PICTURE_COLUMNS) * CELL_HEIGHT + 12, size_format(cell * p->cell_bytes, text));
    fputs("</g>\n<g font-size=\"10\">\n", file);
    for (unsigned column = 0; column < PICTURE_COLUMNS && column < p->ncells; column += PICTURE_COLUMNS / 4)
        fprintf(file, "<text x=\"%d\" y=\"%d\">+%s</text>\n", LEFT + (int)column * CELL_WIDTH, TOP - 6, size_format(column * p->cell_bytes, text));
    fputs("</g>\n", file);
}

static void put_legend(const struct picture *p, int y, FILE *file)
{
    char text[SIZE_TEXT_BYTES];
    fprintf(file, "<text x=\"%d\" y=\"%d\">a cell is %s; of it changed:</text>\n<g stroke=\"#b0b0b0\" stroke-width=\"0.5\">\n", LEFT, y, size_format(p->cell_bytes, text));
    for (unsigned level = 0; level < LEVELS; level++)
        fprintf(file, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"%s\"/>\n", LEFT + 190 + (int)level * 88, y - 12, CELL_WIDTH, CELL_HEIGHT, fills[level]);
    fputs("</g>\n", file);
    fprintf(file, "<text x=\"%d\" y=\"%d\">nothing</text>\n", LEFT + 206, y);
    for (unsigned level = 1; level < LEVELS; level++)
        fprintf(file, "<text x=\"%d\" y=\"%d\">up to %u %%</text>\n", LEFT + 206 + (int)level * 88, y, 100 * level / (LEVELS - 1));
}

void picture_svg(const struct picture *p, const char *title, FILE *file)
{
    int rows = (int)((p->ncells + PICTURE_COLUMNS - 1) / PICTURE_COLUMNS), bottom = TOP + rows * CELL_HEIGHT;
    put_head(p, title, bottom + 40, file);
    put_axes(p, file);
    put_cells(p, file);
    put_legend(p, bottom + 24, file);
    fputs("</svg>\n", file);
}
