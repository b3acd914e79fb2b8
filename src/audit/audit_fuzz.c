/*
 * Any site file that is good: it is audited and drawn in every form, or too large; nothing crashes.
 */
#include "audit/picture.h"
#include "audit/report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look(const struct site *site)
{
    static void (*const draw[])(const struct audit *, const struct picture *,
                                struct buffer *) = { draw_svg, draw_mermaid, draw_dot, draw_json };
    struct buffer out AUTO(buffer_done) = buffer_of(16 << 20);
    struct arena *arena = arena_new(MODEL_ARENA, 1 << 16);
    struct audit *audit;
    struct picture picture;
    if (audit_make(site, arena, 2, &audit) == OK && picture_make(audit, &picture) == OK) {
        report_text(audit, "site.yaml", true, &out);
        report_json(audit, "site.yaml", &out);
        draw_text(audit, &picture, true, &out);
        for (size_t i = 0; i < COUNT(draw); i++)
            draw[i](audit, &picture, &out);
    }
    arena_free(arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct site *site = NULL;
    struct site_mistakes mistakes;
    if (site_parse(text_from((const char *)data, size), "site.yaml", false, &site, &mistakes) == OK)
        look(site);
    site_mistakes_done(&mistakes);
    site_free(site);
    return 0;
}
