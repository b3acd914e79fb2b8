/* For tests of the site file. */
#include "site/site_fixture.h"

struct site *site_parse_good(const char *source)
{
    struct site *site = NULL;
    struct site_mistakes mistakes;
    enum err err = site_parse(text_of(source), "/etc/trilith/site.yaml", false, &site, &mistakes);
    CHECK(err == OK, "%.*s", FMT(buffer_text(&mistakes.text)));
    site_mistakes_done(&mistakes);
    return site;
}

void check_broken_sites(const struct broken_site *sites, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct site *site = NULL;
        struct site_mistakes mistakes;
        enum err err = site_parse(sites[i].source, "site.yaml", false, &site, &mistakes);
        CHECK(err == ERR_SYNTAX && site == NULL, "%s: is refused", sites[i].what);
        CHECK(text_equal(buffer_text(&mistakes.text), text_of(sites[i].want)), "%s: %.*s",
              sites[i].what, FMT(buffer_text(&mistakes.text)));
        site_mistakes_done(&mistakes);
    }
}
